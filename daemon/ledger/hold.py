"""The way out of hold mode, after a damaged ledger was replaced by an older copy or by nothing.

What was delivered since the copy is not in the ledger any more, so a person decides: ``adopt`` takes everything
that lies in the folders now as done, ``redeliver`` delivers what the ledger does not know as delivered and relies
on the CRM to know an id again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daemon.contract import Acted, Event, Reader, Tx
from daemon.errors import BadRequest
from daemon.ledger.writer import micros

FIX = (
    "callspool ledger adopt      takes all that lies in the folders as delivered already; or\n"
    "callspool ledger redeliver  delivers what the ledger does not know (the CRM must know an id again);\n"
    "callspool verify --deep 100% --repair  afterwards puts again what another ledger wrote over in storage"
)


@dataclass(frozen=True, slots=True)
class Released:
    """Hold mode ends. Files first seen from now on count as new after ``registered_ns`` (inode change time).

    ``adopt``: what lies there is old, whatever the configuration says of old files, and with it what was on its way
    when the copy was made. What was open then is over, but for jobs with something to send: those wait for a
    person, since it may have been sent.
    """

    registered_ns: int
    adopt: bool

    def write(self, tx: Tx) -> None:
        """Move every root's registration, and park what was open where its fate is unknown."""
        tx.execute("DELETE FROM meta WHERE key = 'hold'")
        adopted_ns = self.registered_ns if self.adopt else 0
        tx.execute(
            "INSERT OR REPLACE INTO meta SELECT * FROM (VALUES ('registered_ns', ?), ('adopted_ns', ?)) "
            "WHERE NOT EXISTS (SELECT 1 FROM root)",
            (str(self.registered_ns), str(adopted_ns)),
        )
        tx.execute("UPDATE root SET registered_ns = ?, adopted_ns = ?", (self.registered_ns, adopted_ns))
        if self.adopt:
            tx.execute(
                "UPDATE file SET state = 'old', reason = 'adopted: it may have been delivered after the copy was made' "
                "WHERE state NOT IN ('known', 'old')"
            )
            tx.execute(
                "UPDATE job SET state = 'parked', waits_for = NULL, lacks = NULL, reason = 'adopted: it may have been "
                "delivered after the copy was made', fix = 'look there; callspool explain tells what it is' "
                "WHERE state IN ('ready', 'waiting') AND EXISTS (SELECT 1 FROM job_effect WHERE job_id = job.id)"
            )
            tx.execute("UPDATE job SET state = 'done', waits_for = NULL WHERE state IN ('ready', 'waiting')")


def adopt_act(args: Mapping[str, Any], read: Reader) -> Acted:
    """``ledger adopt``: what lies there now counts as delivered."""
    _must_hold(read)
    now_ns = micros(read.now) * 1000
    event = Event("ledger.adopted", {"reason": str(args.get("why", ""))}, "warning")
    return Acted({"hold": None, "decision": "adopt"}, facts=(Released(now_ns, adopt=True),), events=(event,))


def redeliver_act(args: Mapping[str, Any], read: Reader) -> Acted:
    """``ledger redeliver``: what the ledger does not know as delivered is delivered."""
    _must_hold(read)
    event = Event("ledger.redelivered", {"reason": str(args.get("why", ""))}, "warning")
    return Acted({"hold": None, "decision": "redeliver"}, facts=(Released(0, adopt=False),), events=(event,))


def _must_hold(read: Reader) -> None:
    if not read.rows("SELECT 1 FROM meta WHERE key = 'hold'"):
        raise BadRequest("the ledger is sound and nothing is on hold", fix="callspool status")
