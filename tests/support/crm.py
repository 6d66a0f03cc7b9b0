"""Delivery to a real HTTP server on loopback: settings, files behind items, effects made from few words."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from daemon.catalogue import Settled, Stat
from daemon.contract import Effect, Fact, Job, Json, Outcome, Planned, Receipt
from daemon.ledger.reading import LedgerContents
from handlers.crm.client import CrmClient
from handlers.crm.handler import CallHandler
from handlers.crm.performers import CALL, UPLOAD, CallPerformer, UploadPerformer
from handlers.demo.crm import LoopbackCrm
from handlers.settings import CrmSettings
from tests.support.records import HandClock, RecordsLedger

CALL_ID = "CALL-20251029-121530-66243"
NAME = "number-_918655048643-1761635651.ogg"


def crm_settings(crm: LoopbackCrm | None = None, **changed: Any) -> CrmSettings:
    """Settings for delivering to ``crm``; short patience."""
    given: dict[str, Any] = {"timeout": timedelta(seconds=5)}
    if crm is not None:
        given |= {"upload_url": crm.upload_url, "call_data_url": crm.calls_url}
    return CrmSettings(**(given | changed))


class Spool:
    """A folder with a real ledger that knows the files in it, and the performers that deliver them."""

    def __init__(self, folder: Path, settings: CrmSettings, token: str | None, clock: HandClock) -> None:
        self.clock = clock
        self.records = RecordsLedger(folder, lanes={"recording": "test", "conversation": "test"}, clock=self.clock)
        self.folder = folder / "recordings"
        self.folder.mkdir()
        self.settings = settings
        self._root = self.records.ledger.files.register_root("recording", os.fsencode(self.folder), 0)
        self.client = CrmClient(
            timeout=settings.timeout,
            connections=settings.batch,
            token=token,
            for_token=tuple(url for url in (settings.upload_url, settings.call_data_url) if url),
            allow_plaintext=settings.allow_plaintext,
            clock=self.clock,
        )
        contents = LedgerContents(self.records.ledger.readers)
        self.upload = UploadPerformer(settings, self.client, contents, self.clock)
        self.call = CallPerformer(settings, self.client, self.clock)

    def close(self) -> None:
        """Close connections and ledger."""
        self.client.close()
        self.records.close()

    def drop(self, name: str = NAME, content: bytes = b"OggS" * 1000, *, sha256: str | None = None) -> Effect:
        """A finished recording in the folder, known to the ledger; returns the effect that uploads it."""
        path = self.folder / name
        if not path.exists():
            path.write_bytes(content)
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        found = path.stat()
        stat = Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        settled = Settled(self._root.id, b"", os.fsencode(name), stat, sha256, "recording", "recording", "", "test")
        self.records.ledger.files.settle(settled).result()
        with self.records.view() as read:
            item = read.rows("SELECT id FROM item WHERE sha256 = ?", (sha256,))[0]["id"]
        payload: dict[str, Json] = {"item": item, "name": name, "size": stat.size, "sha256": sha256}
        return Effect.of(UPLOAD, f"{sha256}:{name}", "crm", payload)


@contextmanager
def spool(
    folder: Path, settings: CrmSettings, token: str | None = None, clock: HandClock | None = None
) -> Iterator[Spool]:
    """A ``Spool`` in a folder of its own, closed afterwards."""
    made = Spool(Path(tempfile.mkdtemp(dir=folder)), settings, token, clock or HandClock())
    try:
        yield made
    finally:
        made.close()


def call_effect(
    call_id: str = CALL_ID, *, url: str | None = "http://crm.example/1.ogg", update: bool = False
) -> Effect:
    """The effect that posts a call whose recording is there already."""
    body: dict[str, Json] = {
        "callDetails": {"callId": call_id, "direction": "inbound"},
        "transcription": {"total_items": 1},
    }
    payload: dict[str, Json] = {
        "conversation": 12,
        "members": {},
        "body": body,
        "upload": None,
        "url": url,
        "update": update,
    }
    return Effect.of(CALL, call_id, "crm", payload)


def with_given(effect: Effect, given: dict[str, Receipt], sends: int = 0) -> Effect:
    """The effect as it is performed: with the receipts of those before it."""
    return Effect(effect.type, effect.identity, effect.dest, effect.payload, effect.key, given, sends)


class Desk:
    """A real ledger with the domain's values in it, and a handler that decides about them."""

    def __init__(self, folder: Path, settings: CrmSettings) -> None:
        self.records = RecordsLedger(folder)
        self.settings = settings
        self.handler = CallHandler(settings, str(folder / "markers"), "conversations")

    def know(self, *facts: Fact) -> None:
        """Write facts."""
        self.records.write(*facts)

    def decide(self, conversation_id: int, *, told: bool = False, now: datetime | None = None) -> Outcome:
        """What the handler decides now; facts of a plan are committed, as the runner does."""
        job = Job(1, "call", str(conversation_id), 1, self.records.clock.now(), told)
        with self.records.view() as read:
            outcome = self.handler.plan(job, read)
        self.records.write(*outcome.facts)
        return outcome

    def accept(self, outcome: Outcome) -> None:
        """What stands in the ledger once the CRM accepted the call: the facts of its receipt."""
        from handlers.records import CallDelivered

        effect = next(e for e in effects_of(outcome) if e.type == CALL)
        payload: Any = effect.payload
        delivered = {**payload["members"], "attempts": 1}
        self.know(CallDelivered(payload["conversation"], self.records.clock.now(), delivered, None))


def effects_of(outcome: Outcome) -> Sequence[Effect]:
    """The effects of a plan; fails where the outcome is none."""
    assert isinstance(outcome, Planned), outcome
    return outcome.effects


def body_of(outcome: Outcome) -> dict[str, Any]:
    """The call data a plan would post."""
    payload: Any = next(e for e in effects_of(outcome) if e.type == CALL).payload
    body: dict[str, Any] = payload["body"]
    return body
