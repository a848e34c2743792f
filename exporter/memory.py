"""Known peers between the running clusters and the state directory: both ways, once a second."""

from __future__ import annotations

import asyncio
from functools import partial

from exporter.errors import StateError
from exporter.logs import get_logger
from exporter.observe.fleet import Fleet
from exporter.state import State

log = get_logger()

# A person who typed `peers forget` waits for it; one small read a second costs nothing.
LOOK_SECONDS = 1.0


class PeerMemory:
    """Keeps the state directory and the rosters in step. A failing disk is logged, and tried again."""

    def __init__(self, *, state: State, fleet: Fleet) -> None:
        self._state = state
        self._fleet = fleet
        self._failure = ""

    async def run(self) -> None:
        """Forget what verbs asked to forget and store what was learnt, until cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(LOOK_SECONDS)

    async def step(self) -> None:
        """One look both ways."""
        try:
            await self._forget()
            await self._store()
        except StateError as error:
            if str(error) != self._failure:
                log.error("state.failed", error=str(error))
            self._failure = str(error)
        else:
            self._failure = ""

    async def _forget(self) -> None:
        requests = await self._state.in_thread(self._state.forget_requests)
        if not requests:
            return
        for request in requests:
            forgotten = self._fleet.forget(request.cluster, request.label)
            log.info(
                "peer.forgotten", qdrant_cluster=request.cluster, peer=request.label, was_watched=forgotten
            )
        await self._state.in_thread(lambda: self._state.answer(requests))

    async def _store(self) -> None:
        for watch in list(self._fleet.watches.values()):
            changes = watch.roster.changes()
            if changes:
                await self._state.in_thread(partial(self._state.save, changes))
                watch.roster.saved(changes)
