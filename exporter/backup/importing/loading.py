"""All chunks loaded: read, written as JSON, sent in a few streams, no faster than servers take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from exporter.backup.exporting.stored import read_points
from exporter.backup.importing.batches import Batch, Batches
from exporter.backup.importing.sending import Sender
from exporter.backup.importing.words import ImportLimits, ImportPlan
from exporter.backup.progress import Progress, step
from exporter.backup.restoring.target import Target
from exporter.backup.storage.contract import Store
from exporter.backup.survey import PeerAt
from exporter.backup.words import Chunk
from exporter.clock import Clock
from exporter.errors import JobError, SourceError
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant import keeping

log = get_logger()

Done = Callable[[int], Awaitable[None]]


class Loader:
    """Loads the chunks of a plan into its target."""

    def __init__(
        self,
        plan: ImportPlan,
        target: Target,
        *,
        store: Store,
        clock: Clock,
        progress: Progress,
        limits: ImportLimits,
    ) -> None:
        self._plan = plan
        self._store = store
        self._progress = progress
        self._limits = limits
        self._sender = Sender(target.name, peers=target.peers, clock=clock, limits=limits)
        self._queues = Queues(target, clock, limits)

    async def load(self, done: Done) -> None:
        """Load every chunk that is due, one after the other; `done` is told of each that servers have whole.

        Raises SourceError, BadChunk and other JobErrors, StoreError.
        """
        before = 0
        with step(self._progress, f"load {self._plan.points:,} points", self._plan.size_bytes):
            for number, chunk in zip(self._plan.due, self._plan.chunks, strict=True):
                await self._load(chunk, before)
                before += chunk.size_bytes
                await done(number)

    async def _load(self, chunk: Chunk, before: int) -> None:
        """Load one chunk, so many requests under way at once. `before`: bytes of those before it."""
        under_way: set[asyncio.Task[None]] = set()
        sent = 0
        try:
            async with aclosing(self._batches(chunk)) as batches:
                async for batch in batches:
                    while len(under_way) >= self._limits.streams:
                        under_way = await _first_done(under_way)
                    await self._queues.short_enough()
                    under_way.add(asyncio.create_task(self._sender.send(batch, chunk.key)))
                    sent += len(batch)
                    self._progress.advance(before + chunk.size_bytes * sent // max(chunk.points, sent))
            while under_way:
                under_way = await _first_done(under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _batches(self, chunk: Chunk) -> AsyncGenerator[Batch, None]:
        exported = self._plan.manifest.export
        batches = Batches(
            size_bytes=self._limits.batch_bytes,
            points=self._limits.batch_points,
            only_finite=exported is not None and exported.not_finite > 0,
        )
        async with aclosing(read_points(self._store, self._plan.manifest, chunk)) as read:
            async for points in read:
                # a megabyte of vectors takes 20 ms to write down: the loop must go on
                for batch in await asyncio.to_thread(batches.add, points):
                    yield batch
        for batch in batches.rest():
            yield batch


class Queues:
    """Holds a load back while a replica has many operations waiting: what is sent is not yet applied."""

    def __init__(self, target: Target, clock: Clock, limits: ImportLimits) -> None:
        self._target = target
        self._clock = clock
        self._limits = limits
        self._looked_at = clock.monotonic()

    async def short_enough(self) -> None:
        """Return at once most of the time; every few seconds look, and wait while a queue is too long.

        Raises JobError where none gets shorter.
        """
        if self._clock.monotonic() - self._looked_at < self._limits.queue_look_seconds:
            return
        longest, began = await self._longest(), self._clock.monotonic()
        shortest = longest
        while longest > self._limits.queue_operations:
            log.info("import.held_back", collection=printable(self._target.name), queue=longest)
            await asyncio.sleep(self._limits.queue_look_seconds)
            longest = await self._longest()
            if longest < shortest:
                shortest, began = longest, self._clock.monotonic()
            elif self._clock.monotonic() - began > self._limits.patience_seconds:
                raise JobError(f"{longest:,} operations wait on a replica, and they do not get fewer")
        self._looked_at = self._clock.monotonic()

    async def _longest(self) -> int:
        """Return the most operations that wait on one replica; 0 where servers do not tell, before 1.17."""
        return max(await asyncio.gather(*map(self._of, self._target.peers)))

    async def _of(self, peer: PeerAt) -> int:
        try:
            seconds = self._target.limits.calls.hello_seconds  # one try: a frozen peer must not hold all up
            answer = await peer.courier.call(keeping.telemetry(3), deadline_seconds=seconds)
            seen = await asyncio.to_thread(keeping.read_telemetry, answer, self._target.name)
        except SourceError:
            return 0  # it takes nothing, and the sender has seen that
        return max((one.queue_length or 0 for one in seen.shards), default=0) if seen is not None else 0


async def _first_done(under_way: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait for the first of them and return the others. Raises what one of them raised.

    What is under way is the caller's still, when this is cancelled or raises.
    """
    done, left = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return left
