"""The clock is put on by an hour, or the machine slept: that hour passed for nobody."""

from __future__ import annotations

from exporter.alerting.inhibition import Pair
from exporter.alerting.words import AlertState
from tests.kit.timeline import Timeline, a_rule, critical, warning

HOUR = 3_600.0
DOWN = a_rule("PeerDown", critical(120.0))


def test_what_is_pending_does_not_fire_by_time_that_did_not_pass() -> None:
    """60 of its 120 seconds are left."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(60)
    line.put_clock_on(HOUR)

    assert line.run(30) == []
    assert line.run(60) == ["3720 ops trigger PeerDown/critical +1 -0"]


def test_a_reload_in_between_does_not_hide_it() -> None:
    """It tells the engine the time as well."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(60)
    line.put_clock_on(HOUR)
    line.reload()

    assert line.run(30) == []


def test_a_small_step_of_the_clock_is_taken_as_it_is() -> None:
    """Clocks are kept; 20 seconds early does no harm."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(60)
    line.put_clock_on(20)

    assert line.run(60) == ["125 ops trigger PeerDown/critical +1 -0"]


def test_an_end_is_held_for_its_own_time() -> None:
    """keep_firing_for has run for 30 of its 300 seconds."""
    line = Timeline(a_rule("PeerDown", critical(), keep_firing_for=300.0))
    line.set("PeerDown", True, peer="a")
    line.run(60)
    line.set("PeerDown", False, peer="a")
    line.run(45)
    line.put_clock_on(HOUR)
    line.run(240)
    assert line.state("PeerDown") is AlertState.FIRING

    line.run(60)

    assert line.state("PeerDown") is AlertState.RESOLVED


def test_an_undecided_alert_counts_the_hour_once() -> None:
    """The time since it was last decided is in no hold anyway."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(60)
    line.set("PeerDown", None, peer="a")
    line.run(60)
    line.put_clock_on(HOUR)
    line.run(60)
    line.set("PeerDown", True, peer="a")

    assert line.run(45) == []
    assert len(line.run(45)) == 1


def test_nobody_is_reminded_nor_told_of_company_early() -> None:
    """Waits of groups are waits of people."""
    line = Timeline(
        a_rule("DiskUsed", warning()),
        route={"group_wait": "60s", "group_interval": "5m", "repeat_interval": "30m"},
    )
    line.set("DiskUsed", True, peer="a")
    line.run(30)
    line.put_clock_on(HOUR)
    assert line.run(20) == []
    assert line.run(30) == ["3660 ops trigger DiskUsed/warning +1 -0"]

    line.set("DiskUsed", True, peer="b")
    line.put_clock_on(HOUR)

    assert line.run(240) == []
    assert [one.split(" ", 1)[1] for one in line.run(90)] == ["ops update DiskUsed/warning +2 -0"]


def test_a_cause_that_ended_explains_for_as_long_as_ever() -> None:
    """Five minutes past its end, of which one has passed."""
    red = a_rule("CollectionRed", critical(300.0))
    line = Timeline(DOWN, red, inhibits=[Pair("PeerDown", "CollectionRed", ("qdrant_cluster",))])
    line.set("PeerDown", True, peer="a")
    line.set("CollectionRed", True, collection="docs")
    line.run(600)
    line.set("PeerDown", False, peer="a")
    line.run(60)
    line.put_clock_on(HOUR)
    assert line.run(180) == []

    assert [one.split(" ", 1)[1] for one in line.run(120)] == ["ops trigger CollectionRed/critical +1 -0"]


def test_an_alert_that_flaps_goes_on_being_held() -> None:
    """Its turns of the last hour are still those of the last hour."""
    line = Timeline(a_rule("PeerDown", critical()))
    for verdict in (True, False, True, False, True):
        line.set("PeerDown", verdict, peer="a")
        line.run(30)
    line.put_clock_on(HOUR)
    line.run(30)

    alert = line.alert("PeerDown")
    assert alert is not None
    assert alert.flapping
