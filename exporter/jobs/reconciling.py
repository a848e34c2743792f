"""Thresholds that a vacuum or an import changed for a while are put back, also when whoever did it is dead.

A loop beside the jobs. It takes a collection's lock only while nobody works on it, and sends nothing but in
a quiet moment, so it may be cancelled anywhere. Clusters are looked after each by itself: one that is down
keeps no other waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exporter.errors import ExporterError, StoreError
from exporter.jobs.told_intents import ToldIntents
from exporter.jobs.works import Works
from exporter.logs import get_logger

log = get_logger()

# The first quiet moment between two batches of writes may be short, and until it comes the collection is
# optimized by other rules than its owner's. What a look costs is a call or two to each peer.
WHILE_OPEN_SECONDS = 60.0
# For what people left behind: the store is listed once, and no server is asked.
WHILE_CLOSED_SECONDS = 600.0


class Reconciler:
    """Puts back what is open in the store. Belongs to the event loop."""

    def __init__(self, *, intents: ToldIntents, delay_seconds: Callable[[], float]) -> None:
        """`delay_seconds` from a start or a reload to the first attempt: peers are found meanwhile."""
        self._intents = intents
        self._delay_seconds = delay_seconds
        self._works: Works | None = None
        self._exchanged = asyncio.Event()
        self._failures: dict[str, str] = {}  # what was logged last, by cluster; "": of the store

    def exchange(self, works: Works | None) -> None:
        """Look after the clusters and the store of these works."""
        self._works = works
        self._exchanged.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            self._exchanged.clear()
            works = self._works
            if works is None:
                await self._exchanged.wait()
                continue
            async with works.used():
                await self._read(works)
                await self._rest(self._delay_seconds())
                while not self._exchanged.is_set():
                    await self._put_back(works)
                    is_open = any(self._intents.open(cluster) for cluster in works.clusters)
                    await self._rest(WHILE_OPEN_SECONDS if is_open else WHILE_CLOSED_SECONDS)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._exchanged.wait()
        except TimeoutError:
            return

    async def _read(self, works: Works) -> bool:
        """Look at what is open, and tell it; return whether that is known."""
        try:
            await self._intents.read(works.shelf, works.clusters)
        except StoreError as error:
            self._failed("", str(error))
            return False
        self._failures.pop("", None)
        return True

    async def _put_back(self, works: Works) -> None:
        """Try once in every cluster that has something open."""
        if await self._read(works):
            async with asyncio.TaskGroup() as tasks:
                for cluster in works.clusters:
                    if self._intents.open(cluster):
                        tasks.create_task(self._of_cluster(works, cluster))

    async def _of_cluster(self, works: Works, cluster: str) -> None:
        try:
            await works.tidying.thresholds(cluster)
        except ExporterError as error:
            self._failed(cluster, str(error))
        except Exception as error:  # a bug here must not end it for all clusters and for good
            log.error("thresholds.broken", qdrant_cluster=cluster, exc_info=error)
        else:
            self._failures.pop(cluster, None)

    def _failed(self, cluster: str, error: str) -> None:
        if self._failures.get(cluster) != error:
            log.warning("thresholds.not_put_back", qdrant_cluster=cluster, error=error)
        self._failures[cluster] = error
