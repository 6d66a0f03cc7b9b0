"""The log: JSON Lines on standard output, or a readable form on a terminal; one canonical line for each state change.

Masking has two layers. Whoever makes an event keeps numbers, names, tokens and what was said out of it; the processor
below masks whatever looks like one anyway, in every string of every line, also in lines of the libraries.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from typing import Any, TextIO

import structlog

from daemon.contract import Clock, Event

FIELDS: Mapping[str, str] = {
    "ts": "when, RFC 3339 in UTC with milliseconds",
    "level": "debug, info, warning or error",
    "event": "what happened, noun.past_participle",
    "host_id": "this ledger's own name, random and stored once",
    "run_id": "this run of the process",
    "call_id": "the call's internal id, such as c12",
    "subject": "an item's internal id, such as r13 or l14",
    "item": "an item's number in the ledger",
    "kind": "the kind of job",
    "role": "the watched folder: recordings, conversations or leads",
    "path": "the file, relative to its folder, numbers masked",
    "sha256": "the first 12 hex digits of the content's hash",
    "size_bytes": "bytes",
    "duration_s": "seconds of audio, counted from its samples",
    "elapsed_s": "seconds this took",
    "attempt": "how often it was tried in a row",
    "dest": "the destination",
    "http_status": "the answer's status",
    "reason": "why, in a few words",
    "fix": "the command that mends it",
    "next_attempt_ts": "when it is tried again by itself",
    "flags": "doubts about a file",
    "suppressed": "lines of the same event and reason left out since the last one",
}
"""Every field of the log, and what it means. Rooms may add fields of their own; those are documented in the README."""

REPEAT_S = 60.0
"""A warning or error that says the same again is written at most this often."""

_SPACED = re.compile(r"\+\d[\d ().-]{6,}\d|(?<![\w-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\w-])")
_STAMP = re.compile(r"(?<!\d)((?:19|20)\d{6})_(\d{6})(?!\d)")
_RUN = re.compile(r"(?<![0-9A-Fa-f.:T-])([+_]?)(\d{7,15})(?![0-9A-Fa-f:T])")
_EPOCH_NAME = re.compile(r"(number-)([+_]?\d{5,15})(-)(\d{10})(?=\D|$)")
_PLACE = re.compile("\0(\\d+)\0")
_CALL_ID = re.compile(r"CALL-\d{8}-\d{6}-[\d-]+")
_EMAIL = re.compile(r"(?<![\w*.+-])[\w.+-]+@[\w-]+\.[\w.-]+")
_BEARER = re.compile(r"(?i)(bearer|token|api[_-]?key|authorization)([ =:]+)\S+")
_URL_SECRET = re.compile(r"(https?://)[^/@\s]+@(?!\*)|(?<=\S)\?[^\s\"']+")
_PLAIN_KEYS = frozenset({"ts", "level", "event", "host_id", "run_id", "sha256", "call_id", "next_attempt_ts"})


def mask_number(number: str) -> str:
    """``+918655066243`` → ``+91******6243``: the country and the last four digits stay."""
    digits = re.sub(r"\D", "", number)
    sign = number[0] if number[:1] in "+_" else ""
    head = 2 if len(digits) > 8 else 0
    return sign + digits[:head] + "*" * max(0, len(digits) - head - 4) + digits[-4:]


def mask(text: str) -> str:
    """The text with numbers, addresses and tokens masked. A recording's epoch second stays readable."""
    text = _CALL_ID.sub("CALL-***", text)
    text = _URL_SECRET.sub(lambda m: f"{m[1]}***@" if m[1] else "?***", text)
    text = _EMAIL.sub("***@***", text)
    text = _BEARER.sub(r"\1\2***", text)
    kept: list[str] = []

    def keep(clear: str, before: str = "") -> str:
        kept.append(clear)
        return f"{before}\0{len(kept) - 1}\0"

    text = _EPOCH_NAME.sub(lambda m: keep(m[4], f"{m[1]}{mask_number(m[2])}{m[3]}"), text.replace("\0", ""))
    text = _STAMP.sub(lambda m: keep(m[0]), text)
    text = _RUN.sub(lambda m: mask_number(m[0]), _SPACED.sub(lambda m: mask_number(m[0]), text))
    return _PLACE.sub(lambda m: kept[int(m[1])], text)


def masked(value: Any) -> Any:
    """``mask`` through lists and mappings."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: inner if key in _PLAIN_KEYS else masked(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(inner) for inner in value]
    return value


class _Log:
    """What ``configure`` sets up; one to a process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.level = logging.INFO
        self.stream: TextIO = sys.stdout
        self.render: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
        self.clock: Clock | None = None
        self.always: dict[str, str] = {}
        self.said: dict[tuple[str, str, str], tuple[float, int]] = {}
        self.broken = False

    def write(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        if getattr(logging, level.upper()) < self.level or self.clock is None or self.broken:
            return
        suppressed = self._suppressed(level, event, fields)
        if suppressed is None:
            return
        line: MutableMapping[str, Any] = {
            "ts": _stamp(self.clock.now()),
            "level": level,
            "event": event,
            **self.always,
            **masked(fields),
        }
        if suppressed:
            line["suppressed"] = suppressed
        text = self.render(None, level, line)
        with self.lock:
            try:
                self.stream.write(text + "\n")
                self.stream.flush()
            except (BrokenPipeError, ValueError):
                self.broken = True  # nobody reads any more: the work goes on, the journal has it all

    def _suppressed(self, level: str, event: str, fields: Mapping[str, Any]) -> int | None:
        """How many equal lines were left out before this one; None when it is to be left out itself."""
        if level not in ("warning", "error") or self.clock is None:
            return 0
        subject = str(fields.get("call_id") or fields.get("subject") or fields.get("path") or fields.get("item") or "")
        key, now = (event, str(fields.get("reason", "")), subject), self.clock.monotonic()
        with self.lock:
            last, count = self.said.get(key, (-REPEAT_S, 0))
            if now - last < REPEAT_S:
                self.said[key] = (last, count + 1)
                return None
            if len(self.said) > 4096:
                self.said.clear()
            self.said[key] = (now, 0)
            return count


_log = _Log()


def configure(level: str, format: str, *, host_id: str, run_id: str, stream: TextIO, clock: Clock) -> None:  # noqa: A002
    """Set the log up. ``format``: json, text, or auto (text on a terminal). Lines of libraries come in from warning
    up.
    """
    text = format == "text" or (format == "auto" and stream.isatty())
    _log.level = getattr(logging, level.upper())
    _log.stream, _log.clock, _log.broken = stream, clock, False
    _log.always = {"host_id": host_id, "run_id": run_id}
    _log.render = _readable(stream) if text else structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    root = logging.getLogger()
    root.handlers = [_Libraries()]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def set_host(host_id: str) -> None:
    """The ledger's own name, once the ledger is open."""
    _log.always["host_id"] = host_id


def emit(event: Event) -> None:
    """Write one line."""
    _log.write(event.level, event.name, event.fields)


def _readable(stream: TextIO) -> Any:
    """Time, event and fields on one line, the constant ones left out, in colour on a terminal."""
    console = structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=22)

    def render(logger: Any, name: str, line: MutableMapping[str, Any]) -> str:
        for key in ("host_id", "run_id"):
            line.pop(key, None)
        line["timestamp"] = line.pop("ts")[11:23]
        return str(console(logger, name, {k: v for k, v in line.items() if v not in (None, "", [])}))

    return render


class _Libraries(logging.Handler):
    """Lines of the standard library's logging, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        _log.write(level, "library.warned", {"reason": record.getMessage(), "library": record.name})


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
