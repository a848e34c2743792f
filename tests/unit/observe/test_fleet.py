"""All clusters together: exchanged at a reload, derived, ready, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from exporter.board import Board
from exporter.clock import SystemClock
from exporter.config.clusters import ClusterSettings
from exporter.observe.fleet import Fleet
from tests.kit import scripted
from tests.kit.replay import SILENCE, ReplayServer, replies_of
from tests.kit.scripted import ScriptedCluster
from tests.kit.watching import HASTY, Watching, cluster_of

STANDALONE = "v1.18.3/single/green"


def named(name: str, *urls: str, **options: Any) -> ClusterSettings:
    return cluster_of(*urls, **options).model_copy(update={"name": name})


async def test_an_unchanged_cluster_goes_on_as_the_very_same_watch() -> None:
    """Its counters and histories are in there."""
    async with (
        ReplayServer(answer=replies_of(STANDALONE)) as server,
        Watching(named("a", server.url)) as watching,
    ):
        before = watching.watch

        await watching.fleet.exchange(watching.fleet.build([named("a", server.url), named("b", server.url)]))

        assert watching.fleet.watches["a"] is before
        assert list(watching.fleet.watches) == ["a", "b"]


async def test_a_cluster_dropped_while_it_is_being_derived_does_not_come_back() -> None:
    """What is derived in a thread meanwhile belongs to nobody; nothing would ever take it away again."""
    board = Board(clock=SystemClock())
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def held(function: Callable[..., Any], *arguments: Any) -> Any:
        result = function(*arguments)
        if isinstance(arguments[0], type(board.view())):  # a derivation, not the reading of an answer
            entered.set()
            await go_on.wait()
        return result

    fleet = Fleet(board=board, clock=SystemClock(), off_loop=held)
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        await fleet.exchange(fleet.build([named("a", server.url)]))
        deriving = asyncio.create_task(fleet.derive())
        await entered.wait()
        await fleet.exchange({})
        go_on.set()
        await deriving
        await fleet.close()

    assert [key for key, _ in board.view().blocks()] == []


async def test_ready_is_true_once_all_were_polled_and_stays_true() -> None:
    """A peer that a reload brings and that hangs must not take the monitor out of service."""
    good = ReplayServer(answer=replies_of(STANDALONE))
    hanging = ReplayServer(answer=lambda _: SILENCE)
    async with good, hanging, Watching(named("a", good.url), named("b", hanging.url, poll=HASTY)) as watching:
        early = watching.fleet.ready
        await watching.until(lambda _: watching.fleet.ready)
        ups = {key: value for key, value in (await watching.readings()).items() if key.startswith("up{")}
        await watching.fleet.exchange(watching.fleet.build([named("c", hanging.url)]))

        assert early is False
        assert sorted(ups.values()) == [0.0, 1.0]
        assert watching.fleet.ready


async def test_a_fleet_without_clusters_is_not_ready() -> None:
    """Before the first exchange nobody was polled."""
    assert not Fleet(board=Board(clock=SystemClock()), clock=SystemClock(), off_loop=asyncio.to_thread).ready


async def test_closing_while_an_exchange_is_under_way_leaves_nothing_running() -> None:
    """A reload and SIGTERM in the same moment; the autouse fixture looks for tasks left behind."""
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        fleet = Fleet(board=Board(clock=SystemClock()), clock=SystemClock(), off_loop=asyncio.to_thread)
        await fleet.exchange(fleet.build([named(name, server.url) for name in "abcd"]))
        await asyncio.sleep(0.1)

        reload = asyncio.create_task(
            fleet.exchange(fleet.build([named(name, server.url) for name in "cdef"]))
        )
        await asyncio.sleep(0)
        await fleet.close()
        await reload

        assert dict(fleet.watches) == {}


async def test_an_exchange_after_closing_starts_nothing() -> None:
    """Nobody would be there to stop it."""
    fleet = Fleet(board=Board(clock=SystemClock()), clock=SystemClock(), off_loop=asyncio.to_thread)
    await fleet.close()

    await fleet.exchange(fleet.build([named("a", "http://127.0.0.1:1")]))

    assert dict(fleet.watches) == {}


async def test_a_peer_that_is_dead_from_the_start_is_known_by_its_place_and_counts_as_lost() -> None:
    """A monitor that was restarted during an outage, without a state directory, still tells of it."""
    async with (
        ScriptedCluster(stage=scripted.PEER_2_DEAD_FOR_9S) as cluster,
        Watching(cluster_of(*cluster.urls)) as watching,
    ):
        readings = await watching.until(lambda seen: seen.get("cluster_quorum_headroom") == 0)

        assert readings["cluster_peers_watched"] == 3
        assert readings["collection_status{collection=rf1,status=unavailable}"] == 1
        assert readings["shard_live_replicas{collection=rf1,shard=1}"] == 0
        assert watching.watch.roster.unwatched() == ()


async def test_a_server_without_collections_is_up_and_has_none() -> None:
    """Zero collections is a number; nothing of a collection is told."""
    server = ReplayServer(answer=replies_of("v1.18.3/single/empty"))
    async with server, Watching(cluster_of(server.url)) as watching:
        readings = await watching.until(lambda seen: "collections" in seen)

    label = server.url.removeprefix("http://")
    assert readings[f"up{{peer={label}}}"] == 1
    assert readings["collections"] == 0
    assert (readings["cluster_peers_known"], readings["cluster_peers_watched"]) == (1, 1)
    assert not [series for series in readings if series.startswith(("collection_", "shard_", "replica_"))]
    assert not [
        series for series in readings if series.startswith("cluster_misconfigured") and readings[series]
    ]
