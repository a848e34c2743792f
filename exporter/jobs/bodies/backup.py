"""Backing up: one collection after the other, on one cluster one job at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial

from exporter.backup.exporting.taking import export
from exporter.backup.recent import Recent
from exporter.backup.survey import PeerAt
from exporter.backup.taking import SetIncomplete, take
from exporter.backup.verifying.levels import Verifier
from exporter.backup.words import Encoding, Manifest
from exporter.config.jobs import JobSettings
from exporter.errors import JobError, StoreFull
from exporter.jobs.bodies.means import Means
from exporter.jobs.bodies.tidying import Tidying
from exporter.jobs.facts import named
from exporter.jobs.words import Figure, Outcome, Part, Reason
from exporter.logs import get_logger
from exporter.printable import printable

log = get_logger()

# The canary's points, and what proofs restore.
OUR_OWN = "_qdrantx_"


class BackupBody:
    """Jobs of kind backup."""

    frees = False

    def __init__(self, means: Means) -> None:
        self._means = means
        self._tidying = Tidying(means)

    async def make_room(self, cluster: str) -> int:
        """Prune the cluster's sets by the same policy as ever."""
        means = self._means
        async with means.reached(cluster) as peers:
            present = await means.collections(peers)
        log.warning("backup.no_room", qdrant_cluster=cluster)
        return await means.pruning(cluster, present).make_room(partial(means.locks.freeing, cluster))

    @asynccontextmanager
    async def opened(self, job: JobSettings, cluster: str) -> AsyncIterator[BackupChore]:
        """Wait for its turn, and see which collections there are. Raises JobError where none is selected.

        One that the job names in full and that does not exist is tried all the same: its part then says so.
        """
        async with (
            self._means.turns.setdefault(cluster, asyncio.Lock()),
            self._means.reached(cluster) as peers,
        ):
            present = await self._means.collections(peers)
            names = chosen(job, cluster, present)
            await self._tidying.intents(cluster, peers, but=frozenset(names))
            yield BackupChore(self._means, job, cluster, peers, names, present)
            await self._tidying.orphans(cluster, peers)


class BackupChore:
    """One run."""

    def __init__(
        self,
        means: Means,
        job: JobSettings,
        cluster: str,
        peers: tuple[PeerAt, ...],
        collections: tuple[str, ...],
        present: tuple[str, ...],
    ) -> None:
        self.collections = collections
        self._means = means
        self._job = job
        self._cluster = cluster
        self._peers = peers
        self._present = present
        self._recent = Recent(means.clock)

    def turn(self) -> AbstractAsyncContextManager[object]:
        """Wait for nobody: the whole run has its turn."""
        return nullcontext()

    async def do(self, collection: str) -> Part:
        """Back one collection up; where there is no room, prune and try once more."""
        try:
            return part_of(await self._taken(collection))
        except StoreFull as error:
            log.warning("backup.no_room", collection=printable(collection), error=str(error))
            if not await self._make_room(collection):
                raise
        except SetIncomplete as error:
            return _incomplete(error)
        try:
            return part_of(await self._taken(collection))
        except SetIncomplete as error:
            return _incomplete(error)

    async def _taken(self, collection: str) -> Manifest:
        means = self._means
        if self._job.format == "export":
            return await export(
                collection,
                cluster=self._cluster,
                peers=self._peers,
                shelf=means.shelf,
                clock=means.clock,
                job=self._job.name,
                encoding=Encoding(self._job.encoding),
                allow_lossy=self._job.allow_lossy,
                progress=means.progress,
                limits=means.limits,
            )
        return await take(
            collection,
            cluster=self._cluster,
            peers=self._peers,
            shelf=means.shelf,
            clock=means.clock,
            job=self._job.name,
            progress=means.progress,
            count=Verifier(shelf=means.shelf, clock=means.clock, engine=means.engine).count,
            limits=means.limits,
            recent=self._recent,
        )

    async def _make_room(self, collection: str) -> int:
        pruning = self._means.pruning(self._cluster, self._present)
        return await pruning.make_room(partial(self._means.locks.freeing, self._cluster), held=collection)


def chosen(job: JobSettings, cluster: str, present: Sequence[str]) -> tuple[str, ...]:
    """Return the collections that a job is about, sorted: of those that are present, and those that it names.

    Raises JobError where there are some and it selects none.
    """
    theirs = tuple(name for name in present if not name.startswith(OUR_OWN))
    names = tuple(sorted(name for name in {*theirs, *named(job)} if job.collections.selects(name)))
    if theirs and not names:
        raise JobError(f"the job selects none of the {len(theirs)} collections of {printable(cluster)}")
    return names


def part_of(manifest: Manifest) -> Part:
    """Return what came of a backup that is whole. That an export is fuzzy, or lossy, is no failure."""
    told = manifest.problems
    if manifest.export is not None:
        told += (*manifest.export.reasons, *manifest.export.losses)
    return Part(manifest.collection, Outcome.OK, detail="; ".join(told), figures=_figures(manifest))


def _incomplete(error: SetIncomplete) -> Part:
    manifest = error.manifest
    return Part(manifest.collection, Outcome.FAILED, Reason.FAILED, str(error), figures=_figures(manifest))


def _figures(manifest: Manifest) -> dict[str, Figure]:
    figures: dict[str, Figure] = {
        "set": manifest.id,
        "state": manifest.state.value,
        "bytes": manifest.size_bytes,
    }
    if manifest.points is not None:
        figures["points"] = manifest.points
    if manifest.export is not None:
        figures["chunks"] = len(manifest.chunks)
        figures["consistency"] = manifest.export.consistency.value
    return figures
