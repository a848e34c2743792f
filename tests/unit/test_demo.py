"""What the demo puts in force."""

from __future__ import annotations

from exporter.config.alerting import AlertingSettings
from exporter.demo import ROUTE, RULES
from exporter.duty.rules_in_force import rules_in_force


def test_the_demos_rules_load_and_alert_within_its_scenes() -> None:
    """Causes still fire before what they explain, and nothing waits longer than a scene lasts."""
    rules = {rule.name: rule for rule in rules_in_force(AlertingSettings(rules=RULES)).rules}

    for name in ("IndexingLag", "PeerDown"):
        assert max(level.for_seconds for level in rules[name].levels) <= 30
    assert ROUTE.group_wait_seconds is not None
    assert ROUTE.group_wait_seconds < 5
