"""Exact lengths: files a second beside ``ffprobe`` for each file, and an hour of WebM beside pydub.

    python -m tests.bench.lengths [--files 300] [--minutes 60] [--rounds 3] [--json]

The files are of 20 to 180 s, a third of them Ogg/Opus and the rest WebM (60 ms packets and no Duration, as Chromium
records), MP3, M4A, WAV and FLAC. Ours are measured by one worker process as the daemon has it, its start and listening
left out (``inspect`` and the intake listen too, for speech and quality); ffprobe is the system's, one process for each
file. pydub loads the whole file with the system's ffmpeg.
Seconds are processor time, so that a busy machine does not decide.
Wanted: at least 15 times ffprobe's files a second, and at least 50 times as fast as pydub.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from handlers.audio.pool import Prober
from tests.bench.figures import Report, cpu_s, family, median, options, workshop
from tests.support import audio

KINDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "ogg": ("ogg", "libopus", {}),
    "webm": ("webm", "libopus", {"live": "1"}),
    "mp3": ("mp3", "libmp3lame", {}),
    "m4a": ("mp4", "aac", {}),
    "wav": ("wav", "pcm_s16le", {}),
    "flac": ("flac", "flac", {}),
}
WEBM = {"frame_duration": "60"}
"""As Chromium records."""

ORDER = ("ogg", "webm", "ogg", "mp3", "m4a", "ogg", "wav", "webm", "flac")
WANTED_FILES, WANTED_PYDUB = 15.0, 50.0
SPANS = [(at * 4.0 + 0.5, at * 4.0 + 3.1) for at in range(5)]


def corpus(folder: Path, files: int) -> list[Path]:
    """So many files of 20 to 180 s: nine of each length and kind are made, the others are the same bytes again."""
    spoken = audio.talk(SPANS, 20, rate=audio.RATE, noise_db=-58)
    made: dict[tuple[str, int], Path] = {}
    paths = []
    for number in range(files):
        kind, times = ORDER[number % len(ORDER)], 1 + number % 9
        container, codec, muxing = KINDS[kind]
        path = folder / f"{number}.{kind}"
        if (kind, times) in made:
            shutil.copyfile(made[kind, times], path)
        else:
            packets = WEBM if kind == "webm" else {}
            audio.encode(
                path, spoken, container=container, codec=codec, options=muxing, times=times, codec_options=packets
            )
            made[kind, times] = path
        paths.append(path)
    return paths


def spent() -> float:
    """Processor seconds of this process, of its ended children, and of those that work for it now."""
    return sum(cpu_s(member) for member in family(os.getpid()))


def timed(work: Callable[[], object]) -> float:
    """Processor seconds that the work took, here and in other processes."""
    began = spent()
    work()
    return spent() - began


def ffprobe(path: Path) -> int:
    """What a script does for each file."""
    words = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "default=nk=1:nw=1", str(path)]
    return subprocess.run(words, check=True, stdout=subprocess.DEVNULL).returncode


def pydub(path: Path) -> float:
    """The length in seconds as pydub knows it: everything is decoded into memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pydub import AudioSegment

        return float(len(AudioSegment.from_file(str(path))) / 1000)


def main() -> int:
    """Measure all in turn; medians of the rounds."""
    parser = options(__doc__ or "")
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with workshop(given.folder) as folder, Prober(1) as prober:
        paths = corpus(folder, given.files)
        hour = folder / "hour.webm"
        minute = audio.talk(SPANS, 20, rate=audio.RATE, noise_db=-58)
        audio.encode(
            hour,
            minute,
            container="webm",
            codec="libopus",
            options={"live": "1"},
            times=3 * given.minutes,
            bit_rate=64_000,
        )
        prober.measure(os.fsencode(hour))
        names = [os.fsencode(path) for path in paths]
        taken: dict[str, list[float]] = {"ours": [], "ffprobe": [], "hour": [], "pydub": []}
        for _ in range(given.rounds):
            taken["ours"].append(timed(lambda: [prober.measure(name) for name in names]))
            taken["ffprobe"].append(timed(lambda: list(map(ffprobe, paths))))
            taken["hour"].append(timed(lambda: prober.measure(os.fsencode(hour))))
        taken["pydub"].append(timed(lambda: pydub(hour)))
    best = {name: median(values) for name, values in taken.items()}
    report = Report("exact lengths", ["of", "ours, s", "theirs, s", "times as fast"])
    many, long = best["ffprobe"] / best["ours"], best["pydub"] / best["hour"]
    report.row(f"{given.files} files, ffprobe for each", best["ours"], best["ffprobe"], many)
    report.row(f"{given.minutes} minutes of WebM, pydub", best["hour"], best["pydub"], long)
    report.result("files a second beside ffprobe", many, f"at least {WANTED_FILES:.0f}")
    report.result("an hour of WebM beside pydub", long, f"at least {WANTED_PYDUB:.0f}")
    report.show(as_json=given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
