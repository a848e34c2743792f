"""Who works on what: one lock for each collection, whatever is done with it, and one for a whole cluster.
A vacuum has one more, for there is one at a time in a cluster.

A lock is two: one among the tasks of this process, and a lease in the store of backups, which daemons and
people on other machines see too. A restore takes the cluster's: whoever has it finds no collection's
held, and who takes a collection's finds the cluster's free. Both take first and look then, so that of two
who come at once one at least sees the other.

A lease that is lost cancels what is done under it, and JobLocked comes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from exporter.backup import layout
from exporter.backup.storage.contract import Store
from exporter.backup.storage.lease import GRACE_SECONDS, LEASE_SECONDS, Claim, Held, Lease
from exporter.clock import Clock
from exporter.errors import JobLocked, StoreFull
from exporter.printable import printable

# Another's chore takes minutes; asked more often than this, a bucket is asked for nothing.
LOOK_AGAIN_SECONDS = 10.0
# Of what was under way in a daemon that died the lock lasts for a lease.
DEAD_SECONDS = LEASE_SECONDS + GRACE_SECONDS + 30.0


class Locks:
    """The locks of one store, for one owner. Belongs to the event loop."""

    def __init__(self, *, store: Store, owner: str, clock: Clock) -> None:
        """`owner` is this process, for people: "backup-host 4711"."""
        self._store = store
        self._lease = Lease(store, owner=owner, clock=clock)
        self._clock = clock
        self._local: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def collection(
        self, cluster: str, collection: str, *, patience_seconds: float = 0.0
    ) -> AsyncIterator[Held]:
        """Hold the lock of a collection. Raises JobLocked after so long, and StoreError.

        With any patience, tasks of this process wait for each other however long; without, who holds one
        lock may ask for another and never wait in a circle.
        """
        async with self._held(layout.lock_name(cluster, collection), patience_seconds) as held:
            claim = await self._lease.holder(layout.lock_name(cluster))
            if claim is not None:
                raise _locked(f"cluster {cluster}", claim)
            yield held

    @asynccontextmanager
    async def freeing(
        self, cluster: str, collection: str, *, patience_seconds: float = 0.0
    ) -> AsyncIterator[None]:
        """Hold the lock of a collection to delete what is stored of it. Raises JobLocked and StoreError.

        A disk that is full takes no lock, whoever asks: there it is enough that nobody has it.
        """
        lock = self.collection(cluster, collection, patience_seconds=patience_seconds)
        names = (layout.lock_name(cluster, collection), layout.lock_name(cluster))
        async with self._held_or_free(lock, f"collection {collection}", names):
            yield

    @asynccontextmanager
    async def freeing_job(
        self, cluster: str, job: str, *, patience_seconds: float = 0.0
    ) -> AsyncIterator[None]:
        """Hold the lock of a job that only deletes, as `freeing` holds a collection's."""
        lock = self.job(cluster, job, patience_seconds=patience_seconds)
        async with self._held_or_free(lock, f"job {job}", (_job_name(cluster, job),)):
            yield

    @asynccontextmanager
    async def _held_or_free(
        self, lock: AbstractAsyncContextManager[Held], what: str, names: Sequence[str]
    ) -> AsyncIterator[None]:
        """Hold a lock, or on a full disk see that nobody has any of these."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(lock)
            except StoreFull:
                for claim in [await self._lease.holder(name) for name in names]:
                    if claim is not None:
                        raise _locked(what, claim) from None
            yield

    @asynccontextmanager
    async def cluster(self, cluster: str, *, patience_seconds: float = 0.0) -> AsyncIterator[Held]:
        """Hold the lock of a whole cluster, for a restore. Raises JobLocked, for any collection of it too."""
        name = layout.lock_name(cluster)
        async with self._held(name, patience_seconds) as held:
            for other in await self._names(layout.cluster_folder(cluster)):
                claim = await self._lease.holder(other) if other != name else None
                if claim is not None:
                    raise _locked(f"collection {layout.named(other.partition('/')[2])}", claim)
            yield held

    @asynccontextmanager
    async def vacuum(self, cluster: str, *, patience_seconds: float = 0.0) -> AsyncIterator[Held]:
        """Hold the lock of vacuums in a cluster, whoever does them. Raises JobLocked and StoreError.

        Each of the collections is locked besides; a restore is kept waiting by those alone.
        """
        async with self._held(_vacuum_name(cluster), patience_seconds) as held:
            yield held

    @asynccontextmanager
    async def job(self, cluster: str, job: str, *, patience_seconds: float = 0.0) -> AsyncIterator[Held]:
        """Hold the lock of a job, so that of two daemons one does it. Raises JobLocked and StoreError.

        With patience, one is waited for who died: whoever lets go of the lock meanwhile has done the job.
        """
        name = _job_name(cluster, job)
        before = await self._lease.holder(name) if patience_seconds else None
        async with AsyncExitStack() as stack:
            held = await self._entered(stack, name, self._clock.monotonic() + patience_seconds)
            if before is not None and not held.taken_over:
                raise _locked(f"job {job}", before)
            yield held

    async def _names(self, folder: str) -> list[str]:
        paths = [stored.path async for stored in self._store.list(f"{layout.LOCKS}/{folder}")]
        return sorted({path.removeprefix(f"{layout.LOCKS}/").rpartition("/")[0] for path in paths})

    @asynccontextmanager
    async def _held(self, name: str, patience_seconds: float) -> AsyncIterator[Held]:
        local = self._local.setdefault(name, asyncio.Lock())
        if local.locked() and not patience_seconds:
            raise JobLocked(f"{printable(name)} is locked by another job of this daemon")
        async with local, AsyncExitStack() as stack:
            until = self._clock.monotonic() + patience_seconds
            yield await self._entered(stack, name, until)

    async def _entered(self, stack: AsyncExitStack, name: str, until: float) -> Held:
        while True:
            try:
                return await stack.enter_async_context(self._lease.held(name))
            except JobLocked:
                if self._clock.monotonic() >= until:
                    raise
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _job_name(cluster: str, job: str) -> str:
    # "~" begins the folder of no cluster
    return f"~jobs/{layout.cluster_folder(cluster)}~{job}"


def _vacuum_name(cluster: str) -> str:
    return f"~vacuum/{layout.cluster_folder(cluster)}"


def _locked(what: str, claim: Claim) -> JobLocked:
    return JobLocked(f"{printable(what)} is locked by {printable(claim.owner)}")
