"""The page over HTTP: itself, its style and script, live news, a recording's bytes, and the acts of its buttons.

Whoever serves it has already checked Host, Origin and size; here it is only asked whether this request may see what is
somebody's (``signed_in``), and every form is refused that does not carry the session's ``csrf``.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from daemon.contract import Fields, Json, Reader
from daemon.errors import OperatorError
from handlers import records
from handlers.view import page
from handlers.view.page import Hours, Model

if TYPE_CHECKING:
    from fastapi import APIRouter, Request, Response

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
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

ACTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "retry": ("retry", ("reason",)),
    "accept": ("match.accept", ("call", "recording")),
    "reject": ("match.reject", ("call", "recording")),
    "pause": ("pause", ("what",)),
    "resume": ("resume", ("what",)),
}
"""What a button may do: the act, and which fields of the form are its arguments."""


@dataclass(frozen=True, slots=True)
class Front:
    """What the page is given. ``csrf`` is the session's own, "" where there is none; ``act`` raises OperatorError;
    ``state`` is the folder whose disk's free space is told."""

    version: str
    state: str
    view: Callable[[], AbstractContextManager[Reader]]
    act: Callable[[str, Fields], Json]
    report: Callable[[Reader], Mapping[str, Any]]
    by_day: Callable[[Reader, datetime], Mapping[str, float]]
    signed_in: Callable[[Request], bool]
    csrf: Callable[[Request], str]


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
            with self._front.view() as read:
                counted = page.hours_now(read, self._front.report, self._front.by_day)
            with self._changed:
                self._known = counted
        finally:
            with self._changed:
                self._at_s, self._counting = time.monotonic(), False
                self._changed.notify_all()


def model(front: Front, hours: Hours | None, *, signed_in: bool) -> Model:
    """What the page says to this visitor."""
    with front.view() as read:
        if not signed_in:
            return Model(read.now, front.version, signed_in=False, hours=hours)
        free = shutil.disk_usage(front.state).free
        return page.gather(read, version=front.version, hours=hours, free_bytes=free)


def router(front: Front) -> APIRouter:
    """The routes."""
    from fastapi import APIRouter
    from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

    routes = APIRouter(include_in_schema=False)
    kept = HoursKept(front)
    streams = threading.BoundedSemaphore(STREAMS)

    @routes.get("/")
    def show(request: Request) -> Response:
        signed_in = front.signed_in(request)
        found = model(front, kept.now(), signed_in=signed_in)
        said = request.query_params.get("said", "")[:LONGEST] if signed_in else ""
        csrf = front.csrf(request) if signed_in else ""
        return HTMLResponse(page.render(found, csrf=csrf, said=said), headers=HEADERS)

    @routes.get("/page.css")
    def style() -> Response:
        return Response(_static("page.css"), media_type="text/css", headers=HEADERS)

    @routes.get("/page.js")
    def script() -> Response:
        return Response(_static("page.js"), media_type="text/javascript", headers=HEADERS)

    @routes.post("/do/{name}")
    async def do(name: str, request: Request) -> Response:
        form = {key: value for key, value in (await request.form()).items() if isinstance(value, str)}
        if not front.signed_in(request) or name not in ACTS:
            return Response("not found\n", 404, headers=HEADERS)
        if not secrets.compare_digest(form.get("csrf", "").encode(), front.csrf(request).encode()):
            return Response("this form is older than the session: load the page again\n", 403, headers=HEADERS)
        said = await asyncio.to_thread(act, front, name, form)
        return RedirectResponse(f"/?{_query(said)}", 303, headers=HEADERS)

    @routes.get("/events")
    def live(request: Request) -> Response:
        if not front.signed_in(request):
            return Response("not found\n", 404, headers=HEADERS)
        if not streams.acquire(blocking=False):
            return Response("too many live pages are open\n", 503, headers=HEADERS)
        return StreamingResponse(_news(front, streams.release), media_type="text/event-stream", headers=HEADERS)

    return routes


def act(front: Front, name: str, form: Mapping[str, str]) -> str:
    """Do what a button says; returns what to tell whoever pressed it."""
    known, fields = ACTS[name]
    args: dict[str, Json] = {field: form.get(field, "")[:LONGEST] for field in fields}
    if name == "retry":
        args |= {"jobs": [], "all": False}
    try:
        answer: Any = front.act(known, args)
    except OperatorError as error:
        return f"{error}. {error.fix}"
    count = f" ({len(answer['retried']):,})" if name == "retry" and isinstance(answer, Mapping) else ""
    return f"Done: {name}{count}."


async def _news(front: Front, done: Callable[[], None]) -> AsyncIterator[str]:
    """The journal's number whenever it has grown, and a comment when not, so that a reader who left is noticed."""
    ends_s, last = time.monotonic() + STREAM_S, -1
    try:
        while time.monotonic() < ends_s:
            number = await asyncio.to_thread(partial(_number, front))
            if last >= 0 and number != last:
                yield f"event: journal\ndata: {json.dumps({'last': number})}\n\n"
            else:
                yield ": nothing new\n\n"
            last = number
            await asyncio.sleep(NEWS_S)
    finally:
        done()


def _number(front: Front) -> int:
    with front.view() as read:
        return records.journal_number(read)


def _query(said: str) -> str:
    from urllib.parse import urlencode

    return urlencode({"said": said})


@cache
def _static(name: str) -> bytes:
    return (files("handlers.view") / "static" / name).read_bytes()
