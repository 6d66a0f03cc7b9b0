"""``compression_config.json`` of a system that compressed here before (formats, section 8), as settings of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME = "compression_config.json"
KNOWN = (
    "age_threshold_days",
    "target_bitrate",
    "target_format",
    "delete_originals",
    "verify_before_delete",
    "log_file",
    "dry_run",
)
AS_THEY_ARE = {
    "delete_originals": "compress.delete_originals",
    "log_file": "compress.log_file",
    "dry_run": "compress.dry_run",
}
SMALLEST_BITRATE = 1000
"""A plain number below this counts in kbit/s: Opus does not go below 6 kbit/s, and nobody meant 96 bit/s."""


def settings_of(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values by dotted key, as the configuration spells them, and what is to be said of the rest."""
    values = {key: document[name] for name, key in AS_THEY_ARE.items() if document.get(name) is not None}
    warnings = [f"{name} is unknown and not read" for name in document if name not in KNOWN]
    days, rate = document.get("age_threshold_days"), document.get("target_bitrate")
    if days is not None or rate is not None:
        values["compress.tiers"] = [{"after": _age(days), "bitrate": _rate(rate)}]
    if str(document.get("target_format") or "opus").lower().lstrip(".") not in ("opus", "ogg"):
        warnings.append("target_format: copies are Opus in Ogg (.opus), whatever it says")
    if document.get("verify_before_delete") is False:
        warnings.append("verify_before_delete: verification cannot be switched off, and stays on")
    return values, warnings


OLD_FILES = {NAME: settings_of}
"""By their names, the files of older systems that are read beside the configuration."""


def _age(days: Any) -> Any:
    return "7d" if days is None else f"{days}d"


def _rate(given: Any) -> Any:
    if given is None:
        return "96k"
    is_kbit = isinstance(given, int | float) and not isinstance(given, bool) and given < SMALLEST_BITRATE
    return f"{given}k" if is_kbit else given
