"""The documents, held to the code."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from daemon import errors, log
from daemon.cli.desk import CommandDesk
from daemon.cli.main import EPILOG, build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def verbs(app: typer.Typer, prefix: str = "callspool") -> Iterator[str]:
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        yield f"{prefix} {name.replace('_', '-')}"
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from verbs(group.typer_instance, f"{prefix} {group.name}" if group.name else prefix)


def emitted() -> Iterator[str]:
    """The names of events in the code: every string of the form noun.past_participle that an event is made of."""
    for folder in ("daemon", "handlers"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                    if called in ("Event", "_event", "_shut", "_say") and isinstance(node.args[0].value, str):
                        yield node.args[0].value


def test_every_verb_is_in_the_readme() -> None:
    found = list(verbs(build(CommandDesk())))
    assert "callspool match accept" in found
    missing = [verb for verb in found if f"`{verb}" not in README]
    assert not missing


def test_a_verb_is_found_also_where_only_the_room_that_has_it_is_loaded() -> None:
    found = list(verbs(build(CommandDesk())))
    for word in {verb.split()[1] for verb in found}:
        alone = set(verbs(build(CommandDesk(), word)))
        assert {verb for verb in found if verb.split()[1] == word} <= alone < set(found), word
    assert list(verbs(build(CommandDesk(), "no such verb"))) == found


def test_every_event_is_in_the_readme() -> None:
    names = set(emitted())
    assert "crm.accepted" in names
    missing = sorted(name for name in names if "." in name and f"`{name}`" not in README)
    assert not missing


def sampled() -> set[str]:
    """The names of metrics in the code: what a Sample is made of, by itself or through a variable called name."""
    found: set[str] = set()
    for folder in ("daemon", "handlers"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            if "Sample(" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Sample":
                    found |= _texts(node.args[:1])
                if isinstance(node, ast.Assign):
                    named = _pairs(node.targets[0], node.value)
                    found |= _texts(value for target, value in named if getattr(target, "id", "") == "name")
    return found


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
    return list(zip(target.elts, value.elts, strict=True)) if both else [(target, value)]  # type: ignore[attr-defined]


def _texts(nodes: Iterable[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_metric_is_in_the_readme_and_nothing_else_stands_among_them() -> None:
    table = README.partition("| metric | what |")[2].partition("\n\n")[0]
    told = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.partition("| ")[2].partition("|")[0])
    }
    assert told == sampled()
    assert "last_success_timestamp_seconds" in told


def test_alert_rules_and_dashboard_ask_only_for_metrics_that_are_served() -> None:
    for file in ("alerts.yaml", "grafana.json"):
        asked = set(re.findall(r"callspool_([a-z_]+)", (ROOT / "monitoring" / file).read_text()))
        assert asked
        assert asked <= sampled(), file


def test_every_alert_names_a_verb_that_there_is() -> None:
    known = {verb.removeprefix("callspool ") for verb in verbs(build(CommandDesk()))}
    rules = (ROOT / "monitoring" / "alerts.yaml").read_text()
    fixes = re.findall(r'fix: "callspool ([a-z -]+?)(?: \{\{.*)?"', rules)
    assert len(fixes) == rules.count("- alert:")
    assert set(fixes) <= known


def test_every_log_field_is_in_the_readme() -> None:
    missing = [field for field in log.FIELDS if f"`{field}`" not in README]
    assert not missing


def test_every_exit_code_is_in_the_help_and_in_the_readme() -> None:
    codes = {
        kind.exit_code
        for _name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.OperatorError)
    }
    for code in {*codes, 0, 3, 20, 21, 130}:
        assert re.search(rf"\b{code} \w", EPILOG), code
        assert re.search(rf"^\| {code} \|", README, re.MULTILINE), code


def test_the_two_commands_stand_on_top_each_on_one_line_and_need_no_root() -> None:
    commands = re.findall(r"^\$ (.*)$", README, re.MULTILINE)[:2]
    demo, tests = commands
    assert demo.endswith("callspool demo")
    assert "-m pytest" in tests
    assert "sudo" not in demo + tests
    for command in commands:
        lock = re.search(r"--require-hashes -r (\S+)", command)
        assert lock is not None
        assert (ROOT / lock[1]).is_file()


def test_nothing_names_a_package_registrys_host_or_this_machines_paths() -> None:
    for path in [
        ROOT / "requirements.lock",
        ROOT / "tests/requirements.lock",
        ROOT / "README.md",
        ROOT / "pyproject.toml",
    ]:
        text = path.read_text()
        assert not re.search(r"https?://[^ \n]*(pypi|pythonhosted)|file://|/(root|work|tmp)/", text), path
