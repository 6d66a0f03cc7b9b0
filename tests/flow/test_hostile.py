"""Files made to break readers, dropped into a working daemon: each costs itself and nothing else."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work
from tests.fuzz.sounds import make_all
from tests.fuzz.targets import hostile_documents, mutated
from tests.support import audio
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually

NAMES: tuple[bytes, ...] = (
    b"line\nbreak\r.json",
    b"quote\"'`$(touch pwned);|&.json",
    b"a.. ..json",
    b"a%2e%2e%2f.json",
    "\u202egnp.\u2066json".encode() + b".json",
    b"\xff\xfe\x80 invalid.json",
    b"n" * 250 + b".json",
    b"-rf --.json",
    b"%n%s${HOME}%d.json",
    b"\x1b[31mred\x07.json",
)
MUTATIONS = 24

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def seeded(site: Site, folder: Path) -> int:
    """Drop it all; returns how many files."""
    count = 0
    for name, data in hostile_documents().items():
        if data:
            put(site.conversations, f"transcript_{name.replace(' ', '_').replace(',', '')}.json".encode(), data)
            count += 1
    chance, sounds = random.Random(5), every_container(folder)
    for number, raw in enumerate(NAMES):
        put(site.conversations, raw, b'{"n": %d}' % number)
        put(site.recordings, raw.removesuffix(b".json") + b".ogg", sounds[0][1] + bytes([number]))
        count += 2
    for name, data in sounds:
        for what, spoilt in broken(data).items():
            put(site.recordings, f"{what}-{name}".encode(), spoilt)
            count += 1
    for number in range(MUTATIONS):
        name, data = sounds[number % len(sounds)]
        put(site.recordings, f"m{number}{Path(name).suffix}".encode(), mutated(data, chance.random) + bytes([number]))
        count += 1
    return count


def every_container(folder: Path) -> list[tuple[str, bytes]]:
    """One short file of each, of the rarer ones too."""
    spoken = audio.talk([(0.2, 0.8)], 1, rate=audio.RATE)
    audio.encode(folder / "a.aac", spoken, container="adts", codec="aac")
    audio.encode(folder / "a.mka", spoken, container="matroska", codec="pcm_s16le")
    return [*make_all(folder), *((name, (folder / name).read_bytes()) for name in ("a.aac", "a.mka"))]


def broken(data: bytes) -> dict[str, bytes]:
    """Cut after its head, in the middle and before its last byte; one bit flipped at four places."""
    cuts = {f"cut-{at}": data[:at] for at in (16, len(data) // 2, len(data) - 1)}
    for eighth in (0, 1, 4, 7):
        flipped = bytearray(data)
        flipped[len(data) * eighth // 8] ^= 1 << eighth
        cuts[f"flipped-{eighth}"] = bytes(flipped)
    return cuts


def put(folder: Path, name: bytes, data: bytes) -> None:
    part = folder / ".drop.part"
    part.write_bytes(data)
    os.rename(os.fsencode(part), os.path.join(os.fsencode(folder), name))


def test_hostile_files_cost_themselves_and_nothing_else(site: Site, crm: LoopbackCrm, tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    with at_work(site) as daemon:  # well at the end: no defect, and an orderly stop
        count = seeded(site, sounds)
        settled = "SELECT count(*) FROM file WHERE state IN ('known', 'attention', 'unreadable')"
        eventually(lambda: site.rows(settled)[0][0] >= count, "every file has a state", 60)
        eventually(lambda: not _working(site), "all are decided", 60)
        FieldCall().drop(site)
        eventually(lambda: "CALL-20251029-064824-50100" in crm.calls, "an honest call is delivered")
        told = site.ask("failures")["failures"]
        assert told
        assert all(entry["fix"] for entry in told)
    left = len(list(site.recordings.iterdir())) + len(list(site.conversations.iterdir()))
    assert left == count + 2  # none lost
    crashes = sum(line["event"] in ("defect.caught", "daemon.failed") for line in daemon.lines)
    assert crashes == 0
    print(f"hostile: {count} inputs, crashes {crashes}, lost {count + 2 - left}")
    assert not (site.folder / "pwned").exists()
    for line in daemon.lines:
        assert "\x1b" not in str(line.get("path", ""))


def _working(site: Site) -> bool:
    return bool(site.rows("SELECT 1 FROM job WHERE state IN ('ready', 'running') LIMIT 1"))
