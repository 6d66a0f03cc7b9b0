"""What the stores tell of calls when the ledger is lost: their sidecars, each written last of all that belongs to a
call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from daemon.contract import Witness
from handlers.storage.documents import SCHEMA
from handlers.storage.store import Store

SUFFIX = "_call.json"
LARGEST = 1 << 20
"""Bytes of a sidecar that are read; real ones have a few thousand."""

MOST = 100
"""Recordings of one call that are heard of."""

_CALL_ID = re.compile(r"CALL-\d{8}-\d{6}-\d{5}(?:-\d{4})*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def witnesses(stores: Sequence[Store], prefix: str = "") -> Iterator[Witness]:
    """Every sidecar's word on its call. Raises a DeliveryError where a store cannot be read."""
    for store in stores:
        for found in store.list(prefix if store.place == "s3" else ""):
            if found.key.endswith(SUFFIX) and found.size <= LARGEST:
                with store.open(found.key) as file:
                    yield from told(file.read(LARGEST))


def told(raw: bytes) -> Iterator[Witness]:
    """What one sidecar says; nothing where it is none, or says what no callspool would."""
    try:
        document: Any = json.loads(raw)
    except (ValueError, RecursionError):
        return
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        return
    crm, audio, text = document.get("crm"), document.get("audio"), document.get("transcript")
    call_id = crm.get("id") if isinstance(crm, dict) else None
    known = isinstance(call_id, str) and _CALL_ID.fullmatch(call_id)
    recordings = [_sha256(one) for one in audio if isinstance(one, dict)] if isinstance(audio, list) else []
    yield Witness(_sha256(text), str(call_id) if known else "", tuple(one for one in recordings[:MOST] if one))


def _sha256(part: object) -> str:
    """The hash that a part of a sidecar names; empty where it names none."""
    given = str(part.get("sha256")) if isinstance(part, dict) else ""
    return given if _SHA256.fullmatch(given) else ""
