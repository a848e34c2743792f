"""What was restored compared with what was backed up, and what comes after that: limits, fan-out, aliases.

Agreement among peers proves nothing (0 = 0): every replica is compared with the manifest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.backup.progress import Progress, step
from exporter.backup.restoring import schema, settling
from exporter.backup.restoring.plan import aliases_wanted, keys_of
from exporter.backup.restoring.settling import NotProven
from exporter.backup.restoring.target import Places, Target
from exporter.backup.restoring.words import ReplicaSeen, RestoreOptions, RestorePlan
from exporter.clock import Clock
from exporter.errors import JobError, SourceError
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant import keeping

log = get_logger()

# Between two looks where nothing changes: a large replica takes minutes to be copied.
LONGEST_PAUSE_SECONDS = 10.0
GREEN = "green"


@dataclass(frozen=True, slots=True)
class Proven:
    """What the target holds."""

    replicas: tuple[ReplicaSeen, ...]
    points: int
    labels: Mapping[int, str]  # of peers by their ids


class Prover:
    """Waits until the target is right, or will not become so."""

    def __init__(self, plan: RestorePlan, target: Target, clock: Clock, progress: Progress) -> None:
        self._plan = plan
        self._target = target
        self._clock = clock
        self._progress = progress

    async def prove(self) -> Proven:
        """Compare places, points and payload indexes. Raises NotProven, SourceError."""
        with step(self._progress, "wait for all replicas"):
            places = await self._settled()
        with step(self._progress, "compare"):
            await self._index()
            points = await self._counted(places)
        return Proven(settling.replicas(places), points, places.labels)

    async def _settled(self) -> Places:
        """Return the places once all is right, seen twice in a row."""
        right, best, changed_at = 0, None, self._clock.monotonic()
        pause = self._target.limits.look
        while True:
            places = await self._target.places()
            problems = settling.problems(places, self._plan.uploads)
            right = 0 if problems else right + 1
            if right == settling.LOOKS:
                return places
            # a transfer that fails and is begun anew, again and again, changes much and comes no nearer
            now_there = settling.progress(places, problems)
            if best is None or any(now > then for now, then in zip(now_there, best, strict=True)):
                best = now_there if best is None else tuple(map(max, now_there, best))
                changed_at, pause = self._clock.monotonic(), self._target.limits.look
            moves = settling.is_moving(places)
            limit = self._target.moving_seconds(self._plan.uploads) if moves else self._target.limits.still
            if problems and self._clock.monotonic() - changed_at > limit:
                if places.silent:
                    raise JobError("; ".join(problems))
                raise NotProven("; ".join(problems))
            await asyncio.sleep(pause if problems else self._target.limits.look)
            pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)

    async def _index(self) -> None:
        """Make the payload indexes known; the segments came with theirs, so there is little to build."""
        wanted = self._plan.manifest.payload_schema
        for field, field_schema in schema.indexes(wanted):
            asked = keeping.create_index(self._target.name, field, field_schema)
            await self._target.do_surely(asked, self._target.limits.index)
        found = keeping.read_description(await self._target.ask(keeping.describe(self._target.name)))
        if problems := schema.index_differences(wanted, found.payload_schema):
            raise NotProven("; ".join(problems))

    async def _counted(self, places: Places) -> int:
        """Count exactly, on every peer and for every key, and return the whole."""
        points: dict[int, int] = {}
        for replica in settling.replicas(places):
            points[replica.shard] = replica.points
        total = sum(points.values())
        await self._compare(None, total)
        for layout in keys_of(self._plan.manifest):
            await self._compare(layout.key, sum(points[shard] for shard in layout.shards))
        return total

    async def _compare(self, key: str | int | None, wanted: int) -> None:
        found = await self._target.counts(key)
        wrong = {label: count for label, count in found.items() if count != wanted}
        if wrong:
            of_key = "" if key is None else f" under the key {printable(str(key))}"
            said = ", ".join(f"{label} counts {count:,}" for label, count in sorted(wrong.items()))
            raise NotProven(f"{wanted:,} points are due{of_key}, and {said}")


class Finisher:
    """Does what comes last, once all is proven."""

    def __init__(self, plan: RestorePlan, target: Target, options: RestoreOptions) -> None:
        self._plan = plan
        self._target = target
        self._options = options

    async def finish(self) -> tuple[str, ...]:
        """Set limits, fan-out and aliases; return which settings are others now. Raises SourceError."""
        name, config = self._target.name, self._plan.manifest.config
        if later := schema.afterwards(config):
            await self._target.do_surely(keeping.patch_collection(name, later))
        found = keeping.read_description(await self._target.ask(keeping.describe(name)))
        if found.status != GREEN and not self._options.scratch:
            await self._wake()
        for alias in aliases_wanted(self._plan.manifest, self._options):
            await show(self._target, alias)
        return schema.config_differences(config, found.config)

    async def _wake(self) -> None:
        """Let optimizers begin with what the archive had not indexed; where that fails the data is there.

        A restored shard lies grey until a write or a change of these settings (seen on 1.18.3); an empty
        one will do.
        """
        try:
            await self._target.do(keeping.patch_collection(self._target.name, schema.WAKING))
        except SourceError as error:
            log.warning("restore.not_woken", collection=printable(self._target.name), error=str(error))


async def show(target: Target, alias: str) -> None:
    """Let an alias show the target, in one step for its readers, and read it back.

    Raises SourceError, JobError.
    """
    action = {"create_alias": {"collection_name": target.name, "alias_name": alias}}
    await target.do_surely(keeping.change_aliases([action]))
    behind = keeping.read_aliases(await target.ask(keeping.aliases())).get(alias)
    if behind != target.name:
        raise JobError(f"the alias {printable(alias)} was set and shows {printable(behind or 'nothing')}")


async def take_mark_away(target: Target) -> None:
    """Leave the metadata as it was. Where that fails the target is good all the same.

    Where there was none, `{}` stays: the server takes null for no change (seen on 1.18.3).
    """
    try:
        await target.do_surely(keeping.patch_collection(target.name, schema.without_mark()))
    except SourceError as error:
        log.warning("restore.mark_left", collection=printable(target.name), error=str(error))
