"""The state folder alone is where the whole configuration has it, or is not told."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.clock import SystemClock
from daemon.errors import ConfigInvalid
from daemon.house import House
from daemon.state_folder import state_folder

SHIPPED = (Path(__file__).parents[2] / "config.yaml").read_text("utf-8")
NEEDED = {"CRM_UPLOAD_URL": "http://127.0.0.1:9/a", "CRM_CALL_DATA_URL": "http://127.0.0.1:9/b"}

TOLD = [
    ("", "", {}),
    (SHIPPED, "", {}),
    ("match:\n  wait: 5m\n", "", {}),
    ("state:\n  dir: elsewhere/it  # here\n", "", {}),
    ("state:   # ours\n\n  # where\n    dir: /var/lib/callspool\nmatch:\n  wait: 5m\n", "", {}),
    ("state:\n  dir: one\n", "CALLSPOOL_STATE__DIR=two\n", {}),
    ("state:\n  dir: one\n", "CALLSPOOL_STATE__DIR=two\n", {"CALLSPOOL_STATE__DIR": "three"}),
    ("", "CALLSPOOL_STATE__DIR=\n", {"CALLSPOOL_STATE__DIR": " "}),
    ("", "", {"CALLSPOOL_state__dir": "lower"}),
]
"""``config.yaml``, ``.env`` and the environment."""

LEFT = [
    ("state: {dir: elsewhere}\n", "", {}),
    ("{match: {wait: 5m}, state: {dir: elsewhere}}\n", "", {}),
    ('"state":\n  dir: elsewhere\n', "", {}),
    ('"st\\x61te":\n  dir: elsewhere\n', "", {}),
    ("state:\n  dir: 'else where'\n", "", {}),
    ("state:\n  dir: ~/callspool\n", "", {}),
    ("state:\n  dir: null\n", "", {}),
    ("state:\n  dir: 12\n", "", {}),
    ("state:\n  dir: a\n  dir: b\n", "", {}),
    ("state:\n  dir: a\nstate:\n  dir: b\n", "", {}),
    ("state:\n  dir: a\n? state\n: {dir: b}\n", "", {}),
    ("", "", {"CALLSPOOL_STATE__DIR": "'quoted'"}),
    ("", "not a variable\n", {}),
]


def whole(folder: Path, environ: dict[str, str]) -> Path | None:
    try:
        return House.open(None, {**NEEDED, **environ}, folder, {}, SystemClock()).paths.folder
    except ConfigInvalid:
        return None


def lay_out(folder: Path, text: str, variables: str) -> None:
    if text:
        (folder / "config.yaml").write_text(text, "utf-8")
    if variables:
        (folder / ".env").write_text(variables, "utf-8")


@pytest.mark.parametrize(("text", "variables", "environ"), TOLD)
def test_it_is_where_the_whole_configuration_has_it(
    tmp_path: Path, text: str, variables: str, environ: dict[str, str]
) -> None:
    lay_out(tmp_path, text, variables)
    found = state_folder(environ, tmp_path)
    assert found is not None
    assert found == whole(tmp_path, environ)


@pytest.mark.parametrize(("text", "variables", "environ"), LEFT)
def test_what_is_not_plain_is_left_to_the_whole_configuration(
    tmp_path: Path, text: str, variables: str, environ: dict[str, str]
) -> None:
    lay_out(tmp_path, text, variables)
    assert state_folder(environ, tmp_path) in (None, whole(tmp_path, environ))
