"""The error tree. Every class answers one question: who must act?

    CallspoolError
    ├── OperatorError            the person who runs callspool; carries the exit code and the command that mends it
    │   ├── ConfigInvalid        78
    │   ├── AnotherInstance      11
    │   ├── LedgerMissing        12   not there, or written by another callspool
    │   ├── LedgerDamaged        13
    │   ├── DiskFull             22
    │   ├── UnknownSubject        1   no such call, file or failure
    │   └── BadRequest            2
    ├── DeliveryError            the other side of a network call, or the disk an effect writes to
    │   ├── NotSent              surely never arrived: refused, no route, no name, no free connection
    │   ├── Throttled            429, 503: the whole destination waits
    │   ├── Unanswered           sent, fate unknown: timeout, reset, 500, 502, 504
    │   ├── Refused              an answer, but not the promised one; a retry may help
    │   ├── Denied               401, 403: credentials; the destination rests, its items stay untouched
    │   └── Unacceptable         a retry cannot help: 400, 404, 413, 415, 422, …
    ├── ContentError             the file below an item
    │   ├── ContentGone          no path holds this content any more
    │   └── ContentMoved         the file changed under our hands: settle it again
    ├── TakenMeanwhile           nobody: another decision claimed it since this one looked, which is taken anew
    └── Defect                   us: a move that no table allows, a row that was not in the expected state

Errors are raised or returned, never logged and passed over. Messages hold no phone number, name, token or
word that was said: they reach logs.
"""

from __future__ import annotations

from datetime import datetime, timedelta


class CallspoolError(Exception):
    """Root of everything callspool raises on purpose."""


class OperatorError(CallspoolError):
    """The operator must act.

    ``exit_code`` is the process's exit code; ``fix`` is the command (or act) that mends it.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class ConfigInvalid(OperatorError):
    """The configuration cannot be used. The message names source, line, key and the nearest known key.

    ``problems`` are its single complaints, where there are several.
    """

    exit_code = 78

    def __init__(self, message: str, *, fix: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, fix=fix)
        self.problems = problems or (message,)


class AnotherInstance(OperatorError):
    """Another process holds this ledger's lock."""

    exit_code = 11

    def __init__(self, message: str, *, pid: int | None, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.pid = pid


class LedgerMissing(OperatorError):
    """No ledger where one is needed, or one written by a newer callspool, or by one too old for what is asked."""

    exit_code = 12


class LedgerDamaged(OperatorError):
    """The ledger's pages fail SQLite's own check."""

    exit_code = 13


class DiskFull(OperatorError):
    """The disk under the state folder takes no more writes."""

    exit_code = 22


class UnknownSubject(OperatorError):
    """The command names a call, file or failure that the ledger does not know."""


class BadRequest(OperatorError):
    """The command's own words contradict each other."""

    exit_code = 2


class DeliveryError(CallspoolError):
    """An effect did not come about, or its fate is unknown.

    ``http_status`` is the answer's status where there was one. ``reason`` is short, masked and fit for logs;
    ``answer`` is what the other side said, kept apart because it may quote personal data.
    """

    def __init__(self, reason: str, *, http_status: int | None = None, answer: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.http_status = http_status
        self.answer = answer


class NotSent(DeliveryError):
    """It surely never arrived."""


class Throttled(DeliveryError):
    """The destination asks to be left alone (429, 503).

    ``retry_after`` is how long it asked for, counted from the answer; None where it named no usable time.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry_after: timedelta | None,
        http_status: int | None = None,
        answer: str = "",
    ) -> None:
        super().__init__(reason, http_status=http_status, answer=answer)
        self.retry_after = retry_after


class Unanswered(DeliveryError):
    """It was sent and may have been accepted: ask before trying again."""


class Refused(DeliveryError):
    """The destination answered no, or answered something else than promised."""


class Denied(DeliveryError):
    """The credentials were not accepted."""


class Unacceptable(DeliveryError):
    """The destination will never take this; a person must look."""


class ContentError(CallspoolError):
    """The file that held an item's content is no longer what was hashed.

    ``item_id`` is that item, where whoever raises it knows: a file that brings the content again wakes the job.
    """

    def __init__(self, message: str, item_id: int | None = None) -> None:
        super().__init__(message)
        self.item_id = item_id


class ContentGone(ContentError):
    """No known path holds this content any more."""


class ContentMoved(ContentError):
    """Size, times or inode moved since the file was hashed."""


class TakenMeanwhile(CallspoolError):
    """What a fact claims for its own belongs to another's decision, which was committed since this one was taken."""


class Defect(CallspoolError):
    """A mistake of callspool's own."""


class IllegalMove(Defect):
    """No table allows this move; nothing was changed."""

    def __init__(self, what: str, state: str, event: str) -> None:
        super().__init__(f"{what}: no move from {state!r} on {event!r}")
        self.what, self.state, self.event = what, state, event


class StaleRow(Defect):
    """An update named the state it expected and found another."""


class LedgerBusy(CallspoolError):
    """Another program held the ledger's file longer than we wait; the pipeline pauses and tries again."""

    def __init__(self, message: str, *, since: datetime | None = None) -> None:
        super().__init__(message)
        self.since = since
