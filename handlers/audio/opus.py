"""What an Opus packet says of itself in its first bytes (RFC 6716 section 3)."""

from __future__ import annotations

from fractions import Fraction

OPUS_RATE = 48_000
"""At which Opus counts, whatever rate it was made from (RFC 7845 section 4)."""


def _durations() -> list[int]:
    """Samples at 48 kHz by first byte of a packet (RFC 6716 section 3.1); 0 where the second byte counts the frames."""
    return [0 if toc & 3 == 3 else _frame(toc) * (1 if toc & 3 == 0 else 2) for toc in range(256)]


def _frame(toc: int) -> int:
    """Samples at 48 kHz of one frame."""
    mode = toc >> 3
    if mode < 12:
        return (480, 960, 1920, 2880)[mode & 3]
    if mode < 16:
        return (480, 960)[mode & 1]
    return (120, 240, 480, 960)[mode & 3]


OPUS_DURATIONS = _durations()
LONGEST_PACKET = 5760
"""Samples of a packet."""


def opus_samples(start: bytes) -> int:
    """Samples at 48 kHz of the Opus packet that begins with ``start``.

    0 for one that no decoder takes (RFC 6716 section 3.4).
    """
    if not start:
        return 0
    if start[0] & 3 != 3:
        return OPUS_DURATIONS[start[0]]
    if len(start) < 2:
        return 0
    samples = _frame(start[0]) * (start[1] & 63)
    return samples if samples <= LONGEST_PACKET else 0


def opus_held(start: bytes, unit: Fraction) -> tuple[int, int]:
    """Samples at 48 kHz of the packet that begins with ``start``, and how many ``unit`` (seconds) that is, rounded up:
    Matroska's clock counts whole ones."""
    samples = opus_samples(start)
    return samples, -(-samples * unit.denominator // (OPUS_RATE * unit.numerator))


LONGEST_FRAME, MOST_FRAMES = 1275, 48
"""Bytes of a frame, frames of a packet."""


def is_whole(packet: bytes) -> bool:
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
