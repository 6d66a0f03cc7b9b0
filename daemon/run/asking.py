"""Asks the running daemon through its door, see ``control``. Loads next to nothing: verbs are to answer in a blink."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.errors import OperatorError

if TYPE_CHECKING:
    from daemon.contract import Json

PATIENCE_S = 30.0
"""How long either side waits for the other; a full disk may make the daemon slow to answer."""

ANSWER_S = 2.0
"""How long a daemon may take over a question; one that hangs must not keep people from seeing how it is."""

LONGEST_NAME = 100
"""Bytes of a socket's name that fit everywhere: sockaddr_un holds 108 on Linux and 104 on macOS, with the last zero."""

NOT_UNDERSTOOD = "not a command this daemon understands"
"""What a daemon also says to a question where its version knows none."""

DEFECT = "a defect of callspool's own"


class RemoteRefusal(OperatorError):
    """The daemon's answer was an error; carries its exit code."""

    def __init__(self, message: str, *, fix: str, exit_code: int) -> None:
        super().__init__(message, fix=fix)
        self.exit_code = exit_code


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
        with short_name(path) as name:
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
def short_name(path: Path) -> Iterator[str]:
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
