"""How long ago peers were polled; one that is new has not been silent for as long as we run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from exporter.alerting.heartbeat import Turn
from exporter.board import Board
from exporter.duty.surroundings import PollTurns
from exporter.observe.watch import ClusterWatch
from tests.kit.clock import ManualClock
from tests.kit.watching import QUICK, Watching, cluster_of

PATIENT = QUICK.model_copy(update={"fast_seconds": 15.0})


async def polled(watching: Watching) -> Mapping[str, ClusterWatch]:
    """Return the cluster once its poller is there."""
    async with asyncio.timeout(10.0):
        while not watching.watch.pollers():
            await asyncio.sleep(0.005)
    return watching.fleet.watches


async def test_a_peer_that_joins_late_is_as_old_as_its_poller() -> None:
    """Its first poll may take a while; only then it counts from that."""
    clock = ManualClock()
    board = Board(clock=clock)  # on which nothing is ever learnt
    turns = PollTurns()
    assert turns.newest({}, board.view()) == []
    clock.advance(86_400.0)

    async with Watching(cluster_of("http://127.0.0.1:1", poll=PATIENT)) as watching:
        watches = await polled(watching)
        joined = turns.newest(watches, board.view())
        clock.advance(60.0)
        later = turns.newest(watches, board.view())

    assert joined == [Turn("polls of 127.0.0.1:1", 0.0, 15.0)]
    assert later == [Turn("polls of 127.0.0.1:1", 60.0, 15.0)]


async def test_a_poller_that_a_reload_starts_anew_is_new() -> None:
    """Of the same peer; what the one before it did is no matter."""
    clock = ManualClock()
    board, turns = Board(clock=clock), PollTurns()
    async with Watching(cluster_of("http://127.0.0.1:1", poll=PATIENT)) as before:
        turns.newest(await polled(before), board.view())
    clock.advance(3_600.0)

    async with Watching(cluster_of("http://127.0.0.1:1", poll=PATIENT)) as after:
        assert [turn.age_seconds for turn in turns.newest(await polled(after), board.view())] == [0.0]
