"""uvicorn on a thread of its own. The port is taken before anything is promised, and given back at the end."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

from daemon.serve.guard import App

BACKLOG = 128
SLOWEST_S = 30
"""A connection that is kept open and says nothing is closed after this."""


class Server:
    """Serves an application on an address. Raises OSError where that cannot be had."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = _bound(host.strip("[]"), port)
        self._server: Any = None
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on; the one that was found where 0 was asked for."""
        return int(self._socket.getsockname()[1])

    def start(self, app: App) -> None:
        """Begin to answer."""
        import uvicorn

        config = uvicorn.Config(
            app,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=SLOWEST_S,
            timeout_graceful_shutdown=2,
            limit_concurrency=256,
        )
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        self._server = uvicorn.Server(config)
        self._thread.start()

    def close(self) -> None:
        """Answer nothing more."""
        self._server.should_exit = True
        self._thread.join(5.0)
        self._socket.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
