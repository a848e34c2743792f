"""Fingerprints are Alertmanager's; keys depend on cluster, group labels and level alone."""

from __future__ import annotations

import pytest

from exporter.alerting.identity import fingerprint, group_key, group_labels, labels_of, series_of
from exporter.alerting.words import LabelPairs
from tests.kit.timeline import a_rule, critical, pairs

# What Alertmanager 0.25 answered at GET /api/v2/alerts for alerts of these labels.
KNOWN = {
    "9c2bb82005b18174": {"alertname": "PeerDown"},
    "781d2215672ee615": {
        "alertname": "IndexingLag",
        "severity": "warning",
        "qdrant_cluster": "shop",
        "collection": "docs",
    },
    "f026040da62fef2a": {"alertname": "X", "empty": "", "b": "2", "a": "1"},
    "e49bd00721e01cad": {"alertname": "Ünïcode", "collection": '日本語 😀 "quoted"\n'},
    "4839efd5c1b408c5": {"alertname": "A", "a": "bc"},
    "c4d7e5558e4e1443": {"alertname": "A", "ab": "c"},
}

LABELS: LabelPairs = pairs(
    {"alertname": "PeerDown", "severity": "critical", "qdrant_cluster": "shop", "peer": "a"}
)


@pytest.mark.parametrize("expected", KNOWN)
def test_a_fingerprint_is_what_alertmanager_says_of_the_labels(expected: str) -> None:
    """Order and empty labels do not count, every other byte does."""
    labels = KNOWN[expected]

    assert fingerprint(tuple(labels.items())) == expected


def test_an_alert_has_the_labels_of_series_rule_and_level() -> None:
    """The rule's labels stand over the series', its name and level over both."""
    rule = a_rule("PeerDown", critical(), labels=(("team", "search"),))

    labels = labels_of(rule, rule.levels[0], pairs({"peer": "a", "team": "", "severity": "none"}))

    assert labels == pairs({"alertname": "PeerDown", "severity": "critical", "peer": "a", "team": "search"})


def test_the_series_is_what_the_labels_are_without_those_of_the_rule() -> None:
    """After a restart an alert is found by its series again."""
    rule = a_rule("PeerDown", critical(), labels=(("team", "search"),))
    series = pairs({"qdrant_cluster": "shop", "peer": "a"})

    assert series_of(rule, labels_of(rule, rule.levels[0], series)) == series


def test_a_group_has_the_labels_it_is_grouped_by_and_the_cluster() -> None:
    """Alerts of two clusters are never one group, whatever a route says."""
    assert group_labels(LABELS, ("alertname", "collection")) == pairs(
        {"alertname": "PeerDown", "qdrant_cluster": "shop"}
    )


def test_three_dots_group_by_every_label() -> None:
    """Each alert is a group of its own."""
    assert group_labels(LABELS, ("...",)) == LABELS


def test_a_key_is_the_same_for_every_daemon_and_order_of_labels() -> None:
    """The value is written down: another one would page everybody again after an upgrade."""
    group = pairs({"alertname": "PeerDown", "qdrant_cluster": "shop"})

    key = group_key(group, "critical")

    assert key == group_key(tuple(reversed(group)), "critical")
    assert key == "qdrantx-5170825d4475ed05d41ef538c1aa17d8a64286e3"


@pytest.mark.parametrize(
    ("labels", "severity"),
    [
        ({"alertname": "PeerDown", "qdrant_cluster": "shop"}, "warning"),
        ({"alertname": "PeerDown", "qdrant_cluster": "other"}, "critical"),
        ({"alertname": "PeerHung", "qdrant_cluster": "shop"}, "critical"),
        ({"alertname": "PeerDown", "qdrant_cluster": "shop", "peer": "a"}, "critical"),
        ({"alertname": 'PeerDown","x', "qdrant_cluster": "shop"}, "critical"),
    ],
)
def test_another_cluster_label_or_level_is_another_key(labels: dict[str, str], severity: str) -> None:
    """One incident per group and level."""
    first = group_key(pairs({"alertname": "PeerDown", "qdrant_cluster": "shop"}), "critical")

    assert group_key(pairs(labels), severity) != first
