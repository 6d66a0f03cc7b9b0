"""Whether every call arrived exactly once, with the right recording and the right length: the CRM's books against what
was written."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from handlers.demo.calls import Call
from handlers.demo.chronicle import Chronicle
from handlers.demo.crm_books import Books

MEASURED_WITHIN_S = 0.0006
"""Lengths in the journal are rounded to the millisecond."""


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one call.

    ``subject`` is the call's name on the command line, if it got so far. ``measured_s`` is the length callspool
    found in the recording, ``told_s`` the one the CRM was told. ``uploads`` and ``posts`` count what the CRM accepted,
    ``records`` the calls that its users see. ``wrong`` is empty where all is as it should be.
    """

    call: Call
    subject: str
    measured_s: float | None
    told_s: int | None
    uploads: int
    posts: int
    records: int
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole: ``wrong`` is what is no single call's."""

    lines: tuple[Line, ...]
    wrong: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Every call once, and right."""
        return not self.wrong and not any(line.wrong for line in self.lines)


def judge(calls: Sequence[Call], crm: Books, chronicle: Chronicle) -> Verdict:
    """Compare; the daemon has stopped."""
    lines = tuple(_line(call, crm, chronicle) for call in calls)
    wrong = []
    stray = len(crm.calls) - sum(1 for line in lines if line.posts)
    if stray:
        wrong.append(f"{stray} call(s) in the CRM that nobody made")
    if len(crm.uploads) > sum(1 for call in calls if call.recording):
        wrong.append("a recording stands twice in the CRM")
    return Verdict(lines, tuple(wrong))


def _line(call: Call, crm: Books, chronicle: Chronicle) -> Line:
    found = [held for held in crm.calls.values() if _session(held.bodies[-1]) == call.session_id]
    bodies = [body for held in found for body in held.bodies]
    details = bodies[-1]["callDetails"] if bodies else {}
    sha256 = hashlib.sha256(call.recording).hexdigest()
    uploads = [upload for upload in crm.uploads if upload.sha256 == sha256]
    understood = chronicle.found("recording.understood", call)
    measured_s = cast("float", understood[-1][1].fields["duration_s"]) if understood else None
    accepted = chronicle.found("crm.accepted", call)
    records = sum(held.records for held in found)
    wrong = []
    if records != 1:
        wrong.append(f"{records} times in the CRM" if records else "not in the CRM")
    for body in bodies:
        wrong += _wrong_body(call, body)
    if call.recording:
        wrong += _wrong_recording(call, details, [upload.url for upload in uploads], measured_s)
    elif "recordingUrl" in details:
        wrong.append("somebody else's recording")
    return Line(
        call,
        str(accepted[0][1].fields["call_id"]) if accepted else "",
        measured_s,
        details.get("recordingDuration"),
        sum(upload.posts for upload in uploads),
        len(bodies),
        records,
        tuple(dict.fromkeys(wrong)),
    )


def _session(body: dict[str, Any]) -> object:
    return body["transcription"].get("session_id")


def _wrong_body(call: Call, body: dict[str, Any]) -> list[str]:
    wrong = []
    if body["transcription"] != json.loads(call.transcript):
        wrong.append("another transcript")
    if body.get("lead") != (json.loads(call.lead) if call.lead else None):
        wrong.append("another lead")
    return wrong


def _wrong_recording(call: Call, details: dict[str, Any], urls: Sequence[str], measured_s: float | None) -> list[str]:
    wrong: list[str] = []
    if not details:
        return wrong
    if details.get("recordingUrl") not in urls:
        wrong.append("without its own recording")
    if details.get("recordingSize") != len(call.recording):
        wrong.append("wrong size")
    if details.get("recordingDuration") != math.floor(call.seconds + 0.5):
        wrong.append("wrong length in the CRM")
    if measured_s is None or abs(measured_s - call.seconds) > MEASURED_WITHIN_S:
        wrong.append("measured wrongly")
    return wrong


def taken_while_open(call: Call, chronicle: Chronicle) -> bool:
    """Whether the slowly written recording was taken before its recorder closed it."""
    closed_s = chronicle.when("demo.recording_closed", call)
    taken_s = chronicle.when("file.settled", call, role="recordings")
    return taken_s is not None and (closed_s is None or taken_s < closed_s)
