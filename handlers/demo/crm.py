"""A CRM on loopback that answers as the real one is known to, and misbehaves on command.

The demo and every test deliver to it over real HTTP. It knows a call again by its ``callId`` and a request by its
``Idempotency-Key``; a ``forgetful`` one knows neither, so that a post repeated after a lost answer makes a double.
It prints nothing but its own addresses.

    python -m handlers.demo.crm --port 0 [--forgetful] [--journal FILE]

Other processes drive it over HTTP: ``GET /_control`` tells all it knows; ``POST /_control`` takes a JSON object with
any of ``misbehave`` ([{"on": "call", "times": 2, "fault": "503"}]), ``behave`` (true: no more faults), ``forgetful``,
``token``, ``release`` (true: let hanging requests go), ``refuse_for_s`` (refuse connections for so many seconds).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from handlers.demo.crm_http import Crm, CrmServer

UPLOAD_PATH = "/apis/uploads/recordings"
CALLS_PATH = "/apis/calls"


class LoopbackCrm(Crm):
    """The CRM. As a context manager it listens on entering and is gone on leaving."""

    def __init__(
        self,
        *,
        port: int = 0,
        forgetful: bool = False,
        token: str | None = None,
        journal: Path | None = None,
        upload_path: str = UPLOAD_PATH,
        calls_path: str = CALLS_PATH,
    ) -> None:
        super().__init__(forgetful=forgetful, token=token, journal=journal)
        self.upload_path, self.calls_path = upload_path, calls_path
        self._server: CrmServer | None = None
        self._port = port

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self.refuse()

    def listen(self) -> None:
        """Listen, on the same port as before if there was one."""
        if self._server is None:
            server = CrmServer(("127.0.0.1", self._port), self)
            if not self.recordings_url:
                self._port = server.server_address[1]
                self.recordings_url = self.upload_url
                self.replay()
            self._server = server
            server.begin()

    def refuse(self) -> None:
        """Stop listening and cut every connection: the next one is refused."""
        server, self._server = self._server, None
        if server is not None:
            server.end()

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def upload_url(self) -> str:
        """Where recordings are posted."""
        return self.url + self.upload_path

    @property
    def calls_url(self) -> str:
        """Where call data is posted."""
        return self.url + self.calls_path

    @property
    def lookup_url(self) -> str:
        """Where a call is asked for: a template."""
        return self.calls_url + "/{callId}"

    def control(self, command: Mapping[str, Any]) -> None:
        """Do what another process commands; the top of this file lists what it may."""
        for entry in command.get("misbehave", ()):
            self.misbehave(entry["fault"], on=entry.get("on", "any"), times=entry.get("times", 1))
        if command.get("behave"):
            self.behave()
        if command.get("release"):
            self.release()
        self.forgetful = command.get("forgetful", self.forgetful)
        self.token = command.get("token", self.token)
        if "refuse_for_s" in command:
            threading.Thread(target=self._refuse_for, args=(command["refuse_for_s"],), daemon=True).start()

    def _refuse_for(self, seconds: float) -> None:
        time.sleep(0.05)  # so that the command itself is answered
        self.refuse()
        time.sleep(seconds)
        self.listen()


def main() -> None:
    """Run until told to stop; the one line printed says where it listens."""
    parser = argparse.ArgumentParser(prog="python -m handlers.demo.crm", description="A CRM on loopback, for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--forgetful", action="store_true", help="know neither Idempotency-Key nor callId again")
    parser.add_argument("--journal", type=Path, help="append what is accepted here, and begin with what it holds")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with LoopbackCrm(port=given.port, forgetful=given.forgetful, journal=given.journal) as crm:
        addresses = {"url": crm.url, "upload_url": crm.upload_url, "calls_url": crm.calls_url}
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
