"""The ledger's destinations: their health, and the jobs they hold back.

A destination that is shut holds its jobs back (``job.waits_for``). When its time has come one of them is let through
to probe it; ``probe_us`` keeps the others where they are until the probe's answer, or for PROBE_LEASE. An answer of any
kind that is not a failure closes the breaker and wakes them all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.ledger.reading import moment
from daemon.ledger.writer import WriteTx, micros
from daemon.states import DestinationState

RowsOf = Callable[..., list[sqlite3.Row]]
"""How a SELECT is run: a view's ``rows`` or a transaction's."""

PROBE_LEASE = timedelta(seconds=30)
"""How long the others wait for a probe that says nothing, should its job have turned out to want something else."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination's health as the ledger has it. ``failures`` and ``rests`` count in a row."""

    name: str
    state: DestinationState
    failures: int
    rests: int
    until: datetime
    reason: str
    succeeded_at: datetime | None = None


def healthy(name: str, now: datetime) -> Destination:
    """A destination nothing is known against."""
    return Destination(name, DestinationState.CLOSED, 0, 0, now, "")


def known(rows: RowsOf) -> Mapping[str, Destination]:
    """Every destination by name."""
    return {row["name"]: _of(row) for row in rows("SELECT * FROM destination")}


def current(tx: WriteTx, name: str) -> Destination:
    """The destination as this transaction sees it."""
    row = tx.row("SELECT * FROM destination WHERE name = ?", (name,))
    return healthy(name, tx.now) if row is None else _of(row)


def keep(tx: WriteTx, destination: Destination) -> None:
    """Write a destination's row. One that is back wakes every job that waited for it."""
    succeeded_us = None if destination.succeeded_at is None else micros(destination.succeeded_at)
    tx.execute(
        "INSERT INTO destination (name, state, failures, rests, until_us, reason, succeeded_us, changed_us) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state, "
        "failures = excluded.failures, rests = excluded.rests, until_us = excluded.until_us, probe_us = 0, "
        "reason = excluded.reason, succeeded_us = coalesce(excluded.succeeded_us, succeeded_us), "
        "changed_us = excluded.changed_us",
        (
            destination.name,
            destination.state,
            destination.failures,
            destination.rests,
            micros(destination.until),
            destination.reason,
            succeeded_us,
            tx.now_us,
        ),
    )
    if destination.state is DestinationState.CLOSED:
        _wake_all(tx, destination.name)
    else:
        tx.execute(
            "UPDATE job SET due_us = ? WHERE waits_for = ?", (micros(destination.until), destination.name)
        )  # what status shows as the next attempt


def send_probe(tx: WriteTx, lane: str) -> None:
    """Let one job of the lane through to every shut destination whose time has come.

    The job whose turn is longest ago: one that fails by its own fault must not be the only one ever to try.
    """
    ripe = tx.rows(
        "SELECT name FROM destination WHERE state != 'closed' AND until_us <= ? AND probe_us <= ? "
        "AND EXISTS (SELECT 1 FROM job WHERE waits_for = destination.name AND lane = ?)",
        (tx.now_us, tx.now_us - micros_of(PROBE_LEASE), lane),
    )
    for row in ripe:
        tx.expect(
            "UPDATE job SET state = 'ready', waits_for = NULL, changed_us = ? WHERE id = "
            "(SELECT id FROM job WHERE waits_for = ? AND lane = ? ORDER BY changed_us, id LIMIT 1)",
            (tx.now_us, row["name"], lane),
        )
        tx.execute("UPDATE destination SET probe_us = ? WHERE name = ?", (tx.now_us, row["name"]))


def next_probe_us(rows: RowsOf, lane: str) -> int | None:
    """When the next probe of the lane's held back jobs is due, in microseconds since the epoch; None for never."""
    found = rows(
        "SELECT min(max(until_us, CASE probe_us WHEN 0 THEN 0 ELSE probe_us + ? END)) AS at_us FROM destination "
        "WHERE state != 'closed' AND EXISTS (SELECT 1 FROM job WHERE waits_for = destination.name AND lane = ?)",
        (micros_of(PROBE_LEASE), lane),
    )
    at_us: int | None = found[0]["at_us"]
    return at_us


def micros_of(span: timedelta) -> int:
    """A time span in microseconds."""
    return span // timedelta(microseconds=1)


def _wake_all(tx: WriteTx, name: str) -> None:
    lanes = tx.rows("SELECT DISTINCT lane FROM job WHERE waits_for = ?", (name,))
    if lanes:  # there are none after every success but the first
        tx.execute(
            "UPDATE job SET state = 'ready', waits_for = NULL, due_us = ?, changed_us = ? WHERE waits_for = ?",
            (tx.now_us, tx.now_us, name),
        )
    tx.woken.update(row["lane"] for row in lanes)


def _of(row: sqlite3.Row) -> Destination:
    return Destination(
        row["name"],
        DestinationState(row["state"]),
        row["failures"],
        row["rests"],
        moment(row["until_us"]),
        row["reason"],
        None if row["succeeded_us"] is None else moment(row["succeeded_us"]),
    )
