"""The door for ``callspool``'s own commands to a running daemon: a Unix socket in the state folder.

The daemon is the only process that writes the ledger; a command that changes something asks it to. One that only
looks may ask too: the daemon has everything loaded that an answer takes. One JSON line in, one JSON line out:
``{"act": …, "args": {…}, "dry_run": …}`` or ``{"ask": …, "args": {…}}`` → ``{"answer": …}`` or ``{"error": …, "fix": …,
"exit_code": …}``. The folder's mode 0700 is the lock on this door.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from daemon.contract import Json
from daemon.errors import BadRequest, CallspoolError, OperatorError

LIMIT = 1 << 20
"""Bytes of one request at most."""

PATIENCE_S = 30.0
"""How long either side waits for the other; a full disk may make the daemon slow to answer."""

LONGEST_NAME = 100
"""Bytes of a socket's name that fit everywhere: sockaddr_un holds 108 on Linux and 104 on macOS, with the last zero."""

NOT_UNDERSTOOD = "not a command this daemon understands"
"""What a daemon also says to a question where its version knows none."""

DEFECT = "a defect of callspool's own"

Do = Callable[[str, Mapping[str, Any], bool], Json]
Answer = Callable[[str, Mapping[str, Any]], Json]


class RemoteRefusal(OperatorError):
    """The daemon's answer was an error; carries its exit code."""

    def __init__(self, message: str, *, fix: str, exit_code: int) -> None:
        super().__init__(message, fix=fix)
        self.exit_code = exit_code


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
            with _short(path) as name:
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


def act(path: Path, name: str, args: Mapping[str, Any], *, dry_run: bool, patience_s: float = PATIENCE_S) -> Json:
    """Have the running daemon do the act.

    Raises RemoteRefusal with its error, or where it does not answer within ``patience_s``; ConnectionError or
    FileNotFoundError when nobody is there.
    """
    try:
        return _exchange(path, {"act": name, "args": args, "dry_run": dry_run}, patience_s)
    except TimeoutError:
        raise RemoteRefusal(
            f"the daemon did not answer within {patience_s:g} s; it may still do it (is the disk full?)",
            fix="callspool status",
            exit_code=1,
        ) from None


def ask(path: Path, question: str, args: Mapping[str, Any], *, patience_s: float) -> Json:
    """Ask the running daemon. Raises RemoteRefusal with its error, an OSError where it does not answer: also where it
    is of a version that knows no questions, or closes its ledger while it looks."""
    try:
        return _exchange(path, {"ask": question, "args": args}, patience_s)
    except RemoteRefusal as refusal:
        if str(refusal) == NOT_UNDERSTOOD or str(refusal).startswith(DEFECT):
            raise ConnectionError("the daemon has no answer") from refusal
        raise


def _exchange(path: Path, request: Mapping[str, Any], patience_s: float) -> Json:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience_s)
        with _short(path) as name:
            connection.connect(name)
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line.endswith(b"\n"):  # nothing, or half of it: it was stopped
        raise ConnectionError("the daemon closed the connection without an answer")
    answer = json.loads(line)
    if "error" in answer:
        raise RemoteRefusal(answer["error"], fix=answer["fix"], exit_code=answer["exit_code"])
    found: Json = answer["answer"]
    return found


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for the socket that fits sockaddr_un, whatever the folder: relative, or by way of the open folder."""
    name = min(str(path.absolute()), os.path.relpath(path), key=lambda n: len(os.fsencode(n)))
    if len(os.fsencode(name)) <= LONGEST_NAME or not os.path.isdir("/proc/self/fd"):
        yield name
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
