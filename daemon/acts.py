"""What a person may have done by a command: the machine's acts and the rooms', by a running daemon or without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from daemon import erase
from daemon.contract import Act, Acted, Event, Json, Reader
from daemon.errors import BadRequest, UnknownSubject
from daemon.house import House
from daemon.ledger import hold, jobs, pause
from daemon.ledger.ledger import Ledger


def acts_of(house: House) -> dict[str, Act]:
    """Every command of a person that changes the ledger: the machine's and the rooms'."""
    acts = {**MACHINE_ACTS, **{name: act for room in house.rooms for name, act in room.acts.items()}}
    lanes = tuple(dict.fromkeys(house.lanes.values()))
    resume = partial(pause.resume_act, lanes=lanes)
    retry = partial(retry_act, {kind: redo for room in house.rooms for kind, redo in room.redo.items()})
    own: dict[str, Act] = {"ledger.adopt": partial(_adopt, house), "ledger.redeliver": partial(_redeliver, house)}
    return {**acts, **own, "resume": resume, "retry": retry}


def _adopt(house: House, args: Mapping[str, Any], read: Reader) -> Acted:
    """``ledger adopt``: the machine's part, and what each room counts as done."""
    acted = hold.adopt_act(args, read)
    return replace(acted, facts=(*acted.facts, *(fact for room in house.rooms for fact in room.adopt)))


def _redeliver(house: House, args: Mapping[str, Any], read: Reader) -> Acted:
    """``ledger redeliver``: the machine's part, and what witnesses outside the ledger say was delivered."""
    acted = hold.redeliver_act(args, read)
    heard = [room.redeliver(read) for room in house.rooms if room.redeliver is not None]
    return replace(
        acted,
        facts=(*acted.facts, *(fact for one in heard for fact in one.facts)),
        events=(*acted.events, *(event for one in heard for event in one.events)),
    )


def act_alone(house: House, name: str, args: Mapping[str, Any], *, dry_run: bool) -> Json:
    """Do a person's command without a daemon, under the ledger's lock."""
    ledger = house.open_ledger(lambda _event: None)
    try:
        if not dry_run:
            ledger.files.begin_catching_up()  # nobody looks now, and what is told below is no sign that somebody did
        erase.resume(ledger, house.rooms)
        if name == "erase" and not dry_run:
            ledger.recover()  # what a killed daemon had in work is in nobody's now, and must not refuse this
        return do(ledger, house, name, args, dry_run=dry_run)
    finally:
        ledger.close()


def do(ledger: Ledger, house: House, name: str, args: Mapping[str, Any], *, dry_run: bool) -> Json:
    """Do a person's command by its name."""
    acts = acts_of(house)
    if name == "ledger.copy":
        target = Path(args["target"])
        if not dry_run:
            ledger.copy(target)
        return {"copied_to": str(target)}
    if name == "erase":
        return erase.erase(ledger, house.rooms, args, acts[erase.FIND], dry_run=dry_run)
    if name not in acts:
        raise BadRequest(f"this daemon knows no command {name!r}", fix="restart it: it may be older than the program")
    return ledger.act(name, acts[name], args, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class _Retry:
    job_ids: Sequence[int]

    def write(self, tx: Any) -> None:
        jobs.retry(tx, self.job_ids)


def retry_act(redo: Mapping[str, Callable[[Reader, str], Acted]], args: Mapping[str, Any], read: Reader) -> Acted:
    """``retry``: the parked jobs of these subjects, of this reason, or all of them. Where nothing of a subject is
    parked, what is done of it is done again, if that means anything: ``redo`` says so by kind of job."""
    columns, done = "SELECT id, kind, key, reason, state FROM job", list[tuple[str, str]]()
    if args.get("all") or args.get("reason"):
        parked = read.rows(f"{columns} WHERE state = 'parked' ORDER BY id")
        chosen = [row for row in parked if args.get("all") or args["reason"] in row["reason"]]
    else:
        named = [row for one in args["jobs"] for row in read.rows(f"{columns} WHERE kind = ? AND key = ?", tuple(one))]
        chosen = [row for row in named if row["state"] in ("parked", "waiting")]
        if all(row["state"] != "parked" for row in chosen):
            done = [(row["kind"], row["key"]) for row in named if row["state"] == "done" and row["kind"] in redo]
        if not chosen and not done:
            raise UnknownSubject("nothing of that name waits to be retried", fix="callspool failures")
    again = [redo[kind](read, key) for kind, key in done]
    answer: Json = {"retried": [f"{row['kind']}:{row['key']}" for row in chosen] + [":".join(one) for one in done]}
    return Acted(
        answer,
        (_Retry(tuple(row["id"] for row in chosen)), *(fact for one in again for fact in one.facts)),
        tuple(spec for one in again for spec in one.then),
        tuple(event for one in again for event in one.events),
    )


def scan_act(_args: Mapping[str, Any], _read: Reader) -> Acted:
    """Somebody wants the folders looked through: the daemon does so once that stands in the journal."""
    return Acted({"scanning": True}, events=(Event("scan.requested", {}),))


MACHINE_ACTS: Mapping[str, Act] = {
    "pause": pause.pause_act,
    "scan": scan_act,
}
