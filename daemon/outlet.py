"""Puts a working daemon on HTTP: asks its parts, and hands ``serve`` what it needs. Knows both, as ``app`` does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.contract import Clock, Event, Fields, Json, Reader
from daemon.health import Health
from daemon.ledger import story
from daemon.told import explain_of, failures_of, status_of

if TYPE_CHECKING:
    from daemon.house import House

OFF = "off"


@dataclass(frozen=True, slots=True)
class Live:
    """What routes may use: views of the ledger, and a person's commands."""

    views: Callable[[], AbstractContextManager[Reader]]
    do: Callable[[str, Fields], Json]

    def view(self) -> AbstractContextManager[Reader]:
        """A view of the ledger."""
        return self.views()

    def act(self, name: str, args: Fields) -> Json:
        """Have a command done."""
        return self.do(name, args)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the routes ask of the working daemon: its token and its health."""

    live: Live
    token: str | None
    health: Callable[[], Health]


class Outlet:
    """The daemon on HTTP. ``renew`` has it answer by a new configuration from the next request on."""

    def __init__(self, house: House, asked: Asked, host: str, port: int) -> None:
        from daemon.serve.server import Server

        self._asked, self._host = asked, host
        self._server = Server(host, port)
        self.port = self._server.port
        self.renew(house)
        self._server.start(self._answer)

    def renew(self, house: House) -> None:
        """Answer by this house."""
        self._application = _application(house, self._asked, self._host, self.port)

    def close(self) -> None:
        """Answer nothing more."""
        self._server.close()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self._application(scope, receive, send)


def serve(house: House, asked: Asked, *, on_event: Callable[[Event], None]) -> Outlet | None:
    """Listen. An address that cannot be had is told and costs nothing else: calls matter more than pages."""
    listen = house.config.http.listen
    if listen == OFF:
        return None
    host, _, port = listen.rpartition(":")
    try:
        outlet = Outlet(house, asked, host, int(port))
    except OSError as error:
        reason = f"{listen}: {error.strerror or type(error).__name__}"
        on_event(Event("http.failed", {"reason": reason, "fix": "set http.listen to a free address, or off"}, "error"))
        return None
    on_event(Event("http.opened", {"reason": f"{host}:{outlet.port}"}))
    return outlet


def _application(house: House, given: Asked, host: str, port: int) -> Any:
    from daemon.serve.api import OPEN_PATHS, Surface, application
    from daemon.serve.guard import Rules
    from daemon.serve.metrics import exposition

    live, health = given.live, given.health

    clock: Clock = house.clock

    def asked(ask: Callable[[Reader], Any]) -> Any:
        with live.view() as read:
            return ask(read)

    def measured() -> bytes:
        healthy = health()  # before the view: it looks by views of its own
        return bytes(asked(lambda read: exposition(read, metrics, healthy)))

    metrics = [room.metrics for room in house.rooms if room.metrics is not None]
    surface = Surface(
        serving=live,
        clock=clock,
        health=health,
        status=lambda: asked(lambda read: status_of(house, read)),
        failures=lambda: asked(lambda read: failures_of(house, read)),
        explain=lambda subject: asked(lambda read: explain_of(house, read, subject)),
        jobs_named=house.jobs_named,
        journal=lambda after, limit: asked(lambda read: story.journal_page(read, after, limit)),
        metrics=measured,
    )
    opened = OPEN_PATHS | {path for room in house.rooms for path in room.open_paths}
    big = frozenset(path for room in house.rooms for path in room.big_paths)
    judged = tuple(path for room in house.rooms for path in room.judged_paths)
    routers = [room.routes(live) for room in house.rooms if room.routes is not None]
    return application(surface, Rules(host, port, given.token, frozenset(opened), big, judged), routers)
