"""The installed service under a real systemd: ready, at work under its hardening, reloaded, ended when it hangs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from handlers.demo.crm import LoopbackCrm
from tests.support.booted import Booted, booted, why_not
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

CALLS = "srv/calls"
UNIT = "callspool.service"
TOKEN = "first-word"


@pytest.fixture(scope="module")
def machine() -> Iterator[Booted]:
    with booted() as machine:
        yield machine


def callspool(machine: Booted, *words: str) -> str:
    config = "/etc/callspool/config.yaml"
    done = machine.run(sys.executable, "-m", "daemon", "--config", config, *words)
    assert done.returncode == 0, "\n".join((*words, done.stdout, done.stderr, _log(machine)))
    return done.stdout


@pytest.mark.timeout(300)
def test_the_service_is_ready_delivers_reloads_is_ended_when_it_hangs_and_stays_down(machine: Booted) -> None:
    with LoopbackCrm(token=TOKEN) as crm:
        site = Site(machine.calls)
        machine.run("useradd", "--system", "bot")
        machine.run("chown", "-R", "bot:", f"/{CALLS}")
        etc = machine.root / "etc/callspool"
        etc.mkdir()
        (etc / "token").write_text(TOKEN)
        (etc / "token").chmod(0o600)  # root's alone: the service has it as a credential
        config = {
            "watch": {role: f"/{CALLS}/{role}" for role in ("recordings", "conversations", "leads")}
            | {"timezone": "UTC"},
            "state": {"dir": "/var/lib/callspool"},
            "crm": {"upload_url": crm.upload_url, "call_data_url": crm.calls_url, "token_file": "token"},
            "storage": {"local": {"dir": f"/{CALLS}/uploads"}},
            "collect": {"markers": f"/{CALLS}/processed_uploads"},
        }
        (etc / "config.yaml").write_text(yaml.safe_dump(config))
        for folder in Path(sys.executable).resolve().parents:
            machine.run("chmod", "o+x", str(folder))  # the interpreter may be root's own
        quick = machine.root / "etc/systemd/system" / f"{UNIT}.d"
        quick.mkdir()
        (quick / "quick.conf").write_text("[Service]\nWatchdogSec=6s\nRestartSec=100ms\n")
        callspool(machine, "service", "install")
        machine.wait(UNIT, "ActiveState", "active")
        machine.wait(UNIT, "StatusText", "working")
        assert '"running": true' in callspool(machine, "service", "status", "--json").replace(":true", ": true")

        _drops_and_delivers(machine, site, crm, FieldCall(), 1)
        _hardened(machine)
        seen = machine.run(
            sys.executable, "-m", "daemon", "--config", "/etc/callspool/config.yaml", "doctor", "--in-service"
        )
        assert "writers are seen (kernel lease)" in seen.stdout, (seen.stdout, seen.stderr)

        (etc / "config.yaml").write_text(yaml.safe_dump(config | {"log": {"level": "debug"}}))
        machine.run("systemctl", "reload", UNIT)
        eventually(lambda: "config.reloaded" in _log(machine), "the reload")
        assert machine.show(UNIT, "ActiveState") == "active"

        before = machine.show(UNIT, "MainPID")
        machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT)
        machine.wait(UNIT, "NRestarts", "1")
        machine.wait(UNIT, "ActiveState", "active")
        assert machine.show(UNIT, "MainPID") != before
        _drops_and_delivers(machine, site, crm, FieldCall(1), 2)

        machine.run("systemctl", "stop", UNIT)
        assert (machine.show(UNIT, "Result"), machine.show(UNIT, "ExecMainStatus")) == ("success", "0")
        (etc / "config.yaml").write_text("crm: {batsh: 1}")
        machine.run("systemctl", "start", UNIT)
        machine.wait(UNIT, "ActiveState", "failed")
        assert (machine.show(UNIT, "ExecMainStatus"), machine.show(UNIT, "NRestarts")) == ("78", "0")
        done = machine.run(sys.executable, "-m", "daemon", "service", "uninstall")
        assert done.returncode == 0, done.stderr
        assert not (machine.root / "etc/systemd/system" / UNIT).exists()
        assert (machine.root / "var/lib/callspool/ledger.db").exists()
        assert TOKEN not in _log(machine)


def _drops_and_delivers(machine: Booted, site: Site, crm: LoopbackCrm, call: FieldCall, count: int) -> None:
    call.drop(site)
    machine.run("chown", "-R", "bot:", f"/{CALLS}")
    try:
        eventually(lambda: crm.records == count, f"{count} calls in the CRM")
    except AssertionError as error:
        told = [callspool(machine, *words) for words in (("status",), ("failures",), ("explain", call.recording_name))]
        raise AssertionError("\n".join([str(error), *told, _log(machine)])) from None


def _hardened(machine: Booted) -> None:
    pid = machine.show(UNIT, "MainPID")
    status = machine.run("cat", f"/proc/{pid}/status").stdout
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert int(found["CapEff"], 16) == 1 << 28  # CAP_LEASE, and nothing else
    assert found["Uid"].split()[0] != "0"


def _log(machine: Booted) -> str:
    return machine.run("journalctl", "-u", UNIT, "-o", "cat", "-n", "500").stdout


def test_root_is_left_as_it_was() -> None:
    assert not Path("/etc/systemd/system", UNIT).exists()
