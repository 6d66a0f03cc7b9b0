"""The door for ``callspool``'s own commands to a running daemon: a Unix socket in the state folder.

The daemon is the only process that writes the ledger; a command that changes something asks it to. One that only
looks may ask too: the daemon has everything loaded that an answer takes. One JSON line in, one JSON line out:
``{"act": …, "args": {…}, "dry_run": …}`` or ``{"ask": …, "args": {…}}`` → ``{"answer": …}`` or ``{"error": …, "fix": …,
"exit_code": …}``. The folder's mode 0700 is the lock on this door.
"""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from daemon.contract import Json
from daemon.errors import BadRequest, CallspoolError, OperatorError
from daemon.run.asking import DEFECT, NOT_UNDERSTOOD, PATIENCE_S, short_name

LIMIT = 1 << 20
"""Bytes of one request at most."""

Do = Callable[[str, Mapping[str, Any], bool], Json]
Answer = Callable[[str, Mapping[str, Any]], Json]


class ControlServer:
    """Serves commands until ``close``. ``do`` gets act, args and dry_run, ``answer`` a question and its args; an
    OperatorError becomes the answer."""

    def __init__(self, path: Path, do: Do, answer: Answer) -> None:
        path.unlink(missing_ok=True)  # the ledger's lock is held: a socket left here is nobody's
        self._path = path
        self._server = _Server(path, do, answer)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and remove the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path, do: Do, answer: Answer) -> None:
        self.do, self.answer = do, answer
        super().__init__(str(path), _Handler, bind_and_activate=False)
        try:
            with short_name(path) as name:
                self.socket.bind(name)
            os.chmod(path, 0o600)
            self.server_activate()
        except BaseException:
            self.server_close()
            raise


class _Handler(socketserver.StreamRequestHandler):
    timeout = PATIENCE_S
    server: _Server

    def handle(self) -> None:
        with suppress(OSError):  # the command went away: nothing to answer
            line = self.rfile.readline(LIMIT)
            if line:
                self.wfile.write(json.dumps(self._answer(line)).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            name, args, dry_run = _parse(line)
            if dry_run is None:
                return {"answer": self.server.answer(name, args)}
            return {"answer": self.server.do(name, args, dry_run)}
        except OperatorError as error:
            return {"error": str(error), "fix": error.fix, "exit_code": error.exit_code}
        except CallspoolError as error:
            return {"error": str(error), "fix": "callspool status", "exit_code": 1}
        except Exception as error:  # noqa: BLE001 - the person who asked is told, in words that quote nothing
            return {"error": f"{DEFECT}: {type(error).__name__}", "fix": "report it", "exit_code": 1}


def _parse(line: bytes) -> tuple[str, Mapping[str, Any], bool | None]:
    """Act, args and dry_run; of a question, which has no dry run, None for the last."""
    try:
        request = json.loads(line)
        if "ask" in request:
            return str(request["ask"]), dict(request["args"]), None
        return str(request["act"]), dict(request["args"]), bool(request["dry_run"])
    except (ValueError, KeyError, TypeError):
        raise BadRequest(NOT_UNDERSTOOD, fix="callspool version") from None
