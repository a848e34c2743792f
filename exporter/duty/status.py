"""Alerts and rules as documents in Prometheus's own shape, for /api/v1, and for the landing page.

What Prometheus has no word for stands beside its keys, so that tools that read Prometheus read this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from exporter.alerting.messages import place
from exporter.alerting.receivers.wire import rfc3339
from exporter.alerting.rules.shipped import shipped_runbook, shipped_runbooks
from exporter.alerting.spoken import duration
from exporter.alerting.words import Alert, AlertState, Level, Rule, RuleSight, severity_rank
from exporter.duty.rule_words import level_in_words
from exporter.web.face import LandingAlert

ACTIVE = (AlertState.FIRING, AlertState.PENDING)

_NAME = re.compile(r"[A-Za-z0-9]{1,100}")


def alerts_document(alerts: Iterable[Alert], held_back: Mapping[str, str]) -> dict[str, Any]:
    """Return what fires or is pending. `held_back`: why an alert is told to nobody anew, by fingerprint."""
    shown = [_alert(alert, held_back.get(alert.fingerprint, "")) for alert in worst_first(alerts)]
    return {"status": "success", "data": {"alerts": shown}}


def rules_document(
    rules: Sequence[Rule],
    sights: Iterable[RuleSight],
    alerts: Iterable[Alert],
    held_back: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return every level of every rule as Prometheus lists alerting rules, by file, with its alerts.

    `held_back` as in `alerts_document`.
    """
    seen = {sight.rule: sight for sight in sights}
    of_level: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for alert in worst_first(alerts):
        document = _alert(alert, (held_back or {}).get(alert.fingerprint, ""))
        of_level.setdefault((alert.rule, alert.severity), []).append(document)
    groups: dict[str, list[dict[str, Any]]] = {}
    for rule in rules:
        file = rule.source.rpartition(":")[0]
        for level in rule.levels:
            theirs = of_level.get((rule.name, level.severity), [])
            groups.setdefault(file, []).append(_rule(rule, level, seen.get(rule.name), theirs))
    shown = [
        {"name": PurePath(file).stem, "file": PurePath(file).name, "rules": rows}
        for file, rows in groups.items()
    ]
    return {"status": "success", "data": {"groups": shown}}


def landing_alerts(alerts: Iterable[Alert], now: float) -> tuple[LandingAlert, ...]:
    """Return what fires for the landing page, the worst first."""
    return tuple(
        LandingAlert(
            name=alert.rule,
            severity=alert.severity,
            summary=dict(alert.annotations).get("summary", "") or place(alert.labels),
            since=duration(max(0.0, now - (alert.fired_at or alert.active_since))),
            runbook=alert.runbook,
        )
        for alert in worst_first(alerts)
        if alert.state is AlertState.FIRING
    )


def worst_first(alerts: Iterable[Alert]) -> list[Alert]:
    """Return what fires or is pending: firing first, by severity, then the oldest first."""
    return sorted(
        (alert for alert in alerts if alert.state in ACTIVE),
        key=lambda alert: (
            ACTIVE.index(alert.state),
            severity_rank(alert.severity),
            alert.active_since,
            alert.labels,
        ),
    )


def runbook_names() -> tuple[str, ...]:
    """Return the names of all runbooks. Reads a directory."""
    return shipped_runbooks()


def runbook_text(name: str) -> str | None:
    """Return a runbook, None where there is none of this name. Reads a file."""
    if not _NAME.fullmatch(name):  # no path out of the directory
        return None
    path = shipped_runbook(name)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _alert(alert: Alert, held_back: str) -> dict[str, Any]:
    return {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "state": alert.state.value,
        "activeAt": rfc3339(alert.active_since),
        "value": "" if alert.value is None else repr(alert.value),
        "fingerprint": alert.fingerprint,
        "firedAt": _moment(alert.fired_at),
        "undecidedSince": _moment(alert.undecided_since),
        "limit": alert.limit,
        "unit": alert.unit,
        "runbook": alert.runbook,
        "changes": list(alert.changes),
        "flapping": alert.flapping,
        "heldBack": held_back,
    }


def _moment(unix_seconds: float | None) -> str | None:
    return None if unix_seconds is None else rfc3339(unix_seconds)


def _rule(
    rule: Rule, level: Level, sight: RuleSight | None, alerts: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    blind = sight.blind if sight is not None else ""
    return {
        "type": "alerting",
        "name": rule.name,
        "query": level_in_words(rule, level),
        "duration": level.for_seconds,
        "keepFiringFor": rule.keep_firing_for_seconds,
        "labels": {**dict(rule.labels), "severity": level.severity},
        "annotations": dict(rule.annotations),
        "state": alerts[0]["state"] if alerts else "inactive",  # firing ones come first
        "health": "unknown" if blind else "ok",
        "lastError": blind,
        "alerts": alerts,
        "threshold": level.threshold,
        "clear": level.clear,
        "runbook": rule.runbook,
        "metrics": list(sight.metrics) if sight is not None else [],
    }
