"""A ledger that looks like a bad month: thousands of failures of many causes, hundreds of calls, many of them held.

The rows are those that intake, the matcher and delivery would have left; they are put in directly, since thousands of
real failures take hours.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from daemon.ledger.writer import WriteTx
from handlers.records import Judged, Paired
from tests.support.records import RecordsLedger, at, conversation, recording

FAILURES, CAUSES, CALLS = 4000, 40, 300
"""Jobs that wait for a person, the reasons they give, and calls; every third call is held."""


def make_crowded(folder: Path) -> None:
    """The ledger of a daemon that will run in ``folder``."""
    book = RecordsLedger(folder)
    try:
        for number in range(1, CALLS + 1):
            _add_call(book, number)
        book.ledger.write("failures.added", _fail)
    finally:
        book.close()


def _add_call(book: RecordsLedger, number: int) -> None:
    known, heard = conversation(number, 120.0 * number), recording(CALLS + number, 120.0 * number, 61.5)
    flagged = replace(heard.audio, flags=("clipped", "too_short"), peaks="0az5" * 20, heard_s=30.0)
    book.put(replace(known, number=f"+1202555{number % 100 + 100:04d}"))
    book.put(replace(heard, audio=flagged))
    if number % 3:
        book.write(Paired(number, heard.group, 0.97, ("stamp",)))
    else:
        book.write(Judged(number, "ambiguous", at(0), "none", at(0), False, _doubt(number)))


def _doubt(number: int) -> dict[str, object]:
    terms = [
        {"name": "start", "says": "both begin at the same second", "seconds": -1.5, "weight": 1.25},
        {"name": "rate", "says": "60 calls a minute are usual here", "weight": -0.5},
    ]
    names = (f"r{CALLS + number}", f"r{CALLS + number + 1}")
    candidates = [{"recording": name, "probability": 0.5, "terms": terms} for name in names]
    return {"recording": {"candidates": candidates, "would_settle": "the recorder's number in the transcript"}}


def _fail(tx: WriteTx) -> None:
    for number in range(FAILURES):
        reason = f"answered {400 + number % CAUSES}: " + "a reason that is long enough to be broken, " * 3
        tx.execute(
            "INSERT INTO job (host_id, lane, kind, key, state, due_us, attempt, reason, fix, created_us, changed_us) "
            "VALUES (?, 'crm', 'call', ?, 'parked', 0, 8, ?, ?, ?, ?)",
            (tx.host_id, str(CALLS + number), reason, f"callspool retry c{CALLS + number}", tx.now_us, tx.now_us),
        )
