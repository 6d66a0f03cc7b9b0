"""The command ``callspool``: flags that may stand anywhere, the verbs, and the one map from errors to exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from daemon.cli import config, demo, following, ledger, look, pausing, service, work
from daemon.cli.desk import CommandDesk
from daemon.errors import BadRequest, OperatorError

EPILOG = (
    "Every verb takes --json, and --config FILE, --set section.key=value. "
    "Exit codes: 0 done, 1 failed, 2 usage, 3 some items failed, "
    "5 verify found differences, 11 another instance, 12 ledger missing, newer or older, "
    "13 ledger damaged, 20 destination unreachable, 21 destination refused credentials, 22 disk too full, "
    "78 configuration invalid, 130 interrupted."
)
"""The foot of the help."""


def run(argv: Sequence[str]) -> int:
    """Do one command; returns its exit code. Errors are printed with the command that mends them."""
    desk = CommandDesk(as_json="--json" in argv)
    try:
        words = _take_flags(desk, argv)
        app = build(desk, words[0] if words else None)
        outcome = app(words, standalone_mode=False, prog_name="callspool")
        return int(outcome or 0)
    except OperatorError as error:
        return _report(desk, error)
    except typer.Exit as error:
        return int(error.exit_code)
    except typer.Abort:
        return 130
    except Exception as error:
        if hasattr(error, "format_message"):  # the parser's own complaint, of a class that typer keeps to itself
            return _report(desk, BadRequest(error.format_message(), fix="callspool --help"))
        raise


def build(desk: CommandDesk, wanted: str | None = None) -> typer.Typer:
    """The tree of verbs; where one is ``wanted``, without the rooms' that have nothing to do with it."""
    app = typer.Typer(
        name="callspool",
        help="Takes finished recordings, transcripts and leads from folders and delivers each call exactly once.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    demo.add(app, desk)
    work.add(app, desk)
    look.add(app, desk)
    following.add(app, desk)
    pausing.add(app, desk)
    app.add_typer(config.verbs(lambda: desk.house.loaded, desk.show), name="config")
    app.add_typer(ledger.verbs(desk), name="ledger")
    app.add_typer(service.verbs(desk), name="service")
    own = [verb.name for verb in app.registered_commands] + [group.name for group in app.registered_groups]
    if wanted not in own:
        _add_rooms(app, desk, wanted)
    return app


def _add_rooms(app: typer.Typer, desk: CommandDesk, wanted: str | None) -> None:
    """The rooms' own verbs. They need no configuration to be named, only to be run."""
    import handlers

    for name, group in handlers.verbs(desk, wanted) or handlers.verbs(desk):
        app.add_typer(group, name=name)


def _take_flags(desk: CommandDesk, argv: Sequence[str]) -> list[str]:
    """The words without the flags that may stand anywhere; those are kept on the desk."""
    words: list[str] = []
    settings: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            words += [word, *rest]
            break
        if word == "--json":
            continue
        if name in ("--config", "-c", "--set"):
            if not equals:
                if not rest:
                    raise BadRequest(f"{name} needs a value", fix=f"callspool … {name} VALUE")
                value = rest.pop(0)
            if name == "--set":
                key, given, setting = value.partition("=")
                if not given:
                    raise BadRequest("--set needs section.key=value", fix="callspool … --set crm.batch=4")
                settings[key] = setting
            else:
                desk.config_file = Path(value)
            continue
        words.append(word)
    desk.settings = settings
    return words


def _report(desk: CommandDesk, error: OperatorError) -> int:
    if desk.as_json:
        print(json.dumps({"error": str(error), "fix": error.fix, "exit_code": error.exit_code}))
    else:
        print(f"callspool: {error}", file=sys.stderr)
        for line in error.fix.splitlines():
            print(f"  -> {line.strip()}", file=sys.stderr)
    return error.exit_code
