"""Where the rules, runbooks and presets are that come with this program."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def shipped_rules() -> tuple[Path, ...]:
    """Return the files of the shipped rules, by name."""
    return tuple(sorted((pack() / "rules").glob("*.yaml")))


def shipped_runbook(name: str) -> Path:
    """Return the runbook of that name, whether there is one or not."""
    return pack() / "runbooks" / f"{name}.md"


def shipped_runbooks() -> tuple[str, ...]:
    """Return the names of all runbooks. Reads a directory."""
    return tuple(sorted(path.stem for path in (pack() / "runbooks").glob("*.md")))


def is_address(runbook: str) -> bool:
    """Whether a rule's runbook is a page of somebody's own, and not the name of a shipped one."""
    return runbook.startswith(("http://", "https://"))


def shipped_preset(name: str) -> Path | None:
    """Return the file of a preset; None for "default", which changes nothing."""
    return None if name == "default" else pack() / "presets" / f"{name}.yaml"


def pack() -> Path:
    """Return the directory of all of it: in the package where it was built, else beside it."""
    package = Path(str(files("exporter")))
    built = package / "pack"
    return built if built.is_dir() else package.parent / "alerts"
