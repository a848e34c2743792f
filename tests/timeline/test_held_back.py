"""Silences, mute times and inhibition hold back what is new, and never the end of what was heard."""

from __future__ import annotations

from exporter.alerting.inhibition import Pair
from exporter.alerting.mute_times import mute_time
from exporter.config.alerting import MuteTimeSettings
from tests.kit.timeline import Timeline, a_rule, critical, warning

DOWN = a_rule("PeerDown", critical(120.0))
HUNG = a_rule("PeerHung", critical(60.0))
QUORUM = a_rule("QuorumLost", critical(60.0))
RED = a_rule("CollectionRed", critical(300.0))
NOON = mute_time(
    MuteTimeSettings.model_validate(
        {"name": "morning", "windows": [{"times": [{"start": "08:00", "end": "09:00"}]}]}
    )
)


def test_a_silence_that_begins_while_an_alert_fires_does_not_hide_its_end() -> None:
    """Whoever heard it would wait for ever."""
    line = Timeline(DOWN)
    line.set("PeerDown", True, peer="a")
    line.run(600)
    line.silence("peer=a", seconds=86_400)
    line.run(6 * 3_600)
    line.set("PeerDown", False, peer="a")
    line.run(60)

    assert [line.tell(each) for each in line.notifications] == [
        "120 ops trigger PeerDown/critical +1 -0",
        "22200 ops resolve PeerDown/critical +0 -1",
    ]


def test_what_begins_and_ends_within_a_silence_is_told_to_nobody() -> None:
    """No end of what nobody heard."""
    line = Timeline(DOWN)
    line.silence("peer=a", seconds=3_600)
    line.set("PeerDown", True, peer="a")
    line.run(1_800)
    line.set("PeerDown", False, peer="a")

    assert line.run(7_200) == []


def test_what_still_fires_when_a_silence_ends_is_told_then() -> None:
    """At that very moment where it waits for no company."""
    line = Timeline(DOWN)
    line.silence("peer=a", seconds=1_000)
    line.set("PeerDown", True, peer="a")

    assert line.run(2_000) == ["1000 ops trigger PeerDown/critical +1 -0"]


def test_a_silence_of_one_peer_does_not_hide_another() -> None:
    """Of the same group."""
    line = Timeline(DOWN)
    line.silence("peer=a")
    line.set("PeerDown", True, peer="a")
    line.set("PeerDown", True, peer="b")

    assert line.run(600) == ["120 ops trigger PeerDown/critical +1 -0"]
    assert [each.label("peer") for each in line.notifications[0].firing] == ["b"]


def test_a_silence_that_is_ended_early_holds_nothing_back() -> None:
    """People take one back by its end."""
    line = Timeline(DOWN)
    line.silence("peer=a", seconds=86_400)
    line.set("PeerDown", True, peer="a")
    line.run(300)
    line.silences.clear()

    assert line.run(30) == ["300 ops trigger PeerDown/critical +1 -0"]


def test_a_muted_route_tells_nothing_new_until_its_window_is_over() -> None:
    """The clock's start is 08:00 of UTC, the window's end 09:00."""
    line = Timeline(DOWN, route={"mute": ["morning"]}, mute_times=[NOON])
    line.set("PeerDown", True, peer="a")

    assert line.run(3_700) == ["3600 ops trigger PeerDown/critical +1 -0"]


def test_an_alert_is_muted_only_where_every_route_to_its_receiver_is() -> None:
    """A second route that leads there is not muted."""
    line = Timeline(
        DOWN,
        route={"routes": [{"mute": ["morning"], "continue": True}, {"match": ["peer=b"]}]},
        mute_times=[NOON],
    )
    line.set("PeerDown", True, peer="a")
    line.set("PeerDown", True, peer="b")

    assert line.run(600) == ["120 ops trigger PeerDown/critical +1 -0"]
    assert [each.label("peer") for each in line.notifications[0].firing] == ["b"]


def test_a_cause_holds_its_consequence_back_and_five_minutes_longer() -> None:
    """The collection is green again a little after the peer, and nobody hears of it."""
    pair = Pair("PeerDown", "CollectionRed", ("qdrant_cluster",))
    line = Timeline(DOWN, RED, inhibits=[pair])
    line.set("PeerDown", True, peer="a")
    line.set("CollectionRed", True, collection="docs")
    line.run(600)
    line.set("PeerDown", False, peer="a")
    line.run(285)
    line.set("CollectionRed", False, collection="docs")
    line.run(600)

    assert [line.tell(each) for each in line.notifications] == [
        "120 ops trigger PeerDown/critical +1 -0",
        "600 ops resolve PeerDown/critical +0 -1",
    ]


def test_a_consequence_that_outlives_its_cause_is_told() -> None:
    """Five minutes after it: then the cause was another."""
    pair = Pair("PeerDown", "CollectionRed", ("qdrant_cluster",))
    line = Timeline(DOWN, RED, inhibits=[pair])
    line.set("PeerDown", True, peer="a")
    line.set("CollectionRed", True, collection="docs")
    line.run(600)
    line.set("PeerDown", False, peer="a")

    assert line.run(600) == [
        "600 ops resolve PeerDown/critical +0 -1",
        "900 ops trigger CollectionRed/critical +1 -0",
    ]


def test_a_consequence_that_was_told_before_its_cause_ends_as_told() -> None:
    """Inhibition comes too late for what was heard, and its end is told."""
    pair = Pair("PeerDown", "CollectionRed", ("qdrant_cluster",))
    line = Timeline(DOWN, RED, inhibits=[pair])
    line.set("CollectionRed", True, collection="docs")
    line.run(600)
    line.set("PeerDown", True, peer="a")
    line.run(600)
    line.set("CollectionRed", False, collection="docs")

    assert line.run(15) == ["1200 ops resolve CollectionRed/critical +0 -1"]


def test_two_of_three_peers_down_page_lost_quorum() -> None:
    """A hung peer explains that it is down, but nothing explains QuorumLost away."""
    inhibits = [
        Pair("PeerHung", "PeerDown", ("qdrant_cluster", "peer")),
        Pair("PeerHung", "QuorumLost", ("qdrant_cluster",)),
        Pair("PeerDown", "QuorumLost", ("qdrant_cluster",)),
    ]
    line = Timeline(DOWN, HUNG, QUORUM, inhibits=inhibits)
    line.set("PeerDown", True, peer="a")
    line.set("PeerDown", True, peer="b")
    line.set("PeerHung", True, peer="b")
    line.set("QuorumLost", True)

    assert line.run(600) == [
        "60 ops trigger PeerHung/critical +1 -0",
        "60 ops trigger QuorumLost/critical +1 -0",
        "120 ops trigger PeerDown/critical +1 -0",
    ]
    assert [each.label("peer") for each in line.notifications[-1].firing] == ["a"]


def test_an_alert_that_every_route_mutes_is_seen_to_be_muted() -> None:
    """Not one that somebody is told of, and none when the window is over."""
    line = Timeline(
        DOWN,
        route={"routes": [{"match": ["peer=b"]}, {"mute": ["morning"]}]},
        mute_times=[NOON],
    )
    line.set("PeerDown", True, peer="a")
    line.set("PeerDown", True, peer="b")
    line.run(600)

    muted = line.alert("PeerDown", peer="a")
    assert muted is not None
    assert line.engine.held_back() == {muted.fingerprint: "muted"}
    line.run(3_600)
    assert line.engine.held_back() == {}


def test_what_is_held_back_can_be_seen() -> None:
    """With the reason, for whoever asks why nobody was told."""
    line = Timeline(a_rule("DiskUsed", critical(), warning()), DOWN)
    line.silence("alertname=PeerDown")
    line.set("DiskUsed", True, peer="a")
    line.set("PeerDown", True, peer="a")
    line.run(300)

    held = {each.rule: line.engine.held_back().get(each.fingerprint) for each in line.engine.alerts()}
    assert held["PeerDown"] == "silenced"
    assert sorted(line.engine.held_back().values()) == ["inhibited", "silenced"]
