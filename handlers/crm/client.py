"""One HTTP client for everything said to the CRM: deliveries, lookups, and the doctor's probes.

TLS is always verified, redirects are never followed, the token goes to the configured origins alone, and an answer is
read up to a bound in size and time. Errors leave here as ours.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from daemon.contract import Clock
from daemon.errors import NotSent, Unanswered
from handlers.crm.answer import Answer, masked

if TYPE_CHECKING:
    import httpx
    from tenacity import Retrying

BODY_CAP = 1 << 20
"""Bytes of an answer that are read; the promised ones have some hundred."""

_IDLE_S = 4.0
"""Seconds an unused connection is kept: shorter than the 5 s after which common servers (Node, uvicorn) hang up, so
that a request is not sent into a connection that is about to be closed."""

_REFUSED = (401, 403)

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class CrmClient:
    """Sends requests; safe to use from many threads. The connections are opened when first needed.

    ``token`` goes to the origins of the URLs ``for_token`` and nowhere else, and over plain http only on this machine
    or where the operator said ``allow_plaintext``. ``renewed`` reads it anew: asked once after each 401 or 403, and
    where it says something else, the request is sent once more.
    """

    def __init__(
        self,
        *,
        timeout: timedelta,
        connections: int,
        token: str | None,
        for_token: tuple[str, ...],
        allow_plaintext: bool,
        clock: Clock,
        renewed: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._timeout_s = timeout.total_seconds()
        self._timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)
        self._connections = connections
        self._headers = {"User-Agent": "callspool", "Accept": "application/json", "Accept-Encoding": "identity"}
        self._renewed = renewed
        self._origins = frozenset(origin_of(url) for url in for_token if _may_bear(url, allow_plaintext))
        self._token = token
        self._clock = clock
        self._client: httpx.Client | None = None
        self._opening = threading.Lock()

    def post_json(self, url: str, key: str, body: bytes) -> Answer:
        """POST a JSON body under an idempotency key."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key(key)}
        return self._retrying(self._send, "POST", url, headers, content=body)

    def post_file(self, url: str, key: str, name: str, content_type: str, file: IO[bytes]) -> Answer:
        """POST a form whose one part ``file`` is streamed out of ``file``, which can be sought and tell its length."""
        headers = {"Idempotency-Key": idempotency_key(key)}
        return self._retrying(self._send, "POST", url, headers, part=(name, file, content_type))

    def get(self, url: str) -> Answer:
        """GET, for lookups."""
        return self._retrying(self._send, "GET", url, {})

    def options(self, url: str) -> Answer:
        """OPTIONS, which creates nothing: for the doctor."""
        return self._send("OPTIONS", url, {})

    def close(self) -> None:
        """Close every connection."""
        with self._opening:
            if self._client is not None:
                self._client.close()
                self._client = None

    @functools.cached_property
    def _retrying(self) -> Retrying:
        """Only what surely was not sent, and only for the second in which a server restarts (0.2 s, then 0.6 s): the
        ledger has the patience for the rest.
        """
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_exponential

        return Retrying(
            retry=retry_if_exception_type(NotSent),
            stop=stop_after_attempt(3) | stop_after_delay(2),
            wait=wait_exponential(multiplier=0.2, exp_base=3),
            sleep=_pause,
            reraise=True,
        )

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        part: tuple[str, IO[bytes], str] | None = None,
    ) -> Answer:
        """One request, once; again where the token was refused and has been replaced meanwhile. Raises NotSent or
        Unanswered where no answer came."""
        token = self._token if origin_of(url) in self._origins else None
        answer = self._send_bearing(token, method, url, headers, content, part)
        if answer.status in _REFUSED and origin_of(url) in self._origins:
            fresh = self._renewed()
            if fresh and fresh != token:
                self._token = fresh
                return self._send_bearing(fresh, method, url, headers, content, part)
        return answer

    def _send_bearing(
        self,
        token: str | None,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        part: tuple[str, IO[bytes], str] | None,
    ) -> Answer:
        import httpx

        bearing = {"Authorization": f"Bearer {token}"} if token else {}
        client = self._client or self._open()
        request = httpx.Request(
            method,
            _parsed(url),
            headers={**self._headers, **bearing, **headers},
            content=content,
            files=None if part is None else {"file": part},
            extensions={"timeout": self._timeouts},
        )
        try:
            response = client.send(request, stream=True)
            try:
                return Answer(response.status_code, response.headers, self._read(response, token))
            finally:
                response.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise NotSent(_said("not reached", error)) from error
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise NotSent(_said("cannot be asked like this", error)) from error
        except httpx.TransportError as error:
            raise Unanswered(_said("sent, but not answered", error)) from error

    def _read(self, response: httpx.Response, token: str | None) -> str:
        """The body as text, up to ``BODY_CAP``. A body that takes longer than the timeout counts as none."""
        import httpx

        body, deadline = bytearray(), self._clock.monotonic() + self._timeout_s
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > BODY_CAP:
                    break
                if self._clock.monotonic() > deadline:
                    raise Unanswered("sent, but its answer did not end in time", http_status=response.status_code)
        except httpx.DecodingError:
            return ""
        text = body[:BODY_CAP].decode("utf-8", "replace")
        return text.replace(token, "…") if token else text  # whoever quotes it back, it goes no further

    def _open(self) -> httpx.Client:
        import httpx

        with self._opening:
            if self._client is None:
                # The environment's proxy and CA settings count, but what is on this machine is reached directly.
                self._client = httpx.Client(
                    limits=httpx.Limits(
                        max_connections=self._connections,
                        max_keepalive_connections=self._connections,
                        keepalive_expiry=_IDLE_S,
                    ),
                    mounts={f"all://{host if ':' not in host else f'[{host}]'}": None for host in _LOOPBACK},
                    follow_redirects=False,
                )
            return self._client


def _pause(seconds: float) -> None:
    """Sleep on a lock: time.sleep can fail under a clock that is set meanwhile."""
    threading.Event().wait(seconds)


def idempotency_key(effect_key: str) -> str:
    """The header's value: constant for an effect, and telling nothing of what is inside its key."""
    return hashlib.sha256(effect_key.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)


@functools.lru_cache(maxsize=16)
def _parsed(url: str) -> httpx.URL:
    import httpx

    return httpx.URL(url)


def _may_bear(url: str, allow_plaintext: bool) -> bool:
    scheme, host, _ = origin_of(url)
    return scheme == "https" or host in _LOOPBACK or allow_plaintext


def _said(what: str, error: Exception) -> str:
    """What the system said about it: an errno's text, never a host's."""
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
        cause = cause.__cause__ or cause.__context__
    detail = cause.strerror if isinstance(cause, OSError) and cause.strerror else ""
    name = {"ConnectTimeout": "no connection in time", "PoolTimeout": "no free connection"}.get(
        type(error).__name__, ""
    )
    return f"{what}: {masked(detail or name or type(error).__name__)}"
