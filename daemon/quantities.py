"""Durations, percentages, bitrates and sizes as people write them. Leaf, pure."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(|K|M|G|T)i?B?", re.IGNORECASE)
_RATE = re.compile(r"(\d+(?:\.\d+)?)(k?)", re.IGNORECASE)


def duration(given: object) -> timedelta:
    """``10s``, ``1h30m``, ``500ms``, ``-15m`` or plain seconds; raises ValueError that says what is allowed."""
    if isinstance(given, timedelta):
        return given
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return timedelta(seconds=given)
    text = str(given).replace(" ", "")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    parts = _PART.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        raise ValueError("a duration such as 500ms, 10s, 1h30m or 7d")
    return sign * timedelta(seconds=sum(float(number) * _UNITS_S[unit] for number, unit in parts))


def duration_text(given: timedelta) -> str:
    """The shortest spelling that ``duration`` reads back."""
    left_ms, sign = round(abs(given.total_seconds()) * 1000), "-" if given < timedelta(0) else ""
    if left_ms == 0:
        return "0s"
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, left_ms = divmod(left_ms, round(_UNITS_S[unit] * 1000))
        text += f"{count}{unit}" if count else ""
    return sign + text


def percent(given: object) -> float:
    """``20%`` or a share between 0 and 1, as a share; raises ValueError."""
    text = str(given).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError("a percentage such as 20%") from None
    if not 0 <= share <= 1:
        raise ValueError("a percentage from 0% to 100%")
    return share


def bitrate(given: object) -> int:
    """``96k`` or plain bits a second; raises ValueError."""
    match = _RATE.fullmatch(str(given).strip())
    if match is None:
        raise ValueError("a bitrate such as 96k")
    return round(float(match[1]) * (1000 if match[2] else 1))


def size(given: object) -> int:
    """``500MB``, ``2GB`` (units of 1024) or plain bytes; raises ValueError."""
    match = _SIZE.fullmatch(str(given).strip())
    if match is None:
        raise ValueError("a size such as 500MB")
    return round(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
