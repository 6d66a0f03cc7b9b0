"""The exact length of a WebM file as browsers record it, from its blocks alone: an hour in a twentieth of a second.

libav takes ten times as long to hand over as many packets. It stays the judge: whatever is not as plain as a browser
writes it (another codec, a second track, lacing, an element that is not expected, an end inside an element) is ``None``
here and measured by ``scan``, and what is told here is what ``scan`` would tell. Elements as in RFC 9559 and RFC 8794.

    length = durations of the Opus packets - pre-skip - DiscardPadding

Memory stays flat: ``CHUNK`` bytes at a time.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import BinaryIO

from handlers.audio.failure import NotPlain
from handlers.audio.ogg import OPUS_RATE, opus_samples
from handlers.model import AudioInfo

CHUNK = 1 << 20
"""Bytes read at once. An element that has to be whole and is larger is not plain: a block of audio has some hundred."""

CLOCK_TICK = Fraction(5, 1000)
"""Seconds. Timelines that agree this well with the samples agree: the clock has milliseconds."""

_HEADER, _SEGMENT, _INFO, _TRACKS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675
_SEEK_HEAD, _CUES, _TAGS, _VOID, _CRC = 0x114D9B74, 0x1C53BB6B, 0x1254C367, 0xEC, 0xBF
_TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, _PREVIOUS_SIZE, _POSITION = 0xE7, 0xA3, 0xA0, 0xAB, 0xA7
_BLOCK, _BLOCK_DURATION, _DISCARD_PADDING = 0xA1, 0x9B, 0x75A2
_SCALE, _DURATION, _DATE = 0x2AD7B1, 0x4489, 0x4461
_TRACK, _NUMBER, _TYPE, _CODEC, _PRIVATE, _DELAY, _AUDIO = 0xAE, 0xD7, 0x83, 0x86, 0x63A2, 0x56AA, 0xE1
_FREQUENCY, _CHANNELS, _BITS = 0xB5, 0x9F, 0x6264

_NOTHING = frozenset({_VOID, _CRC})
_TITLES = _NOTHING | {0x4D80, 0x5741, 0x7BA9, 0x73A4}
"""Of Info: MuxingApp, WritingApp, Title, SegmentUUID."""
_WORDS = _NOTHING | {0x22B59C, 0x22B59D, 0x536E, 0x258688}
"""Of a track: Language, LanguageBCP47, Name, CodecName."""
_FLAGS = frozenset({0x73C5, 0x56BB, 0x9C, 0x88, 0xB9, 0x55AA, 0x6DE7, 0x55EE})
"""Of a track: its UID, SeekPreRoll, FlagLacing, FlagDefault, FlagEnabled, FlagForced, MinCache, MaxBlockAdditionID:
numbers, and none that changes a length."""
_SOUND = _NOTHING | {_FREQUENCY, _CHANNELS, _BITS}
_GROUP = _NOTHING | {_BLOCK, _BLOCK_DURATION, _DISCARD_PADDING}
_ONCE = frozenset({_HEADER, _SEGMENT, _INFO, _TRACKS})
_PASSED = _NOTHING | {_PREVIOUS_SIZE, _POSITION}
_TOP = frozenset({_SEGMENT, _INFO, _TRACKS, _CLUSTER, _SEEK_HEAD, _CUES, _TAGS})
"""What ends a cluster that does not say how large it is."""
_OF_TAGS = {0x7373: True, 0x63C0: True, 0x67C8: True} | dict.fromkeys(
    (*_NOTHING, 0x63C5, 0x63C4, 0x63C6, 0x63C9, 0x68CA, 0x63CA, 0x45A3, 0x447A, 0x4484, 0x4487, 0x4485), False
)
"""Tag, Targets and SimpleTag hold others; UIDs, target's type, name, language, default, string and binary do not."""
_SEEK, _SEEK_ID, _SEEK_PLACE = 0x4DBB, 0x53AB, 0x53AC
_DOC_TYPE, _LARGEST = 0x4282, {0x42F7: 1, 0x42F2: 4, 0x42F3: 8, 0x4285: 3}
"""Of the header: DocType, and the largest EBMLReadVersion, EBMLMaxIDLength, EBMLMaxSizeLength, DocTypeReadVersion."""

OPUS_HEAD = 19
"""Bytes of an OpusHead of one or two channels (RFC 7845 section 5.1)."""

NUMBER = 8
"""Bytes a number may have."""
MILLISECOND, SLOWEST = (1_000_000).to_bytes(3, "big"), 1_000_000_000
"""Nanoseconds of the clock's unit: what it is where nothing is said, and the most that is plain."""
LATEST = 1e9
"""Seconds that a plain clock may show, or a header claim."""
_AUDIO_TRACK = 2
_KEY_FRAME = 0x80
_EPOCH = datetime(2001, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Recording:
    """What the headers say, and what the blocks add up to. Times count in ``unit`` seconds, samples at 48 kHz."""

    unit: Fraction = Fraction(1, 1000)
    duration: float = 0.0
    made_at: datetime | None = None
    segment: int = 0
    """Where in the file the segment's content begins."""
    sought: list[tuple[int, int]] = field(default_factory=list)
    """Ids and places in the segment that the file names."""
    track: int = 0
    channels: int = 0
    pre_skip: int = 0
    samples: int = 0
    discarded: int = 0
    first: int | None = None
    last: int = 0
    end: int = 0
    jumped: bool = False
    held: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Samples of a packet by its first two bytes, and how long that is in whole units, rounded up."""

    def jump(self, time: int) -> None:
        """A block that is earlier than the one before it; before the beginning of time is none for libav."""
        if time < 0:
            raise NotPlain
        self.jumped = True
        if self.first is None or time < self.first:
            self.first = time

    def hold(self, start: bytes) -> tuple[int, int]:
        """What a packet holds that begins so."""
        samples = opus_samples(start)
        rounded_up = -(-samples * self.unit.denominator // (OPUS_RATE * self.unit.numerator))
        self.held[start] = samples, rounded_up
        return samples, rounded_up


class _Window:
    """The file's bytes, some at a time, and the place in them that is looked at."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._at = 0
        self.data = b""
        self.place = 0

    @property
    def here(self) -> int:
        """The place in the file."""
        return self._at + self.place

    def fill(self, size: int) -> None:
        """Have so many bytes of what follows at hand, or all that follows. Raises NotPlain where the file changes."""
        if len(self.data) - self.place >= size or self._at + len(self.data) >= self.size:
            return
        rest = self.data[self.place :]
        more = self._file.read(max(CHUNK, size))
        if not more:
            raise NotPlain
        self._at, self.data, self.place = self.here, rest + more, 0

    def element(self) -> tuple[int, int | None]:
        """The id and size of the element that begins here, and go to its content; the size is None where it is not
        said."""
        self.fill(HEAD)
        head = self.data[self.place : self.place + HEAD]
        name, width = _number(head, 0, marked=True)
        size, end = _number(head, width)
        self.place += end
        return name, None if size == (1 << 7 * (end - width)) - 1 else size

    def content(self, size: int) -> bytes:
        """The next bytes, and go behind them. Raises NotPlain where there are fewer, or too many."""
        if size > CHUNK:
            raise NotPlain
        self.fill(size)
        found = self.data[self.place : self.place + size]
        if len(found) < size:
            raise NotPlain
        self.place += size
        return found

    def skip(self, size: int) -> None:
        """Go behind the next bytes. Raises NotPlain where there are fewer."""
        there = self.here + size
        if there > self.size:
            raise NotPlain
        self.place += size
        if self.place > len(self.data):
            self._file.seek(there)
            self._at, self.data, self.place = there, b"", 0


HEAD = 12
"""Bytes of the longest id and size."""


def _number(data: bytes, at: int, *, marked: bool = False) -> tuple[int, int]:
    """A number that says its own width in its first byte, and where it ends; ids keep the mark of the width."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    if not first or at + width > len(data) or (marked and width > 4):
        raise NotPlain
    number = int.from_bytes(data[at : at + width], "big")
    return number if marked else number & ((1 << 7 * width) - 1), at + width


def _children(data: bytes) -> dict[int, bytes]:
    """What an element consists of, each at most once but for what is skipped anyhow."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        name, at = _number(data, at, marked=True)
        size, at = _number(data, at)
        if at + size > len(data) or (name in found and name not in _NOTHING):
            raise NotPlain
        found[name] = data[at : at + size]
        at += size
    return found


def measure(file: BinaryIO, container: str) -> AudioInfo | None:
    """Measure a file; None where that is libav's to do."""
    try:
        return _measured(file, container)
    except NotPlain:
        return None


def _measured(file: BinaryIO, container: str) -> AudioInfo:
    found = _Recording()
    _walk(_Window(file), found)
    if found.first is None:
        raise NotPlain
    trimmed = found.pre_skip + found.discarded
    media = Fraction(max(0, found.samples - trimmed), OPUS_RATE)
    span = max(Fraction(0), (found.end - found.first) * found.unit - Fraction(trimmed, OPUS_RATE))
    if abs(span - media) <= CLOCK_TICK:
        span = media
    return AudioInfo(
        container=container,
        codec="opus",
        sample_rate=OPUS_RATE,
        channels=found.channels,
        media_s=float(media),
        span_s=float(span),
        header_s=_claimed(found),
        start_at=found.made_at,
        flags=("clock_jump",) if found.jumped else (),
    )


def _claimed(found: _Recording) -> float | None:
    """The header's Duration in whole microseconds, as libav has it."""
    claimed = found.duration * float(found.unit * 1_000_000)
    if not claimed < LATEST * 1e6:
        raise NotPlain
    return int(claimed) / 1e6 if claimed >= 1 else None


def _walk(window: _Window, found: _Recording) -> None:
    """Every element of the file in turn. The segment is entered, so that one without a size is no other."""
    seen: set[int] = set()
    lies: set[tuple[int, int]] = set()
    while window.here < window.size:
        begins = window.here
        name, size = window.element()
        lies.add((name, begins - found.segment))
        if name == _CLUSTER and seen >= {_HEADER, _SEGMENT, _TRACKS}:
            _cluster(window, size, found)
        elif name == _SEGMENT and seen == {_HEADER}:
            if size is not None and window.here + size != window.size:
                raise NotPlain  # it is cut short, or something follows it
            found.segment = window.here
        elif size is None or name in seen or name not in _READ or (name in _ONCE and found.first is not None):
            raise NotPlain
        else:
            _READ[name](window, size, found)
        seen.update(_ONCE & {name})
    if not lies.issuperset(found.sought):
        raise NotPlain  # libav goes where it is told, whatever is there


def _cluster(window: _Window, size: int | None, found: _Recording) -> None:
    """What a cluster holds: to its end, or to the next element that can be in none."""
    end = window.size if size is None else window.here + size
    clock: int | None = None
    while window.here < end:
        if clock is not None and found.first is not None:
            _blocks(window, end, clock, found)
            if window.here == end:
                return
        window.fill(HEAD)
        before = window.place
        name, inner = window.element()
        if size is None and name in _TOP:
            window.place = before
            return
        if inner is None or window.here + inner > end:
            raise NotPlain
        if name == _TIMESTAMP and clock is None:
            clock = _clock(window.content(inner), found)
        elif name == _SIMPLE_BLOCK and clock is not None:
            _block(window.content(inner), clock, found)
        elif name in _PASSED:
            window.skip(inner)
        elif name != _BLOCK_GROUP or clock is None:
            raise NotPlain
        else:
            _group(_children(window.content(inner)), clock, found)


def _clock(data: bytes, found: _Recording) -> int:
    """Where a cluster's blocks count from."""
    clock = _whole(data)
    if clock * found.unit > LATEST:
        raise NotPlain
    return clock


def _blocks(window: _Window, end: int, clock: int, found: _Recording) -> None:
    """The plain blocks that follow and are at hand. One loop, since an hour has 180,000 of them."""
    data, place = window.data, window.place
    stop = min(len(data), place + end - window.here)
    track, known, hold = 0x80 | found.track, found.held, found.hold
    last, latest, samples = found.last, found.end, 0
    while place + SHORTEST <= stop and data[place] == _SIMPLE_BLOCK:
        size = data[place + 1]
        if 0x80 <= size < 0xFF:
            size, start = size - 0x80, place + 2
        elif 0x40 <= size < 0x7F:
            size, start = size - 0x40 << 8 | data[place + 2], place + 3
        else:
            break
        after = start + size
        if size < SHORTEST_BLOCK or after > stop:
            break
        if data[start] != track or data[start + 3] & ~_KEY_FRAME:
            raise NotPlain
        if (data[start + 4] & 3 or size > 4 + LONGEST_FRAME) and not _is_whole(data[start + 4 : after]):
            raise NotPlain
        begins = data[start + 4 : start + 6]
        held, units = known.get(begins) or hold(begins)
        time = data[start + 1] << 8 | data[start + 2]
        time += clock if time < 0x8000 else clock - 0x10000
        if time < last:
            found.jump(time)
        last = time
        samples += held
        if time + units > latest:
            latest = time + units
        place = after
    window.place = place
    found.last, found.end = last, latest
    found.samples += samples


SHORTEST_BLOCK = 6
"""Track, time and flags before a packet of two bytes or more."""
SHORTEST = 3 + SHORTEST_BLOCK


def _block(data: bytes, clock: int, found: _Recording) -> None:
    """Any one block."""
    if len(data) < 5 or data[0] != 0x80 | found.track or data[3] & ~_KEY_FRAME or not _is_whole(data[4:]):
        raise NotPlain
    held, units = found.hold(data[4:6])
    time = clock + int.from_bytes(data[1:3], "big", signed=True)
    if found.first is None and time >= 0:
        found.first, found.end = time, time + units
    elif time < found.last:
        found.jump(time)
    found.last = time
    found.end = max(found.end, time + units)
    found.samples += held


LONGEST_FRAME, MOST_FRAMES = 1275, 48


def _is_whole(packet: bytes) -> bool:
    """Whether an Opus packet can be taken apart (RFC 6716 section 3.2): libav drops one that cannot."""
    code = packet[0] & 3
    if code == 2:
        return _are_sized(packet, 1, len(packet), 2)
    if code < 2:
        return _are_even(len(packet) - 1, code + 1)
    if len(packet) < 2 or not 0 < packet[1] & 63 <= MOST_FRAMES:
        return False
    at, end, more = 2, len(packet), 255 if packet[1] & 0x40 else 0
    while more == 255:
        if at == len(packet):
            return False
        more, at = packet[at], at + 1
        end -= min(more, 254)
    frames = packet[1] & 63
    return _are_sized(packet, at, end, frames) if packet[1] & 0x80 else _are_even(end - at, frames)


def _are_even(size: int, frames: int) -> bool:
    """Whether so many bytes are so many frames of one size."""
    return size >= 0 and size % frames == 0 and size // frames <= LONGEST_FRAME


def _are_sized(packet: bytes, at: int, end: int, frames: int) -> bool:
    """Whether the sizes of all frames but the last stand at ``at``, and leave the last what is one."""
    for _ in range(frames - 1):
        if at >= end:
            return False
        size, at = packet[at], at + 1
        if size >= 252:
            if at >= end:
                return False
            size, at = size + 4 * packet[at], at + 1
        end -= size
    return 0 <= end - at <= LONGEST_FRAME


def _group(children: dict[int, bytes], clock: int, found: _Recording) -> None:
    """A block with more to it: here only how long it is, and what of it is no audio."""
    if not children.keys() <= _GROUP or _BLOCK not in children:
        raise NotPlain
    _block(children[_BLOCK], clock, found)
    padding = children.get(_DISCARD_PADDING, b"")
    discarded_ns = int.from_bytes(padding, "big", signed=True)
    if discarded_ns < 0 or len(padding) > NUMBER:
        raise NotPlain
    found.discarded += (discarded_ns * OPUS_RATE + 500_000_000) // 1_000_000_000


def _header(data: bytes, _found: _Recording) -> None:
    """The EBML header, as far as libav takes it."""
    said = _children(data)
    numbers = {name: _whole(said.get(name, b"\1")) for name in _LARGEST}
    if said.get(_DOC_TYPE) not in (b"webm", b"matroska") or any(numbers[name] > _LARGEST[name] for name in numbers):
        raise NotPlain


def _info(data: bytes, found: _Recording) -> None:
    """The clock's unit, the length that is claimed, and when it was recorded."""
    said = _children(data)
    scale = _whole(said.pop(_SCALE, MILLISECOND))
    found.unit = Fraction(scale, 1_000_000_000)
    found.duration = _float(said.pop(_DURATION, b""))
    date = said.pop(_DATE, None)
    if (
        not 0 < scale <= SLOWEST
        or not said.keys() <= _TITLES
        or (date is not None and (len(date) != 8 or date[0] >= 0x80))
    ):
        raise NotPlain
    if date is not None:
        made_at = _EPOCH + timedelta(microseconds=int.from_bytes(date, "big") // 1000)
        found.made_at = made_at if made_at.year < 2100 else None


def _tracks(data: bytes, found: _Recording) -> None:
    """The one track, which has to be Opus at 48 kHz, in words that agree."""
    said = _children(data)
    entry = _children(said.pop(_TRACK, b""))
    audio = _children(entry.pop(_AUDIO, b""))
    head, codec = entry.pop(_PRIVATE, b""), entry.pop(_CODEC, b"")
    number, kind, delay_ns = (_whole(entry.pop(name, b"")) for name in (_NUMBER, _TYPE, _DELAY))
    for name in _FLAGS & entry.keys():
        _whole(entry.pop(name))
    opus = (
        codec == b"A_OPUS" and head.startswith(b"OpusHead") and len(head) == OPUS_HEAD and head[8] == 1 and not head[18]
    )
    if said.keys() - _NOTHING or entry.keys() - _WORDS or audio.keys() - _SOUND or not opus:
        raise NotPlain
    found.track, found.channels = number, _whole(audio.get(_CHANNELS, b"\1"))
    (found.pre_skip,) = struct.unpack_from("<H", head, 10)
    agree = found.channels == head[9] in (1, 2) and _float(audio.get(_FREQUENCY, b"")) == OPUS_RATE
    late = delay_ns and round(Fraction(delay_ns * OPUS_RATE, 1_000_000_000)) != found.pre_skip
    if kind != _AUDIO_TRACK or not 0 < number < 0x7F or not agree or late:
        raise NotPlain


def _seek_head(data: bytes, found: _Recording) -> None:
    """Where in the segment others are said to lie."""
    at = 0
    while at < len(data):
        name, at = _number(data, at, marked=True)
        size, at = _number(data, at)
        if name == _SEEK:
            entry = _children(data[at : at + size])
            target, place = (_whole(entry.get(part, b"")) for part in (_SEEK_ID, _SEEK_PLACE))
            found.sought.append((target, place))
        elif name not in _NOTHING:
            raise NotPlain
        at += size


def _tags(data: bytes, _found: _Recording) -> None:
    """What is said of it, which may be when it was recorded: libav reads that."""
    if b"creation_time" in data.lower():
        raise NotPlain
    _tree(data)


def _tree(data: bytes) -> None:
    """Tags and what they consist of, none of which says anything of a length."""
    at = 0
    while at < len(data):
        name, at = _number(data, at, marked=True)
        size, at = _number(data, at)
        if name not in _OF_TAGS or at + size > len(data):
            raise NotPlain
        if _OF_TAGS[name]:
            _tree(data[at : at + size])
        at += size


def _whole(data: bytes) -> int:
    """A whole number; of none, zero."""
    if len(data) > NUMBER:
        raise NotPlain
    return int.from_bytes(data, "big")


def _float(data: bytes) -> float:
    """A number with a point of four or eight bytes; of none, zero."""
    if len(data) not in (0, 4, 8):
        raise NotPlain
    return 0.0 if not data else float(struct.unpack(">f" if len(data) == 4 else ">d", data)[0])


def _skip(window: _Window, size: int, _found: _Recording) -> None:
    window.skip(size)


def _read(take: Callable[[bytes, _Recording], None]) -> Callable[[_Window, int, _Recording], None]:
    return lambda window, size, found: take(window.content(size), found)


_READ = {
    _HEADER: _read(_header),
    _INFO: _read(_info),
    _TRACKS: _read(_tracks),
    _TAGS: _read(_tags),
    _SEEK_HEAD: _read(_seek_head),
} | dict.fromkeys((*_NOTHING, _CUES), _skip)
"""What is done with an element of the segment that is no cluster."""
