"""HTTP for the loopback CRM: the listening socket, the connections, the form that carries a recording."""

from __future__ import annotations

import functools
import hashlib
import http.client
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, Literal, cast
from urllib.parse import unquote

from handlers.demo.crm_books import Answer, Books, Request
from handlers.demo.faults import Fault

_CHUNK = 256 * 1024


class Crm(Books):
    """The CRM as its connections see it: what it knows, where it is posted to, and how it is commanded."""

    upload_path: str
    calls_path: str

    def control(self, command: Mapping[str, Any]) -> None:
        """Do what another process commands."""
        raise NotImplementedError


class _Malformed(Exception):
    """The request is not what the formats promise; the text goes back in a 400."""


class CrmServer(ThreadingHTTPServer):
    """The listening socket, a thread for each connection, and the connections themselves, to cut them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], crm: Crm) -> None:
        super().__init__(address, _Handler)
        self.crm = crm
        self.open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in tuple(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # closed by the other side meanwhile
                continue

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the game; anything else is a defect to be seen."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept alive over many requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 64 * 1024
    server: CrmServer

    def parse_request(self) -> bool:
        self.began, self.began_mono = time.time(), time.monotonic()
        return super().parse_request()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Nothing is printed."""

    def do_POST(self) -> None:
        crm = self.server.crm
        if self.path == "/_control":
            crm.control(json.loads(self._rest()))
            self._say(200, {"success": True})
        elif self.path == crm.upload_path:
            self._serve("upload")
        elif self.path == crm.calls_path:
            self._serve("call")
        else:
            self._rest()
            self._say(404, {"success": False, "message": "no such endpoint"})

    def do_GET(self) -> None:
        if self.path == "/_control":
            self._say(200, self.server.crm.state())
        elif self.path.startswith(self.server.crm.calls_path + "/"):
            self._serve("lookup")
        else:
            self._say(404, {"success": False, "message": "no such page"})

    def do_OPTIONS(self) -> None:
        self._serve("probe")

    def _serve(self, step: Literal["upload", "call", "lookup", "probe"]) -> None:
        crm, key = self.server.crm, self.headers.get("Idempotency-Key")
        request, fault = crm.began(step, key, self.began, self.began_mono)
        answer: Answer | None = None
        call_id = ""
        try:
            deliver, call_id = self._receive(step, key)
        except _Malformed as error:
            self.close_connection = True
            answer = Answer(400, {"success": False, "message": str(error)})
        else:
            if crm.token is not None and self.headers.get("Authorization") != f"Bearer {crm.token}":
                answer = Answer(401, {"success": False, "message": "who are you?"})
            elif fault is None or fault.accept:
                answer = deliver(request)
        self._finish(request, answer, fault, call_id)

    def _receive(
        self, step: Literal["upload", "call", "lookup", "probe"], key: str | None
    ) -> tuple[Callable[[Request], Answer], str]:
        """Read the request whole; returns what taking it in would do, and the callId it bears."""
        crm = self.server.crm
        if step == "upload":
            name, size, sha256 = _read_file(self.headers, cast("BinaryIO", self.rfile))
            return functools.partial(crm.accept_upload, name, size, sha256, key), ""
        if step == "call":
            body = _call_body(self._rest())
            return functools.partial(crm.accept_call, body, key), body["callDetails"]["callId"]
        if step == "lookup":
            return lambda _: self._look_up(), ""
        return lambda _: Answer(204, {}), ""

    def _finish(self, request: Request, answer: Answer | None, fault: Fault | None, call_id: str) -> None:
        crm = self.server.crm
        if fault is None:
            assert answer is not None
            crm.ended(request, answer.status)
            self._say(answer.status, answer.document)
        elif fault.then == "reset":
            crm.ended(request, 0)
            self._reset()
        elif fault.then == "hang":
            crm.released.wait()
            crm.ended(request, 0)
            self._reset()
        else:
            status, text = _spoilt(answer, fault, call_id)
            crm.ended(request, status)
            pause_s = fault.pause_s if fault.then == "drip" else 0.0
            self._write(status, text.encode(), fault.content_type, fault.headers, pause_s)

    def _look_up(self) -> Answer:
        call = self.server.crm.calls.get(unquote(self.path.rpartition("/")[2]))
        if call is None:
            return Answer(404, {"success": False, "message": "no such call"})
        return Answer(200, {"success": True, "data": call.bodies[-1]})

    def _rest(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _say(self, status: int, document: Mapping[str, Any]) -> None:
        self._write(status, b"" if status == HTTPStatus.NO_CONTENT else json.dumps(document).encode())

    def _write(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        pause_s: float = 0.0,
    ) -> None:
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Odd')}", f"Content-Type: {content_type}"]
        if status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if self.close_connection:
            lines.append("Connection: close")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if not pause_s:
            self.wfile.write(head + body)
            return
        self.wfile.write(head)
        for place in range(len(body)):
            self.wfile.write(body[place : place + 1])
            if self.server.crm.released.wait(pause_s):
                break

    def _reset(self) -> None:
        """Cut the connection so hard that the client sees a reset, not an end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()


def _spoilt(answer: Answer | None, fault: Fault, call_id: str) -> tuple[int, str]:
    """Status and text of the answer that ``fault`` makes of ``answer``."""
    if fault.body is not None:
        return fault.status or 200, fault.body.replace("{callId}", call_id)
    answer = answer or Answer(200, {"success": True})
    document = dict(answer.document)
    if fault.data:
        changed = {**document.get("data", {}), **fault.data}
        document["data"] = {name: value for name, value in changed.items() if value is not None}
    return fault.status or answer.status, json.dumps(document)


def _call_body(text: bytes) -> dict[str, Any]:
    try:
        body = json.loads(text)
        if not isinstance(body["callDetails"]["callId"], str):
            raise _Malformed("callDetails.callId is not a text")
    except (ValueError, KeyError, TypeError) as error:
        raise _Malformed(f"call data is not what was promised: {type(error).__name__}") from error
    return cast("dict[str, Any]", body)


def _read_file(headers: Any, stream: BinaryIO) -> tuple[str, int, str]:
    """Name, size and SHA-256 of the one part ``file`` of a form, hashed as it comes and never held.

    With one part and a known length the content ends where the closing boundary must stand; whatever else stands in
    the form is refused (RFC 7578, RFC 2046 section 5.1.1).
    """
    length, boundary = int(headers.get("Content-Length", 0)), headers.get_boundary()
    opening, closing = f"--{boundary}\r\n".encode(), f"\r\n--{boundary}--\r\n".encode()
    body = _Limited(stream, length)
    if headers.get_content_type() != "multipart/form-data" or body.readline(256) != opening:
        raise _Malformed("not multipart/form-data, or its first boundary is missing")
    part = http.client.parse_headers(cast("Any", body))
    name = part.get_filename()
    if part.get_param("name", header="content-disposition") != "file" or name is None:
        raise _Malformed("the part is not a file called 'file'")
    digest, size = hashlib.sha256(), body.left - len(closing)
    boundaries, tail, left, buffer = closing[:-4], b"", size, memoryview(bytearray(_CHUNK))
    while left > 0:
        count = body.readinto(buffer[: min(left, _CHUNK)])
        if not count:
            raise ConnectionResetError("the form ended early")
        chunk = bytes(buffer[:count])
        if boundaries in chunk or boundaries in tail + chunk[: len(boundaries)]:
            raise _Malformed("more than one part")
        tail = chunk[-len(boundaries) :]
        digest.update(chunk)
        left -= count
    if body.readline(len(closing)) + body.readline(len(closing)) != closing:
        raise _Malformed("its last boundary is missing")
    return name.encode("latin-1").decode("utf-8"), size, digest.hexdigest()


class _Limited:
    """The request's body: the connection's stream, which must not be read past ``left`` bytes."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream, self.left = stream, left

    def readline(self, limit: int = -1) -> bytes:
        line = self._stream.readline(self.left if limit < 0 else min(limit, self.left))
        self.left -= len(line)
        return line

    def readinto(self, buffer: memoryview) -> int:
        count: int = cast("Any", self._stream).readinto(buffer)
        self.left -= count
        return count
