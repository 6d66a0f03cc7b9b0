"""Secrets that are replaced while the daemon works, and that lie open."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work, delivered, events
from tests.support.calls import FieldCall
from tests.support.process import Site


def put(path: Path, word: str, mode: int = 0o600) -> None:
    path.write_text(word)
    path.chmod(mode)


def test_a_token_that_was_replaced_is_used_without_a_restart_and_without_an_alarm(tmp_path: Path) -> None:
    with LoopbackCrm(token="first-word") as crm:
        site = Site(tmp_path, CRM_UPLOAD_URL=crm.upload_url, CRM_CALL_DATA_URL=crm.calls_url)
        put(tmp_path / "token", "first-word")
        with at_work(site, CALLSPOOL_CRM__TOKEN_FILE="token") as daemon:
            FieldCall().drop(site)
            delivered(daemon, site)
            crm.token = "second-word"
            put(tmp_path / "token", "second-word")
            FieldCall(1).drop(site)
            delivered(daemon, site, 2)
            assert events(daemon, "destination.denied") == []
        assert (len(crm.uploads), crm.records) == (2, 2)


def test_a_token_that_is_wrong_is_read_again_once_and_rests_the_destination(tmp_path: Path) -> None:
    with LoopbackCrm(token="another-word") as crm:
        site = Site(tmp_path, CRM_UPLOAD_URL=crm.upload_url, CRM_CALL_DATA_URL=crm.calls_url)
        put(tmp_path / "token", "first-word")
        with at_work(site, CALLSPOOL_CRM__TOKEN_FILE="token") as daemon:
            FieldCall().drop(site)
            daemon.wait_for("destination.denied")
            assert len(crm.requests) == 1
            put(tmp_path / "token", "another-word")
            delivered(daemon, site)
        assert "word" not in "".join(map(str, daemon.lines))


@pytest.mark.parametrize("where", ["file", "credential"])
def test_a_secret_that_everybody_can_read_is_refused(tmp_path: Path, where: str) -> None:
    site = Site(tmp_path)
    put(tmp_path / "crm_token", "first-word", 0o644)
    given = {"CALLSPOOL_CRM__TOKEN_FILE": "crm_token"} if where == "file" else {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    done = site.command("run", **given)
    assert done.returncode == 78
    assert "can be read or written by everybody" in done.stderr
    assert "-> chmod 600" in done.stderr or "chmod 600" in done.stderr
    assert "first-word" not in done.stdout + done.stderr
