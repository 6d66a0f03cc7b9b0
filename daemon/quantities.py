"""Durations, percentages, bitrates and sizes as people write them. Leaf, pure.

What each function reads, its ``…_text`` writes. Text and numbers mean the same: ``30`` and ``"30"`` are 30 seconds.
"""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_PLAIN = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(|K|M|G|T)(?:i?B)?", re.IGNORECASE)
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(k?)", re.IGNORECASE)


def duration(given: object) -> timedelta:
    """``10s``, ``1h30m``, ``500ms``, ``-15m`` or plain seconds; raises ValueError that says what is allowed."""
    if isinstance(given, timedelta):
        return given
    text = "" if isinstance(given, bool) else str(given).replace(" ", "")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if _PLAIN.fullmatch(digits):
        digits += "s"
    parts = _PART.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        raise ValueError("a duration such as 500ms, 10s, 1h30m or 7d")
    try:
        return sign * timedelta(seconds=sum(float(number) * _UNITS_S[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError("a duration shorter than a million years") from None


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
    text = "" if isinstance(given, bool) else str(given).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError("a percentage such as 20%") from None
    if not 0 <= share <= 1:
        raise ValueError("a percentage from 0% to 100%")
    return share


def percent_text(given: float) -> str:
    """The spelling that ``percent`` reads back."""
    return f"{given * 100:.10g}%"


def bitrate(given: object) -> int:
    """``96k`` or plain bits a second, as bits a second; raises ValueError."""
    match = _RATE.fullmatch(str(given).strip())
    if match is None:
        raise ValueError("a bitrate such as 96k")
    return round(float(match[1]) * (1000 if match[2] else 1))


def bitrate_text(given: int) -> str:
    """The shortest spelling that ``bitrate`` reads back."""
    return str(given) if given % 1000 else f"{given // 1000}k"


def size(given: object) -> int:
    """``500MB``, ``2GB`` (units of 1024) or plain bytes, as bytes; raises ValueError."""
    match = _SIZE.fullmatch(str(given).strip())
    if match is None:
        raise ValueError("a size such as 500MB")
    factor: int = 1024 ** " KMGT".index(match[2].upper() or " ")
    return round(float(match[1]) * factor)


def size_text(given: int) -> str:
    """The shortest spelling that ``size`` reads back."""
    power = 0
    while power < 4 and given and given % 1024 == 0:
        given, power = given // 1024, power + 1
    return f"{given}{' KMGT'[power]}B" if power else str(given)
