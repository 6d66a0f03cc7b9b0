"""What is paused. ``all`` is every lane; the others are named by the lanes that heed them (``Lane.pause``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daemon.contract import Acted, Event, Json, Reader, Tx
from daemon.errors import BadRequest
from daemon.ledger.reading import moment
from daemon.ledger.writer import WriteTx, micros

ALL = "all"
KNOWN = ("deliver", "compress", "collect", ALL)


@dataclass(frozen=True, slots=True)
class Paused:
    """From here on nothing of this kind is begun."""

    what: str
    why: str

    def write(self, tx: Tx) -> None:
        """Remember it; said again, the first moment stands."""
        tx.execute(
            "INSERT INTO pause (what, why, at_us) VALUES (?, ?, ?) ON CONFLICT (what) DO UPDATE SET why = excluded.why",
            (self.what, self.why, micros(tx.now)),
        )


@dataclass(frozen=True, slots=True)
class Resumed:
    """It goes on; ``all`` lets everything go on."""

    what: str
    lanes: tuple[str, ...]

    def write(self, tx: Tx) -> None:
        """Forget the pause, and wake whoever heeded it."""
        tx.execute("DELETE FROM pause WHERE what = ? OR ? = 'all'", (self.what, self.what))
        if isinstance(tx, WriteTx):
            tx.woken.update(self.lanes)


def is_paused(tx: WriteTx, heeds: str) -> bool:
    """Whether a lane that heeds this begins nothing now."""
    return tx.row("SELECT 1 FROM pause WHERE what IN ('all', ?) LIMIT 1", (heeds,)) is not None


def paused(read: Reader) -> list[dict[str, Any]]:
    """What is paused, since when and why."""
    return [
        {"what": row["what"], "since": moment(row["at_us"]).isoformat(timespec="milliseconds"), "why": row["why"]}
        for row in read.rows("SELECT * FROM pause ORDER BY what")
    ]


def pause_act(args: Mapping[str, Any], read: Reader) -> Acted:
    """``pause``: begin nothing of this kind any more."""
    what = _known(args)
    why = str(args.get("why", ""))[:200]
    already = any(entry["what"] == what for entry in paused(read))
    event = Event("work.paused", {"what": what, "reason": why}, "warning")
    return Acted({"paused": what}, facts=(Paused(what, why),), events=() if already else (event,))


def resume_act(args: Mapping[str, Any], read: Reader, *, lanes: tuple[str, ...]) -> Acted:
    """``resume``: go on."""
    what = _known(args)
    going = [str(entry["what"]) for entry in paused(read) if what in (ALL, entry["what"])]
    if not going and what != ALL and any(entry["what"] == ALL for entry in paused(read)):
        raise BadRequest(f"everything is paused, not {what} alone", fix="callspool resume")
    resumed: Json = [*going]
    events = tuple(Event("work.resumed", {"what": one}) for one in going)
    return Acted({"resumed": resumed}, facts=(Resumed(what, lanes),), events=events)


def _known(args: Mapping[str, Any]) -> str:
    what = str(args.get("what", ALL))
    if what not in KNOWN:
        raise BadRequest(f"{what!r} cannot be paused", fix="one of " + ", ".join(KNOWN))
    return what
