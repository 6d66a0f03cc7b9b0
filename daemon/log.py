"""The log: JSON Lines on standard output, or a readable form on a terminal; one canonical line for each state change.

Masking has two layers. Whoever makes an event keeps numbers, names, tokens and what was said out of it; ``masking``
masks whatever looks like one anyway, in every string of every line, also in lines of the libraries. Nothing that goes
wrong with the log itself stops the work: a reader that went away silences it, a full disk costs lines, which are
counted, and a strange name is escaped.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TextIO

import structlog

from daemon.contract import Clock, Event, Fields
from daemon.errors import CallspoolError, Defect
from daemon.masking import masked

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
    "lost": "lines that could not be written since the last one",
    "library": "the library that said it",
    "items": "how many items",
    "files": "how many files",
    "what": "the kind of work that was paused",
    "changed": "settings whose values are new",
    "needs_restart": "settings that only a restart brings",
    "trace": "where a defect came about: files, lines and functions",
}
"""Every field of the log, and what it means. Rooms may add fields of their own; those are documented in the README."""

EVENTS: dict[str, str] = {
    "daemon.started": "the process began its work",
    "daemon.recovered": "what an earlier run left unfinished was taken up",
    "daemon.held": "nothing is sent until a person decides",
    "daemon.stopped": "the process ended its work in order",
    "daemon.failed": "the process cannot go on",
    "config.reloaded": "the configuration was read anew and is worked by",
    "config.refused": "a new configuration is invalid; the old one stays",
    "clock.jumped": "the wall clock was moved",
    "ledger.held": "the ledger is in hold mode",
    "ledger.adopted": "hold mode ended: all that lies there counts as delivered",
    "ledger.redelivered": "hold mode ended: what is not known as delivered is delivered",
    "ledger.rebuilt": "a lost ledger was begun anew from folders, markers and sidecars",
    "ledger.copied": "a checked copy of the ledger was made",
    "ledger.uncopied": "the daily copy could not be made",
    "ledger.paused": "the ledger takes no writes; the work waits",
    "ledger.resumed": "the ledger takes writes again",
    "root.watched": "file events of a folder are heard",
    "root.polled": "a folder is looked at regularly, without events",
    "root.degraded": "a folder is not what it was; its files do not count as gone",
    "root.missed": "a folder is not there",
    "folder.unreadable": "a folder below a root cannot be read",
    "watch.overflowed": "more events came than the system keeps; a scan makes up for it",
    "watch.limited": "the system allows no more watches",
    "watch.rebuilt": "the watch was set up anew",
    "watch.failed": "the watch of a folder failed; it is tried again",
    "file.settled": "a file is finished and known",
    "file.duplicated": "a file holds what is known already",
    "file.overdue": "a file does not settle; a person must look",
    "file.unreadable": "a file cannot be read",
    "compression.begun": "recordings whose time has come are compressed",
    "compression.progressed": "so many recordings are to be compressed yet",
    "recording.compressed": "a copy was read back and is close to its source",
    "recording.uncompressed": "no copy was made of a recording",
    "compression.refused": "a copy was not close enough; its original stays",
    "original.removed": "the original of a verified copy was let go",
    "recording.understood": "a recording was read",
    "conversation.understood": "a transcript was read",
    "lead.understood": "a lead was read",
    "chunk.kept": "a piece of a browser session was kept with its session",
    "sidecar.kept": "a document beside a recording was kept with it",
    "marker.skipped": "an old marker says nothing usable",
    "marker.unreadable": "an old marker cannot be read",
    "markers.read": "the markers of the system before were read",
    "call.matched": "a conversation and its recording belong together",
    "call.match_disputed": "later evidence speaks against a recording that was sent",
    "call.unmatched": "what was thought to belong together does not",
    "call.ambiguous": "evidence cannot separate the candidates",
    "call.alone": "a conversation goes without a recording",
    "call.replaced": "a new version of a conversation took the place of another",
    "call.spoken_for": "the system before had delivered this call",
    "recording.unmatched": "a recording has no conversation",
    "lead.matched": "a lead belongs to a call",
    "lead.held": "a lead waits for a person",
    "lead.missed": "a promised lead did not come",
    "lead.unmatched": "a lead has no conversation",
    "match.accepted": "a person said that they belong together",
    "match.rejected": "a person said that they do not",
    "match.undone": "a person took back what was said of a pair",
    "offset.suspected": "recordings and conversations lie a constant distance apart",
    "crm.uploaded": "the CRM took a recording",
    "crm.accepted": "the CRM took a call",
    "storage.stored": "a call is whole in storage, its sidecar written",
    "storage.verified": "an object lies in storage and is what was meant",
    "storage.fell_back": "S3 did not take it: it is kept in the local store until S3 is back",
    "storage.refused": "S3 will never take this object as it is; it stays in the local store",
    "copy.recognised": "a compressed copy from before the ledger was made anew stands for its recording again",
    "storage.abandoned": "an upload in parts that callspool began and nobody goes on with was given up",
    "storage.lost": "copies were found to be missing or to be something else, and are put again",
    "storage.superseded": "an original was let go in a store, where its compressed copy lies, verified",
    "storage.released": "a copy in the local store was let go, for it is verified in S3",
    "storage.archived": "a recording in S3 was given the storage class of old ones",
    "storage.unarchived": "S3 does not give this recording the storage class of old ones; it stays as it is",
    "storage.drained": "a person had the local store's copies moved to S3",
    "storage.probed": "what a service can do was asked and is kept",
    "source.removed": "a source was removed, for storage has it and storage.after says so",
    "erasure.begun": "a person had somebody's files erased; it is under way",
    "erasure.halted": "what is to be erased cannot be reached everywhere yet",
    "erasure.done": "what was to be erased is gone from folders and ledger",
    "hold.added": "a call is kept whatever retention or erasure say",
    "hold.removed": "a call is kept no more",
    "retention.applied": "sources whose time has come are removed",
    "job.deferred": "it failed and is tried again by itself",
    "job.parked": "a person must look",
    "http.opened": "the page and the API answer; reason is the address",
    "recording.played": "somebody heard a recording on the page",
    "http.failed": "the address cannot be had; everything else works",
    "job.retried": "a person had it tried again",
    "scan.requested": "a person had the folders looked through at once",
    "work.paused": "a person, or a target that was reached, paused a kind of work",
    "work.resumed": "it goes on",
    "hours.excluded": "a person said that a call counts no more",
    "hours.included": "it counts again",
    "hours.reset": "counting began anew",
    "collection.imported": "conversations of an older collection were taken in",
    "collection.written": "the live metadata, a report or a summary was written",
    "summary.made": "what yesterday brought",
    "silence.begun": "no recording came for too long a working time",
    "silence.ended": "a recording came again",
    "healthcheck.failed": "the monitor's address could not be asked for",
    "link.added": "a link to a recording was made",
    "link.revoked": "links to a recording work no more",
    "target.reached": "the hours of the target are collected",
    "effect.doubted": "sent, and its fate is unknown",
    "destination.opened": "too many failures in a row: one probe at a time",
    "destination.throttled": "the destination asked to be left alone",
    "destination.denied": "the destination refused our credentials",
    "destination.recovered": "the destination takes deliveries again",
    "defect.caught": "a mistake of callspool's own",
    "library.warned": "a library had something to say",
}
"""Every event of the log, and what happened when it is written."""

REPEAT_S = 60.0
"""A warning or error that says the same again is written at most this often."""

_REMEMBERED = 4096
"""Warnings kept in mind for that."""

_ASCII = json.JSONEncoder(ensure_ascii=True, default=str).encode
_READABLE = json.JSONEncoder(ensure_ascii=False, default=str).encode
_NOT_LINES = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""Characters that some readers take for the end of a line."""

_CLEAR = frozenset({"sha256", "call_id", "next_attempt_ts"})
"""Fields of a fixed form, which holds nothing to mask."""

Render = Callable[[Mapping[str, Any]], str]


class _Log:
    """What ``configure`` sets up; one to a process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.level = logging.INFO
        self.stream: TextIO | None = None
        self.render: Render = _as_json
        self.clock: Clock | None = None
        self.always: dict[str, str] = {}
        self.said: dict[tuple[str, str, str], tuple[float, int]] = {}
        self.lost = 0

    def write(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        if self.stream is None or self.clock is None or _LEVELS[level] < self.level:
            return
        suppressed = self._suppressed(level, event, fields, self.clock.monotonic())
        if suppressed is None:
            return
        head = {"ts": _stamp(self.clock.now()), "level": level, "event": event, **self.always}
        told = {name: value if name in _CLEAR else masked(value) for name, value in fields.items()}
        line = {**head, **told, **head}
        if suppressed:
            line["suppressed"] = suppressed
        if self.lost:
            line["lost"] = self.lost
        text = self.render(line) + "\n"
        with self.lock:
            self._put(text, line)

    def _put(self, text: str, line: Mapping[str, Any]) -> None:
        if self.stream is None:
            return
        try:
            try:
                self.stream.write(text)
            except UnicodeEncodeError:  # a name that is no text, or a terminal that knows little
                self.stream.write(_ASCII(line) + "\n")
            self.stream.flush()
            self.lost = 0
        except BrokenPipeError:
            _silence(self.stream)  # nobody reads any more: the work goes on, the journal has it all
            self.stream = None
        except OSError:
            self.lost += 1  # a full disk, say: the next line may find space, and tells of this one
        except ValueError:
            self.stream = None  # closed

    def _suppressed(self, level: str, event: str, fields: Mapping[str, Any], now: float) -> int | None:
        """How many equal lines were left out before this one; None when it is to be left out itself."""
        if level not in ("warning", "error"):
            return 0
        subject = str(fields.get("call_id") or fields.get("subject") or fields.get("path") or fields.get("item") or "")
        key = (event, str(fields.get("reason", "")), subject)
        with self.lock:
            last, count = self.said.get(key, (now - REPEAT_S, 0))
            if now - last < REPEAT_S:
                self.said[key] = (last, count + 1)
                return None
            if len(self.said) >= _REMEMBERED:
                self.said = {k: v for k, v in self.said.items() if now - v[0] < REPEAT_S}
            if len(self.said) >= _REMEMBERED:
                self.said.clear()
            self.said[key] = (now, 0)
            return count


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str, format: str, *, host_id: str, run_id: str, stream: TextIO, clock: Clock) -> None:  # noqa: A002
    """Set the log up. ``format``: json, text, or auto (text on a terminal). Libraries are heard from warning up."""
    text = format == "text" or (format == "auto" and stream.isatty())
    with _log.lock:
        _log.level, _log.stream, _log.clock = _LEVELS[level], stream, clock
        _log.always = {"host_id": host_id, "run_id": run_id}
        _log.render = _readable(stream) if text else _as_json
        _log.said, _log.lost = {}, 0
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Libraries)]:
        root.removeHandler(handler)
    root.addHandler(_Libraries(logging.WARNING))
    logging.captureWarnings(capture=True)


def set_host(host_id: str) -> None:
    """The ledger's own name, once the ledger is open."""
    _log.always = {**_log.always, "host_id": host_id}


def set_level(level: str) -> None:
    """From here on, lines of this level and above."""
    with _log.lock:
        _log.level = _LEVELS[level]


def emit(event: Event) -> None:
    """Write one line. Safe from any thread; raises nothing, whatever became of the stream."""
    _log.write(event.level, event.name, event.fields)


def failure(error: BaseException, *, trace: bool = False) -> Fields:
    """What a line may say of an exception: its type, its message where it is one of ours, where it was raised.

    Other people's messages quote what they worked on, so they stay out. ``trace``, for lines at debug level, adds the
    stack of a defect: files, lines and functions, never values.
    """
    frames = traceback.extract_tb(error.__traceback__)
    said = f": {error}" if isinstance(error, CallspoolError) and str(error) else ""
    at = f" at {_place(frames[-1])}" if frames and not said else ""
    fields: dict[str, Any] = {"reason": f"{type(error).__name__}{said}{at}"}
    if trace and frames and (isinstance(error, Defect) or not isinstance(error, CallspoolError)):
        fields["trace"] = [_place(frame) for frame in frames]
    return fields


def _place(frame: traceback.FrameSummary) -> str:
    return f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}"


def _as_json(line: Mapping[str, Any]) -> str:
    return _READABLE(line).translate(_NOT_LINES)


def _readable(stream: TextIO) -> Render:
    """Time, event and fields on one line, the constant ones left out, in colour on a terminal."""
    console = structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=22)

    def render(line: Mapping[str, Any]) -> str:
        shown = {
            name: value if not isinstance(value, str) or value.isprintable() else ascii(value)[1:-1]
            for name, value in line.items()
            if name not in ("ts", "host_id", "run_id") and value not in (None, "", [])
        }
        return str(console(None, str(line["level"]), {"timestamp": line["ts"][11:23], **shown}))

    return render


class _Libraries(logging.Handler):
    """Lines of the standard library's logging, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a library's mistake in a log line must not stop our work
            said = f"a message that cannot be put together ({type(error).__name__})"
        fields: dict[str, Any] = {"library": record.name}
        if record.exc_info is not None and record.exc_info[1] is not None:
            fields.update(failure(record.exc_info[1], trace=_log.level <= logging.DEBUG))
            said = f"{said} ({fields['reason']})"
        level = "error" if record.levelno >= logging.ERROR else "warning"
        _log.write(level, "library.warned", {**fields, "reason": said})


def _silence(stream: TextIO) -> None:
    """Point the stream's descriptor at nothing, so that what its buffer still holds can fail no more."""
    try:
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.dup2(null, stream.fileno())
    except (OSError, ValueError):
        pass  # a stream without a descriptor has nothing to silence
    finally:
        os.close(null)


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_log = _Log()
