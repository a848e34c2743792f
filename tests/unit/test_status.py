"""What is known, as the status document and as the landing page."""

from __future__ import annotations

import json
from typing import Any

from exporter.config.clusters import DiscoverySettings, PollSettings
from exporter.status import landing, status
from tests.kit import scripted
from tests.kit.derivation import PEER_IDS
from tests.kit.replay import ReplayServer, replies_of
from tests.kit.scripted import ScriptedCluster
from tests.kit.watching import QUICK, Watching, cluster_of


def document(watching: Watching) -> dict[str, Any]:
    """Return the part of the one cluster, as JSON carries it."""
    whole = status(watching.fleet.watches, watching.board.view())
    cluster: dict[str, Any] = json.loads(json.dumps(whole, allow_nan=False))["clusters"]["default"]
    return cluster


async def test_before_the_first_poll_nothing_is_claimed() -> None:
    """Neither up nor down, no source that succeeded or failed."""
    never = PollSettings(fast_seconds=300.0, medium_seconds=3_600.0, slow_seconds=3_600.0)
    async with Watching(cluster_of("http://127.0.0.1:1", poll=never)) as watching:
        whole = status(watching.fleet.watches, watching.board.view())
        page = landing(watching.fleet.watches, watching.board.view(), None)

    assert whole["clusters"]["default"]["peers_known"] is None
    assert all(peer["up"] is None for peer in whole["clusters"]["default"]["peers"].values())
    assert page.troubles == ()


async def test_a_peer_shows_who_it_is_and_how_each_source_went(scripted_cluster: ScriptedCluster) -> None:
    """Intervals, durations and last successes are those of the metrics."""
    async with Watching(cluster_of(*scripted_cluster.urls)) as watching:
        label = scripted_cluster.urls[0].removeprefix("http://")
        await watching.until(lambda seen: seen.get("collection_points{collection=rf2}") == 20_000)
        await watching.until(lambda seen: seen.get(f"source_supported{{peer={label},source=quotas}}") == 0)
        shown = document(watching)

    first = scripted_cluster.urls[0]
    peer = shown["peers"][label]
    assert (peer["url"], peer["origin"], peer["version"], peer["up"]) == (first, "configured", "1.18.3", True)
    assert peer["peer_id"] == PEER_IDS["peer0"]
    telemetry = peer["sources"]["telemetry"]
    assert (telemetry["supported"], telemetry["success"], telemetry["faults"]) == (True, True, [])
    assert telemetry["interval_seconds"] >= QUICK.fast_seconds
    assert 0 < telemetry["duration_seconds"] < 5
    assert telemetry["last_success_timestamp_seconds"] > 1_700_000_000
    assert peer["sources"]["quotas"]["supported"] is False
    assert peer["sources"]["quotas"]["success"] is None
    assert shown["collections"]["rf2"] == {"status": "green", "points": 20_000}
    assert shown["peers_known"] == 3


async def test_a_dead_peer_shows_its_fault_and_keeps_its_id(scripted_cluster: ScriptedCluster) -> None:
    """Who is down is the first question; the landing page answers it beside the name."""
    dead = scripted_cluster.urls[2].removeprefix("http://")
    async with Watching(cluster_of(*scripted_cluster.urls)) as watching:
        await watching.until(lambda seen: seen.get(f"up{{peer={dead}}}") == 1)
        await scripted_cluster.play(scripted.PEER_2_DEAD_FOR_9S)
        await watching.until(
            lambda seen: seen.get("collection_status{collection=rf1,status=unavailable}") == 1
        )
        expired = {f"peer_start_time_seconds{{peer={dead}}}", "collection_points{collection=rf1}"}
        await watching.until(lambda seen: not expired & seen.keys())
        shown = document(watching)
        page = landing(watching.fleet.watches, watching.board.view(), None)

    peer = shown["peers"][dead]
    assert (peer["up"], peer["version"], peer["peer_id"]) == (False, None, PEER_IDS["peer2"])
    assert {fault["kind"] for fault in peer["sources"]["telemetry"]["faults"]} == {"unreachable"}
    assert shown["collections"]["rf1"] == {"status": "unavailable", "points": None}
    rows = {row.name: row for row in page.clusters[0].peers}
    assert rows[dead].up is False
    assert rows[dead].note.startswith("unreachable: ")
    assert rows[scripted_cluster.urls[0].removeprefix("http://")].note == "1.18.3"


async def test_the_landing_page_lists_everything_a_person_should_do() -> None:
    """A refused reload, wrong addresses, and peers that nobody watches, in this order."""
    first, second = (
        ReplayServer(answer=replies_of(f"{state}/single/green")) for state in ("v1.18.3", "v1.16.3")
    )
    alone = DiscoverySettings(enabled=False)
    async with (
        ScriptedCluster(spread_hosts=True) as played,
        first,
        second,
        Watching(
            cluster_of(played.urls[0], discovery=alone),
            cluster_of(first.url, second.url).model_copy(update={"name": "mixed"}),
        ) as watching,
    ):
        await watching.until(lambda seen: seen.get("cluster_misconfigured{kind=standalone_servers}") == 1)
        await watching.until(lambda seen: seen.get("cluster_peers_known") is not None)
        page = landing(watching.fleet.watches, watching.board.view(), "config.yaml:3: wrong")

    whats = [trouble.what for trouble in page.troubles]
    assert whats[0] == "The last reload was refused: config.yaml:3: wrong"
    assert {what for what in whats[1:] if "is not watched" in what} == {
        f"default: peer {PEER_IDS[name]} ({played.urls[number]}/) is not watched"
        for number, name in ((1, "peer1"), (2, "peer2"))
    }
    assert whats[-1] == "mixed: standalone_servers"
    assert "give each a cluster of its own" in page.troubles[-1].remedy
