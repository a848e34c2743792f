"""The target made: the collection, its shard keys with the ids they had, seen by every peer."""

from __future__ import annotations

import asyncio

from exporter.backup.calling import may_have_been_done
from exporter.backup.restoring import lineup, settling
from exporter.backup.restoring.lineup import MakeKey
from exporter.backup.restoring.plan import creation, key_creation, keys_of
from exporter.backup.restoring.schema import Mark
from exporter.backup.restoring.target import Places, Target
from exporter.backup.restoring.words import RestorePlan, TargetSeen
from exporter.clock import Clock
from exporter.errors import JobError, SourceError
from exporter.printable import printable
from exporter.qdrant import keeping

# A request of which nobody knows what became of it is made again so often at most, one after the other.
TRIES = 3


class Maker:
    """Makes what is planned, and goes on with what is there of it."""

    def __init__(self, plan: RestorePlan, seen: TargetSeen, target: Target, clock: Clock) -> None:
        self._plan = plan
        self._seen = seen
        self._target = target
        self._clock = clock

    async def create(self, mark: Mark) -> tuple[int, ...]:
        """Create the collection where it is not there yet; return the ids of the servers that have it.

        Raises SourceError, JobError.
        """
        if self._plan.resumes is None:
            await self._create(mark)
        return (await self._target.places()).nodes

    async def fill_in(self) -> Places:
        """Make the shard keys and return where the shards are. Raises SourceError, JobError."""
        await self._keys()
        return await self._ready()

    async def _create(self, mark: Mark) -> None:
        asked = creation(self._plan.manifest, self._seen, mark)
        try:
            await self._target.do(asked)
        except SourceError as error:
            if not may_have_been_done(error) or not await self._appeared():
                raise

    async def _appeared(self) -> bool:
        """Wait for a collection that was asked for, while nobody knows whether it comes."""
        for _ in range(TRIES):
            await asyncio.sleep(self._target.limits.look)
            if self._target.name in keeping.read_collections(await self._target.ask(keeping.collections())):
                return True
        return False

    async def _keys(self) -> None:
        """Make the shard keys and take the fillers away, one request after the other, each after a look."""
        wanted = keys_of(self._plan.manifest)
        failures = 0
        while wanted:
            said = keeping.read_placement(await self._target.ask(keeping.placement(self._target.name)))
            step = lineup.next_step(wanted, said.keys)
            if step is None:
                return
            if isinstance(step, MakeKey):
                asked = key_creation(self._plan.manifest, self._seen, step)
            else:
                asked = keeping.delete_key(self._target.name, step.key)
            try:
                await self._target.do(asked)
                failures = 0
            except SourceError as error:
                failures += 1
                if failures == TRIES or not may_have_been_done(error):
                    raise
                await asyncio.sleep(self._target.limits.look)

    async def _ready(self) -> Places:
        """Wait until every peer shows all shards in their places. A resumed target may have Dead replicas."""
        began = self._clock.monotonic()
        resumes = self._plan.resumes is not None
        while True:
            places = await self._target.places()
            problems = settling.problems(places, self._plan.uploads, points=False)
            if not problems:
                self._check_keys(places)
                return places
            waited = self._clock.monotonic() - began
            moves = settling.is_moving(places)
            limit = self._target.moving_seconds(self._plan.uploads) if moves else self._target.limits.still
            if waited > limit:
                if resumes and not places.silent:  # what is wrong is sent again
                    return places
                raise JobError("; ".join(problems))
            await asyncio.sleep(self._target.limits.look)

    def _check_keys(self, places: Places) -> None:
        """Raise JobError where a shard is not of the key that it was of."""
        wanted = {layout.key: tuple(sorted(layout.shards)) for layout in keys_of(self._plan.manifest)}
        for label, placement in places.said.items():
            if dict(placement.keys) != wanted:
                raise JobError(
                    f"on {label} the shard keys of {printable(self._target.name)} have other shards than in"
                    " the backup; delete it and begin again"
                )
