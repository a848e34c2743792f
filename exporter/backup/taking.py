"""One backup of one collection: snapshots of all its peers in the store, judged, and a manifest last.

    look, intent, for each peer (ask, fetch, publish, delete on the server), look again, judge, manifest

Whatever ends it early, also a kill, leaves no set: there is one once its manifest is. What it may have
left on a server stands in its intent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exporter import __version__
from exporter.backup import layout
from exporter.backup.archive.entries import BadArchive
from exporter.backup.archiving import Archiver, Stored
from exporter.backup.calling import Limits
from exporter.backup.finishing import shielded, to_its_end, tried
from exporter.backup.intents import IntentBook, owner, reconcile
from exporter.backup.judging import Judgement, judge
from exporter.backup.passing import Passing
from exporter.backup.progress import Progress, Silent, step
from exporter.backup.recent import Recent
from exporter.backup.shelf import Shelf
from exporter.backup.survey import MissingPeer, PeerAt, Survey, look, schema_of_archive
from exporter.backup.thresholds.intents import as_owned, open_intents
from exporter.backup.words import (
    SNAPSHOT_FORMAT,
    ArchivedShard,
    BackupIntent,
    Level,
    Manifest,
    Proof,
    SetState,
    ShardCopy,
)
from exporter.clock import Clock
from exporter.errors import (
    JobDenied,
    JobError,
    JobRefused,
    SourceAuth,
    SourceError,
    StoreError,
    StoreMissing,
)
from exporter.logs import get_logger
from exporter.printable import printable

log = get_logger()

# Count the points of a shard in an archive: its path in the store, the stretch, the server's version.
# None where that cannot be done for this version.
CountShard = Callable[[str, ArchivedShard, str], Awaitable[int | None]]
# A layout that moved meanwhile is looked at anew once; whoever moves shards all night must stop for a backup.
TRIES = 2


class SetIncomplete(JobError):
    """What could be had was stored, and it is not all. `manifest` is that of the incomplete set."""

    def __init__(self, message: str, manifest: Manifest) -> None:
        self.manifest = manifest
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a backup works with."""

    cluster: str
    peers: tuple[PeerAt, ...]
    shelf: Shelf
    clock: Clock
    job: str
    progress: Progress
    limits: Limits
    count: CountShard | None
    recent: Recent


class _OldLookError(Exception):
    """What was told before the backup began was too old to say what happened meanwhile."""


async def take(
    collection: str,
    *,
    cluster: str,
    peers: Sequence[PeerAt],
    shelf: Shelf,
    clock: Clock,
    job: str = "",
    progress: Progress | None = None,
    count: CountShard | None = None,
    limits: Limits | None = None,
    recent: Recent | None = None,
) -> Manifest:
    """Back a collection up and return the manifest of a complete or degraded set.

    The caller holds the lock of the collection; `peers` are all that the cluster has. Safe to cancel.
    `recent` is of the run, so that what is told after one backup serves the next as what was before it.
    Raises JobRefused for an alias, JobDenied where the key may not do it, SetIncomplete where not all could
    be had, StoreFull where there is no room, StoreError, JobError.
    """
    ground = Ground(
        cluster=cluster,
        peers=tuple(peers),
        shelf=shelf,
        clock=clock,
        job=job,
        progress=progress or Silent(),
        limits=limits or Limits(),
        count=count,
        recent=recent or Recent(clock),
    )
    manifest, moved = None, True
    for _ in range(TRIES):
        before = await _surveyed(collection, ground)
        await reconcile(shelf, ground.peers, cluster=cluster, collection=collection, limits=ground.limits)
        try:
            manifest, moved = await _Run(collection, before, ground).taken()
        except _OldLookError:
            log.info("backup.looked_again", collection=printable(collection))
        if not moved:
            break
        ground.recent.forget()
    assert manifest is not None
    if manifest.state is SetState.INCOMPLETE:
        why = "; ".join(manifest.problems)
        kept = f"what there is was kept for a day as {manifest.id}"
        raise SetIncomplete(f"the backup of {printable(collection)} is incomplete: {why}; {kept}", manifest)
    return manifest


async def _surveyed(collection: str, ground: Ground) -> Survey:
    """Look at a collection, once nothing is under way there or it was waited for long enough."""
    clock, limits = ground.clock, ground.limits
    began = clock.monotonic()
    while True:
        survey = await look(ground.peers, collection, clock, limits, recent=ground.recent, lists_all=False)
        _refuse(collection, survey)
        busy = survey.busy
        waited_seconds = clock.monotonic() - began
        if busy is None or waited_seconds >= limits.busy_seconds:
            return survey
        name = printable(collection)
        log.info("backup.waiting", qdrant_cluster=ground.cluster, collection=name, reason=busy)
        with step(ground.progress, f"waiting: {busy}"):
            await asyncio.sleep(min(limits.busy_look_seconds, limits.busy_seconds - waited_seconds))
        ground.recent.forget()  # of the peers that are at rest too: so long after, a backup asks all of them


def _refuse(collection: str, survey: Survey) -> None:
    """Raise where there is nothing to back up under this name."""
    name = printable(collection)
    if not survey.views:
        reasons = "; ".join(f"{printable(one.label)}: {one.reason}" for one in survey.missing)
        raise _failure(f"no peer answers, so there is no backup of {name}: {reasons}", survey.missing)
    behind = next((view.aliases[collection] for view in survey.views if collection in view.aliases), None)
    if behind is not None:
        raise JobRefused(f"{name} is an alias of {printable(behind)}; back that one up, it keeps its aliases")
    if not survey.exists:
        raise JobError(f"there is no collection {name}")


class _Run:
    """One try at a set."""

    def __init__(self, collection: str, before: Survey, ground: Ground) -> None:
        self._collection = collection
        self._before = before
        self._ground = ground
        self._started_at = ground.clock.now()
        self._began = ground.clock.monotonic()
        self._place = layout.place(ground.cluster, collection, layout.new_id(self._started_at))
        intent = BackupIntent(self._place.id, ground.cluster, collection, self._started_at, owner())
        self._book = IntentBook(ground.shelf, intent)
        self._archiver = Archiver(
            collection=collection,
            place=self._place,
            store=ground.shelf.store,
            book=self._book,
            clock=ground.clock,
            limits=ground.limits,
            progress=ground.progress,
        )
        self._stored: list[Stored] = []
        self._failures: list[MissingPeer] = []  # that gave no archive

    async def taken(self) -> tuple[Manifest, bool]:
        """Do it, and return the manifest that was stored, and whether the layout moved meanwhile."""
        try:
            await self._archiver.check_room(await self._expected_bytes())
            await self._take_from_all()
            manifest, moved = await self._judged()
            await self._publish(manifest)
        except BaseException:
            await shielded(self._give_up(), self._ground.limits.cleanup_seconds)
            raise
        await tried(self._book.close())  # the set is there; the next run closes what stayed open
        return manifest, moved

    async def _expected_bytes(self) -> int:
        """Return how large it was the last time; 0 where there was none."""
        sets = await self._ground.shelf.sets(self._ground.cluster, self._collection)
        whole = (one.manifest for one in sets if one.manifest.state is not SetState.INCOMPLETE)
        return next((manifest.size_bytes for manifest in whole), 0)

    async def _take_from_all(self) -> None:
        """Store the archives of all peers with a replica, or write down why there is none of one."""
        for label in self._before.peers_holding():
            view = next(view for view in self._before.views if view.label == label)
            peer = self._peer(label)
            try:
                self._stored.append(await self._archiver.archived(peer, view))
            except StoreError:
                raise
            except (SourceError, JobError) as error:
                self._failures.append(MissingPeer(label, str(error), denied=isinstance(error, SourceAuth)))
                log.warning("backup.peer_failed", peer=printable(label), reason=str(error))
            await self._archiver.delete(peer)
        if not self._stored and self._before.shards:
            reasons = "; ".join(f"{printable(one.label)}: {one.reason}" for one in self._failures)
            words = f"no peer gave a snapshot of {printable(self._collection)}"
            raise _failure(f"{words}: {reasons or 'none has a replica'}", self._failures)

    async def _judged(self) -> tuple[Manifest, bool]:
        ground = self._ground
        after = await self._looked_after()
        taken = [one.taken for one in self._stored]
        judgement = judge(
            self._before, after, taken, failures={one.label: one.reason for one in self._failures}
        )
        if self._is_too_old(after, judgement):
            raise _OldLookError
        counted = [await self._counted(shard) for shard in judgement.shards]
        refused = tuple(problem for _, problem in counted if problem)
        described = after.described or self._before.described
        first = self._stored[0].passing if self._stored else None
        if described is None and first is None:
            raise JobError(f"no peer says the settings of {printable(self._collection)}")
        config = described.config if described is not None else _config_in(first)
        changed = await open_intents(ground.shelf, cluster=ground.cluster, collection=self._collection)
        manifest = Manifest(
            format=SNAPSHOT_FORMAT,
            id=self._place.id,
            cluster=ground.cluster,
            collection=self._collection,
            state=SetState.INCOMPLETE if refused else judgement.state,
            problems=(*refused, *judgement.problems),
            started_at=self._started_at,
            ended_at=ground.clock.now(),
            exporter_version=__version__,
            job=ground.job,
            versions=self._before.versions | after.versions,
            uuid=self._before.uuid,
            config=as_owned(config, changed),
            payload_schema=described.payload_schema if described is not None else _schema_in(first),
            aliases=self._before.aliases,
            keys=self._before.keys,
            archives=tuple(one.archive for one in taken),
            shards=tuple(shard for shard, _ in counted),
            op_numbers=after.op_numbers,
        )
        return manifest, judgement.moved

    async def _looked_after(self) -> Survey:
        """Look once more, with nothing of what was told before."""
        ground = self._ground
        ground.recent.forget()
        return await look(
            ground.peers,
            self._collection,
            ground.clock,
            ground.limits,
            recent=ground.recent,
            lists_all=False,
        )

    def _is_too_old(self, after: Survey, judgement: Judgement) -> bool:
        """Whether what differs may be from before this backup began, so that another may be the better one.

        Where it was only written to: if that is likelier than while it was taken. Else a collection that is
        written to all the time would always be taken twice.
        """
        before = self._before
        if judgement.moved:
            return before.age_seconds > 0
        took_seconds = self._ground.clock.monotonic() - self._began
        return before.age_seconds > took_seconds and before.op_numbers != after.op_numbers

    async def _counted(self, shard: ShardCopy) -> tuple[ShardCopy, str]:
        """Count what the archive holds where a writer was running, if that can be done here.

        Also return what is wrong, where it should open and does not: "" where nothing is.
        """
        count, limit = self._ground.count, self._ground.limits.count_limit_bytes
        if shard.settled or shard.archive is None or count is None:
            return shard, ""
        archive = next(one.archive for one in self._stored if one.archive.file == shard.archive)
        held = next(held for held in archive.shards if held.shard == shard.shard)
        if held.length > limit:
            return shard, ""
        try:
            with step(self._ground.progress, f"counting shard {shard.shard}", held.length):
                points = await count(self._place.file(archive.file), held, archive.version)
        except BadArchive as error:
            return shard, f"shard {shard.shard} in {archive.file} cannot be opened: {error}"
        except StoreError:
            raise
        except JobError as error:
            log.warning("backup.not_counted", shard=shard.shard, reason=str(error))
            return shard, ""
        return (shard if points is None else replace(shard, points=points, counted=True)), ""

    async def _publish(self, manifest: Manifest) -> None:
        """Make it a set. Its hashes are proven already, for they were compared while it came."""
        shelf, ended_at = self._ground.shelf, manifest.ended_at
        await self._check_files(manifest)
        proof = Proof(
            level=Level.HASHED,
            at=ended_at,
            good=True,
            problems=(),
            by="",
            took_seconds=ended_at - manifest.started_at,
        )
        await shelf.save_proof(manifest, proof)
        await to_its_end(shelf.save_manifest(manifest))
        whole = manifest.state is not SetState.INCOMPLETE
        tell = log.info if whole else log.warning
        tell(
            "backup.taken" if whole else "backup.incomplete",
            qdrant_cluster=manifest.cluster,
            collection=printable(self._collection),
            set_id=manifest.id,
            state=manifest.state.value,
            points=manifest.points,
            size_bytes=manifest.size_bytes,
            took_seconds=round(ended_at - manifest.started_at, 3),
            problems=list(manifest.problems),
        )

    async def _check_files(self, manifest: Manifest) -> None:
        """See that the archives lie beside it: what they lie on may have been taken away meanwhile."""
        for archive in manifest.archives:
            try:
                size = await self._ground.shelf.store.size(self._place.file(archive.file))
            except StoreMissing:
                size = None
            if size != archive.size_bytes:
                raise StoreError(
                    f"{self._ground.shelf.store.name} lost the archive of {printable(archive.peer)} while"
                    f" {printable(self._collection)} was backed up: was it emptied, or taken away?"
                )

    async def _give_up(self) -> None:
        """Leave as little as can be: nothing in the store, and on the servers what the intent says.

        The store first: on a disk that is full, not even the intent could be changed.
        """
        await tried(self._ground.shelf.discard(self._place))
        for label in tuple(self._book.named):
            await tried(self._archiver.delete(self._peer(label)))
        await tried(self._book.close())

    def _peer(self, label: str) -> PeerAt:
        return next(peer for peer in self._ground.peers if peer.label == label)


def _failure(message: str, failed: Sequence[MissingPeer]) -> JobError:
    """Return the error of a backup that got nothing from anybody."""
    denied = bool(failed) and all(one.denied for one in failed)
    return JobDenied(message) if denied else JobError(message)


def _config_in(passing: Passing | None) -> dict[str, Any]:
    """Return the settings as an archive has them: while a peer is dead, no other says them."""
    return {} if passing is None else {key: said for key, said in passing.config.items() if key != "uuid"}


def _schema_in(passing: Passing | None) -> dict[str, Any]:
    return {} if passing is None else schema_of_archive(passing.payload_index)
