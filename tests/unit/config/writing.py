"""What the tests of the configuration share: a file on disk, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.config.loader import load
from exporter.config.settings import Settings
from exporter.errors import ConfigError

NOTHING: Mapping[str, str] = {}


def settings_of(
    directory: Path,
    text: str,
    *,
    flags: Mapping[str, Any] = NOTHING,
    environment: Mapping[str, str] = NOTHING,
) -> Settings:
    """Write a configuration file and load it."""
    file = directory / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, flags, environment)


def problems_of(
    directory: Path,
    text: str,
    *,
    flags: Mapping[str, Any] = NOTHING,
    environment: Mapping[str, str] = NOTHING,
) -> list[str]:
    """Return what is said about a bad file, with the directory's name taken out."""
    try:
        settings_of(directory, text, flags=flags, environment=environment)
    except ConfigError as error:
        return [str(problem).replace(f"{directory}/", "") for problem in error.problems]
    return []
