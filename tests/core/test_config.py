"""The configuration: where values come from, and what is said of bad ones."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from daemon import dotenv
from daemon.cli.config import AsWritten, checked, settings
from daemon.config import Loaded, load, read_secret
from daemon.errors import ConfigInvalid
from daemon.house import Config
from daemon.sources import leaves
from handlers.compression_config import OLD_FILES
from handlers.settings import OLD_NAMES, Tier

ROOT = Path(__file__).parents[2]


def loaded(folder: Path, environ: dict[str, str] | None = None, **flags: Any) -> Loaded[Config]:
    return load(
        Config,
        file=None,
        environ=environ or {},
        cwd=folder,
        flags={key.replace("__", "."): value for key, value in flags.items()},
        old_names=OLD_NAMES,
        old_files=OLD_FILES,
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
        "RECORDINGS_DIR": "in/r",
        "CONVERSATIONS_DIR": "in/c",
        "LEADS_DIR": "in/l",
    }
    environ = {name: values.get(name, "12345") for name in OLD_NAMES}
    found = loaded(tmp_path, environ)
    shown = {row["key"]: row["value"] for row in settings(found)}
    for name, key in OLD_NAMES.items():
        assert found.source(key).where == name
        assert str(shown[key]).removesuffix("s").removesuffix(".0") == environ[name]
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
    assert "config.yaml:3: crm.attempts is '0'; allowed is" in said
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
    (credentials / "crm_token").chmod(0o400)
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
    assert list(rows) == [key for key, _ in leaves(Config)]
    assert rows["crm.batch"] == {"key": "crm.batch", "value": 4, "source": "UPLOAD_BATCH_SIZE"}
    written = {key: rows[key]["value"] for key in ("match.wait", "compress.min_saving", "storage.min_free")}
    assert written == {"match.wait": "15m", "compress.min_saving": "20%", "storage.min_free": "500MB"}
    assert rows["compress.tiers"]["value"] == [{"after": "7d", "bitrate": "96k"}]


def test_show_hides_secrets_and_queries(tmp_path: Path) -> None:
    environ = {
        "CRM_TOKEN": "t0ken",
        "CRM_UPLOAD_URL": "https://crm.example/u?key=abc",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
    }
    found = loaded(tmp_path, environ)
    rows = {row["key"]: row for row in settings(found)}
    assert rows["crm.token"] == {"key": "crm.token", "value": "***", "source": "CRM_TOKEN"}
    assert rows["storage.s3.secret_access_key"]["value"] == "***"
    assert rows["crm.upload_url"]["value"] == "https://crm.example/u?***"
    secret = read_secret(found, "crm.token_file", environ)
    assert (secret, repr(secret), f"Bearer {secret}") == ("t0ken", "'***'", "Bearer t0ken")
    said = repr(rows) + repr(found)
    assert "t0ken" not in said
    assert "s3cret" not in said


def test_the_schema_knows_every_key_and_takes_what_the_file_writes() -> None:
    schema = Config.model_json_schema(schema_generator=AsWritten)
    for key, _info in leaves(Config):
        place = schema
        for part in key.split("."):
            place = place["properties"][part]
            if "$ref" in place:
                place = schema["$defs"][place["$ref"].rpartition("/")[2]]
    match = schema["$defs"]["MatchSettings"]["properties"]
    assert match["wait"]["default"] == "15m"
    assert "string" in match["wait"]["type"]
    assert schema["$defs"]["CrmSettings"]["properties"]["retry"]["default"] == ["1m", "5m", "15m"]
    assert schema["properties"]["match"]["default"]["wait"] == "15m"


@pytest.mark.parametrize("spelling", ["12345", "00123", "1.10", "1_000", "2025-10-29", "12:30:45", "yes", "0x1F"])
def test_an_id_stays_as_it_was_written(tmp_path: Path, spelling: str) -> None:
    (tmp_path / "config.yaml").write_text(f"crm: {{campaign_id: {spelling}}}\n")
    assert loaded(tmp_path).config.crm.campaign_id == spelling
    assert loaded(tmp_path, {"CALLSPOOL_CRM__CAMPAIGN_ID": spelling}).config.crm.campaign_id == spelling


def test_null_takes_back_what_a_weaker_source_gave(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("crm: {upload_url: 'https://crm.example/u'}\nlog:\n")
    assert loaded(tmp_path, {"CALLSPOOL_CRM__UPLOAD_URL": "null"}).config.crm.upload_url is None
    assert "crm.timeout is empty; allowed is a duration" in complaint(tmp_path, {"CALLSPOOL_CRM__TIMEOUT": "null"})


BAD: dict[str, tuple[str, str]] = {
    "tag": ("crm: {batch: !!python/object:x 1}", "config.yaml:1:14: tags are not read"),
    "anchor": ("crm: {retry: &a [1s, *a]}", "config.yaml:1:14: anchors and aliases are not read"),
    "control character": ("crm: {batch: \x07}", "config.yaml:1:14: a character that YAML does not allow"),
    "two documents": ("crm: {}\n---\nlog: {}", "config.yaml:2:1"),
    "list": ("- crm", "config.yaml:1: the file must be a mapping of keys"),
    "section as value": ("crm: 5", "config.yaml:1: crm must be a mapping of keys"),
    "key twice in a list": ("compress:\n  tiers:\n    - {after: 7d, after: 8d, bitrate: 96k}", "after is given twice"),
    "key in a list": (
        "compress:\n  tiers:\n    - {aftr: 7d, bitrate: 96k}",
        "config.yaml:3: unknown key compress.tiers.0.aftr; did you mean after?",
    ),
    "bitrate": (
        "compress:\n  tiers:\n    - after: 7d\n      bitrate: loud",
        "config.yaml:4: compress.tiers.0.bitrate is",
    ),
    "wrong section": ("log: {upload_url: 'https://crm.example'}", "did you mean crm.upload_url?"),
    "secret": ("crm: {token: abc}", "config.yaml:1: crm.token is a secret and not written here"),
    "no such day": (
        "watch: {since: 2025-99-99}",
        "watch.since is '2025-99-99'; allowed is install, all, or an ISO time",
    ),
    "poll": ("watch: {poll: sometimes}", "allowed is auto, always, never"),
    "poll of no folder": ("watch: {poll: {recrdings: always}}", "for each of recordings, conversations, leads"),
    "one folder twice": (
        "watch: {leads: ./conversations/}",
        "watch.conversations and watch.leads must be folders apart",
    ),
    "folder in a folder": ("watch: {recordings: .}", "watch.recordings and watch.conversations must be folders apart"),
    "open door": ("http: {listen: '0.0.0.0:8888'}", "http.listen is reachable from elsewhere and needs a token"),
    "port": ("http: {listen: '127.0.0.1:99999'}", "allowed is an address such as 127.0.0.1:8888"),
    "cron": ("compress: {at: '61 2 * * *'}", "compress.at is '61 2 * * *'; allowed is five fields as in cron"),
    "pattern": ("match: {names: [{pattern: '('}]}", "match.names.0.pattern is '('; allowed is a regular expression"),
    "confidence": ("match: {confidence: 0.5}", "match.confidence"),
    "not a number": ("match: {confidence: .nan}", "allowed is a number"),
    "a target of nothing": ("collect: {target_hours: 5e-324}", "allowed is greater than or equal to 0.001"),
    "infinite": ("collect: {target_hours: inf}", "allowed is a finite number"),
    "overflow": ("crm: {timeout: 99999999999999999999d}", "allowed is a duration shorter"),
    "no wait": ("crm: {timeout: 0s}", "allowed is a duration above zero"),
    "no retry": ("crm: {retry: []}", "allowed is a list of at least one"),
    "success": ("crm: {success: success}", "allowed is a path such as $.success"),
    "region": ("match: {region: India}", "allowed is a country code"),
    "port of an address": ("crm: {upload_url: 'https://crm.example:99999'}", "must be a whole address"),
    "bracket": ("crm: {upload_url: 'https://[crm'}", "must be a whole address"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused_with_its_place_and_what_is_allowed(tmp_path: Path, case: str) -> None:
    text, said = BAD[case]
    (tmp_path / "config.yaml").write_text(text + "\n")
    assert said in complaint(tmp_path)


@pytest.mark.parametrize(
    ("variable", "folder", "said"),
    [
        ("PROCESSED_DIR", "conversations/processed_uploads", "watch.conversations and collect.markers"),
        ("PROCESSED_DIR", "link/markers", "watch.conversations and collect.markers"),
        ("CALLSPOOL_STATE__DIR", "leads", "watch.leads and state.dir"),
        ("CALLSPOOL_STORAGE__LOCAL__DIR", "..", "watch.recordings and storage.local.dir"),
        ("CALLSPOOL_STORAGE__LOCAL__DIR", "state/audio", "state.dir and storage.local.dir"),
        ("RECORDINGS_DIR", "uploads", "watch.recordings and storage.local.dir"),
    ],
)
def test_no_folder_of_ours_lies_in_one_that_is_watched(tmp_path: Path, variable: str, folder: str, said: str) -> None:
    (tmp_path / "conversations").mkdir()
    (tmp_path / "link").symlink_to("conversations")
    assert f"{variable}: {said} must be folders apart" in complaint(tmp_path, {variable: folder})


def test_folders_whose_names_begin_alike_are_apart(tmp_path: Path) -> None:
    given = loaded(tmp_path, {"PROCESSED_DIR": "conversations_done", "LEADS_DIR": "conversations.leads"})
    assert given.config.collect.markers == "conversations_done"


def test_bad_addresses_are_listed_beside_other_problems(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("crm: {upload_url: 'http://crm.example', batch: 0}\n")
    with pytest.raises(ConfigInvalid) as caught:
        loaded(tmp_path)
    assert [problem.split(" ")[1] for problem in caught.value.problems] == ["crm.batch", "crm.upload_url"]


def test_a_bad_value_that_may_hold_a_secret_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "crm: {token: hunter2, token_file: [hunter2], upload_url: ['https://a:hunter2@x']}\nlog: {level: 'https://a:hunter2@x'}\n"
    )
    assert "hunter2" not in complaint(tmp_path, {"CALLSPOOL_CRM__BATCH": "[hunter2"})


def test_an_open_door_with_a_token_is_fine(tmp_path: Path) -> None:
    assert loaded(tmp_path, {"CALLSPOOL_HTTP__LISTEN": "0.0.0.0:80", "HTTP_TOKEN": "t"}).config.http.listen


def test_a_variable_with_a_single_underscore_is_warned_of(tmp_path: Path) -> None:
    (warning,) = loaded(tmp_path, {"CALLSPOOL_CRM_BATCH": "3", "CALLSPOOL_TRACE": "x"}).warnings
    assert warning == "CALLSPOOL_CRM_BATCH sets nothing; did you mean CALLSPOOL_CRM__BATCH?"


def test_the_new_name_counts_where_an_old_one_disagrees_and_says_so(tmp_path: Path) -> None:
    found = loaded(tmp_path, {"UPLOAD_BATCH_SIZE": "3", "CALLSPOOL_CRM__BATCH": "4"})
    assert found.config.crm.batch == 4
    assert found.warnings == ("CALLSPOOL_CRM__BATCH counts, UPLOAD_BATCH_SIZE says otherwise",)


def test_a_dotenv_names_its_lines_and_says_what_it_did_not_understand(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# old\nCRM_UPLOAD_URL='https://crm.example/u' # why\nwhat is this\nUPLOAD_BATCH_SIZE=x\n"
    )
    assert ".env:4: crm.batch is 'x'; allowed is a whole number" in complaint(tmp_path)
    (tmp_path / ".env").write_text("CRM_UPLOAD_URL='https://crm.example/u' # why\nwhat is this\n")
    found = loaded(tmp_path)
    assert (found.config.crm.upload_url, found.source("crm.upload_url").where) == ("https://crm.example/u", ".env:1")
    assert found.warnings == (".env:2: not read, since it is not KEY=VALUE",)


def test_a_dotenv_is_read_as_shells_and_other_programs_write_it() -> None:
    text = (
        "\ufeffA=1\r\n"
        "export B = two words # a comment\n"
        "  # a comment\n\n"
        "C='a # b'\n"
        'D="say \\"hi\\"\\n$D" # x\n'
        "E='two\nlines'\n"
        "F=#\n"
        "G=a#b\n"
        "H=\n"
        "A=last wins"
    )
    found, strange = dotenv.parse(text)
    assert {name: variable.value for name, variable in found.items()} == {
        "A": "last wins",
        "B": "two words",
        "C": "a # b",
        "D": 'say "hi"\n$D',
        "E": "two\nlines",
        "F": "",
        "G": "a#b",
        "H": "",
    }
    assert (found["F"].line, strange) == (9, [])
    assert dotenv.parse("A='open\nB=2\n-C=3")[1] == [1, 3]


def test_a_time_without_a_zone_is_in_the_watch_s_zone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("watch: {since: 2025-10-29 06:00, timezone: Asia/Kolkata}\n")
    since = loaded(tmp_path).config.watch.since
    assert not isinstance(since, str)
    assert since.utcoffset() == timedelta(hours=5, minutes=30)


def test_a_secret_that_everybody_may_read_is_a_problem_from_the_start(tmp_path: Path) -> None:
    token = tmp_path / "a token"
    token.write_text("t0ken\n")
    token.chmod(0o604)
    said = complaint(tmp_path, {"CALLSPOOL_CRM__TOKEN_FILE": "a token"})
    assert f"chmod 600 '{token}'" in said
    assert "t0ken" not in said


@pytest.mark.parametrize("content", ["", "two words", "\xff"])
def test_check_reads_the_secrets_too(tmp_path: Path, content: str) -> None:
    token = tmp_path / "token"
    token.write_bytes(content.encode("latin-1"))
    token.chmod(0o600)
    environ = {"CALLSPOOL_CRM__TOKEN_FILE": "token"}
    answer, error = checked(lambda: loaded(tmp_path, environ), environ)
    assert error is not None
    assert answer["valid"] is False
    assert str(token) in answer["problems"][0]
    token.write_text("t0ken\n")
    assert checked(lambda: loaded(tmp_path, environ), environ) == ({"valid": True, "warnings": []}, None)


def test_a_configuration_that_is_not_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"crm: \xff\n")
    assert "is not UTF-8 at byte 5" in _refusal(tmp_path)


def _refusal(folder: Path) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        loaded(folder)
    return str(caught.value)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
@hypothesis_settings(deadline=None, max_examples=150)
def test_no_text_anywhere_brings_anything_but_a_configuration_or_its_refusal(
    tmp_path_factory: pytest.TempPathFactory, file: str, env: str, variable: str
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "config.yaml").write_text(file, encoding="utf-8", errors="replace")
    (folder / ".env").write_text(env, encoding="utf-8", errors="replace")
    for key in (
        "CALLSPOOL_CRM__RETRY",
        "CALLSPOOL_WATCH__SINCE",
        "CALLSPOOL_WATCH__POLL",
        "CRM_UPLOAD_URL",
        "CALLSPOOL_X__Y",
    ):
        with suppress(ConfigInvalid):
            loaded(folder, {key: variable})


# ------------------------------------------------------------------------------------------------- compression_config


OLD_COMPRESSION = (
    '{"age_threshold_days": 14, "target_bitrate": 48, "target_format": "mp3", "delete_originals": false, '
    '"verify_before_delete": false, "log_file": "compression.log", "dry_run": true, "colour": 1}'
)


def test_the_compression_config_of_an_older_system_is_honoured_and_verification_stays_on(tmp_path: Path) -> None:
    (tmp_path / "compression_config.json").write_text(OLD_COMPRESSION)
    found = loaded(tmp_path)
    compress = found.config.compress
    assert compress.tiers == (Tier(after=timedelta(days=14), bitrate=48_000),)
    assert (compress.delete_originals, compress.log_file, compress.dry_run) == (False, "compression.log", True)
    assert found.source("compress.tiers").where == "compression_config.json"
    said = "\n".join(found.warnings)
    assert all(word in said for word in ("target_format", "verification cannot be switched off", "colour is unknown"))


def test_what_is_said_of_today_counts_before_it_and_the_difference_is_told(tmp_path: Path) -> None:
    (tmp_path / "compression_config.json").write_text(OLD_COMPRESSION)
    (tmp_path / "config.yaml").write_text("compress:\n  delete_originals: true\n")
    found = loaded(tmp_path, {"CALLSPOOL_COMPRESS__DRY_RUN": "false"})
    assert (found.config.compress.delete_originals, found.config.compress.dry_run) == (True, False)
    assert any("config.yaml:2: compress.delete_originals counts" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "it is no JSON"), ("[]", "must be a JSON object"), ('{"age_threshold_days": "soon"}', "compress.tiers")],
)
def test_a_compression_config_that_says_nothing_legible_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "compression_config.json").write_text(text)
    told = complaint(tmp_path)
    assert "compression_config.json" in told
    assert words in told
