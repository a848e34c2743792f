"""Alerts and rules as /api/v1 and the landing page show them."""

from __future__ import annotations

import json
from dataclasses import replace

from exporter.alerting.words import Alert, AlertState, Condition, Level, Operator, Rule, RuleSight, Selector
from exporter.catalogue import SPECS
from exporter.duty.status import (
    alerts_document,
    landing_alerts,
    rules_document,
    runbook_names,
    runbook_text,
)
from exporter.web.face import LandingAlert

NOW = 1_800_000_000.0
UP = next(spec for spec in SPECS if spec.name == "qdrantx_up")
RULE = Rule(
    "PeerDown",
    Condition(Selector(UP), Operator.EQUAL),
    (Level("critical", 0.0, for_seconds=120), Level("warning", 0.0)),
    annotations=(("summary", "{peer} is down"),),
    runbook="PeerDown",
    source="/somewhere/peers.yaml:4",
)


def alert(peer: str, severity: str = "critical", **more: object) -> Alert:
    """An alert that fires for ten minutes."""
    labels = (("alertname", "PeerDown"), ("peer", peer), ("qdrant_cluster", "prod"), ("severity", severity))
    made = Alert(
        fingerprint=f"{peer}-{severity}", rule="PeerDown", labels=labels, state=AlertState.FIRING,
        active_since=NOW - 720, evaluated_at=NOW, fired_at=NOW - 600, value=0.0, limit=0.0, unit="1 or 0",
        annotations=(("summary", f"{peer} is down"),), runbook="PeerDown",
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def test_alerts_are_listed_in_the_shape_of_prometheus() -> None:
    """labels, annotations, state, activeAt and value are its own; the rest is ours."""
    document = json.loads(json.dumps(alerts_document([alert("a")], {"a-critical": "silenced by 17"})))

    assert document["status"] == "success"
    shown = document["data"]["alerts"][0]
    assert shown["labels"] == {
        "alertname": "PeerDown", "peer": "a", "qdrant_cluster": "prod", "severity": "critical",
    }  # fmt: skip
    assert shown["annotations"] == {"summary": "a is down"}
    assert (shown["state"], shown["activeAt"], shown["value"]) == (
        "firing",
        "2027-01-15T07:48:00.000Z",
        "0.0",
    )
    assert (shown["firedAt"], shown["heldBack"]) == ("2027-01-15T07:50:00.000Z", "silenced by 17")


def test_firing_ones_come_first_then_the_worst_and_resolved_ones_are_left_out() -> None:
    """Prometheus lists none that are over either."""
    alerts = [
        alert("a", "warning"),
        alert("b", state=AlertState.PENDING, fired_at=None),
        alert("c", state=AlertState.RESOLVED, resolved_at=NOW),
        alert("d"),
        alert("e", active_since=NOW - 9_000),
    ]

    shown = alerts_document(alerts, {})["data"]["alerts"]

    assert [one["labels"]["peer"] for one in shown] == ["e", "d", "a", "b"]


def test_rules_are_listed_by_file_each_level_with_its_alerts() -> None:
    """A rule that sees nothing here has the health unknown, and says why."""
    firing = alert("a")
    blind = RuleSight("PeerDown", "it is off; switch it on", ("qdrantx_up",))

    document = rules_document([RULE], [blind], [firing], {"a-critical": "muted"})
    seeing = rules_document([RULE], [RuleSight("PeerDown")], [])

    (group,) = document["data"]["groups"]
    assert (group["name"], group["file"]) == ("peers", "peers.yaml")
    critical, warning = group["rules"]
    assert (critical["name"], critical["type"], critical["state"]) == ("PeerDown", "alerting", "firing")
    assert (critical["query"], critical["duration"]) == ("qdrantx_up == 0", 120)
    assert critical["labels"] == {"severity": "critical"}
    assert (critical["health"], critical["lastError"]) == ("unknown", "it is off; switch it on")
    assert [(one["labels"]["peer"], one["heldBack"]) for one in critical["alerts"]] == [("a", "muted")]
    assert (warning["state"], warning["alerts"]) == ("inactive", [])
    assert seeing["data"]["groups"][0]["rules"][0]["health"] == "ok"


def test_the_landing_page_gets_what_fires_with_how_long() -> None:
    """Pending ones are nobody's business yet."""
    nameless = alert("b", "warning", annotations=())

    shown = landing_alerts([nameless, alert("a"), alert("c", state=AlertState.PENDING, fired_at=None)], NOW)

    assert shown == (
        LandingAlert("PeerDown", "critical", "a is down", "10 min", "PeerDown"),
        LandingAlert("PeerDown", "warning", "cluster prod, peer b", "10 min", "PeerDown"),
    )


def test_a_runbook_is_found_by_its_name_and_nothing_else_is() -> None:
    """What a person types into a URL reads no other file."""
    names = runbook_names()

    assert "PeerDown" in names
    text = runbook_text("PeerDown")
    assert text is not None
    assert "PeerDown" in text
    for name in ("Nothing", "../rules/peers", "..%2frules%2fpeers", "PeerDown.md", "", "PeerDown\n"):
        assert runbook_text(name) is None
