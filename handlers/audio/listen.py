"""Listening to the beginning of a recording: from samples to levels, and from levels to speech.

Decoding is what costs (ten minutes of stereo Opus: 0.9 s), so only the first ``LISTEN_S`` are decoded, and of the
samples every seventh or so is looked at. Without a filter in front that folds high frequencies onto low ones, which
changes a waveform and leaves its power: from 130 samples the level of a window comes out to half a decibel. That is as
fast as resampling and libav's own level filters are not, and needs no numpy.

Times count from the first sample that is heard, after the encoder's delay, on the container's clock: where packets
were lost, what follows stays where it was in the call.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import BinaryIO

from handlers.audio import wav
from handlers.audio.failure import Unreadable, unheard
from handlers.audio.probe import sniff
from handlers.audio.quality import Limits, doubts
from handlers.audio.speech import LOST, QUIETEST, Span, speech
from handlers.model import AudioInfo

LISTEN_S = 600.0
"""Seconds of a recording that are listened to: dozens of turns, which place a transcript as well as hundreds."""

PEAKS = 80
"""Pieces in which a recording is drawn: as many as a list of calls has room for."""

PEAKS_FROM_DB = -60.0
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

MAX_CHANNELS = 8
"""Channels listened to; a header can announce thousands."""

_BLOCK_BYTES = 1 << 17
_STEP_S = 0.02
_LOOKED_AT = 128
"""Samples of a window that are looked at, or somewhat more."""

_FULL_SCALE = 0.9999
_CUT_OFF_DB = -14.0
_CUT_OFF_SAMPLES = 5
"""A window is cut off where so many of those looked at lie at full scale. A sine that just reaches it has one or two;
below that power a window has none."""

_LOUDEST = 100.0
"""Decibels. Floating point samples may be whole numbers of 16 bits, and in a broken file anything."""


class Ear:
    """Levels of windows of about 20 ms of ``channels`` channels at ``rate``, from samples in pieces of any size.

    ``full`` is the value of a sample at full scale. ``cut_off`` counts windows that lie at it, ``coded_bytes`` what the
    samples took in the file; ``failed`` says that some of it could not be decoded.
    """

    def __init__(self, rate: int, channels: int, full: float) -> None:
        self.rate = rate
        self.channels = channels
        self._full = full
        self._stride = max(1, int(rate * _STEP_S) // _LOOKED_AT)
        self._window = max(1, round(rate * _STEP_S / self._stride))
        self._taken = 0
        self._missed = 0
        self._open: list[list[float]] = [[] for _ in range(min(channels, MAX_CHANNELS))]
        self._levels: list[list[float]] = [[] for _ in self._open]
        self.cut_off = 0
        self.coded_bytes = 0
        self.failed = False

    @property
    def step_s(self) -> float:
        """Seconds from one level to the next."""
        return self._window * self._stride / self.rate

    @property
    def levels(self) -> Sequence[Sequence[float]]:
        """Decibels of full scale, window by window, of each channel."""
        return self._levels

    @property
    def heard_s(self) -> float:
        """Seconds taken in, lost ones included."""
        return self._taken / self.rate + self._missed * self.step_s

    def hear(self, planes: Sequence[memoryview[float] | memoryview[int]]) -> None:
        """Take in the next samples: for each channel equally many."""
        phase = -self._taken % self._stride
        for plane, waiting, levels in zip(planes, self._open, self._levels, strict=False):
            waiting.extend(plane[phase :: self._stride].tolist())
            whole = len(waiting) - len(waiting) % self._window
            for begin in range(0, whole, self._window):
                levels.append(self._level(waiting[begin : begin + self._window]))
            del waiting[:whole]
        self._taken += len(planes[0])

    def miss(self, seconds: float) -> None:
        """Let time pass of which there are no samples."""
        windows = int(seconds / self.step_s)
        self._missed += windows
        for levels in self._levels:
            levels.extend([LOST] * windows)

    def speech(self) -> tuple[Span, ...] | None:
        """Where there was speech so far."""
        return speech(self._levels, self.step_s)

    def _level(self, samples: list[float]) -> float:
        """Power in dB of full scale, without the constant part that cheap converters add."""
        mean = sum(samples) / len(samples)
        power = (math.hypot(*samples) ** 2 / len(samples) - mean * mean) / self._full**2
        level = min(10 * math.log10(power), _LOUDEST) if power > 10 ** (QUIETEST / 10) else QUIETEST
        if level > _CUT_OFF_DB:
            limit = _FULL_SCALE * self._full
            self.cut_off += sum(not -limit < sample < limit for sample in samples) >= _CUT_OFF_SAMPLES
        return level


def listen(file: BinaryIO, info: AudioInfo, limits: Limits | None = None) -> AudioInfo:
    """The measurement of the file with what its beginning says of speech and of its quality.

    Raises whatever the decoder raises; the file was measured and is none the worse for it.
    """
    if info.container == "ogg" and "many_streams" in info.flags:
        return info  # the longest was measured, and libav would decode the first
    return told(info, ear_of(file, info), limits or Limits())


def ear_of(file: BinaryIO, info: AudioInfo, upto_s: float = LISTEN_S) -> Ear | None:
    """An ear that has heard so many seconds; None where not one sample could be decoded."""
    plain = info.container == "wav" and info.codec == "pcm_s16le"
    return _plain(file, upto_s) if plain else _decoded(file, upto_s)


def told(info: AudioInfo, ear: Ear | None, limits: Limits) -> AudioInfo:
    """The measurement with what was heard."""
    if ear is None:
        return unheard(info) if info.media_s else info
    flags = {*info.flags, *doubts(ear.levels, ear.cut_off, info.media_s, limits, errors=ear.failed)}
    info = dataclasses.replace(info, flags=tuple(sorted(flags)))
    # A last packet that MP4's edit list cuts short is decoded whole.
    heard_s = min(ear.heard_s, max(info.media_s, info.span_s))
    spans = ear.speech()
    speech = None if spans is None else _rounded(spans, heard_s)
    return dataclasses.replace(info, speech=speech, heard_s=heard_s, peaks=peaks(ear.levels))


def peaks(channels: Sequence[Sequence[float]]) -> str:
    """The course of loudness as ``AudioInfo.peaks`` has it."""
    places = ((level - PEAKS_FROM_DB) / -PEAKS_FROM_DB for level in course(channels, PEAKS))
    return "".join(_DIGITS[min(len(_DIGITS) - 1, max(0, int(place * len(_DIGITS))))] for place in places)


def course(channels: Sequence[Sequence[float]], columns: int) -> list[float]:
    """The loudest level of any channel in each of at most ``columns`` equal pieces of the recording, in decibels."""
    windows = len(channels[0]) if channels else 0
    edges = [windows * place // columns for place in range(columns + 1)] if windows else []
    pieces = [(first, last) for first, last in itertools.pairwise(edges) if first < last]
    return [round(max(QUIETEST, *(max(levels[first:last]) for levels in channels)), 1) for first, last in pieces]


def _rounded(spans: Sequence[Span], heard_s: float) -> tuple[Span, ...]:
    """The spans to the millisecond, as far as they lie within what was heard."""
    return tuple((round(first, 3), min(round(last, 3), heard_s)) for first, last in spans if first < heard_s)


def _plain(file: BinaryIO, upto_s: float) -> Ear:
    """WAV's usual samples, which need no decoder, and no tenth of a second to load one."""
    data = wav.data(file)
    form, ear = data.form, Ear(data.form.rate, data.form.channels, 32768.0)
    if form.block_bytes != 2 * form.channels:
        raise Unreadable("its WAV blocks are not as long as their samples")
    block_samples = max(1, _BLOCK_BYTES // form.block_bytes)
    left = min(data.held // form.block_bytes, int(upto_s * form.rate))
    file.seek(data.at)
    while left and (block := file.read(min(left, block_samples) * form.block_bytes)):
        samples = memoryview(block).cast("h")
        ear.hear([samples[channel :: form.channels] for channel in range(min(form.channels, MAX_CHANNELS))])
        left -= len(samples) // form.channels
        ear.coded_bytes += len(block)
    return ear


def _decoded(file: BinaryIO, upto_s: float) -> Ear | None:
    """Everything else, through libav."""
    from handlers.audio.decode import hear  # 0.1 s of import that plain samples need not wait for

    kind = sniff(file)
    file.seek(0)
    return hear(file, kind.demuxer, upto_s)
