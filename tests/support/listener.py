"""An address on this machine that keeps what it is asked, and answers with whatever status it is told."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    path: str
    body: bytes


class Listener:
    """Listens until it is closed; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.status = 200
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Keep it and answer."""
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                listener.asked.append(Asked(self.path, body))
                self.send_response(listener.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
