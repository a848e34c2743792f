"""All that one configuration's jobs work with: the store, its locks, what each kind does. Exchanged whole.

A run keeps the works that it began with, whatever is configured meanwhile; the last one closes the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from exporter.backup.shelf import Shelf
from exporter.backup.storage.contract import Store
from exporter.backup.storage.opening import check_store
from exporter.clock import Clock
from exporter.config.settings import Settings
from exporter.jobs.bodies.tidying import Tidying
from exporter.jobs.chores import Body
from exporter.jobs.runner import Runner


@dataclass(slots=True)
class Works:
    """The means of the jobs of one configuration."""

    settings: Settings
    store: Store
    shelf: Shelf
    runner: Runner
    bodies: Mapping[str, Body]  # by kind
    check: StoreCheck
    tidying: Tidying
    hopeless: frozenset[str] = frozenset()  # jobs that prove by opening, where nothing can open anything
    users: int = 0  # runs under way, and whoever reads
    is_retired: bool = False

    @property
    def clusters(self) -> tuple[str, ...]:
        """The names of all clusters: also one without a job may have backups, made by hand."""
        return tuple(cluster.name for cluster in self.settings.clusters)

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """Keep the store open while the body runs."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            await self.close_unused()

    async def retire(self) -> None:
        """Close the store once nobody uses it any more."""
        self.is_retired = True
        await self.close_unused()

    async def close_unused(self) -> None:
        """Close the store of retired works that nobody uses."""
        if self.is_retired and not self.users:
            await self.store.close()


class StoreCheck:
    """Sees once that a store can be used, and locked; one that cannot is looked at again each time."""

    def __init__(self, store: Store, *, single_writer: bool, clock: Clock) -> None:
        self._store = store
        self._single_writer = single_writer
        self._clock = clock
        self.is_good = False  # it was seen that it can be used
        self._checking = asyncio.Lock()

    async def __call__(self) -> None:
        """Raise StoreError where it cannot be used."""
        async with self._checking:
            if not self.is_good:
                await check_store(self._store, self._single_writer, self._clock)
                self.is_good = True
