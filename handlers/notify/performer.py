"""Hands a message to Apprise, which knows the services: mail, chat, telephone, an address of one's own.

The addresses hold secrets; what Apprise logs may quote them and is heard by nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

from daemon.contract import Effect, Receipt
from daemon.errors import NotSent, Unacceptable
from handlers.notify.handler import digest

INSTALL = "pip install apprise  in callspool's own environment"


class NoticePerformer:
    """Sends notices. ``addresses`` are Apprise's URLs."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    def find(self, _effect: Effect, /) -> Receipt | None:
        """Nobody can be asked whether a message arrived."""
        return None

    def perform(self, effect: Effect, /) -> Receipt:
        """Send it. Raises NotSent where the service did not take it, Unacceptable where it never will be sent."""
        place = int(str(effect.payload["to"]))
        address = self._addresses[place] if place < len(self._addresses) else ""
        if digest(address) != effect.payload["address"]:
            return Receipt({"sent": False})  # its address was taken out of the settings meanwhile
        service = opened(address)
        if service is None:
            raise Unacceptable(f"address {place + 1} of notify.urls_file is none that Apprise knows")
        if not service.notify(title=str(effect.payload["title"]), body=str(effect.payload["body"])):
            raise NotSent(f"address {place + 1} of notify.urls_file did not take the message")
        return Receipt({"sent": True})

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Twice is better than never."""
        return "resend"


def opened(address: str) -> Any:
    """Apprise with one address; None for one that it does not know. Raises Unacceptable where it is not installed."""
    try:
        import apprise
    except ImportError:
        raise Unacceptable(f"Apprise is not installed: {INSTALL}") from None
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    service = apprise.Apprise()
    return service if service.add(address) else None
