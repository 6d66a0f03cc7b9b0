"""How often a client may ask, in front of the real guard: only the application behind it is a stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from daemon.serve.guard import Guard, Receive, Rules, Scope, Send
from daemon.serve.rate import ASKING, GUESSING, MOST_CLIENTS, Meter, Rate, network
from tests.support.records import HandClock

TOKEN = "s3cret"
WRONG = {"authorization": "Bearer guess"}
RIGHT = {"authorization": f"Bearer {TOKEN}"}


class House:
    """A guarded application that answers 200, and 401 at the door."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.guard = Guard(self._answer, Rules("127.0.0.1", 8888, TOKEN, frozenset({"/statistics"})), self.clock)

    async def _answer(self, scope: Scope, _receive: Receive, send: Send) -> None:
        status = 401 if scope["path"] == "/login" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def ask(self, path: str, *, client: str = "192.0.2.1", method: str = "GET", **headers: str) -> tuple[int, int]:
        """The status, and what ``Retry-After`` says, 0 where it says nothing."""
        named = {"host": "127.0.0.1:8888", "content-length": "0", **headers}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "client": (client, 50_000),
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        asyncio.run(self.guard(scope, receive, send))
        told = dict(said[0]["headers"])
        return said[0]["status"], int(told.get(b"retry-after", b"0"))


def statuses(house: House, times: int, path: str, **headers: str) -> Sequence[int]:
    return [house.ask(path, **headers)[0] for _ in range(times)]


def test_who_asks_too_often_without_the_token_is_told_when_to_come_back_and_served_then() -> None:
    house = House()
    assert set(statuses(house, ASKING.burst, "/statistics")) == {200}
    status, wait_s = house.ask("/statistics")
    assert (status, wait_s) == (429, 1)
    assert house.ask("/statistics", client="192.0.2.2") == (200, 0)
    house.clock.moment += timedelta(seconds=wait_s)
    assert house.ask("/statistics") == (200, 0)


def test_who_brings_the_token_is_never_held_up() -> None:
    house = House()
    assert set(statuses(house, 2 * ASKING.burst, "/statistics", **RIGHT)) == {200}


def test_guessing_the_token_is_slowed_while_the_right_one_is_taken() -> None:
    house = House()
    assert set(statuses(house, GUESSING.burst, "/api/v1/calls", **WRONG)) == {401}
    status, wait_s = house.ask("/api/v1/calls", **WRONG)
    assert (status, wait_s) == (429, 6)
    assert house.ask("/api/v1/calls", **RIGHT) == (200, 0)
    assert house.ask("/statistics") == (200, 0)
    house.clock.moment += timedelta(seconds=wait_s)
    assert house.ask("/api/v1/calls", **WRONG)[0] == 401


def test_guesses_at_the_door_count_as_well() -> None:
    house = House()
    assert set(statuses(house, GUESSING.burst, "/login", method="POST")) == {401}
    assert house.ask("/login", method="POST")[0] == 429
    assert house.ask("/login")[0] == 401, "the form itself is shown"


@pytest.mark.parametrize(
    ("client", "stands_for"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_an_address_stands_for_whoever_has_it(client: str, stands_for: str) -> None:
    assert network(client) == stands_for


def test_only_so_many_addresses_are_remembered_and_the_silent_ones_forgotten() -> None:
    meter = Meter(Rate(per_s=0.001, burst=1))
    for number in range(MOST_CLIENTS + 1):
        meter.count(f"client {number}", 0.0)
    assert meter.wait_s("client 0", 0.0) == 0.0
    assert meter.wait_s("client 1", 0.0) > 0.0
