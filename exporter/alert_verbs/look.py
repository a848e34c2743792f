"""`rules test`: one look at the deployment, and which rules are true of it now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.alert_verbs.alerts import SEVERITY_STYLES, Output
from exporter.alerting.messages import place
from exporter.alerting.rules.evaluate import Evaluator
from exporter.alerting.rules.meaning import selectors_of, unit_compared
from exporter.alerting.rules.presence import ClusterPresence
from exporter.alerting.spoken import value_with_limit
from exporter.alerting.words import WINDOWED, Finding, Rule, RuleSight, severity_rank
from exporter.board import Board
from exporter.clock import SystemClock
from exporter.config.quantities import format_duration
from exporter.config.settings import Settings
from exporter.duty.rules_in_force import rules_in_force
from exporter.duty.sight import sights
from exporter.model import PROBED
from exporter.observe.watch import ClusterWatch
from exporter.one_look import one_look
from exporter.printable import printable

EXIT_GOOD = 0
EXIT_TRUE = 1  # 2 is the configuration's


async def look(settings: Settings, output: Output, console: Console) -> int:
    """Poll every peer once and show which rules are true of it. Exit code 1 where any is.

    Raises ConfigError for what is wrong with the rules.
    """
    clock = SystemClock()
    board = Board(clock=clock, expires=False)
    rules = rules_in_force(settings.alerting).rules
    async with one_look(settings, board=board, clock=clock) as watches:
        view = board.view()
        findings = Evaluator(rules).evaluate(view, known={}, presence=_presence(watches), now=clock.now())
        told = sights(rules, settings, view)
    true = sorted(
        (finding for finding in findings if finding.verdict),
        key=lambda finding: (severity_rank(finding.level.severity), finding.rule.name, finding.labels),
    )
    unseen = _unseen(rules, told)
    if output is Output.JSON:
        console.out(json.dumps(_document(true, unseen), indent=2), highlight=False)
    else:
        _show(true, unseen, console)
    return EXIT_TRUE if true else EXIT_GOOD


def _presence(watches: Mapping[str, ClusterWatch]) -> dict[str, ClusterPresence]:
    return {name: ClusterPresence(frozenset(watch.pollers()), None) for name, watch in watches.items()}


def _unseen(rules: Sequence[Rule], told: Sequence[RuleSight]) -> dict[str, str]:
    """Return why rules say nothing after one look: blind, or about what only time shows."""
    unseen = {sight.rule: f"blind: {sight.blind}" for sight in told if sight.blind}
    for rule in rules:
        selectors = selectors_of(rule)
        if rule.name in unseen:
            continue
        if any(one.reduce in WINDOWED for one in selectors):
            unseen[rule.name] = "it looks back over time, and this was one look"
        elif any(one.spec.source == PROBED for one in selectors):
            unseen[rule.name] = "it is about probes, which a daemon sends; see `qdrant-exporter probe`"
    return unseen


def _show(true: Sequence[Finding], unseen: Mapping[str, str], console: Console) -> None:
    if true:
        table = Table("severity", "rule", "where", "value", "fires after")
        for finding in true:
            severity = finding.level.severity
            table.add_row(
                Text(severity, SEVERITY_STYLES.get(severity, "")),
                Text(finding.rule.name),
                Text(place(finding.labels)),
                Text(value_with_limit(finding.value, finding.limit, _unit(finding))),
                Text(format_duration(finding.level.for_seconds)),
            )
        console.print(table)
    else:
        console.print("No rule is true of it now.")
    if unseen:
        rest = Table("rule", "why it was not judged")
        for name, why in unseen.items():
            rest.add_row(Text(name), Text(printable(why)))
        console.print(rest)


def _unit(finding: Finding) -> str:
    return finding.unit or unit_compared(finding.rule.condition)  # another metric's, where `or` decides


def _document(true: Sequence[Finding], unseen: Mapping[str, str]) -> dict[str, Any]:
    return {
        "true": [
            {
                "rule": finding.rule.name,
                "severity": finding.level.severity,
                "labels": dict(finding.labels),
                "value": finding.value,
                "limit": finding.limit,
                "for_seconds": finding.level.for_seconds,
            }
            for finding in true
        ],
        "not_judged": dict(unseen),
    }
