"""Alerting's own metrics: there from the start at 0, and gone where there is nothing to say."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.alerting.records import (
    SPECS,
    ReceiverRecord,
    alert_readings,
    heartbeat_readings,
    own_readings,
    rule_readings,
)
from exporter.alerting.words import Condition, Level, Operator, Rule, RuleSight, Selector
from exporter.model import CLUSTER_LABEL, Kind, MetricSpec, Reading
from tests.kit.notifications import NOW, alert

METRIC = MetricSpec("m", Kind.GAUGE, "what", "unit", "source")


def values(readings: Iterable[Reading]) -> dict[tuple[str, ...], float]:
    """Return readings by name, shortened, and labels; each must be of a declared metric."""
    found = {}
    for reading in readings:
        assert reading.spec in SPECS
        assert len(reading.labels) == len(reading.spec.labels)
        found[reading.spec.name.removeprefix("qdrantx_"), *reading.labels] = reading.value
    return found


def rule(name: str, *severities: str) -> Rule:
    levels = tuple(Level(severity, 0.0) for severity in severities)
    return Rule(name, Condition(Selector(METRIC), Operator.GREATER), levels)


def test_every_outcome_of_a_receiver_is_there_from_the_start() -> None:
    """Or the first failure would be invisible to rate()."""
    found = values(ReceiverRecord().readings("hook", up=True))

    assert {
        key[2]: value for key, value in found.items() if key[0] == "notifications_total"
    } == dict.fromkeys(("delivered", "unknown", "retry", "rejected", "refused", "expired"), 0.0)
    assert found["receiver_up", "hook"] == 1.0
    assert found["notifications_pending", "hook"] == 0.0
    assert ("notification_oldest_pending_timestamp_seconds", "hook") not in found


def test_the_oldest_notification_that_waits_is_told() -> None:
    """When it was decided on, not when it was last tried."""
    found = values(ReceiverRecord().readings("hook", up=False, waiting=[NOW + 5, NOW]))

    assert found["receiver_up", "hook"] == 0.0
    assert found["notifications_pending", "hook"] == 2.0
    assert found["notification_oldest_pending_timestamp_seconds", "hook"] == NOW


def test_a_page_that_was_given_up_is_stuck_as_long_as_it_fires() -> None:
    """It waits no more, but nobody has it: the rule about stuck notifications must see it."""
    found = values(ReceiverRecord().readings("hook", up=True, waiting=[NOW], lost=[NOW - 60]))

    assert found["notifications_pending", "hook"] == 1.0
    assert found["notification_oldest_pending_timestamp_seconds", "hook"] == NOW - 60


def test_alerts_are_counted_for_every_level_of_every_rule() -> None:
    """Also of a rule that was removed while it fired; resolved ones are not told."""
    alerts = [alert(1), alert(2), alert(3, firing=False)]

    found = values(alert_readings(alerts, [rule("Lag", "critical", "warning")]))

    assert found == {
        ("alerts", "Lag", "critical", "pending"): 0.0,
        ("alerts", "Lag", "critical", "firing"): 0.0,
        ("alerts", "Lag", "warning", "pending"): 0.0,
        ("alerts", "Lag", "warning", "firing"): 0.0,
        ("alerts", "PeerDown", "critical", "pending"): 0.0,
        ("alerts", "PeerDown", "critical", "firing"): 2.0,
    }


def test_rules_are_active_or_blind() -> None:
    """Both are there when one is 0."""
    assert values(rule_readings([RuleSight("A"), RuleSight("B", blind="off")])) == {
        ("rules", "active"): 1.0,
        ("rules", "blind"): 1.0,
    }
    assert values(rule_readings([])) == {("rules", "active"): 0.0, ("rules", "blind"): 0.0}


def test_nothing_is_said_of_an_evaluation_before_the_first() -> None:
    """0 would be the year 1970."""
    assert values(own_readings(evaluated_at=None, unsaved=False)) == {("alerting_unsaved",): 0.0}
    assert values(own_readings(evaluated_at=NOW, unsaved=True)) == {
        ("alerting_unsaved",): 1.0,
        ("evaluation_last_timestamp_seconds",): NOW,
    }


def test_heartbeats_are_counted_by_what_became_of_them() -> None:
    """Each from the start."""
    assert values(heartbeat_readings({"sent": 3})) == {
        ("heartbeats_total", "sent"): 3.0,
        ("heartbeats_total", "failed"): 0.0,
        ("heartbeats_total", "withheld"): 0.0,
    }


def test_no_metric_of_alerting_is_about_one_cluster() -> None:
    """They are about this daemon."""
    assert not any(CLUSTER_LABEL in spec.labels for spec in SPECS)
