"""What a CRM received of a dropped traffic, measured against the truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CrmScore:
    """Counts of calls, but for ``shared_ids``: call ids under which more than one call came.

    ``right``: with its own recording, or rightly without one. ``wrong_recordings`` and ``wrong_leads`` are another
    call's; ``without_recording`` and ``without_lead`` came without the one they have. ``missing`` never came,
    ``doubled`` came under several ids, ``unknown`` is no call of the traffic.
    """

    right: int = 0
    wrong_recordings: int = 0
    without_recording: int = 0
    wrong_leads: int = 0
    without_lead: int = 0
    missing: int = 0
    doubled: int = 0
    unknown: int = 0
    shared_ids: int = 0


def score_crm(truth: Mapping[str, Any], calls: Iterable[Mapping[str, Any]], uploads: Mapping[str, str]) -> CrmScore:
    """Judge what came.

    ``truth`` is what ``drop_traffic`` wrote; ``calls`` are the accepted bodies of step 2 (formats.md, section 4), in
    order, a later one of the same call in place of an earlier; ``uploads`` gives the ``originalName`` of each URL.
    """
    known: Mapping[str, Mapping[str, Any]] = truth["calls"]
    last: dict[str, Mapping[str, Any]] = {}
    ids: dict[str, set[str]] = defaultdict(set)
    sessions: dict[str, set[str]] = defaultdict(set)
    for body in calls:
        session, call_id = str(body["transcription"].get("session_id")), str(body["callDetails"]["callId"])
        last[session] = body
        ids[session].add(call_id)
        sessions[call_id].add(session)
    came = {session: body for session, body in last.items() if session in known}
    recordings = [(_recording(body, uploads), known[session]["recording"]) for session, body in came.items()]
    leads = [(body.get("lead", {}).get("reference"), known[session]["lead"]) for session, body in came.items()]
    return CrmScore(
        right=sum(given == own for given, own in recordings),
        wrong_recordings=_wrong(recordings),
        without_recording=_without(recordings),
        wrong_leads=_wrong(leads),
        without_lead=_without(leads),
        missing=len(known.keys() - came.keys()),
        doubled=sum(len(several) > 1 for several in ids.values()),
        unknown=len(last.keys() - known.keys()),
        shared_ids=sum(len(several) > 1 for several in sessions.values()),
    )


def _recording(body: Mapping[str, Any], uploads: Mapping[str, str]) -> str | None:
    """The recording's own name; a URL the CRM never gave out is taken for a recording of its own, and so for wrong."""
    url = body["callDetails"].get("recordingUrl")
    return None if url is None else uploads.get(url, str(url))


def _wrong(pairs: Sequence[tuple[str | None, str | None]]) -> int:
    return sum(given is not None and given != own for given, own in pairs)


def _without(pairs: Sequence[tuple[str | None, str | None]]) -> int:
    return sum(given is None and own is not None for given, own in pairs)
