"""What Prometheus thinks of the alert rules and of the metrics, by its own promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.calls import FieldCall
from tests.support.process import Site

PROMTOOL = shutil.which("promtool") or ""
RULES = Path(__file__).parents[2] / "monitoring" / "alerts.yaml"

pytestmark = pytest.mark.skipif(not PROMTOOL, reason="no promtool here: apt-get install prometheus")


def checked(*words: str, given: bytes = b"") -> str:
    """What ``promtool check`` says; it must find nothing wrong."""
    done = subprocess.run([PROMTOOL, "check", *words], input=given, capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_the_alert_rules_are_rules() -> None:
    assert f"SUCCESS: {RULES.read_text().count('- alert:')} rules found" in checked("rules", str(RULES))


def test_the_metrics_of_a_daemon_with_a_call_are_as_prometheus_wants_them(site: Site) -> None:
    with site.daemon(CALLSPOOL_HTTP__LISTEN="127.0.0.1:0") as daemon:
        daemon.wait_for("daemon.started")
        FieldCall().drop(site)
        daemon.wait_for("crm.accepted")
        served = httpx.get(f"http://{daemon.wait_for('http.opened')['reason']}/metrics").content
        assert b"callspool_audio_seconds" in served
        assert checked("metrics", given=served) == ""
        assert daemon.stop() == 0
