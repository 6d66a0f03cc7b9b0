"""What every bench needs: its words on the command line, medians, the processor time of processes, and a table."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlers.audio.ogg import page_crc
from tests.support.audio import make_ogg_opus
from tests.support.process import QUICK, Site

TICKS = os.sysconf("SC_CLK_TCK")
"""Units of processor time in /proc, a second."""


def options(doc: str) -> argparse.ArgumentParser:
    """The words every bench takes: ``--json`` and ``--folder``, where the files it makes lie until it ends."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="a folder on the disk to measure on")
    return parser


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A folder of its own below ``folder``, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="callspool-bench-", dir=folder) as made:
        yield Path(made)


def plain_site(folder: Path, **settings: str) -> Site:
    """A working folder whose daemon runs with the defaults an operator has, but for the settings given."""
    site = Site(folder, CALLSPOOL_WATCH__TIMEZONE="UTC", CALLSPOOL_LOG__FORMAT="json", **settings)
    for name in QUICK.keys() - {"CALLSPOOL_WATCH__TIMEZONE", "CALLSPOOL_LOG__FORMAT"} - settings.keys():
        del site.environ[name]
    return site


@contextmanager
def kept_or_made(folder: Path, kept: Path | None, make: Callable[[Path], object]) -> Iterator[Path]:
    """A folder with what ``make`` puts there, a ledger among it: ``kept`` where given, made where it is not there yet;
    else one below ``folder``, removed afterwards.

    A kept ledger that the program does not know any more (migrations) is removed by hand; what lies beside it may stay.
    """
    if kept is None:
        with workshop(folder) as made:
            make(made)
            yield made
    else:
        kept.mkdir(parents=True, exist_ok=True)
        if not (kept / "state").exists():
            make(kept)
        yield kept


class Recordings:
    """Ogg/Opus recordings of one length that differ in their encoder's name alone: made in microseconds each."""

    def __init__(self, folder: Path, seconds: float, bit_rate: int = 32_000) -> None:
        sample = folder / ".sample.ogg"
        make_ogg_opus(sample, seconds, bit_rate=bit_rate)
        self._sample = sample.read_bytes()
        sample.unlink()
        self._page = self._sample.index(b"OggS", 4)  # the second page holds the comments, first of all a name
        self._end = self._sample.index(b"OggS", self._page + 4)
        self._name = self._sample.index(b"OpusTags", self._page) + 12

    def content(self, number: int) -> bytes:
        """The bytes of one of them."""
        page = bytearray(self._sample[self._page : self._end])
        at = self._name - self._page
        page[at : at + 8] = f"{number:08d}".encode()
        page[22:26] = bytes(4)
        page[22:26] = page_crc(bytes(page)).to_bytes(4, "little")
        return self._sample[: self._page] + page + self._sample[self._end :]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def cpu_s(pid: int) -> float:
    """Processor seconds, user and system, that a running process and its ended children have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS


def resident_mb(pid: int, name: str = "VmRSS") -> float:
    """Resident memory of a running process in MB (10^6 bytes); ``VmHWM`` is its highest."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name + ":")).split()[1]) * 1024 / 1e6


def family(pid: int) -> list[int]:
    """A process and its children, all the way down."""
    found = [pid]
    for member in found:
        for task in Path(f"/proc/{member}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


@dataclass
class Report:
    """Rows of a table, and below it the figures that matter with the bounds they are held to."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    results: dict[str, tuple[float, str]] = field(default_factory=dict)

    def row(self, *cells: object) -> None:
        """Add a row."""
        self.rows.append(cells)

    def result(self, name: str, value: float, wanted: str) -> None:
        """Add a figure, and in words what is wanted of it."""
        self.results[name] = (value, wanted)

    def show(self, *, as_json: bool) -> None:
        """Print all of it."""
        if as_json:
            print(json.dumps(self._document()))
            return
        table = [[str(column) for column in self.columns], *([_text(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[place]) for row in table) for place in range(len(self.columns))]
        print(self.title)
        for row in table:
            print(
                "  "
                + "  ".join(
                    cell.rjust(width) if place else cell.ljust(width)
                    for place, (cell, width) in enumerate(zip(row, widths, strict=True))
                )
            )
        for name, (value, wanted) in self.results.items():
            print(f"  {name}: {_text(value)}  (wanted: {wanted})")
        sys.stdout.flush()

    def _document(self) -> Mapping[str, Any]:
        return {
            "title": self.title,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "results": {name: {"value": value, "wanted": wanted} for name, (value, wanted) in self.results.items()},
        }


def _text(cell: object) -> str:
    return f"{cell:,.2f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else str(cell)
