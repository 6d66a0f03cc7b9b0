"""The whole daemon as a process, driven as its operator would: settings in, files in folders, log lines out."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from daemon.ledger.connection import open_for_reading

PATIENCE_S = 30.0
"""How long a test waits for a signal before it fails: far above what anything here takes."""

QUICK: Mapping[str, str] = {
    "CALLSPOOL_WATCH__SCAN_EVERY": "1s",
    "CALLSPOOL_WATCH__TIMEZONE": "UTC",
    "CALLSPOOL_WATCH__QUIET": "{audio: 500ms, json: 300ms, unproved: 1s}",
    "CALLSPOOL_CRM__RETRY": "[200ms, 400ms, 1s]",
    "CALLSPOOL_MATCH__WAIT": "2s",
    "CALLSPOOL_MATCH__LEAD_WAIT": "1s",
    "CALLSPOOL_HTTP__LISTEN": "off",
    "CALLSPOOL_LOG__FORMAT": "json",
    "CALLSPOOL_LOG__LEVEL": "debug",
}
"""Settings under which minutes become seconds."""


class Site:
    """A working folder with the three watched folders, and the environment a daemon runs in there."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.patience_s = 60.0  # for a command
        self.recordings = folder / "recordings"
        self.conversations = folder / "conversations"
        self.leads = folder / "leads"
        for path in (self.recordings, self.conversations, self.leads):
            path.mkdir(parents=True, exist_ok=True)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CALLSPOOL_", "CRM_", "AWS_", "S3_"))}
        self.environ = {**clean, **QUICK, "PYTHONUNBUFFERED": "1", **settings}

    def command(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        return subprocess.run(
            [sys.executable, "-m", "daemon", *words],
            cwd=self.folder,
            env={**self.environ, **settings},
            capture_output=True,
            text=True,
            timeout=self.patience_s,
            check=False,
        )

    def ask(self, *words: str, **settings: str) -> Any:
        """Run a verb with ``--json`` and return what it printed; the exit code must be 0."""
        done = self.command(*words, "--json", **settings)
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def daemon(self, *words: str, under: Sequence[str] = (), **settings: str) -> DaemonProcess:
        """Start ``callspool run`` here; ``under`` is a command that runs it, such as ``setpriv …``."""
        argv = [*under, sys.executable, "-m", "daemon", "run", *words]
        return DaemonProcess(argv, self.folder, {**self.environ, **settings})

    def rows(self, sql: str, params: Sequence[object] = ()) -> list[sqlite3.Row]:
        """What a query finds in the ledger, beside a running daemon or without one; nothing where there is none yet."""
        path = self.folder / "state" / "ledger.db"
        if not path.exists():
            return []
        with closing(open_for_reading(path)) as connection:
            try:
                return connection.execute(sql, params).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def open_work(self) -> list[str]:
        """What is to be decided now, the calls that wait, and effects that are on their way."""
        return [
            " ".join(row)
            for row in self.rows(
                "SELECT state, kind, key, reason FROM job WHERE state IN ('ready', 'running') "
                "OR (kind = 'call' AND state = 'waiting') UNION ALL "
                "SELECT state, type, key, reason FROM effect WHERE state NOT IN ('done', 'superseded')"
            )
        ]

    def idle(self) -> bool:
        """True when nothing of that is left."""
        return not self.open_work()

    def rest(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until it is; where that does not come, what is left is told."""
        eventually(self.idle, lambda: f"rest; open is {self.open_work()}", timeout_s)


class DaemonProcess:
    """A running daemon whose log is read as it comes."""

    def __init__(self, argv: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> None:
        self.lines: list[dict[str, Any]] = []
        self.other_output: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """True once the process is gone."""
        return self._process.poll() is not None

    def wait_for(self, event: str, timeout_s: float = PATIENCE_S, /, **fields: Any) -> dict[str, Any]:
        """The first log line with this event and these fields; fails when it does not come."""
        found: dict[str, Any] = self.wait_until(
            lambda lines: next(
                (e for e in lines if e["event"] == event and all(e.get(k) == v for k, v in fields.items())), None
            ),
            f"{event} {fields or ''}",
            timeout_s,
        )
        return found

    def wait_until(self, found: Callable[[list[dict[str, Any]]], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
        """Whatever ``found`` returns of the log lines, as soon as it is true."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                result = found(self.lines)
                if result:
                    return result
                left = deadline - time.monotonic()
                ended = self._process.poll() is not None and not self._reader.is_alive()
                if left <= 0 or ended:
                    tail = "\n".join(json.dumps(line) for line in self.lines[-30:])
                    raise AssertionError(
                        f"{'the daemon ended' if ended else 'no sign'} before {what}\n{tail}\n"
                        + "\n".join(self.other_output[-40:])
                    )
                self._changed.wait(min(left, 0.5))

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self._process.kill()
        self.ended()

    def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the end; returns the exit code (negative: the signal that ended it)."""
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM, and wait for the end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self.ended(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            with self._changed:
                try:
                    line = json.loads(raw)
                except ValueError:
                    line = None
                if isinstance(line, dict) and "event" in line:
                    self.lines.append(line)
                else:
                    self.other_output.append(raw.decode(errors="replace").rstrip())
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def eventually(check: Callable[[], Any], what: str | Callable[[], str], timeout_s: float = PATIENCE_S) -> Any:
    """Whatever ``check`` returns, as soon as it is true: for what has no signal of its own, such as the CRM's books.
    ``what`` did not come about is told where it does not, or found out then."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what if isinstance(what, str) else what()}")
        time.sleep(0.02)
