"""The id a call bears in the CRM: ``CALL-<UTC date>-<UTC time>-<tail>``.

It is made once, at the first intent to send, kept in the ledger, and never made again: what is learned later changes
nothing. So this is the only place that knows how it is made, and it needs nothing but its arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

from daemon.errors import Defect

_TAIL_DIGITS = 5
_SUFFIX_DIGITS = 4
_HASH_DIGITS = 77
"""Decimal digits that a SHA-256 always fills, but for the leading zeros of a small one: 2^256 is 1.2e77."""


def tail_of(number: str | None, session_id: str | None, sha256: str) -> str:
    """Five digits: the last of the caller's number, else out of SHA-256 of the session id, else of the content's.

    ``number`` is E.164 or None; ``sha256`` is the transcript's, in hex.
    """
    if number is not None:
        digits = "".join(c for c in number if c.isascii() and c.isdigit())
        if digits:
            return digits[-_TAIL_DIGITS:].zfill(_TAIL_DIGITS)
    if session_id:
        sha256 = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
    return str(int(sha256, 16) % 10**_TAIL_DIGITS).zfill(_TAIL_DIGITS)


def make_call_id(start_at: datetime, tail: str, sha256: str, taken: Callable[[str], bool]) -> str:
    """The id for a call that began at ``start_at`` (aware; the second counts, what lies below it is cut off).

    Where it is ``taken`` by another call, ``-`` and four digits of the call's own content's hash follow: the lowest
    four of its decimal form, then, should they be taken too, the next four.
    """
    plain = f"CALL-{start_at.astimezone(UTC):%Y%m%d-%H%M%S}-{tail}"
    if not taken(plain):
        return plain
    left = int(sha256, 16)
    for _ in range(_HASH_DIGITS // _SUFFIX_DIGITS):
        left, suffix = divmod(left, 10**_SUFFIX_DIGITS)
        longer = f"{plain}-{str(suffix).zfill(_SUFFIX_DIGITS)}"
        if not taken(longer):
            return longer
    raise Defect("every call id that this content allows is taken")
