"""S3-compatible services on loopback: moto in this process, and what stands before it to make it awkward."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from handlers.settings import StorageSettings
from handlers.storage.kept import Kept
from handlers.storage.pace import Hours
from handlers.storage.s3 import S3Store
from handlers.storage.service import Credentials, s3_of
from tests.support.watching import RealClock

ACCESS_KEY, SECRET_KEY, BUCKET = "AKTESTKEY", "SKTESTSECRET", "calls"


@contextmanager
def moto() -> Iterator[str]:
    """A service with an empty bucket; yields its URL."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        http_post(f"{host}:{port}", "/moto-api/reset")
        make_bucket(url)
        yield url
    finally:
        server.stop()


def http_post(host: str, path: str) -> None:
    """One request without a body."""
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("POST", path)
    connection.getresponse().read()
    connection.close()


def keys_of(url: str) -> tuple[str, str, str]:
    """The service's address and keys: its own where the URL names them (http://key:secret@…), else those of tests."""
    parts = urlsplit(url)
    if parts.username is None or parts.password is None:
        return url, ACCESS_KEY, SECRET_KEY
    return f"{parts.scheme}://{parts.hostname}:{parts.port}", unquote(parts.username), unquote(parts.password)


def client(url: str) -> Any:
    """boto3's own client, for tests to look with."""
    import boto3

    address, key, secret = keys_of(url)
    return boto3.session.Session(key, secret, region_name="us-east-1").client("s3", endpoint_url=address)


def make_bucket(url: str) -> None:
    """Make the bucket."""
    with closing(client(url)) as held:
        held.create_bucket(Bucket=BUCKET)


def storage_settings(url: str, **s3: Any) -> StorageSettings:
    """Settings for the service behind ``url``, with the smallest parts."""
    own = {"bucket": BUCKET, "endpoint_url": keys_of(url)[0], "part_size": 5 * 2**20, "timeout": "5s", **s3}
    return StorageSettings.model_validate({"backend": "s3", "s3": own})


def s3_store(url: str, kept: Kept | None = None, **s3: Any) -> S3Store:
    """The store itself."""
    settings = storage_settings(url, **s3)
    found = s3_of(settings, Credentials(*keys_of(url)[1:]), kept or Kept(), Hours((), None), RealClock())
    assert found is not None
    return found


@dataclass
class Request:
    """One request as a proxy saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Awkward:
    """What stands before a service. ``answer`` may answer in its place, ``change`` change its answer's headers; ``cut``
    names requests whose connection is cut after half of the body, ``flip`` those in which a byte changes on the way."""

    upstream: str
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], tuple[int, dict[str, str], bytes] | None] = lambda request: None
    change: Callable[[Request, dict[str, str]], None] = lambda request, headers: None
    drop_headers: tuple[str, ...] = ()
    cut: Callable[[Request], bool] = lambda request: False
    flip: Callable[[Request], bool] = lambda request: False
    url: str = ""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: Any) -> None:
        """Whoever asked is gone: killed, as tests do."""


@contextmanager
def awkward(upstream: str) -> Iterator[Awkward]:
    """A proxy on loopback that forwards what it is not told to spoil."""
    told = Awkward(upstream)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, b"")
            if told.cut(request):
                self.rfile.read(length // 2)
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(2)
                return
            request.body = self.rfile.read(length)
            told.requests.append(request)
            own = told.answer(request)
            status, headers, body = own if own is not None else self.ask(request)
            told.change(request, headers)
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if self.command != "HEAD" or "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def ask(self, request: Request) -> tuple[int, dict[str, str], bytes]:
            body = request.body
            if told.flip(request):
                body = bytes([body[0] ^ 1]) + body[1:]
            headers = {k: v for k, v in request.headers.items() if k not in (*told.drop_headers, "expect")}
            with closing(http.client.HTTPConnection(told.upstream.removeprefix("http://"), timeout=30)) as connection:
                connection.request(request.method, request.path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
            own = () if request.method == "HEAD" else ("content-length",)
            hop = ("transfer-encoding", "connection", "date", "server", *own)
            found = {k: v for k, v in answer.getheaders() if k.lower() not in hop}
            return answer.status, found, data

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward  # noqa: N815 - the names http.server calls

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
