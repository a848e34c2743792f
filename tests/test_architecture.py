"""The rooms and floors that CONTRIBUTING draws, held by reading every import of the package."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "exporter"
LINES_A_MODULE = 400  # more than that is two rooms

# Lower floors first. A room imports from lower floors, and from no other room of its own floor.
FLOORS = (
    ("model", "errors", "clock", "logs", "printable", "exit_codes"),
    ("config", "qdrant", "state"),
    ("board", "backup"),
    ("operations",),
    ("observe", "exposition", "web", "alerting", "jobs"),
    # what joins two rooms of the floor below, for app
    ("memory", "status", "catalogue", "one_look", "reach"),
    ("duty",),
    ("app",),
    # the bodies of verbs
    ("once", "probing", "catalog", "forgetting", "canaries", "demo", "alert_verbs", "backup_verbs"),
    ("cli", "cli_alerting", "cli_backup", "cli_vacuum", "cli_start", "__main__"),
)
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
# The foundation's words build on each other, and `python -m exporter` is the command itself.
ONE_FLOOR_TOGETHER = (FLOORS[0], FLOORS[-1])

# Which module, or room with all its modules, may import a third-party package; sqlite3 for the same reason.
DOORS = {
    "aiohttp": ("qdrant", "embedded"),
    "backports": ("backup.exporting.compression",),
    "compression": ("backup.exporting.compression",),
    "apprise": ("alerting.receivers.apprise",),
    "apscheduler": ("jobs",),
    "bcrypt": ("web",),
    "httpx": ("alerting",),
    "httptools": ("web",),
    "isal": ("exposition",),
    "msgspec": ("qdrant", "observe", "embedded", "alerting", "state", "backup", "operations", "jobs"),
    "obstore": ("backup.storage",),
    "prometheus_client": ("exposition",),
    "pydantic": ("config", "web.web_file"),
    "pydantic_core": ("config",),
    "qdrant_edge": ("embedded", "backup.archive"),
    "re2": ("config.expressions",),
    "rich": (
        "cli",
        "cli_backup",
        "cli_vacuum",
        "cli_start",
        "once",
        "probing",
        "demo",
        "alert_verbs",
        "backup_verbs",
    ),
    "sqlite3": ("state",),
    "starlette": ("web",),
    "structlog": ("logs",),
    "typer": ("cli", "cli_alerting", "cli_backup", "cli_vacuum", "cli_start"),
    "uvicorn": ("web",),
    "yaml": ("config", "web.web_file", "alerting.rules.prometheus"),
    "yarl": ("qdrant",),  # aiohttp's URLs
}

WRITERS = {"append", "add", "clear", "discard", "extend", "insert", "pop", "remove", "setdefault", "update"}
CONTAINERS = {"dict", "list", "set", "defaultdict", "deque", "Counter", "OrderedDict"}


def modules() -> list[str]:
    """Name every module below exporter/: "observe.sources.disk", "cli"."""
    names = []
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(name for name in names if name)


def path_of(module: str) -> Path:
    """Return the file of a module."""
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def tree_of(module: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


def imports_of(module: str) -> Iterator[str]:
    """Yield the dotted name of everything a module imports, lazily or not."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            assert node.module is not None
            # `from exporter import board` names a room in its alias
            own = node.module == "exporter"
            yield from (f"exporter.{alias.name}" if own else node.module for alias in node.names)


def rooms_imported_by(module: str) -> set[str]:
    """Return the rooms of ours that a module imports, without its own."""
    dotted = (name.split(".") for name in imports_of(module) if name.startswith("exporter."))
    return {parts[1] for parts in dotted} - {module.split(".")[0], "__version__"}


@pytest.mark.parametrize("module", modules())
def test_a_room_imports_only_from_the_floors_below(module: str) -> None:
    """No import goes up or sideways; the embedded server stands apart and only the command opens it."""
    room = module.split(".")[0]
    for imported in rooms_imported_by(module):
        if room == "embedded":
            assert imported in FLOORS[0], f"{module} imports {imported}"
        elif imported == "embedded":
            assert room in ("cli", "demo"), f"{module} imports the embedded server"
        elif not any({room, imported} <= set(floor) for floor in ONE_FLOOR_TOGETHER):
            assert FLOOR_OF[imported] < FLOOR_OF[room], f"{module} imports {imported}"


@pytest.mark.parametrize("module", modules())
def test_a_third_party_package_is_imported_in_its_own_room_only(module: str) -> None:
    """Each library has one door, so that replacing it touches one room."""
    for imported in imports_of(module):
        package = imported.split(".")[0]
        if package in DOORS:
            doors = DOORS[package]
            assert any(module == door or module.startswith(f"{door}.") for door in doors), (
                f"{module} imports {package}"
            )
        else:
            assert package == "exporter" or package in sys.stdlib_module_names, f"{module} imports {package}"


@pytest.mark.parametrize("module", modules())
def test_a_module_is_short_and_keeps_no_state_and_never_prints(module: str) -> None:
    """Under 400 lines, containers at module level are constants, and only the command prints."""
    tree = tree_of(module)

    assert len(path_of(module).read_text(encoding="utf-8").splitlines()) < LINES_A_MODULE
    held = containers_of(tree)
    assert all(name.lstrip("_").isupper() or name == "__all__" for name in held), f"{module}: {held}"
    assert not held & written_to(tree)
    if module.split(".")[0] != "cli":
        calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls)


def containers_of(tree: ast.Module) -> set[str]:
    """Return the names at module level that are bound to a list, dict or set."""
    literal = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    names = set()
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            value = statement.value
            made = isinstance(value, ast.Call) and ast.unparse(value.func) in CONTAINERS
            if made or isinstance(value, literal):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                names |= {ast.unparse(target) for target in targets}
    return names


def written_to(tree: ast.Module) -> set[str]:
    """Return the names that are written to: by item, by a writing method, or by `global`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            names.add(ast.unparse(node.value))
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITERS
        ):
            names.add(ast.unparse(node.func.value))
        elif isinstance(node, ast.Global):
            names.update(node.names)
    return names
