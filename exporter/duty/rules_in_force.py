"""The rules that a configuration puts in force: the shipped ones, a preset, a person's own and changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from exporter.alerting.rules.load import RuleSet, load_rules
from exporter.alerting.rules.shipped import shipped_preset, shipped_rules
from exporter.catalogue import SPECS
from exporter.config.alerting import AlertingSettings
from exporter.config.document import read_document
from exporter.config.problems import Origin
from exporter.errors import ConfigError, Problem


def rules_in_force(alerting: AlertingSettings, *, file: Path | None = None) -> RuleSet:
    """Return the rules of these settings. Reads files; raises ConfigError with every problem.

    `file` is the configuration file, for the lines of what is wrong in it.
    """
    try:
        return load_rules(
            [*shipped_rules(), *alerting.rule_files],
            specs=SPECS,
            overrides=alerting.rules,
            preset=shipped_preset(alerting.preset),
            inhibits=alerting.inhibit,
        )
    except ConfigError as error:
        if file is None:
            raise
        raise ConfigError(_placed(error.problems, file)) from None


def _placed(problems: tuple[Problem, ...], file: Path) -> list[Problem]:
    """Add file and line to what has only a path in the configuration."""
    origins = {".".join(map(str, path)): origin for path, origin in read_document(file).origins.items()}
    placed = []
    for problem in problems:
        if not problem.file:
            origin = _nearest(problem.path, origins)
            problem = replace(problem, file=str(file), line=origin.line)
        placed.append(problem)
    return placed


def _nearest(path: str, origins: dict[str, Origin]) -> Origin:
    """Return where a value, or what it stands in, was written."""
    while path not in origins and path:
        path = path.rpartition(".")[0]
    return origins.get(path, Origin())
