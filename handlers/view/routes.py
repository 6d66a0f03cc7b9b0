"""The page over HTTP: itself, its style and script, live news, a recording's bytes, and the acts of its buttons.

The guard in front has checked Host, Origin, size, and token or session of everything but the page itself, its style and
its script; those are open, and the page shows totals alone to who is not known.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cache
from importlib.metadata import version as installed_version
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from daemon.contract import Contents, Json, Reader, Serving
from daemon.errors import OperatorError, UnknownSubject
from handlers import records
from handlers.view import links, page
from handlers.view.page import Hours, Model
from handlers.view.sound import Holds, Nowhere, begins, sound

PLAYED = "recording.play"
ENTERED = "callspool.entered"
"""Where the guard says that a request carries the token or a session."""

FRESH_S = 5.0
"""Hours are counted anew when older than this, beside the request that noticed."""

FIRST_S = 0.1
"""How long a page waits for hours that nobody has counted yet."""

NEWS_S = 1.0
"""Pause between two looks at the journal."""

STREAMS, STREAM_S = 20, 300.0
"""Live streams at once, and how long each lasts: a browser comes back by itself."""

LONGEST = 200
"""Characters of a form's field."""

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser's forms say "Origin: null", and are refused
    "Cache-Control": "no-store",
}

ACTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "retry": ("retry", ("reason",)),
    "accept": ("match.accept", ("call", "recording")),
    "reject": ("match.reject", ("call", "recording")),
    "pause": ("pause", ("what",)),
    "resume": ("resume", ("what",)),
    "scan": ("scan", ()),
}
"""What a button may do: the act, and which fields of the form are its arguments."""


@dataclass(frozen=True, slots=True)
class Front:
    """What the page is given. ``state`` is the folder whose disk's free space is told; ``report`` and ``by_day`` are
    the collection's own answers, ``zone`` that of its days, ``holds`` tells
    what storage has of a recording."""

    serving: Serving
    contents: Contents
    state: str
    report: Callable[[Reader], Mapping[str, Any]]
    by_day: Callable[[Reader, datetime], Mapping[str, float]]
    zone: tzinfo | None
    holds: Holds


class HoursKept:
    """The hours, counted beside the requests: a page never waits for a million rows to be summed."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._known: Hours | None = None
        self._at_s = 0.0
        self._changed = threading.Condition()
        self._counting = False

    def now(self) -> Hours | None:
        """What is known, and counting anew has begun where that is old; None where nothing was counted in time."""
        with self._changed:
            if not self._counting and (self._known is None or time.monotonic() - self._at_s > FRESH_S):
                self._counting = True
                threading.Thread(target=self._count, name="hours", daemon=True).start()
            if self._known is None:
                self._changed.wait(FIRST_S)
            return self._known

    def _count(self) -> None:
        try:
            with self._front.serving.view() as read:
                counted = page.hours_now(read, self._front.report, self._front.by_day, self._front.zone)
            with self._changed:
                self._known = counted
        finally:
            with self._changed:
                self._at_s, self._counting = time.monotonic(), False
                self._changed.notify_all()


def model(front: Front, hours: Hours | None, *, entered: bool) -> Model:
    """What the page says to this visitor."""
    version = installed_version("callspool")
    with front.serving.view() as read:
        if not entered:
            return Model(read.now, version, signed_in=False, hours=hours)
        free = shutil.disk_usage(front.state).free if os.path.isdir(front.state) else None
        return page.gather(read, version=version, hours=hours, free_bytes=free)


def router(front: Front) -> APIRouter:
    """The routes."""
    routes = APIRouter(include_in_schema=False)
    kept = HoursKept(front)
    _living(routes, front)
    threading.Thread(target=page.prepare, name="page", daemon=True).start()

    @routes.get("/")
    def show(request: Request) -> Response:
        entered = bool(request.scope.get(ENTERED))
        said = request.query_params.get("said", "")[:LONGEST] if entered else ""
        return HTMLResponse(page.render(model(front, kept.now(), entered=entered), said=said), headers=HEADERS)

    @routes.get("/page.css")
    def style() -> Response:
        return Response(_static("page.css"), media_type="text/css", headers=HEADERS)

    @routes.get("/page.js")
    def script() -> Response:
        return Response(_static("page.js"), media_type="text/javascript", headers=HEADERS)

    @routes.post("/do/{name}")
    async def do(name: str, request: Request) -> Response:
        form = {key: value for key, value in (await request.form()).items() if isinstance(value, str)}
        if name not in ACTS:
            return Response("not found\n", 404, headers=HEADERS)
        said = await asyncio.to_thread(act, front, name, form)
        return RedirectResponse(f"/?{urlencode({'said': said})}", 303, headers=HEADERS)

    return routes


def _living(routes: APIRouter, front: Front) -> None:
    """What streams: recordings, and the journal's news."""
    streams = threading.BoundedSemaphore(STREAMS)

    @routes.get("/recordings/r{number}")
    def play(number: int, request: Request) -> Response:
        return heard(front, number, request, None)

    @routes.get("/r/{link}")
    def linked(link: str, request: Request) -> Response:
        with front.serving.view() as read:
            known = records.link_of(read, links.digest(link))
            holds = known is not None and known.holds(read.now)
        if known is None or not holds:
            return Response("this link is not known, or works no more\n", 404, headers=HEADERS)
        if not known.anyone and not request.scope.get(ENTERED):
            return Response("this link needs the token as well: sign in at /login\n", 401, headers=HEADERS)
        return heard(front, known.recording_id, request, known.id)

    @routes.get("/events")
    def live() -> Response:
        if not streams.acquire(blocking=False):
            return Response("too many live pages are open\n", 503, headers=HEADERS)
        return StreamingResponse(_news(front, streams.release), media_type="text/event-stream", headers=HEADERS)


def heard(front: Front, number: int, request: Request, link: int | None) -> Response:
    """A recording's bytes from wherever they lie; who begins to hear it is put into the journal."""
    try:
        with front.serving.view() as read:
            answer = sound(read, front.contents, front.holds, number, request.headers)
        if begins(request.headers):
            front.serving.act(PLAYED, {"recording": number} | ({} if link is None else {"link": link}))
    except (Nowhere, UnknownSubject):
        return Response("nothing holds this recording any more\n", 404, headers=HEADERS)
    answer.headers.update(HEADERS)
    return answer


def act(front: Front, name: str, form: Mapping[str, str]) -> str:
    """Do what a button says; returns what to tell whoever pressed it."""
    known, fields = ACTS[name]
    args: dict[str, Json] = {field: form.get(field, "")[:LONGEST] for field in fields}
    if name == "retry":
        args |= {"jobs": [], "all": False}
    try:
        answer: Any = front.serving.act(known, args)
    except OperatorError as error:
        return f"{error}. {error.fix}"
    count = f" ({len(answer['retried']):,})" if name == "retry" and isinstance(answer, Mapping) else ""
    return f"Done: {name}{count}."


async def _news(front: Front, done: Callable[[], None]) -> AsyncIterator[str]:
    """The journal's number whenever it has grown, and a comment when not, so that a reader who left is noticed."""
    ends_s, last = time.monotonic() + STREAM_S, -1
    try:
        while time.monotonic() < ends_s:
            number = await asyncio.to_thread(_number, front)
            if last >= 0 and number != last:
                yield f"event: journal\ndata: {json.dumps({'last': number})}\n\n"
            else:
                yield ": nothing new\n\n"
            last = number
            await asyncio.sleep(NEWS_S)
    finally:
        done()


def _number(front: Front) -> int:
    with front.serving.view() as read:
        return records.journal_number(read)


@cache
def _static(name: str) -> bytes:
    return (files("handlers.view") / "static" / name).read_bytes()
