"""Domain values made from a few words, and a real ledger to put them in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from daemon.contract import Event, Fact, Reader
from daemon.house import SOURCES
from daemon.ledger.ledger import Ledger
from daemon.ledger.paths import StatePaths
from daemon.ledger.reading import Readers
from daemon.ledger.writer import WriteTx, micros
from handlers.model import AudioInfo, Conversation, Lead, Recording, Side, TimeSource
from handlers.records import ConversationKnown, LeadKnown, RecordingKnown

NOON = datetime(2025, 10, 29, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """The moment this many seconds after noon of the day on which the tests take place."""
    return NOON + timedelta(seconds=seconds)


def recording(
    id_: int,
    start: float | datetime | None = 0.0,
    length: float = 60.0,
    *,
    source: TimeSource = TimeSource.NAME,
    side: Side = Side.MIXED,
    group: str | None = None,
    name: str | None = None,
    number: str | None = None,
    session_id: str | None = None,
    call_ref: str | None = None,
    stamp: datetime | None = None,
    registered: float = 0.0,
) -> Recording:
    """A recording; ``start`` in seconds after noon. Its file name defaults to one that says nothing."""
    start_at = start if start is None or isinstance(start, datetime) else at(start)
    return Recording(
        id=id_,
        name=name or f"recording-{id_}.ogg",
        group=group or f"r{id_}",
        side=side,
        size=1000,
        audio=AudioInfo("ogg", "opus", 48_000, 1, length, length),
        start_at=start_at,
        start_source=None if start_at is None else source,
        number=number,
        session_id=session_id,
        call_ref=call_ref,
        stamp=stamp,
        registered_at=at(registered),
    )


def conversation(
    id_: int,
    start: float | None = 0.0,
    length: float | None = 60.0,
    *,
    saved: float | None = None,
    session: float | None = None,
    name: str | None = None,
    number: str | None = None,
    session_id: str | None = None,
    call_ref: str | None = None,
    room: str | None = None,
    lead_expected: bool | None = False,
    registered: float = 0.0,
) -> Conversation:
    """A conversation with ``start_time`` and ``end_time``; ``session`` and ``saved`` add the other two stamps."""
    start_at = None if start is None else at(start)
    end_at = None if start is None or length is None else at(start + length)
    session_at = None if session is None else at(session)
    first = start_at or session_at
    return Conversation(
        id=id_,
        name=name or f"transcript-{id_}.json",
        document={"session_id": session_id, "note": "whole"},
        session_id=session_id,
        start_at=first,
        start_source=None if first is None else TimeSource.FIELD if start_at else TimeSource.SESSION,
        end_at=end_at,
        end_source=None if end_at is None else TimeSource.FIELD,
        session_at=session_at,
        field_start_at=start_at,
        field_end_at=end_at,
        saved_at=None if saved is None else at(saved),
        number=number,
        call_ref=call_ref,
        room=room,
        lead_expected=lead_expected,
        registered_at=at(registered),
    )


def lead(
    id_: int,
    taken: float | None = None,
    *,
    stamp: datetime | None = None,
    name: str | None = None,
    session_id: str | None = None,
    number: str | None = None,
    registered: float = 0.0,
) -> Lead:
    """A lead; ``taken`` in seconds after noon."""
    return Lead(
        id=id_,
        name=name or f"lead-{id_}.json",
        document={"interest": "yes"},
        stamp=stamp,
        taken_at=None if taken is None else at(taken),
        session_id=session_id,
        number=number,
        registered_at=at(registered),
    )


class HandClock:
    """A clock that stands still until it is told."""

    def __init__(self, now: datetime = NOON) -> None:
        self.moment = now

    def now(self) -> datetime:
        """The wall clock."""
        return self.moment

    def monotonic(self) -> float:
        """Seconds."""
        return self.moment.timestamp()


class RecordsLedger:
    """A real ledger in a folder, with the domain's tables, for facts and queries."""

    def __init__(self, folder: Path, lanes: dict[str, str] | None = None, clock: HandClock | None = None) -> None:
        self.clock = clock or HandClock()
        self.events: list[Event] = []
        paths = StatePaths(folder / "state")
        self.ledger = Ledger(
            paths,
            self.clock,
            readers=Readers(paths.ledger, self.clock),
            sources=SOURCES,
            lanes=lanes or {},
            on_event=self.events.append,
        )

    def item(
        self, id_: int, role: str, name: str, *, replaces: int | None = None, sha256: str = "", evidence: str = ""
    ) -> None:
        """An item with this very id, as a settled file would have made it."""

        def run(tx: WriteTx) -> None:
            tx.execute(
                "INSERT INTO item (id, host_id, role, kind, sha256, size, evidence, name, path, mtime_ns, "
                "first_seen_us, replaces) VALUES (?, 'h', ?, ?, ?, 1, ?, ?, ?, 0, ?, ?)",
                (
                    id_,
                    role,
                    role,
                    sha256 or f"{id_:064d}",
                    evidence,
                    name,
                    f"{role}s/{name}",
                    micros(self.clock.now()),
                    replaces,
                ),
            )

        self.ledger.write("item.added", run)

    def put(self, value: Recording | Conversation | Lead, *, replaces: int | None = None) -> str:
        """An item with what intake learned of it; returns the key of the match job it starts."""
        if isinstance(value, Recording):
            self.item(value.id, "recording", value.name, replaces=replaces)
            self.write(RecordingKnown(value))
            return f"group:{value.group}"
        if isinstance(value, Conversation):
            self.item(value.id, "conversation", value.name, replaces=replaces)
            self.write(ConversationKnown(value))
            return f"conversation:{value.id}"
        self.item(value.id, "lead", value.name, replaces=replaces)
        self.write(LeadKnown(value))
        return f"lead:{value.id}"

    def write(self, *facts: Fact) -> None:
        """Write facts in one transaction."""

        def run(tx: WriteTx) -> None:
            for fact in facts:
                fact.write(tx)

        self.ledger.write("facts.written", run)

    @contextmanager
    def view(self) -> Iterator[Reader]:
        """A view of the ledger."""
        with self.ledger.view() as view:
            yield view

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()
