"""What was imported compared with what was exported: counted on every peer, and read back whole."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass

from exporter.backup.content import difference, total
from exporter.backup.exporting.reading import read_content
from exporter.backup.exporting.records import Said
from exporter.backup.exporting.stored import read_points
from exporter.backup.importing.comparing import Comparison
from exporter.backup.importing.making import settled
from exporter.backup.importing.plan import keys_of, shards_of
from exporter.backup.importing.words import ImportPlan
from exporter.backup.progress import Progress, step
from exporter.backup.restoring import schema
from exporter.backup.restoring.settling import NotProven
from exporter.backup.restoring.target import Target
from exporter.backup.storage.contract import Store
from exporter.backup.words import Chunk, ShardKey
from exporter.clock import Clock
from exporter.printable import printable
from exporter.qdrant import keeping

# Points that are fetched at once to be compared one by one.
COMPARED_POINTS = 100


@dataclass(frozen=True, slots=True)
class Proven:
    """What the target holds."""

    points: int
    content: str
    warnings: tuple[str, ...]


class Prover:
    """Looks whether all is there, once all was sent."""

    def __init__(
        self, plan: ImportPlan, target: Target, *, store: Store, clock: Clock, progress: Progress
    ) -> None:
        self._plan = plan
        self._target = target
        self._store = store
        self._clock = clock
        self._progress = progress

    async def prove(self) -> Proven:
        """Compare replicas, payload indexes, counts and content.

        Raises NotProven where something is other, SourceError, JobError.
        """
        keys = keys_of(self._plan.manifest)
        with step(self._progress, "wait for all replicas"):
            await settled(self._target, self._clock, keys)
        with step(self._progress, "count"):
            await self._indexes()
            points = sum(chunk.points for chunk in self._plan.manifest.chunks)
            await self._count(None, points)
            for layout in keys:
                await self._count(layout.key, self._plan.points_of(layout.key))
        with step(self._progress, "read all points back"):
            found = await self._contents()
        others = [
            key for key, content in found.items() if difference(self._wanted(key), content, vectors=True)
        ]
        return Proven(points, total([*found.values()]), tuple(await self._compared(others)))

    async def _indexes(self) -> None:
        wanted = self._plan.manifest.payload_schema
        found = keeping.read_description(await self._target.ask(keeping.describe(self._target.name)))
        if problems := schema.index_differences(wanted, found.payload_schema):
            raise NotProven("; ".join(problems))

    async def _count(self, key: ShardKey, wanted: int) -> None:
        found = await self._target.counts(key)
        wrong = {label: count for label, count in found.items() if count != wanted}
        if wrong:
            of_key = "" if key is None else f" under the key {printable(str(key))}"
            said = ", ".join(f"{label} counts {count:,}" for label, count in sorted(wrong.items()))
            raise NotProven(f"{wanted:,} points are due{of_key}, and {said}")

    async def _contents(self) -> dict[ShardKey, str]:
        """Read all points back, key by key: the sum of all keys is the same where two exchanged a point."""
        manifest, target = self._plan.manifest, self._target
        keys: list[tuple[ShardKey, int]] = [(one.key, len(one.shards)) for one in keys_of(manifest)]
        found: dict[ShardKey, str] = {}
        for key, shards in keys or [(None, shards_of(manifest))]:
            read = await read_content(
                target.peers, target.name, key, shards=shards, limits=target.limits.calls
            )
            found[key] = str(read)
        return found

    def _wanted(self, key: ShardKey) -> str:
        return total([chunk.content for chunk in self._plan.manifest.chunks if chunk.key == key])

    async def _compared(self, keys: Collection[ShardKey]) -> list[str]:
        """Compare the points of keys whose content differs; return what is worth telling of it."""
        if not keys:
            return []
        manifest = self._plan.manifest
        comparison = Comparison(manifest.config)
        with step(self._progress, "compare points one by one"):
            for chunk in manifest.chunks:
                if chunk.key in keys:
                    await self._compare(chunk, comparison)
        unwritten = 0 if manifest.export is None else manifest.export.not_finite
        told = [f"{unwritten:,} points lack a vector, of which a number is not finite"] if unwritten else []
        if comparison.rounded:
            told.append(
                f"the server rounds numbers anew, in the last digits: {', '.join(sorted(comparison.rounded))}"
            )
        return told

    async def _compare(self, chunk: Chunk, comparison: Comparison) -> None:
        async with aclosing(read_points(self._store, self._plan.manifest, chunk)) as read:
            async for points in read:
                for start in range(0, len(points), COMPARED_POINTS):
                    some = points[start : start + COMPARED_POINTS]
                    ids = [point.id for point in some]
                    answer = await self._target.ask(keeping.retrieve(self._target.name, ids, chunk.key))
                    said = await asyncio.to_thread(keeping.read_retrieved, answer, Said)
                    if other := await asyncio.to_thread(comparison.other, some, said):
                        raise NotProven(f"{other} is another than was exported")
