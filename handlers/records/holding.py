"""What is held, and which items are one call: a hold on any of them keeps them all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.contract import Reader, Tx
from handlers.records.rows import micros, moment, places


@dataclass(frozen=True, slots=True)
class Hold:
    """An item that must be kept, why, and since when."""

    item_id: int
    why: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """Keep this item, whatever anybody says."""

    item_id: int
    why: str

    def write(self, tx: Tx) -> None:
        """Put it down; said again, the newer words stand."""
        tx.execute("INSERT OR REPLACE INTO hold VALUES (?, ?, ?)", (self.item_id, self.why, micros(tx.now)))


@dataclass(frozen=True, slots=True)
class Unheld:
    """The item need not be kept any more."""

    item_id: int

    def write(self, tx: Tx) -> None:
        """Take the hold away."""
        tx.execute("DELETE FROM hold WHERE item_id = ?", (self.item_id,))


def holds(read: Reader, ids: Sequence[int] | None = None) -> tuple[Hold, ...]:
    """Every hold, or those on these items."""
    where = "" if ids is None else f"WHERE item_id IN ({places(ids)}) "
    rows = read.rows(f"SELECT * FROM hold {where}ORDER BY item_id", tuple(ids or ()))
    return tuple(Hold(row["item_id"], row["why"], moment(row["at_us"])) for row in rows)


def held_items(read: Reader) -> tuple[int, ...]:
    """Every item that must be kept: what is on hold, and what has joined its call since."""
    return whole_calls(read, [hold.item_id for hold in holds(read)])


def among(ids: Iterable[int]) -> str:
    """Any number of ids as one value, for ``json_each``."""
    return json.dumps(list(ids))


def whole_calls(read: Reader, seeds: Sequence[int]) -> tuple[int, ...]:
    """These items with all that belongs to the same calls: partners, sides, side documents, pieces, other versions."""
    known: dict[int, None] = dict.fromkeys(seeds)
    before = 0
    while len(known) > before:
        before = len(known)
        ids = (among(known),)
        for query in _NEXT_TO:
            rows = read.rows(query.format("SELECT value FROM json_each(?)"), ids)
            known.update(dict.fromkeys(row["id"] for row in rows))
    return tuple(sorted(known))


_NEXT_TO = (
    "SELECT recording.id FROM recording JOIN pairing USING (group_key) WHERE conversation_id IN ({0})",
    "SELECT conversation_id AS id FROM pairing JOIN recording USING (group_key) WHERE recording.id IN ({0})",
    "SELECT id FROM recording WHERE group_key IN (SELECT group_key FROM recording WHERE id IN ({0}))",
    "SELECT lead_id AS id FROM lead_pairing WHERE conversation_id IN ({0})",
    "SELECT conversation_id AS id FROM lead_pairing WHERE lead_id IN ({0})",
    "SELECT replaces AS id FROM item WHERE id IN ({0}) AND replaces IS NOT NULL",
    "SELECT id FROM item WHERE replaces IN ({0})",
    "SELECT s.id FROM sidecar AS s JOIN item ON instr(item.path, s.stem || '.') = 1 WHERE item.id IN ({0})",
    "SELECT copy_id AS id FROM compression WHERE recording_id IN ({0}) AND copy_id IS NOT NULL",
    "SELECT recording_id AS id FROM compression WHERE copy_id IN ({0})",
    "SELECT chunk.id FROM chunk WHERE session IN (SELECT session_id FROM conversation WHERE id IN ({0}))",
    "SELECT chunk.id FROM chunk WHERE session IN (SELECT session_id FROM recording WHERE id IN ({0}))",
)
"""Each finds what belongs to items that are known already."""
