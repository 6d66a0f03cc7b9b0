"""Real files of a simulated traffic, dropped into watched folders by a process of its own, the truth kept apart.

Recordings in which two voices are heard where their lines are, transcripts and leads, in the order in which producers
finish them (which is not that of the calls), each written beside and renamed, as fast as it goes. Talks are short, half
of them under 20 s. Nothing here knows the matcher.

    python -m tests.bench.drop_traffic --folder DIR --truth FILE [--calls 600] [--rate 60] [--seed 1]
        [--with PARAMETER=VALUE …]

What a CRM then received is judged by ``delivered.score_crm``.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.producers import Written, written
from tests.bench.talk import Law
from tests.bench.traffic import Traffic, calls
from tests.bench.voices import Studio

SHORT = Law(20.0, 0.5, 8.0, 60.0)
"""Talk time that keeps 600 calls to a few hours of sound."""


def drop(traffic: Traffic, folder: Path, seed: int) -> dict[str, Any]:
    """Write all files of a traffic below ``folder``; returns the truth."""
    rng = random.Random(seed)
    files = written(traffic, calls(traffic, rng), rng)
    for kind in ("recordings", "conversations", "leads"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    studio = Studio(rng)
    for file in files:
        put(studio, file, folder / file.kind / file.name)
    return truth(files)


def put(studio: Studio, file: Written, path: Path) -> None:
    """Write a file beside its place and rename it there."""
    part = path.with_name(f".{path.name}.part")
    if file.document is None:
        recorded = file.call.recorded
        assert recorded is not None
        studio.write(part, studio.sound(file.call.lines, recorded.begins, recorded.ends))
    else:
        part.write_text(json.dumps(file.document))
    part.rename(path)


def truth(files: Sequence[Written]) -> dict[str, Any]:
    """Which recording (its name) and which lead (its reference) each transcript (its session id) belongs to."""
    recordings = {file.call.nth: file.name for file in files if file.kind == "recordings"}
    leads = {file.call.nth: file.document["reference"] for file in files if file.kind == "leads" and file.document}
    return {
        "calls": {
            file.document["session_id"]: {
                "transcript": file.name,
                "recording": recordings.get(file.call.nth),
                "lead": leads.get(file.call.nth),
            }
            for file in files
            if file.kind == "conversations" and file.document
        },
        "recordings": len(recordings),
        "leads": len(leads),
    }


def main() -> None:
    """Drop the files, then write the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where recordings, conversations and leads lie")
    parser.add_argument("--truth", type=Path, required=True, help="a file outside that folder, written at the end")
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--rate", type=float, default=60.0, help="calls a minute, by the times in the files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--with", dest="changes", nargs="+", default=[], metavar="PARAMETER=VALUE")
    given = parser.parse_args()
    traffic = Traffic(
        rate=given.rate, conversations=given.calls, talk_s=SHORT, number_in_metadata=0.2, number_in_name=0.2
    )
    given.truth.write_text(json.dumps(drop(traffic.changed(given.changes), given.folder, given.seed)))


if __name__ == "__main__":
    main()
