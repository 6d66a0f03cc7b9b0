"""Links by which somebody may hear one recording, and nothing else: made, listed, revoked.

A link is 128 random bits, made by whoever asks for it and shown once. The ledger and the journal know its hash alone.
Without ``anyone`` it is a name to pass on among those who have the token; with it, whoever has it may hear until it
expires.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from daemon.contract import Acted, Event, Json, Reader, duration
from daemon.errors import BadRequest, UnknownSubject
from handlers import records
from handlers.records import Link

ADD, REVOKE = "link.add", "link.revoke"
LOOK = "callspool link list"

LONGEST = timedelta(days=366)
USUAL = "7d"
"""How long a link that anyone may use lasts, unless told."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def secret() -> str:
    """The 128 bits of a new link, as they stand in its path."""
    return secrets.token_urlsafe(16)


def digest(given: str) -> str:
    """By what the ledger knows a link."""
    return hashlib.sha256(given.encode()).hexdigest()


def add(args: Mapping[str, Any], read: Reader) -> Acted:
    """``link.add``: ``subject``, the secret's ``sha256``, ``anyone``, ``expires`` in words. Raises OperatorError."""
    recording = recording_named(read, str(args["subject"]))
    sha256 = str(args["sha256"])
    if not _SHA256.fullmatch(sha256):
        raise BadRequest("a link is known by the SHA-256 of its secret", fix="callspool link add")
    anyone, expires = bool(args.get("anyone")), _expiry(args, read.now)
    subject = f"r{recording}"
    answer: Json = {"recording": subject, "anyone": anyone, "expires": None if expires is None else expires.isoformat()}
    reason = "whoever has it may hear" if anyone else "with the token"
    event = Event("link.added", {"subject": subject, "reason": reason})
    return Acted(answer, (records.LinkMade(sha256, recording, anyone, expires),), events=(event,))


def revoke(args: Mapping[str, Any], read: Reader) -> Acted:
    """``link.revoke``: a link by its number, or all of a call or recording. Raises UnknownSubject."""
    subject = str(args["subject"])
    if subject.isdecimal():
        found = [link for link in records.links(read) if link.id == int(subject)]
    else:
        found = list(records.links(read, recordings_named(read, subject)))
    open_ones = tuple(link for link in found if link.revoked_at is None)
    if not open_ones:
        raise UnknownSubject("no link of that name can still be used", fix=LOOK)
    events = tuple(Event("link.revoked", {"subject": f"r{one}"}) for one in sorted({x.recording_id for x in open_ones}))
    ids = tuple(link.id for link in open_ones)
    return Acted({"revoked": list(ids)}, (records.LinksRevoked(ids),), events=events)


def _expiry(args: Mapping[str, Any], now: datetime) -> datetime | None:
    given = args.get("expires") or (USUAL if args.get("anyone") else None)
    if given is None:
        return None
    try:
        lasts = duration(given)
    except (ValueError, TypeError) as error:
        raise BadRequest(f"--expires: {error}", fix="callspool link add --expires 7d") from None
    if not timedelta(0) < lasts <= LONGEST:
        raise BadRequest("a link lasts more than nothing and at most a year", fix="callspool link add --expires 7d")
    return now + lasts


def recordings_named(read: Reader, subject: str) -> tuple[int, ...]:
    """The recordings that a person may mean: that of ``r13``, or a call's, the longest first. Raises UnknownSubject."""
    found: tuple[int, ...] = ()
    if re.fullmatch(r"r\d{1,18}", subject):
        found = (int(subject[1:]),) if read.item(int(subject[1:])).kind == "recording" else ()
    else:
        calls = records.find_calls(read, subject)
        found = records.recordings_of_call(read, calls[-1]) if calls else ()
    if not found:
        raise UnknownSubject("nothing of that name has a recording", fix="callspool status")
    return found


def recording_named(read: Reader, subject: str) -> int:
    """The one to hear: of a call with two sides the longer one."""
    return recordings_named(read, subject)[0]


def told(link: Link, now: datetime) -> dict[str, Json]:
    """A link as it is listed."""
    state = "open" if link.holds(now) else "expired" if link.revoked_at is None else "revoked"
    return {
        "link": link.id,
        "recording": f"r{link.recording_id}",
        "state": state,
        "anyone": link.anyone,
        "made": link.made_at.isoformat(timespec="seconds"),
        "expires": None if link.expires_at is None else link.expires_at.isoformat(timespec="seconds"),
        "plays": link.plays,
    }
