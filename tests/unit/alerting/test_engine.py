"""What the engine returns of a step and says of itself."""

from __future__ import annotations

import pytest

from exporter.alerting.inhibition import Pair
from exporter.alerting.words import Alert, AlertState, Finding, NotificationKind
from tests.kit.timeline import (
    ALERTMANAGER,
    CHAT,
    OPS,
    START,
    Timeline,
    a_rule,
    critical,
    described,
    pairs,
    warning,
)

DOWN = a_rule("PeerDown")


def test_a_step_returns_what_changed_and_nothing_else() -> None:
    """A second evaluation of the same is not worth a write."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a", value=0.0)
    findings = list(line.world.values())

    first = line.engine.step(findings, START, silences=(), describe=described)
    second = line.engine.step(findings, START + 15, silences=(), describe=described)

    assert [alert.label("peer") for alert in first.alerts] == ["a"]
    assert [group.heard for group in first.groups] == [(first.alerts[0].fingerprint,)]
    assert [each.kind for each in first.notifications] == [NotificationKind.TRIGGER]
    assert (second.alerts, second.groups, second.notifications) == ((), (), ())
    assert second.evaluated_at == START + 15


def test_values_are_the_newest_though_they_are_not_written() -> None:
    """A message that is sent later says what is true then."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a", value=11.0)
    line.evaluate()
    line.set("PeerDown", True, peer="a", value=99.0)
    line.evaluate()

    assert [alert.value for alert in line.engine.alerts()] == [99.0]


def test_a_notification_has_the_words_of_its_moment() -> None:
    """Those of the beginning are half a minute old when the group is told."""
    line = Timeline(a_rule("IndexingLag", warning()))
    line.set("IndexingLag", True, collection="docs", value=6.0)
    line.run(15)
    line.set("IndexingLag", True, collection="docs", value=9.0)
    line.run(15)

    assert line.notifications[0].firing[0].annotations == (("summary", "IndexingLag at 9.0"),)


def test_a_notification_names_the_twenty_oldest_and_the_count() -> None:
    """Nobody reads more."""
    line = Timeline(DOWN)
    for number in range(3):
        line.set("PeerDown", True, peer=f"z{number}")
    line.run(15)
    for number in range(30):
        line.set("PeerDown", True, peer=f"a{number:02}")
    line.run(15)

    update = line.notifications[-1]
    assert (len(update.firing), update.firing_count) == (20, 33)
    assert sorted(alert.label("peer") for alert in update.firing[:3]) == ["z0", "z1", "z2"]


def test_known_are_the_series_of_what_is_pending_or_fires() -> None:
    """Once each, whatever the level, as findings name them."""
    line = Timeline(
        a_rule("DiskUsed", critical(60.0), warning(), labels=(("team", "search"),)), a_rule("PeerDown")
    )
    line.set("DiskUsed", True, peer="a")
    line.set("PeerDown", True, peer="b")
    line.run(15)
    line.set("PeerDown", False, peer="b")
    line.run(15)

    assert line.engine.known() == {"DiskUsed": [pairs({"qdrant_cluster": "shop", "peer": "a"})]}
    line.restart()
    assert line.engine.known() == {"DiskUsed": [pairs({"qdrant_cluster": "shop", "peer": "a"})]}


def test_a_label_without_a_value_is_none() -> None:
    """Findings may name it, alerts do not have it; it is the same series over a restart."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a", collection="")
    line.run(15)
    line.restart()
    line.set("PeerDown", False, peer="a", collection="")
    line.run(400)

    assert line.state("PeerDown") is AlertState.RESOLVED


def test_what_is_due_next_is_said() -> None:
    """The end of the group's wait, then its reminder."""
    line = Timeline(a_rule("IndexingLag", warning()))
    assert line.engine.due_at() is None
    line.set("IndexingLag", True, collection="docs")
    line.evaluate()

    assert line.engine.due_at() == START + 30
    line.run(30)
    assert line.engine.due_at() == START + 30 + 14_400


def test_a_restart_makes_a_step_due_at_once() -> None:
    """What follows from what was stored is to be stored and told."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(15)
    line.restart(down=60)

    assert line.engine.due_at() == line.now


def test_the_end_of_a_silence_and_of_an_inhibition_are_due() -> None:
    """Alerts may have to be told at that moment."""
    line = Timeline(
        DOWN, a_rule("CollectionRed"), inhibits=[Pair("PeerDown", "CollectionRed", ("qdrant_cluster",))]
    )
    line.set("PeerDown", True, peer="a")
    line.evaluate()
    line.silence("peer=a", seconds=500)
    line.set("PeerDown", False, peer="a")
    line.now += 310
    line.evaluate()

    assert line.engine.due_at() == START + 500
    line.silences.clear()
    line.evaluate()
    assert line.engine.due_at() == START + 310 + 300


def test_an_alert_about_a_receiver_is_told_to_the_others() -> None:
    """The one that takes nothing cannot be told so."""
    line = Timeline(a_rule("NotificationsStuck"), receivers=(OPS, CHAT), route={"receiver": "ops"})
    line.set("NotificationsStuck", True, receiver="ops")

    assert line.run(15) == ["0 chat trigger NotificationsStuck/critical +1 -0"]


def test_two_routes_to_one_receiver_are_one_group() -> None:
    """Nobody is told twice of the same."""
    line = Timeline(
        DOWN,
        route={"receiver": "ops", "routes": [{"continue": True}, {"match": ["severity=critical"]}]},
    )
    line.set("PeerDown", True, peer="a")

    assert line.run(60) == ["0 ops trigger PeerDown/critical +1 -0"]


def test_grouped_by_every_label_each_alert_is_an_incident() -> None:
    """With a key of its own."""
    line = Timeline(DOWN, route={"group_by": ["..."]})
    line.set("PeerDown", True, peer="a")
    line.set("PeerDown", True, peer="b")
    line.run(15)

    assert [each.firing_count for each in line.notifications] == [1, 1]
    assert len({each.key for each in line.notifications}) == 2


def test_two_series_of_the_same_labels_are_the_alert_of_the_first() -> None:
    """A rule's own label may cover that by which they differ."""
    rule = a_rule("PeerDown", labels=(("peer", "all"),))
    line = Timeline(rule)
    line.set("PeerDown", True, peer="a")
    line.set("PeerDown", True, peer="b")
    line.run(30)
    line.set("PeerDown", False, peer="b")
    line.run(30)

    assert [alert.state for alert in line.engine.alerts()] == [AlertState.FIRING]


def asserted(line: Timeline) -> list[tuple[str, str]]:
    """Return what Alertmanager is told now."""
    return [(alert.label("peer"), str(alert.state)) for alert in line.engine.asserted("am-1", line.now)]


def test_alertmanager_is_told_what_fires_and_what_ended_in_the_last_quarter_of_an_hour() -> None:
    """And never by a notification."""
    line = Timeline(DOWN, receivers=(ALERTMANAGER,))
    line.set("PeerDown", True, peer="a")
    line.set("PeerDown", True, peer="b")
    line.run(60)
    line.set("PeerDown", False, peer="b")
    line.run(15)
    assert sorted(asserted(line)) == [("a", "firing"), ("b", "resolved")]
    line.now += 900  # no step since

    assert asserted(line) == [("a", "firing")]
    assert line.notifications == []


def test_alertmanager_is_told_the_end_of_what_is_pending_again() -> None:
    """It must not fire there until it fires here."""
    line = Timeline(a_rule("PeerDown", critical(60.0)), receivers=(ALERTMANAGER,))
    line.set("PeerDown", True, peer="a")
    line.run(90)
    line.set("PeerDown", False, peer="a")
    line.run(15)
    line.set("PeerDown", True, peer="a")
    line.run(30)

    assert line.state("PeerDown") is AlertState.PENDING
    assert asserted(line) == [("a", "resolved")]


def test_alertmanager_goes_on_being_told_while_a_source_fails() -> None:
    """An undecided alert fires."""
    line = Timeline(DOWN, receivers=(ALERTMANAGER,))
    line.set("PeerDown", True, peer="a")
    line.run(60)
    line.set("PeerDown", None, peer="a")
    line.run(7_200)

    assert asserted(line) == [("a", "firing")]


def test_alertmanager_is_not_told_what_was_held_back_from_the_start() -> None:
    """But goes on being told what was silenced later, and over a restart."""
    line = Timeline(DOWN, receivers=(ALERTMANAGER,))
    line.set("PeerDown", True, peer="a")
    line.run(60)
    line.silence("alertname=PeerDown")
    line.set("PeerDown", True, peer="b")
    line.run(60)
    assert asserted(line) == [("a", "firing")]
    line.restart()
    line.run(60)

    assert asserted(line) == [("a", "firing")]


def test_what_alertmanager_is_told_can_be_in_the_words_of_now() -> None:
    """As Prometheus renders its annotations at every evaluation."""
    line = Timeline(DOWN, receivers=(ALERTMANAGER,))
    line.set("PeerDown", True, peer="a", value=11.0)
    line.run(15)
    line.set("PeerDown", True, peer="a", value=12.0)
    line.run(15)

    (told,) = line.engine.asserted("am-1", line.now, described)
    assert told.annotations == (("summary", "PeerDown at 12.0"),)


def test_an_undecided_evaluation_leaves_the_words_of_the_last_value() -> None:
    """It has none of its own."""
    line = Timeline(a_rule("IndexingLag", warning()))
    line.set("IndexingLag", True, collection="docs", value=6.0)
    line.run(15)
    line.set("IndexingLag", None, collection="docs")
    line.run(30)

    assert line.notifications[0].firing[0].annotations == (("summary", "IndexingLag at 6.0"),)


def test_a_false_evaluation_without_a_value_leaves_the_words_of_the_last_one() -> None:
    """The alert fires on by keep_firing_for."""
    line = Timeline(a_rule("IndexingLag", warning(), keep_firing_for=600.0))
    line.set("IndexingLag", True, collection="docs", value=6.0)
    line.run(15)
    line.set("IndexingLag", False, collection="docs")
    line.run(30)

    assert line.notifications[0].firing[0].annotations == (("summary", "IndexingLag at 6.0"),)


def test_what_is_not_true_of_an_unknown_series_changes_nothing() -> None:
    """False, undecided and gone are about what is known."""
    line = Timeline(DOWN)

    def never(alert: Alert, *_: object) -> Alert:
        raise AssertionError(f"described {alert.rule}")

    level = DOWN.levels[0]
    series = pairs({"peer": "a"})
    findings = [
        Finding(DOWN, level, series, False),
        Finding(DOWN, level, series, None),
        Finding(DOWN, level, series, False, gone="the series is gone"),
    ]
    changes = line.engine.step(findings, START, silences=(), describe=never)

    assert (changes.alerts, changes.alerts_dropped, changes.groups) == ((), (), ())


def test_words_that_cannot_be_found_lose_nothing_that_was_decided() -> None:
    """Whoever describes alerts may break; the next step tells what this one could not."""
    line = Timeline(a_rule("IndexingLag", warning()), a_rule("DiskUsed", warning()))
    line.set("IndexingLag", True, collection="docs", value=6.0)
    line.set("DiskUsed", True, peer="a", value=6.0)
    line.run(15)
    line.now += 15

    def breaks_on_disks(alert: Alert, *_: object) -> Alert:
        assert alert.rule != "DiskUsed"
        return alert

    with pytest.raises(AssertionError):
        line.engine.step((), line.now, silences=(), describe=breaks_on_disks)

    assert line.run(0) == [
        "30 ops trigger IndexingLag/warning +1 -0",
        "30 ops trigger DiskUsed/warning +1 -0",
    ]
