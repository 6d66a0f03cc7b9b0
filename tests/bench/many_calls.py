"""A ledger that knows very many whole calls: one real call, taken in and delivered by the product, put down again and
again with other names, hashes and times.

Each of its rows becomes one INSERT … SELECT over a series of numbers, so that a million calls take minutes. Their files
are gone from the folders, as after an operator has cleared them out; what a call is known by (its rows of every table,
journal and effects included) is all there.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from handlers.demo.crm import LoopbackCrm
from tests.bench.figures import kept_or_made
from tests.support.calls import FieldCall
from tests.support.process import Site

YEAR_US = 365 * 86_400_000_000

AT_ONCE = 20_000
"""Calls that all statements put down before the next ones: what lies side by side in the ledger is written together."""

LEFT_OUT = (
    *("destination", "file", "folder", "lesson", "lying", "meta", "migration", "root", "storage_probe"),
    *("collected_quarter", "running_total", "neighbours_mark"),
)
"""What there is once, whatever the number of calls; files, which are gone; and sums, which ``_sum`` makes."""

ITEMS = ("conversation_id", "item_id", "lead_id", "recording_id", "subject_id")
OWN_ID = {"conversation": "item", "item": "item", "journal": "journal", "lead": "item", "recording": "item"}
"""Of which count the column ``id`` of a table is."""

_TOKEN = re.compile(
    r"(?P<sha>(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f]))"
    r"|(?P<session>session_\d{8}_\d{6}_)(?P<session_nth>\d{8})"
    r"|(?P<stamp>session_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.)(?P<stamp_nth>\d{6})"
    r"|(?P<epoch>number-_\d+-)(?P<epoch_nth>\d{10})"
    r"|(?P<call>CALL-\d{8}-\d{6}-)(?P<call_nth>\d+)"
    r"|(?P<named>(?<![0-9A-Za-z_])[crl])(?P<named_nth>\d+)(?![0-9A-Za-z_.])"
    r'|(?P<key>(?:storage\.put:|^local:|"conversation":|"item":|"subject":))(?P<key_nth>\d+)'
)


@dataclass(frozen=True, slots=True)
class Calls:
    """A working folder whose ledger knows ``count`` calls."""

    folder: Path
    count: int


def one_call(folder: Path) -> None:
    """A working folder with one call that was delivered and stored."""
    with LoopbackCrm() as crm:
        site = Site(folder, CRM_UPLOAD_URL=crm.upload_url, CRM_CALL_DATA_URL=crm.calls_url)
        call = FieldCall(0, seconds=3.0, lead=True)
        files = [call.drop_recording(site), call.drop_transcript(site), call.drop_lead(site)]
        done = site.command("once", "--since", "all")
        assert done.returncode == 0, done.stderr
        for path in files:
            path.unlink()


def multiply(ledger: Path, count: int) -> None:
    """Put the one call of a ledger down ``count`` times in all, spread over the year before it."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000", "locking_mode = EXCLUSIVE"):
            connection.execute(f"PRAGMA {pragma}")
        statements = list(_statements(connection, YEAR_US // count))
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for trigger in triggers:  # every row that they would make is put down itself
            connection.execute(f"DROP TRIGGER {trigger['name']}")
        connection.execute("CREATE TEMP TABLE nth (k INTEGER PRIMARY KEY)")
        for first in range(1, count, AT_ONCE):
            connection.execute("DELETE FROM nth")
            last = min(first + AT_ONCE, count)
            connection.executemany("INSERT INTO nth VALUES (?)", ((k,) for k in range(first, last)))
            connection.execute("BEGIN")
            for statement, constants in statements:
                connection.execute(statement, constants)
            connection.execute("COMMIT")
        connection.execute("DROP TABLE nth")
        _sum(connection, count)
        for trigger in triggers:
            connection.execute(trigger["sql"])
        connection.execute("PRAGMA journal_mode = WAL")


def _sum(connection: sqlite3.Connection, count: int) -> None:
    """Make the sums what the triggers would have made them."""
    connection.execute("DELETE FROM collected_quarter")
    connection.execute(
        "INSERT INTO collected_quarter SELECT kind, registered_us / 900000000, at_us / 900000000, count(*), sum(ms), "
        "sum(size), sum(agent_size), sum(customer_size) FROM collected_share WHERE NOT excluded GROUP BY 1, 2, 3"
    )
    connection.execute("UPDATE running_total SET n = n * ?, size = size * ? WHERE what != 'lying'", (count, count))


def _statements(connection: sqlite3.Connection, step_us: int) -> Iterator[tuple[str, list[object]]]:
    """An INSERT for every row of the one call, with its constants."""
    tables = [
        str(row["name"])
        for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rootpage")
        if not row["name"].startswith("sqlite_") and row["name"] not in LEFT_OUT
    ]
    strides = {
        table: connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0] for table in ("item", "job", "journal")
    }
    for table in tables:
        for row in connection.execute(f"SELECT * FROM {table}").fetchall():
            columns = [name for name in row.keys() if row[name] is not None]  # noqa: SIM118 a Row iterates over values
            constants: list[object] = []
            values = [_value(table, name, row[name], strides, step_us, constants) for name in columns]
            yield f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM nth", constants


def _value(
    table: str, column: str, value: object, strides: Mapping[str, int], step_us: int, constants: list[object]
) -> str:
    """A column of the k-th call as SQL."""
    if isinstance(value, int):
        constants.append(value)
        if column.endswith("_us"):
            return f"? - k * {step_us}"
        if column.endswith("_ns"):
            return f"? - k * {step_us * 1000}"
        counted = OWN_ID.get(table, table) if column == "id" else "item" if column in ITEMS else column[:-3]
        return f"? + k * {strides[counted]}" if column.endswith("id") and counted in strides else "?"
    if isinstance(value, str):
        if table == "job" and column == "key":
            return _pieces(value, r"(?P<any>)(?P<any_nth>\d+)", strides["item"], constants)
        return _pieces(value, _TOKEN, strides["item"], constants)
    constants.append(value)
    return "?"


def _pieces(text: str, token: str | re.Pattern[str], stride: int, constants: list[object]) -> str:
    """A text whose tokens are the k-th call's, as SQL."""
    parts, at = [], 0

    def constant(value: str) -> None:
        if value:
            constants.append(value)
            parts.append("?")

    for found in re.finditer(token, text):
        name = str(found.lastgroup).removesuffix("_nth")
        constant(text[at : found.start()])
        if name == "sha":
            parts.append("printf('%08x', k)")
            constant(found["sha"][8:])
        else:
            constant(found[name])
            nth, width = int(found[f"{name}_nth"]), len(found[f"{name}_nth"])
            parts.append(f"printf('%0{width}d', {_NTH[name](nth, stride)})")
        at = found.end()
    constant(text[at:])
    return " || ".join(parts) or "''"


_NTH: Mapping[str, Callable[[int, int], str]] = {
    "session": lambda nth, _stride: f"{nth} + k",
    "stamp": lambda nth, _stride: f"({nth} + k) % 1000000",
    "epoch": lambda nth, _stride: f"{nth} - 31 * k",
    "call": lambda nth, _stride: f"{nth} + k",
    "named": lambda nth, stride: f"{nth} + {stride} * k",
    "key": lambda nth, stride: f"{nth} + {stride} * k",
    "any": lambda nth, stride: f"{nth} + {stride} * k",
}
"""How a token's number becomes that of the k-th call."""


@contextmanager
def many_calls(folder: Path, count: int, kept: Path | None) -> Iterator[Calls]:
    """A folder whose ledger knows so many calls, as ``kept_or_made`` has it."""

    def make(there: Path) -> None:
        one_call(there)
        multiply(there / "state" / "ledger.db", count)

    with kept_or_made(folder, kept, make) as there:
        yield Calls(there, _number(there, "SELECT count(*) FROM conversation"))


def subject_in_the_middle(calls: Calls) -> str:
    """One of the calls, as a person names it."""
    middle = "SELECT id FROM conversation WHERE id >= (SELECT max(id) / 2 FROM conversation) ORDER BY id LIMIT 1"
    return f"c{_number(calls.folder, middle)}"


def _number(folder: Path, sql: str) -> int:
    with closing(sqlite3.connect(folder / "state" / "ledger.db")) as connection:
        return int(connection.execute(sql).fetchone()[0])
