"""Who may import whom: the house's direction, read from the imports themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEAVES = {
    "daemon.masking",
    "daemon.contract",
    "daemon.catalogue",
    "daemon.states",
    "daemon.errors",
    "daemon.health",
    "daemon.trace",
    "daemon.filesystem",
    "daemon.folders",
    "daemon.quantities",
    "daemon.outward",
}
"""What every part of the machine may stand on."""

SHARED_ROOMS = {"handlers.model", "handlers.records", "handlers.settings"}
"""What every room may stand on."""


def modules() -> dict[str, Path]:
    found = {}
    for package in ("daemon", "handlers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path, module: str) -> Iterator[tuple[str, bool]]:
    """Every module of ours that a file imports, and whether it does so when it is loaded."""
    tree = ast.parse(path.read_text("utf-8"))
    deferred = {
        node
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) or _for_types(outer)
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in full]
        else:
            continue
        for name in names:
            if name.split(".")[0] in ("daemon", "handlers"):
                yield name, node not in deferred


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


IMPORTS = {module: set(imports(path, module)) for module, path in MODULES.items()}


def room(module: str) -> str:
    """The room a module belongs to: ``handlers/match/assign.py`` to ``handlers.match``."""
    return ".".join(module.split(".")[:2])


def test_handlers_know_only_the_contract_and_the_errors() -> None:
    for module, found in IMPORTS.items():
        if module.startswith("handlers"):
            of_daemon = {name for name, _ in found if name.split(".")[0] == "daemon"}
            assert of_daemon <= {"daemon.contract", "daemon.errors"}, module


def test_only_the_house_the_daemon_and_the_command_line_know_the_rooms() -> None:
    for module, found in IMPORTS.items():
        if module.startswith("daemon") and module not in ("daemon.house", "daemon.app"):
            of_handlers = {name for name, _ in found if name.split(".")[0] == "handlers"}
            allowed = {"handlers"} if module.startswith("daemon.cli") else set()
            assert of_handlers <= allowed, module


def test_rooms_do_not_know_one_another() -> None:
    for module, found in IMPORTS.items():
        if not module.startswith("handlers.") or room(module) in SHARED_ROOMS:
            continue
        for name, _ in found:
            if name.startswith("handlers"):
                assert name == "handlers" or room(name) == room(module) or room(name) in SHARED_ROOMS, (module, name)
                assert name != "handlers", f"{module} imports the registry"


def test_what_the_rooms_share_stands_on_nothing_but_itself() -> None:
    for module, found in IMPORTS.items():
        if room(module) in SHARED_ROOMS:
            assert {room(name) for name, _ in found if name.startswith("handlers")} <= SHARED_ROOMS, module


def test_the_parts_of_the_machine_meet_only_in_its_leaves() -> None:
    below = {"watch": {"watch"}, "ledger": {"ledger"}, "run": {"run", "ledger"}, "serve": {"serve"}}
    for module, found in IMPORTS.items():
        part = module.split(".")[1] if module.count(".") else ""
        if part not in below:
            continue
        for name, _ in found:
            if name.startswith("daemon"):
                assert name in LEAVES or name.split(".")[1] in below[part], (module, name)


def test_leaves_stand_on_leaves() -> None:
    for leaf in LEAVES:
        assert {name for name, _ in IMPORTS[leaf]} <= LEAVES, leaf


def test_nothing_is_loaded_in_a_circle() -> None:
    loaded = {module: {name for name, now in found if now} for module, found in IMPORTS.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join((*way[way.index(module) :], module))
        if module in done:
            return
        for name in sorted(loaded.get(module, set())):
            visit(name, (*way, module))
        done.add(module)

    for module in loaded:
        visit(module, ())


def test_packages_are_empty_but_the_registry_and_the_names_all_rooms_share() -> None:
    spoken = {ROOT / "handlers", ROOT / "handlers" / "records"}
    for path in MODULES.values():
        if path.name == "__init__.py" and path.parent not in spoken:
            assert path.read_text("utf-8") == "", path
