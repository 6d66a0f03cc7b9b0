"""After hold mode: papers that somebody wrote after this ledger knew them are looked at, and put again if they differ.

A ledger that a copy was put in the place of knows what it wrote; what another one wrote since, over the same keys, it
does not. Stores tell when each object was written last. Their clocks may be off, so the usual distance from that to the
ledger's own word is taken from the papers themselves, and only what lies further is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal

from daemon.contract import Effect, Event, Job, JobSpec, Outcome, Planned, Reader, Receipt
from handlers import records
from handlers.records import Copy, CopyLost
from handlers.storage.content import digest_of
from handlers.storage.documents import stamp
from handlers.storage.handler import STORAGE, SWEEP
from handlers.storage.repair import FOUND
from handlers.storage.store import Found, KeyMissing, Store

RECHECK = "storage_recheck"
LOOK = "storage.look"

SAMPLE = 1000
"""Papers by which a store's clock is known."""

EARLY_SHARE = 0.1
"""The distance that so many of them stay below: the others may be what is looked for."""

LATE = timedelta(seconds=2)
"""After the usual distance: services tell whole seconds, and what is read in vain costs little."""

PAPERS = (".json", ".txt")


@dataclass(frozen=True, slots=True)
class RecheckHandler:
    """Has the stores looked at. The key is ``papers``."""

    kinds = (RECHECK,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Look once; what was lost is put again by the sweep."""
        del job
        effect = Effect.of(LOOK, "papers", STORAGE, {"as_of": stamp(read.now)})
        return Planned(effects=(effect,), then=(JobSpec(SWEEP, "all"),))


class LookPerformer:
    """Looks for papers that are not what the ledger knows."""

    def __init__(
        self,
        stores: Sequence[Store],
        prefixes: Mapping[str, Sequence[str]],
        view: Callable[[], AbstractContextManager[Reader]],
    ) -> None:
        self._stores, self._prefixes, self._view = stores, prefixes, view

    def find(self, _effect: Effect, /) -> Receipt | None:
        """It changes nothing, so it is done again."""
        return None

    def doubt(self, _effect: Effect, /) -> Literal["resend", "hold"]:
        """Again."""
        return "resend"

    def perform(self, _effect: Effect, /) -> Receipt:
        """Every store. Raises a DeliveryError where one is away."""
        facts = [fact for store in self._stores for fact in self._changed(store)]
        event = None
        if facts:
            event = Event("storage.lost", {"objects": len(facts), "reason": "written by another ledger"}, "warning")
        return Receipt({"lost": len(facts)}, event, tuple(facts))

    def _changed(self, store: Store) -> Iterator[CopyLost]:
        sample = [found.modified_at - at for found, at, _ in islice(self._papers(store), SAMPLE) if found.modified_at]
        if not sample:
            return
        latest = sorted(sample)[int(len(sample) * EARLY_SHARE)] + LATE
        for found, at, copy in self._papers(store):
            if found.modified_at is not None and found.modified_at - at > latest and not _is_same(store, copy):
                yield CopyLost(copy.place, copy.bucket, copy.key, FOUND)

    def _papers(self, store: Store) -> Iterator[tuple[Found, datetime, Copy]]:
        """What lies there of what callspool writes itself, with when the ledger knew it to be there."""
        for prefix in self._prefixes[store.place]:
            found = (one for one in store.list(prefix) if one.key.endswith(PAPERS))
            while some := list(islice(found, SAMPLE)):
                with self._view() as read:
                    known = [(one, records.copy_at(read, _place(store), store.bucket, one.key)) for one in some]
                for one, copy in known:
                    if copy is not None and copy.item is None and copy.state == "verified" and copy.verified_at:
                        yield one, copy.verified_at, copy


def _place(store: Store) -> records.Place:
    return "s3" if store.place == "s3" else "local"


def _is_same(store: Store, copy: Copy) -> bool:
    try:
        with store.open(copy.key) as file:
            return digest_of(file) == copy.sha256
    except KeyMissing:
        return False
