"""A frozen configuration out of flags, environment, ``.env``, a YAML file and defaults; knows the source of every
value.

The schema is a pydantic model composed by ``app``: the machine's sections below, and the rooms' own. Loading knows only
models, dotted keys and where each value came from, so that an error can name source, line and key, and the nearest
known key where one is misspelt. All problems are reported at once.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import stat
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from daemon.errors import ConfigInvalid
from daemon.quantities import duration

PREFIX = "CALLSPOOL_"
SECRET_KEYS = ("crm.token_file", "http.token_file")
ADDRESS_KEYS = ("crm.upload_url", "crm.call_data_url", "crm.lookup_url", "storage.s3.endpoint_url")
"""Keys that hold an address something private is sent to."""

CREDENTIALS: Mapping[str, str] = {"crm.token_file": "CRM_TOKEN", "http.token_file": "HTTP_TOKEN"}
"""The environment variable that may hold the secret itself; in lower case, the name of its systemd credential."""


def _positive(given: timedelta) -> timedelta:
    if given <= timedelta(0):
        raise ValueError("a duration above zero")
    return given


def _since(given: object) -> object:
    if given in ("install", "all"):
        return given
    try:
        at = given if isinstance(given, datetime) else datetime.fromisoformat(str(given))
    except ValueError:
        raise ValueError("install, all, or an ISO time") from None
    return at if at.tzinfo is not None else at.astimezone()


def _zone(given: str) -> str:
    from zoneinfo import ZoneInfo

    if given != "host":
        try:
            ZoneInfo(given)
        except (KeyError, ValueError, OSError):
            raise ValueError("host, UTC, or a zone such as Asia/Kolkata") from None
    return given


def _listen(given: str) -> str:
    host, colon, port = given.rpartition(":")
    if not (colon and host and port.isdigit() and int(port) < 65536):
        raise ValueError("an address such as 127.0.0.1:8888")
    return given


Window = Annotated[timedelta, BeforeValidator(duration), AfterValidator(_positive)]
Poll = Literal["auto", "always", "never"]


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quiet(Section):
    """How long a file must stand still where proof is lacking."""

    audio: Window = timedelta(seconds=10)
    json_: Window = Field(default=timedelta(seconds=2), alias="json")
    unproved: Window = timedelta(minutes=3)


class WatchSettings(Section):
    """The watched folders and how their files settle."""

    recordings: str = "recordings"
    conversations: str = "conversations"
    leads: str = "leads"
    timezone: Annotated[str, AfterValidator(_zone)] = "host"
    scan_every: Window = timedelta(seconds=60)
    quiet: Quiet = Quiet()
    max_settle: Window = timedelta(hours=6)
    since: Annotated[Literal["install", "all"] | datetime, BeforeValidator(_since)] = "install"
    ready_suffix: str = ""
    ignore: tuple[str, ...] = ()
    poll: Poll | Mapping[str, Poll] = "auto"
    guard: str = ""


class StateSettings(Section):
    """Where the ledger lies."""

    dir: str = "state"


class HttpSettings(Section):
    """Where the daemon listens."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:8888"
    token_file: str | None = None


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class MachineConfig(Section):
    """The machine's sections."""

    watch: WatchSettings = WatchSettings()
    state: StateSettings = StateSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()


C = TypeVar("C", bound=MachineConfig)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value came from: ``kind`` by precedence, ``where`` as a person finds it."""

    kind: Literal["flag", "environment", "dotenv", "file", "default"]
    where: str


DEFAULT = Source("default", "default")


@dataclass(frozen=True, slots=True)
class Loaded(Generic[C]):
    """A valid configuration. ``base`` is the folder that relative paths are relative to."""

    config: C
    sources: Mapping[str, Source]
    warnings: tuple[str, ...]
    base: Path

    def source(self, key: str) -> Source:
        """Where the value of a dotted key came from."""
        return self.sources.get(key, DEFAULT)


@dataclass(frozen=True, slots=True)
class _Value:
    value: Any
    source: Source


def load(
    schema: type[C],
    *,
    file: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    flags: Mapping[str, Any],
    old_names: Mapping[str, str],
) -> Loaded[C]:
    """Read and check everything. ``old_names`` maps variable names of older systems to dotted keys.

    Raises ConfigInvalid (exit 78) that lists every problem, each with its source, line, key and what is allowed.
    """
    known = dict(leaves(schema))
    problems: list[str] = []
    path = _config_path(file, cwd)
    base = (path.parent if path is not None else cwd).absolute()
    values: dict[str, _Value] = {}
    if path is not None:
        values.update(_from_file(path, known, problems))
    dotenv = _read_dotenv(base / ".env")
    values.update(_from_environ(dotenv, "dotenv", known, old_names, problems))
    values.update(_from_environ(environ, "environment", known, old_names, problems))
    for key, text in flags.items():
        _put(values, key, _yaml_value(text), Source("flag", f"--set {key}"), known, problems)
    config = _validate(schema, values, problems)
    if config is None or problems:
        raise _invalid(problems)
    sources = {key: value.source for key, value in values.items()}
    warnings = _check_addresses(config, sources, {**dotenv, **environ}, problems)
    if problems:
        raise _invalid(problems)
    return Loaded(config, sources, tuple(warnings), base)


def leaves(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key that holds a value and not a section, with its annotation."""
    for name, field in schema.model_fields.items():
        key = prefix + (field.alias or name)
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from leaves(annotation, key + ".")
        else:
            yield key, annotation


def value_at(config: BaseModel, key: str) -> Any:
    """The value of a dotted key."""
    value: Any = config
    for part in key.split("."):
        names = {field.alias or name: name for name, field in type(value).model_fields.items()}
        value = getattr(value, names[part])
    return value


def read_secret(loaded: Loaded[Any], key: str, environ: Mapping[str, str]) -> str | None:
    """The secret behind a ``*_file`` key: from that file, else a systemd credential, else the environment.

    None where there is none. Raises ConfigInvalid for a file that others may read, or that cannot be read.
    """
    given = value_at(loaded.config, key)
    variable = CREDENTIALS[key]
    if given:
        return _read_private(loaded.base / given, key)
    credential = Path(environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / variable.lower()
    if credential.is_file():
        return credential.read_text().strip() or None
    return environ.get(variable) or _read_dotenv(loaded.base / ".env").get(variable) or None


def _read_private(path: Path, key: str) -> str:
    try:
        mode = path.stat().st_mode
        secret = path.read_text().strip()
    except OSError as error:
        raise ConfigInvalid(f"{key}: {path} cannot be read ({error.strerror})", fix=f"ls -l {path}") from None
    if mode & stat.S_IROTH:
        raise ConfigInvalid(f"{key}: {path} can be read by everybody", fix=f"chmod 600 {path}")
    if not secret:
        raise ConfigInvalid(f"{key}: {path} is empty", fix=f"put the token into {path}")
    return secret


# ---------------------------------------------------------------------------------------------------- sources


def _config_path(file: Path | None, cwd: Path) -> Path | None:
    if file is not None:
        path = cwd / file
        if not path.is_file():
            raise ConfigInvalid(f"there is no configuration file {file}", fix="callspool --config FILE config check")
        return path
    default = cwd / "config.yaml"
    return default if default.is_file() else None


def _from_file(path: Path, known: Mapping[str, Any], problems: list[str]) -> dict[str, _Value]:
    try:
        root = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path.name}:{mark.line + 1}:{mark.column + 1}" if mark else path.name
        what = getattr(error, "problem", None) or getattr(error, "strerror", None) or "is not UTF-8"
        raise ConfigInvalid(f"{place}: not YAML: {what}", fix=f"mend {path}; callspool config check") from None
    values: dict[str, _Value] = {}
    if root is not None:
        _walk(root, "", path.name, known, values, problems)
    return values


def _walk(
    node: yaml.Node,
    prefix: str,
    name: str,
    known: Mapping[str, Any],
    values: dict[str, _Value],
    problems: list[str],
) -> None:
    """Collect the leaves of a mapping node, with their lines."""
    if not isinstance(node, yaml.MappingNode):
        problems.append(
            f"{name}:{node.start_mark.line + 1}: {prefix.rstrip('.') or 'the file'} must be a mapping of keys"
        )
        return
    seen: set[str] = set()
    for key_node, value_node in node.value:
        key, line = prefix + str(key_node.value), key_node.start_mark.line + 1
        if key in seen:
            problems.append(f"{name}:{line}: {key} is given twice")
        seen.add(key)
        is_section = any(k.startswith(key + ".") for k in known)
        empty = isinstance(value_node, yaml.ScalarNode) and value_node.value == "" and value_node.style is None
        if is_section and not empty:
            _walk(value_node, key + ".", name, known, values, problems)
        elif not is_section:
            value = None if empty else _construct(value_node)
            if not empty or key not in known:
                _put(values, key, value, Source("file", f"{name}:{line}"), known, problems)


def _construct(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def _read_dotenv(path: Path) -> dict[str, str]:
    """KEY=VALUE lines, with optional ``export``, quotes and comments. Refused where others may read secrets in it."""
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        match = re.fullmatch(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*", line)
        if match is None or line.lstrip().startswith("#"):
            continue
        value = match[2]
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        else:
            value = re.sub(r"\s+#.*$", "", value)
        found[match[1]] = value
    secret = next((k for k in found if re.search(r"SECRET|TOKEN|PASSWORD", k) and found[k]), None)
    if secret and path.stat().st_mode & stat.S_IROTH:
        raise ConfigInvalid(f"{path} holds {secret} and can be read by everybody", fix=f"chmod 600 {path}")
    return found


def _from_environ(
    environ: Mapping[str, str],
    kind: Literal["environment", "dotenv"],
    known: Mapping[str, Any],
    old_names: Mapping[str, str],
    problems: list[str],
) -> dict[str, _Value]:
    """Old names first, so that the new ones win; an empty variable is not set."""
    values: dict[str, _Value] = {}
    for name, key in old_names.items():
        if environ.get(name):
            values[key] = _Value(_plain(known.get(key), environ[name]), Source(kind, name))
    for name in sorted(environ):
        rest = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and "__" in rest and environ[name] != "":
            key = rest.lower().replace("__", ".")
            source = Source(kind, name)
            try:
                value = yaml.safe_load(environ[name])
            except yaml.YAMLError:
                problems.append(f"{name}: {environ[name]!r} is not YAML")
                continue
            _put(values, key, value, source, known, problems)
    return values


def _plain(annotation: Any, text: str) -> Any:
    """The value of an old variable, which knows no YAML: text where text is wanted, else read as YAML."""
    wants_text = annotation is str or str in typing.get_args(annotation)
    return text if wants_text else _yaml_value(text)


def _yaml_value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _put(
    values: dict[str, _Value],
    key: str,
    value: Any,
    source: Source,
    known: Mapping[str, Any],
    problems: list[str],
) -> None:
    """Keep a value under a known key; a mapping given for a section is taken apart."""
    if key in known:
        values[key] = _Value(value, source)
    elif isinstance(value, Mapping) and any(k.startswith(key + ".") for k in known):
        for inner, item in value.items():
            _put(values, f"{key}.{inner}", item, source, known, problems)
    else:
        problems.append(f"{source.where}: unknown key {key}{_did_you_mean(key, known)}")


def _did_you_mean(key: str, known: Mapping[str, Any]) -> str:
    sections = {k.rsplit(".", i)[0] for k in known for i in range(1, k.count(".") + 1)}
    near = difflib.get_close_matches(key, [*known, *sections], n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else "; callspool config schema lists all keys"


# ---------------------------------------------------------------------------------------------------- checks


def _validate(schema: type[C], values: Mapping[str, _Value], problems: list[str]) -> C | None:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        branch = tree
        *sections, leaf = key.split(".")
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[leaf] = value.value
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            key = _key_of(detail["loc"], values)
            where = values[key].source.where if key in values else "default"
            shown = "***" if key in SECRET_KEYS else repr(values[key].value if key in values else detail["input"])
            problems.append(f"{where}: {key} is {shown}; allowed is {_allowed(detail)}")
        return None


def _key_of(loc: tuple[int | str, ...], values: Mapping[str, _Value]) -> str:
    parts = [str(part) for part in loc]
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in values:
            return ".".join(parts[:end])
    return ".".join(parts)


def _allowed(detail: Any) -> str:
    message = str(detail["msg"])
    for opening in ("Value error, ", "Input should be "):
        message = message.removeprefix(opening)
    return message


def _check_addresses(
    config: MachineConfig, sources: Mapping[str, Source], environ: Mapping[str, str], problems: list[str]
) -> list[str]:
    """https everywhere but on loopback or where plain http was allowed; userinfo never."""
    warnings = []
    known = dict(leaves(type(config)))
    for key in ADDRESS_KEYS:
        address = value_at(config, key) if key in known else None
        if not address:
            continue
        source = sources.get(key, DEFAULT)
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            problems.append(f"{source.where}: {key} must be a whole http(s) address")
        elif parts.username is not None or parts.password is not None:
            problems.append(f"{source.where}: {key} carries a user or password; put the token into crm.token_file")
        elif parts.scheme == "http" and not _loopback(parts.hostname):
            section = key.rpartition(".")[0]
            token = bool(_token_given(config, section, environ))
            if value_at(config, f"{section}.allow_plaintext"):
                continue
            if source.where in environ and not source.where.startswith(PREFIX) and not token:
                warnings.append(f"{source.where}: {key} is plain http: recordings travel unprotected; use https")
            elif token:
                problems.append(f"{source.where}: {key} is plain http and a token would travel over it; use https")
            else:
                problems.append(f"{source.where}: {key} is plain http; use https, or set {section}.allow_plaintext")
    return warnings


def _token_given(config: MachineConfig, section: str, environ: Mapping[str, str]) -> bool:
    if section != "crm":
        return bool(environ.get("AWS_SECRET_ACCESS_KEY"))
    credential = Path(environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / "crm_token"
    return bool(value_at(config, "crm.token_file") or environ.get("CRM_TOKEN") or credential.exists())


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _invalid(problems: list[str]) -> ConfigInvalid:
    count = f"{len(problems)} problems in the configuration" if len(problems) > 1 else "the configuration is invalid"
    return ConfigInvalid("\n  ".join([f"{count}:", *problems]), fix="mend it, then: callspool config check")
