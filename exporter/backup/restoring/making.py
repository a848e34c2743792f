"""The target made: the collection, its shard keys with the ids they had, seen by every peer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from exporter.backup.calling import may_have_been_done
from exporter.backup.restoring import lineup, schema, settling
from exporter.backup.restoring.lineup import DropKey, MakeKey
from exporter.backup.restoring.plan import creation, key_creation, keys_of
from exporter.backup.restoring.schema import Mark
from exporter.backup.restoring.target import Places, Target
from exporter.backup.restoring.words import RestorePlan, TargetSeen
from exporter.backup.words import KeyLayout
from exporter.clock import Clock
from exporter.errors import JobError, SourceError, SourceRefused
from exporter.printable import printable
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked

# A request of which nobody knows what became of it is made again so often at most, one after the other.
TRIES = 3
# What a server says to a second creation: 409 of a collection, 400 of a shard key (seen on 1.18.3).
EXISTS = frozenset({400, 409})


class Maker:
    """Makes what is planned, and goes on with what is there of it."""

    def __init__(self, plan: RestorePlan, seen: TargetSeen, target: Target, clock: Clock) -> None:
        self._plan = plan
        self._seen = seen
        self._target = target
        self._clock = clock
        self._dropped = False  # keys that were left half made

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
        await created(self._target, asked, mark if schema.keeps_metadata(self._seen.oldest) else None)

    async def _keys(self) -> None:
        """Make the shard keys and take the fillers away, one request after the other, each after a look."""
        wanted = keys_of(self._plan.manifest)
        before: MakeKey | DropKey | None = None
        times = 0
        while wanted:
            there = await self._keys_there(wanted)
            step = lineup.next_step(wanted, there)
            if step is None:
                return
            times = times + 1 if step == before else 1
            before = step
            try:
                await self._make(step)
            except SourceError as error:
                # refused, perhaps, because it is done by now: what is there tells
                if times == TRIES or not may_be_there(error):
                    raise
                await asyncio.sleep(self._target.limits.look)

    async def _make(self, step: MakeKey | DropKey) -> None:
        if isinstance(step, MakeKey):
            await self._target.do(key_creation(self._plan.manifest, self._seen, step))
        else:
            await self._target.do(keeping.delete_key(self._target.name, step.key))

    async def _keys_there(self, wanted: Sequence[KeyLayout]) -> Mapping[str | int, Sequence[int]]:
        """Return the keys that are there, once the server is not making one any more."""
        began = self._clock.monotonic()
        while True:
            asked = keeping.placement(self._target.name)
            there = keeping.read_placement(await self._target.ask(asked)).keys
            unfinished = lineup.unfinished(wanted, there)
            if not unfinished:
                return there
            if self._clock.monotonic() - began > self._target.limits.write:
                if self._dropped or self._was_sent_to:
                    names = ", ".join(printable(str(key)) for key in unfinished)
                    raise JobError(f"the server does not finish the shard keys {names}")
                # the peer that made them was killed at it: nobody goes on, and there is nothing in them
                for key in unfinished:
                    await self._target.do(keeping.delete_key(self._target.name, key))
                began, self._dropped = self._clock.monotonic(), True
            await asyncio.sleep(self._target.limits.look)

    @property
    def _was_sent_to(self) -> bool:
        """A shard of the target was uploaded: it had all its keys then."""
        return self._plan.resumes is not None and bool(self._plan.resumes.uploaded)

    async def _ready(self) -> Places:
        """Wait until every peer shows all shards in their places. A resumed target may have Dead replicas."""
        began = self._clock.monotonic()
        resumes = self._plan.resumes is not None
        while True:
            places = await self._target.places()
            problems = settling.problems(places, self._plan.uploads, points=False)
            # a peer may hear late of the last key, and of the last filler that went (seen on 1.18.3)
            others = self._other_keys(places)
            if not problems and not others:
                return places
            waited = self._clock.monotonic() - began
            moves = settling.is_moving(places)
            limit = self._target.moving_seconds(self._plan.uploads) if moves else self._target.limits.still
            if waited > limit:
                if resumes and not others and not places.silent:  # what is wrong is sent again
                    return places
                raise JobError("; ".join((*others, *problems)))
            await asyncio.sleep(self._target.limits.look)

    def _other_keys(self, places: Places) -> tuple[str, ...]:
        """Say which peers show shards of other keys than those they were of."""
        wanted = {layout.key: tuple(sorted(layout.shards)) for layout in keys_of(self._plan.manifest)}
        return tuple(
            f"on {label} the shard keys of {printable(self._target.name)} have other shards than in the"
            " backup; delete it and begin again"
            for label, placement in places.said.items()
            if dict(placement.keys) != wanted
        )


async def created(target: Target, asked: Asked, mark: Mark | None) -> None:
    """Create the target; `mark`: what its metadata will show, None where the server keeps none.

    Raises SourceError.
    """
    try:
        await target.do(asked)
    except SourceError as error:
        # An earlier run may have been killed while the server was at it: then it says "exists already".
        if not may_be_there(error) or not await _appeared(target, mark):
            raise


async def _appeared(target: Target, mark: Mark | None) -> bool:
    """Wait for a collection with our mark, while nobody knows whether it comes."""
    if mark is None:
        return False
    for _ in range(TRIES):
        await asyncio.sleep(target.limits.look)
        seen = await target.look()
        if seen.description is not None and schema.mark_of(seen.description.config) == mark:
            return True
    return False


def may_be_there(error: SourceError) -> bool:
    """Whether what was asked for may be there all the same: nobody knows, or it was there before."""
    return may_have_been_done(error) or (isinstance(error, SourceRefused) and error.status in EXISTS)
