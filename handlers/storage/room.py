"""The room as a value: where audio, transcripts and leads are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from daemon.contract import (
    Fact,
    Fields,
    JobSpec,
    Lane,
    Machine,
    Patience,
    Performer,
    Reader,
    Room,
    Scheduled,
    Serving,
    Subject,
    Witness,
)
from handlers import records
from handlers.settings import StorageSettings, zone_of
from handlers.storage.acts import acts
from handlers.storage.archive import (
    ARCHIVE,
    CLASS,
    CLASSES,
    CLASSIFY,
    Archive,
    ArchiveHandler,
    ClassifyHandler,
    ClassPerformer,
    archive_now,
)
from handlers.storage.follow import (
    FOLLOW_ALL,
    SUPERSEDE,
    SUPERSEDED,
    FollowAllHandler,
    FollowHandler,
    SupersedePerformer,
)
from handlers.storage.forget import traces
from handlers.storage.handler import (
    ABANDON,
    ABORT,
    ASK,
    BEGIN,
    DRAIN,
    FOLLOW,
    LET_GO,
    LONE,
    MOVE,
    PROBE,
    PUT,
    RELEASE,
    REMOVE,
    S3,
    STORAGE,
    STORE,
    SWEEP,
    AbandonHandler,
    DrainHandler,
    LetGoHandler,
    ProbeHandler,
    StoreHandler,
    SweepHandler,
)
from handlers.storage.held import held
from handlers.storage.info import INFO, PROCESS, Intake
from handlers.storage.kept import Kept
from handlers.storage.layout import Layout
from handlers.storage.local import LocalStore
from handlers.storage.pace import Health, Hours
from handlers.storage.performers import (
    AbortPerformer,
    BeginPerformer,
    InParts,
    MovePerformer,
    PutPerformer,
    ReleasePerformer,
    RemovePerformer,
    Stores,
)
from handlers.storage.planning import NOWHERE, Places
from handlers.storage.probing import AskPerformer, check
from handlers.storage.repair import redo
from handlers.storage.service import Credentials, s3_of
from handlers.storage.witness import witnesses

if TYPE_CHECKING:
    from fastapi import APIRouter

SWEEP_AT = "*/5 * * * *"
ARCHIVE_AT = "23 3 * * *"
FOLLOW_AT = "43 4 * * *"

SUBJECTS: Mapping[str, Subject] = {
    STORE: Subject("call_id", "c"),
    LONE: Subject("subject", "r"),
    DRAIN: Subject("subject", "drain:"),
    LET_GO: Subject("call_id", "c"),
    SWEEP: Subject("subject", "sweep:"),
    ABANDON: Subject("subject", "abandon:"),
    PROBE: Subject("subject", "probe:"),
    ARCHIVE: Subject("subject", "archive:"),
    CLASSIFY: Subject("item", "r"),
    FOLLOW: Subject("item", "r"),
    FOLLOW_ALL: Subject("subject", "follow:"),
}


def room(
    settings: StorageSettings,
    folder: str,
    credentials: Credentials,
    machine: Machine,
    *,
    timezone: str = "host",
    match_wait: timedelta = timedelta(minutes=15),
    crm: bool = False,
    recordings: str = "",
    renewed: Callable[[], Credentials] = Credentials,
) -> Room:
    """The room. ``folder`` is the local store's, absolute; ``timezone`` that of ``storage.s3.pace``; ``crm`` says that
    calls are delivered to a CRM, which needs their sources until it has them; ``recordings`` is the watched folder that
    what comes over HTTP is put into; ``renewed`` reads the credentials anew."""
    hours = Hours(settings.s3.pace, zone_of(timezone))
    kept = Kept()
    local = LocalStore(folder, settings.min_free)
    s3 = s3_of(settings, credentials, kept, hours, machine.clock, renewed)
    health = Health(machine.clock, settings.retry)
    stores = Stores(local, s3, health, hours, machine.clock, machine.contents, machine.view)
    places = places_of(settings, s3)
    service = "" if s3 is None else s3.service

    def refresh(read: Reader) -> None:
        if service:
            found = records.service_found(read, service)
            kept.take(None if found is None else found[0])

    bucket = None if s3 is None else s3.bucket
    schedules = [
        Scheduled(SWEEP_AT, "UTC", JobSpec(SWEEP, "all")),
        Scheduled(FOLLOW_AT, timezone, JobSpec(FOLLOW_ALL, "all")),
    ]
    if service:
        schedules.append(Scheduled("17 * * * *", "UTC", JobSpec(PROBE, "s3")))
    archive = archive_of(settings, s3)
    if archive is not None:
        schedules.append(Scheduled(ARCHIVE_AT, timezone, JobSpec(ARCHIVE, S3)))
    patience = Patience(tuple(settings.retry), 3)
    part_size, unasked = settings.s3.part_size, lambda: bool(service) and kept.says("put") == "unknown"
    return Room(
        name="storage",
        handlers=(
            StoreHandler(settings, places, part_size, refresh, unasked),
            DrainHandler(places, part_size, hours, refresh, settings.after == "remove"),
            LetGoHandler(settings, places, crm),
            SweepHandler(match_wait, bucket),
            AbandonHandler(bucket),
            ProbeHandler(service),
            ArchiveHandler(archive),
            ClassifyHandler(archive),
            FollowHandler(places),
            FollowAllHandler(places),
        ),
        lanes=(
            Lane("storage", (STORE, LONE), workers=settings.workers),
            Lane("storage.upkeep", (DRAIN, LET_GO, SWEEP, ABANDON, PROBE), workers=2),
            Lane("storage.archive", (ARCHIVE, CLASSIFY), workers=2),
            Lane("storage.follow", (FOLLOW, FOLLOW_ALL), workers=2),
        ),
        performers={**_performers(stores), ASK: AskPerformer(s3, kept, settings)},
        subjects=SUBJECTS,
        patience={STORAGE: patience, S3: patience, CLASSES: patience, SUPERSEDED: patience},
        acts={**acts(places, service), "storage.archive": archive_now(archive)},
        redo={kind: redo(places, kind) for kind in (STORE, LONE)},
        status=lambda read: status(read, places),
        traces=partial(traces, local, s3),
        heard=heard,
        witnesses=partial(witnesses, (local,) if s3 is None else (local, s3), settings.s3.prefix),
        explain=explain,
        holds=partial(held, (local,) if s3 is None else (local, s3)),
        failures=failures,
        checks=(lambda read: tuple(check(settings, local, s3, kept, read)),),
        schedules=tuple(schedules),
        routes=None if not recordings else partial(_routes, Intake(settings, recordings, s3 is not None)),
        open_paths=(INFO,),
        big_paths=(PROCESS,),
    )


def _performers(stores: Stores) -> dict[str, Performer]:
    """What is done in the stores."""
    return {
        PUT: PutPerformer(stores),
        BEGIN: BeginPerformer(stores),
        MOVE: MovePerformer(stores),
        RELEASE: ReleasePerformer(stores),
        REMOVE: RemovePerformer(stores),
        ABORT: AbortPerformer(stores),
        CLASS: ClassPerformer(stores),
        SUPERSEDE: SupersedePerformer(stores),
    }


def _routes(intake: Intake, serving: Serving) -> APIRouter:
    from handlers.storage.routes import routes

    return routes(intake, serving)


def places_of(settings: StorageSettings, s3: InParts | None) -> Places:
    """The places in use: the local one always, since it takes what S3 does not."""
    layouts = {"local": Layout("", settings.local.audio, settings.local.transcripts)}
    buckets = {"local": ""}
    if s3 is not None:
        layouts["s3"] = Layout(settings.s3.prefix, settings.s3.audio, settings.s3.transcripts)
        buckets["s3"] = s3.bucket
    return Places("local" if s3 is None else "s3", buckets, layouts, settings.follow_compression)


def archive_of(settings: StorageSettings, s3: InParts | None) -> Archive | None:
    """What old recordings in S3 get; None where nothing is configured, or they belong into the local store."""
    after = settings.s3.archive_after
    if s3 is None or after is None:
        return None
    return Archive(s3.bucket, after, settings.s3.archive_class, settings.s3.class_from_size)


def status(read: Reader, places: Places) -> Fields:
    """Where copies belong, how many are verified where, and what waits."""
    return {"home": places.home, **records.copy_counts(read)}


def heard(witnesses: Sequence[Witness], _delivered: bool) -> tuple[Fact, ...]:
    """Which recordings lie in storage, as sidecars say, kept until their calls are stored again."""
    return tuple(records.RecordingWitnessed(sha256) for witness in witnesses for sha256 in witness.recordings)


def explain(read: Reader, subject: str) -> Fields | None:
    """Where every copy of a call lies; its numbers are left in the store's own keys, which are told here alone."""
    found = records.find_calls(read, subject)
    ids = [found[-1]] if found else [int(subject[1:])] if subject[:1] == "r" and subject[1:].isdecimal() else []
    copies = [copy for one in ids for copy in records.copies(read, one)]
    if not copies:
        return None
    return {"copies": [told(copy) for copy in copies]}


def told(copy: records.Copy) -> Mapping[str, str | int | None]:
    """A copy as it is shown."""
    return {
        "place": copy.place if not copy.bucket else f"s3 {copy.bucket}",
        "key": copy.key,
        "role": copy.role,
        "size": copy.size,
        "sha256": copy.sha256[:12],
        "state": copy.state,
        "proof": copy.proof,
        "reason": copy.reason,
        "class": copy.storage_class,
        "waits": None if copy.bound_for is None else "to move to S3",
    }


def failures(read: Reader) -> Sequence[Fields]:
    """Copies that S3 will not take, or whose key holds another's content."""
    return [
        {
            "subject": f"c{copy.subject}",
            "kind": "storage",
            "reason": f"{copy.role} stays in the local store: {copy.reason}",
            "fix": "callspool verify --repair" if copy.reason == NOWHERE else "callspool storage drain",
            "since": None,
        }
        for copy in records.troubled_copies(read)
    ]
