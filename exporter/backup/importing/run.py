"""An import from its plan to its proof. It may be ended anywhere, and the same call goes on with it.

A record in the store and a mark in the target's metadata say how far it came, and an intent says which
threshold is to be put back. Nothing that exists is written to but a target with that mark; nothing is
deleted. The caller holds the locks of the exported collection and of the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from exporter.backup.finishing import tried
from exporter.backup.importing.bulk import Bulk
from exporter.backup.importing.finishing import Finisher
from exporter.backup.importing.loading import Loader
from exporter.backup.importing.making import Maker
from exporter.backup.importing.plan import plan
from exporter.backup.importing.proving import Proven, Prover
from exporter.backup.importing.words import Imported, ImportLimits, ImportOptions, ImportPlan
from exporter.backup.progress import Progress, Silent
from exporter.backup.restoring.making import may_be_there
from exporter.backup.restoring.plan import default_target
from exporter.backup.restoring.proving import take_mark_away
from exporter.backup.restoring.refusals import begun, finished, resumed
from exporter.backup.restoring.schema import Mark, keeps_metadata, mark_of
from exporter.backup.restoring.settling import NotProven
from exporter.backup.restoring.target import Target
from exporter.backup.restoring.words import TargetSeen, first_record
from exporter.backup.shelf import Shelf, place_of
from exporter.backup.survey import PeerAt
from exporter.backup.words import RestoreRecord, RestoreState, StoredSet
from exporter.clock import Clock
from exporter.errors import JobError, SourceError, StoreError
from exporter.logs import get_logger
from exporter.printable import printable

log = get_logger()


class Importer:
    """Imports exports of one store into the servers of `peers`: all peers of one cluster, or one server.

    `cluster` names them: thresholds that are changed there are written down under it.
    """

    def __init__(
        self,
        *,
        cluster: str,
        peers: Sequence[PeerAt],
        shelf: Shelf,
        clock: Clock,
        progress: Progress | None = None,
        limits: ImportLimits | None = None,
    ) -> None:
        self._cluster = cluster
        self._peers = tuple(peers)
        self._shelf = shelf
        self._clock = clock
        self._progress = progress or Silent()
        self._limits = limits or ImportLimits()

    async def plan(self, stored: StoredSet, options: ImportOptions, *, finishing: bool = False) -> ImportPlan:
        """Say what `import_set` would do. Raises JobRefused with all that stands against it.

        `finishing`: it comes next, so what a killed one left undone at its very end is done now.
        """
        return (await self._begin(stored, options, finishing=finishing)).plan

    async def import_set(self, stored: StoredSet, options: ImportOptions) -> Imported:
        """Import an export and prove it. Raises JobRefused where nothing was begun, else JobError or
        StoreError; NotProven where what is there then is not what was exported.

        What was begun is left as it is: the same call goes on with it.
        """
        return await (await self._begin(stored, options, finishing=True)).go()

    async def _begin(self, stored: StoredSet, options: ImportOptions, *, finishing: bool) -> _Run:
        manifest = stored.manifest
        name = options.target
        if name is None:
            name = default_target(manifest.collection, manifest.id, scratch=options.scratch)
        target = Target(name, peers=self._peers, clock=self._clock, limits=self._limits.target)
        seen = await target.look()
        records = await self._shelf.restores()
        record = resumed(records, seen, manifest.id)
        if finishing and record is not None and record.state is RestoreState.DONE and not record.scratch:
            await take_mark_away(target)  # it was killed before its last request
        planned = plan(stored, seen, options, record or finished(records, seen, manifest.id))
        await self._check_sizes(planned)
        return _Run(
            planned=planned, begun=begun(records, seen, manifest.id, scratch=options.scratch), seen=seen,
            target=target, options=options, cluster=self._cluster, shelf=self._shelf, clock=self._clock,
            progress=self._progress, limits=self._limits,
        )  # fmt: skip

    async def _check_sizes(self, planned: ImportPlan) -> None:
        """See that all chunks are there before anything is made. Raises JobError, StoreError."""
        place = place_of(planned.manifest)
        held = {stored.path: stored.size_bytes async for stored in self._shelf.store.list(place.folder)}
        for chunk in planned.manifest.chunks:
            there = held.get(place.file(chunk.file))
            if there != chunk.size_bytes:
                said = "is missing" if there is None else f"has {there:,} bytes"
                raise JobError(
                    f"backup {planned.manifest.id} is damaged: {chunk.file} {said}, and the manifest says"
                    f" {chunk.size_bytes:,} bytes"
                )


class _Run:
    """One import under way."""

    def __init__(
        self,
        *,
        planned: ImportPlan,
        begun: Sequence[RestoreRecord],
        seen: TargetSeen,
        target: Target,
        options: ImportOptions,
        cluster: str,
        shelf: Shelf,
        clock: Clock,
        progress: Progress,
        limits: ImportLimits,
    ) -> None:
        self.plan = planned
        self._seen = seen
        self._target = target
        self._options = options
        self._shelf = shelf
        self._clock = clock
        self._progress = progress
        self._limits = limits
        self._begun = begun
        self._record = planned.resumes or first_record(
            planned.manifest, planned.target, begun=begun, scratch=options.scratch, now=clock.now()
        )
        self._bulk = Bulk(planned, target, cluster=cluster, scratch=options.scratch, shelf=shelf, clock=clock)
        self._finisher = Finisher(
            planned, target, options, shelf=shelf, clock=clock, progress=progress, limits=limits
        )

    async def go(self) -> Imported:
        """Make, load, prove; the record says how far it came whatever happens."""
        began = self._clock.monotonic()
        for record in self._begun[1:]:
            await self._shelf.remove_restore(record.id)
        await self._keep(state=RestoreState.OPEN, detail="")
        try:
            await self._make()
            await self._load()
            imported = await self._prove()
        except NotProven as error:
            # nobody knows which chunk it is, so all are sent again by whoever goes on
            await self._note(state=RestoreState.FAILED, detail=str(error), uploaded=())
            await tried(self._let_it_be_indexed())
            raise NotProven(f"{self._words} is not proven: {error}. {self._how}") from error
        except SourceError as error:
            await self._note(detail=str(error))
            raise JobError(f"{self._words} stopped: {error}. {self._how}") from error
        except JobError as error:
            await self._note(detail=str(error))
            raise type(error)(f"{self._words} stopped: {error}. {self._how}") from error
        log.info(
            "import.finished", set_id=self.plan.manifest.id, collection=printable(self.plan.target),
            points=imported.points, took_seconds=self._clock.monotonic() - began,
        )  # fmt: skip
        return imported

    async def _make(self) -> None:
        """Make the target, and write down on which servers it is as soon as it is there."""
        await self._bulk.open(self._seen)
        maker = Maker(self.plan, self._seen, self._target, self._clock)
        try:
            peers = await maker.create(self._mark)
        except SourceError as error:
            if not may_be_there(error):
                await tried(self._bulk.drop())
            raise
        await self._keep(peers=peers)
        await self._bulk.bind()
        await maker.fill_in()

    async def _load(self) -> None:
        """Send what is not there yet, and write down each chunk that was taken."""
        loader = Loader(
            self.plan,
            self._target,
            store=self._shelf.store,
            clock=self._clock,
            progress=self._progress,
            limits=self._limits,
        )
        await loader.load(self._loaded)

    async def _loaded(self, number: int) -> None:
        await self._check_mark()
        await self._keep(uploaded=(*self._record.uploaded, number))

    async def _check_mark(self) -> None:
        """See that the target is the one that was made: points are sent by its name, which may be another's.

        Raises JobError. Where nobody answers nothing is known, and who sends sees that too.
        """
        if not keeps_metadata(self._seen.oldest):
            return
        found = (await self._target.look()).description
        if found is not None and mark_of(found.config) != self._mark:
            raise JobError(f"somebody deleted {printable(self._target.name)} and made it anew meanwhile")

    async def _prove(self) -> Imported:
        """Compare, then do what comes last."""
        prover = Prover(
            self.plan, self._target, store=self._shelf.store, clock=self._clock, progress=self._progress
        )
        proven = await prover.prove()
        if self._record.scratch:  # which is over when it is removed
            return self._imported(proven, "nobody's", ())
        intent = await self._bulk.intent()
        foreign = () if intent is None else await self._finisher.put_back(intent)
        await self._finisher.indexed()
        await self._check_mark()  # the index may have taken hours
        differences = await self._finisher.finish()
        await self._keep(state=RestoreState.DONE)
        if keeps_metadata(self._seen.oldest):
            await take_mark_away(self._target)
        said = "unchanged" if intent is None else "put back"
        return self._imported(proven, said, (*foreign, *differences))

    def _imported(self, proven: Proven, thresholds: str, told: Sequence[str]) -> Imported:
        return Imported(
            record=self._record,
            points=proven.points,
            content=proven.content,
            thresholds=thresholds,
            warnings=(*self.plan.warnings, *proven.warnings, *told),
        )

    async def _let_it_be_indexed(self) -> None:
        """Put the threshold back of a target that is not proven, if it can be at once: it stays as it is.

        Where it cannot, the intent stays open, for whoever reconciles.
        """
        intent = await self._bulk.intent()
        if intent is not None:
            await self._finisher.put_back_once(intent)

    async def _keep(self, **changed: Any) -> None:
        self._record = replace(self._record, **changed)
        await self._shelf.save_restore(self._record)

    async def _note(self, **changed: Any) -> None:
        """Keep how it ended, unless the store cannot: why it ended is what must be told."""
        try:
            await self._keep(**changed)
        except StoreError as error:
            log.warning("import.unnoted", collection=printable(self.plan.target), error=str(error))

    @property
    def _mark(self) -> Mark:
        record = self._record
        return Mark(record.id, record.set_id, scratch=record.scratch)

    @property
    def _words(self) -> str:
        return f"the import of backup {self.plan.manifest.id} into {printable(self.plan.target)}"

    @property
    def _how(self) -> str:
        return "The same command goes on with it; to give it up, delete that collection"
