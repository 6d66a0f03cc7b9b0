"""The routes of the machine itself, and the application that holds them and the rooms'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Form, Path, Query, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse

from daemon.contract import Clock, Json, Serving
from daemon.errors import CallspoolError, OperatorError, UnknownSubject
from daemon.health import Health
from daemon.serve.guard import COOKIE, SESSION_S, Guard, Rules, is_token, session

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/login"})
"""Served to loopback without a token; rooms add their totals."""

SIGN_IN = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>callspool</title>
<form method="post" action="/login"><label>Token <input type="password" name="token" autofocus required></label>
<button>Sign in</button></form></html>
"""

_ANYWHERE: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not of the kind it says it is."},
    401: {"description": "The token is missing or is another."},
    403: {"description": "A page of another origin asks, or nothing but totals is served here."},
    413: {"description": "The body is too long."},
    421: {"description": "Another host is asked for."},
    429: {"description": "Too often; Retry-After says when."},
    503: {"description": "Not now; the body says why."},
}
"""What the guard or the daemon may answer on every route."""

PAGE = 100
MOST = 1000
"""Entries of one answer."""

Limit = Annotated[int, Query(ge=1, le=MOST, description="Entries at most.")]
Subject = Annotated[str, Path(max_length=512)]


@dataclass(frozen=True, slots=True)
class Surface:
    """What the application asks of the daemon: each a question about this moment."""

    serving: Serving
    clock: Clock
    health: Callable[[], Health]
    status: Callable[[], Mapping[str, Any]]
    failures: Callable[[], Mapping[str, Any]]
    explain: Callable[[str], Mapping[str, Any]]
    jobs_named: Callable[[str], list[list[str]]]
    journal: Callable[[int, int], Sequence[Mapping[str, Any]]]
    metrics: Callable[[], bytes]


def application(surface: Surface, rules: Rules, routers: Sequence[APIRouter]) -> Guard:
    """The whole application behind its guard."""
    app = FastAPI(
        title="callspool",
        version=version("callspool"),
        description="What became of every call, and what a person may do about it.",
        responses=_ANYWHERE,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(_health(surface))
    app.include_router(_looking(surface))
    app.include_router(_acting(surface))
    app.include_router(_entering(surface, rules))
    for router in routers:
        app.include_router(router)

    @app.exception_handler(OperatorError)
    def refused(_request: object, error: OperatorError) -> JSONResponse:
        status = 404 if isinstance(error, UnknownSubject) else 409
        return JSONResponse({"error": str(error), "fix": error.fix}, status)

    @app.exception_handler(CallspoolError)
    def failed(_request: object, error: CallspoolError) -> JSONResponse:
        return JSONResponse({"error": str(error), "fix": "callspool status"}, 503)

    return Guard(app, rules, surface.clock)


def _health(surface: Surface) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> str:
        """The process answers."""
        return "ok\n"

    @router.get("/readyz", responses={503: {"description": "Something does not move; the body says what."}})
    def readyz() -> JSONResponse:
        """Scanned, watched, the ledger takes a write, deliveries move."""
        health = surface.health()
        problems = [{"subject": problem.subject, "reason": problem.reason} for problem in health.problems]
        return JSONResponse({"ready": health.ready, "problems": problems}, 200 if health.ready else 503)

    @router.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """For Prometheus."""
        return Response(surface.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "Nothing is called that."}}
_REFUSED: dict[int | str, dict[str, Any]] = {**_UNKNOWN, 409: {"description": "Not possible now; the body says why."}}


def _looking(surface: Surface) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["look"])

    @router.get("/status")
    def status() -> dict[str, Any]:
        """What ``callspool status --json`` prints."""
        return dict(surface.status())

    @router.get("/failures")
    def failures(limit: Limit = PAGE, offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0) -> dict[str, Any]:
        """What needs a person, each with the command that mends it."""
        found = dict(surface.failures())
        listed = found.pop("failures")
        return {**found, "total": len(listed), "failures": listed[offset : offset + limit]}

    @router.get("/calls/{subject}", responses=_UNKNOWN)
    def call(subject: Subject) -> dict[str, Any]:
        """The whole story of a call (c12, a callId) or a file."""
        return dict(surface.explain(subject))

    @router.get("/journal")
    def journal(after: Annotated[int, Query(ge=0, le=2**62)] = 0, limit: Limit = PAGE) -> dict[str, Any]:
        """The journal after an entry, oldest first."""
        entries = list(surface.journal(after, limit))
        return {"entries": entries, "after": entries[-1]["id"] if entries else after}

    return router


Text = Annotated[str, Body(embed=True, max_length=512)]
Why = Annotated[str, Body(embed=True, max_length=500)]


def _acting(surface: Surface) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["act"], responses=_REFUSED)

    def act(name: str, args: Mapping[str, Json]) -> Any:
        return surface.serving.act(name, dict(args))

    @router.post("/retry")
    def retry(subject: Text) -> Any:
        """Try again what waits for a person."""
        jobs: Json = [list(job) for job in surface.jobs_named(subject)]
        return act("retry", {"jobs": jobs, "all": False, "reason": ""})

    @router.post("/pause")
    def pause(what: Text = "all", why: Why = "") -> Any:
        """Begin nothing of this kind until resumed."""
        return act("pause", {"what": what, "why": why})

    @router.post("/resume")
    def resume(what: Text = "all", why: Why = "") -> Any:
        """Go on."""
        return act("resume", {"what": what, "why": why})

    @router.post("/scan")
    def scan() -> Any:
        """Look through every watched folder now."""
        return act("scan", {})

    return router


def _entering(surface: Surface, rules: Rules) -> APIRouter:
    router = APIRouter(tags=["session"], include_in_schema=False)

    @router.get("/login", response_class=HTMLResponse)
    def enter() -> str:
        """Where a browser gives the token: all that is shown from elsewhere before it did."""
        return SIGN_IN

    @router.post("/login")
    def login(token: Annotated[str, Form(max_length=4096)]) -> Response:
        """Give a browser a session for the token."""
        if not is_token(rules, token):
            return JSONResponse({"error": "that is not the token", "fix": "see http.token_file"}, 401)
        answer = RedirectResponse("/", 303)
        made = session(rules, surface.clock.now().timestamp())
        answer.set_cookie(COOKIE, made, max_age=SESSION_S, httponly=True, samesite="strict", path="/")
        return answer

    @router.post("/logout")
    def logout() -> Response:
        """End it."""
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, path="/")
        return answer

    return router
