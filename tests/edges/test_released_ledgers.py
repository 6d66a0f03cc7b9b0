"""A ledger of every released schema is kept as data, and the program of today takes it over with all it knows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from daemon.clock import SystemClock
from daemon.contract import Event
from daemon.house import House
from daemon.ledger.connection import open_for_reading

RELEASED = sorted((Path(__file__).parents[1] / "data" / "ledgers").glob("*.sql"))


def test_the_first_release_is_among_them() -> None:
    assert "0.1.0.sql" in [path.name for path in RELEASED]


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.stem)
def test_it_migrates_and_forgets_nothing(tmp_path: Path, released: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with closing(sqlite3.connect(state / "ledger.db")) as ledger:
        ledger.executescript(released.read_text())
        tables = [row[0] for row in ledger.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        before = {table: ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
        calls = ledger.execute("SELECT conversation_id, call_id, delivered_us FROM call ORDER BY 1").fetchall()
    events: list[Event] = []
    house = House.open(None, {}, tmp_path, {}, SystemClock())
    ledger_now = house.open_ledger(events.append)
    ledger_now.recover()
    ledger_now.close()
    with closing(open_for_reading(state / "ledger.db")) as ledger:
        after = {table: ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
        kept = ledger.execute("SELECT conversation_id, call_id, delivered_us FROM call ORDER BY 1").fetchall()
        assert ledger.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert ledger.execute("PRAGMA foreign_key_check").fetchall() == []
    more = {"migration", "meta", "journal"}
    assert {t: n for t, n in after.items() if t not in more} == {t: n for t, n in before.items() if t not in more}
    assert list(map(tuple, kept)) == list(map(tuple, calls))
    assert len(calls) == 3
    assert next(path.name for path in (state / "copies").iterdir()).startswith("before-migration-")
