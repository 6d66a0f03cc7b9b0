"""Real audio files, made on the spot: in every container callspool reads, whole, cut, chained and streamed.

Every maker takes the path to write and the exact number of samples of a soft tone (or its seconds), some also the
samples themselves, and returns nothing that is not in the file. One second of tone costs about a millisecond, so
nothing is cached.
"""

from __future__ import annotations

import math
import random
import struct
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import soundfile

RATE = 48_000
"""Sample rate in hertz of everything made here unless said otherwise."""


def tone(samples: int, rate: int = RATE, hertz: float = 440.0) -> array[int]:
    """A quiet mono sine as 16-bit samples."""
    period = [int(3000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(rate // 10)]
    whole = array("h", period * (samples // len(period) + 1))
    return whole[:samples]


def talk(
    spans: Sequence[tuple[float, float]],
    seconds: float,
    *,
    rate: int = 16_000,
    level_db: float = -18.0,
    noise_db: float | None = None,
) -> array[int]:
    """Mono 16-bit samples with a voice-like buzz in the spans, in seconds: fifteen harmonics that swell four times a
    second. White noise lies below all of it; levels are powers in dB of full scale. Silence is digital without noise.
    """
    sound = array("h", bytes(2 * round(seconds * rate)))
    buzz = _scaled([_buzz(n / rate) for n in range(rate)], level_db)
    for first, last in spans:
        begin, end = round(first * rate), round(last * rate)
        sound[begin:end] = (buzz * (1 + (end - begin) // rate))[: end - begin]
    if noise_db is None:
        return sound
    chance = random.Random(20251029)
    noise = _scaled([chance.gauss(0, 1) for _ in range(3 * rate)], noise_db)
    return array("h", (value + noise[place % len(noise)] for place, value in enumerate(sound)))


def _buzz(second: float) -> float:
    swell = 0.6 + 0.4 * math.cos(2 * math.pi * 4 * second)
    return swell * sum(math.sin(2 * math.pi * 130 * number * second) / number for number in range(1, 16))


def _scaled(values: Sequence[float], level_db: float) -> array[int]:
    factor = 32768 * 10 ** (level_db / 20) / math.sqrt(sum(value * value for value in values) / len(values))
    return array("h", (round(factor * value) for value in values))


def together(*channels: array[int]) -> array[int]:
    """The channels' samples interleaved."""
    return array("h", (value for moment in zip(*channels, strict=True) for value in moment))


def _frames(sound: array[int], rate: int, channels: int, block: int, times: int) -> Iterator[av.AudioFrame]:
    length = len(sound) // channels
    starts = [(lap * length, start) for lap in range(times) for start in range(0, length, block)]
    for before, start in starts:
        piece = sound[start * channels : (start + block) * channels]
        layout = "stereo" if channels == 2 else "mono"
        frame = av.AudioFrame(format="s16", layout=layout, samples=len(piece) // channels)
        frame.planes[0].update(piece.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = rate
        frame.pts = before + start
        frame.time_base = Fraction(1, rate)
        yield frame


def encode(
    path: Path,
    samples: int | array[int],
    *,
    container: str,
    codec: str,
    rate: int = RATE,
    channels: int = 1,
    bit_rate: int | None = None,
    codec_options: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    times: int = 1,
) -> None:
    """Encode so many samples of tone, or the samples given ``times`` over, with libav; channels are interleaved.

    The last packet carries whatever trimming the format knows.
    """
    sound = together(*[tone(samples, rate)] * channels) if isinstance(samples, int) else samples
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        out.metadata.update(metadata or {})
        stream: Any = out.add_stream(codec, rate=rate, options=codec_options or {})
        stream.layout = "stereo" if channels == 2 else "mono"
        if bit_rate:
            stream.bit_rate = bit_rate
        for frame in _frames(sound, rate, channels, 4800, times):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def make_ogg_opus(
    path: Path, seconds: float, *, samples: int | None = None, channels: int = 1, bit_rate: int = 32_000
) -> None:
    """Ogg with Opus, 20 ms packets, exact to the sample at 48 kHz (``samples`` wins over ``seconds``)."""
    count = round(seconds * RATE) if samples is None else samples
    encode(path, count, container="ogg", codec="libopus", channels=channels, bit_rate=bit_rate)


def make_ogg_vorbis(path: Path, samples: int) -> None:
    """Ogg with Vorbis, in blocks of a tenth of a second: libsndfile's encoder overflows its stack on long ones."""
    sound = memoryview(tone(samples))
    with soundfile.SoundFile(str(path), "w", RATE, 1, "VORBIS", format="OGG") as out:
        for start in range(0, samples, RATE // 10):
            out.write(sound[start : start + RATE // 10])


def make_ogg_flac(path: Path, samples: int) -> None:
    """Ogg with FLAC."""
    encode(path, samples, container="ogg", codec="flac")


def make_webm(path: Path, samples: int, *, live: bool = True, options: dict[str, str] | None = None) -> None:
    """WebM with Opus in 60 ms packets; ``live`` as a browser streams it: unknown sizes and no Duration element."""
    muxing = {"live": "1"} if live else {}
    encode(
        path,
        samples,
        container="webm",
        codec="libopus",
        codec_options={"frame_duration": "60"},
        options=muxing | (options or {}),
    )


def make_mp3(path: Path, samples: int, *, vbr: bool = False, xing: bool = True, bit_rate: int = 64_000) -> None:
    """MP3, with or without the Xing header; without it the encoder's padding cannot be told from audio."""
    encode(
        path,
        samples,
        container="mp3",
        codec="libmp3lame",
        bit_rate=None if vbr else bit_rate,
        codec_options={"global_quality": "472", "flags": "+qscale"} if vbr else {},
        options={"write_xing": "1" if xing else "0", "id3v2_version": "0"},
    )


def make_m4a(
    path: Path, samples: int, *, fragmented: bool = False, faststart: bool = False, codec: str = "aac"
) -> None:
    """M4A; ``fragmented`` as a streaming recorder writes it, ``faststart`` with its index in front."""
    flags = "frag_keyframe+empty_moov+default_base_moof" if fragmented else "faststart" if faststart else ""
    options = {"movflags": flags} if flags else {}
    if fragmented:
        options["frag_duration"] = "1000000"
    encode(path, samples, container="mp4", codec=codec, options=options)


def make_flac(path: Path, samples: int, *, rate: int = RATE) -> None:
    """FLAC with its sample count in the header."""
    soundfile.write(str(path), memoryview(tone(samples, rate)), rate, format="FLAC", subtype="PCM_16")


def make_flac_streamed(path: Path, samples: int) -> None:
    """FLAC as written to a pipe: the header's sample count is 0."""
    make_flac(path, samples)
    raw = bytearray(path.read_bytes())
    raw[21] &= 0xF0  # STREAMINFO: 4 bits, then 32, of total samples
    raw[22:26] = bytes(4)
    path.write_bytes(raw)


def wav_header(
    data_size: int,
    *,
    rate: int = RATE,
    channels: int = 1,
    tag: int = 1,
    bits: int = 16,
    riff_size: int | None = None,
    rf64: tuple[int, int] | None = None,
) -> bytes:
    """A RIFF header up to the first sample. ``rf64`` gives the true (RIFF, data) sizes of an RF64 file."""
    align = channels * bits // 8
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, tag, channels, rate, rate * align, align, bits)
    if rf64 is not None:
        form = struct.pack("<4sIQQQI", b"ds64", 28, rf64[0], rf64[1], 0, 0) + form
    body = form + struct.pack("<4sI", b"data", data_size)
    total = len(body) + 4 + data_size if riff_size is None else riff_size
    return struct.pack("<4sI4s", b"RF64" if rf64 is not None else b"RIFF", total & 0xFFFFFFFF, b"WAVE") + body


def make_wav(path: Path, samples: int, *, rate: int = RATE, channels: int = 1, tag: int = 1, tail: bytes = b"") -> None:
    """WAV: 16-bit PCM, or with ``tag`` 6 or 7 one byte of A-law or mu-law a sample; ``tail`` follows the data."""
    if tag in (6, 7):
        data, bits = b"\xd5" * (samples * channels), 8
    else:
        mono = tone(samples, rate)
        data, bits = array("h", (value for value in mono for _ in range(channels))).tobytes(), 16
    header = wav_header(len(data), rate=rate, channels=channels, tag=tag, bits=bits)
    path.write_bytes(header + data + tail)


def make_wav_streamed(path: Path, samples: int, *, size: int = 0xFFFFFFFF) -> None:
    """WAV as written to a pipe: the sizes in the header are 0xFFFFFFFF or 0."""
    path.write_bytes(wav_header(size, riff_size=size) + tone(samples).tobytes())


def make_amr(path: Path, packets: int) -> None:
    """AMR narrowband in its own container: ``packets`` frames of silence-like speech at 12.2 kbit/s, 20 ms each."""
    path.write_bytes(b"#!AMR\n" + (b"\x3c" + bytes(31)) * packets)


def chain(path: Path, *parts: Path) -> None:
    """The byte-wise concatenation: for Ogg a chained file, for browser chunks the whole session."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))


def cut(path: Path, whole: Path, keep: float) -> None:
    """The first ``keep`` share of the bytes of ``whole``."""
    raw = whole.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])


def decoded_samples(path: Path) -> int:
    """What libav's decoder really gives out, the judge over every claim; a broken end stops it quietly."""
    total = 0
    with av.open(str(path)) as file:
        try:
            for frame in file.decode(audio=0):
                total += frame.samples
        except av.error.InvalidDataError:
            return total
    return total
