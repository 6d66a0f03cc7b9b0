"""How people name what a job is about."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.contract import Job, Json, Subject


class Names:
    """The subjects of every kind of job, as its room declared them."""

    def __init__(self, subjects: Mapping[str, Subject]) -> None:
        self._subjects = subjects

    def subject(self, job: Job) -> str:
        """The job's subject on the command line."""
        known = self._subjects.get(job.kind)
        return f"{job.kind}:{job.key}" if known is None else known.prefix + job.key

    def fields(self, job: Job) -> Mapping[str, Json]:
        """The job's subject as log fields."""
        known = self._subjects.get(job.kind)
        return {"kind": job.kind, "subject" if known is None else known.field: self.subject(job)}
