"""The intent under which a target is loaded without indexing: whoever is killed leaves it in the store."""

from __future__ import annotations

from exporter.backup.importing.plan import NO_INDEXING, threshold_of
from exporter.backup.importing.words import ImportPlan
from exporter.backup.restoring.target import Target
from exporter.backup.restoring.words import TargetSeen
from exporter.backup.shelf import Shelf
from exporter.backup.thresholds.changing import INDEXING_THRESHOLD, bound, intent_for_new
from exporter.backup.thresholds.intents import open_intents
from exporter.backup.thresholds.optimizing import optimizing
from exporter.backup.words import Purpose, ThresholdIntent
from exporter.clock import Clock


class Bulk:
    """The intent of one import. A scratch target has none: it is removed, and nobody searches in it."""

    def __init__(
        self, plan: ImportPlan, target: Target, *, cluster: str, scratch: bool, shelf: Shelf, clock: Clock
    ) -> None:
        self._plan = plan
        self._target = target
        self._cluster = cluster
        self._shelf = shelf
        self._clock = clock
        # a collection that is never indexed, by its owner's will, has nothing to be put back
        self._changes = not scratch and threshold_of(plan.manifest.config) != NO_INDEXING

    async def open(self, seen: TargetSeen) -> None:
        """Write the intent, before the target exists. One that exists has its own, or had it put back.

        Raises StoreError.
        """
        if not self._changes or self._plan.resumes is not None:
            return
        await intent_for_new(
            self._shelf,
            cluster=self._cluster,
            collection=self._target.name,
            purpose=Purpose.IMPORT,
            wanted={INDEXING_THRESHOLD: float(NO_INDEXING)},
            config=self._plan.manifest.config.get("optimizer_config") or {},
            version=str(seen.oldest or ""),
            clock=self._clock,
        )

    async def bind(self) -> None:
        """Write down which collection it is, once that is made: another of its name is none of ours.

        Raises StoreError.
        """
        intent = await self.intent()
        if intent is None or intent.uuid is not None:
            return
        found = await optimizing(self._target.peers, self._target.name, self._target.limits.calls)
        if found.uuid is not None:
            await bound(self._shelf, intent, found.uuid)

    async def drop(self) -> None:
        """Forget the intent: the server did not make the target. Raises StoreError."""
        intent = await self.intent()
        if intent is not None:
            await self._shelf.close_thresholds(intent.id)

    async def intent(self) -> ThresholdIntent | None:
        """Return what is open; None where nothing is changed, or not any more. Raises StoreError."""
        if not self._changes:
            return None
        found = await open_intents(self._shelf, cluster=self._cluster, collection=self._target.name)
        return found[-1] if found else None
