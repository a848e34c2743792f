"""Proving what is stored.

What only reads, levels 1 and 2, goes over every complete set: a disk forgets old files too. What opens or
restores a set is done to the newest good one of each kind, which is the one that will be needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from exporter.backup.archive.engine import EngineCannot
from exporter.backup.verifying.levels import Verifier
from exporter.backup.words import Level, Proof, SetKind, SetState, StoredSet
from exporter.config.jobs import JobSettings
from exporter.errors import JobRefused
from exporter.jobs.bodies.means import Means
from exporter.jobs.bodies.serving import serving
from exporter.jobs.facts import level_of
from exporter.jobs.words import Figure, Outcome, Part, Reason


class VerifyBody:
    """Jobs of kind verify."""

    frees = False

    def __init__(self, means: Means) -> None:
        self._means = means

    async def make_room(self, cluster: str) -> int:
        """Free nothing: what a proof finds out says later too."""
        return 0

    @asynccontextmanager
    async def opened(self, job: JobSettings, cluster: str) -> AsyncIterator[VerifyChore]:
        """See of which collections there is a complete set."""
        means, level = self._means, level_of(job)
        sets = [one for one in await means.shelf.sets(cluster) if _is_complete(one)]
        stored = sorted({one.manifest.collection for one in sets})
        names = tuple(name for name in stored if job.collections.selects(name))
        async with serving(means, cluster, level) as served:
            verifier = Verifier(
                shelf=means.shelf,
                clock=means.clock,
                engine=means.engine,
                served=served,
                progress=means.progress,
            )
            yield VerifyChore(means, verifier, cluster, level, names)


class VerifyChore:
    """One run."""

    def __init__(
        self, means: Means, verifier: Verifier, cluster: str, level: Level, collections: tuple[str, ...]
    ) -> None:
        self.collections = collections
        self._means = means
        self._verifier = verifier
        self._cluster = cluster
        self._level = level

    def turn(self) -> AbstractAsyncContextManager[object]:
        """Wait for nobody."""
        return nullcontext()

    async def do(self, collection: str) -> Part:
        """Prove one collection's sets. A bad one is told, and the others are looked at all the same."""
        sets = [one for one in await self._means.shelf.sets(self._cluster, collection) if _is_complete(one)]
        bad: list[str] = []
        unable: list[str] = []
        reason = Reason.REFUSED
        for stored, level in plan(sets, self._level):
            try:
                proof = await self._proven(stored, level)
            except (EngineCannot, JobRefused) as error:
                unable.append(str(error))
                if isinstance(error, EngineCannot):
                    reason = Reason.FAILED
                proof = await self._proven(stored, furthest(stored))
            if not proof.good:
                bad.append(f"backup {stored.manifest.id} is bad: {'; '.join(proof.problems)}")
        figures: dict[str, Figure] = {"sets": len(sets), "level": int(self._level)}
        if bad or unable:
            why = Reason.BAD if bad else reason
            return Part(collection, Outcome.FAILED, why, "; ".join(bad + unable), figures=figures)
        return Part(collection, Outcome.OK, figures=figures)

    async def _proven(self, stored: StoredSet, level: Level) -> Proof:
        proof = await self._verifier.prove(stored, level)
        await self._means.shelf.save_proof(stored.manifest, proof)
        return proof


def plan(sets: Sequence[StoredSet], level: Level) -> list[tuple[StoredSet, Level]]:
    """Return up to which level each complete set of one collection is proven; `sets` newest first.

    One that is known to be bad is not opened while another of its kind is good: who asks for a proof wants
    to know of one that can be restored.
    """
    chosen: list[StoredSet] = []
    for kind in SetKind:
        alike = [one for one in sets if one.manifest.kind is kind]
        chosen += [next((one for one in alike if not one.is_bad), alike[0])] if alike else []
    cheap = min(level, Level.HASHED)
    return [(one, level if any(one is other for other in chosen) else cheap) for one in sets]


def furthest(stored: StoredSet) -> Level:
    """Return up to which level a set is proven where nothing is there to open or to restore it."""
    return Level.OPENED if stored.manifest.kind is SetKind.EXPORT else Level.HASHED


def _is_complete(stored: StoredSet) -> bool:
    return stored.manifest.state is not SetState.INCOMPLETE
