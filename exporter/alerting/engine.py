"""The engine: findings, silences and time go in; what changed and whom to tell come out.

Pure: it reads no clock, writes nothing and awaits nothing. It is the truth while the daemon
runs; what it returns of each step is that truth's log, stored in one transaction.
A step costs as much as what changed in it, and what fires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from exporter.alerting import lifecycle
from exporter.alerting.alert_book import AlertBook
from exporter.alerting.group_book import GroupBook, oldest_first
from exporter.alerting.grouping import ASSERT_RESOLVED_SECONDS
from exporter.alerting.holding import MUTED, UNSEEN_SECONDS, Holding
from exporter.alerting.identity import labels_of, series_of
from exporter.alerting.lifecycle import KEEP_RESOLVED_SECONDS, as_resolved
from exporter.alerting.rules.meaning import alert_labels
from exporter.alerting.setup import ReceiverFacts, Setup
from exporter.alerting.timers import Timers
from exporter.alerting.words import (
    Alert,
    AlertState,
    Changes,
    Ended,
    Finding,
    Group,
    LabelPairs,
    Level,
    Rule,
    Silence,
)

__all__ = ["Describe", "Engine", "ReceiverFacts", "Setup"]

# A clock is kept to the second; one that is further ahead at once was put on, or the machine slept.
JUMP_SECONDS = 30.0

# Fills in what people read of an alert that begins to fire or is about to be told.
Describe = Callable[[Alert, Rule, Level, Finding], Alert]


class Engine:
    """All alerts and all groups, and the one way in which they change."""

    def __init__(self, *, setup: Setup) -> None:
        self._now = 0.0
        self._stepped: tuple[float, float] | None = None  # the last step, on both clocks
        self._book = AlertBook()
        self._findings: dict[str, Finding] = {}  # the last of each alert that fires, to describe it
        self._old: Timers[str] = Timers()  # resolved alerts, when they may be forgotten
        self._touched: dict[str, None] = {}
        self._ended: list[Ended] = []
        self._take_up(setup)
        self._groups = GroupBook(alerts=self._book, setup=setup, holding=self._holding)

    def restore(
        self, alerts: Iterable[Alert], groups: Iterable[Group], *, evaluated_at: float, now: float
    ) -> None:
        """Take up what was stored at `evaluated_at`. What follows from it comes with the next step."""
        for group in groups:
            self._groups.restore(group)
        for stored in alerts:
            alert = lifecycle.after_restart(stored, evaluated_at=evaluated_at, now=now)
            if alert is None and stored.resolved_at is not None and self._groups.is_heard(stored.fingerprint):
                alert = as_resolved(stored)
            if alert is not stored:
                self._touched.setdefault(stored.fingerprint)
            if alert is not None:
                self._book.put(alert, self._series_of(alert))
        unseen = [alert.fingerprint for alert in self._book.firing()]
        self._holding.hold_unseen(unseen, until=now + UNSEEN_SECONDS)
        self.reconfigure(self._setup, now)

    def reconfigure(self, setup: Setup, now: float) -> None:
        """Go on by another setup. What follows from it comes with the next step.

        Alerts whose rule or level is no more, or is blind, or has other labels, end with that
        reason; groups whose receiver is no more end there.
        """
        self._now = max(self._now, now)
        unseen, until = self._holding.unseen()
        self._take_up(setup)
        self._groups.arrange(setup, self._holding)
        for alert in self._book.alerts():
            self._adopt(alert, now)
        self._holding.hold_unseen(filter(self._book.fires, unseen), until=until)

    def step(
        self,
        findings: Sequence[Finding],
        now: float,
        *,
        silences: Sequence[Silence],
        describe: Describe,
        monotonic_seconds: float | None = None,
    ) -> Changes:
        """Take in what an evaluation found, and the time. A rule without findings stays as it is.

        `monotonic_seconds`: the same moment on the clock that nobody sets. By it a clock that was put
        on is told from time that passed; None: it is not looked at.
        """
        self._notice_jump(now, monotonic_seconds)
        if now < self._now:  # the clock was set back: no time that was noted means anything
            self._groups.decide_all_again()
        self._now = now
        described: set[str] = set()
        for finding in findings:
            self._take(finding, now, describe, described)
        for fingerprint in self._holding.renew(self._book, silences, now):
            self._groups.decide_again(fingerprint)
        told = self._groups.decide(now, lambda alert: self._described(alert, describe, described))
        for fingerprint in self._old.pop(now):
            alert = self._book.get(fingerprint)
            if alert is not None and alert.state is AlertState.RESOLVED:
                self._forget(alert)
        groups, groups_dropped = self._groups.changes()
        alerts, alerts_dropped = self._changes()
        ended, self._ended = tuple(self._ended), []
        return Changes(now, alerts, alerts_dropped, groups, groups_dropped, told, ended)

    def known(self) -> Mapping[str, list[LabelPairs]]:
        """Return the series that have a pending or firing alert, by rule, as findings name them."""
        return self._book.active_series()

    def due_at(self) -> float | None:
        """Return when a step is due though nothing was found; mute times tell no moment."""
        if self._touched or self._ended:
            return self._now
        turns = (self._groups.next_due(self._now), self._holding.next_turn(self._now))
        return min((at for at in turns if at is not None), default=None)

    def alerts(self) -> tuple[Alert, ...]:
        """Return every alert, those resolved within the last hour too."""
        return self._book.alerts()

    def groups(self) -> tuple[Group, ...]:
        """Return every group, also those that are over, for a day."""
        return self._groups.groups()

    def held_back(self) -> dict[str, str]:
        """Return why firing alerts are told to nobody anew, by fingerprint, as of the last step."""
        firing = (alert.fingerprint for alert in self._book.firing())
        reasons = ((fingerprint, self._held_back(fingerprint)) for fingerprint in firing)
        return {fingerprint: reason for fingerprint, reason in reasons if reason}

    def asserted(self, receiver_id: str, now: float, describe: Describe | None = None) -> list[Alert]:
        """Return what a receiver is told that is told the whole state: what fires and what ended lately.

        As of the last step; with `describe`, in words of now.
        """
        alerts = (self._book.get(fingerprint) for fingerprint in self._groups.heard_by(receiver_id))
        told = (self._asserted(alert, now, describe) for alert in alerts if alert is not None)
        return sorted((alert for alert in told if alert is not None), key=oldest_first)

    def _held_back(self, fingerprint: str) -> str:
        reason = self._holding.reason(fingerprint)
        return reason or (MUTED if self._groups.is_muted(fingerprint) else "")

    def _notice_jump(self, now: float, monotonic_seconds: float | None) -> None:
        """Take the time by which the clock was put on as one in which nothing was decided."""
        before = self._stepped
        self._stepped = None if monotonic_seconds is None else (now, monotonic_seconds)
        if before is None or monotonic_seconds is None:
            return
        ahead = (now - before[0]) - (monotonic_seconds - before[1])
        if ahead <= JUMP_SECONDS:
            return
        for alert in self._book.alerts():
            moved = lifecycle.after_jump(alert, ahead)
            if moved is not alert:
                self._book.put(moved, self._book.series(alert.fingerprint))
                self._touched.setdefault(alert.fingerprint)
        self._holding.move_on(ahead)
        self._groups.move_on(ahead)

    def _asserted(self, alert: Alert, now: float, describe: Describe | None) -> Alert | None:
        if alert.state is AlertState.FIRING:
            finding = self._findings.get(alert.fingerprint)
            if finding is None or describe is None:
                return alert
            return describe(alert, finding.rule, finding.level, finding)
        if alert.resolved_at is None or now >= alert.resolved_at + ASSERT_RESOLVED_SECONDS:
            return None
        return as_resolved(alert)

    def _take_up(self, setup: Setup) -> None:
        self._setup = setup
        self._levels = {
            rule.name: {level.severity: level for level in rule.levels}
            for rule in setup.rules
            if rule.name not in setup.blind
        }
        self._holding = Holding(setup)

    def _take(self, finding: Finding, now: float, describe: Describe, described: set[str]) -> None:
        """Let a finding change its alert."""
        series = _without_empty(finding.labels)
        old = self._book.find(finding.rule.name, finding.level.severity, series)
        if old is None and not finding.verdict:
            return
        if finding.level.severity not in self._levels.get(finding.rule.name, ()):
            return  # evaluated by the rules from before a reload
        new = lifecycle.advance(old, finding, now)
        if new is None:
            if old is not None:
                self._forget(old)
            return
        if old is None and self._book.get(new.fingerprint) is not None:
            return  # a label of the rule gives another series the same labels, and it came first
        fires = new.state is AlertState.FIRING
        if fires and finding.verdict is not None:
            self._holding.seen(new.fingerprint)
            if finding.verdict or finding.value is not None:
                self._findings[new.fingerprint] = finding
        if fires and (old is None or old.state is not AlertState.FIRING):
            new = describe(new, finding.rule, finding.level, finding)
            described.add(new.fingerprint)
        self._put(old, new, series)

    def _put(self, old: Alert | None, new: Alert, series: LabelPairs) -> None:
        """Keep what became of an alert, and let everybody know who has to."""
        fingerprint = new.fingerprint
        self._book.put(new, series)
        if old is None or _lasting(old) != _lasting(new):
            self._touched.setdefault(fingerprint)
        was = old is not None and old.state is AlertState.FIRING
        if was is (new.state is AlertState.FIRING):
            return
        if was:
            self._findings.pop(fingerprint, None)
            self._groups.leave(fingerprint)
            self._note_end(new)
        else:
            self._groups.enter(new)
        self._holding.note(new, series)

    def _note_end(self, alert: Alert) -> None:
        assert alert.fired_at is not None
        assert alert.resolved_at is not None
        self._old.set(alert.fingerprint, alert.resolved_at + KEEP_RESOLVED_SECONDS)
        self._ended.append(
            Ended(
                fingerprint=alert.fingerprint,
                rule=alert.rule,
                labels=alert.labels,
                fired_at=alert.fired_at,
                resolved_at=alert.resolved_at,
                reason=alert.end_reason,
                value=alert.value,
            )
        )

    def _forget(self, alert: Alert) -> None:
        """Drop an alert that is over, unless somebody who heard of it is still to be told of its end."""
        fingerprint = alert.fingerprint
        if self._groups.is_heard(fingerprint):
            self._put(alert, as_resolved(alert), self._book.series(fingerprint))
            self._old.set(fingerprint, self._now + KEEP_RESOLVED_SECONDS)
            return
        self._book.drop(fingerprint)
        self._groups.forget(fingerprint)
        self._old.set(fingerprint, None)
        self._touched.setdefault(fingerprint)

    def _adopt(self, alert: Alert, now: float) -> None:
        """Let an alert go on under a new setup, or end."""
        series = self._book.series(alert.fingerprint)
        reason = self._orphaned(alert, series)
        if alert.fired_at is not None:
            self._groups.enter(alert)
            self._holding.note(alert, series)
        if not reason:
            self._book.bind(alert.fingerprint)
        else:
            self._book.unbind(alert.fingerprint)
            ended = lifecycle.end(alert, reason, now)
            if ended is None:
                self._forget(alert)
                return
            self._put(alert, ended, series)
        if alert.resolved_at is not None:
            self._old.set(alert.fingerprint, alert.resolved_at + KEEP_RESOLVED_SECONDS)

    def _orphaned(self, alert: Alert, series: LabelPairs) -> str:
        """Return why an alert cannot go on; "" where it can."""
        if alert.rule in self._setup.blind:
            return f"the rule cannot see any more: {self._setup.blind[alert.rule]}"
        if alert.rule not in self._levels:
            return "the rule was removed"
        level = self._levels[alert.rule].get(alert.severity)
        if level is None:
            return "the level was removed from the rule"
        rule = next(rule for rule in self._setup.rules if rule.name == alert.rule)
        names = alert_labels(rule.condition)
        is_found = all(name in names for name, _ in series) and labels_of(rule, level, series) == alert.labels
        return "" if is_found else "the labels of the rule were changed"

    def _series_of(self, alert: Alert) -> LabelPairs:
        rule = next((rule for rule in self._setup.rules if rule.name == alert.rule), None)
        return alert.labels if rule is None else series_of(rule, alert.labels)

    def _described(self, alert: Alert, describe: Describe, described: set[str]) -> Alert:
        """Bring what people read of a firing alert up to date, once a step."""
        fingerprint = alert.fingerprint
        finding = self._findings.get(fingerprint)
        if finding is not None and fingerprint not in described:
            described.add(fingerprint)
            alert = describe(alert, finding.rule, finding.level, finding)
            self._book.put(alert, self._book.series(fingerprint))
            self._touched.setdefault(fingerprint)
        return self._book.get(fingerprint) or alert

    def _changes(self) -> tuple[tuple[Alert, ...], tuple[str, ...]]:
        found = [(fingerprint, self._book.get(fingerprint)) for fingerprint in self._touched]
        self._touched = {}
        changed = tuple(alert for _, alert in found if alert is not None)
        return changed, tuple(fingerprint for fingerprint, alert in found if alert is None)


def _without_empty(labels: LabelPairs) -> LabelPairs:
    """Return labels as alerts have them, where an empty one is none."""
    return labels if all(value for _, value in labels) else tuple(pair for pair in labels if pair[1])


def _lasting(alert: Alert) -> tuple[object, ...]:
    """Return of an alert what is worth a write: not what changes with every evaluation."""
    return (
        alert.state,
        alert.active_since,
        alert.fired_at,
        alert.resolved_at,
        alert.recovering_since,
        alert.undecided_since,
        alert.turns,
        alert.flapping,
        alert.episode,
    )
