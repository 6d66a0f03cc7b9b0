"""What must not be read in a log, made unreadable. Leaf, pure.

Whoever makes a line keeps numbers, names, tokens and what was said out of it; this is the second layer, for what
slipped through. It errs on the side of masking: any run of seven digits or more is taken for a phone number unless
its form says that it is a time, a hash, an address of a machine, a decimal number or a count with its unit. Masking
twice is masking once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LONGEST = 4000
"""Characters of a string that are kept: a log is no place for bodies."""

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_KEPT = rf"""
    (?<!\d)(?:19|20)\d\d-[01]\d-[0-3]\d                                        # 2025-10-29, with a time, with a zone
        (?:[T ][0-2]\d[:-][0-5]\d(?:[:-][0-6]\d(?:\.\d{{1,6}})?)?(?:Z|[+-][01]\d:?\d\d)?)?(?!\d)
  | (?<!\d)_?(?:19|20)\d\d[01]\d[0-3]\d[_T-][0-2]\d[0-5]\d[0-6]\d(?!\d)          # 20251029_064824
  | (?<![0-9A-Za-z])[0-9a-f]{{8}}-(?:[0-9a-f]{{4}}-){{3}}[0-9a-f]{{12}}(?![0-9A-Za-z])
  | (?<![0-9A-Za-z])(?=\d*[a-f]\d*[a-f])(?![a-f]*\d{{9,}}[a-f]*(?![0-9A-Za-z]))  # a digest: two letters or more,
        (?:[0-9a-f]{{8}}|[0-9a-f]{{12}}|[0-9a-f]{{16}}|[0-9a-f]{{20}}|[0-9a-f]{{32}}  # and no number among letters
        |[0-9a-f]{{40}}|[0-9a-f]{{64}})(?![0-9A-Za-z])
  | (?<![\d.]){_OCTET}(?:\.{_OCTET}){{3}}(?![\d.])                             # 192.168.100.200
  | (?<![\d.])(?:\d{{1,3}}\.\d{{1,6}}|\d{{1,6}}\.\d{{1,3}})(?![\d.]|[ -]\d)    # 12.345678
  | (?<!\d)\d{{7,12}}(?=\ (?:bytes?|samples?|frames?)\b)
"""
_TOKENS = re.compile(
    rf"""(?P<kept>{_KEPT})
  | (?P<call>CALL-\d{{8}}-\d{{6}}-\d+(?:-\d+)?)
  | (?P<named>number-)(?P<caller>[+_]?[\d*]{{5,15}})(?P<epoch>-\d{{10}})(?!\d)     # formats 1: the epoch stays readable
  | (?P<run>[+_]?\d{{7,}})
  | (?P<grouped>\+?\(?\d{{1,6}}(?!\d)\)?(?:[ \u00a0./-]{{1,2}}\(?\d{{2,6}}(?!\d)\)?){{1,6}})
    """,
    re.VERBOSE,
)
_SECRETISH = re.compile(r"[@?]|(?i:bearer|auth|token|secret|passw|key|signature)|A[KS]IA")
_NUMBERISH = re.compile(r"(?:\d[ \u00a0()./-]{0,3}){7}")
_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s?#]*@")
_QUERY = re.compile(r"(?:(?<=[\w/])\?(?=[^\s\"'<>]*=)|(https?://[^\s?\"'<>]+)\?)[^\s\"'<>]+")
_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
_BEARER = re.compile(r"(?i)\b(bearer\s+)(?!token\b)[^\s\"',;]{3,}")
_NAMED_SECRET = re.compile(
    r"(?i)((?:authorization|token|secret|passw(?:or)?d|api[_-]?key|access[_-]?key(?:[_-]id)?|signature)"
    r"[\"']?\s*[=:]\s*[\"']?)(?:(?:bearer|basic)\s+)?[^\s\"',;&]+"
)
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")


def mask_number(number: str) -> str:
    """``+918655066243`` → ``+91******6243``: the country and the last four digits stay."""
    if "*" in number:
        return number
    digits = re.sub(r"\D", "", number)
    sign = number[0] if number[:1] in "+_" else ""
    head = 2 if len(digits) > 8 else 0
    return sign + digits[:head] + "*" * max(0, len(digits) - head - 4) + digits[-4:]


def mask(text: str) -> str:
    """The text with numbers, e-mail addresses, queries and tokens masked, and capped at ``LONGEST``.

    A recording's epoch second stays readable where the name follows ``number-_<digits>-<epoch>``.
    """
    if len(text) > LONGEST:
        text = text[:LONGEST] + "…"
    if _SECRETISH.search(text) is not None:
        text = _without_secrets(text)
    return text if _NUMBERISH.search(text) is None else _TOKENS.sub(_token, text)


def _without_secrets(text: str) -> str:
    text = _QUERY.sub(lambda match: f"{match[1] or ''}?***", text)
    text = _EMAIL.sub("***@***", _USERINFO.sub(r"\1***@", text))
    return _NAMED_SECRET.sub(r"\1***", _BEARER.sub(r"\1***", _KEY_ID.sub("***", text)))


def masked(value: Any) -> Any:
    """``mask`` through lists and mappings, their keys included; bytes become text."""
    if isinstance(value, str):
        return mask(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        return mask(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {mask(str(key)): masked(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(inner) for inner in value]
    return mask(str(value))


def _token(match: re.Match[str]) -> str:
    if match["kept"] is not None:
        return match[0]
    if match["call"] is not None:
        return "CALL-***"
    if match["named"] is not None:
        return match["named"] + mask_number(match["caller"]) + match["epoch"]
    if match["run"] is not None:
        return mask_number(match["run"])
    digits = sum(character.isdigit() for character in match[0])
    return mask_number(match[0]) if digits >= (7 if match[0][0] == "+" else 9) else match[0]
