"""The state folder alone, for a question in its plainest form: next to nothing is loaded, and nothing else is checked.

It looks where the whole configuration does, in the same order (``config``), and gives up wherever that would have to
think: then the whole configuration is read.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from daemon import dotenv

DEFAULT = "state"
VARIABLE = "CALLSPOOL_STATE__DIR"

_HEAD = re.compile(r"state:\s*(#.*)?")
_DIR = re.compile(r"\s+dir: +(?P<dir>\S+)\s*(#.*)?")
_PLAIN = re.compile(r"(?=.*[A-Za-z/])[\w./-]+", re.ASCII)
"""What YAML takes for a text as it stands, but for its own words."""

_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def state_folder(environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Where the configuration in ``cwd`` says that the state is; None where only the whole configuration can tell."""
    path, base = cwd / "config.yaml", cwd.absolute()
    try:
        given = _variable(environ) or _variable(_dotenv(base / ".env")) or _of_file(path)
    except (OSError, ValueError):
        return None
    return base / given if _is_plain(given) else None


def _is_plain(given: str) -> bool:
    return _PLAIN.fullmatch(given) is not None and given.lower() not in _WORDS


def _variable(environ: Mapping[str, str]) -> str:
    """The variable's value, whatever the case of its key."""
    said = [environ[name].strip() for name in sorted(environ) if name.upper() == VARIABLE]
    if len(said) > 1:
        raise ValueError("given twice")
    return said[0] if said else ""


def _dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    found, strange = dotenv.parse(path.read_text("utf-8-sig"))
    if strange:
        raise ValueError("not only KEY=VALUE")
    return {name: variable.value for name, variable in found.items()}


def _of_file(path: Path) -> str:
    """The key ``dir`` of the section ``state``, where both stand as in callspool's own ``config.yaml``."""
    if not path.is_file():
        return DEFAULT
    lines = [line for line in path.read_text("utf-8-sig").splitlines() if not line.lstrip().startswith("#")]
    if not any("state" in line or "\\" in line for line in lines):
        return DEFAULT
    outer = [line for line in lines if line.strip() and not line[0].isspace()]
    heads = [at for at, line in enumerate(lines) if _HEAD.fullmatch(line)]
    if len(heads) == 1 == sum("state" in line for line in outer):
        below = itertools.takewhile(lambda line: not line.strip() or line[0].isspace(), lines[heads[0] + 1 :])
        section = [line for line in below if line.strip()]
        found = _DIR.fullmatch(section[0]) if len(section) == 1 else None
        if found is not None:
            return found["dir"]
    raise ValueError("not in the plain form")
