"""From a finding to a notification, by a clock moved by hand: who is told what, and when."""

from __future__ import annotations

from exporter.alerting.words import AlertState
from tests.kit.timeline import CHAT, OPS, PAGER, Timeline, a_rule, critical, warning

DOWN = a_rule("PeerDown", critical(120.0))
LAG = a_rule("IndexingLag", warning(60.0))


def test_a_critical_alert_is_told_in_the_evaluation_in_which_it_fires_and_others_30_s_later() -> None:
    """Who must get up is not made to wait for company."""
    line = Timeline(a_rule("PeerDown", critical(60.0)), LAG)
    line.set("PeerDown", True, peer="a")
    line.set("IndexingLag", True, collection="docs")

    assert line.run(120) == [
        "60 ops trigger PeerDown/critical +1 -0",
        "90 ops trigger IndexingLag/warning +1 -0",
    ]


def test_flapping_within_the_hold_time_tells_nobody() -> None:
    """Two minutes must be two minutes."""
    line = Timeline(DOWN)
    for _ in range(20):
        line.set("PeerDown", True, peer="a")
        line.run(105)
        line.set("PeerDown", False, peer="a")
        line.run(15)

    assert line.notifications == []


def test_what_ends_within_group_wait_tells_nobody() -> None:
    """Neither of its beginning nor of its end."""
    line = Timeline(LAG)
    line.set("IndexingLag", True, collection="docs")
    line.run(75)
    assert line.state("IndexingLag", "warning") is AlertState.FIRING
    line.set("IndexingLag", False, collection="docs")

    assert line.run(3_600) == []


def test_an_end_is_told_five_minutes_after_the_last_notification_at_the_earliest() -> None:
    """Until then it might go on."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(150)
    line.set("PeerDown", False, peer="a")

    assert line.run(600) == ["420 ops resolve PeerDown/critical +0 -1"]


def test_an_end_long_after_the_last_notification_is_told_at_once() -> None:
    """Nobody waits for good news."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(1_200)
    line.set("PeerDown", False, peer="a")

    assert line.run(60) == ["1200 ops resolve PeerDown/critical +0 -1"]


def test_alerts_of_one_rule_and_cluster_are_one_incident() -> None:
    """They join and leave by updates, at the group's pace."""
    line = Timeline(LAG)
    line.set("IndexingLag", True, collection="docs")
    line.set("IndexingLag", True, collection="pictures")
    line.run(120)
    line.set("IndexingLag", True, collection="sounds")
    line.run(400)
    line.set("IndexingLag", False, collection="docs")
    line.run(400)
    line.set("IndexingLag", False, collection="pictures")
    line.set("IndexingLag", False, collection="sounds")
    line.run(400)

    assert [line.tell(each) for each in line.notifications] == [
        "90 ops trigger IndexingLag/warning +2 -0",
        "390 ops update IndexingLag/warning +3 -0",
        "690 ops update IndexingLag/warning +2 -1",
        "990 ops resolve IndexingLag/warning +0 -2",
    ]
    assert {each.episode for each in line.notifications} == {1}
    assert len({each.key for each in line.notifications}) == 1


def test_another_critical_alert_of_a_group_is_told_at_once() -> None:
    """A second peer that is down changes everything."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(30)
    line.set("PeerDown", True, peer="b")

    assert line.run(180) == [
        "120 ops trigger PeerDown/critical +1 -0",
        "150 ops update PeerDown/critical +2 -0",
    ]


def test_two_clusters_are_two_incidents() -> None:
    """With keys of their own."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a", qdrant_cluster="shop")
    line.set("PeerDown", True, peer="a", qdrant_cluster="blog")

    assert len(line.run(150)) == 2
    assert len({each.key for each in line.notifications}) == 2


def test_who_wants_reminders_gets_one_every_four_hours() -> None:
    """PagerDuty gets none."""
    line = Timeline(
        DOWN,
        receivers=(CHAT, PAGER),
        route={"receiver": "chat", "routes": [{"receiver": "chat", "continue": True}, {"receiver": "pager"}]},
    )
    line.set("PeerDown", True, peer="a")

    assert line.run(9 * 3_600) == [
        "120 chat trigger PeerDown/critical +1 -0",
        "120 pager trigger PeerDown/critical +1 -0",
        "14520 chat reminder PeerDown/critical +1 -0",
        "28920 chat reminder PeerDown/critical +1 -0",
    ]


def test_a_level_that_rises_and_falls_is_two_incidents_one_within_the_other() -> None:
    """Critical begins and ends; the warning goes on all the time and is told once."""
    line = Timeline(a_rule("DiskUsed", critical(), warning()))
    line.set("DiskUsed", True, level="warning", peer="a")
    line.run(600)
    line.set("DiskUsed", True, level="critical", peer="a")
    line.run(600)
    line.set("DiskUsed", False, level="critical", peer="a")
    line.run(600)
    line.set("DiskUsed", False, level="warning", peer="a")
    line.run(600)

    assert [line.tell(each) for each in line.notifications] == [
        "30 ops trigger DiskUsed/warning +1 -0",
        "600 ops trigger DiskUsed/critical +1 -0",
        "1200 ops resolve DiskUsed/critical +0 -1",
        "1800 ops resolve DiskUsed/warning +0 -1",
    ]


def test_what_is_critical_from_its_start_warns_only_when_it_stays_a_warning() -> None:
    """The milder level is told five minutes after the worse one ended, if it still fires then."""
    line = Timeline(a_rule("DiskUsed", critical(), warning()))
    line.set("DiskUsed", True, peer="a")
    line.run(600)
    line.set("DiskUsed", False, level="critical", peer="a")

    assert line.run(600) == [
        "600 ops resolve DiskUsed/critical +0 -1",
        "930 ops trigger DiskUsed/warning +1 -0",
    ]


def test_a_collection_that_vanished_ends_its_alerts_as_gone() -> None:
    """Not as recovered, and the history says so."""
    line = Timeline(a_rule("CollectionRed", keep_firing_for=600.0))
    line.set("CollectionRed", True, collection="docs")
    line.run(400)
    line.set("CollectionRed", False, collection="docs", gone="the collection is gone")

    assert line.run(15) == ["400 ops resolve CollectionRed/critical +0 -1"]
    assert [each.end_reason for each in line.notifications[-1].resolved] == ["the collection is gone"]
    assert [each.reason for each in line.store.ended] == ["the collection is gone"]


def test_a_source_that_fails_ends_nothing_and_begins_nothing() -> None:
    """An hour in the dark freezes what is pending and what recovers."""
    line = Timeline(a_rule("PeerDown", critical(60.0)), a_rule("CollectionRed", keep_firing_for=60.0))
    line.set("CollectionRed", True, collection="docs")
    line.run(400)
    line.set("CollectionRed", False, collection="docs")
    line.set("PeerDown", True, peer="a")
    line.run(45)
    line.set("CollectionRed", None, collection="docs")
    line.set("PeerDown", None, peer="a")
    assert line.run(3_600) == []
    line.set("CollectionRed", False, collection="docs")
    line.set("PeerDown", True, peer="a")

    assert line.run(60) == [
        "4060 ops resolve CollectionRed/critical +0 -1",
        "4060 ops trigger PeerDown/critical +1 -0",
    ]


def test_an_alert_that_flaps_is_held_and_told_once() -> None:
    """From its third firing within the hour it ends only after a quiet quarter of an hour."""
    line = Timeline(a_rule("ServerErrors"))
    for _ in range(20):
        line.set("ServerErrors", True)
        line.run(345)
        line.set("ServerErrors", False)
        line.run(345)
    line.run(1_200)

    kinds = [each.kind for each in line.notifications]
    assert kinds == ["trigger", "resolve", "trigger", "resolve", "trigger", "resolve"]
    assert line.notifications[-1].created_at - line.notifications[-2].created_at > 10_000


def test_nothing_of_an_alert_is_left_after_an_hour_and_nothing_of_its_group_after_a_day() -> None:
    """What comes and goes does not fill memory."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(600)
    line.set("PeerDown", False, peer="a")
    line.run(15)
    line.world.clear()  # nothing is found any more of what is over
    line.run(3_600)
    assert (line.engine.alerts(), len(line.engine.groups())) == ((), 1)
    line.now += 86_400
    line.run(30)

    assert line.engine.groups() == ()
    assert line.store.groups == {}


def test_two_receivers_of_one_alert_each_hear_its_beginning_and_its_end() -> None:
    """Under one key."""
    line = Timeline(
        DOWN,
        receivers=(OPS, CHAT),
        route={"receiver": "ops", "routes": [{"receiver": "ops", "continue": True}, {"receiver": "chat"}]},
    )
    line.set("PeerDown", True, peer="a")
    line.run(600)
    line.set("PeerDown", False, peer="a")
    line.run(15)

    assert [(each.receiver, str(each.kind)) for each in line.notifications] == [
        ("ops-1", "trigger"),
        ("chat-1", "trigger"),
        ("ops-1", "resolve"),
        ("chat-1", "resolve"),
    ]
    assert len({each.key for each in line.notifications}) == 1
