"""The API against its own description: schemathesis asks for all that /openapi.json declares, rightly and wrongly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.browser import TOKEN
from tests.support.calls import FieldCall
from tests.support.process import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOLDS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)
"""What must be true of every answer."""

AT_ONCE = '[parameters]\n"query.wait" = 0\n'
"""Settings of schemathesis: nobody waits for bytes at random to be stored as a recording, they never are."""

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("asks", [BEARER, {}], ids=["with the token", "without it"])
def test_every_answer_is_one_that_the_api_declares(site: Site, asks: dict[str, str]) -> None:
    with site.daemon(CALLSPOOL_HTTP__LISTEN="127.0.0.1:0", HTTP_TOKEN=TOKEN) as daemon:
        daemon.wait_for("daemon.started")
        FieldCall().drop(site)
        daemon.wait_for("crm.accepted")
        done = examine(site.folder, f"http://{daemon.wait_for('http.opened')['reason']}", asks)
        assert done.returncode == 0, done.stdout + done.stderr
        assert operations(site.folder / "openapi.json") > 15
        assert f"Tested: {operations(site.folder / 'openapi.json')}" in done.stdout
        assert daemon.stop() == 0
        assert not [line for line in daemon.lines if line["event"] in ("defect.caught", "daemon.failed")]


def examine(folder: Path, base: str, asks: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run schemathesis, the same cases each time."""
    config = folder / "schemathesis.toml"
    config.write_text(AT_ONCE)
    words = ["--url", base, "--checks", HOLDS, "--max-examples", "20", "--seed", "1", "--generation-deterministic"]
    headers = [word for name, value in asks.items() for word in ("--header", f"{name}: {value}")]
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "--no-color"]
    described = folder / "openapi.json"
    described.write_bytes(description(base))
    return subprocess.run(
        [*program, "run", str(described), *words, *headers],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def description(base: str) -> bytes:
    """What the API says of itself, to who has the token."""
    return httpx.get(f"{base}/openapi.json", headers=BEARER).content


def operations(described: Path) -> int:
    """How many the API declares."""
    return sum(map(len, json.loads(described.read_bytes())["paths"].values()))
