"""What is to be done for a call's things: everything that is decided about storage, and nothing that is done.

A call is stored once it is settled, beside its delivery to the CRM: recordings first, then what is written about them,
the sidecar last. What could not go to S3 lies in the local store, is moved when S3 is back, oldest first, and only then
let go. A source is let go where ``storage.after`` says so, after everything of its call was verified where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from daemon.contract import Effect, Event, Fact, Job, JobSpec, Json, Outcome, Planned, Postponed, Reader
from handlers import records
from handlers.records import Copy, CopyGone, CopyIntended, StorageNamed, Stranded
from handlers.settings import StorageSettings
from handlers.storage.documents import stamp
from handlers.storage.local import NOT_HERE
from handlers.storage.members import Members, members_of_call, members_of_recording
from handlers.storage.pace import Hours
from handlers.storage.planning import NOWHERE, Places, Planner, Wanted, has_source, is_safe

STORE, LONE, DRAIN, LET_GO, SWEEP, PROBE = "store", "store_lone", "drain", "let_go", "storage_sweep", "storage_probe"
ABANDON, FOLLOW = "storage_abandon", "storage_follow"
PUT, BEGIN, MOVE, RELEASE, REMOVE, ASK, ABORT = (
    "storage.put",
    "storage.begin",
    "storage.move",
    "storage.release",
    "storage.remove",
    "storage.probe",
    "storage.abort",
)
STORAGE, S3 = "storage", "s3"
"""Destinations: whatever store takes it, and S3 alone."""

BATCH = 25
"""Objects that one run of the drain moves; then it is decided anew."""

FOLLOWED = timedelta(seconds=5)
"""After storing what took an original's place, until it is seen whether the original may go."""

LOOK_AGAIN = timedelta(hours=1)
"""Until a source whose call is not all safe yet is looked at again."""


@dataclass(frozen=True, slots=True)
class StoreHandler:
    """Decides what is to be put. The key of ``store`` is the conversation's id, of ``store_lone`` a recording's.

    ``part_size`` is the size in bytes above which an object goes to S3 in parts; ``refresh`` takes over what is kept of
    the service before anything is sent to it, and ``unasked`` says that nobody asked it yet.
    """

    settings: StorageSettings
    places: Places
    part_size: int
    refresh: Callable[[Reader], None]
    unasked: Callable[[], bool] = lambda: False
    kinds = (STORE, LONE)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Put what is not safe yet, or nothing."""
        self.refresh(read)
        subject = int(job.key)
        if job.kind == LONE:
            if (job_now := storing_job(read, subject)) != JobSpec(LONE, job.key):
                claimed = job_now.kind == STORE  # by a call, which stores it; or another side speaks for both
                return Planned() if claimed else Planned(then=(job_now,))
            members = members_of_recording(read, subject)
        else:
            verdict = records.verdict(read, subject)
            if verdict is None or not verdict.ready or records.replaced_by(read, subject) is not None:
                return Planned()
            members = members_of_call(read, subject)
        return self._put(read, members)

    def _put(self, read: Reader, members: Members) -> Planned:
        planner = Planner(self.places, members, read)
        audio = planner.audio()
        papers = planner.papers()
        sidecar = planner.sidecar(audio, papers)
        started_at = stamp(members.started_at)
        bundles = [
            *((f"audio:{wanted.item}", [wanted]) for wanted in audio),
            ("papers", papers),
            ("sidecar", [sidecar]),
        ]
        effects: list[Effect] = []
        facts: list[Fact] = [StorageNamed(members.subject, planner.name, planner.day)]
        for name, wanteds in bundles:
            missing = [wanted for wanted in wanteds if not is_safe(read, self.places, wanted)]
            if missing:
                facts += [self._intended(members, planner, wanted) for wanted in missing]
                effects += self._effects(read, members, name, missing, started_at)
        outgrown = {copy.item for copy in planner.superseded([*audio, *papers, sidecar]) if copy.item is not None}
        soon = read.now + FOLLOWED  # not at once: whatever goes wrong, the two never turn in circles
        follow = [JobSpec(FOLLOW, str(records.recording_of_copy(read, item)), soon) for item in outgrown]
        if not effects:
            return Planned(then=tuple(follow))
        then = [*follow, *([JobSpec(DRAIN, S3)] if self.places.home == "s3" else [])]
        if self.unasked():
            then.append(JobSpec(PROBE, S3))
        if self.settings.after == "remove":
            then.append(JobSpec(LET_GO, str(members.subject), read.now + self.settings.grace))
        return Planned(tuple(facts), tuple(effects), tuple(then))

    def _effects(
        self, read: Reader, members: Members, name: str, missing: Sequence[Wanted], started_at: str
    ) -> list[Effect]:
        """One effect for a bundle; a large object is begun before, so that its upload's id is in the ledger first."""
        identity = f"{members.first}:{name}"
        objects = [wanted.payload(started_at) for wanted in missing]
        begins = [
            begin(read, self.places, one) for one in objects if self.places.home == "s3" and _large(one, self.part_size)
        ]
        payload: dict[str, Json] = {
            "subject": members.subject,
            "named": members.subject_name,
            "objects": objects,
            "begun": begins[0].identity if begins else None,
        }
        return [*begins, Effect.of(PUT, identity, STORAGE, payload)]

    def _intended(self, members: Members, planner: Planner, wanted: Wanted) -> CopyIntended:
        """The row that stands in the ledger before anything is written: the key is its call's from then on, whose
        papers may change; a recording never does."""
        home, of = self.places.home, members.subject
        key, bucket = wanted.keys[home], self.places.buckets[home]
        ours = () if wanted.role == "audio" else planner.subjects
        return CopyIntended(home, bucket, key, of, wanted.role, wanted.item, wanted.sha256, wanted.size, ours)


def storing_job(read: Reader, subject: int) -> JobSpec:
    """The job that stores what belongs to a subject now: the newest version's, the call's that claims a recording, or
    that of the first side where none does."""
    if not records.is_recording(read, subject):
        while (newer := records.replaced_by(read, subject)) is not None:
            subject = newer
        return JobSpec(STORE, str(subject))
    group = records.recording(read, subject).group
    pairing = records.pairing_of_group(read, group)
    if pairing is not None:
        return JobSpec(STORE, str(pairing.conversation_id))
    return JobSpec(LONE, str(min((one.id for one in records.recordings(read, group)), default=subject)))


def members_of(read: Reader, job: JobSpec) -> Members:
    """What the job that ``storing_job`` names stores."""
    found = members_of_call if job.kind == STORE else members_of_recording
    return found(read, int(job.key))


def begin(read: Reader, places: Places, one: dict[str, Json], dest: str = STORAGE) -> Effect:
    """Ask the service for the id of an upload in parts, or take up the one that was begun for this key."""
    keys: Any = one["keys"]
    known = records.multipart(read, places.buckets["s3"], keys["s3"])
    payload: dict[str, Json] = {**one, "text": None, "bucket": places.buckets["s3"], "known": known}
    return Effect.of(BEGIN, f"begin:{dest}:{keys['s3']}", dest, payload)


def _large(one: dict[str, Json], part_size: int) -> bool:
    size: Any = one["size"]
    return int(size) > part_size


@dataclass(frozen=True, slots=True)
class DrainHandler:
    """Decides what moves from the local store to S3. Its one job's key is ``s3``, so that the oldest goes first.

    ``removes`` says that sources are let go once all of their call is where it belongs.
    """

    places: Places
    part_size: int
    hours: Hours
    refresh: Callable[[Reader], None]
    removes: bool = False
    kinds = (DRAIN,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """The oldest that may move, each let go after it was verified; then again. What is gone from the local store
        before that is put again, wherever else its content is to be had."""
        del job
        self.refresh(read)
        if self.places.home != "s3":
            return Planned()
        gone = records.copies_stranded(read, NOT_HERE, BATCH)
        if gone:
            return _put_again(read, gone)
        found = records.bound_copies(read, BATCH)
        if not found:
            return Planned()
        opens = self.hours.opens(read.now)
        if opens > read.now:
            return Postponed(opens, "storage.s3.pace lets nothing out until then")
        effects: list[Effect] = []
        facts: list[Fact] = []
        then = [JobSpec(DRAIN, S3)]
        for copy in found:
            assert copy.bound_for is not None
            bucket, key = self.places.buckets["s3"], copy.bound_for["keys"]["s3"]
            there = records.copy_at(read, "s3", bucket, key)
            if there is not None and _is_overtaken(copy, copy.bound_for, there):
                effects.append(_overtaken(copy, copy.bound_for))
                continue
            facts.append(CopyIntended("s3", bucket, key, copy.subject, copy.role, copy.item, copy.sha256, copy.size))
            effects += self._moved(read, copy, copy.bound_for)
        subjects = dict.fromkeys(copy.subject for copy in found)
        then += [storing_job(read, subject) for subject in subjects]  # what was overtaken, or overtook, is put anew
        then += [JobSpec(FOLLOW, str(one)) for subject in subjects for one in _outgrown(read, subject)]
        if self.removes:
            then += [JobSpec(LET_GO, str(subject)) for subject in subjects]
        return Planned(tuple(facts), tuple(effects), tuple(dict.fromkeys(then)))

    def _moved(self, read: Reader, copy: Copy, one: dict[str, Any]) -> list[Effect]:
        identity = f"local:{copy.key}"
        begins = [begin(read, self.places, one, S3)] if _large(one, self.part_size) else []
        payload: dict[str, Json] = {
            "subject": copy.subject,
            "named": one["metadata"].get("call-id", ""),
            "local": copy.key,
            "object": {**one, "text": None},
            "as_of": copy.changed_at.isoformat(),  # once a person has it tried again, that is another move
            "begun": begins[0].identity if begins else None,
        }
        moved = Effect.of(MOVE, identity, S3, payload)
        return [*begins, moved, _release(copy, one, {"move": moved.key})]


def _since(copy: Copy) -> datetime:
    """Since when this content is what belongs there."""
    return copy.verified_at if copy.state == "verified" and copy.verified_at is not None else copy.intended_at


def _is_overtaken(copy: Copy, one: dict[str, Any], there: Copy) -> bool:
    """Whether newer content of its call lies in S3 already. Rounds tell, whatever the clock did meanwhile; what has
    none, since it was bound for S3 later, is told by time. Under a recording's key never lies a newer one."""
    if copy.role == "audio" or there.state != "verified" or there.sha256 == copy.sha256:
        return False
    return there.round > one.get("round", 0) or _since(there) > _since(copy)


def _overtaken(copy: Copy, one: dict[str, Any]) -> Effect:
    """Newer content of its call lies in S3 already: this one moves no more."""
    return _release(copy, one, {"move": None, "as_of": copy.changed_at.isoformat()})


def _release(copy: Copy, one: dict[str, Any], why: dict[str, Json]) -> Effect:
    """Let go of it in the local store."""
    payload: dict[str, Json] = {
        "local": copy.key,
        "sha256": copy.sha256,
        "size": copy.size,
        "named": one["metadata"].get("call-id", ""),
        **why,
    }
    return Effect.of(RELEASE, f"local:{copy.key}", STORAGE, payload)


def _outgrown(read: Reader, subject: int) -> list[int]:
    """The recordings of a call of which something lies in storage, and whose original made room for a copy on disk."""
    items = {copy.item for copy in records.copies(read, subject) if copy.role == "audio" and copy.item is not None}
    found = {records.recording_of_copy(read, item) for item in items}
    return sorted(one for one in found if records.standing_for(read, one) != one)


def _put_again(read: Reader, gone: Sequence[Copy]) -> Planned:
    """What was to move and is gone is stored again by its call, and said; what nothing holds waits for a person."""
    found = [copy for copy in gone if has_source(read, copy)]
    again = dict.fromkeys(storing_job(read, copy.subject) for copy in found)
    facts = [
        CopyGone(copy.key, copy.sha256, NOT_HERE) if copy in found else Stranded(copy.key, NOWHERE) for copy in gone
    ]
    fields: dict[str, Json] = {"objects": len(found), "reason": NOT_HERE}
    events = (Event("storage.lost", fields, "warning"),) if found else ()
    return Planned(tuple(facts), then=(*again, JobSpec(DRAIN, S3)), events=events)


@dataclass(frozen=True, slots=True)
class LetGoHandler:
    """Decides whether a call's sources may go. The key is the conversation's or the recording's id.

    ``crm`` says whether calls are delivered to a CRM: then their sources stay until it has them.
    """

    settings: StorageSettings
    places: Places
    crm: bool
    kinds = (LET_GO,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Let go of every source whose very bytes are verified where they belong."""
        subject = int(job.key)
        if self.settings.after != "remove":
            return Planned()
        stored_by = storing_job(read, subject)
        if stored_by.kind == LONE and stored_by.key != job.key:
            return Planned(then=(JobSpec(LET_GO, stored_by.key),))  # another side speaks for both
        lacks = self._lacks(read, subject)
        if lacks:
            return Postponed(read.now + LOOK_AGAIN, lacks)
        verified = [copy.verified_at for copy in records.copies(read, subject) if copy.verified_at is not None]
        until = max(verified, default=read.now) + self.settings.grace
        if until > read.now:
            return Postponed(until, "storage.grace is not over yet")
        bucket = self.places.buckets[self.places.home]
        effects = []
        for copy in records.copies(read, subject):
            at_home = copy.place == self.places.home and copy.bucket == bucket
            if at_home and copy.item is not None and copy.state == "verified":
                payload: dict[str, Json] = {
                    "item": copy.item,
                    "sha256": copy.sha256,
                    "size": copy.size,
                    "place": copy.place,
                    "key": copy.key,
                    "subject": subject,
                }
                effects.append(Effect.of(REMOVE, f"item:{copy.item}", STORAGE, payload))
        return Planned(effects=tuple(effects))

    def _lacks(self, read: Reader, subject: int) -> str:
        """What is still to happen before a source may go; empty where nothing is."""
        found = records.copies(read, subject)
        home = self.places.home
        if {subject, *(copy.item for copy in found)}.intersection(records.held_items(read)):
            return "a part of it is on hold"
        there = [copy for copy in found if copy.place == home and copy.state == "verified"]
        if not any(copy.role == "sidecar" for copy in there):
            return "not all of it is verified in storage yet"
        if any(copy.place == home and copy.state == "intended" for copy in found):
            return "not all of it is verified in storage yet"
        if self.crm:
            call = records.call(read, subject)
            if call is None or call.delivered_at is None:
                return "the CRM does not have it yet"
        return ""


@dataclass(frozen=True, slots=True)
class SweepHandler:
    """Looks by the clock for what nobody woke: recordings that no call claims, sidecars that do not name the call's id
    in the CRM yet, copies that wait to move."""

    wait: timedelta
    bucket: str | None = None
    kinds = (SWEEP,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Jobs for what was found."""
        del job
        lone = records.lone_recordings(read, records.undecided_since(read, self.wait) - self.wait, 500)
        then = [JobSpec(LONE, str(recording)) for recording in lone]
        then += [JobSpec(STORE, str(call)) for call in records.calls_to_name(read)]
        if records.bound_copies(read, 1) or records.copies_stranded(read, NOT_HERE, 1):
            then.append(JobSpec(DRAIN, S3))
        if self.bucket is not None and _stale(read, self.bucket):
            then.append(JobSpec(ABANDON, S3))
        return Planned(then=tuple(then))


IDLE, OLD = timedelta(hours=1), timedelta(days=7)
"""After which an upload in parts is given up: of what is not to be put any more, and of anything. Its parts cost."""


def _stale(read: Reader, bucket: str) -> tuple[tuple[str, str], ...]:
    return records.stale_multiparts(read, bucket, read.now - IDLE, read.now - OLD)


@dataclass(frozen=True, slots=True)
class AbandonHandler:
    """Has uploads in parts given up that we began and nobody goes on with; those of others are left alone."""

    bucket: str | None
    kinds = (ABANDON,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """One effect for each."""
        del job
        found = () if self.bucket is None else _stale(read, self.bucket)
        return Planned(
            effects=tuple(
                Effect.of(ABORT, f"{self.bucket}/{key}", S3, {"key": key, "upload_id": upload}) for key, upload in found
            )
        )


@dataclass(frozen=True, slots=True)
class ProbeHandler:
    """Has the service asked what it can, where nobody knows or it was asked long ago. The key is the service."""

    service: str
    every: timedelta = timedelta(days=30)
    kinds = (PROBE,)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Ask, unless it is known."""
        known = records.service_found(read, self.service)
        if not self.service or (known is not None and read.now - known[1] < self.every and not job.told):
            return Planned()
        since = stamp(read.now) if job.told else "never" if known is None else stamp(known[1])
        payload: dict[str, Json] = {"service": self.service, "host": records.host_id(read), "since": since}
        return Planned(effects=(Effect.of(ASK, self.service, S3, payload),))


def fell_back(named: str, reason: str, size: int) -> Event:
    """The line that says that the local store took what S3 did not."""
    fields: dict[str, Json] = {"reason": reason, "size_bytes": size, "dest": S3, "fix": "callspool doctor"}
    return Event("storage.fell_back", {**_subject(named), **fields}, "warning")


def _subject(named: str) -> dict[str, Json]:
    return {"call_id": named} if named.startswith("c") else {"subject": named}
