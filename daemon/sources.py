"""Where the configuration's values come from: a YAML file, ``.env``, the environment, the command line.

A ``Reading`` keeps what was read under dotted keys, the later source winning, each value as it was written and with the
place it came from, together with everything that was wrong on the way. What a value means is not decided here.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daemon import dotenv, outward, yaml_text
from daemon.errors import ConfigInvalid
from daemon.folders import OwnFolder
from daemon.outward import Address, SecretFile

PREFIX = "CALLSPOOL_"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value came from: ``kind`` by precedence, ``where`` as a person finds it."""

    kind: Literal["flag", "environment", "dotenv", "file", "default"]
    where: str


DEFAULT = Source("default", "default")


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it was written. ``lines`` are those of what is inside it; ``old`` marks a name of older systems."""

    value: Any
    source: Source
    lines: Mapping[str, int] = field(default_factory=dict)
    old: bool = False


@dataclass(slots=True)
class Reading:
    """What has been read so far, the later source winning, and what was wrong with it."""

    known: Mapping[str, FieldInfo]
    values: dict[str, Value] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def put(self, key: str, value: Value) -> None:
        """Keep a value under a known key; a mapping given for a section is taken apart."""
        if key in self.known:
            self.values[key] = value
        elif isinstance(value.value, Mapping) and self.is_section(key):
            for inner, item in value.value.items():
                self.put(f"{key}.{inner}", Value(item, value.source, value.lines))
        elif not (value.value is None and self.is_section(key)):
            self.problems.append(f"{value.source.where}: {self.unknown(key)}")

    def is_section(self, key: str) -> bool:
        """Do keys lie below it?"""
        return any(known.startswith(f"{key}.") for known in self.known)

    def unknown(self, key: str) -> str:
        """What to say of a key that does not exist."""
        if self.is_section(key):
            return f"{key} must be a mapping of keys"
        for file_key, mark in marked(self.known, SecretFile):
            if key == file_key.removesuffix("_file"):
                return f"{key} is a secret and not written here; name its file in {file_key}, or set {mark.variable}"
        sections = {k.rsplit(".", i)[0] for k in self.known for i in range(1, k.count(".") + 1)}
        near = difflib.get_close_matches(key, [*self.known, *sections], n=1, cutoff=0.5)
        elsewhere = [known for known in self.known if known.rpartition(".")[2] == key.rpartition(".")[2]]
        nearest = (elsewhere if len(elsewhere) == 1 else near) or near
        hint = f"; did you mean {nearest[0]}?" if nearest else "; callspool config schema lists all keys"
        return f"unknown key {key}{hint}"


def leaves(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every dotted key that holds a value and not a section, with its field."""
    for name, info in schema.model_fields.items():
        key = prefix + (info.alias or name)
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from leaves(annotation, key + ".")
        else:
            yield key, info


M = TypeVar("M", Address, OwnFolder, SecretFile)


def marked(known: Mapping[str, FieldInfo], mark: type[M]) -> Iterator[tuple[str, M]]:
    """The keys whose fields carry a mark, and the mark."""
    for key, info in known.items():
        for found in info.metadata:
            if isinstance(found, mark):
                yield key, found


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read ({error.strerror})", fix=f"ls -l {path}") from None
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path} is not UTF-8 at byte {error.start}", fix=f"mend {path}") from None


def read_file(reading: Reading, path: Path) -> None:
    """The YAML file's values."""
    try:
        root = yaml_text.compose(_text_of(path))
        if root is not None:
            _walk(reading, root, "", path.name)
    except yaml_text.NotYaml as error:
        reading.problems.append(f"{path.name}:{error.line}:{error.column}: {error.what}")


OldFile = Callable[[Mapping[str, Any]], tuple[dict[str, Any], list[str]]]
"""Turns the document of an older system into values by dotted key, and warnings."""


def read_old_file(reading: Reading, path: Path, translate: OldFile) -> None:
    """The values of an older system's JSON file; nothing where there is none."""
    if not path.is_file():
        return
    try:
        document = json.loads(_text_of(path))
    except ValueError as error:
        reading.problems.append(f"{path.name}: it is no JSON ({error})")
        return
    if not isinstance(document, dict):
        reading.problems.append(f"{path.name}: it must be a JSON object")
        return
    values, warnings = translate(document)
    for key, value in values.items():
        reading.put(key, Value(value, Source("file", path.name), old=True))
    reading.warnings += [f"{path.name}: {warning}" for warning in warnings]


def _walk(reading: Reading, node: yaml.Node, prefix: str, name: str) -> None:
    """Collect the leaves of a section, with their lines."""
    if not isinstance(node, yaml.MappingNode):
        if yaml_text.value_of(node) is not None:
            what = prefix.rstrip(".") or "the file"
            reading.problems.append(f"{name}:{node.start_mark.line + 1}: {what} must be a mapping of keys")
        return
    seen: set[str] = set()
    for word, line, inner in yaml_text.entries(node):
        key = prefix + word
        if key in seen:
            reading.problems.append(f"{name}:{line}: {key} is given twice")
        seen.add(key)
        if reading.is_section(key):
            _walk(reading, inner, f"{key}.", name)
        else:
            lines = dict(yaml_text.lines_of(inner, key))
            _overrule(reading, key, Value(yaml_text.value_of(inner), Source("file", f"{name}:{line}"), lines))


def _overrule(reading: Reading, key: str, value: Value) -> None:
    """Keep the value of today's file, and say so where an older system's says otherwise."""
    before = reading.values.get(key)
    if before is not None and before.old and str(before.value) != str(value.value):
        reading.warnings.append(f"{value.source.where}: {key} counts, {before.source.where} says otherwise")
    reading.put(key, value)


def dotenv_text(path: Path) -> tuple[dict[str, dotenv.Variable], list[int]]:
    """The variables of a ``.env`` file and its strange lines; nothing where there is no such file."""
    return dotenv.parse(_text_of(path)) if path.is_file() else ({}, [])


def read_dotenv(reading: Reading, path: Path, old_names: Mapping[str, str]) -> dict[str, str]:
    """Its variables. Refused where it holds secrets and others may read it."""
    found, strange = dotenv_text(path)
    secrets = {mark.variable for _key, mark in marked(reading.known, SecretFile)}
    for name, variable in found.items():
        secret = name in secrets or re.search(r"SECRET|TOKEN|PASSWORD|API_?KEY", name)
        if secret and variable.value and outward.exposed(path):
            raise outward.exposure(name, path)
    reading.warnings += [f".env:{line}: not read, since it is not KEY=VALUE" for line in strange]
    variables = {name: variable.value for name, variable in found.items()}
    places = {name: Source("dotenv", f".env:{variable.line}") for name, variable in found.items()}
    read_environ(reading, variables, places, old_names)
    return {name: value for name, value in variables.items() if value}


def read_environ(
    reading: Reading, environ: Mapping[str, str], places: Mapping[str, Source], old_names: Mapping[str, str]
) -> None:
    """Old names first, so that the new ones win; an empty variable is not set."""
    given: dict[str, str] = {}
    for name, key in old_names.items():
        if environ.get(name):
            given[key] = name
            reading.put(key, Value(environ[name], places[name], old=True))
    for name in sorted(environ):
        rest = name.removeprefix(PREFIX)
        if not name.startswith(PREFIX) or not environ[name].strip():
            continue
        if "__" not in rest:
            reading.warnings += _misspelt(reading, name, places[name])
            continue
        key = rest.lower().replace("__", ".")
        if key in given and environ[given[key]] != environ[name]:
            reading.warnings.append(f"{_named(places[name], name)} counts, {given[key]} says otherwise")
        reading.put(key, Value(yaml_value(reading, places[name].where, environ[name]), places[name]))


def _named(place: Source, name: str) -> str:
    return name if place.where == name else f"{place.where}: {name}"


def _misspelt(reading: Reading, name: str, place: Source) -> Iterator[str]:
    """A warning for a name such as CALLSPOOL_CRM_BATCH, which sets nothing."""
    for key in reading.known:
        meant = PREFIX + key.upper().replace(".", "__")
        if meant.replace("__", "_") == name:
            yield f"{_named(place, name)} sets nothing; did you mean {meant}?"


def yaml_value(reading: Reading, where: str, text: str) -> Any:
    """A single value written as YAML."""
    try:
        return yaml_text.read(text)
    except yaml_text.NotYaml as error:
        reading.problems.append(f"{where}: not YAML: {error}")
        return None
