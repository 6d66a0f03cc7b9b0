"""The collection's jobs: the live metadata file, the report by the clock, yesterday's summary, the target."""

from __future__ import annotations

import json
from datetime import timedelta

from daemon.contract import Effect, Event, Fact, Job, JobSpec, Json, Outcome, Planned, Reader, duration_text
from handlers.collection.asked import Collection
from handlers.collection.files import METADATA, WRITE
from handlers.collection.silence import Working, silent
from handlers.records import CollectPaused, SilenceKept, TargetTold, last_recording, silence, target_told

METADATA_KIND, REPORT_KIND, SUMMARY_KIND, TARGET_KIND, SILENCE_KIND = (
    "collection_metadata",
    "collection_report",
    "collection_summary",
    "collection_target",
    "collection_silence",
)
DISK = "disk"

METADATA_JOB = JobSpec(METADATA_KIND, "all")
REPORT_JOB = JobSpec(REPORT_KIND, "all")
SUMMARY_JOB = JobSpec(SUMMARY_KIND, "all")
TARGET_JOB = JobSpec(TARGET_KIND, "all")
SILENCE_JOB = JobSpec(SILENCE_KIND, "all")

SILENT_FIX = "callspool status  shows the folders; then look at what records the calls"


class CollectionHandler:
    """Plans them."""

    kinds = (METADATA_KIND, REPORT_KIND, SUMMARY_KIND, TARGET_KIND, SILENCE_KIND)

    def __init__(self, collection: Collection, *, metadata: str | None, reports: str) -> None:
        self._collection, self._metadata, self._reports = collection, metadata, reports
        settings = collection.settings
        self._working = Working.of(settings.working_days, settings.working_hours, collection.zone)

    def plan(self, job: Job, read: Reader) -> Outcome:
        """Look and decide."""
        if job.kind == METADATA_KIND:
            return self._metadata_file(read)
        if job.kind == REPORT_KIND:
            stamp = read.now.astimezone(self._collection.zone).strftime("%Y-%m-%dT%H-%M-%S")
            said = self._collection.report(read)
            return Planned(effects=(self._written(f"storage_report_{stamp}.json", said),))
        if job.kind == SUMMARY_KIND:
            return self._summary(read)
        if job.kind == SILENCE_KIND:
            return self._silence(read)
        return self._target(read)

    def _metadata_file(self, read: Reader) -> Outcome:
        """The file follows what counts; whoever woke this job changed something."""
        if self._metadata is None:
            return Planned()
        [newest] = read.rows("SELECT max(id) FROM journal")
        payload: dict[str, Json] = {"path": self._metadata, "as_of": newest[0]}
        return Planned(effects=(Effect.of(METADATA, self._metadata, DISK, payload),))

    def _summary(self, read: Reader) -> Outcome:
        date = (read.now.astimezone(self._collection.zone) - timedelta(days=1)).date().isoformat()
        said = self._collection.summary(read, date)
        event = Event("summary.made", {key: value for key, value in said.items() if key != "date"} | {"day": date})
        return Planned(effects=(self._written(f"summary_{date}.json", said),), events=(event,))

    def _target(self, read: Reader) -> Outcome:
        """Told once for each target; files are taken in no more where that was asked for."""
        target = self._collection.settings.target_hours
        total = self._collection.totals(read)[self._collection.settings.counts]
        if target is None or total.hours < target or target_told(read, target):
            return Planned()
        reached = Event("target.reached", {"target_hours": target, "hours": round(total.hours, 2)})
        facts: tuple[Fact, ...] = (TargetTold(target),)
        if not self._collection.settings.stop_at_target:
            return Planned(facts=facts, events=(reached,))
        why = f"the target of {target:g} hours is reached"
        paused = Event("work.paused", {"what": "collect", "reason": why}, "warning")
        return Planned(facts=(*facts, CollectPaused(why)), events=(reached, paused))

    def _silence(self, read: Reader) -> Outcome:
        """Told once when it begins, and once when a recording comes again."""
        allowed = self._collection.settings.silence
        watched, began = silence(read)
        last = last_recording(read) or watched
        if last is None or allowed is None:
            return Planned(facts=(SilenceKept(read.now, None),))
        if began is None and silent(last, read.now, allowed, self._working):
            reason = f"no recording came for {duration_text(allowed)} of working time"
            told = Event("silence.begun", {"reason": reason, "fix": SILENT_FIX}, "warning")
            return Planned(facts=(SilenceKept(watched, last),), events=(told,))
        if began is not None and last > began:
            return Planned(facts=(SilenceKept(watched, None),), events=(Event("silence.ended", {}),))
        return Planned()

    def _written(self, name: str, said: object) -> Effect:
        path = f"{self._reports}/{name}"
        text = json.dumps(said, ensure_ascii=False, indent=2) + "\n"
        return Effect.of(WRITE, path, DISK, {"path": path, "text": text})


def wakes(*, metadata: bool) -> dict[str, JobSpec]:
    """Which event wakes what."""
    if not metadata:
        return {}
    events = ("recording.understood", "crm.accepted", "call.matched", "collection.imported")
    return dict.fromkeys((*events, "hours.excluded", "hours.included", "hours.reset"), METADATA_JOB)
