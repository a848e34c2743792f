"""A restore from its plan to its proof. It may be ended anywhere, and the same call goes on with it.

A record in the store and a mark in the target's metadata say how far it came. Nothing that exists is written
to but a target with that mark; nothing is deleted. The caller holds the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from exporter.backup.progress import Progress, Silent, step
from exporter.backup.restoring.making import Maker
from exporter.backup.restoring.plan import archives_of, default_target, plan
from exporter.backup.restoring.proving import Finisher, Prover, take_mark_away
from exporter.backup.restoring.refusals import begun, finished, resumed
from exporter.backup.restoring.schema import Mark, keeps_metadata
from exporter.backup.restoring.sending import Sender, holder_of
from exporter.backup.restoring.settling import NotProven, is_right
from exporter.backup.restoring.target import Places, RestoreLimits, Target
from exporter.backup.restoring.words import (
    Restored,
    RestoreOptions,
    RestorePlan,
    ShardUpload,
    TargetSeen,
    first_record,
)
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.backup.words import RestoreRecord, RestoreState, StoredSet
from exporter.clock import Clock
from exporter.errors import JobError, SourceError, StoreError
from exporter.logs import get_logger
from exporter.printable import printable

log = get_logger()


class Restorer:
    """Restores sets of one store into the servers of `peers`: all peers of one cluster, or one server."""

    def __init__(
        self,
        *,
        peers: Sequence[PeerAt],
        shelf: Shelf,
        clock: Clock,
        progress: Progress | None = None,
        limits: RestoreLimits | None = None,
    ) -> None:
        self._peers = tuple(peers)
        self._shelf = shelf
        self._clock = clock
        self._progress = progress or Silent()
        self._limits = limits or RestoreLimits()

    async def plan(
        self, stored: StoredSet, options: RestoreOptions, *, finishing: bool = False
    ) -> RestorePlan:
        """Say what `restore` would do. Raises JobRefused with all that stands against it.

        `finishing`: it comes next, so what a killed one left undone at its very end is done now.
        """
        return (await self._begin(stored, options, finishing=finishing)).plan

    async def restore(self, stored: StoredSet, options: RestoreOptions) -> Restored:
        """Restore a set and prove it. Raises JobRefused where nothing was begun, else JobError or StoreError.

        What was begun is left as it is: the same call goes on with it.
        """
        run = await self._begin(stored, options, finishing=True)
        if run.plan.resumes is None and options.check_hashes:
            await run.sender.check_hashes(archives_of(run.plan.uploads))
        return await run.go()

    async def _begin(self, stored: StoredSet, options: RestoreOptions, *, finishing: bool = False) -> _Run:
        manifest = stored.manifest
        name = options.target
        if name is None:
            name = default_target(manifest.collection, manifest.id, scratch=options.scratch)
        target = Target(name, peers=self._peers, clock=self._clock, limits=self._limits)
        seen = await target.look()
        records = await self._shelf.restores()
        record = resumed(records, seen, manifest.id)
        if finishing and record is not None and record.state is RestoreState.DONE and not record.scratch:
            await take_mark_away(target)  # it was killed before its last request
        planned = plan(stored, seen, options, record or finished(records, seen, manifest.id))
        sender = Sender(manifest, store=self._shelf.store, progress=self._progress)
        await sender.check_sizes(archives_of(planned.uploads))
        return _Run(
            planned=planned, begun=begun(records, seen, manifest.id, scratch=options.scratch),
            seen=seen, target=target, sender=sender, options=options,
            shelf=self._shelf, clock=self._clock, progress=self._progress,
        )  # fmt: skip


class _Run:
    """One restore under way."""

    def __init__(
        self,
        *,
        planned: RestorePlan,
        begun: Sequence[RestoreRecord],
        seen: TargetSeen,
        target: Target,
        sender: Sender,
        options: RestoreOptions,
        shelf: Shelf,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self.plan = planned
        self.sender = sender
        self._seen = seen
        self._target = target
        self._options = options
        self._shelf = shelf
        self._clock = clock
        self._progress = progress
        self._begun = begun
        self._record = planned.resumes or first_record(
            planned.manifest, planned.target, begun=begun, scratch=options.scratch, now=clock.now()
        )

    async def go(self) -> Restored:
        """Make, send, prove; the record says how far it came whatever happens."""
        began = self._clock.monotonic()
        for record in self._begun[1:]:
            await self._shelf.remove_restore(record.id)
        await self._keep(state=RestoreState.OPEN, detail="")
        try:
            places = await self._make()
            await self._send_all(places)
            restored = await self._prove()
        except NotProven as error:
            await self._note(state=RestoreState.FAILED, detail=str(error))
            raise NotProven(f"{self._words} is not proven: {error}. {self._how}") from error
        except SourceError as error:
            await self._note(detail=str(error))
            raise JobError(f"{self._words} stopped: {error}. {self._how}") from error
        except JobError as error:
            await self._note(detail=str(error))
            raise type(error)(f"{self._words} stopped: {error}. {self._how}") from error
        took = self._clock.monotonic() - began
        log.info(
            "restore.finished", set_id=self.plan.manifest.id, collection=printable(self.plan.target),
            points=restored.points, took_seconds=took,
        )  # fmt: skip
        return restored

    async def _make(self) -> Places:
        """Make the target, and write down on which servers it is as soon as it is there."""
        record = self._record
        maker = Maker(self.plan, self._seen, self._target, self._clock)
        await self._keep(peers=await maker.create(Mark(record.id, record.set_id, scratch=record.scratch)))
        return await maker.fill_in()

    async def _send_all(self, places: Places) -> None:
        """Upload what is not there yet, and write down each shard that was taken."""
        due = [upload for upload in self.plan.uploads if not self._is_there(upload, places)]
        if self.plan.resumes is not None and self._options.check_hashes:
            await self.sender.check_hashes(archives_of(due))
        loads: dict[str, int] = {}
        done = 0
        with step(self._progress, f"upload {len(due)} shards", sum(upload.length for upload in due)):
            for upload in due:
                label = holder_of(upload.shard, places, loads)
                await self.sender.send(upload, self._target, label, _from(done, self._progress))
                done += upload.length
                loads[label] = loads.get(label, 0) + upload.length
                await self._keep(uploaded=(*self._record.uploaded, upload.shard))

    def _is_there(self, upload: ShardUpload, places: Places) -> bool:
        resumes = self.plan.resumes
        return resumes is not None and is_right(places, upload, was_uploaded=upload.shard in resumes.uploaded)

    async def _prove(self) -> Restored:
        """Compare, then do what comes last."""
        prover = Prover(self.plan, self._target, self._clock, self._progress)
        proven = await prover.prove()
        finisher = Finisher(self.plan, self._target, self._options)
        differences = await finisher.finish()
        if not self._record.scratch:  # which is over when it is removed
            await self._keep(state=RestoreState.DONE)
            if keeps_metadata(self._seen.oldest):
                await take_mark_away(self._target)
        return Restored(
            record=self._record,
            replicas=proven.replicas,
            points=proven.points,
            warnings=(*self.plan.warnings, *differences),
            labels=proven.labels,
        )

    async def _keep(self, **changed: Any) -> None:
        self._record = replace(self._record, **changed)
        await self._shelf.save_restore(self._record)

    async def _note(self, **changed: Any) -> None:
        """Keep how it ended, unless the store cannot: why it ended is what must be told."""
        try:
            await self._keep(**changed)
        except StoreError as error:
            log.warning("restore.unnoted", collection=self.plan.target, error=str(error))

    @property
    def _words(self) -> str:
        return f"the restore of backup {self.plan.manifest.id} into {printable(self.plan.target)}"

    @property
    def _how(self) -> str:
        return "The same command goes on with it; to give it up, delete that collection"


def _from(done: int, progress: Progress) -> Callable[[int], None]:
    """Return what tells a watcher of the bytes of one part, where so many were done before it."""
    return lambda sent: progress.advance(done + sent)
