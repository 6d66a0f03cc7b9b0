"""The configuration: where values come from, and what is said of bad ones."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.app import Config
from daemon.cli.config import settings, written
from daemon.config import Loaded, leaves, load, read_secret, value_at
from daemon.errors import ConfigInvalid
from handlers.settings import OLD_NAMES

ROOT = Path(__file__).parents[2]


def loaded(folder: Path, environ: dict[str, str] | None = None, **flags: Any) -> Loaded[Config]:
    return load(
        Config,
        file=None,
        environ=environ or {},
        cwd=folder,
        flags={key.replace("__", "."): value for key, value in flags.items()},
        old_names=OLD_NAMES,
    )


def complaint(folder: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        loaded(folder, environ)
    assert caught.value.exit_code == 78
    assert "callspool config check" in caught.value.fix
    return str(caught.value)


def test_no_file_and_no_environment_is_the_defaults(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert found.config == Config()
    assert found.base == tmp_path
    assert found.source("crm.batch").where == "default"


def test_the_shipped_file_equals_the_defaults_and_comments_every_key() -> None:
    text = (ROOT / "config.yaml").read_text()
    found = load(Config, file=ROOT / "config.yaml", environ={}, cwd=ROOT, flags={}, old_names=OLD_NAMES)
    assert found.config == Config()
    given = dict(_flat(yaml.safe_load(text)))
    for key, _annotation in leaves(Config):
        assert key in given, f"{key} is missing from config.yaml"
        leaf = key.rpartition(".")[2]
        lines = [line for line in text.splitlines() if line.split("#")[0].strip().startswith(f"{leaf}:")]
        assert lines, key
        assert all("# " in line for line in lines), f"{key} has no comment"


def _flat(tree: Any, prefix: str = "") -> Any:
    known = {key for key, _ in leaves(Config)}
    for name, value in tree.items():
        key = prefix + str(name)
        if key in known:
            yield key, value
        else:
            yield from _flat(value, key + ".")


def test_flags_beat_environment_beats_dotenv_beats_file_beats_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("crm:\n  batch: 2\n  attempts: 7\nmatch: {wait: 9m}\nlog: {level: error}\n")
    (tmp_path / ".env").write_text("export CALLSPOOL_CRM__BATCH=3\nCALLSPOOL_CRM__ATTEMPTS='8' # why\n")
    found = loaded(tmp_path, {"CALLSPOOL_CRM__BATCH": "4", "CALLSPOOL_LOG__LEVEL": "debug"}, crm__batch="5")
    assert (found.config.crm.batch, found.source("crm.batch").kind) == (5, "flag")
    assert (found.config.crm.attempts, found.source("crm.attempts").kind) == (8, "dotenv")
    assert (found.config.log.level, found.source("log.level").where) == ("debug", "CALLSPOOL_LOG__LEVEL")
    assert (found.config.match.wait, found.source("match.wait").where) == (timedelta(minutes=9), "config.yaml:4")
    assert found.config.match.window == timedelta(minutes=5)


def test_every_old_name_sets_its_key(tmp_path: Path) -> None:
    values = {
        "UPLOAD_BATCH_SIZE": "4",
        "UPLOAD_RETRY_ATTEMPTS": "5",
        "UPLOAD_TIMEOUT_SECONDS": "6",
        "TARGET_HOURS": "7",
        "CRM_UPLOAD_URL": "https://crm.example/u",
        "CRM_CALL_DATA_URL": "https://crm.example/c",
        "S3_ENDPOINT_URL": "https://s3.example",
    }
    environ = {name: values.get(name, "12345") for name in OLD_NAMES}
    found = loaded(tmp_path, environ)
    for name, key in OLD_NAMES.items():
        assert found.source(key).where == name
        assert str(written(value_at(found.config, key))).removesuffix("s").removesuffix(".0") == environ[name]
    assert found.config.crm.campaign_id == "12345", "an id of digits stays text"


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    assert loaded(tmp_path, {"CRM_UPLOAD_URL": "", "CALLSPOOL_CRM__BATCH": ""}).config == Config()


def test_lists_and_mappings_come_through_the_environment(tmp_path: Path) -> None:
    environ = {"CALLSPOOL_CRM__RETRY": "[1s, 5s]", "CALLSPOOL_WATCH__QUIET": "{audio: 1s, json: 500ms}"}
    config = loaded(tmp_path, environ).config
    assert config.crm.retry == (timedelta(seconds=1), timedelta(seconds=5))
    assert (config.watch.quiet.audio, config.watch.quiet.json_) == (timedelta(seconds=1), timedelta(milliseconds=500))
    assert config.watch.quiet.unproved == timedelta(minutes=3)
    deep = loaded(tmp_path, {"CALLSPOOL_WATCH__QUIET__UNPROVED": "4s"}).config
    assert deep.watch.quiet.unproved == timedelta(seconds=4)


def test_every_problem_is_named_at_once_with_file_line_key_and_the_nearest_key(tmp_path: Path) -> None:
    text = "crm:\n  bacth: 3\n  attempts: 0\nwatch:\n  quiet: {audio: 3 parsecs}\n  timezone: Mars/Olympus\n"
    (tmp_path / "config.yaml").write_text(text)
    said = complaint(tmp_path, {"CALLSPOOL_MATCH__WIAT": "3s"})
    assert "config.yaml:2: unknown key crm.bacth; did you mean crm.batch?" in said
    assert "config.yaml:3: crm.attempts is 0; allowed is" in said
    assert "config.yaml:5: watch.quiet.audio is '3 parsecs'; allowed is a duration such as" in said
    assert "config.yaml:6: watch.timezone" in said
    assert "CALLSPOOL_MATCH__WIAT: unknown key match.wiat; did you mean match.wait?" in said


def test_yaml_that_is_none_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("crm:\n  batch: [1\nlog: {}\n")
    assert "config.yaml:3:" in complaint(tmp_path)


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("crm:\n  batch: 1\n  batch: 2\n")
    assert "config.yaml:3: crm.batch is given twice" in complaint(tmp_path)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no configuration file"):
        load(Config, file=Path("no.yaml"), environ={}, cwd=tmp_path, flags={}, old_names=OLD_NAMES)


@pytest.mark.parametrize("word", ["off", "repost"])
def test_the_words_yaml_takes_for_booleans_are_words_here(tmp_path: Path, word: str) -> None:
    (tmp_path / "config.yaml").write_text(f"crm: {{updates: {word}}}\n")
    assert loaded(tmp_path).config.crm.updates == word


def test_plain_http_is_for_loopback_or_by_permission(tmp_path: Path) -> None:
    for address in ("http://127.0.0.1:8/u", "http://localhost/u", "http://[::1]/u", "https://crm.example/u"):
        assert loaded(tmp_path, {"CALLSPOOL_CRM__UPLOAD_URL": address}).warnings == ()
    plain = {"CALLSPOOL_CRM__UPLOAD_URL": "http://crm.example/u"}
    assert "crm.allow_plaintext" in complaint(tmp_path, plain)
    assert loaded(tmp_path, {**plain, "CALLSPOOL_CRM__ALLOW_PLAINTEXT": "true"}).warnings == ()


def test_plain_http_from_the_old_names_is_warned_of_and_refused_where_a_token_would_travel(tmp_path: Path) -> None:
    plain = {"CRM_UPLOAD_URL": "http://crm.example/u"}
    assert "CRM_UPLOAD_URL" in loaded(tmp_path, plain).warnings[0]
    assert "token would travel" in complaint(tmp_path, {**plain, "CRM_TOKEN": "t0ken"})


def test_an_address_with_a_password_is_refused_without_repeating_it(tmp_path: Path) -> None:
    said = complaint(tmp_path, {"CALLSPOOL_CRM__UPLOAD_URL": "https://me:hunter2@crm.example/u"})
    assert "hunter2" not in said


def test_secrets_come_from_file_then_credential_then_environment(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "crm_token").write_text("from-credential\n")
    token = tmp_path / "token"
    token.write_text("from-file\n")
    token.chmod(0o600)
    environ = {"CRM_TOKEN": "from-environment"}
    plain = loaded(tmp_path, environ)
    assert read_secret(plain, "crm.token_file", environ) == "from-environment"
    environ["CREDENTIALS_DIRECTORY"] = str(credentials)
    assert read_secret(plain, "crm.token_file", environ) == "from-credential"
    filed = loaded(tmp_path, {**environ, "CALLSPOOL_CRM__TOKEN_FILE": "token"})
    assert read_secret(filed, "crm.token_file", environ) == "from-file"
    token.chmod(0o644)
    with pytest.raises(ConfigInvalid, match="by everybody") as caught:
        read_secret(filed, "crm.token_file", environ)
    assert "chmod 600" in caught.value.fix


def test_a_dotenv_with_secrets_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("CRM_TOKEN=abc\n")
    dotenv.chmod(0o644)
    with pytest.raises(ConfigInvalid, match="by everybody"):
        loaded(tmp_path)
    os.chmod(dotenv, 0o600)
    assert read_secret(loaded(tmp_path), "crm.token_file", {}) == "abc"


def test_show_tells_every_setting_with_its_source(tmp_path: Path) -> None:
    rows = {row["key"]: row for row in settings(loaded(tmp_path, {"UPLOAD_BATCH_SIZE": "4"}))}
    assert set(rows) == {key for key, _ in leaves(Config)}
    assert rows["crm.batch"] == {"key": "crm.batch", "value": 4, "source": "UPLOAD_BATCH_SIZE"}
    assert rows["match.wait"]["value"] == "15m"
