"""The files of calls as voice bots leave them: names and fields as in the field, numbers from the fictional range."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.audio import make_ogg_opus
from tests.support.process import Site

FIRST = datetime(2025, 10, 29, 6, 48, 24, 123000, tzinfo=UTC)
"""When the first call of a test begins."""


@dataclass(frozen=True)
class FieldCall:
    """One call, to be dropped as files. ``nth`` spaces calls ten minutes apart and gives each its own number."""

    nth: int = 0
    seconds: float = 3.0
    lead: bool = False
    number: bool = True
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def start(self) -> datetime:
        """When the conversation began."""
        return FIRST + timedelta(minutes=10) * self.nth

    @property
    def end(self) -> datetime:
        """When it ended."""
        return self.start + timedelta(seconds=self.seconds)

    @property
    def phone(self) -> str:
        """The caller's number."""
        return f"+1202555{100 + self.nth % 100:04d}"

    @property
    def stamp(self) -> str:
        """The naive moment (UTC) at which transcript and lead were saved."""
        return (self.end + timedelta(seconds=1)).strftime("%Y-%m-%dT%H-%M-%S.%f")

    @property
    def session_id(self) -> str:
        """The session's id, with its second."""
        return f"session_{self.start:%Y%m%d_%H%M%S}_{self.nth:08x}"

    @property
    def recording_name(self) -> str:
        """The recording's file name."""
        epoch = int(self.start.timestamp())
        return f"number-{self.phone.replace('+', '_')}-{epoch}.ogg" if self.number else f"call-{epoch}.ogg"

    @property
    def transcript_name(self) -> str:
        """The transcript's file name."""
        return f"transcript_session_{self.stamp}.json"

    @property
    def lead_name(self) -> str:
        """The lead's file name."""
        return f"leads_session_{self.stamp}.json"

    def transcript(self) -> dict[str, Any]:
        """The transcript's object."""
        return {
            "session_id": self.session_id,
            "start_time": _iso(self.start),
            "end_time": _iso(self.end),
            "duration_seconds": round(self.seconds),
            "total_items": 2,
            "conversation_items": [
                {
                    "role": "assistant",
                    "content": "How may I help?",
                    "timestamp": _iso(self.start + timedelta(seconds=0.5)),
                },
                {"role": "user", "content": "A quote, please.", "timestamp": _iso(self.end - timedelta(seconds=0.5))},
            ],
            "lead_generated": self.lead,
            "metadata": {"auto_saved": True},
            **self.document,
        }

    def drop_recording(self, site: Site) -> Path:
        """Rename a finished recording into place."""
        path = site.recordings / self.recording_name
        part = path.with_name("." + path.name + ".part")
        make_ogg_opus(part, self.seconds)
        part.rename(path)
        return path

    def drop_transcript(self, site: Site) -> Path:
        """Rename the transcript into place."""
        return put_json(site.conversations / self.transcript_name, self.transcript())

    def drop_lead(self, site: Site) -> Path:
        """Rename the lead into place."""
        document = {
            "name": "A. Caller",
            "email": "caller@crm.example",
            "company": "Acme",
            "interest": "quote",
            "n": self.nth,
        }
        return put_json(site.leads / self.lead_name, document)

    def drop(self, site: Site) -> None:
        """All its files, the recording first."""
        self.drop_recording(site)
        self.drop_transcript(site)
        if self.lead:
            self.drop_lead(site)


def put_json(path: Path, document: object) -> Path:
    """Write beside and rename, as careful producers do."""
    part = path.with_name("." + path.name + ".part")
    part.write_text(json.dumps(document))
    part.rename(path)
    return path


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
