"""Making a lost ledger anew: from the folders, from the markers, and from the sidecars in every store.

The old one is set aside, never deleted. The new one takes every file that lies in the folders, however old; what a
marker names counts as delivered, and what a sidecar names bears the id under which the CRM knows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from daemon.contract import Acted, Event, Json, Tx, Witness
from daemon.errors import DeliveryError, OperatorError
from daemon.ledger.hold import Released

if TYPE_CHECKING:
    from daemon.house import House


@dataclass(frozen=True, slots=True)
class Heard:
    """What was found outside the ledger."""

    witnesses: tuple[Witness, ...]


class _MadeAnew:
    """From when on this ledger tells the story: what was made of files before is to be recognised."""

    def write(self, tx: Tx) -> None:
        """Put it down."""
        tx.execute("INSERT INTO meta VALUES ('rebuilt_us', ?)", (str(int(tx.now.timestamp() * 1_000_000)),))


def listen(house: House) -> Heard:
    """Ask every store. Raises OperatorError where one cannot be asked: half a memory would send things twice."""
    try:
        told = [one for room in house.rooms if room.witnesses is not None for one in room.witnesses()]
    except DeliveryError as error:
        raise OperatorError(f"a store cannot be asked now: {error.reason}", fix="callspool doctor") from error
    return Heard(tuple(dict.fromkeys(told)))


def rebuild(house: House, *, delivered: bool, dry_run: bool) -> Json:
    """Set the ledger aside and begin a new one; the next ``run`` or ``once`` reads the folders into it.

    ``delivered``: a person says that what sidecars name was delivered, also where its marker is gone. Raises
    AnotherInstance beside a running daemon.
    """
    heard = listen(house)
    answer: dict[str, Json] = {"sidecars": len(heard.witnesses), "set_aside": None, "markers": 0}
    if dry_run:
        return answer
    answer["set_aside"] = _set_aside(house)
    ledger = house.open_ledger(lambda _event: None)
    try:
        ledger.recover()
        with ledger.view() as view:
            acted = [room.first_start(view) for room in house.rooms if room.first_start is not None]
        ears = [room.heard for room in house.rooms if room.heard is not None]
        facts = [fact for ear in ears for fact in ear(heard.witnesses, delivered)]
        event = Event("ledger.rebuilt", {"items": len(heard.witnesses)}, "warning")
        anew = Acted(None, facts=(Released(0, adopt=False), _MadeAnew(), *facts), events=(event,))
        ledger.begin([*acted, anew])
        answer["markers"] = sum(len(one.facts) for one in acted)
    finally:
        ledger.close()
    return answer


def _set_aside(house: House) -> str | None:
    """Move the ledger away under its own lock, whole with its journal files; None where there was none."""
    from daemon.ledger.lock import LedgerLock

    paths, now = house.paths, house.clock.now()
    paths.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = LedgerLock(paths.lock)
    try:
        paths.beat.unlink(missing_ok=True)
        name = _aside(now)
        for suffix in ("-shm", "-wal", ""):
            part = paths.ledger.with_name(paths.ledger.name + suffix)
            if part.exists():
                part.replace(paths.folder / f"{name}{suffix}")
        for copy in sorted(paths.copies.glob("ledger-????-??-??.db")):
            copy.replace(copy.with_name(f"before-rebuild-{copy.name}"))  # or it would take the new one's place
    finally:
        lock.release()
    return name if (paths.folder / name).exists() else None


def _aside(now: datetime) -> str:
    return f"ledger.db.damaged-{now:%Y%m%dT%H%M%SZ}"
