"""Inhibition: what shares its labels with something that explains it need not be told."""

from __future__ import annotations

import pytest

from exporter.alerting.identity import fingerprint, labels_of
from exporter.alerting.inhibition import NEVER_INHIBITED, Inhibitor, Pair
from exporter.alerting.words import Alert, AlertState, Rule
from tests.kit.timeline import a_rule, critical, pairs, warning

HUNG = a_rule("PeerHung")
DOWN = a_rule("PeerDown")
DISK = a_rule("DiskUsed", critical(), warning())
RULES = (HUNG, DOWN, DISK)
PAIR = Pair("PeerHung", "PeerDown", ("qdrant_cluster", "peer"))
NOW = 1_000.0


def an_alert(
    rule: Rule, *, level: int = 0, resolved_at: float | None = None, **labels: str
) -> tuple[Alert, tuple[tuple[str, str], ...]]:
    """Return an alert that fires, or was resolved then, and the labels of its series."""
    series = pairs(labels)
    full = labels_of(rule, rule.levels[level], series)
    state = AlertState.FIRING if resolved_at is None else AlertState.RESOLVED
    alert = Alert(fingerprint(full), rule.name, full, state, 0.0, 0.0, fired_at=0.0, resolved_at=resolved_at)
    return alert, series


def inhibitor(*given: Pair, rules: tuple[Rule, ...] = RULES) -> Inhibitor:
    """Return one that knows of nothing that fires."""
    return Inhibitor(pairs=given or (PAIR,), rules=rules)


def test_a_source_inhibits_a_target_with_the_same_labels() -> None:
    """And no other."""
    one = inhibitor()
    one.note(*an_alert(HUNG, qdrant_cluster="shop", peer="a"))

    assert one.inhibits(*an_alert(DOWN, qdrant_cluster="shop", peer="a"))
    assert not one.inhibits(*an_alert(DOWN, qdrant_cluster="shop", peer="b"))
    assert not one.inhibits(*an_alert(DISK, qdrant_cluster="shop", peer="a"))


def test_a_target_does_not_inhibit_its_source() -> None:
    """A pair goes one way."""
    one = inhibitor()
    one.note(*an_alert(DOWN, qdrant_cluster="shop", peer="a"))

    assert not one.inhibits(*an_alert(HUNG, qdrant_cluster="shop", peer="a"))


def test_a_label_that_neither_has_is_equal() -> None:
    """As in Alertmanager: absent is empty."""
    one = inhibitor()
    one.note(*an_alert(HUNG, peer="a"))

    assert one.inhibits(*an_alert(DOWN, peer="a"))
    assert not one.inhibits(*an_alert(DOWN, peer="a", qdrant_cluster="shop"))


def test_alerts_that_have_none_of_the_labels_have_nothing_in_common() -> None:
    """In Alertmanager they would be equal, and one alert would hold back every other."""
    one = inhibitor()
    one.note(*an_alert(HUNG, collection="docs"))

    assert not one.inhibits(*an_alert(DOWN, collection="docs"))


def test_a_source_inhibits_for_five_minutes_past_its_end() -> None:
    """Consequences take longer to go than their cause."""
    one = inhibitor()
    source = an_alert(HUNG, qdrant_cluster="shop", peer="a")
    target = an_alert(DOWN, qdrant_cluster="shop", peer="a")
    one.note(*source)
    one.note(*an_alert(HUNG, resolved_at=NOW, qdrant_cluster="shop", peer="a"))

    assert one.next_end() == NOW + 300.0
    assert not one.expire(NOW + 299.9)
    assert one.inhibits(*target)
    assert one.expire(NOW + 300.0)
    assert not one.inhibits(*target)


def test_a_pair_may_inhibit_for_longer_past_the_end() -> None:
    """What looks back over ten minutes still sees the consequences when their cause is over."""
    one = inhibitor(Pair("PeerHung", "PeerDown", ("peer",), past_seconds=720.0))
    one.note(*an_alert(HUNG, resolved_at=NOW, peer="a"))

    one.expire(NOW + 719.0)
    assert one.inhibits(*an_alert(DOWN, peer="a"))
    one.expire(NOW + 720.0)
    assert not one.inhibits(*an_alert(DOWN, peer="a"))


def test_a_source_that_fires_again_goes_on_inhibiting() -> None:
    """Its earlier end means nothing any more."""
    one = inhibitor()
    one.note(*an_alert(HUNG, resolved_at=NOW, qdrant_cluster="shop", peer="a"))
    one.note(*an_alert(HUNG, qdrant_cluster="shop", peer="a"))

    assert not one.expire(NOW + 10_000.0)
    assert one.inhibits(*an_alert(DOWN, qdrant_cluster="shop", peer="a"))


def test_two_sources_inhibit_until_the_last_ends() -> None:
    """A pair on the cluster has many sources."""
    one = inhibitor(Pair("PeerHung", "PeerDown", ("qdrant_cluster",)))
    one.note(*an_alert(HUNG, qdrant_cluster="shop", peer="a"))
    one.note(*an_alert(HUNG, resolved_at=NOW, qdrant_cluster="shop", peer="b"))
    one.expire(NOW + 300.0)

    assert one.inhibits(*an_alert(DOWN, qdrant_cluster="shop", peer="c"))


def test_an_alert_does_not_inhibit_itself() -> None:
    """A rule may explain others of its own."""
    one = inhibitor(Pair("PeerDown", "PeerDown", ("qdrant_cluster",)))
    one.note(*an_alert(DOWN, qdrant_cluster="shop", peer="a"))

    assert not one.inhibits(*an_alert(DOWN, qdrant_cluster="shop", peer="a"))
    assert one.inhibits(*an_alert(DOWN, qdrant_cluster="shop", peer="b"))


def test_a_worse_level_inhibits_the_milder_of_the_same_series() -> None:
    """Critical says it all; the other way round it would hide it."""
    one = inhibitor()
    one.note(*an_alert(DISK, level=0, peer="a"))
    one.note(*an_alert(DISK, level=1, peer="b"))

    assert one.inhibits(*an_alert(DISK, level=1, peer="a"))
    assert not one.inhibits(*an_alert(DISK, level=1, peer="c"))
    assert not one.inhibits(*an_alert(DISK, level=0, peer="b"))


@pytest.mark.parametrize("name", sorted(NEVER_INHIBITED))
def test_the_four_are_never_inhibited(name: str) -> None:
    """Neither by a pair nor by a worse level."""
    rule = a_rule(name, critical(), warning())
    one = inhibitor(Pair("PeerDown", name, ("qdrant_cluster",)), rules=(DOWN, rule))
    one.note(*an_alert(DOWN, qdrant_cluster="shop"))
    one.note(*an_alert(rule, level=0, qdrant_cluster="shop"))

    assert not one.inhibits(*an_alert(rule, level=0, qdrant_cluster="shop"))
    assert not one.inhibits(*an_alert(rule, level=1, qdrant_cluster="shop"))


def test_an_alert_that_is_no_source_does_nothing() -> None:
    """So nobody has to be asked again."""
    one = inhibitor()

    assert not one.note(*an_alert(DOWN, qdrant_cluster="shop", peer="a"))
    assert not one.note(*an_alert(DISK, level=1, peer="a"))
    assert one.note(*an_alert(DISK, level=0, peer="a"))
