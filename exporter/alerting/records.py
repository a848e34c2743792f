"""What alerting tells of itself: metrics about alerts, rules, deliveries and the heartbeat.

None has the label `qdrant_cluster`: they are about this daemon, not about a cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from exporter.alerting.words import Alert, AlertState, Outcome, Rule, RuleSight
from exporter.model import OURS, Kind, MetricSpec, Reading

ALERTS = MetricSpec(
    "qdrantx_alerts",
    Kind.GAUGE,
    "Alerts by rule, level and state; 0 where a rule in force has none",
    "alerts",
    OURS,
    ("alertname", "severity", "state"),
)
RULES = MetricSpec(
    "qdrantx_rules",
    Kind.GAUGE,
    "Alert rules by whether they see what they are about; a blind one needs something that is off",
    "rules",
    OURS,
    ("state",),
)
EVALUATED_AT = MetricSpec(
    "qdrantx_evaluation_last_timestamp_seconds",
    Kind.GAUGE,
    "When the alert rules were last evaluated",
    "seconds, Unix time",
    OURS,
    (),
)
NOTIFICATIONS = MetricSpec(
    "qdrantx_notifications_total",
    Kind.COUNTER,
    "Attempts to deliver a notification by what became of them; expired: given up by its age",
    "attempts",
    OURS,
    ("receiver", "outcome"),
)
PENDING = MetricSpec(
    "qdrantx_notifications_pending",
    Kind.GAUGE,
    "Notifications that wait to be delivered; of an Alertmanager: alerts that it did not take",
    "notifications",
    OURS,
    ("receiver",),
)
OLDEST_PENDING = MetricSpec(
    "qdrantx_notification_oldest_pending_timestamp_seconds",
    Kind.GAUGE,
    "When the oldest notification was decided on that waits, or was given up while it fires; else absent",
    "seconds, Unix time",
    OURS,
    ("receiver",),
)
RECEIVER_UP = MetricSpec(
    "qdrantx_receiver_up",
    Kind.GAUGE,
    "Whether the receiver takes messages from us; 0: it refused the last one (401, 403, 404, 410)",
    "1 or 0",
    OURS,
    ("receiver",),
)
UNSAVED = MetricSpec(
    "qdrantx_alerting_unsaved",
    Kind.GAUGE,
    "Whether the state directory cannot be written: a restart may repeat pages and forget resolves",
    "1 or 0",
    OURS,
    (),
)
HEARTBEATS = MetricSpec(
    "qdrantx_heartbeats_total",
    Kind.COUNTER,
    "Heartbeats that were due; withheld: not sent, because something is wrong with this daemon",
    "heartbeats",
    OURS,
    ("outcome",),
)
SPECS = (
    ALERTS,
    RULES,
    EVALUATED_AT,
    NOTIFICATIONS,
    PENDING,
    OLDEST_PENDING,
    RECEIVER_UP,
    UNSAVED,
    HEARTBEATS,
)

EXPIRED = "expired"
OUTCOMES = (*(outcome.value for outcome in Outcome), EXPIRED)
HEARTBEAT_OUTCOMES = ("sent", "failed", "withheld")
# Resolved alerts are kept for an hour, but nobody waits for them.
_STATES = (AlertState.PENDING, AlertState.FIRING)


@dataclass(slots=True)
class ReceiverRecord:
    """How deliveries to one receiver, by its name, went since the start."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))

    def readings(
        self,
        receiver: str,
        *,
        up: bool | None,
        waiting: Collection[float] = (),
        lost: Collection[float] = (),
    ) -> Iterator[Reading]:
        """Yield the record, whether the receiver takes what we send, and since when it lacks something.

        `waiting` and `lost` are when what it lacks was decided on, in Unix seconds; `lost` was given up
        and is still true: it is as much stuck as what waits. `up` is None of a receiver that left the
        configuration and is owed a message: nobody is to mend it.
        """
        for outcome, count in self.outcomes.items():
            yield Reading(NOTIFICATIONS, (receiver, outcome), float(count))
        if up is not None:
            yield Reading(RECEIVER_UP, (receiver,), float(up))
        yield Reading(PENDING, (receiver,), float(len(waiting)))
        if waiting or lost:
            yield Reading(OLDEST_PENDING, (receiver,), min((*waiting, *lost)))


def alert_readings(alerts: Iterable[Alert], rules: Iterable[Rule]) -> Iterator[Reading]:
    """Yield how many alerts are pending and firing, for every level of every rule and of each alert."""
    counts: Counter[tuple[str, str, AlertState]] = Counter()
    known = {(rule.name, level.severity) for rule in rules for level in rule.levels}
    for alert in alerts:
        known.add((alert.rule, alert.severity))
        counts[alert.rule, alert.severity, alert.state] += 1
    for name, severity in sorted(known):
        for state in _STATES:
            yield Reading(ALERTS, (name, severity, state.value), float(counts[name, severity, state]))


def rule_readings(sights: Iterable[RuleSight]) -> Iterator[Reading]:
    """Yield how many rules see what they are about."""
    blind = [bool(sight.blind) for sight in sights]
    yield Reading(RULES, ("active",), float(blind.count(False)))
    yield Reading(RULES, ("blind",), float(blind.count(True)))


def own_readings(*, evaluated_at: float | None, unsaved: bool) -> Iterator[Reading]:
    """Yield when the rules were last evaluated, once they were, and whether it all can be stored."""
    yield Reading(UNSAVED, (), float(unsaved))
    if evaluated_at is not None:
        yield Reading(EVALUATED_AT, (), evaluated_at)


def heartbeat_readings(outcomes: Mapping[str, int]) -> Iterator[Reading]:
    """Yield what became of the heartbeats."""
    for outcome in HEARTBEAT_OUTCOMES:
        yield Reading(HEARTBEATS, (outcome,), float(outcomes.get(outcome, 0)))
