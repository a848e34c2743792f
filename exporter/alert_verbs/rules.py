"""`rules list`, `rules check` and `rules export`, and what `check` looks at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.alert_verbs.alerts import Output
from exporter.alerting.rules.load import RuleSet
from exporter.alerting.rules.prometheus import write_export
from exporter.alerting.words import Rule, RuleSight
from exporter.config.alerting import AlertingSettings
from exporter.config.loader import load, load_alerting_alone
from exporter.config.settings import Settings
from exporter.duty.rule_words import waits_in_words
from exporter.duty.rules_in_force import rules_in_force
from exporter.duty.sight import sights
from exporter.duty.status import rules_document
from exporter.errors import ConfigError, Problem
from exporter.printable import printable


def show_rules(settings: Settings | None, output: Output, console: Console) -> None:
    """Show the rules in force, and which are blind by what the settings say. Raises ConfigError.

    Without settings it shows the shipped ones, and nothing is said of what they see.
    """
    rules = rules_in_force(AlertingSettings() if settings is None else settings.alerting).rules
    told = () if settings is None else sights(rules, settings, None)
    if output is Output.JSON:
        console.out(json.dumps(_document(rules, told), indent=2), highlight=False)
        return
    table = Table("rule", "levels", *(("state", "why, and what to switch on") if told else ()))
    blind = {sight.rule: sight.blind for sight in told}
    for rule in rules:
        levels = ", ".join(f"{level.severity} {waits_in_words(rule, level)}" for level in rule.levels)
        table.add_row(Text(rule.name), Text(levels), *_state(blind.get(rule.name)))
    console.print(table)
    if not told:
        console.print("Give --config.file or --qdrant.url to see which of them are blind there.")


def check_files(files: Sequence[Path]) -> list[str]:
    """Return a line for each file of rules. Raises ConfigError with every problem of all of them."""
    shipped = {rule.name for rule in rules_in_force(AlertingSettings()).rules}
    found = rules_in_force(AlertingSettings(rule_files=tuple(files))).rules
    lines = []
    for file in files:
        names = [rule.name for rule in found if rule.source.rpartition(":")[0] == str(file)]
        replaced = [name for name in names if name in shipped]
        instead = f"; in place of the shipped {', '.join(replaced)}" if replaced else ""
        lines.append(f"{file}: good; rules: {', '.join(names) or 'none'}{instead}")
    return lines


def checked(config: Path, environment: Mapping[str, str]) -> tuple[Settings, RuleSet]:
    """Return what a configuration file says and the rules it puts in force.

    Raises ConfigError with every problem of both.
    """
    problems: list[Problem] = []
    settings, rules = None, None
    try:
        settings = load(config, {}, environment)
    except ConfigError as error:
        problems += error.problems
    alerting = load_alerting_alone(config, environment) if settings is None else settings.alerting
    try:
        rules = None if alerting is None else rules_in_force(alerting, file=config)
    except ConfigError as error:
        problems += error.problems
    if settings is None or rules is None:
        raise ConfigError(problems)
    return settings, rules


def export_rules(alerting: AlertingSettings, directory: Path) -> list[str]:
    """Write the rules in force as Prometheus rules; return their files. Raises ConfigError and OSError."""
    return [str(path) for path in write_export(rules_in_force(alerting), directory)]


def _state(blind: str | None) -> tuple[Text, ...]:
    if blind is None:
        return ()
    if not blind:
        return Text("active", "green"), Text("")
    return Text("blind", "yellow"), Text(printable(blind))


def _document(rules: Sequence[Rule], told: Sequence[RuleSight]) -> dict[str, Any]:
    return rules_document(rules, told, ())
