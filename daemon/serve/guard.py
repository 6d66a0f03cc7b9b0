"""Who may ask what over HTTP. In front of every route, so that no route can forget it.

A page elsewhere must not reach a daemon on loopback: ``Host`` names this daemon, ``Origin``, where a browser sends one,
is this daemon's own. What a proxy forwards is from outside, wherever the proxy runs: it needs the token. Health,
metrics and totals are open to loopback; all else needs the token, as ``Authorization: Bearer``, or a browser's session,
a cookie that only a request of this very origin carries. Without a token configured nothing else is served.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from daemon.contract import Clock
from daemon.outward import is_loopback
from daemon.serve.rate import ASKING, GUESSING, Meter

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ENTERED = "callspool.entered"
"""In a request's scope, for routes that are open and show more to who is known."""

COOKIE = "callspool_session"
SESSION_S = 12 * 3600
"""A working day."""

BODY_LIMIT = 1 << 20
"""Bytes of a request's body, but where a route takes files."""

FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
LOGIN = "/login"
ANYWHERE = frozenset({"/healthz", "/readyz", LOGIN})
"""Served without a token whatever address is listened on: they tell nothing of calls."""

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: the status, and words for whoever sent it."""

    status: int
    reason: str
    fix: str = ""
    wait_s: float = 0.0
    """Seconds until asking again makes sense."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the guard knows. ``host`` and ``port`` are those listened on; ``open_paths`` are served without a token."""

    host: str
    port: int
    token: str | None
    open_paths: frozenset[str]
    big_paths: frozenset[str] = frozenset()
    """Paths whose routes take files and limit them by themselves."""
    judged_paths: tuple[str, ...] = ()
    """Beginnings of paths whose routes judge by themselves who may look."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the guard looks at, header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


def judge(rules: Rules, request: Request, now_s: float) -> Refusal | None:
    """Whether a request is let through; None is yes."""
    if not _names_us(rules, request.headers.get("host", "")):
        return Refusal(421, "this Host is not served here", "ask for the address the daemon listens on")
    origin = request.headers.get("origin")
    if origin is not None and not _own_origin(rules, origin):
        return Refusal(403, "a page of another origin may not ask here")
    bearer = _has_token(rules, request.headers)
    if bearer:
        return None
    session = has_session(rules, request.headers, now_s)
    if rules.token is not None and request.method in SAFE and request.path.startswith(rules.judged_paths or "\0"):
        return None
    if any(name in request.headers for name in FORWARDED) and not session:
        return Refusal(401, "a forwarded request needs the token", "Authorization: Bearer TOKEN")
    if request.path in ANYWHERE or (request.path in rules.open_paths and is_loopback(rules.host)):
        return None
    if rules.token is None:
        return Refusal(403, "no token is configured: only health, metrics and totals are served", "set http.token_file")
    if not session:
        return Refusal(401, "this needs the token", "Authorization: Bearer TOKEN, or log in at /login")
    if request.method not in SAFE and origin is None:
        return Refusal(403, "a change by a browser's session needs the Origin header")
    return None


def entered(rules: Rules, request: Request, now_s: float) -> bool:
    """Whether a request that was let through carries the token or a session, so may see what is somebody's."""
    return _has_token(rules, request.headers) or has_session(rules, request.headers, now_s)


def session(rules: Rules, now_s: float) -> str:
    """A new browser's session: when it ends, and the proof that we made it."""
    assert rules.token is not None
    ends = f"{int(now_s) + SESSION_S}.{secrets.token_hex(8)}"
    return f"{ends}.{_proof(rules.token, ends)}"


def has_session(rules: Rules, headers: dict[str, str], now_s: float) -> bool:
    """Whether a request carries a session of ours that has not ended."""
    if rules.token is None:
        return False
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    if cookie is None:
        return False
    ends, _, proof = cookie.value.rpartition(".")
    if not hmac.compare_digest(proof.encode(), _proof(rules.token, ends).encode()):
        return False
    until = ends.partition(".")[0]
    return until.isdigit() and now_s < int(until)


def is_token(rules: Rules, given: str) -> bool:
    """Whether this is the token, compared in constant time."""
    return rules.token is not None and hmac.compare_digest(given.encode(), rules.token.encode())


def _proof(token: str, ends: str) -> str:
    return hmac.new(token.encode(), f"session:{ends}".encode(), hashlib.sha256).hexdigest()


def _has_token(rules: Rules, headers: dict[str, str]) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and is_token(rules, given.strip())


def _names_us(rules: Rules, host: str) -> bool:
    name, port = _split(host)
    if port not in (None, rules.port):
        return False
    return name in LOCAL_NAMES or name == rules.host.lower() or (not is_loopback(rules.host.strip("[]")) and bool(name))


def _own_origin(rules: Rules, origin: str) -> bool:
    scheme, separator, rest = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and _names_us(rules, rest) and _split(rest)[0] != ""


def _split(host: str) -> tuple[str, int | None]:
    """Name and port of a Host header."""
    name, colon, port = host.strip().lower().rpartition(":")
    if not colon or port.endswith("]") or not port.isdigit():
        return host.strip().lower(), None
    return name, int(port)


class Guard:
    """The rules as ASGI middleware; it also bounds bodies and sets the headers every answer has."""

    def __init__(self, app: App, rules: Rules, clock: Clock) -> None:
        self._app, self._rules, self._clock = app, rules, clock
        self._asked, self._guessed = Meter(ASKING), Meter(GUESSING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or pass the request on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(scope["method"], scope["path"], headers)
        now_s = self._clock.now().timestamp()
        known = entered(self._rules, request, now_s)
        client = (scope.get("client") or ("", 0))[0]
        refusal = judge(self._rules, request, now_s)
        if not known:
            refusal = self._too_often(client, request, refusal) or refusal
        limit = None if request.path in self._rules.big_paths else BODY_LIMIT
        length = headers.get("content-length", "0")
        if refusal is None and limit is not None and (not length.isdigit() or int(length) > limit):
            refusal = Refusal(413, f"a body of at most {limit} bytes")
        if refusal is not None:
            await _refuse(refusal, send)
            return
        scope[ENTERED] = known
        watched = self._counting_guesses(client, send) if request.path == LOGIN else send
        await self._app(scope, _bounded(receive, limit), _dressed(watched))

    def _too_often(self, client: str, request: Request, refusal: Refusal | None) -> Refusal | None:
        """The refusal of a client without the token that asks, or guesses, too often."""
        now_s = self._clock.monotonic()
        guesses = _offers_token(request)
        wait_s = max(self._asked.wait_s(client, now_s), self._guessed.wait_s(client, now_s) if guesses else 0.0)
        if wait_s > 0:
            return Refusal(429, "asked too often", "wait as long as Retry-After says", wait_s)
        self._asked.count(client, now_s)
        if guesses and refusal is not None and refusal.status == 401:
            self._guessed.count(client, now_s)
        return None

    def _counting_guesses(self, client: str, send: Send) -> Send:
        """``send`` that notices an answer by which a token was refused at the door."""

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                self._guessed.count(client, self._clock.monotonic())
            await send(message)

        return counting


def _offers_token(request: Request) -> bool:
    """Whether a request tries to get in: by a header, or at the door."""
    return "authorization" in request.headers or (request.path == LOGIN and request.method not in SAFE)


def _bounded(receive: Receive, limit: int | None) -> Receive:
    """``receive`` that ends a body which is longer than it said."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        if limit is not None and message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                return {"type": "http.disconnect"}
        return message

    return bounded


_DRESS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # else a form of ours would send Origin: null
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"),
)


def _dressed(send: Send) -> Send:
    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in _DRESS if pair[0] not in known)]
        await send(message)

    return dressed


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"error": refusal.reason, "fix": refusal.fix}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.wait_s:
        headers.append((b"retry-after", str(math.ceil(refusal.wait_s)).encode()))
    await _dressed(send)({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
