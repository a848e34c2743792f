"""The daemon stops, starts and is told otherwise in the middle of an alert."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.alerting.words import AlertState
from tests.kit.timeline import ALERTMANAGER, CHAT, OPS, Timeline, a_rule, critical, warning

DOWN = a_rule("PeerDown", critical(120.0))


def firing(line: Timeline) -> Timeline:
    """Let peer a be down and everybody know of it, ten minutes from the start."""
    line.set("PeerDown", True, peer="a")
    line.run(600)
    assert line.state("PeerDown") is AlertState.FIRING
    return line


def test_a_restart_in_the_middle_pages_nobody_again() -> None:
    """Neither when nothing is known yet nor when it is found again."""
    line = firing(Timeline(DOWN))
    line.set("PeerDown", None, peer="a")
    line.restart(down=300)
    assert line.run(60) == []
    line.set("PeerDown", True, peer="a")

    assert line.run(600) == []


def test_an_end_while_the_daemon_was_down_is_told_when_it_is_seen() -> None:
    """No end is forgotten."""
    line = firing(Timeline(DOWN))
    line.set("PeerDown", False, peer="a")
    line.restart(down=7_200)

    assert line.run(15) == ["7800 ops resolve PeerDown/critical +0 -1"]


def test_an_end_that_could_not_be_told_before_the_stop_is_told_after_it() -> None:
    """It waited for group_interval; a day later its alert is still shown."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(150)
    line.set("PeerDown", False, peer="a")
    line.run(30)
    assert line.state("PeerDown") is AlertState.RESOLVED
    line.restart(down=86_400)

    assert line.run(15) == ["86580 ops resolve PeerDown/critical +0 -1"]
    assert [each.label("peer") for each in line.notifications[-1].resolved] == ["a"]


def test_time_down_is_in_no_hold_time() -> None:
    """An alert that was pending 60 of 120 s is pending 60 s more, and one interval."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(60)
    line.restart(down=1_200)

    assert line.run(180) == ["1320 ops trigger PeerDown/critical +1 -0"]


def test_a_second_restart_before_anything_is_known_loses_nothing() -> None:
    """A daemon that starts again and again neither pages nor forgets."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(60)
    line.set("PeerDown", None, peer="a")
    for _ in range(5):
        line.restart(down=20)
        assert line.run(15) == []
    line.set("PeerDown", True, peer="a")

    assert line.run(45) == []
    assert line.run(30) != []


def test_what_fired_unheard_before_a_stop_is_told_when_it_is_seen_again() -> None:
    """Not by the memory of it: it may be over."""
    line = Timeline(a_rule("IndexingLag", warning()))
    line.set("IndexingLag", True, collection="docs")
    line.run(15)
    line.set("IndexingLag", None, collection="docs")
    line.restart(down=3_600)
    assert line.run(30) == []
    line.set("IndexingLag", False, collection="docs")

    assert line.run(600) == []


def test_what_fired_unheard_and_cannot_be_seen_is_told_after_a_minute() -> None:
    """Its source may fail because of what it is about."""
    line = Timeline(DOWN)
    line.silence("peer=a", seconds=300)
    line.set("PeerDown", True, peer="a")
    line.run(200)
    line.set("PeerDown", None, peer="a")
    line.restart(down=3_600)

    assert line.run(120) == ["3860 ops trigger PeerDown/critical +1 -0"]


def test_the_episodes_of_a_group_are_counted_over_a_restart() -> None:
    """The next incident is the second."""
    line = firing(Timeline(DOWN))
    line.set("PeerDown", False, peer="a")
    line.run(60)
    line.restart(down=60)
    line.set("PeerDown", True, peer="a")
    line.run(200)

    assert [each.episode for each in line.notifications] == [1, 1, 2]


def test_a_rule_renamed_while_firing_ends_the_old_alert_and_begins_the_new() -> None:
    """The old incident would stay open for ever."""
    line = firing(Timeline(DOWN))
    line.rules = (replace(DOWN, name="PeerGone"),)
    line.reload()
    line.set("PeerGone", True, peer="a")

    assert line.run(150) == [
        "600 ops resolve PeerDown/critical +0 -1",
        "720 ops trigger PeerGone/critical +1 -0",
    ]
    assert [each.reason for each in line.store.ended] == ["the rule was removed"]


def test_a_rule_renamed_while_stopped_does_the_same() -> None:
    """By what was stored."""
    line = firing(Timeline(DOWN))
    line.rules = (replace(DOWN, name="PeerGone"),)
    line.restart(down=60)

    assert line.run(15) == ["660 ops resolve PeerDown/critical +0 -1"]


def test_a_receiver_renamed_while_firing_hears_nothing_new_and_one_end() -> None:
    """Its address is the same, and so is its id."""
    line = firing(Timeline(DOWN))
    line.receivers = (replace(OPS, name="team"),)
    line.reload()
    assert line.run(600) == []
    line.set("PeerDown", False, peer="a")

    assert line.run(15) == ["1200 ops resolve PeerDown/critical +0 -1"]


def test_a_rule_removed_while_its_alert_is_pending_leaves_nothing() -> None:
    """Nobody heard of it, and no history tells of it."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(60)
    line.rules = (a_rule("PeerHung"),)
    line.reload()

    assert line.run(600) == []
    assert (line.engine.alerts(), line.store.ended) == ((), [])


def test_a_rule_that_cannot_see_any_more_ends_its_alerts_and_says_so() -> None:
    """Its producer was switched off."""
    line = firing(Timeline(DOWN))
    line.blind = {"PeerDown": "probes are off"}
    line.reload()

    assert line.run(15) == ["600 ops resolve PeerDown/critical +0 -1"]
    assert [each.reason for each in line.store.ended] == ["the rule cannot see any more: probes are off"]


def test_a_level_that_was_removed_ends_its_alerts() -> None:
    """The other level goes on."""
    line = Timeline(a_rule("DiskUsed", critical(), warning()))
    line.set("DiskUsed", True, peer="a")
    line.run(600)
    line.rules = (a_rule("DiskUsed", warning()),)
    line.world = {key: found for key, found in line.world.items() if key[1] == "warning"}
    line.reload()

    assert line.run(15)[:1] == ["600 ops resolve DiskUsed/critical +0 -1"]
    assert line.state("DiskUsed", "warning") is AlertState.FIRING


@pytest.mark.parametrize("restarts", [False, True])
def test_a_rule_with_another_label_is_another_alert(restarts: bool) -> None:
    """As in Prometheus: the old one ends, the new one waits its hold time."""
    line = firing(Timeline(DOWN))
    line.rules = (replace(DOWN, labels=(("team", "search"),)),)
    line.set("PeerDown", True, peer="a")
    if restarts:
        line.restart()
    else:
        line.reload()
    line.run(15)
    assert [each.reason for each in line.store.ended] == ["the labels of the rule were changed"]
    line.run(600)

    new = line.alert("PeerDown", team="search")
    assert new is not None
    assert new.state is AlertState.FIRING


def test_a_longer_hold_time_demotes_nothing() -> None:
    """Nobody is told that it is over, nor that it begins."""
    line = firing(Timeline(DOWN))
    line.rules = (a_rule("PeerDown", critical(3_600.0)),)
    line.set("PeerDown", True, peer="a")
    line.reload()

    assert line.run(900) == []
    assert line.state("PeerDown") is AlertState.FIRING


def test_a_receiver_with_another_key_hears_that_it_fires_and_the_old_one_that_it_is_over() -> None:
    """The incident under the old key would stay open."""
    line = firing(Timeline(DOWN))
    line.receivers = (replace(OPS, id="ops-2"),)
    line.reload()
    line.run(15)

    assert [(each.receiver, str(each.kind)) for each in line.notifications[1:]] == [
        ("ops-1", "resolve"),
        ("ops-2", "trigger"),
    ]


def test_a_receiver_that_was_removed_while_stopped_hears_that_all_is_over() -> None:
    """By what was stored of it."""
    line = firing(Timeline(DOWN))
    line.receivers = (CHAT,)
    line.restart(down=10)
    line.run(60)

    assert [(each.receiver, str(each.kind)) for each in line.notifications[1:]] == [
        ("ops-1", "resolve"),
        ("chat-1", "trigger"),
    ]
    assert [each.end_reason for each in line.notifications[1].resolved] == [
        "this receiver is no longer configured"
    ]


def test_a_receiver_of_the_whole_state_that_was_removed_gets_no_notification() -> None:
    """It has no queue; what it was told expires by itself."""
    line = firing(Timeline(DOWN, receivers=(ALERTMANAGER,)))
    line.receivers = (CHAT,)
    line.restart(down=10)
    line.run(60)

    assert [each.receiver for each in line.notifications] == ["chat-1"]


def test_a_route_that_leads_elsewhere_now_tells_the_end_where_the_beginning_was_told() -> None:
    """And the beginning to whom it leads now."""
    line = firing(Timeline(DOWN, receivers=(OPS, CHAT), route={"receiver": "ops"}))
    line.route = {"receiver": "chat"}
    line.reload()
    line.run(15)
    line.set("PeerDown", False, peer="a")
    line.run(600)

    assert [(each.receiver, str(each.kind)) for each in line.notifications] == [
        ("ops-1", "trigger"),
        ("chat-1", "trigger"),
        ("ops-1", "resolve"),
        ("chat-1", "resolve"),
    ]


@pytest.mark.parametrize("route", [{"receiver": "chat"}, {"receiver": "ops", "group_by": ["peer"]}])
def test_a_group_that_no_route_leads_to_any_more_ends_with_its_alerts(route: dict[str, object]) -> None:
    """The interval that was configured for it went with its route; nobody asked for the default one."""
    line = Timeline(DOWN, receivers=(OPS, CHAT), route={"receiver": "ops", "group_interval": "10s"})
    line.set("PeerDown", True, peer="a")
    line.run(150)
    line.route = {**route, "group_interval": "10s"}
    line.reload()
    line.run(30)
    line.set("PeerDown", False, peer="a")
    line.run(60)

    assert [str(each.kind) for each in line.notifications] == ["trigger", "trigger", "resolve", "resolve"]


def test_a_cluster_that_was_removed_ends_its_alerts() -> None:
    """Evaluation says that it is gone."""
    line = firing(Timeline(DOWN))
    line.set("PeerDown", False, peer="a", gone="the cluster is no longer configured")

    assert line.run(15) == ["600 ops resolve PeerDown/critical +0 -1"]


def test_findings_of_a_rule_from_before_a_reload_change_nothing() -> None:
    """An evaluation may have begun before it."""
    line = Timeline(a_rule("PeerDown"))
    line.set("PeerDown", True, peer="a")
    late = list(line.world.values())
    line.rules = (a_rule("PeerHung"),)
    line.reload()
    line.engine.step(late, line.now, silences=(), describe=lambda alert, *_: alert)

    assert line.engine.alerts() == ()


def test_a_clock_set_back_loses_no_end() -> None:
    """Whatever time it is: five minutes later at the most."""
    line = firing(Timeline(DOWN))
    line.now -= 86_400
    line.run(30)
    line.set("PeerDown", False, peer="a")

    assert len(line.run(330)) == 1
