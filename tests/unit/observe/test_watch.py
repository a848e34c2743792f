"""A cluster's troubles, played by three real sockets and watched as in production."""

from __future__ import annotations

import pytest

from exporter.config.clusters import DiscoverySettings
from tests.kit import scripted
from tests.kit.derivation import PEER_IDS
from tests.kit.replay import ReplayServer, replies_of
from tests.kit.scripted import ScriptedCluster
from tests.kit.watching import HASTY, QUICK, Watching, cluster_of

ALL_UP = 3


def ups(readings: dict[str, float]) -> dict[str, float]:
    return {
        series[len("up{peer=") : -1]: value for series, value in readings.items() if series.startswith("up{")
    }


async def test_one_url_finds_the_other_peers_on_their_hosts() -> None:
    """The peers listen on three hosts under one port, as pods do; their ids are checked."""
    async with (
        ScriptedCluster(spread_hosts=True) as cluster,
        Watching(cluster_of(cluster.urls[0])) as watching,
    ):
        readings = await watching.until(lambda seen: sum(ups(seen).values()) == ALL_UP)

        assert readings["cluster_peers_watched"] == 3
        assert readings["cluster_peers_known"] == 3
        assert readings["cluster_quorum_headroom"] == 1
        assert set(ups(readings)) == {url.removeprefix("http://") for url in cluster.urls}
        assert watching.watch.roster.unwatched() == ()


async def test_with_discovery_off_the_others_are_known_and_unwatched_with_advice() -> None:
    """Somebody has to be told what to do about the two that nobody watches."""
    async with (
        ScriptedCluster(spread_hosts=True) as cluster,
        Watching(cluster_of(cluster.urls[0], discovery=DiscoverySettings(enabled=False))) as watching,
    ):
        readings = await watching.until(lambda seen: "cluster_peers_known" in seen)

        assert readings["cluster_peers_watched"] == 1
        assert "cluster_quorum_headroom" not in readings
        unwatched = watching.watch.roster.unwatched()
        assert {one.peer_id for one in unwatched} == {PEER_IDS["peer1"], PEER_IDS["peer2"]}
        assert all("--qdrant.url" in one.reason for one in unwatched)


async def test_a_discovered_peer_that_dies_stays_and_is_down() -> None:
    """A dead pod must page: it stays a target while the cluster lists it."""
    async with (
        ScriptedCluster(spread_hosts=True) as cluster,
        Watching(cluster_of(cluster.urls[0])) as watching,
    ):
        await watching.until(lambda seen: sum(ups(seen).values()) == ALL_UP)
        await cluster.play(scripted.PEER_2_DEAD_FOR_9S)
        dead = cluster.urls[2].removeprefix("http://")

        readings = await watching.until(
            lambda seen: ups(seen)[dead] == 0 and seen.get("cluster_quorum_headroom") == 0
        )

        assert readings["shard_live_replicas{collection=rf1,shard=1}"] == 0
        assert readings["collection_status{collection=rf1,status=unavailable}"] == 1
        assert readings["collection_points{collection=rf2}"] == 20_000
        assert readings[f"source_faults_total{{peer={dead},source=telemetry,kind=unreachable}}"] >= 1

        await cluster.play(scripted.RECOVERED)
        await watching.until(lambda seen: ups(seen)[dead] == 1 and seen["cluster_quorum_headroom"] == 1)


async def test_a_frozen_peer_delays_no_other_and_is_down() -> None:
    """It accepts and stays silent; what reaches it through the others hangs for ten seconds."""
    async with ScriptedCluster() as cluster, Watching(cluster_of(*cluster.urls, poll=HASTY)) as watching:
        await watching.until(lambda seen: sum(ups(seen).values()) == ALL_UP)
        pollers = watching.watch.pollers()
        labels = [url.removeprefix("http://") for url in cluster.urls]
        await cluster.play(scripted.PEER_1_FROZEN)
        readings = await watching.until(
            lambda seen: (
                ups(seen)[labels[1]] == seen[f"peer_answers{{peer={labels[1]}}}"] == 0
                and seen["cluster_quorum_headroom"] == 0
            )
        )
        first, hung, third = (pollers[label].records["telemetry"] for label in labels)
        before = (first.polls, hung.polls, third.polls)

        await watching.until(lambda _: min(first.polls - before[0], third.polls - before[2]) >= 2)

        assert hung.polls < before[1] + 2
        for record in (first, third):
            assert record.duration_seconds is not None
            assert record.duration_seconds < HASTY.deadline_seconds
        assert ups(readings) == {labels[0]: 1, labels[1]: 0, labels[2]: 1}


async def test_quorum_lost_and_consensus_stopped_are_told_apart() -> None:
    """Without quorum one peer is left and knows no leader; stopped, all answer and none works."""
    async with ScriptedCluster(stage=scripted.NO_QUORUM) as cluster:
        async with Watching(cluster_of(*cluster.urls)) as watching:
            lost = await watching.until(lambda seen: len(ups(seen)) == ALL_UP and "cluster_voters" in seen)
        await cluster.play(scripted.CONSENSUS_STOPPED)
        async with Watching(cluster_of(*cluster.urls)) as watching:
            stopped = await watching.until(lambda seen: seen.get("cluster_quorum_headroom") == -2)

    first = cluster.urls[0].removeprefix("http://")
    assert lost[f"consensus_has_leader{{peer={first}}}"] == 0
    assert lost[f"consensus_working{{peer={first}}}"] == 1
    assert sum(ups(stopped).values()) == ALL_UP
    assert stopped[f"consensus_working{{peer={first}}}"] == 0


async def test_a_peer_that_is_down_for_three_intervals_loses_the_series_of_all_its_sources() -> None:
    """Its slow sources are good for minutes more; what they said goes with it all the same."""
    patient = QUICK.model_copy(update={"slow_seconds": 60.0})
    async with ScriptedCluster() as cluster, Watching(cluster_of(*cluster.urls, poll=patient)) as watching:
        dead = cluster.urls[2].removeprefix("http://")
        await watching.until(lambda seen: f"peer_snapshots{{peer={dead}}}" in seen)
        await cluster.play(scripted.PEER_2_DEAD_FOR_9S)

        readings = await watching.until(lambda seen: f"peer_snapshots{{peer={dead}}}" not in seen)

        of_peer = {series.split("{")[0] for series in readings if f"peer={dead}" in series}
        assert {name for name in of_peer if not name.startswith("source_")} == {
            "up", "peer_answers", "requests_to_qdrant_total", "replica_state",
        }  # fmt: skip
        assert readings[f"source_last_success_timestamp_seconds{{peer={dead},source=telemetry}}"] > 0
        assert readings[f"up{{peer={dead}}}"] == 0


async def test_two_standalone_servers_in_one_cluster_are_an_error() -> None:
    """They are two clusters: joined numbers would be nonsense."""
    first = ReplayServer(answer=replies_of("v1.18.3/single/green"))
    second = ReplayServer(answer=replies_of("v1.16.3/single/green"))
    async with first, second, Watching(cluster_of(first.url, second.url)) as watching:
        await watching.until(lambda seen: seen.get("cluster_misconfigured{kind=standalone_servers}") == 1)

        trouble = watching.watch.roster.troubles()[0]
        assert set(trouble.labels) == {url.removeprefix("http://") for url in (first.url, second.url)}
        assert "cluster" in trouble.text


async def test_the_daemon_asks_only_a_few_requests_a_round() -> None:
    """Its cost is on the page: one healthz, cluster and telemetry each fast interval."""
    server = ReplayServer(answer=replies_of("v1.18.3/single/green"))
    async with server, Watching(cluster_of(server.url)) as watching:
        label = server.url.removeprefix("http://")
        name = f"requests_to_qdrant_total{{peer={label},endpoint=/cluster,outcome=ok}}"
        readings = await watching.until(lambda seen: seen.get(name, 0) >= 3)

    telemetry = readings[f"requests_to_qdrant_total{{peer={label},endpoint=/telemetry,outcome=ok}}"]
    assert telemetry == pytest.approx(readings[name], abs=2)


async def test_the_peer_that_speaks_for_all_hands_over_with_its_record_and_the_next_keeps_it() -> None:
    """What one peer is asked for all must not be told twice, nor leave a failure behind."""
    async with ScriptedCluster() as cluster:
        first, second = (cluster.urls[peer].removeprefix("http://") for peer in (2, 0))
        async with Watching(cluster_of(cluster.urls[2], cluster.urls[0], cluster.urls[1])) as watching:
            await watching.until(lambda seen: f"source_success{{peer={first},source=aliases}}" in seen)
            await cluster.play(scripted.PEER_2_DEAD_FOR_9S)
            await watching.until(lambda seen: f"source_success{{peer={second},source=aliases}}" in seen)

            await cluster.play(scripted.RECOVERED)

            readings = await watching.until(lambda seen: ups(seen)[first] == 1)
            assert [
                series for series in readings if series.startswith("source_success") and "aliases" in series
            ] == [f"source_success{{peer={second},source=aliases}}"]


async def test_slow_sources_ask_about_the_collections_from_the_first_and_again_when_a_peer_is_back() -> None:
    """They wait for the first derivation, and do not wait ten minutes after an outage."""
    patient = QUICK.model_copy(update={"slow_seconds": 600.0})
    async with ScriptedCluster() as cluster, Watching(cluster_of(*cluster.urls, poll=patient)) as watching:
        label = cluster.urls[2].removeprefix("http://")
        speaker = cluster.urls[0].removeprefix("http://")
        readings = await watching.until(lambda seen: "collection_ram_bytes{collection=rf3}" in seen)
        route = "/collections/{collection}/memory"
        asked = f"requests_to_qdrant_total{{peer={speaker},endpoint={route},outcome=ok}}"
        assert readings[asked] == len(watching.watch.derived.selected) > 0
        await cluster.play(scripted.PEER_2_DEAD_FOR_9S)
        await watching.until(lambda seen: f"peer_snapshots{{peer={label}}}" not in seen)

        await cluster.play(scripted.HEALTHY)

        await watching.until(lambda seen: f"peer_snapshots{{peer={label}}}" in seen)
