"""What people read of an alert: its numbers, and what its rule says in words of now."""

from __future__ import annotations

from dataclasses import replace

from exporter.alerting.rules.meaning import unit_compared
from exporter.alerting.rules.template import Facts, annotations_of
from exporter.alerting.words import Alert, Finding, Level, Rule
from exporter.duty.recent_changes import RecentChanges
from exporter.duty.surroundings import url_in
from exporter.logs import get_logger
from exporter.model import CLUSTER_LABEL
from exporter.observe.fleet import Fleet

log = get_logger()


class Describing:
    """Puts alerts into words. A rule whose words fail costs its own words, never a page."""

    def __init__(self, *, fleet: Fleet, changes: RecentChanges) -> None:
        """`changes` is what happened lately to the clusters of the fleet."""
        self._fleet = fleet
        self._changes = changes
        self._said: set[str] = set()  # rules whose words failed

    def described(self, alert: Alert, rule: Rule, level: Level, finding: Finding) -> Alert:
        """Return the alert in words of now; where that fails, in those that it had."""
        try:
            return self._in_words(alert, rule, finding)
        except Exception:  # the boundary: a group that cannot be described would hold up all others
            if rule.name not in self._said:
                self._said.add(rule.name)
                log.exception("alert.undescribed", rule=rule.name, fingerprint=alert.fingerprint)
            return alert

    def _in_words(self, alert: Alert, rule: Rule, finding: Finding) -> Alert:
        labels = dict(alert.labels)
        cluster = labels.get(CLUSTER_LABEL, "")
        changes = alert.changes
        if alert.fired_at == alert.evaluated_at:  # it fires now, and what changed since is no cause of it
            changes = self._changes.recent(cluster, labels, alert.fired_at)
        unit = finding.unit or unit_compared(rule.condition)  # another metric's, where `or` decides
        facts = Facts(
            labels=alert.labels,
            value=alert.value,
            limit=alert.limit,
            unit=unit,
            since=alert.active_since,
            changes=changes,
            url=url_in(self._fleet.watches, cluster, labels.get("peer", "")),
        )
        annotations = annotations_of(rule, facts)
        return replace(alert, unit=unit, annotations=annotations, runbook=rule.runbook, changes=changes)
