"""``.env`` files: KEY=VALUE lines with optional ``export``, quotes and comments. Leaf, pure.

Single quotes keep everything as it is; in double quotes a backslash keeps the next character, or makes it a line's end
or a tab. Both may span lines. Nothing is expanded. A ``#`` begins a comment at
the start of a line, or after white space outside quotes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BLANK = re.compile(r"[^\S\n]*(?:#[^\n]*)?(?:\n|\Z)")
_PAIR = re.compile(
    r"""[^\S\n]*(?:export[^\S\n]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[^\S\n]*=[^\S\n]*
        (?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<plain>[^\n'"][^\n]*)?)
        (?P<rest>[^\S\n]*(?:\#[^\n]*)?)(?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


class Variable(NamedTuple):
    """A value and the line, from 1, it stands on."""

    value: str
    line: int


def parse(text: str) -> tuple[dict[str, Variable], list[int]]:
    """The variables, the last of a name winning, and the lines that are neither KEY=VALUE nor comment nor empty."""
    found: dict[str, Variable] = {}
    strange: list[int] = []
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    at, line = 0, 1
    while at < len(text):
        match = _BLANK.match(text, at) or _PAIR.match(text, at)
        if match is None:
            strange.append(line)
            end = text.find("\n", at)
            end = len(text) if end < 0 else end + 1
        else:
            end = match.end()
            if match.re is _PAIR:
                found[match["name"]] = Variable(_value(match), line)
        line += text.count("\n", at, end)
        at = end
    return found, strange


def _value(match: re.Match[str]) -> str:
    if match["single"] is not None:
        return match["single"]
    if match["double"] is not None:
        return _ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[1]), match["double"])
    plain = match["plain"] or ""
    return "" if plain.startswith("#") else re.sub(r"\s+#.*$", "", plain).strip()
