"""What people read of an alert: its numbers, and what its rule says in words of now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from exporter.alerting.rules.meaning import unit_compared
from exporter.alerting.rules.template import NO_BACKUP, Facts, annotations_of
from exporter.alerting.words import Alert, Finding, Level, Rule
from exporter.backup.telling import BackupNote
from exporter.duty.recent_changes import RecentChanges
from exporter.duty.surroundings import url_in
from exporter.logs import get_logger
from exporter.model import CLUSTER_LABEL
from exporter.observe.fleet import Fleet

log = get_logger()

# By cluster and collection, or an alias of one; None: no good backup is known. Answers at once.
NewestBackup = Callable[[str, str], BackupNote | None]


def nothing_known(cluster: str, collection: str) -> BackupNote | None:
    """Know of no backup: there is no store."""
    return None


class Describing:
    """Puts alerts into words. A rule whose words fail costs its own words, never a page."""

    def __init__(
        self, *, fleet: Fleet, changes: RecentChanges, newest_backup: NewestBackup = nothing_known
    ) -> None:
        """`changes` is what happened lately to the clusters of the fleet."""
        self._fleet = fleet
        self._changes = changes
        self._newest_backup = newest_backup
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
        note = self._newest_backup(cluster, labels["collection"]) if "collection" in labels else None
        unit = finding.unit or unit_compared(rule.condition)  # another metric's, where `or` decides
        facts = Facts(
            labels=alert.labels,
            value=alert.value,
            limit=alert.limit,
            unit=unit,
            since=alert.active_since,
            changes=changes,
            url=url_in(self._fleet.watches, cluster, labels.get("peer", "")),
            backup=NO_BACKUP if note is None else note.words,
            restore="" if note is None else note.restore,
        )
        annotations = annotations_of(rule, facts)
        return replace(alert, unit=unit, annotations=annotations, runbook=rule.runbook, changes=changes)
