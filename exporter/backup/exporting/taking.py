"""One export of one collection: all its points in chunks, and a manifest last.

    look, count, for each shard key (read, chunk, record), look again, count, judge, manifest

Whatever ends it early, also a kill, leaves chunks and a record by which the next run goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from exporter import __version__
from exporter.backup import layout
from exporter.backup.calling import Limits, is_gone, patiently
from exporter.backup.exporting.chunks import ChunkMaker
from exporter.backup.exporting.consistency import Verdict, judged
from exporter.backup.exporting.losses import inexact, losses
from exporter.backup.exporting.reading import PointReader
from exporter.backup.exporting.records import Header, Point
from exporter.backup.exporting.resuming import Begun, begun, is_another
from exporter.backup.finishing import to_its_end, tried
from exporter.backup.progress import Progress, Silent, step
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt, Survey, look
from exporter.backup.taking import SetIncomplete
from exporter.backup.thresholds.intents import as_owned, open_intents
from exporter.backup.words import (
    EXPORT_FORMAT,
    Encoding,
    Export,
    ExportRecord,
    Level,
    Manifest,
    Proof,
    SetKind,
    SetState,
    ShardKey,
)
from exporter.clock import Clock
from exporter.errors import JobDenied, JobError, JobRefused, SourceError, StoreError
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant import keeping
from exporter.qdrant.kept import Description

log = get_logger()

# What is lost with a kill, and what an import sends again: a minute of a fast server.
CHUNK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Ground:
    """What an export works with."""

    collection: str
    cluster: str
    peers: tuple[PeerAt, ...]
    shelf: Shelf
    clock: Clock
    job: str
    encoding: Encoding
    progress: Progress
    limits: Limits
    chunk_bytes: int


async def export(
    collection: str,
    *,
    cluster: str,
    peers: Sequence[PeerAt],
    shelf: Shelf,
    clock: Clock,
    job: str = "",
    encoding: Encoding = Encoding.MSGPACK,
    allow_lossy: bool = False,
    progress: Progress | None = None,
    limits: Limits | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Manifest:
    """Export a collection and return the manifest of the set; goes on where an earlier run was cut off.

    The caller holds the lock of the collection; `peers` are all that the cluster has. Safe to cancel.
    `allow_lossy`: also vectors that the server keeps by turbo. `chunk_bytes`: as stored, about.
    Raises JobRefused for an alias and for what would be lost, JobDenied where the key may not read, StoreFull
    where there is no room, SetIncomplete where points are missing, StoreError, JobError.
    """
    ground = Ground(
        collection=collection,
        cluster=cluster,
        peers=tuple(peers),
        shelf=shelf,
        clock=clock,
        job=job,
        encoding=encoding,
        progress=progress or Silent(),
        limits=limits or Limits(),
        chunk_bytes=chunk_bytes,
    )
    before = await look(ground.peers, collection, clock, ground.limits, lists_all=False)
    described = checked(before, allow_lossy=allow_lossy)
    readers = readers_of(before, ground.peers)
    points = await _counted(before, readers, ground)
    found = await begun(
        before, shelf=shelf, cluster=cluster, encoding=encoding, now=clock.now(), points=points
    )
    manifest = await _Run(ground, before, described, readers, found).taken()
    if manifest.state is SetState.INCOMPLETE:
        why, kept = "; ".join(manifest.problems), f"what there is was kept for a day as {manifest.id}"
        raise SetIncomplete(f"the export of {printable(collection)} is incomplete: {why}; {kept}", manifest)
    return manifest


def checked(survey: Survey, *, allow_lossy: bool) -> Description:
    """Return the settings of what may be exported. Raises JobRefused, JobDenied, JobError: it may not."""
    collection, name = survey.collection, printable(survey.collection)
    if not survey.views:
        reasons = "; ".join(f"{printable(one.label)}: {one.reason}" for one in survey.missing)
        denied = bool(survey.missing) and all(one.denied for one in survey.missing)
        kind = JobDenied if denied else JobError
        raise kind(f"no peer answers, so there is no export of {name}: {reasons}")
    behind = next((view.aliases[collection] for view in survey.views if collection in view.aliases), None)
    if behind is not None:
        raise JobRefused(f"{name} is an alias of {printable(behind)}; export that one, it keeps its aliases")
    if not survey.exists:
        raise JobError(f"there is no collection {name}")
    for shard in survey.shards:
        if not any(one.is_whole for one in shard.replicas):
            raise JobError(f"shard {shard.shard} of {name} has no replica that is Active and loaded")
    if survey.described is None:
        raise JobError(f"no peer says the settings of {name}")
    changed = inexact(survey.described.config)
    if changed and not allow_lossy:
        raise JobRefused(
            f"{', '.join(changed)} of {name} are stored as turbo, and an import would change them; take a"
            " snapshot instead, or say --allow-lossy, in a job allow_lossy: true"
        )
    return survey.described


def readers_of(survey: Survey, peers: Sequence[PeerAt]) -> list[PeerAt]:
    """Return whom to read from: those with the most whole replicas first, and none with one that is not
    loaded, for that one would show nothing. Raises JobError where that leaves nobody."""
    here = {
        view.label: [one for shard in survey.shards if (one := shard.on(view.label)) is not None]
        for view in survey.views
        if view.placement is not None
    }
    fit = [peer for peer in peers if peer.label in here and all(one.loaded for one in here[peer.label])]
    if not fit:
        raise JobError(f"no peer has all its shards of {printable(survey.collection)} loaded")
    return sorted(fit, key=lambda peer: -sum(one.is_whole for one in here[peer.label]))


async def _counted(survey: Survey, readers: Sequence[PeerAt], ground: Ground) -> int | None:
    """Count all points, key by key; None where nobody can. Raises JobError where the collection is gone."""
    found = 0
    for key, shards in _keys(survey):
        count = await _count(key, readers, ground) if shards else 0
        if count is None:
            return None
        found += count
    return found


async def _count(key: ShardKey, readers: Sequence[PeerAt], ground: Ground) -> int | None:
    for peer in readers:
        try:
            asked = keeping.count(ground.collection, key)
            return keeping.read_count(await patiently(peer.courier, asked, ground.limits))
        except SourceError as error:
            if is_gone(error):
                raise JobError(f"{printable(ground.collection)} was deleted meanwhile") from error
            log.warning("points.not_counted", peer=printable(peer.label), reason=str(error))
    return None


def _keys(survey: Survey) -> list[tuple[ShardKey, int]]:
    """Return the shard keys, each with its number of shards; with automatic sharding one, None."""
    if survey.keys:
        return [(one.key, len(one.shards)) for one in survey.keys]
    return [(None, len(survey.shards))]


class _Run:
    """One export, from wherever it begins or goes on."""

    def __init__(
        self,
        ground: Ground,
        before: Survey,
        described: Description,
        readers: Sequence[PeerAt],
        found: Begun,
    ) -> None:
        self._ground = ground
        self._before = before
        self._described = described
        self._readers = readers
        self._record = found.record
        self._names = found.names
        self._number = 0  # of the next chunk
        self._place = layout.place(ground.cluster, ground.collection, found.record.id)

    async def taken(self) -> Manifest:
        """Do it, and return the manifest that was stored."""
        await self._save(self._record)
        for number, (key, shards) in enumerate(_keys(self._before)):
            self._number = 0
            if key not in self._record.done:
                if shards:
                    await self._read(number, key, shards)
                await self._save(replace(self._record, done=(*self._record.done, key)))
        looked = await self._looked_after()
        ground = self._ground
        changed = await open_intents(ground.shelf, cluster=ground.cluster, collection=ground.collection)
        manifest = self._manifest(looked, as_owned(self._described.config, changed))
        await self._publish(manifest)
        await tried(self._ground.shelf.remove_export(self._record.id))  # a set is there: pruning sees it too
        return manifest

    async def _read(self, key_number: int, key: ShardKey, shards: int) -> None:
        """Store the points of a shard key that are not stored yet."""
        ground, stored = self._ground, [one for one in self._record.chunks if one.key == key]
        reader = PointReader(
            self._readers,
            ground.collection,
            limits=ground.limits,
            key=key,
            shards=shards,
            after=stored[-1].last if stored else None,
            keeps_text=ground.encoding is Encoding.JSONL,
        )
        what = "exporting" if key is None else f"exporting shard key {printable(str(key))}"
        with step(ground.progress, what):
            async with aclosing(reader.pages()) as pages:
                page = await anext(pages, None)
                while page is not None:
                    page = await self._chunk(self._next_file(key_number), key, page, pages)

    async def _chunk(
        self, file: str, key: ShardKey, page: list[Point] | None, pages: AsyncGenerator[list[Point], None]
    ) -> list[Point] | None:
        """Store one chunk, from this page on, and return the page behind it; None where there is none."""
        ground = self._ground
        header = Header(self._record.id, ground.collection, key, len(self._record.chunks))
        maker = ChunkMaker(file, header, ground.encoding)
        done_bytes = sum(chunk.size_bytes for chunk in self._record.chunks if chunk.key == key)
        async with ground.shelf.store.write(self._place.file(file)) as writing:
            while page is not None:
                data = await asyncio.to_thread(maker.take, page)
                await writing.write(data)
                ground.progress.advance(done_bytes + maker.size_bytes)
                if maker.size_bytes >= ground.chunk_bytes:
                    break  # stored before the next page is waited for: that one may never come
                page = await anext(pages, None)
            await writing.write(await asyncio.to_thread(maker.end))
            await writing.publish()
        record = self._record
        not_finite = record.not_finite + maker.not_finite
        await self._save(replace(record, chunks=(*record.chunks, maker.chunk()), not_finite=not_finite))
        return None if page is None else await anext(pages, None)

    def _next_file(self, key_number: int) -> str:
        """Return a name that no chunk has or had: what a kill left may yet arrive in a bucket."""
        while (file := layout.chunk_file(key_number, self._number, self._ground.encoding)) in self._names:
            self._number += 1
        self._number += 1
        return file

    async def _save(self, record: ExportRecord) -> None:
        await self._ground.shelf.save_export(record)
        self._record = record

    async def _looked_after(self) -> tuple[Survey, int | None]:
        """Look and count once more. Raises JobError where the collection is another, or gone."""
        ground, name = self._ground, printable(self._ground.collection)
        after = await look(ground.peers, ground.collection, ground.clock, ground.limits, lists_all=False)
        if not after.views:
            raise JobError(
                f"no peer answers after the last point of {name} was read; the next run goes on here"
            )
        if not after.exists or is_another(self._record, after):
            raise JobError(f"{name} was deleted while it was exported, or made anew")
        return after, await _counted(after, self._readers, ground)

    def _manifest(self, looked: tuple[Survey, int | None], config: dict[str, Any]) -> Manifest:
        (after, points_after), ground, record = looked, self._ground, self._record
        points = sum(chunk.points for chunk in record.chunks)
        verdict = judged(record, after, points=points, points_after=points_after)
        state, problems = _state(verdict, self._before, after)
        return Manifest(
            format=EXPORT_FORMAT,
            id=record.id,
            cluster=ground.cluster,
            collection=ground.collection,
            state=state,
            problems=problems,
            started_at=record.opened_at,
            ended_at=ground.clock.now(),
            exporter_version=__version__,
            job=ground.job,
            versions=record.versions | self._before.versions | after.versions,
            uuid=record.uuid,
            config=config,
            payload_schema=self._described.payload_schema,
            aliases=self._before.aliases,
            keys=self._before.keys,
            archives=(),
            shards=(),
            op_numbers=after.op_numbers,
            kind=SetKind.EXPORT,
            chunks=record.chunks,
            export=Export(
                encoding=record.encoding,
                consistency=verdict.consistency,
                reasons=verdict.reasons,
                losses=losses(config, record.not_finite),
                points_before=record.points_before,
                points_after=points_after,
                not_finite=record.not_finite,
            ),
        )

    async def _publish(self, manifest: Manifest) -> None:
        """Make it a set. Its hashes are proven already, for they were made of what was stored."""
        shelf, ended_at = self._ground.shelf, manifest.ended_at
        await self._check_files(manifest)
        took_seconds = ended_at - manifest.started_at
        proof = Proof(
            level=Level.HASHED, at=ended_at, good=True, problems=(), by="", took_seconds=took_seconds
        )
        await shelf.save_proof(manifest, proof)
        await to_its_end(shelf.save_manifest(manifest))
        whole = manifest.state is not SetState.INCOMPLETE
        assert manifest.export is not None
        tell = log.info if whole else log.warning
        tell(
            "backup.taken" if whole else "backup.incomplete",
            qdrant_cluster=manifest.cluster,
            collection=printable(manifest.collection),
            set_id=manifest.id,
            kind=manifest.kind.value,
            state=manifest.state.value,
            consistency=manifest.export.consistency.value,
            points=manifest.points,
            size_bytes=manifest.size_bytes,
            took_seconds=round(took_seconds, 3),
            problems=list(manifest.problems),
        )

    async def _check_files(self, manifest: Manifest) -> None:
        """See that the chunks lie beside it: what they lie on may have been taken away meanwhile."""
        store = self._ground.shelf.store
        sizes = {stored.path: stored.size_bytes async for stored in store.list(self._place.folder)}
        if any(sizes.get(self._place.file(one.file)) != one.size_bytes for one in manifest.chunks):
            raise StoreError(
                f"{store.name} lost a chunk while {printable(manifest.collection)} was exported: was it"
                " emptied, or taken away?"
            )


def _state(verdict: Verdict, before: Survey, after: Survey) -> tuple[SetState, tuple[str, ...]]:
    """Return what the set is worth, and why it is not worth more."""
    absent = {one.label: one.reason for survey in (before, after) for one in survey.missing}
    problems = tuple(f"no answer of {printable(label)}: {reason}" for label, reason in absent.items())
    if verdict.missing:
        return SetState.INCOMPLETE, (verdict.missing, *problems)
    return (SetState.DEGRADED if problems else SetState.COMPLETE), problems
