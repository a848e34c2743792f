"""One full poll of everything, for verbs that look once and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from exporter.board import Board
from exporter.clock import Clock
from exporter.config.settings import Settings
from exporter.observe.fleet import Fleet
from exporter.observe.watch import ClusterWatch
from exporter.state import DATABASE_NAME, KnownPeer, State


@asynccontextmanager
async def one_look(
    settings: Settings, *, board: Board, clock: Clock
) -> AsyncIterator[Mapping[str, ClusterWatch]]:
    """Poll every peer once onto the Board, whom the clusters list too, and yield the clusters by name.

    The Board is one that does not expire: a look may take longer than any interval.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader") as reader:

        async def off_loop(function: Any, *arguments: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(reader, function, *arguments)

        fleet = Fleet(
            board=board,
            clock=clock,
            off_loop=off_loop,
            remembered=_remembered(settings, clock),
            patience_seconds=0.0,  # there is no later look that could find a joining peer joined
        )
        watches = fleet.build(settings.clusters)
        try:
            await asyncio.gather(*(watch.look_once() for watch in watches.values()))
            yield watches
        finally:
            await asyncio.gather(*(watch.close() for watch in watches.values()))


def _remembered(settings: Settings, clock: Clock) -> tuple[KnownPeer, ...]:
    """Peers that a daemon with this state directory knows: a dead one is shown, not overlooked."""
    directory = settings.state.dir
    # a look leaves no trace: a directory made by another user would keep the daemon out
    if directory is None or not (directory / DATABASE_NAME).exists():
        return ()
    state = State.open(directory, clock=clock)
    try:
        return state.known_peers()
    finally:
        state.close()
