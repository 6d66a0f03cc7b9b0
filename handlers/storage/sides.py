"""One stereo file of a call's two sides, made where a call is fetched: agent left, customer right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from daemon.contract import Json, Reader
from daemon.errors import BadRequest
from handlers import records
from handlers.model import AudioUnavailable, AudioUnreadable, Recording, Side

BITRATE = 96_000
"""Bits a second of both sides together."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Both recordings of a call, each with the object of storage that holds it."""

    agent: tuple[Recording, records.Copy]
    customer: tuple[Recording, records.Copy]
    name: str

    @property
    def customer_later_s(self) -> float | None:
        """By how many seconds the customer's begins later; None where that of one is not known."""
        begins = self.agent[0].start_at, self.customer[0].start_at
        return None if begins[0] is None or begins[1] is None else (begins[1] - begins[0]).total_seconds()


def sides_of(read: Reader, copies: Sequence[records.Copy]) -> Sides:
    """The two sides among a call's copies. Raises BadRequest where there are not just these two."""
    found: dict[Side, list[tuple[Recording, records.Copy]]] = {Side.AGENT: [], Side.CUSTOMER: []}
    for copy in copies:
        if copy.role == "audio" and copy.item is not None:
            recording = records.recording(read, records.recording_of_copy(read, copy.item))
            if not any(recording.id == known.id for known, _ in found.get(recording.side, ())):
                found.setdefault(recording.side, []).append((recording, copy))
    agents, customers = found[Side.AGENT], found[Side.CUSTOMER]
    if len(agents) != 1 or len(customers) != 1:
        raise BadRequest("storage does not have one recording of each side of that call", fix="leave out --stereo")
    named = records.storage_name(read, agents[0][1].subject)
    return Sides(agents[0], customers[0], f"{named[0] if named else 'call'}_stereo.opus")


class Join(Protocol):
    """Makes one stereo file of two (descriptors); see ``handlers.audio.pool``."""

    def __call__(
        self, agent: int, customer: int, out: int, media_s: float, /, *, customer_later_s: float, bitrate: int
    ) -> int | None:
        """The samples of each channel at 48 kHz; None where the disk took no more."""
        ...


def joined(sides: Sides, folder: str, join: Join) -> dict[str, Json]:
    """Write the file into a folder that holds both sides as they were fetched; the same again changes nothing there.

    Raises BadRequest where a side cannot be decoded, or the disk takes no more.
    """
    later_s = sides.customer_later_s
    media_s = max(one.audio.media_s for one, _ in (sides.agent, sides.customer)) + abs(later_s or 0.0)
    target = os.path.join(folder, sides.name)
    beside = f"{target}.part"
    paths = [os.path.join(folder, os.path.basename(copy.key)) for _, copy in (sides.agent, sides.customer)]
    try:
        with ExitStack() as held:
            files = [held.enter_context(open(path, "rb")) for path in paths]
            out = held.enter_context(open(beside, "w+b"))
            agent, customer = (file.fileno() for file in files)
            samples = join(agent, customer, out.fileno(), media_s, customer_later_s=later_s or 0.0, bitrate=BITRATE)
            os.fsync(out.fileno())
        if samples is None:
            raise BadRequest("the disk takes no more", fix="make room, or name another folder with --to")
        os.rename(beside, target)
    except (AudioUnreadable, AudioUnavailable) as error:
        raise BadRequest(f"the two sides cannot be joined: {error}", fix="callspool inspect FILE") from error
    finally:
        if os.path.exists(beside):
            os.unlink(beside)
    told: dict[str, Any] = {"file": target, "size": os.path.getsize(target), "media_s": samples / 48_000}
    return {**told, "customer_later_s": later_s}
