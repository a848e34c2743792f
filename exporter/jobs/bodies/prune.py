"""Pruning: deletes what the retention does not keep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from exporter.backup.pruning import Pruned, Pruning
from exporter.config.jobs import JobSettings
from exporter.jobs.bodies.means import Means
from exporter.jobs.words import Figure, Outcome, Part, Reason


class PruneBody:
    """Jobs of kind prune."""

    frees = True

    def __init__(self, means: Means) -> None:
        self._means = means

    async def make_room(self, cluster: str) -> int:
        """Free nothing beforehand: that is what the run itself is for."""
        return 0

    @asynccontextmanager
    async def opened(self, job: JobSettings, cluster: str) -> AsyncIterator[PruneChore]:
        """See what is stored, and what still exists: of the rest nothing is pruned by a schedule."""
        async with self._means.reached(cluster) as peers:
            present = await self._means.collections(peers)
        pruning = self._means.pruning(cluster, present)
        stored = await pruning.collections()
        yield PruneChore(pruning, tuple(name for name in stored if job.collections.selects(name)))


class PruneChore:
    """One run."""

    def __init__(self, pruning: Pruning, collections: tuple[str, ...]) -> None:
        self.collections = collections
        self._pruning = pruning

    def turn(self) -> AbstractAsyncContextManager[object]:
        """Wait for nobody."""
        return nullcontext()

    async def do(self, collection: str) -> Part:
        """Prune one collection; a retention that stands still on suspicion is a failure that people see."""
        return part_of(await self._pruning.prune(collection))


def part_of(pruned: Pruned) -> Part:
    """Return what came of a plan."""
    name = pruned.plan.collection
    figures: dict[str, Figure] = {"removed": len(pruned.removed), "freed_bytes": pruned.freed_bytes}
    if pruned.plan.stopped is not None:
        return Part(name, Outcome.FAILED, Reason.REFUSED, pruned.plan.stopped, figures=figures)
    if pruned.problems:
        return Part(name, Outcome.FAILED, Reason.STORE, "; ".join(pruned.problems), figures=figures)
    return Part(name, Outcome.OK, figures=figures)
