"""The unit and the job as they are rendered: as checked in, as systemd sees them, with the traps they know."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon import service
from daemon.logfile import RotatingFile
from daemon.service import DEFAULT, Plan

ROOT = Path(__file__).parents[2]
EXPOSURE = 15
"""Tenths: what ``systemd-analyze security`` may say at most."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and not os.environ.get("CI"), reason="systemd-analyze is not installed"
)


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60)


def lines(plan: Plan) -> list[str]:
    return service.unit(plan).splitlines()


def test_the_files_in_the_repository_are_the_rendered_defaults() -> None:
    for path, text in service.files_of(DEFAULT).items():
        assert (ROOT / path).read_text() == text, path


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    plans = [
        replace(DEFAULT, program=(sys.executable, "-m", "daemon"), user="root"),
        replace(
            DEFAULT, program=(sys.executable, "-m", "daemon"), user="root", name="east", config="/etc/a b/c%d.yaml"
        ),
        replace(DEFAULT, program=(sys.executable, "-m", "daemon"), scope="user"),
    ]
    for plan in plans:
        file = tmp_path / plan.unit
        file.write_text(service.unit(plan))
        done = analyze("verify", "--man=no", str(file))
        said = [line for line in (done.stdout + done.stderr).splitlines() if plan.unit in line]
        assert (done.returncode, said) == (0, []), plan


@needs_systemd
def test_the_exposure_is_as_low_as_promised() -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", str(ROOT / "systemd" / DEFAULT.unit))
    assert done.returncode == 0, done.stdout


def test_what_may_be_written_is_what_the_configuration_names() -> None:
    plan = replace(DEFAULT, state="/data/spool state", writes=("/data/in",))
    found = lines(plan)
    assert 'ReadWritePaths=-"/data/spool state"' in found
    assert "ReadWritePaths=-/data/in" in found
    assert not [line for line in found if line.startswith("StateDirectory")]
    assert "StateDirectory=callspool/east" in lines(replace(DEFAULT, state="/var/lib/callspool/east"))


def test_folders_below_a_home_or_tmp_are_seen() -> None:
    assert "ProtectHome=yes" in lines(DEFAULT)
    assert "ProtectHome=read-only" in lines(replace(DEFAULT, writes=("/home/bot/recordings",)))
    assert "ProtectHome=read-only" in lines(replace(DEFAULT, program=("/root/venv/bin/callspool",)))
    assert "PrivateTmp=no" in lines(replace(DEFAULT, writes=("/tmp/recordings",)))


def test_codecs_may_lower_their_priority() -> None:
    assert not [line for line in lines(DEFAULT) if "@resources" in line]
    assert "SystemCallErrorNumber=EPERM" in lines(DEFAULT)


def test_secrets_are_handed_over_as_credentials_and_stand_in_no_command() -> None:
    plan = replace(DEFAULT, secrets={"crm.token_file": "/etc/t", "storage.s3.secret_access_key_file": "/etc/s"})
    found = lines(plan)
    assert "LoadCredential=crm_token:/etc/t" in found
    assert "LoadCredential=storage_s3_secret_access_key:/etc/s" in found
    assert "--set crm.token_file=${CREDENTIALS_DIRECTORY}/crm_token" in service.command(plan)


def test_two_instances_have_units_and_labels_of_their_own() -> None:
    east = replace(DEFAULT, name="east")
    assert (east.unit, east.label) == ("callspool@east.service", "org.callspool.east")
    assert service.unit_path(east, "/root") == "/etc/systemd/system/callspool@east.service"
    assert service.job_path(replace(east, scope="user"), "/Users/a").startswith("/Users/a/Library/LaunchAgents/")


def test_the_environment_for_doctor_holds_the_sandbox_and_starts_nothing() -> None:
    found = dict(service.properties(service.unit(DEFAULT)))
    assert found["ProtectSystem"] == "strict"
    assert found["User"] == "callspool"
    assert not {"ExecStart", "Type", "WatchdogSec", "Restart", "WantedBy", "Description"} & found.keys()


def test_the_job_is_sound_and_does_not_loop_on_a_wrong_configuration() -> None:
    text = service.plist(DEFAULT).encode()
    assert service.faults(text) == []
    job = plistlib.loads(text)
    assert job["KeepAlive"] == {"SuccessfulExit": False}
    assert "--launchd" in job["ProgramArguments"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"<plist><dict><key>Label</key>", "not a property list"),
        (plistlib.dumps([]), "not a dictionary"),
        (plistlib.dumps({"Label": "a", "ProgramArguments": ["/a"], "Keepalive": True}), "launchd knows no such key"),
        (plistlib.dumps({"Label": "a", "ProgramArguments": ["/a"], "ThrottleInterval": True}), "of the wrong type"),
        (plistlib.dumps({"Label": "a", "ProgramArguments": ["callspool"]}), "name it whole"),
        (plistlib.dumps({"ProgramArguments": ["/a"]}), "Label: missing"),
    ],
)
def test_a_broken_job_is_found(text: bytes, says: str) -> None:
    assert says in "; ".join(service.faults(text))


def test_the_log_file_rotates_and_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.log"
    file = RotatingFile(path, largest=100, kept=3)
    for number in range(60):
        file.write(f"line {number:02}\n")
    file.close()
    again = RotatingFile(path, largest=100, kept=3)
    again.write("after\n")
    again.close()
    names = sorted(p.name for p in path.parent.iterdir())
    assert names == ["a.log", "a.log.1", "a.log.2", "a.log.3"]
    whole = "".join((path.parent / name).read_text() for name in (*reversed(names[1:]), "a.log"))
    kept = re.findall(r"line (\d\d)", whole)
    assert len(kept) > 30
    assert kept == [f"{number:02}" for number in range(60)][-len(kept) :]
    assert whole.endswith("line 59\nafter\n")
    assert path.stat().st_mode & 0o007 == 0


# ------------------------------------------------------------------------------------------------ the verbs


def callspool(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CALLSPOOL_", "CRM_"))}
    return subprocess.run(
        [sys.executable, "-m", "daemon", *words],
        cwd=folder,
        env={**clean, "HOME": str(folder), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_dry_run_prints_unit_and_commands_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"crm": {"token_file": "token"}}))
    (tmp_path / "token").write_text("secret-word")
    (tmp_path / "token").chmod(0o600)
    done = callspool(tmp_path, "service", "install", "--system", "--dry-run", "--for", "systemd", CRM_TIMEOUT="1")
    assert done.returncode == 0, done.stderr
    assert f"LoadCredential=crm_token:{tmp_path}/token" in done.stdout
    assert f"ReadWritePaths=-{tmp_path}/recordings" in done.stdout
    assert "systemctl enable callspool.service" in done.stdout
    assert "secret-word" not in done.stdout + done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "token"]


def test_a_service_without_a_configuration_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    done = callspool(tmp_path, "service", "install", "--dry-run")
    assert done.returncode == 2
    assert "-> callspool --config" in done.stderr


def test_what_only_this_shell_sets_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}")
    done = callspool(tmp_path, "service", "install", "--dry-run", CALLSPOOL_CRM__BATCH="4", CRM_TOKEN="word")
    assert "CALLSPOOL_CRM__BATCH" in done.stderr
    assert "CRM_TOKEN" in done.stderr
    assert "word" not in done.stdout + done.stderr


EAST = {"state": {"dir": "east"}, "http": {"listen": "127.0.0.1:8888"}, "watch": {"recordings": "calls"}}


@pytest.mark.parametrize(
    ("west", "says"),
    [
        ({"state": {"dir": "east"}, "http": {"listen": "off"}}, "callspool@east.service has the same state.dir"),
        ({"http": {"listen": "127.0.0.1:8888"}}, "callspool@east.service has the same http.listen"),
        ({"http": {"listen": "0.0.0.0:8888", "token_file": "token"}}, "has the same http.listen"),
    ],
)
def test_a_second_instance_needs_its_own_state_and_port(tmp_path: Path, west: dict[str, Any], says: str) -> None:
    done = beside_east(tmp_path, EAST, west)
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


def test_a_second_instance_with_all_its_own_is_installed_and_told_of_a_folder_in_common(tmp_path: Path) -> None:
    done = beside_east(tmp_path / "apart", EAST, {"http": {"listen": "[::1]:8888"}})
    assert (done.returncode, done.stderr) == (0, "")
    done = beside_east(tmp_path / "off", EAST | {"http": {"listen": "off"}}, {"http": {"listen": "off"}})
    assert (done.returncode, done.stderr) == (0, "")
    west = {"http": {"listen": "127.0.0.1:8889"}, "watch": {"recordings": "calls"}}
    done = beside_east(tmp_path / "common", EAST, west)
    assert done.returncode == 0
    assert "callspool@east.service watches" in done.stderr
    assert "calls too: both deliver what lies there" in done.stderr


def beside_east(folder: Path, east: dict[str, Any], west: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """What installing west says while east is installed."""
    folder.mkdir(exist_ok=True)
    own = {role: f"west-{role}" for role in ("conversations", "leads", "recordings")}
    west = {"state": {"dir": "west"}, **west, "watch": own | west.get("watch", {})}
    for name, config in (("east", east), ("west", west)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    (folder / "token").write_text("a-word-of-thirty-characters-or-so")
    (folder / "token").chmod(0o600)
    words = ("service", "install", "--user", "--for", "systemd", "--dry-run", "--name")
    rendered = callspool(folder, "--config", "east.yaml", *words, "east", "--json")
    unit = next(step for step in json.loads(rendered.stdout)["steps"] if step.startswith("# "))
    place, text = unit[2:].split("\n", 1)
    Path(place).parent.mkdir(parents=True)
    Path(place).write_text(text)
    return callspool(folder, "--config", "west.yaml", *words, "west")


def test_under_launchd_a_wrong_configuration_is_said_and_ends_with_0(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("crm: {batsh: 1}")
    assert callspool(tmp_path, "run").returncode == 78
    done = callspool(tmp_path, "run", "--launchd", "--log-file", str(tmp_path / "a.log"))
    assert done.returncode == 0
    assert "did you mean" in done.stderr
