"""What counts as collected, on a real ledger: rows kept by triggers, however they came about."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.contract import Reader
from handlers import records
from handlers.collection.acts import acts
from handlers.collection.asked import Collection
from handlers.collection.files import replace_file
from handlers.model import Side
from handlers.records import (
    CallDelivered,
    CallIdFixed,
    ConversationImported,
    Counting,
    Paired,
    RecordingKnown,
    SidecarKnown,
    Unpaired,
)
from handlers.settings import CollectSettings
from tests.support.records import RecordsLedger, at, conversation, recording

WAIT = timedelta(minutes=15)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[RecordsLedger]:
    made = RecordsLedger(tmp_path)
    yield made
    made.close()


def hours(book: RecordsLedger, now: float = 0.0) -> dict[str, tuple[int, int]]:
    with book.view() as read:
        found = records.totals(read, Counting(at(now) - WAIT))
    return {kind: (total.conversations, total.ms) for kind, total in found.items()}


def test_a_call_counts_once_with_its_longer_side(book: RecordsLedger) -> None:
    book.put(recording(1, length=60.0, side=Side.AGENT, group="g:a"))
    assert hours(book)["received"] == (0, 0)  # its other side may come
    book.put(recording(2, length=61.5, side=Side.CUSTOMER, group="g:a"))
    assert hours(book)["received"] == (1, 61_500)


def test_a_lone_side_counts_once_the_wait_is_over(book: RecordsLedger) -> None:
    book.put(recording(1, length=60.0, side=Side.AGENT, group="g:a"))
    assert hours(book, now=WAIT.total_seconds())["received"] == (1, 60_000)


def test_silence_is_received_and_not_usable(book: RecordsLedger) -> None:
    heard = recording(1)
    book.put(replace(heard, audio=replace(heard.audio, flags=("silent",))))
    assert hours(book) == {"received": (1, 60_000), "usable": (0, 0), "unique": (0, 0), "delivered": (0, 0)}


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_same_content_is_unique_once_whoever_is_understood_first(
    book: RecordsLedger, order: tuple[int, int]
) -> None:
    for number in order:
        book.item(number, "recording", f"{number}.ogg", sha256="f" * 64, evidence=str(number))
        book.write(RecordingKnown(recording(number)))
    assert hours(book)["usable"] == (2, 120_000)
    assert hours(book)["unique"] == (1, 60_000)


def test_a_newer_version_counts_in_place_of_the_older(book: RecordsLedger) -> None:
    book.put(recording(1, length=10.0))
    book.put(recording(2, length=60.0), replaces=1)
    assert hours(book)["received"] == (1, 60_000)


def test_delivered_is_what_the_crm_has(book: RecordsLedger) -> None:
    book.put(recording(1))
    book.put(conversation(2))
    book.write(Paired(2, "r1", 1.0, ()), CallIdFixed(2, "CALL-1", at(0)))
    assert hours(book)["delivered"] == (0, 0)
    book.write(CallDelivered(2, at(1), {"recordings": [{"id": 1}]}, None))
    assert hours(book)["delivered"] == (1, 60_000)
    book.write(Unpaired(2))
    assert hours(book)["delivered"] == (0, 0)


def test_a_call_that_went_without_its_recording_did_not_deliver_it(book: RecordsLedger) -> None:
    book.put(recording(1))
    book.put(conversation(2))
    book.write(CallIdFixed(2, "CALL-1", at(0)), CallDelivered(2, at(1), {"recordings": []}, None))
    book.write(Paired(2, "r1", 1.0, ()))
    assert hours(book)["delivered"] == (0, 0)


def collection(**given: Any) -> Collection:
    return Collection(CollectSettings(**given), "recordings", WAIT, None)


def do(book: RecordsLedger, name: str, **args: Any) -> Any:
    return book.ledger.act(name, acts(collection())[name], args)


def test_a_person_may_leave_a_call_out_take_it_back_and_count_anew(book: RecordsLedger) -> None:
    book.put(recording(1))
    do(book, "hours.exclude", subject="r1", why="a test call")
    assert hours(book)["received"] == (0, 0)
    do(book, "hours.include", subject="r1")
    assert hours(book)["received"] == (1, 60_000)
    book.clock.moment = at(10)
    do(book, "hours.reset", why="a new contract")
    assert hours(book)["received"] == (0, 0)
    book.clock.moment = at(20)
    book.put(recording(3, registered=20.0))
    assert hours(book)["received"] == (1, 60_000)
    assert [event.name for event in book.events] == ["hours.excluded", "hours.included", "hours.reset"]


def test_an_older_collection_counts_until_its_files_are_here(book: RecordsLedger) -> None:
    entry = ConversationImported("old", at(-1000), 30_000, 100, ("recording-1.ogg",), {"conversation_id": "old"})
    book.write(entry, entry)
    assert hours(book)["usable"] == (1, 30_000)
    with book.view() as read:
        assert [one.document for one in collection().conversations(read)] == [{"conversation_id": "old"}]
    book.put(recording(1))
    assert hours(book)["usable"] == (1, 60_000)


FILES = st.lists(
    st.tuples(
        st.integers(0, 5),  # the group
        st.sampled_from([Side.AGENT, Side.CUSTOMER]),
        st.integers(1, 4000),  # tenths of seconds
        st.sampled_from([(), ("silent",), ("too_short",), ("clipped",)]),
        st.integers(0, 3),  # the content
    ),
    max_size=14,
    unique_by=lambda one: (one[0], one[1]),
)


OF_LEDGERS = given(files=FILES, excluded=st.sets(st.integers(0, 5)), delivered=st.sets(st.integers(0, 5)))
QUIETLY = settings(suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@settings(QUIETLY, max_examples=60)
@OF_LEDGERS
def test_all_places_agree_on_the_hours(
    files: list[tuple[int, Side, int, tuple[str, ...], int]], excluded: set[int], delivered: set[int]
) -> None:
    """The sums, the statistics, the days, the parts, the export and the report, against adding up by hand."""
    _all_agree(files, excluded, delivered)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(QUIETLY, max_examples=10_000)
@OF_LEDGERS
def test_all_places_agree_on_the_hours_of_ten_thousand_ledgers(
    files: list[tuple[int, Side, int, tuple[str, ...], int]], excluded: set[int], delivered: set[int]
) -> None:
    """The same, an hour long."""
    _all_agree(files, excluded, delivered)


def _all_agree(
    files: list[tuple[int, Side, int, tuple[str, ...], int]], excluded: set[int], delivered: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        book = RecordsLedger(Path(folder))
        try:
            _fill(book, files, excluded, delivered)
            with book.view() as read:
                for kind in records.KINDS:
                    _agree(read, collection(counts=kind), _by_hand(files, excluded, delivered)[kind])
        finally:
            book.close()


def _fill(
    book: RecordsLedger,
    files: list[tuple[int, Side, int, tuple[str, ...], int]],
    excluded: set[int],
    delivered: set[int],
) -> None:
    for nth, (group, side, tenths, flags, content) in enumerate(files, start=1):
        heard = recording(nth, length=tenths / 10, side=side, group=f"g:{group}", registered=-2000.0)
        book.item(nth, "recording", heard.name, sha256=f"{content:064d}", evidence=str(nth))
        book.write(RecordingKnown(replace(heard, audio=replace(heard.audio, flags=flags))))
    for group in sorted({group for group, *_ in files}):
        ids = [nth for nth, one in enumerate(files, start=1) if one[0] == group]
        if group in excluded:
            do(book, "hours.exclude", subject=f"r{ids[0]}")
        if group in delivered:
            number = 1000 + group
            book.put(conversation(number))
            book.write(Paired(number, f"g:{group}", 1.0, ()), CallIdFixed(number, f"CALL-{number}", at(0)))
            book.write(CallDelivered(number, at(0), {"recordings": [{"id": one} for one in ids]}, None))


def _by_hand(
    files: list[tuple[int, Side, int, tuple[str, ...], int]], excluded: set[int], delivered: set[int]
) -> dict[str, list[int]]:
    told: dict[str, dict[int, int]] = {kind: {} for kind in records.KINDS}
    for nth, (group, _side, tenths, flags, content) in enumerate(files):
        if group in excluded:
            continue
        good = not {"silent", "too_short"} & set(flags)
        new = content not in {one[4] for one in files[:nth]}
        holds = {"received": True, "usable": good, "unique": good and new, "delivered": group in delivered}
        for kind, counts in holds.items():
            if counts:
                told[kind][group] = max(told[kind].get(group, 0), tenths * 100)
    return {kind: sorted(lengths.values()) for kind, lengths in told.items()}


def _agree(read: Reader, asked: Collection, lengths: list[int]) -> None:
    kind = asked.settings.counts
    total = asked.totals(read)[kind]
    assert (total.conversations, total.ms) == (len(lengths), sum(lengths))
    said = asked.statistics(read)["summary"]
    assert said["total_conversations"] == len(lengths)
    assert said["total_hours"] == asked.report(read)["hours"][kind] == asked.report(read)["summary"]["total_hours"]
    assert sum(day.ms for day in asked.by_day(read).values()) == sum(lengths)
    for part in ("host", "number-prefix", "campaign"):
        parts = records.by_part(read, asked.counting(read), kind, part)
        assert sum(one.ms for one in parts.values()) == sum(lengths)
    exported = list(asked.conversations(read))
    assert sorted(one.ms for one in exported) == lengths
    assert sum(records.sizes_by_side(read, asked.counting(read), kind).values()) == total.size


def test_what_lies_verified_in_storage_is_delivered_too(book: RecordsLedger) -> None:
    book.put(recording(1))

    def state(said: str) -> None:
        book.ledger.write(
            "copy.changed",
            lambda tx: tx.execute(
                "INSERT OR REPLACE INTO copy (place, bucket, key, subject_id, role, item_id, sha256, size, state, "
                "intended_us, changed_us) VALUES ('local', '', 'a/b.ogg', 1, 'audio', 1, ?, 1000, ?, 0, 0)",
                ("0" * 64, said),
            ),
        )

    state("intended")
    assert hours(book)["delivered"] == (0, 0)
    state("verified")
    assert hours(book)["delivered"] == (1, 60_000)
    state("removed")
    assert hours(book)["delivered"] == (0, 0)


def test_a_file_is_replaced_whole_and_known_by_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "meta.json"
    replace_file(path, ["old"])
    path.chmod(0o640)
    digest, size = replace_file(path, ["[\n", '{"name": "Zoë"}', "\n]\n"])
    there = path.read_bytes()
    assert there.decode() == '[\n{"name": "Zoë"}\n]\n'
    assert (digest, size) == (hashlib.sha256(there).hexdigest()[:12], len(there))
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in path.parent.iterdir()] == ["meta.json"]


def test_a_file_of_two_channels_that_names_its_sides_is_told_by_side_and_counts_once(book: RecordsLedger) -> None:
    for number in (1, 2):
        known = recording(number)
        book.put(replace(known, audio=replace(known.audio, channels=2)))
    book.item(3, "recording", "recording-1.json")
    book.write(SidecarKnown(3, "recordings/recording-1", {"sides": ["customer", "agent"]}))

    def told(by_default: tuple[str, ...]) -> tuple[list[list[str]], dict[str, int]]:
        chosen = Collection(CollectSettings(), "recordings", WAIT, None, by_default)
        with book.view() as read:
            documents = [chosen.document(one) for one in chosen.conversations(read)]
            counting = chosen.counting(read)
            return [list(one)[2:-1] for one in documents], records.sizes_by_side(read, counting, "usable")

    sides, sizes = told(())
    assert sides == [["agent", "customer"], ["mixed"]]
    assert set(sizes) == {"agent", "customer", "mixed"}
    assert sizes["agent"] + sizes["customer"] == sizes["mixed"] == recording(1).size
    sides, sizes = told(("agent", "customer"))
    assert sides == [["agent", "customer"]] * 2
    assert set(sizes) == {"agent", "customer"}
    assert hours(book)["usable"] == (2, 120_000), "each counts once, with its own length"
