"""Where producers put ids and numbers in their documents.

There is no one schema: keys are compared without case, ``_``, ``-`` and ``.``, so ``phone_number``, ``phoneNumber`` and
``Phone-Number`` are one. ``metadata`` is looked at first, then the document itself, and in each the objects listed
in NESTED. LiveKit's attributes (``sip.phoneNumber``, ``sip.callID``) are among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Found = TypeVar("Found")

NESTED = ("sip", "caller", "customer", "participant", "attributes", "call", "calldetails", "telephony")

CALLER_KEYS = (
    "callernumber",
    "callerphone",
    "callerphonenumber",
    "customernumber",
    "customerphone",
    "userphone",
    "sipphonenumber",
    "phonenumber",
    "phone",
    "callerid",
    "caller",
    "fromnumber",
    "from",
    "mobile",
    "mobilenumber",
    "whatsapp",
    "contactnumber",
    "contact",
    "number",
)
CALLED_KEYS = (
    "customernumber",
    "customerphone",
    "userphone",
    "sipphonenumber",
    "tonumber",
    "to",
    "callednumber",
    "callee",
    "phonenumber",
    "phone",
    "number",
)
"""For outbound calls the customer is who was called."""

CALL_KEYS = ("callid", "callsid", "sipcallid", "calluuid", "callreference")
ROOM_KEYS = ("room", "roomname", "roomid", "roomsid")
SESSION_KEYS = ("sessionid", "session")

LONGEST_ID = 200
"""Characters; a longer text is no id."""


def find(document: dict[str, Any], keys: Sequence[str], accept: Callable[[object], Found | None]) -> Found | None:
    """The first value under one of ``keys`` that ``accept`` takes: earlier keys first within an object."""
    for place in _places(document):
        known = {_plain(key): value for key, value in place.items()}
        for key in keys:
            taken = accept(known[key]) if key in known else None
            if taken is not None:
                return taken
    return None


def _places(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects in which ids are looked for, best first."""
    for root in (document.get("metadata"), document):
        if not isinstance(root, dict):
            continue
        yield root
        for key, value in root.items():
            if isinstance(value, dict) and _plain(key) in NESTED:
                yield value
                yield from (
                    inner for name, inner in value.items() if isinstance(inner, dict) and _plain(name) in NESTED
                )


def _plain(key: str) -> str:
    return key.replace("_", "").replace("-", "").replace(".", "").lower()


def identifier(value: object) -> str | None:
    """A text fit to be an id: not empty, not long, printable; whole numbers count as their digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**40 else ""
    if not isinstance(value, str):
        return None
    text = value.strip()
    return text if 0 < len(text) <= LONGEST_ID and text.isprintable() else None


def outbound(document: dict[str, Any]) -> bool:
    """Whether the document says that the call went out."""
    return bool(find(document, ("direction", "calldirection"), lambda value: value == "outbound" or None))
