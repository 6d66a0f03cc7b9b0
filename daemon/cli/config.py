"""``callspool config``: check, show, schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import typer
from pydantic import BaseModel

from daemon.config import Loaded, leaves, value_at
from daemon.contract import Json
from daemon.quantities import duration_text

Show = Callable[[Json, str], None]


def verbs(load: Callable[[], Loaded[Any]], show: Show) -> typer.Typer:
    """The group; ``load`` raises ConfigInvalid."""
    group = typer.Typer(help="The configuration: is it valid, what is it, what may it be.", no_args_is_help=True)

    @group.command("check")
    def check() -> int:
        """Read and check everything; exit 78 where something is wrong."""
        loaded = load()
        text = "\n".join(["the configuration is valid", *(f"warning: {w}" for w in loaded.warnings)])
        show({"valid": True, "warnings": list(loaded.warnings)}, text)
        return 0

    @group.command("show")
    def show_all() -> int:
        """Every setting with its value and where that came from."""
        loaded = load()
        rows = settings(loaded)
        width = max(len(row["key"]) for row in rows)
        text = "\n".join(f"{row['key']:<{width}}  {_short(row['value']):<40}  {row['source']}" for row in rows)
        show(rows, text)
        return 0

    @group.command("schema")
    def schema() -> int:
        """The JSON Schema of the configuration file."""
        found = type(load().config).model_json_schema()
        show(found, json.dumps(found, indent=2))
        return 0

    return group


def settings(loaded: Loaded[Any]) -> list[dict[str, Any]]:
    """Every setting: key, value as it would be written, source."""
    return [
        {"key": key, "value": written(value_at(loaded.config, key)), "source": loaded.source(key).where}
        for key, _annotation in leaves(type(loaded.config))
    ]


def written(value: Any) -> Any:
    """A value as one writes it in ``config.yaml``."""
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, (list, tuple)):
        return [written(inner) for inner in value]
    if isinstance(value, BaseModel):
        return {name: written(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {key: written(inner) for key, inner in value.items()}
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)


def _short(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
