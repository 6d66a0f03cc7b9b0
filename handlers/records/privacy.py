"""What belongs to whom, and what may be let go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.contract import Reader, Tx
from handlers.records.compressible import STANDING
from handlers.records.holding import among, held_items
from handlers.records.rows import places
from handlers.records.search import find_calls, find_groups, find_leads


def items_of_number(read: Reader, number: str) -> tuple[int, ...]:
    """Recordings, conversations and leads of this number (E.164), and items whose name or text holds its digits."""
    digits = number.lstrip("+")
    found = [
        row["id"]
        for table in ("recording", "conversation", "lead")
        for row in read.rows(f"SELECT id FROM {table} WHERE number = ?", (number,))
    ]
    found += [row["id"] for row in read.rows("SELECT id FROM item WHERE instr(name, ?)", (digits,))]
    found += [row["id"] for row in read.rows("SELECT id FROM lead WHERE instr(document, ?)", (digits,))]
    return tuple(dict.fromkeys(found))


def items_named(read: Reader, word: str) -> tuple[int, ...]:
    """The items a person means by c12, r13, l14, a callId, a session id, or a file's name or path."""
    groups = find_groups(read, word)
    recordings = [
        row["id"] for group in groups for row in read.rows("SELECT id FROM recording WHERE group_key = ?", (group,))
    ]
    return find_calls(read, word) or tuple(recordings) or find_leads(read, word)


@dataclass(frozen=True, slots=True)
class ImportErased:
    """A conversation of an older collection is not known here any more."""

    conversation_id: str

    def write(self, tx: Tx) -> None:
        """Its row goes, and its files' names with it."""
        tx.execute("DELETE FROM collect_import_file WHERE conversation_id = ?", (self.conversation_id,))
        tx.execute("DELETE FROM collect_import WHERE conversation_id = ?", (self.conversation_id,))


def imports_naming(read: Reader, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Conversations of an older collection that any of these words names, by id, with their files' names."""
    if not words:
        return {}
    told = " OR ".join(["instr(i.conversation_id || i.document || coalesce(f.name, ''), ?)"] * len(words))
    found: dict[str, tuple[str, ...]] = {}
    for row in read.rows(
        "SELECT DISTINCT i.conversation_id, n.name FROM collect_import AS i LEFT JOIN collect_import_file AS f "
        f"USING (conversation_id) LEFT JOIN collect_import_file AS n USING (conversation_id) WHERE {told}",
        tuple(words),
    ):
        names = found.get(row["conversation_id"], ())
        found[row["conversation_id"]] = names if row["name"] is None else (*names, row["name"])
    return found


def unseen_contents(read: Reader, ids: Sequence[int]) -> tuple[str, ...]:
    """The SHA-256 of what compression has made of these recordings, and no item stands for yet."""
    rows = read.rows(
        f"SELECT sha256 FROM compression WHERE copy_id IS NULL AND sha256 != '' AND recording_id IN ({places(ids)})",
        tuple(ids),
    )
    return tuple(row["sha256"] for row in rows)


def transcripts_of(read: Reader, ids: Sequence[int]) -> tuple[str, ...]:
    """The file names of these items' transcripts."""
    rows = read.rows(f"SELECT name FROM conversation WHERE id IN ({places(ids)})", tuple(ids))
    return tuple(row["name"] for row in rows)


def words_of(read: Reader, ids: Sequence[int]) -> tuple[str, ...]:
    """Names, paths, ids and numbers of these items."""
    marks = places(ids)
    found: list[str] = []
    for query in _WORDS:
        found += [str(value) for row in read.rows(query.format(marks), tuple(ids)) for value in row if value]
    return tuple(dict.fromkeys(found))


_WORDS = (
    "SELECT name, path FROM item WHERE id IN ({})",
    "SELECT number, session_id, call_ref FROM recording WHERE id IN ({})",
    "SELECT number, session_id, call_ref FROM conversation WHERE id IN ({})",
    "SELECT number, session_id FROM lead WHERE id IN ({})",
    "SELECT call_id, recording_url FROM call WHERE conversation_id IN ({})",
)


_FILES = f"SELECT standing.id, group_key FROM {STANDING} AS standing JOIN recording ON recording.id = root"
"""Recordings, and the compressed copies that stand for them."""


_STORED = (
    "AND EXISTS (SELECT 1 FROM copy WHERE subject_id = conversation_id AND role = 'sidecar' AND state = 'verified') "
    "AND NOT EXISTS (SELECT 1 FROM copy WHERE subject_id = conversation_id AND state != 'removed' AND "
    "(state != 'verified' OR bound_for IS NOT NULL OR verified_us >= ? OR lost_us >= verified_us)) "
)
"""The whole call lay verified where it belongs before a moment, and nothing of it was found missing since."""


def delivered_before(read: Reader, moment_us: int, kind: str, limit: int, *, stored: bool = False) -> tuple[int, ...]:
    """Items of a kind whose calls the CRM accepted before a moment, that still lie somewhere, have no open work, and
    are on no hold: oldest first. Calls that others delivered are not ours to let go. ``stored``: only where the whole
    call was verified in storage before that moment as well."""
    members = {
        "recording": f"JOIN pairing USING (conversation_id) JOIN ({_FILES}) AS part USING (group_key)",
        "conversation": "JOIN conversation AS part ON part.id = conversation_id",
        "lead": "JOIN lead_pairing USING (conversation_id) JOIN lead AS part ON part.id = lead_id",
    }[kind]
    rows = read.rows(
        f"SELECT part.id AS id, conversation_id FROM call {members} WHERE delivered_us < ? "
        "AND spoken_for = 'callspool' AND EXISTS (SELECT 1 FROM file WHERE item_id = part.id AND state = 'known') "
        "AND NOT EXISTS (SELECT 1 FROM job WHERE kind = 'call' AND key = conversation_id AND state != 'done') "
        f"{_STORED if stored else ''}"
        "AND part.id NOT IN (SELECT value FROM json_each(?)) ORDER BY delivered_us LIMIT ?",
        (moment_us, *([moment_us] * stored), among(held_items(read)), limit),
    )
    return tuple(row["id"] for row in rows)
