"""Where a recording's compressed copy took the original's place on disk, storage follows: the copy is stored as the
call's recording, the call's papers name it, and only once all of that lies verified where copies belong is the original
let go there. ``storage.follow_compression: false`` keeps originals in storage.

The order is that of compression itself, so that at every instant storage holds a verified recording that the call's
sidecar names, or its original beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from daemon.contract import Effect, Event, Job, JobSpec, Json, Outcome, Planned, Postponed, Reader, Receipt
from daemon.errors import Unacceptable
from handlers import records
from handlers.records import Copy, CopySuperseded
from handlers.storage.content import shows
from handlers.storage.handler import FOLLOW, members_of, storing_job
from handlers.storage.performers import Stores, Sure
from handlers.storage.planning import Places, Planner, Wanted, is_safe, lies_at_home
from handlers.storage.store import Store

FOLLOW_ALL = "storage_follow_all"
SUPERSEDE = "storage.supersede"
SUPERSEDED = "storage.superseded"
"""A destination of its own: credentials that may not delete take copies all the same."""

MOST = 50_000
"""Recordings that one night adds jobs for; the next takes what is left."""

SOON = timedelta(seconds=10)
"""Until the watch is asked again whether it saw that a copy took an original's place."""

UNSEEN = timedelta(minutes=10)
"""How long it is asked; what it sees later is found at night."""

REASON = "its compressed copy took its place"


@dataclass(frozen=True, slots=True)
class FollowAllHandler:
    """Finds whose original made room for a copy that storage does not have yet. The key is ``all``."""

    places: Places
    kinds = (FOLLOW_ALL,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """A job for each."""
        del job
        if not self.places.follow:
            return Planned()
        home = self.places.home
        found = records.outgrown(read, home, self.places.buckets[home], MOST)
        return Planned(then=tuple(JobSpec(FOLLOW, str(recording)) for recording in found))


@dataclass(frozen=True, slots=True)
class FollowHandler:
    """Decides about one recording, whose original is gone from disk. The key is its id, or that of a copy of it."""

    places: Places
    kinds = (FOLLOW,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Have the copy stored, then let the original go; each visit decides anew by what the ledger knows.

        What cannot be yet is left: storing and moving wake this again, and so does every night.
        """
        if not self.places.follow:
            return Planned()
        recording = records.recording_of_copy(read, int(job.key))
        store = storing_job(read, recording)
        members = members_of(read, store)
        sides = sorted(one.id for one, _ in members.recordings)
        if recording in sides[1:]:
            return Planned(then=(JobSpec(FOLLOW, str(sides[0])),))  # one job speaks for all sides
        if any(records.awaits_copy(read, side, read.now - UNSEEN) for side in sides):
            return Postponed(read.now + SOON, "the watch has not taken in the compressed copy yet")
        planner = Planner(self.places, members, read)
        wanted = planner.everything()
        old = planner.superseded(wanted)
        if not old or any(records.hindrance(read, side) != "" for side in sides):
            return Planned()
        if self.places.home == "s3" and records.waits_to_move(read, planner.subjects):
            return Planned()
        if not all(is_safe(read, self.places, one) for one in wanted):
            return Planned(then=(store,))
        if not all(lies_at_home(read, self.places, one) for one in wanted):
            return Planned()
        return Planned(effects=_effects(self.places, sides, wanted, old, read.now))


def _effects(
    places: Places, sides: Sequence[int], wanted: Sequence[Wanted], old: Sequence[Copy], now: datetime
) -> tuple[Effect, ...]:
    """One for each object that goes, after which the recordings that stand there now are looked at."""
    stand: list[Json] = [
        {"key": one.keys[places.home], "sha256": one.sha256, "size": one.size}
        for one in wanted
        if one.role in ("audio", "sidecar")
    ]
    return tuple(
        Effect.of(
            SUPERSEDE,
            f"{copy.place}:{copy.key}",
            SUPERSEDED,
            {
                "place": copy.place,
                "bucket": copy.bucket,
                "key": copy.key,
                "item": copy.item,
                "size": copy.size,
                "sha256": copy.sha256,
                "sides": list(sides),
                "stand": stand,
                "as_of": copy.changed_at.isoformat(),  # put there anew since, it is another effect
                "on": now.date().isoformat(),  # and what was not to be done is tried again on another day
            },
        )
        for copy in old
    )


class SupersedePerformer(Sure):
    """Lets an original, or its metadata, go from a store."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def perform(self, effect: Effect, /) -> Receipt:
        """Delete it, where all is still as it was when that was decided. Raises Unacceptable where the store does not
        show the call's recordings and sidecar as they were verified."""
        payload = cast("dict[str, Any]", effect.payload)
        store: Store | None = self._stores.s3 if payload["place"] == "s3" else self._stores.local
        if store is None or store.bucket != payload["bucket"] or not self._is_wanted(payload):
            return Receipt({"superseded": False})
        if not all(shows(store, one["key"], one["sha256"], one["size"]) for one in payload["stand"]):
            raise Unacceptable("storage does not show the compressed copy as it was verified: the original stays there")
        store.delete(payload["key"])
        fields: dict[str, Json] = {"size_bytes": payload["size"], "dest": store.place, "reason": REASON}
        if payload["item"] is not None:
            fields["item"] = f"r{payload['item']}"
        fact = CopySuperseded(payload["place"], store.bucket, payload["key"], REASON)
        return Receipt({"superseded": True}, Event("storage.superseded", fields), (fact,))

    def _is_wanted(self, payload: Mapping[str, Any]) -> bool:
        """Whether nobody holds the call now, and the ledger says of every object what it said then."""
        place, bucket = payload["place"], payload["bucket"]
        with self._stores.view() as read:
            old = records.copy_at(read, place, bucket, payload["key"])
            stand = [(one, records.copy_at(read, place, bucket, one["key"])) for one in payload["stand"]]
            free = all(records.hindrance(read, side) in ("", "at work") for side in payload["sides"])
        same = all(
            known is not None and (known.state, known.sha256) == ("verified", one["sha256"]) for one, known in stand
        )
        return free and same and old is not None and old.changed_at.isoformat() == payload["as_of"]
