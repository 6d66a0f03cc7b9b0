"""What must hold at the end, whatever was done on the way."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median_high
from typing import Any

from tests.destruction.world import Dropped, World

MOST_KILOBYTES = 400_000
MOST_DESCRIPTORS = 400

GROWTH, GROWTH_KILOBYTES, GROWTH_DESCRIPTORS = 1.1, 8_000, 8
"""What a process may grow by from the first third of the calm to the last and still be called flat."""

PATIENCE_S = 1200.0
"""How long every object of the run may take to be read and hashed."""

FEWEST_SAMPLES = 12
"""Of a calm shorter than this nothing can be told."""


@dataclass
class Verdict:
    """Each list must be empty."""

    not_delivered: list[str] = field(default_factory=list)
    without_their_recording: list[str] = field(default_factory=list)
    under_two_ids: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    sources_lost: list[str] = field(default_factory=list)
    not_in_storage: list[str] = field(default_factory=list)
    copies_missing: list[str] = field(default_factory=list)
    not_flat: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Nothing was lost, doubled or said that should not be."""
        return not any(vars(self).values())


def judge(world: World) -> Verdict:
    """Hold the CRM's books and the folders against what was dropped."""
    found = Verdict(said=list(dict.fromkeys(world.said)))
    ids = _ids(world)
    uploads = {upload.url: upload.sha256 for upload in world.crm.uploads}
    for dropped in world.dropped:
        _judge_call(world, dropped, ids[dropped.word], uploads, found)
        for path, sha256 in dropped.files.items():
            if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                found.sources_lost.append(path.name)
    found.not_flat += _sizes(world)
    return found


def judge_storage(world: World, found: Verdict) -> None:
    """Hold the store against what was dropped, and against what the ledger says lies there verified."""
    found.not_in_storage += [dropped.word for dropped in _unstored(world)]
    world.site.patience_s = PATIENCE_S
    done = world.site.command("verify", "--deep", "100%", "--json")
    told = json.loads(done.stdout)
    for list_name in ("missing", "differing", "unreached"):
        found.copies_missing += [f"{list_name}: {one}" for one in told[list_name]]


def open_copies(world: World) -> int:
    """How many dropped calls have no copy of their recording where copies belong."""
    return len(_unstored(world))


def _unstored(world: World) -> list[Dropped]:
    there = world.digests_stored()
    return [dropped for dropped in world.dropped if dropped.recording not in there]


def open_calls(world: World) -> int:
    """How many dropped calls the CRM has not yet, or not yet with their recordings."""
    verdict = judge(world)
    return len(verdict.not_delivered) + len(verdict.without_their_recording)


def _ids(world: World) -> dict[str, list[str]]:
    """The ids under which the CRM knows each call, by the call's word."""
    ids: dict[str, list[str]] = defaultdict(list)
    for call_id, call in list(world.crm.calls.items()):
        text = json.dumps(call.bodies[-1])
        at = text.find("marker-")
        ids[text[at : at + 17]].append(call_id)
    return ids


def _judge_call(world: World, dropped: Dropped, ids: list[str], uploads: dict[str, str], found: Verdict) -> None:
    if not ids:
        found.not_delivered.append(dropped.word)
        return
    if len(ids) > 1:
        found.under_two_ids.append(f"{dropped.word}: {ids}")
    call = world.crm.calls[ids[0]]
    if call.records != 1:
        found.doubled.append(f"{dropped.word}: {call.records} records")
    urls = [value for value in _strings(call.bodies[-1]) if value in uploads]
    if dropped.recording not in [uploads[url] for url in urls]:
        found.without_their_recording.append(dropped.word)


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _strings(inner)]
    return [value] if isinstance(value, str) else []


def _sizes(world: World) -> list[str]:
    memory = max((kilobytes for _at, kilobytes, _fds in world.sizes), default=0)
    descriptors = max((fds for _at, _kilobytes, fds in world.sizes), default=0)
    said = [f"{memory} kB of memory"] if memory > MOST_KILOBYTES else []
    said += [f"{descriptors} descriptors"] if descriptors > MOST_DESCRIPTORS else []
    if len(world.calm) >= FEWEST_SAMPLES:
        third = len(world.calm) // 3
        (kb_before, fds_before), (kb_after, fds_after) = _middle(world.calm[:third]), _middle(world.calm[-third:])
        if kb_after > kb_before * GROWTH + GROWTH_KILOBYTES:
            said.append(f"grew from {kb_before} to {kb_after} kB while nothing was done to it")
        if fds_after > fds_before + GROWTH_DESCRIPTORS:
            said.append(f"grew from {fds_before} to {fds_after} descriptors while nothing was done to it")
    return said


def _middle(samples: Sequence[tuple[float, int, int]]) -> tuple[int, int]:
    """The medians of memory and descriptors."""
    return median_high(kb for _at, kb, _fds in samples), median_high(fds for _at, _kb, fds in samples)
