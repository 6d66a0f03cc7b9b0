"""When is a file finished? Every row of the table, and what must hold for all files."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.catalogue import Entry, Stat
from daemon.states import FileState
from daemon.watch.settle import (
    COMPLETE_QUIET_S,
    STILL_S,
    Attention,
    Container,
    Observation,
    Sight,
    Signal,
    Take,
    Wait,
    Windows,
    Writers,
    decide,
    sight,
)

WINDOWS = Windows()
SEEN = Observation(b"call.ogg", first_seen=0.0, changed=100.0, writers=Writers.NONE, container=Container.COMPLETE)


def after(seconds: float, **changes: object) -> Take | Wait | Attention:
    """The verdict on a file that has been unchanged for so many seconds."""
    return decide(replace(SEEN, **changes), WINDOWS, 100.0 + seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize("container", Container)
@pytest.mark.parametrize("still", [0.1, 11.0, 200.0, 20_000.0])
def test_a_writer_seen_is_never_taken(container: Container, still: float) -> None:
    assert isinstance(after(still, writers=Writers.SEEN, container=container), (Wait, Attention))


def test_no_writer_and_complete_is_taken_at_once() -> None:
    assert after(STILL_S + 0.001) == Take("no writer, complete")


def test_at_once_means_that_it_stood_still_for_50_ms() -> None:
    verdict = after(0.02)
    assert isinstance(verdict, Wait)
    assert verdict.seconds == pytest.approx(0.03)


@pytest.mark.parametrize(("container", "flags"), [(Container.INCOMPLETE, ("incomplete",)), (Container.UNKNOWN, ())])
@pytest.mark.parametrize(("name", "quiet"), [(b"call.mp3", 10.0), (b"talk.json", 2.0), (b"TALK.JSON", 2.0)])
def test_no_writer_but_not_surely_complete_waits_for_quiet(
    container: Container, flags: tuple[str, ...], name: bytes, quiet: float
) -> None:
    early = after(quiet - 0.5, container=container, name=name)
    assert isinstance(early, Wait)
    assert early.seconds == pytest.approx(0.5)
    taken = after(quiet, container=container, name=name)
    assert isinstance(taken, Take)
    assert taken.flags == flags


def test_complete_with_writers_unknown_is_taken_after_2_s() -> None:
    early = after(COMPLETE_QUIET_S - 0.5, writers=Writers.UNKNOWN)
    assert isinstance(early, Wait)
    assert early.seconds == pytest.approx(0.5)
    assert after(COMPLETE_QUIET_S, writers=Writers.UNKNOWN) == Take("complete, unchanged for 2 s")


@pytest.mark.parametrize(
    ("container", "flags"),
    [(Container.INCOMPLETE, ("weak_settle", "incomplete")), (Container.UNKNOWN, ("weak_settle",))],
)
def test_nothing_proved_waits_for_the_long_window_and_is_flagged(container: Container, flags: tuple[str, ...]) -> None:
    early = after(179.0, writers=Writers.UNKNOWN, container=container)
    assert isinstance(early, Wait)
    assert early.seconds == pytest.approx(1.0)
    taken = after(180.0, writers=Writers.UNKNOWN, container=container)
    assert isinstance(taken, Take)
    assert taken.flags == flags


def test_the_producers_signal_replaces_the_windows() -> None:
    told = after(STILL_S + 0.001, signal=Signal.GIVEN, container=Container.UNKNOWN, writers=Writers.UNKNOWN)
    assert told == Take("the producer's signal")
    untold = after(300.0, signal=Signal.AWAITED)
    assert isinstance(untold, Wait)
    assert untold.blocked


def test_a_writer_outweighs_the_producers_signal() -> None:
    assert isinstance(after(10.0, signal=Signal.GIVEN, writers=Writers.SEEN), Wait)


def test_what_never_settles_needs_attention_and_is_still_looked_at() -> None:
    verdict = decide(replace(SEEN, writers=Writers.SEEN), WINDOWS, WINDOWS.max_settle_s)
    assert isinstance(verdict, Attention)
    assert verdict.seconds > 0


def test_a_file_that_settles_late_is_taken_all_the_same() -> None:
    assert isinstance(decide(SEEN, WINDOWS, WINDOWS.max_settle_s + 5), Take)


observations = st.builds(
    Observation,
    name=st.sampled_from([b"a.ogg", b"a.json", b"a"]),
    first_seen=st.floats(0, 1000),
    changed=st.floats(1000, 2000),
    writers=st.sampled_from(Writers),
    container=st.sampled_from(Container),
    signal=st.sampled_from(Signal),
)


@given(observations, st.floats(2000, 40_000))
def test_waiting_as_long_as_told_never_waits_again_for_the_same_reason(seen: Observation, now: float) -> None:
    verdict = decide(seen, WINDOWS, now)
    if isinstance(verdict, Wait) and not verdict.blocked:
        assert verdict.seconds > 0
        later = decide(seen, WINDOWS, now + verdict.seconds + 1e-6)
        assert not isinstance(later, Wait) or later.blocked or later.reason != verdict.reason


@given(observations, st.floats(2000, 40_000), st.floats(0, 40_000))
def test_once_taken_stays_taken_while_nothing_changes(seen: Observation, now: float, more: float) -> None:
    if isinstance(decide(seen, WINDOWS, now), Take):
        assert isinstance(decide(seen, WINDOWS, now + more), Take)


@given(observations, st.floats(2000, 40_000))
def test_without_a_complete_container_or_a_signal_taking_is_never_before_quiet(seen: Observation, now: float) -> None:
    verdict = decide(seen, WINDOWS, now)
    if isinstance(verdict, Take) and seen.container is not Container.COMPLETE and seen.signal is Signal.NOT_USED:
        assert now - seen.changed >= WINDOWS.quiet_s(seen.name) - 1e-6
        assert seen.writers is Writers.NONE or "weak_settle" in verdict.flags


@given(observations, st.floats(2000, 40_000))
def test_a_writer_seen_is_never_taken_whatever_else_holds(seen: Observation, now: float) -> None:
    assert not isinstance(decide(replace(seen, writers=Writers.SEEN), WINDOWS, now), Take)


# ------------------------------------------------------------------------------------------------- first sight

STAT = Stat(size=100, mtime_ns=1, ctime_ns=50, ino=7)


def entry(state: FileState, stat: Stat = STAT) -> Entry:
    return Entry(b"call.ogg", *stat, state)


def look(row: Entry | None, stat: Stat = STAT, *, regular: bool = True, old_before_ns: int = 0) -> Sight:
    return sight(row, stat, regular=regular, old_before_ns=old_before_ns)


def test_a_name_not_seen_before_is_new_or_old_by_its_inode_change_time() -> None:
    assert look(None, old_before_ns=50) is Sight.NEW
    assert look(None, old_before_ns=51) is Sight.OLD


def test_mtime_never_makes_a_file_old() -> None:
    assert look(None, STAT._replace(mtime_ns=0), old_before_ns=50) is Sight.NEW


def test_an_old_file_stays_old_under_chmod_touch_and_a_restored_copy_and_is_new_as_another_one() -> None:
    old = entry(FileState.OLD)
    assert look(old, STAT._replace(ctime_ns=99), old_before_ns=60) is Sight.NOTHING
    assert look(old, STAT._replace(mtime_ns=2, ctime_ns=99)) is Sight.OLD
    assert look(old, STAT._replace(ino=8, ctime_ns=99)) is Sight.OLD
    assert look(old, STAT._replace(size=101)) is Sight.NEW
    assert look(old, STAT._replace(mtime_ns=2, ino=8)) is Sight.NEW


def test_what_changed_before_a_restored_ledger_was_adopted_is_old_whatever_the_ledger_has_it_as() -> None:
    rewritten = STAT._replace(size=101, mtime_ns=2, ctime_ns=98)
    for state in (FileState.KNOWN, FileState.OLD, FileState.EMPTY, FileState.IRREGULAR):
        assert look(entry(state), rewritten, old_before_ns=99) is Sight.OLD
        assert look(entry(state), rewritten, old_before_ns=98) is Sight.NEW
    assert look(entry(FileState.KNOWN), STAT._replace(mtime_ns=2, ctime_ns=98), old_before_ns=99) is Sight.OLD
    assert look(entry(FileState.KNOWN), old_before_ns=99) is Sight.NOTHING
    assert look(entry(FileState.KNOWN), STAT._replace(ino=8), old_before_ns=99) is Sight.AGAIN, "other inode numbers"


def test_a_known_file_is_hashed_again_when_anything_about_it_moved() -> None:
    assert look(entry(FileState.KNOWN)) is Sight.NOTHING
    for moved in (STAT._replace(ctime_ns=51), STAT._replace(mtime_ns=2), STAT._replace(ino=8)):
        assert look(entry(FileState.KNOWN), moved) is Sight.AGAIN
    assert look(entry(FileState.KNOWN), STAT._replace(size=101)) is Sight.NEW


def test_an_empty_file_is_never_settled_and_grows_into_a_new_one() -> None:
    assert look(None, STAT._replace(size=0), old_before_ns=99) is Sight.EMPTY
    assert look(entry(FileState.EMPTY), STAT._replace(size=0)) is Sight.NOTHING
    assert look(entry(FileState.EMPTY)) is Sight.NEW


def test_what_is_no_regular_file_is_said_once() -> None:
    assert look(None, regular=False) is Sight.IRREGULAR
    assert look(entry(FileState.IRREGULAR), STAT._replace(ino=9), regular=False) is Sight.NOTHING
    assert look(entry(FileState.IRREGULAR)) is Sight.NEW


def test_settling_is_resumed_after_a_restart() -> None:
    assert look(entry(FileState.SETTLING)) is Sight.RESUME
    assert look(entry(FileState.ATTENTION)) is Sight.RESUME
