"""A frozen configuration out of flags, environment, ``.env``, a YAML file and defaults; knows the source of every
value.

The schema is a pydantic model composed by ``app``: the machine's sections (``sections``) and the rooms' own. Loading
knows only models, dotted keys and where each value came from, so that an error can name source, line and key, and the
nearest known key where one is misspelt. All problems are reported at once.
"""

from __future__ import annotations

import difflib
import os
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from daemon import outward
from daemon.errors import ConfigInvalid
from daemon.folders import OwnFolder, overlaps
from daemon.outward import Address, Secret, SecretFile
from daemon.sections import MachineConfig as MachineConfig  # noqa: PLC0414 - the schema's root belongs to the loader's names
from daemon.sources import (
    DEFAULT,
    OldFile,
    Reading,
    Source,
    Value,
    dotenv_text,
    leaves,
    marked,
    read_dotenv,
    read_environ,
    read_file,
    read_old_file,
    yaml_value,
)

C = TypeVar("C", bound=MachineConfig)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[C]):
    """A valid configuration. ``base`` is the folder that relative paths are relative to.

    ``secrets`` says, for the key of every secret that is given, where it is: never what it is.
    """

    config: C
    sources: Mapping[str, Source]
    warnings: tuple[str, ...]
    base: Path
    secrets: Mapping[str, str] = field(default_factory=dict)

    def source(self, key: str) -> Source:
        """Where the value of a dotted key came from."""
        return self.sources.get(key, DEFAULT)

    def differs_from(self, other: Loaded[C]) -> tuple[str, ...]:
        """The dotted keys whose values are not the same."""
        keys = [key for key, _info in leaves(type(self.config))]
        return tuple(key for key in keys if value_at(self.config, key) != value_at(other.config, key))

    def path(self, given: str | Path) -> Path:
        """A path of the configuration, absolute; ``~`` is the home folder."""
        return self.base / os.path.expanduser(given)


def load(
    schema: type[C],
    *,
    file: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    flags: Mapping[str, Any],
    old_names: Mapping[str, str],
    old_files: Mapping[str, OldFile] = MappingProxyType({}),
) -> Loaded[C]:
    """Read and check everything. ``old_names`` maps variable names of older systems to dotted keys, ``old_files`` their
    JSON files' names to what turns such a document into values; both stand back behind whatever is said of today.

    Raises ConfigInvalid (exit 78) that lists every problem, each with its source, line, key and what is allowed.
    """
    reading = Reading(dict(leaves(schema)))
    path = _config_path(file, cwd)
    base = (path.parent if path is not None else cwd).absolute()
    for name, translate in old_files.items():
        read_old_file(reading, base / name, translate)
    if path is not None:
        read_file(reading, path)
    private = read_dotenv(reading, base / ".env", old_names)
    read_environ(reading, environ, {name: Source("environment", name) for name in environ}, old_names)
    for key, text in flags.items():
        value = yaml_value(reading, f"--set {key}", text) if isinstance(text, str) else text
        reading.put(key, Value(value, Source("flag", f"--set {key}")))
    config = _validate(schema, reading)
    secrets = _secrets(reading, {**private, **environ}, base)
    _check_addresses(reading, secrets)
    _check_listening(reading, config, secrets)
    _check_folders(reading, config, base)
    if config is None or reading.problems:
        raise _invalid(reading.problems)
    sources = {key: value.source for key, value in reading.values.items()}
    return Loaded(config, sources, tuple(reading.warnings), base, secrets)


def value_at(config: BaseModel, key: str) -> Any:
    """The value of a dotted key."""
    value: Any = config
    for part in key.split("."):
        names = {info.alias or name: name for name, info in type(value).model_fields.items()}
        value = getattr(value, names[part])
    return value


def read_secret(loaded: Loaded[Any], key: str, environ: Mapping[str, str]) -> Secret | None:
    """The secret behind a ``*_file`` key: from that file, else a systemd credential, else the environment or ``.env``.

    Read anew at each call, so that a secret that was replaced is found. None where there is none. Raises ConfigInvalid
    for a file that others may read or write, or that cannot be read.
    """
    given = value_at(loaded.config, key)
    if given:
        return outward.read_private(loaded.path(given), key)
    (variable,) = (mark.variable for k, mark in marked(dict(leaves(type(loaded.config))), SecretFile) if k == key)
    credential = outward.credential(variable, environ)
    if credential is not None:
        return outward.read_private(credential, f"credential {credential.name}")
    text = environ.get(variable, "").strip()
    if not text:
        found = dotenv_text(loaded.base / ".env")[0].get(variable)
        text = found.value.strip() if found is not None else ""
    return Secret(text) if text else None


def _config_path(file: Path | None, cwd: Path) -> Path | None:
    if file is not None:
        path = cwd / file
        if not path.is_file():
            raise ConfigInvalid(f"there is no configuration file {file}", fix="callspool --config FILE config check")
        return path
    default = cwd / "config.yaml"
    return default if default.is_file() else None


def _validate(schema: type[C], reading: Reading) -> C | None:
    tree: dict[str, Any] = {}
    for key, value in reading.values.items():
        branch = tree
        *sections, leaf = key.split(".")
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[leaf] = value.value
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            problem = _problem(reading, detail)
            if problem not in reading.problems:
                reading.problems.append(problem)
        return None


def _problem(reading: Reading, detail: ErrorDetails) -> str:
    """One complaint of the models, in a person's words."""
    place = ".".join(str(part) for part in detail["loc"])
    key = next((k for k in _ancestors(place) if k in reading.values), None)
    if key is None:  # a rule over a whole section
        within = (v for k, v in reading.values.items() if k.startswith(f"{place}."))
        where = next((value.source.where for value in within), DEFAULT.where)
        return f"{where}: {place}: {_allowed(detail)}"
    value = reading.values[key]
    line = next((value.lines[p] for p in _ancestors(place) if p in value.lines), None)
    where = value.source.where if line is None else f"{value.source.where.rpartition(':')[0]}:{line}"
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(detail["loc"][-1]), _inner_keys(reading.known[key].annotation), n=1)
        return f"{where}: unknown key {place}" + (f"; did you mean {near[0]}?" if near else "")
    if detail["type"] == "missing":
        return f"{where}: {place} is missing"
    return f"{where}: {place} is {_shown(reading, key, detail['input'])}; allowed is {_allowed(detail)}"


def _ancestors(place: str) -> Iterator[str]:
    """The place itself and every place it lies in, nearest first."""
    parts = place.split(".")
    for end in range(len(parts), 0, -1):
        yield ".".join(parts[:end])


def _inner_keys(annotation: Any) -> list[str]:
    """The keys of the models inside a value's annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [info.alias or name for name, info in annotation.model_fields.items()]
    return [key for inner in typing.get_args(annotation) for key in _inner_keys(inner)]


def _shown(reading: Reading, key: str, value: Any) -> str:
    """A bad value as an error may repeat it: not where it may carry a secret."""
    marks = reading.known[key].metadata
    if any(isinstance(mark, (Address, SecretFile)) for mark in marks) or "://" in str(value):
        return "***"
    return "empty" if value is None else repr(value)


_WORDS: Mapping[str, str] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "too_short": "a list of at least one",
}


def _allowed(detail: ErrorDetails) -> str:
    message = detail["msg"]
    for opening in ("Value error, ", "Input should be "):
        message = message.removeprefix(opening)
    return _WORDS.get(detail["type"], message)


def _secrets(reading: Reading, environ: Mapping[str, str], base: Path) -> dict[str, str]:
    """Where every secret is that is given; a file that everybody may read or write is a problem."""
    found: dict[str, str] = {}
    for key, mark in marked(reading.known, SecretFile):
        given = reading.values.get(key)
        credential = outward.credential(mark.variable, environ)
        if given is not None and isinstance(given.value, str) and given.value:
            path = base / os.path.expanduser(given.value)
            found[key] = str(path)
            if outward.exposed(path):
                error = outward.exposure(key, path)
                reading.problems.append(f"{given.source.where}: {error}; {error.fix}")
        elif credential is not None:
            found[key] = f"credential {credential.name}"
        elif environ.get(mark.variable, "").strip():
            found[key] = mark.variable
    return found


def _check_addresses(reading: Reading, secrets: Mapping[str, str]) -> None:
    """https everywhere but on loopback or where plain http was allowed; userinfo never.

    A plain address under a name of an older system is only warned of, unless a secret would travel over it.
    """
    for key, mark in marked(reading.known, Address):
        given = reading.values.get(key)
        if given is None or not isinstance(given.value, str) or not given.value:
            continue
        where, section = given.source.where, key.rpartition(".")[0]
        fault = outward.address_fault(given.value)
        if fault is not None:
            reading.problems.append(f"{where}: {key} {fault}")
        elif outward.is_plain(given.value):
            allowed, secret = _says_yes(reading, f"{section}.allow_plaintext"), mark.carries in secrets
            if secret and allowed:
                reading.warnings.append(f"{where}: {key} is plain http: the token travels unprotected; use https")
            elif secret:
                reading.problems.append(f"{where}: {key} is plain http and a token would travel over it; use https")
            elif given.old and not allowed:
                reading.warnings.append(f"{where}: {key} is plain http: recordings travel unprotected; use https")
            elif not allowed:
                reading.problems.append(
                    f"{where}: {key} is plain http; use https, or set {section}.allow_plaintext: true"
                )


def _says_yes(reading: Reading, key: str) -> bool:
    given = reading.values.get(key)
    try:
        return given is not None and TypeAdapter(bool).validate_python(given.value)
    except ValidationError:
        return False


def _check_listening(reading: Reading, config: MachineConfig | None, secrets: Mapping[str, str]) -> None:
    """Whoever can reach more than loopback needs a token."""
    key = "http.listen"
    if config is None or key not in reading.values or "http.token_file" in secrets:
        return
    if config.http.listen != "off" and not outward.is_loopback(config.http.listen.rpartition(":")[0]):
        where = reading.values[key].source.where
        reading.problems.append(
            f"{where}: {key} is reachable from elsewhere and needs a token: http.token_file, or HTTP_TOKEN"
        )


def _check_folders(reading: Reading, config: MachineConfig | None, base: Path) -> None:
    """One folder inside another would give each file of it two meanings: markers would be taken for transcripts."""
    if config is None:
        return
    given = {key: base / os.path.expanduser(value_at(config, key)) for key, _mark in marked(reading.known, OwnFolder)}
    for pair in overlaps(given):
        where = next(
            (reading.values[key].source.where for key in reversed(pair) if key in reading.values), DEFAULT.where
        )
        reading.problems.append(f"{where}: {pair[0]} and {pair[1]} must be folders apart, neither inside the other")


def _invalid(problems: list[str]) -> ConfigInvalid:
    count = f"{len(problems)} problems in the configuration" if len(problems) > 1 else "the configuration is invalid"
    return ConfigInvalid(
        "\n  ".join([f"{count}:", *problems]), fix="mend it, then: callspool config check", problems=tuple(problems)
    )
