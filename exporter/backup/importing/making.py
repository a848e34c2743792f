"""The target made: the collection, its shard keys, its payload indexes, seen by every peer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from exporter.backup.importing.plan import creation, key_creation, keys_of
from exporter.backup.importing.words import ImportPlan
from exporter.backup.restoring import schema, settling
from exporter.backup.restoring.making import TRIES, created, may_be_there
from exporter.backup.restoring.schema import Mark
from exporter.backup.restoring.target import Places, Target
from exporter.backup.restoring.words import TargetSeen
from exporter.backup.words import KeyLayout
from exporter.clock import Clock
from exporter.errors import JobError, SourceError
from exporter.printable import printable
from exporter.qdrant import keeping
from exporter.qdrant.keeping import ACTIVE


class Maker:
    """Makes what is planned, and goes on with what is there of it."""

    def __init__(self, plan: ImportPlan, seen: TargetSeen, target: Target, clock: Clock) -> None:
        self._plan = plan
        self._seen = seen
        self._target = target
        self._clock = clock

    async def create(self, mark: Mark) -> tuple[int, ...]:
        """Create the collection where it is not there yet; return the ids of the servers that have it.

        Raises SourceError.
        """
        if self._plan.resumes is None:
            asked = creation(self._plan.manifest, self._seen, mark)
            await created(self._target, asked, mark if schema.keeps_metadata(self._seen.oldest) else None)
        return (await self._target.places()).nodes

    async def fill_in(self) -> None:
        """Make shard keys and payload indexes, and wait until every peer has all replicas.

        Indexes of an empty collection are there at once. Raises SourceError, JobError.
        """
        for layout in keys_of(self._plan.manifest):
            await self._make(layout)
        await settled(self._target, self._clock, keys_of(self._plan.manifest))
        for field, field_schema in schema.indexes(self._plan.manifest.payload_schema):
            asked = keeping.create_index(self._target.name, field, field_schema)
            await self._target.do_surely(asked, self._target.limits.index)

    async def _make(self, layout: KeyLayout) -> None:
        """Make a shard key that is not there yet. The server goes on when nobody waits for its answer."""
        for number in range(1, TRIES + 1):
            there = keeping.read_placement(await self._target.ask(keeping.placement(self._target.name))).keys
            if layout.key in there:
                return
            try:
                await self._target.do(key_creation(self._plan.manifest, self._seen, layout))
            except SourceError as error:
                # refused, perhaps, because it is done by now: what is there tells
                if number == TRIES or not may_be_there(error):
                    raise
                await asyncio.sleep(self._target.limits.look)


async def settled(target: Target, clock: Clock, keys: Sequence[KeyLayout]) -> None:
    """Wait until every peer answers and shows all keys, with all replicas Active and none being copied.

    Raises JobError where that does not come, after as long as replicas may take without a change.
    """
    began, before = clock.monotonic(), ""
    while True:
        places = await target.places()
        problem = _problem(places, keys)
        if problem is None:
            return
        if problem != before:
            began, before = clock.monotonic(), problem
        moves = settling.is_moving(places)
        if clock.monotonic() - began > (target.limits.moving if moves else target.limits.still):
            raise JobError(problem)
        await asyncio.sleep(target.limits.look)


def _problem(places: Places, keys: Sequence[KeyLayout]) -> str | None:
    """Say what is not right yet; None when all is."""
    for label, reason in places.silent.items():
        return f"{label} does not answer: {reason}"
    for label, placement in places.said.items():
        for layout in keys:
            if len(placement.keys.get(layout.key, ())) != len(layout.shards):
                return f"{label} does not show all shards of the key {printable(str(layout.key))}"
        for shard, states in placement.replicas.items():
            for node, state in states.items():
                if state != ACTIVE:
                    return f"shard {shard} is {state} on {places.labels.get(node, node)}, says {label}"
    return "replicas are being copied" if settling.transferring(places) else None
