"""``callspool config``: check, show, schema."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import typer
from pydantic.json_schema import GenerateJsonSchema

from daemon.config import Loaded, read_secret
from daemon.contract import Json
from daemon.errors import ConfigInvalid
from daemon.outward import Address, SecretFile, without_query
from daemon.quantities import duration_text
from daemon.sources import leaves, marked

Show = Callable[[Json, str], None]


def verbs(load: Callable[[], Loaded[Any]], show: Show) -> typer.Typer:
    """The group; ``load`` raises ConfigInvalid."""
    group = typer.Typer(help="The configuration: is it valid, what is it, what may it be.", no_args_is_help=True)

    @group.command("check")
    def check() -> int:
        """Read and check everything, secrets included; exit 78 where something is wrong."""
        answer, error = checked(load, os.environ)
        if error is not None:
            text = f"callspool: {error}\n  -> {error.fix}"
        else:
            text = "\n".join(["the configuration is valid", *(f"warning: {w}" for w in answer["warnings"])])
        show(answer, text)
        return 0 if error is None else error.exit_code

    @group.command("show")
    def show_all() -> int:
        """Every setting with its value and where that came from."""
        rows = settings(load())
        width = max(len(row["key"]) for row in rows)
        text = "\n".join(f"{row['key']:<{width}}  {_short(row['value']):<40}  {row['source']}" for row in rows)
        show(rows, text)
        return 0

    @group.command("schema")
    def schema() -> int:
        """The JSON Schema of the configuration file."""
        from daemon.house import Config

        found = Config.model_json_schema(schema_generator=AsWritten)
        show(found, json.dumps(found, indent=2, ensure_ascii=False))
        return 0

    return group


class AsWritten(GenerateJsonSchema):
    """JSON Schema whose defaults are spelt as the configuration spells them."""

    def encode_default(self, dft: Any) -> Any:
        """Durations as ``15m``, not as ISO 8601."""
        if isinstance(dft, timedelta):
            return duration_text(dft)
        if isinstance(dft, tuple):
            return [self.encode_default(item) for item in dft]
        return super().encode_default(dft)


def checked(load: Callable[[], Loaded[Any]], environ: Mapping[str, str]) -> tuple[dict[str, Any], ConfigInvalid | None]:
    """The answer of ``config check``, and the error that decides its exit code."""
    try:
        loaded = load()
        for key, _mark in marked(dict(leaves(type(loaded.config))), SecretFile):
            read_secret(loaded, key, environ)
    except ConfigInvalid as error:
        return {"valid": False, "problems": list(error.problems), "fix": error.fix}, error
    return {"valid": True, "warnings": list(loaded.warnings)}, None


def settings(loaded: Loaded[Any]) -> list[dict[str, Any]]:
    """Every setting: key, value as it would be written, source; then every secret that is given, as ``***``."""
    tree = loaded.config.model_dump(mode="json", by_alias=True)
    known = dict(leaves(type(loaded.config)))
    addresses = {key for key, _mark in marked(known, Address)}
    rows = [
        {"key": key, "value": _shown(_at(tree, key), key in addresses), "source": loaded.source(key).where}
        for key in known
    ]
    given = [{"key": key.removesuffix("_file"), "value": "***", "source": at} for key, at in loaded.secrets.items()]
    return rows + given


def _shown(value: Any, is_address: bool) -> Any:
    return without_query(value) if is_address and isinstance(value, str) else value


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


def _short(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
