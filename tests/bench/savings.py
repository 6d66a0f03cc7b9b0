"""Bytes saved on a mixed folder: callspool's plan beside the script that encodes everything anew at 96 kbit/s.

    python -m tests.bench.savings [--minutes 2] [--json]

The folder holds calls as they are met: WAV, a browser's WebM at 32, 64 and 128 kbit/s, a phone system's MP3, a voice
bot's Ogg. Both encode with the same worker. The script (the usual one: Opus at 96 kbit/s in place of each file older
than a week) keeps what comes out; callspool decides by its defaults, keeps what a copy really saves, and nothing else.
Wanted: at least as many bytes saved, and no file made larger.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from handlers.audio.pool import Prober
from handlers.compress.policy import Encode, Leave, Repack, decide, largest
from handlers.records import Compressible
from handlers.settings import CompressSettings
from tests.bench.figures import Report, options, workshop
from tests.support import audio

CALLS: tuple[tuple[str, str, str, int | None], ...] = (
    ("pbx.wav", "wav", "pcm_s16le", None),
    ("browser-128k.webm", "webm", "libopus", 128_000),
    ("browser-64k.webm", "webm", "libopus", 64_000),
    ("browser-32k.webm", "webm", "libopus", 32_000),
    ("pbx-128k.mp3", "mp3", "libmp3lame", 128_000),
    ("bot-24k.ogg", "ogg", "libopus", 24_000),
)
SPANS = [(at * 4.0 + 0.5, at * 4.0 + 3.1) for at in range(15)]
SCRIPT = 96_000
NOW = datetime(2025, 11, 1, tzinfo=UTC)


def done(prober: Prober, source: Path, seconds: float, way: str, bitrate: int) -> int:
    """The bytes of a copy."""
    copy = source.with_suffix(".copy")
    request: dict[str, Any] = {"do": way, "bitrate": bitrate, "largest": 1 << 40, "about": ""}
    request |= {"application": "audio", "complexity": 10}
    with source.open("rb") as one, copy.open("wb+") as other:
        prober.do(request, one.fileno(), other.fileno(), seconds)
    return copy.stat().st_size


def planned(prober: Prober, source: Path) -> tuple[str, int]:
    """What callspool does, and the bytes that lie there afterwards."""
    info, size = prober.measure(os.fsencode(source)), source.stat().st_size
    settings = CompressSettings()
    old = NOW - timedelta(days=8)
    known = Compressible(
        1, source.name, size, info.media_s, info.codec, info.channels, old, info.container, tuple(info.flags)
    )
    what = decide(known, settings, NOW)
    if isinstance(what, Encode):
        made = done(prober, source, info.media_s, "encode", what.bitrate)
        return ("encoded", made) if made <= largest(size, settings) else ("left", size)
    if isinstance(what, Repack):
        made = done(prober, source, info.media_s, "repack", what.bitrate)
        return ("packets copied", made) if made < size else ("left", size)
    assert isinstance(what, Leave)
    return "left", size


def main() -> int:
    """Make the folder, let both at it, and tell."""
    parser = options(__doc__ or "")
    parser.add_argument("--minutes", type=int, default=2)
    given = parser.parse_args()
    report = Report("savings", ["file", "bytes", "the script's", "ours", "how"])
    saved, script, larger, larger_there = 0, 0, 0, 0
    with workshop(given.folder) as folder, Prober(1) as prober:
        spoken = audio.talk(SPANS, 60, rate=audio.RATE, noise_db=-58)
        for name, container, codec, bit_rate in CALLS:
            path = folder / name
            audio.encode(path, spoken, container=container, codec=codec, bit_rate=bit_rate, times=given.minutes)
            size, theirs = path.stat().st_size, done(prober, path, 60.0 * given.minutes, "encode", SCRIPT)
            how, ours = planned(prober, path)
            report.row(name, size, theirs, ours, how)
            saved, script = saved + size - ours, script + size - theirs
            larger, larger_there = larger + (ours > size), larger_there + (theirs > size)
    report.result("bytes saved beside the script's", saved / script, "at least 1")
    report.result("files made larger", larger, f"0 (the script: {larger_there})")
    report.show(as_json=given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
