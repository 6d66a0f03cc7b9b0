"""A monitor elsewhere hears of us as long as everything moves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from daemon.contract import Event
from daemon.health import Health, Problem
from daemon.run.pulse import Pulse


class Monitor:
    """Notes who asked, and answers with ``status``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        monitor = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                monitor.asked.append(self.path)
                self.send_response(monitor.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/ping/secret"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    made = Monitor()
    yield made
    made.close()


def test_it_is_told_while_everything_moves_and_not_otherwise(monitor: Monitor) -> None:
    health, events = [Health()], list[Event]()
    pulse = Pulse(monitor.url, lambda: health[0], on_event=events.append)
    assert pulse.beat()
    health[0] = Health((Problem("ledger", "takes no writes now"),))
    assert not pulse.beat()
    assert monitor.asked == ["/ping/secret"]
    assert events == []


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_that_is_no_yes_is_told_without_the_address(monitor: Monitor, status: int) -> None:
    monitor.status = status
    events: list[Event] = []
    assert not Pulse(monitor.url, Health, on_event=events.append).beat()
    assert monitor.asked == ["/ping/secret"]
    assert [(event.name, str(status) in str(event.fields["reason"])) for event in events] == [
        ("healthcheck.failed", True)
    ]
    assert "secret" not in str(events[0].fields)


def test_a_monitor_that_is_down_stops_nothing() -> None:
    events: list[Event] = []
    assert not Pulse("http://127.0.0.1:1/ping/secret", Health, on_event=events.append).beat()
    assert "secret" not in str(events[0].fields)
