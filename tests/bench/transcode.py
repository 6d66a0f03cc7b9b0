"""Transcoding a folder: callspool's encoders beside ``ffmpeg`` under ``xargs -P``, with the same settings.

    python -m tests.bench.transcode [FILES] [MINUTES]

Prints audio seconds a second of both, their ratio, what verifying costs beside encoding, and the most memory a worker
took. ffmpeg is the system's; both keep 48 kHz and write 64 kbit/s at complexity 10.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from handlers.audio.pool import Prober
from tests.bench.figures import cpu_s
from tests.support import audio

BITRATE = 64_000
SPANS = [(at * 4.0 + 0.5, at * 4.0 + 3.1) for at in range(15)]


def corpus(folder: Path, files: int, minutes: int) -> list[Path]:
    """So many WAV files of talk, each so many minutes long."""
    spoken = audio.talk(SPANS, 60, rate=audio.RATE, noise_db=-58)
    paths = [folder / f"call-{number}.wav" for number in range(files)]
    for path in paths:
        audio.encode(path, spoken, container="wav", codec="pcm_s16le", times=minutes)
    return paths


def ours(prober: Prober, source: Path, seconds: float, *, verify: bool) -> None:
    """Encode one file, and where asked read it back and compare."""
    request = {"do": "encode", "bitrate": BITRATE, "largest": 1 << 40, "application": "audio", "complexity": 10}
    copy = source.with_suffix(".opus")
    with source.open("rb") as one, copy.open("wb+") as other:
        prober.do(request, one.fileno(), other.fileno(), seconds)
        if verify:
            prober.do({"do": "compare"}, one.fileno(), other.fileno(), seconds)


def main(files: int = 4, minutes: int = 5) -> None:
    """Measure both in turn, alternating, the better of two."""
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as name:
        paths = corpus(Path(name), files, minutes)
        seconds, total = minutes * 60.0, files * minutes * 60.0
        best: dict[str, float] = {}
        cpu: dict[str, float] = {}
        for _ in range(2):
            for verify in (False, True):
                with Prober(workers) as prober, ThreadPoolExecutor(workers) as pool:
                    began = time.perf_counter()
                    list(pool.map(lambda path, v=verify: ours(prober, path, seconds, verify=v), paths))
                    took = time.perf_counter() - began
                    used = sum(cpu_s(worker.process.pid) for worker in prober._workers.values())
                key = "verified" if verify else "encoded"
                cpu[key] = min(cpu.get(key, used), used)
                best[key] = min(best.get(key, took), took)
            command = (
                f"printf '%s\\0' {name}/*.wav | xargs -0 -P{workers} -I@ ffmpeg -nostdin -v error -y -i @ -c:a libopus"
            )
            began = time.perf_counter()
            subprocess.run(f"{command} -b:a {BITRATE} -ar 48000 @.ogg", shell=True, check=True)
            took = time.perf_counter() - began
            best["ffmpeg"] = min(best.get("ffmpeg", took), took)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    for key, took in best.items():
        print(f"{key:<10}{total / took:>8.0f} audio seconds a second")
    print(f"encoding beside ffmpeg: {best['ffmpeg'] / best['encoded']:.2f}")
    print(f"with verification beside ffmpeg: {best['ffmpeg'] / best['verified']:.2f}")
    print(f"verification beside encoding, in processor time: {cpu['verified'] / cpu['encoded'] - 1:.2f}")
    print(f"most memory of any process: {peak:.0f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
