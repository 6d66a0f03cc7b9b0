"""The room as a value: people are told what is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence

from daemon.contract import Finding, Lane, Machine, Patience, Room, Scheduled
from daemon.errors import Unacceptable
from handlers.notify.handler import DEST, JOB, SEND, NoticeHandler
from handlers.notify.performer import INSTALL, NoticePerformer, opened
from handlers.settings import NotifySettings

EVERY_MINUTE = "* * * * *"

_NEXT = re.compile(r",(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
"""A comma before another address; an address may hold commas of its own."""


def room(settings: NotifySettings, secret: str | None, machine: Machine) -> Room:
    """The room. ``secret`` holds Apprise's addresses, apart by commas; without it nobody is told anything."""
    addresses = tuple(address for address in _NEXT.split(secret or "") if address)
    handler = NoticeHandler(settings, addresses, machine.troubles)
    return Room(
        name="notify",
        handlers=(handler,),
        lanes=(Lane("notify", handler.kinds, workers=1),),
        performers={SEND: NoticePerformer(addresses)},
        patience={DEST: Patience(tuple(settings.retry), 3)},
        schedules=(Scheduled(EVERY_MINUTE, "UTC", JOB),) if addresses else (),
        checks=(lambda _read: check(addresses),),
    )


def check(addresses: Sequence[str]) -> Sequence[Finding]:
    """Doctor's lines: whether each address is one that a message can be sent to. None is sent."""
    found = []
    for place, address in enumerate(addresses):
        subject = f"notify {place + 1}"
        try:
            known = opened(address) is not None
        except Unacceptable:
            return (Finding("notify", "fail", "Apprise is not installed: nobody is told anything", INSTALL),)
        if known:
            found.append(Finding(subject, "ok", "Apprise knows this kind of address"))
        else:
            fix = "compare it with Apprise's list of services"
            found.append(Finding(subject, "fail", "this address is none that Apprise knows", fix))
    return found
