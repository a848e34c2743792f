"""What comes once all is proven: indexing again, green, limits, fan-out, aliases."""

from __future__ import annotations

import asyncio

from exporter.backup.importing.words import ImportLimits, ImportOptions, ImportPlan
from exporter.backup.progress import Progress, step
from exporter.backup.restoring import schema
from exporter.backup.restoring.plan import aliases_wanted
from exporter.backup.restoring.proving import GREEN, LONGEST_PAUSE_SECONDS, show
from exporter.backup.restoring.target import Target
from exporter.backup.shelf import Shelf
from exporter.backup.thresholds.putting_back import PutBack, put_back
from exporter.backup.words import ThresholdIntent
from exporter.clock import Clock
from exporter.errors import JobError, SourceError
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant import keeping

log = get_logger()

# Looks at green, one after the other, before it is believed: the optimizers of a changed threshold are made
# behind the answer to the PATCH, and until then it is as green as it was.
GREEN_LOOKS = 2
# Looks at grey before it is woken once more: it may be grey for a moment between two optimizations.
GREY_LOOKS = 3
GREY = "grey"


class Finisher:
    """Does what comes last."""

    def __init__(
        self,
        plan: ImportPlan,
        target: Target,
        options: ImportOptions,
        *,
        shelf: Shelf,
        clock: Clock,
        progress: Progress,
        limits: ImportLimits,
    ) -> None:
        self._plan = plan
        self._target = target
        self._options = options
        self._shelf = shelf
        self._clock = clock
        self._progress = progress
        self._limits = limits

    async def put_back(self, intent: ThresholdIntent) -> tuple[str, ...]:
        """Let the target be indexed again as soon as no optimizer runs; return what people changed meanwhile.

        Raises JobError where there is no such moment in time: the intent stays open then.
        """
        began = self._clock.monotonic()
        with step(self._progress, "put the thresholds back"):
            while True:
                came = await self.put_back_once(intent)
                if came.done:
                    return tuple(f"{field} is not put back: somebody changed it" for field in came.foreign)
                if self._clock.monotonic() - began > self._limits.quiet_seconds:
                    raise JobError(f"its indexing threshold is not put back yet: {came.reason}")
                await asyncio.sleep(self._limits.quiet_look_seconds)

    async def put_back_once(self, intent: ThresholdIntent) -> PutBack:
        """Put thresholds back if no optimizer runs now, and say what came of it."""
        return await put_back(
            intent,
            self._shelf,
            self._target.peers,
            self._clock,
            self._target.limits.calls,
            look_seconds=self._limits.quiet_look_seconds,
        )

    async def finish(self) -> tuple[str, ...]:
        """Set fan-out, limits and aliases; return which settings are others now.

        Raises SourceError, JobError.
        """
        name, config = self._target.name, self._plan.manifest.config
        if later := schema.afterwards(config):
            await self._target.do_surely(keeping.patch_collection(name, later))
        for alias in aliases_wanted(self._plan.manifest, self._options.as_restore):
            await show(self._target, alias)
        found = keeping.read_description(await self._target.ask(keeping.describe(name)))
        return schema.config_differences(config, found.config)

    async def indexed(self) -> None:
        """Wait until all is indexed: whoever is shown the target must not search without an index.

        Raises SourceError, JobError.
        """
        with step(self._progress, "wait for the index"):
            await self._green()

    async def _green(self) -> None:
        began, pause, green, grey = self._clock.monotonic(), self._limits.green_look_seconds, 0, 0
        while True:
            found = keeping.read_description(await self._target.ask(keeping.describe(self._target.name)))
            green = green + 1 if found.status == GREEN else 0
            if green == GREEN_LOOKS:
                return
            if found.optimizer_status != "ok":
                raise JobError(f"it is not indexed, an optimizer failed: {printable(found.optimizer_status)}")
            if self._clock.monotonic() - began > self._limits.green_seconds:
                raise JobError(f"it is not indexed yet: {found.status}")
            grey = grey + 1 if found.status == GREY else 0
            if grey == GREY_LOOKS:
                await self._wake()
                grey = 0
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, max(LONGEST_PAUSE_SECONDS, self._limits.green_look_seconds))

    async def _wake(self) -> None:
        try:
            await self._target.do(keeping.patch_collection(self._target.name, schema.WAKING))
        except SourceError as error:
            log.warning("import.not_woken", collection=printable(self._target.name), error=str(error))
