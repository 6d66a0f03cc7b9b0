"""How long does it take to measure an hour of audio and to tell where there is speech in it?

The hour is the demo's speech with pauses of 0.4 to 2.5 s and noise at -60 dBFS, in every codec that recorders write;
stereo has a party on each channel. Each file is measured and listened to as the audio worker does it, in a process of
its own that has libav loaded, and then decoded in full by the same libav in another: seconds of processor time, medians
of the rounds, which take turns. Listening ends after ``LISTEN_S``.

    python -m tests.bench.speech_hour [--minutes 60] [--rounds 3] [--json]

Wanted: at most 3 s of one core for each.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import NamedTuple

import av
import soundfile

from handlers.audio.listen import LISTEN_S, listen
from handlers.audio.probe import probe
from handlers.demo.lines import lines
from tests.bench.figures import Report, median, options, workshop
from tests.support import audio

BLOCK_S = 60
"""A minute is put together and then repeated: what is said does not matter to a decoder's time."""

WANTED_S = 3.0


def minute(channels: int) -> array[int]:
    """A minute of two parties taking turns, interleaved."""
    chance, voices = random.Random(20251029), [line.samples() for line in lines().values()]
    noise = array("h", (round(chance.gauss(0, 33)) for _ in range(3 * audio.RATE)))
    sound = [(noise * (BLOCK_S // 3))[:] for _ in range(channels)]
    at = audio.RATE
    for turn in range(10_000):
        voice = chance.choice(voices)
        if at + len(voice) > BLOCK_S * audio.RATE:
            return audio.together(*sound)
        channel = sound[turn % channels]
        channel[at : at + len(voice)] = voice
        at += len(voice) + round(chance.uniform(0.4, 2.5) * audio.RATE)
    raise AssertionError("unreachable")


class Kind(NamedTuple):
    """How a file of the table is encoded; bit rates in bits a second."""

    container: str
    codec: str
    channels: int
    bit_rate: int
    codec_options: dict[str, str] | None = None
    options: dict[str, str] | None = None


QUICK = {"compression_level": "3"}
"""Opus encodes four times as fast; a decoder's time does not change."""

KINDS = {
    "WebM Opus stereo 128k": Kind("webm", "libopus", 2, 128_000, {"frame_duration": "60"} | QUICK, {"live": "1"}),
    "Ogg Opus stereo 64k": Kind("ogg", "libopus", 2, 64_000, QUICK),
    "Ogg Opus mono 32k": Kind("ogg", "libopus", 1, 32_000, QUICK),
    "Ogg Opus mono 24k for voice": Kind("ogg", "libopus", 1, 24_000, {"application": "voip"} | QUICK),
    "MP3 stereo 128k": Kind("mp3", "libmp3lame", 2, 128_000),
    "M4A AAC mono 96k": Kind("mp4", "aac", 1, 96_000),
    "Ogg Vorbis mono": Kind("ogg", "vorbis", 1, 0),
    "WebM Vorbis mono": Kind("webm", "vorbis", 1, 0),
    "FLAC mono": Kind("flac", "flac", 1, 0),
    "WAV mono": Kind("wav", "pcm_s16le", 1, 0),
}


def make(path: Path, kind: Kind, minutes: int) -> None:
    """Encode one file."""
    container, codec, channels, bit_rate, codec_options, options = kind
    if codec == "vorbis":
        make_vorbis(path, container, minutes)
        return
    audio.encode(
        path,
        minute(channels),
        container=container,
        codec=codec,
        channels=channels,
        bit_rate=bit_rate or None,
        codec_options=codec_options,
        options=options,
        times=minutes,
    )


def make_vorbis(path: Path, container: str, minutes: int) -> None:
    """Encode one file with libsndfile, whose Vorbis is the good one, and copy its packets into the container."""
    sound, ogg = memoryview(minute(1)), path.with_suffix(".ogg")
    with soundfile.SoundFile(str(ogg), "w", audio.RATE, 1, "VORBIS", format="OGG") as out:
        for _ in range(minutes):
            for start in range(0, len(sound), audio.RATE // 10):
                out.write(sound[start : start + audio.RATE // 10])
    if container == "ogg":
        ogg.rename(path)
        return
    with av.open(str(ogg)) as source, av.open(str(path), "w", format=container) as copy:
        stream = copy.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    ogg.unlink()


def ours(path: Path) -> dict[str, float]:
    """Processor seconds of measuring and of listening, and the stretches of speech that were told."""
    with path.open("rb") as file:
        began = time.process_time()
        info = probe(file)
        measured = time.process_time()
        info = listen(file, info)
        listened = time.process_time()
    return {
        "measure_s": measured - began,
        "listen_s": listened - measured,
        "stretches": len(info.speech or ()),
        "heard_s": info.heard_s,
        "length_s": info.media_s,
    }


def full(path: Path) -> dict[str, float]:
    """Processor seconds of decoding every sample and looking at none."""
    began = time.process_time()
    with av.open(str(path)) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
    return {"decode_s": time.process_time() - began, "samples": samples}


def apart(what: str, path: Path) -> dict[str, float]:
    """The figures of one file, taken in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.bench.speech_hour", "--one", what, str(path)], stdout=subprocess.PIPE, check=True
    )
    figures: dict[str, float] = json.loads(run.stdout)
    return figures


def add(report: Report, name: str, path: Path, rounds: int) -> float:
    """Measure one file, add its row, and give back the seconds that measuring and listening took together."""
    taken = [(apart("ours", path), apart("full", path)) for _ in range(rounds)]
    measure_s = median([one["measure_s"] for one, _ in taken])
    listen_s = median([one["listen_s"] for one, _ in taken])
    decode_s = median([other["decode_s"] for _, other in taken])
    told = taken[0][0]
    assert told["stretches"] > 0
    assert told["heard_s"] <= LISTEN_S + 1
    total_s = measure_s + listen_s
    report.row(name, path.stat().st_size / 1e6, measure_s, listen_s, total_s, decode_s, total_s / decode_s)
    return total_s


def main() -> None:
    """Measure and print; with ``--one``, be the process that is measured."""
    parser = options(__doc__ or "")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps({"ours": ours, "full": full}[given.one[0]](Path(given.one[1]))))
        return
    columns = ("", "MB", "measure s", "listen s", "together s", "full decode s", "share")
    report = Report(f"{given.minutes} minutes of audio: processor seconds", columns)
    with workshop(given.folder) as folder:
        slowest_s = 0.0
        for name, kind in KINDS.items():
            path = folder / "hour"
            make(path, kind, given.minutes)
            slowest_s = max(slowest_s, add(report, name, path, given.rounds))
    report.result("slowest_s", slowest_s, f"at most {WANTED_S:.0f} s for an hour")
    report.show(as_json=given.json)


if __name__ == "__main__":
    main()
