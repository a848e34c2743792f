"""Proving what is stored, level by level.

The cheap levels, 1 and 2, go over every complete set: a disk forgets old files too. What opens or
restores a set is done to the newest, as the one that is needed first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from exporter.backup.words import Level, Proof, SetState, StoredSet
from exporter.config.jobs import JobSettings
from exporter.jobs.bodies.means import Means
from exporter.jobs.bodies.proving import Proving
from exporter.jobs.facts import level_of
from exporter.jobs.words import Figure, Outcome, Part, Reason


class VerifyBody:
    """Jobs of kind verify."""

    def __init__(self, means: Means) -> None:
        self._means = means

    @asynccontextmanager
    async def opened(self, job: JobSettings, cluster: str) -> AsyncIterator[VerifyChore]:
        """See of which collections there is a complete set."""
        sets = [one for one in await self._means.shelf.sets(cluster) if _is_complete(one)]
        names = sorted(
            {one.manifest.collection for one in sets if job.collections.selects(one.manifest.collection)}
        )
        async with self._means.proving(cluster, level_of(job)) as proving:
            yield VerifyChore(self._means, proving, cluster, level_of(job), tuple(names))


class VerifyChore:
    """One run."""

    def __init__(
        self, means: Means, proving: Proving, cluster: str, level: Level, collections: tuple[str, ...]
    ) -> None:
        self.collections = collections
        self._means = means
        self._proving = proving
        self._cluster = cluster
        self._level = level

    async def do(self, collection: str) -> Part:
        """Prove one collection's sets; a bad one is told, and the others are looked at all the same."""
        sets = [one for one in await self._means.shelf.sets(self._cluster, collection) if _is_complete(one)]
        bad: list[str] = []
        for stored, levels in plan(sets, self._level):
            for level in levels:
                proof = await self._proving.prove(stored, level)
                await self._means.shelf.save_proof(stored.manifest, proof)
                if not proof.good:
                    bad.append(_told(stored, proof))
                    break
        figures: dict[str, Figure] = {"sets": len(sets), "level": self._level.value}
        if bad:
            return Part(collection, Outcome.FAILED, Reason.BAD, "; ".join(bad), figures=figures)
        return Part(collection, Outcome.OK, figures=figures)


def plan(sets: Iterable[StoredSet], level: Level) -> list[tuple[StoredSet, tuple[Level, ...]]]:
    """Return which sets of one collection, newest first, are proven at which levels."""
    everything = tuple(one for one in Level if Level.SIZED <= one <= level)
    cheap = tuple(one for one in everything if one <= Level.HASHED)
    return [(one, cheap if number else everything) for number, one in enumerate(sets)]


def _is_complete(stored: StoredSet) -> bool:
    return stored.manifest.state is not SetState.INCOMPLETE


def _told(stored: StoredSet, proof: Proof) -> str:
    return f"backup {stored.manifest.id} is bad at level {proof.level.value}: {'; '.join(proof.problems)}"
