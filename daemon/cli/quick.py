"""A question in its plainest form, put to the running daemon before anything else is loaded.

``callspool status`` then takes a third of the time: neither the parser of commands nor the configuration's models are
needed to ask. Whatever is not plain, or not answered, goes the whole way, as if nothing had been tried.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import handlers
from daemon.cli.text import explain_text, failures_text, shown, status_text
from daemon.errors import OperatorError
from daemon.ledger.paths import StatePaths
from daemon.run.asking import ANSWER_S, ask
from daemon.state_folder import state_folder

Text = Callable[[Any], str]

_TEXTS: Mapping[str, Text] = {"status": status_text, "failures": failures_text, "explain": explain_text}


def answer(argv: Sequence[str], environ: Mapping[str, str], cwd: Path) -> str | None:
    """What is to be printed; None where the whole way is to be gone."""
    as_json = "--json" in argv
    question = plain([word for word in argv if word != "--json"], str(cwd))
    folder = None if question is None else state_folder(environ, cwd)
    if question is None or folder is None:
        return None
    name, args, text = question
    with suppress(OSError, OperatorError):
        found = ask(StatePaths(folder).control, name, args, patience_s=ANSWER_S)
        return shown(found, "" if as_json else text(found), as_json=as_json, terminal=sys.stdout.isatty())
    return None


def plain(words: Sequence[str], where: str) -> tuple[str, dict[str, Any], Text] | None:
    """The question, its arguments and what makes a text of the answer; None where the words are not the plainest."""
    match words:
        case ["status" | "failures" as name]:
            return name, {}, _TEXTS[name]
        case ["explain" as name, subject] if not subject.startswith("-"):
            return name, {"subject": subject, "where": where}, _TEXTS[name]
        case [name] if name in handlers.PLAIN:
            args, module, text = handlers.PLAIN[name]
            return name, dict(args), getattr(import_module(module), text)
    return None
