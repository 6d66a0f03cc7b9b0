"""A monitor elsewhere hears of us as long as everything moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daemon.contract import Event
from daemon.health import Health, Problem
from daemon.run.pulse import Pulse
from tests.support.listener import Listener

PATH = "/ping/secret"


@pytest.fixture
def monitor() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def test_it_is_told_while_everything_moves_and_not_otherwise(monitor: Listener) -> None:
    health, events = [Health()], list[Event]()
    pulse = Pulse(f"http://{monitor.address}{PATH}", lambda: health[0], on_event=events.append)
    assert pulse.beat()
    health[0] = Health((Problem("ledger", "takes no writes now"),))
    assert not pulse.beat()
    assert [asked.path for asked in monitor.asked] == [PATH]
    assert events == []


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_that_is_no_yes_is_told_without_the_address(monitor: Listener, status: int) -> None:
    monitor.status = status
    events: list[Event] = []
    assert not Pulse(f"http://{monitor.address}{PATH}", Health, on_event=events.append).beat()
    assert [asked.path for asked in monitor.asked] == [PATH]
    assert [(event.name, str(status) in str(event.fields["reason"])) for event in events] == [
        ("healthcheck.failed", True)
    ]
    assert "secret" not in str(events[0].fields)


def test_a_monitor_that_is_down_stops_nothing() -> None:
    events: list[Event] = []
    assert not Pulse("http://127.0.0.1:1/ping/secret", Health, on_event=events.append).beat()
    assert "secret" not in str(events[0].fields)
