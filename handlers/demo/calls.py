"""The demo's calls: composed from the utterances the package carries, and named as producers in the field name files.

Everything follows from one moment, so two compositions of the same moment are equal, audio included. Nobody's voice,
name or number is in them: the speech is synthetic and the numbers are those North America reserves for fiction.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from handlers.demo import sound
from handlers.demo.lines import Line, lines

PAUSES_S = (0.62, 0.94, 0.48, 1.17, 0.71, 0.85, 0.53)
"""Silences between speakers in seconds, taken in turn; within what conversation analysis measures on telephones."""

RECOGNISED = 0.7
"""The part of the silence after a caller's line that passes until it is recognised: before the agent answers it."""

RINGS_S, HANGS_UP_S = 2.41, 1.58
"""Seconds of silence before the first word and after the last."""

JOINS_S = 1.27
"""Seconds from the recording's first sample to the session's start: the recorder is there before the agent."""

SPACING = timedelta(seconds=47)
"""Between the beginnings of two calls."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One line where it lies in the recording, in seconds from its first sample.

    ``stamped_s`` is the moment its transcript gives it: an agent's line is stamped when its speech begins, a caller's
    when it was recognised, some time after it ended.
    """

    line: Line
    starts_s: float
    ends_s: float
    stamped_s: float


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its producers know it.

    ``recording`` is the whole Ogg/Opus file, empty where nothing was recorded, and ``samples`` its exact length at
    48 kHz. ``began_at`` is the moment of the first sample. Documents are the bytes to write.
    """

    number: int
    title: str
    caller: str
    began_at: datetime
    turns: tuple[Turn, ...]
    samples: int
    recording: bytes
    recording_name: str
    transcript: bytes
    transcript_name: str
    session_id: str
    lead: bytes | None = None
    lead_name: str = ""

    @property
    def seconds(self) -> float:
        """The recording's exact length; 0 where there is none."""
        return self.samples / sound.RATE if self.recording else 0.0

    @property
    def masked_number(self) -> str:
        """The caller's number without its plus, fit for a screen."""
        return self.caller[1:2] + "*" * (len(self.caller) - 6) + self.caller[-4:]

    @property
    def masked_name(self) -> str:
        """The recording's name, fit for a screen."""
        return self.recording_name.replace(self.caller[1:], self.masked_number)


@dataclass(frozen=True, slots=True)
class _Script:
    """What is said in a call, and what its producers make of it. ``lead``: none, or how it is named."""

    title: str
    says: tuple[str, ...]
    lead: str = ""
    recorded: bool = True
    knows_number: bool = False


_SCRIPTS = (
    _Script(
        "an order",
        (
            "agent-hello",
            "rms-order",
            "agent-moment",
            "agent-tomorrow",
            "rms-good",
            "agent-else",
            "rms-thanks",
            "agent-goodbye",
        ),
    ),
    _Script(
        "a plan",
        ("agent-hello", "awb-plans", "agent-plans", "agent-adviser", "awb-yes", "agent-noted", "agent-goodbye"),
        lead="stamp",
        knows_number=True,
    ),
    _Script(
        "an appointment",
        ("agent-hello", "kal-appointment", "agent-tuesday", "kal-fine", "agent-noted", "kal-thanks", "agent-goodbye"),
    ),
    _Script(
        "a password",
        ("agent-hello", "awb-password", "agent-password", "awb-works", "agent-else", "awb-thanks", "agent-goodbye"),
    ),
    _Script(
        "an invoice",
        ("agent-hello", "rms-invoice", "agent-moment", "agent-adviser", "rms-yes", "agent-noted", "agent-goodbye"),
        lead="second",
    ),
    _Script(
        "a new date", ("agent-hello", "kal-appointment", "agent-tuesday", "kal-fine", "agent-goodbye"), recorded=False
    ),
)


def compose(now: datetime) -> tuple[Call, ...]:
    """Six calls, the last of which ended shortly before ``now`` (aware). The sixth was never recorded."""
    last = now.astimezone(UTC) - timedelta(seconds=40)
    first = last - SPACING * len(_SCRIPTS)
    return tuple(
        _call(number, script, first + SPACING * (number - 1) + timedelta(milliseconds=37 * number))
        for number, script in enumerate(_SCRIPTS, 1)
    )


def _call(number: int, script: _Script, began_at: datetime) -> Call:
    turns, audio = _speak(script.says, number)
    caller = f"+1202555{100 + number:04}"
    end = began_at + timedelta(seconds=turns[-1].ends_s + 0.6)
    saved = end + timedelta(seconds=2, microseconds=351452)
    stamp = saved.strftime("%Y-%m-%dT%H-%M-%S.%f")
    session_id = _session_id(number, began_at + timedelta(seconds=JOINS_S))
    document = _transcript(turns, began_at, end, session_id)
    document["lead_generated"] = bool(script.lead)
    document["metadata"] = {"auto_saved": True} | ({"phone_number": caller} if script.knows_number else {})
    lead_name = {"stamp": f"leads_session_{stamp}.json", "second": f"lead_{end:%Y%m%d_%H%M%S}.json", "": ""}
    return Call(
        number=number,
        title=script.title,
        caller=caller,
        began_at=began_at,
        turns=turns,
        samples=len(audio),
        recording=sound.encode(audio, effort=3) if script.recorded else b"",
        recording_name=f"number-_{caller[1:]}-{int(began_at.timestamp())}.ogg",
        transcript=_json(document),
        transcript_name=f"transcript_session_{stamp}.json",
        session_id=session_id,
        lead=_json(_lead(script.title)) if script.lead else None,
        lead_name=lead_name[script.lead],
    )


def _speak(says: Sequence[str], shift: int) -> tuple[tuple[Turn, ...], array[int]]:
    """The lines one after the other with silence between, and where each lies."""
    audio = _silence(RINGS_S)
    turns = []
    for place, name in enumerate(says):
        line, starts_s = lines()[name], len(audio) / sound.RATE
        audio += line.samples()
        ends_s, pause_s = len(audio) / sound.RATE, PAUSES_S[(place + shift) % len(PAUSES_S)]
        stamped_s = starts_s if line.role == "assistant" else ends_s + RECOGNISED * pause_s
        turns.append(Turn(line, starts_s, ends_s, stamped_s))
        audio += _silence(pause_s)
    audio += _silence(HANGS_UP_S + shift / 1000)
    return tuple(turns), audio


def _silence(seconds: float) -> array[int]:
    return array("h", bytes(round(seconds * sound.RATE) * array("h").itemsize))


def _transcript(turns: Sequence[Turn], began_at: datetime, end: datetime, session_id: str) -> dict[str, Any]:
    """The transcript as voice agents save it."""
    start = began_at + timedelta(seconds=JOINS_S)
    return {
        "session_id": session_id,
        "start_time": _iso(start),
        "end_time": _iso(end),
        "duration_seconds": round((end - start).total_seconds()),
        "total_items": len(turns),
        "conversation_items": [
            {
                "role": turn.line.role,
                "content": turn.line.text,
                "timestamp": _iso(began_at + timedelta(seconds=turn.stamped_s)),
                "source": "voice_agent" if turn.line.role == "assistant" else "voice_user",
                "transcript_confidence": None,
            }
            for turn in turns
        ],
    }


def _session_id(number: int, start: datetime) -> str:
    tail = hashlib.sha256(f"{number} {start.isoformat()}".encode()).hexdigest()[:8]
    return f"session_{start:%Y%m%d_%H%M%S}_{tail}"


def _lead(title: str) -> dict[str, Any]:
    return {
        "name": "Demo Caller",
        "email": "caller@example.com",
        "company": "Example Ltd",
        "interest": f"a call back about {title}",
    }


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()
