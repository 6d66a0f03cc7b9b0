"""The ledger on a real disk: what it promises, and what it does when the promise cannot be kept."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.catalogue import Settled, Sighting, Stat
from daemon.contract import Acted, Event, Item, Job, Outcome, Planned, Reader
from daemon.errors import (
    AnotherInstance,
    BadRequest,
    ConfigInvalid,
    ContentGone,
    ContentMoved,
    Defect,
    LedgerDamaged,
    LedgerMissing,
    NotSent,
    StaleRow,
)
from daemon.filesystem import filesystem_of
from daemon.ledger import hold, jobs, migrate, upkeep
from daemon.ledger.connection import APPLICATION_ID, open_for_reading, open_for_writing, refuse_network, translate
from daemon.ledger.ledger import Ledger, copy_age, read_only
from daemon.ledger.lock import holder
from daemon.ledger.reading import LedgerContents, Readers
from daemon.ledger.writer import WriteTx
from daemon.states import FileState
from tests.support.ledger import ROOT, Noted, Toy, toy

MOUNTS = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /srv/calls rw - nfs4 host:/calls rw
31 22 0:41 / /srv/calls/local rw - xfs /dev/vdb rw
32 22 0:42 / /mnt/with\040space rw shared:3 - fuse.sshfs host: rw
33 22 0:43 / /home rw - cifs //host/home rw
34 33 254:1 / /home rw - ext4 /dev/vdc rw
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Toy]:
    """A toy with its ledger open and nothing at work."""
    with toy(tmp_path, start=False) as made:
        yield made


def note(house: Toy, name: str) -> None:
    house.ledger.write("test.note", Noted(name).write)


def notes(*names: str) -> Callable[[WriteTx], None]:
    """A transaction of several facts."""

    def write(tx: WriteTx) -> None:
        for name in names:
            Noted(name).write(tx)

    return write


# ------------------------------------------------------------------------------------------------ pragmas and tables


def test_every_commit_is_on_the_disk_before_it_returns(house: Toy) -> None:
    def pragma(name: str) -> object:
        return house.ledger.write("test.pragma", lambda tx: tx.rows(f"PRAGMA {name}")[0][0])

    assert [pragma(n) for n in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema")] == ["wal", 2, 1, 0]
    assert pragma("application_id") == APPLICATION_ID
    assert (house.paths.ledger.stat().st_mode & 0o777, house.paths.folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_every_table_is_strict(house: Toy) -> None:
    tables = house.rows("SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    assert len(tables) > 10
    assert [t["name"] for t in tables if not t["strict"]] == []


@pytest.mark.parametrize(
    "sql",
    ["UPDATE journal SET event = 'x'", "DELETE FROM journal", "INSERT OR REPLACE INTO journal SELECT * FROM journal"],
)
def test_the_journal_is_append_only(house: Toy, sql: str) -> None:
    house.ledger.write("test.journal", lambda tx: tx.journal(Event("test.happened", {"n": 1})))
    before = house.rows("SELECT * FROM journal")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        house.ledger.write("test.forge", lambda tx: tx.execute(sql))
    assert house.rows("SELECT * FROM journal") == before


def test_readers_cannot_write(house: Toy) -> None:
    with closing(open_for_reading(house.paths.ledger)) as reader, pytest.raises(sqlite3.OperationalError):
        reader.execute("INSERT INTO toy VALUES ('a', 1)")


def test_a_view_sees_one_moment(house: Toy) -> None:
    with house.ledger.view() as view:
        assert view.rows("SELECT * FROM toy") == []
        note(house, "later")
        assert view.rows("SELECT * FROM toy") == []
    assert house.noted() == {"later": 1}


def test_a_view_within_a_view_sees_the_same_moment_and_leaves_it_open(house: Toy) -> None:
    with house.ledger.view() as outer:
        assert outer.rows("SELECT * FROM toy") == []
        note(house, "later")
        with house.ledger.view() as inner:
            assert inner.rows("SELECT * FROM toy") == []
        assert outer.rows("SELECT * FROM toy") == []
    assert house.noted() == {"later": 1}


def test_a_reading_connection_ends_with_its_thread(house: Toy) -> None:
    threads = [threading.Thread(target=house.noted) for _ in range(5)]
    for thread in threads:
        thread.start()
        thread.join()
    assert len(house.ledger.readers._opened) <= 1


# ------------------------------------------------------------------------------------------------ the writer


class Gate:
    """Holds the writer inside a transaction until ``open``."""

    def __init__(self, house: Toy) -> None:
        self.inside, self._open = threading.Event(), threading.Event()
        self.future = house.ledger.writer.submit("test.gate", self._wait)
        assert self.inside.wait(10)

    def _wait(self, tx: WriteTx) -> None:
        self.inside.set()
        assert self._open.wait(10)

    def open(self) -> None:
        self._open.set()
        self.future.result(10)


def test_transactions_that_queue_share_a_commit(house: Toy) -> None:
    said: list[str] = []
    house.ledger.writer._connection.set_trace_callback(said.append)
    gate = Gate(house)
    futures = [house.ledger.writer.submit("test.note", Noted(f"n{n}").write) for n in range(50)]
    gate.open()
    for future in futures:
        future.result(10)
    assert said.count("COMMIT") == 2
    assert len(house.noted()) == 50


def test_one_that_fails_harms_no_other_in_its_commit(house: Toy) -> None:
    def half(tx: WriteTx) -> None:
        Noted("half").write(tx)
        tx.journal(Event("half.done"))
        raise StaleRow("no")

    def refused(tx: WriteTx) -> None:
        tx.execute("INSERT INTO toy VALUES ('bad', 'not a number')")

    gate = Gate(house)
    submit = house.ledger.writer.submit
    futures = [submit("test.a", Noted("a").write), submit("test.half", half), submit("test.bad", refused)]
    futures.append(submit("test.b", Noted("b").write))
    gate.open()
    assert [type(future.exception(10)) for future in futures] == [
        type(None),
        StaleRow,
        sqlite3.IntegrityError,
        type(None),
    ]
    assert house.noted() == {"a": 1, "b": 1}
    assert "half.done" not in house.names()


def test_one_that_loses_the_whole_transaction_harms_no_other(house: Toy) -> None:
    def lose(tx: WriteTx) -> None:
        tx.execute("ROLLBACK")
        raise ValueError("lost")

    gate = Gate(house)
    submit = house.ledger.writer.submit
    futures = [submit("test.a", Noted("a").write), submit("test.lose", lose), submit("test.b", Noted("b").write)]
    gate.open()
    assert [type(future.exception(10)) for future in futures] == [type(None), ValueError, type(None)]
    assert house.noted() == {"a": 1, "b": 1}


def test_part_of_a_transaction_is_undone_whole(house: Toy) -> None:
    def run(tx: WriteTx) -> None:
        Noted("before").write(tx)
        with suppress(ValueError), tx.attempt():
            Noted("inside").write(tx)
            tx.journal(Event("inside.done"))
            raise ValueError("no")
        Noted("after").write(tx)

    house.ledger.write("test.part", run)
    assert house.noted() == {"before": 1, "after": 1}
    assert "inside.done" not in house.names()


def test_events_are_told_after_their_commit_and_in_order(house: Toy) -> None:
    seen: list[bool] = []
    house.ledger._on_event = lambda event: seen.append(
        bool(house.rows("SELECT 1 FROM journal WHERE event = ?", event.name))
    )

    def three(tx: WriteTx) -> None:
        for n in range(3):
            tx.journal(Event(f"test.n{n}"))

    house.ledger.write("test.journal", three)
    assert seen == [True, True, True]


def test_a_log_that_cannot_be_written_is_told_and_hangs_nobody(house: Toy) -> None:
    def broken(event: Event) -> None:
        raise BrokenPipeError("log")

    house.ledger._on_event = broken
    house.ledger.on_fatal = house.fatal.append
    house.ledger.write("test.journal", lambda tx: tx.journal(Event("test.told")))
    assert [type(error) for error in house.fatal] == [BrokenPipeError]
    house.ledger._on_event = house.events.append
    note(house, "goes on")


def test_what_is_queued_at_close_is_committed_and_nothing_after_it(tmp_path: Path) -> None:
    with toy(tmp_path, start=False) as house:
        ledger = house.ledger
        futures = [ledger.writer.submit("test.note", Noted(f"n{n}").write) for n in range(20)]
        ledger.close()
        del house.ledger
        assert all(future.done() and future.exception() is None for future in futures)
        with pytest.raises(Defect):
            ledger.writer.submit("test.late", Noted("late").write)
        assert (
            not (house.paths.ledger.with_name("ledger.db-wal")).exists()
            or not house.paths.ledger.with_name("ledger.db-wal").stat().st_size
        )
        house.open()
        assert len(house.noted()) == 20


# ------------------------------------------------------------------------------------------------ the lock


def test_a_second_opener_is_told_the_holders_pid(house: Toy) -> None:
    with pytest.raises(AnotherInstance) as caught:
        Toy(house.paths.folder.parent).open()
    assert (caught.value.pid, caught.value.exit_code) == (os.getpid(), 11)
    assert holder(house.paths.lock) == os.getpid()


def test_a_lock_left_by_kill_9_blocks_nobody(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests.support.ledger import Toy; "
        "t = Toy(Path(sys.argv[1])); t.open(); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(AnotherInstance) as caught:
            Toy(tmp_path).open()
        assert caught.value.pid == other.pid
        other.send_signal(signal.SIGKILL)
    assert (tmp_path / "state" / "ledger.lock").read_text() == f"{other.pid}\n"
    assert holder(tmp_path / "state" / "ledger.lock") is None
    with toy(tmp_path, start=False) as house:
        note(house, "mine")


# ------------------------------------------------------------------------------------------------ migrations


def package(folder: Path, name: str, **scripts: str) -> str:
    """A package of migrations that can be imported."""
    home = folder / name
    home.mkdir(exist_ok=True)
    (home / "__init__.py").touch()
    for old in home.glob("*.sql"):
        old.unlink()
    for script, sql in scripts.items():
        (home / f"{script.removeprefix('m')}.sql").write_text(sql)
    return name


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages can be imported."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


ONE = "CREATE TABLE one (n INTEGER) STRICT;\n"
TWO = "CREATE TABLE two (n INTEGER) STRICT;\nINSERT INTO two VALUES (1);\n"


def test_migrations_apply_once_in_order_and_are_recorded(tmp_path: Path, scripts: Path) -> None:
    with closing(open_for_writing(tmp_path / "a.db")) as ledger:
        known = migrate.migrations_of([package(scripts, "fresh", m0001_one=ONE, m0002_two=TWO)])
        assert migrate.pending(ledger, known) == known
        migrate.apply(ledger, known[0], 7)
        assert migrate.pending(ledger, known) == known[1:]
        migrate.apply(ledger, known[1], 8)
        assert migrate.pending(ledger, known) == ()
        rows = [tuple(row) for row in ledger.execute("SELECT source, number, name, applied_us FROM migration")]
        assert rows == [("fresh", 1, "one", 7), ("fresh", 2, "two", 8)]


def test_a_migration_that_fails_half_way_leaves_nothing(tmp_path: Path, scripts: Path) -> None:
    with closing(open_for_writing(tmp_path / "a.db")) as ledger:
        known = migrate.migrations_of([package(scripts, "partial", m0001_bad=ONE + "INSERT INTO nowhere VALUES (1);")])
        with pytest.raises(sqlite3.OperationalError):
            migrate.apply(ledger, known[0], 7)
        assert ledger.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        assert migrate.pending(ledger, known) == known


def test_a_newer_ledger_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    with toy(tmp_path, start=False) as house:
        house.ledger.write(
            "test.newer",
            lambda tx: tx.execute("INSERT INTO migration VALUES ('daemon.ledger.migrations', 99, 'x', 'y', 1)"),
        )
    with pytest.raises(LedgerMissing) as caught:
        Toy(tmp_path).open()
    assert caught.value.exit_code == 12
    assert holder(tmp_path / "state" / "ledger.lock") is None, "the lock was given back"


def test_a_migration_that_was_changed_after_it_was_applied_is_refused(tmp_path: Path, scripts: Path) -> None:
    with closing(open_for_writing(tmp_path / "a.db")) as ledger:
        migrate.apply(ledger, migrate.migrations_of([package(scripts, "changed", m0001_one=ONE)])[0], 7)
        with pytest.raises(Defect, match="changed after"):
            migrate.pending(ledger, migrate.migrations_of([package(scripts, "changed", m0001_one=ONE + "\n")]))


@pytest.mark.parametrize("name", ["m0002_gap", "m1_short", "m0001_Upper"])
def test_a_gap_or_a_stray_name_is_refused(scripts: Path, name: str) -> None:
    with pytest.raises(Defect):
        migrate.migrations_of([package(scripts, "stray", **{name: ONE})])


def test_a_copy_is_taken_before_a_migration_but_not_before_the_first(tmp_path: Path, scripts: Path) -> None:
    with toy(tmp_path, start=False) as house:
        note(house, "kept")
        assert not house.paths.copies.exists()
        host = house.ledger.host_id
    later = Toy(tmp_path)
    ledger = Ledger(
        later.paths,
        later.clock,
        readers=Readers(later.paths.ledger, later.clock),
        sources=[package(scripts, "rooms", m0001_one=ONE)],
        lanes={},
        on_event=later.events.append,
    )
    assert ledger.host_id == host
    ledger.close()
    (copy,) = later.paths.copies.glob("before-migration-*.db")
    with closing(open_for_reading(copy)) as before:
        assert [row["name"] for row in before.execute("SELECT name FROM toy")] == ["kept"]
        assert not before.execute("SELECT 1 FROM sqlite_schema WHERE name = 'one'").fetchone()


def test_statements_keep_triggers_whole_and_refuse_an_end_in_the_middle() -> None:
    trigger = "CREATE TRIGGER t BEFORE DELETE ON a BEGIN\n  SELECT 1;\n  SELECT 2;\nEND;\n"
    assert migrate.statements(ONE + trigger + TWO)[1] == trigger
    with pytest.raises(Defect):
        migrate.statements("CREATE TABLE a (")


def test_a_first_start_that_was_interrupted_is_made_up_for(tmp_path: Path) -> None:
    with toy(tmp_path, start=False) as house:
        assert house.ledger.is_new
    with toy(tmp_path, start=False) as house:
        assert house.ledger.is_new, "nobody has said what lay there before"
        house.ledger.begin([Acted(None, facts=(Noted("a"),)), Acted(None, facts=(Noted("b"),))])
        begun = house.ledger.is_new
    with toy(tmp_path, start=False) as house:
        assert [begun, house.ledger.is_new] == [False, False]
        assert house.noted() == {"a": 1, "b": 1}


# ------------------------------------------------------------------------------------------------ copies


def test_a_copy_beside_a_busy_writer_is_whole(house: Toy, tmp_path: Path) -> None:
    done = threading.Event()

    def busy() -> None:
        n = 0
        while not done.is_set():
            n += 1
            house.ledger.write("test.pair", notes(f"a{n}", f"b{n}"))

    writers = [threading.Thread(target=busy) for _ in range(2)]
    for writer in writers:
        writer.start()
    house.until(lambda: len(house.noted()) > 20)
    house.ledger.copy(tmp_path / "elsewhere" / "copy.db")
    done.set()
    for writer in writers:
        writer.join()
    assert upkeep.trouble_with(tmp_path / "elsewhere" / "copy.db") is None
    with closing(open_for_reading(tmp_path / "elsewhere" / "copy.db")) as copy:
        names = [row["name"] for row in copy.execute("SELECT name FROM toy")]
    assert len(names) > 20
    assert sorted(n[1:] for n in names if n[0] == "a") == sorted(n[1:] for n in names if n[0] == "b")
    assert (tmp_path / "elsewhere" / "copy.db").stat().st_mode & 0o777 == 0o600
    assert list((tmp_path / "elsewhere").glob("*.part*")) == []


def test_a_copy_where_none_can_be_written_is_the_operators(house: Toy, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest):
        house.ledger.copy(tmp_path / "file" / "copy.db")


def test_daily_copies_are_made_once_a_day_and_pruned(house: Toy) -> None:
    for day in range(10):
        assert (house.ledger.daily_copy() is None) is False, day
        assert house.ledger.daily_copy() is None
        house.clock.advance(timedelta(days=1))
    copies = upkeep.daily_copies(house.paths.copies)
    assert len(copies) == upkeep.KEEP_DAILY
    assert copies[0].name == upkeep.daily_name(house.clock.now() - timedelta(days=1))
    assert copy_age(house.paths, house.clock) is not None


# ------------------------------------------------------------------------------------------------ damage and hold


def damage_page(path: Path, first: int = 1) -> None:
    """Every page from the ``first`` on; 0 is the header's."""
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        for page in range(first, file.tell() // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 200)


def cut_header(path: Path) -> None:
    os.truncate(path, 50)


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def lose(path: Path) -> None:
    path.unlink()


def overwrite(path: Path, meant: bytes, other: bytes) -> None:
    """Every place where it says so."""
    data = path.read_bytes()
    assert meant in data
    path.write_bytes(data.replace(meant, other))


def garble_text(path: Path) -> None:
    """A value that is no text any more; the pages hang together."""
    overwrite(path, b"newest", b"n\xff\xfeest")


def garble_schema(path: Path) -> None:
    """SQLite's own word on it repeats what is no text."""
    overwrite(path, b"CREATE TABLE toy ", b"CREATE \xffABLE toy ")


def change_format(path: Path) -> None:
    """Of the schema: a number that this SQLite does not know."""
    with path.open("r+b") as file:
        file.seek(44)
        file.write(b"\0\0\0\x63")


def change_index(path: Path) -> None:
    """An index that says something else than its table."""
    with closing(sqlite3.connect(path)) as other:
        (page,) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_toy_1'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        leaf = file.read(4096)
        file.seek((page - 1) * 4096)
        file.write(leaf.replace(b"newest", b"newsst"))
    assert b"newest" in leaf


@pytest.mark.parametrize(
    "damage",
    [damage_page, cut_header, cut_to_nothing, lose, garble_text, garble_schema, change_format, change_index],
)
def test_a_damaged_ledger_gives_way_to_the_newest_sound_copy_and_holds(tmp_path: Path, damage: Any) -> None:
    with toy(tmp_path, start=False) as house:
        note(house, "old")
        house.ledger.daily_copy()
        house.clock.advance(timedelta(days=1))
        note(house, "newer")
        good = house.ledger.daily_copy()
        house.clock.advance(timedelta(days=1))
        bad = house.ledger.daily_copy()
        note(house, "newest")
        host, paths = house.ledger.host_id, house.paths
    assert good is not None
    assert bad is not None
    damage_page(bad)
    damage(paths.ledger)
    with toy(tmp_path, start=False) as house:
        assert house.noted() == {"old": 1, "newer": 1}
        assert house.ledger.host_id == host
        assert good.name in str(house.ledger.hold)
        assert "ledger.held" in house.names()
        assert damage is lose or list(paths.folder.glob("ledger.db.damaged-*"))
        assert list(paths.folder.glob("*.hold")) == []
    with toy(tmp_path, start=False) as house:
        assert house.ledger.hold is not None, "until a person says otherwise"


@pytest.mark.parametrize("damage", [damage_page, cut_header])
def test_without_a_copy_a_damaged_ledger_starts_empty_and_holds(tmp_path: Path, damage: Any) -> None:
    with toy(tmp_path, start=False) as house:
        note(house, "lost")
        host, paths = house.ledger.host_id, house.paths
    damage(paths.ledger)
    with toy(tmp_path, start=False) as house:
        assert house.noted() == {}
        assert house.ledger.host_id == host, "what it wrote elsewhere is still its own"
        assert "no copy to restore" in str(house.ledger.hold)


def test_a_large_ledger_is_checked_whole_once_damage_was_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And starts at once otherwise: a check of every page would take longer than a supervisor waits."""
    monkeypatch.setattr(upkeep, "CHECKED_AT_START", 1)
    with toy(tmp_path, start=False) as house:
        note(house, "old")
        copy = house.ledger.daily_copy()
        house.ledger.write("test.many", notes(*(f"{'n' * 500}{n}" for n in range(2000))))
        paths = house.paths
    assert copy is not None
    damage_page(paths.ledger, first=paths.ledger.stat().st_size // 4096 - 20)
    with toy(tmp_path, start=False) as house:
        assert house.ledger.hold is None, "nobody met it yet"
        with pytest.raises(LedgerDamaged):
            house.ledger.copy(tmp_path / "copy.db")
    with toy(tmp_path, start=False) as house:
        assert house.noted() == {"old": 1}
        assert copy.name in str(house.ledger.hold)


@pytest.mark.parametrize("step", ["noted", "moved", "restored"])
def test_a_crash_while_a_copy_is_restored_still_ends_in_hold(tmp_path: Path, step: str) -> None:
    with toy(tmp_path, start=False) as house:
        note(house, "old")
        copy = house.ledger.daily_copy()
        paths = house.paths
    assert copy is not None
    cut_header(paths.ledger)
    upkeep._write(upkeep._note(paths.ledger), b"the ledger was damaged")
    if step != "noted":
        paths.ledger.rename(paths.folder / "ledger.db.damaged-then")
    if step == "restored":
        paths.ledger.write_bytes(copy.read_bytes())
    with toy(tmp_path, start=False) as house:
        assert house.noted() == {"old": 1}
        assert house.ledger.hold is not None


def test_damage_at_run_time_ends_the_process_and_writes_nothing_more(tmp_path: Path) -> None:
    with toy(tmp_path, start=False) as house:
        house.ledger.on_fatal = house.fatal.append
        house.ledger.write("test.many", notes(*(f"{'n' * 500}{n}" for n in range(2000))))
        house.ledger.write("test.cache", lambda tx: tx.rows("PRAGMA cache_size = 2"))
        with closing(sqlite3.connect(house.paths.ledger)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        damage_page(house.paths.ledger)
        futures: list[Future[Any]] = [
            house.ledger.writer.submit("test.read", lambda tx: tx.rows("SELECT sum(times), max(name) FROM toy")),
            house.ledger.writer.submit("test.note", Noted("after").write),
        ]
        assert {type(future.exception(10)) for future in futures} == {LedgerDamaged}
        assert [type(error) for error in house.fatal] == [LedgerDamaged], "told once"


def test_a_text_that_is_none_is_damage_to_whoever_meets_it(tmp_path: Path) -> None:
    with toy(tmp_path, start=False) as house:
        note(house, "newest")
    garble_text(house.paths.ledger)
    with (
        closing(open_for_reading(house.paths.ledger)) as other,
        pytest.raises(sqlite3.OperationalError) as met,
    ):
        other.execute("SELECT name FROM toy").fetchall()
    assert isinstance(translate(met.value, "SELECT name FROM toy"), LedgerDamaged)
    assert "est" not in str(translate(met.value, "SELECT name FROM toy")), "what was in it may be anybody's name"


def test_a_text_that_is_none_ends_the_process_where_a_transaction_reads_it(tmp_path: Path) -> None:
    with toy(tmp_path, start=False) as house:
        note(house, "newest")
    garble_text(house.paths.ledger)
    found = upkeep.trouble_with(house.paths.ledger)
    assert found is not None
    assert "est" not in found
    with closing(sqlite3.connect(house.paths.ledger)) as other:
        other.row_factory = sqlite3.Row
        tx = WriteTx(other, "0" * 16, house.clock.now())
        for read in (tx.rows, tx.row):
            with pytest.raises(LedgerDamaged):
                read("SELECT name FROM toy")


def test_half_of_a_surrogate_pair_out_of_json_is_no_damage(house: Toy) -> None:
    house.ledger.write("test.half", lambda tx: tx.execute("INSERT INTO meta VALUES ('half', '{\"a\": \"\\ud83c\"}')"))
    sql = "SELECT json_extract(value, '$.a') FROM meta WHERE key = 'half'"
    with house.ledger.view() as view, pytest.raises(sqlite3.OperationalError):
        view.rows(sql)
    assert upkeep.trouble_with(house.paths.ledger) is None


@pytest.mark.parametrize("code", [sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY])
def test_trouble_of_a_moment_is_no_damage(house: Toy, code: int) -> None:
    """What is called damaged gives way to an older copy."""

    def check(_connection: sqlite3.Connection) -> str:
        error = sqlite3.OperationalError("locking protocol")
        error.sqlite_errorcode = code
        raise error

    with pytest.raises(sqlite3.OperationalError):
        upkeep.trouble_with(house.paths.ledger, check)


def test_reading_a_damaged_ledger_says_so(tmp_path: Path) -> None:
    with toy(tmp_path, start=False) as house:
        paths, clock = house.paths, house.clock
    cut_header(paths.ledger)
    with pytest.raises(LedgerDamaged):
        read_only(paths, clock)


def test_no_ledger_is_said_in_words(tmp_path: Path) -> None:
    house = Toy(tmp_path)
    with pytest.raises(LedgerMissing):
        read_only(house.paths, house.clock)


# ------------------------------------------------------------------------------------------------ out of hold


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Toy]:
    """A restored ledger on hold, with one job that waits, one that is done, and a root."""
    with toy(tmp_path) as house:
        house.ledger.files.register_root("recordings", b"/calls", 5)
        house.performer.script["open"].append(NotSent("refused"))
        house.add("open", "delivered")
        house.until_state("waiting", "open")
        house.until_state("done", "delivered")
        house.runner.stop(10)
        house.ledger.daily_copy()
    cut_header(house.paths.ledger)
    with toy(tmp_path, start=False) as house:
        yield house


def test_adopt_takes_what_lies_there_as_delivered(held: Toy) -> None:
    before_ns = int(held.clock.now().timestamp() * 1e9)
    held.ledger.act("ledger.adopt", hold.adopt_act, {"why": "the CRM has them"})
    assert held.ledger.hold is None
    assert held.rows("SELECT registered_ns FROM root")[0]["registered_ns"] >= before_ns
    assert (held.job("open")["state"], held.job("delivered")["state"]) == ("parked", "done")
    assert "ledger.adopted" in held.names()


def test_adopt_writes_off_what_was_on_its_way_when_the_copy_was_made(held: Toy) -> None:
    files = held.ledger.files
    root = files.register_root("recordings", b"/calls", 5)
    states = (FileState.SETTLING, FileState.EMPTY, FileState.UNREADABLE, FileState.IRREGULAR, FileState.ATTENTION)
    files.saw([Sighting(root.id, b"", state.encode(), Stat(1, 2, 3, 4), state) for state in states]).result(10)
    held.ledger.act("ledger.adopt", hold.adopt_act, {})
    assert {entry.state for entry in files.entries(root.id, b"")} == {"old"}
    row = files.register_root("recordings", b"/calls", 5)
    assert row.adopted_ns == row.registered_ns > 5


@pytest.mark.parametrize("adopted", [True, False])
def test_a_decision_on_an_empty_ledger_holds_for_the_roots_that_come(tmp_path: Path, adopted: bool) -> None:
    with toy(tmp_path, start=False) as house:
        note(house, "lost")
    cut_header(house.paths.ledger)
    with toy(tmp_path, start=False) as house:
        house.ledger.act("it", hold.adopt_act if adopted else hold.redeliver_act, {})
        row = house.ledger.files.register_root("recordings", b"/calls", 5)
        assert (row.registered_ns > 5, row.adopted_ns > 5) == (adopted, adopted)


def test_redeliver_takes_what_the_ledger_does_not_know(held: Toy) -> None:
    held.ledger.act("ledger.redeliver", hold.redeliver_act, {})
    assert held.ledger.hold is None
    assert held.rows("SELECT registered_ns FROM root")[0]["registered_ns"] == 0
    assert held.job("open")["state"] == "waiting"


def test_a_dry_run_ends_no_hold_and_a_sound_ledger_has_none_to_end(held: Toy) -> None:
    held.ledger.act("ledger.adopt", hold.adopt_act, {}, dry_run=True)
    assert held.ledger.hold is not None
    held.ledger.act("ledger.adopt", hold.adopt_act, {})
    with pytest.raises(BadRequest):
        held.ledger.act("ledger.adopt", hold.adopt_act, {})


# ------------------------------------------------------------------------------------------------ where it lies


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        (b"/var/lib/callspool", "ext4", False),
        (b"/srv/calls/state", "nfs4", True),
        (b"/srv/callsign", "ext4", False),
        (b"/srv/calls/local/state", "xfs", False),
        (b"/mnt/with space/state", "fuse.sshfs", True),
        (b"/home/somebody", "ext4", False),
    ],
)
def test_a_network_file_system_is_refused(path: bytes, kind: str, network: bool) -> None:
    found = filesystem_of(path, MOUNTS)
    assert (found.type, found.network) == (kind, network)
    if network:
        with pytest.raises(ConfigInvalid, match=kind):
            refuse_network(found)
    else:
        refuse_network(found)


# ------------------------------------------------------------------------------------------------ disk full, busy


@pytest.mark.skipif(sys.platform != "linux", reason="the small disk is a tmpfs in a namespace of its own")
def test_a_full_disk_pauses_and_goes_on_with_nothing_lost(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "support" / "full_disk.py"
    small = f"mount -t tmpfs -o size=4m tmpfs {tmp_path} && exec {sys.executable} {script} {tmp_path}"
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", small],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == 1 and "unshare" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["paused", "resumed", "all"]


def test_a_ledger_at_its_page_limit_pauses_and_goes_on(tmp_path: Path) -> None:
    with toy(tmp_path, start=False, retry_s=0.02) as house:
        pages = house.ledger.write("test.pages", lambda tx: tx.rows("PRAGMA page_count")[0][0])
        house.ledger.write("test.limit", lambda tx: tx.rows(f"PRAGMA max_page_count = {pages + 2}"))
        futures = [house.ledger.writer.submit("test.note", Noted(f"{'n' * 2000}{n}").write) for n in range(20)]
        house.until(lambda: house.ledger.writer.paused)
        house.until(lambda: "ledger.paused" in house.names())
        house.clock.advance(timedelta(seconds=61))
        house.until(lambda: house.names().count("ledger.paused") == 2)
        connection = house.ledger.writer._connection
        connection.execute("PRAGMA max_page_count = 100000")
        for future in futures:
            future.result(10)
        assert len(house.noted()) == 20
        assert house.names().count("ledger.resumed") == 1


def test_another_program_that_holds_the_ledger_pauses_it(tmp_path: Path) -> None:
    with toy(tmp_path, start=False, busy_timeout_s=0.02, retry_s=0.02) as house:
        with closing(sqlite3.connect(house.paths.ledger, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            future = house.ledger.writer.submit("test.note", Noted("waited").write)
            house.until(lambda: house.ledger.writer.paused)
            assert not future.done()
            other.execute("ROLLBACK")
        future.result(10)
        assert house.noted() == {"waited": 1}
        house.until(lambda: house.names()[-2:] == ["ledger.paused", "ledger.resumed"])


def test_a_paused_runner_delivers_nothing_and_then_everything_once(tmp_path: Path) -> None:
    with toy(tmp_path, busy_timeout_s=0.02, retry_s=0.02) as house:
        house.add("0")
        house.until_state("done", "0")
        with closing(sqlite3.connect(house.paths.ledger, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            adder = threading.Thread(target=house.add, args=("1", "2", "3"))
            adder.start()
            house.until(lambda: house.ledger.writer.paused)
            assert house.world.accepted == ["0"]
            other.execute("ROLLBACK")
        adder.join()
        house.until_state("done", "1", "2", "3")
        assert sorted(house.world.accepted) == ["0", "1", "2", "3"]


def test_a_pause_does_not_keep_the_ledger_from_closing(tmp_path: Path) -> None:
    with toy(tmp_path, start=False, busy_timeout_s=0.02, retry_s=0.02) as house:
        ledger = house.ledger
        with closing(sqlite3.connect(house.paths.ledger, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            future = ledger.writer.submit("test.note", Noted("given up").write)
            house.until(lambda: ledger.writer.paused)
            ledger.close()
            del house.ledger
            assert future.exception(10) is not None


# ------------------------------------------------------------------------------------------------ files and contents


def settle(house: Toy, path: Path, *, role: str = "recordings", evidence: str = "e") -> int:
    """Settle a real file; its item's id."""
    found = path.stat()
    root = house.ledger.files.register_root(role, os.fsencode(path.parent), 0)
    stat = Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    house.ledger.files.settle(
        Settled(root.id, b"", os.fsencode(path.name), stat, digest, role, "toy", evidence, "closed")
    ).result(10)
    return int(house.rows("SELECT item_id FROM file WHERE name = ?", os.fsencode(path.name))[0]["item_id"])


def item(house: Toy, item_id: int) -> Item:
    with house.ledger.view() as view:
        return view.item(item_id)


def test_the_same_content_with_the_same_evidence_starts_one_job(house: Toy, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("same")
    first, second = settle(house, tmp_path / "a"), settle(house, tmp_path / "b")
    third = settle(house, tmp_path / "c", evidence="a repeat caller")
    assert first == second != third
    assert [row["key"] for row in house.rows("SELECT key FROM job ORDER BY id")] == [str(first), str(third)]
    assert [e.name for e in house.events if e.name.startswith("file.")] == [
        "file.settled",
        "file.duplicated",
        "file.settled",
    ]


def test_other_content_under_the_same_name_replaces_and_keeps_both(house: Toy, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    first = settle(house, tmp_path / "a")
    (tmp_path / "a").write_text("other")
    second = settle(house, tmp_path / "a")
    assert item(house, second).replaces == first
    assert [row["item_id"] for row in house.rows("SELECT item_id FROM former_file WHERE state = 'replaced'")] == [first]


def test_an_earlier_content_that_returns_is_the_newest_again(house: Toy, tmp_path: Path) -> None:
    def drop(content: str) -> int:
        (tmp_path / "a").write_text(content)
        return settle(house, tmp_path / "a")

    def chain() -> dict[int, int | None]:
        return {row["id"]: row["replaces"] for row in house.rows("SELECT id, replaces FROM item")}

    one, two = drop("one"), drop("two")
    house.start()
    house.until_state("done", str(one), str(two))
    seen = len(house.handler.seen)
    assert drop("one") == one
    assert chain() == {one: two, two: None}
    house.until(lambda: len(house.handler.seen) > seen)
    assert house.handler.seen[-1].key == str(one), "understood and matched again"
    three = drop("three")
    assert chain() == {one: two, two: None, three: one}
    assert drop("one") == one
    assert chain() == {one: three, two: None, three: two}
    assert drop("two") == two
    assert chain() == {one: three, two: one, three: None}


@pytest.mark.parametrize("state", ["waiting", "parked"])
def test_content_that_turns_up_elsewhere_wakes_whoever_lacked_it_and_nobody_else(
    house: Toy, tmp_path: Path, state: str
) -> None:
    items = {}
    for name in ("moved", "lost"):
        (tmp_path / name).write_text(name)
        items[name] = settle(house, tmp_path / name)
    contents = LedgerContents(house.ledger.readers)
    for name in items:
        (tmp_path / name).rename(tmp_path / f"{name} away")
    misses = 1 if state == "waiting" else 4
    missed = {name: deque([items[name]] * misses) for name in items}

    def reads(job: Job, _read: Reader) -> Outcome:
        if missed.get(job.key):
            contents.path(missed[job.key].popleft())
        return Planned()

    house.handler.default = reads
    house.start()
    house.add("moved", "lost")
    for left in range(misses - 1, 0, -1):
        house.until(lambda left=left: {len(ids) for ids in missed.values()} == {left})  # type: ignore[misc]
        house.until_state("waiting", "moved", "lost")
        house.pass_time(timedelta(minutes=5))
    house.until_state(state, "moved", "lost")
    (tmp_path / "other").mkdir()
    (tmp_path / "moved away").rename(tmp_path / "other" / "moved")
    assert settle(house, tmp_path / "other" / "moved") == items["moved"]
    house.until_state("done", "moved")
    assert house.job("lost")["state"] == state


def test_a_job_that_lacked_content_once_is_not_woken_for_it_later(house: Toy, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    item_id = settle(house, tmp_path / "a")
    house.performer.script["later"].extend([ContentMoved("moved", item_id), NotSent("refused")])
    house.add("later")
    house.start()
    house.until(lambda: house.job("later")["lacks"] == item_id)
    settle(house, tmp_path / "a")
    house.until(lambda: house.job("later")["state"] == "waiting" and house.job("later")["lacks"] is None)
    due = house.job("later")["due_us"]
    settle(house, tmp_path / "a")
    assert (house.job("later")["state"], house.job("later")["due_us"]) == ("waiting", due)


def test_a_copy_of_known_content_is_no_version_of_it(house: Toy, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    first, alias = settle(house, tmp_path / "a"), settle(house, tmp_path / "b")
    assert (alias, item(house, first).replaces) == (first, None)
    assert [row["state"] for row in house.rows("SELECT state FROM job")] == ["ready"]


def test_an_old_file_is_known_by_its_inode_until_it_is_taken(house: Toy, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    found = (tmp_path / "a").stat()
    stat = Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    files = house.ledger.files
    root = files.register_root("recordings", os.fsencode(tmp_path), 0)
    files.saw([Sighting(root.id, b"", b"a", stat, FileState.OLD)]).result(10)
    assert files.was_old(root.id, stat)
    files.vanish(root.id, b"", [b"a"]).result(10)
    assert files.was_old(root.id, stat._replace(ctime_ns=1))
    for other in (stat._replace(ino=1), stat._replace(size=1), stat._replace(mtime_ns=1)):
        assert not files.was_old(root.id, other)
    assert not files.was_old(root.id + 1, stat)
    settle(house, tmp_path / "a")
    files.vanish(root.id, b"", [b"a"]).result(10)
    assert not files.was_old(root.id, stat)


@pytest.mark.parametrize("change", ["mode", "link", "times", "copy"])
def test_new_times_or_another_inode_hold_up_nobody_while_the_content_is_the_same(
    house: Toy, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "a"
    path.write_text("as it was")
    item_id = settle(house, path)
    before = path.stat()
    if change == "mode":
        path.chmod(0o600)
    elif change == "link":
        os.link(path, tmp_path / "b")
    elif change == "times":
        os.utime(path, ns=(1, 1))
    else:
        (tmp_path / "b").write_text("as it was")
        (tmp_path / "b").rename(path)
    assert path.stat() != before
    contents = LedgerContents(house.ledger.readers)
    with contents.open(item_id) as file:
        assert file.read() == b"as it was"
    assert contents.path(item_id) == os.fsencode(path)


def test_other_content_of_the_same_size_and_time_is_not_given(house: Toy, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("as it was")
    item_id, found = settle(house, path), path.stat()
    path.write_text("as it is!")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    with pytest.raises(ContentMoved):
        LedgerContents(house.ledger.readers).path(item_id)


def test_contents_are_given_only_as_they_were_hashed(house: Toy, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("as it was")
    item_id = settle(house, tmp_path / "a")
    contents = LedgerContents(house.ledger.readers)
    with contents.open(item_id) as file:
        assert file.read() == b"as it was"
    assert contents.path(item_id) == os.fsencode(tmp_path / "a")

    def read_while_it_changes() -> None:
        with contents.open(item_id):
            (tmp_path / "a").write_text("and now")
            raise ValueError("what was read made no sense")

    with pytest.raises(ContentMoved):
        read_while_it_changes()
    with pytest.raises(ContentMoved):
        contents.path(item_id)
    (tmp_path / "a").unlink()
    with pytest.raises(ContentGone):
        contents.path(item_id)
    (tmp_path / "a").symlink_to(tmp_path / "b")
    with pytest.raises(ContentMoved):
        contents.path(item_id)


@pytest.mark.parametrize("move", ["woken", "interrupted", "postponed"])
def test_whoever_leaves_a_job_to_be_run_again_wakes_its_lane(house: Toy, move: str) -> None:
    """The worker that claims for all others may be asleep."""
    house.add("1")
    (claimed,) = house.ledger.write("test.claimed", lambda tx: jobs.claim(tx, "work", 1, 0))
    woken: list[frozenset[str]] = []
    house.ledger.on_woken = woken.append
    house.ledger.write("test.left", lambda tx: jobs.leave(tx, claimed.job, move))
    assert woken == [frozenset({"work"})]
