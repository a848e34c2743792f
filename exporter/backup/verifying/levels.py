"""Proves a set, up to a level: its files, their hashes, what is read, the engine or a server finds in them.

An export is read here, point by point, and imported to a server at the highest level.

A set that is bad is a proof that says so. What says nothing of the set, such as a store that cannot be
read, is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from exporter.backup.archive.engine import Engine, EngineCannot, OpenedShard
from exporter.backup.archive.shard_tar import shard_tar, shard_tar_size
from exporter.backup.archive.walk import BadArchive
from exporter.backup.passing import Passing
from exporter.backup.progress import Progress, Silent, step
from exporter.backup.shelf import Shelf, place_of
from exporter.backup.verifying.chunks import chunk_problems, decoded, hash_problems
from exporter.backup.verifying.findings import (
    Copy,
    Findings,
    content_problem,
    copies_of,
    judged,
    layout_problems,
    whole_content,
)
from exporter.backup.words import Archive, ArchivedShard, Chunk, Level, Manifest, Proof, SetKind, StoredSet
from exporter.clock import Clock
from exporter.errors import JobError, StoreMissing, StoreShort
from exporter.logs import get_logger
from exporter.printable import printable

log = get_logger()


class ServerProof(Protocol):
    """Proves a set by restoring it to a server: `served.py`."""

    async def prove(self, stored: StoredSet) -> Findings:
        """Restore or import, compare, remove. Raises JobError where that says nothing of the set."""
        ...


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading the archives whole came to."""

    problems: tuple[str, ...]
    not_active: dict[str, frozenset[int]]  # by archive: shards whose replica was not Active


class Verifier:
    """Proves sets of one store.

    `engine` None: archives are opened by restoring to `served` only. `served` None: what the engine cannot
    open is not proven.
    """

    def __init__(
        self,
        *,
        shelf: Shelf,
        clock: Clock,
        engine: Engine | None = None,
        served: ServerProof | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._shelf = shelf
        self._store = shelf.store
        self._clock = clock
        self._engine = engine
        self._served = served
        self._progress = progress or Silent()

    async def prove(self, stored: StoredSet, level: Level) -> Proof:
        """Prove a set at a level and all below it, and return the proof, which the caller keeps.

        Raises StoreError where the store cannot be read, EngineCannot where nothing here can open the set,
        JobError where it was removed meanwhile or a server failed.
        """
        began = self._clock.monotonic()
        found = await self._found(stored, level)
        if found.problems and not await self._is_there(stored.manifest):
            raise JobError(f"backup {stored.manifest.id} was removed while it was verified")
        took = self._clock.monotonic() - began
        log.info(
            "verify.finished", qdrant_cluster=stored.manifest.cluster,
            collection=printable(stored.manifest.collection), set_id=stored.manifest.id,
            proof_level=level.value, good=not found.problems, by=found.by, took_seconds=round(took, 3),
            problems=list(found.problems),
        )  # fmt: skip
        return Proof(
            level=level,
            at=self._clock.now(),
            good=not found.problems,
            problems=found.problems,
            by=found.by,
            took_seconds=took,
            points=dict(found.points),
            content=found.content,
        )

    async def count(self, path: str, shard: ArchivedShard, version: str) -> int | None:
        """Count the points of a shard in an archive of the store; None where the engine cannot open it.

        Raises StoreError, and BadArchive where the engine should open it and does not.
        """
        if self._engine is None:
            return None
        try:
            return (await self._opened(self._engine, path, shard, version, deep=False)).points
        except EngineCannot as error:
            log.debug("engine.cannot", reason=str(error))
            return None

    async def _found(self, stored: StoredSet, level: Level) -> Findings:
        problems = [*layout_problems(stored.manifest), *chunk_problems(stored.manifest)]
        problems += await self._sizes(stored.manifest, level)
        if problems or level < Level.HASHED:
            return Findings("", tuple(problems))
        if stored.manifest.kind is SetKind.EXPORT:
            return await self._found_in_chunks(stored, level)
        read = await self._read(stored.manifest, level)
        if read.problems or level < Level.OPENED:
            return Findings("", read.problems)
        found = await self._looked_into(stored, level, read)
        problem = content_problem(stored, found.content)
        if problem is not None:
            return Findings(found.by, (*found.problems, problem), found.points, found.content)
        return found

    # --- levels 0 to 2 -----------------------------------------------------------------------------

    async def _sizes(self, manifest: Manifest, level: Level) -> list[str]:
        problems = []
        files: tuple[Archive | Chunk, ...] = (*manifest.archives, *manifest.chunks)
        for part in files:
            try:
                size = await self._store.size(place_of(manifest).file(part.file))
            except StoreMissing:
                problems.append(f"{part.file} is missing")
                continue
            if level >= Level.SIZED and size != part.size_bytes:
                problems.append(f"{part.file} has {size:,} bytes, and the manifest says {part.size_bytes:,}")
        return problems

    async def _read(self, manifest: Manifest, level: Level) -> _Read:
        """Read every archive whole, once: its hash, and what a walk through it finds."""
        problems: list[str] = []
        not_active: dict[str, frozenset[int]] = {}
        for archive in manifest.archives:
            passing = Passing()
            with step(self._progress, f"read {archive.file}", archive.size_bytes):
                broken = await self._passed(place_of(manifest).file(archive.file), passing)
            if isinstance(broken, StoreMissing | StoreShort):
                problems.append(f"{archive.file} cannot be read to its end")
            elif passing.sha256 != archive.sha256:
                problems.append(f"{archive.file} is damaged: its SHA-256 is not the manifest's")
            elif level >= Level.OPENED:
                problems += _walk_problems(archive, passing, broken)
                not_active[archive.file] = passing.not_active
        return _Read(tuple(problems), not_active)

    async def _passed(self, path: str, passing: Passing) -> JobError | None:
        """Let an archive pass, to its end also where it is found to be broken, for the hash tells more."""
        broken: JobError | None = None
        done = 0
        try:
            async with self._store.read(path) as chunks:
                async for chunk in chunks:
                    try:
                        await asyncio.to_thread(passing.feed, chunk)
                    except BadArchive as error:
                        broken = broken or error
                    done += len(chunk)
                    self._progress.advance(done)
            passing.finish()
        except (StoreMissing, StoreShort, BadArchive) as error:
            return broken or error
        return broken

    async def _is_there(self, manifest: Manifest) -> bool:
        try:
            await self._store.size(place_of(manifest).manifest)
        except StoreMissing:
            return False
        return True

    # --- exports -----------------------------------------------------------------------------------

    async def _found_in_chunks(self, stored: StoredSet, level: Level) -> Findings:
        """Read the chunks, decode them, import them: each level has all below it. Raises EngineCannot."""
        manifest = stored.manifest
        if level < Level.OPENED:
            return Findings("", tuple(await hash_problems(self._store, manifest, self._progress)))
        if level >= Level.RESTORED and self._served is None:
            raise EngineCannot(
                f"backup {manifest.id} is an export, which is proven further by an import: set"
                " backup.verify.target to another Qdrant"
            )
        read = await decoded(self._store, manifest, self._progress)
        if read.problems or level < Level.RESTORED or self._served is None:
            return read
        imported = await self._served.prove(stored)
        return Findings(imported.by, imported.problems, read.points, read.content)

    # --- levels 3 and 4 of snapshots ---------------------------------------------------------------

    async def _looked_into(self, stored: StoredSet, level: Level, read: _Read) -> Findings:
        """Open the archives, by the engine where it can, else by a server. Raises EngineCannot."""
        cannot = EngineCannot("no engine is here; pip install 'qdrant-exporter[edge]' brings one")
        if self._engine is not None:
            try:
                return await self._by_engine(self._engine, stored.manifest, level, read)
            except EngineCannot as error:
                cannot = error
        if self._served is None:
            raise EngineCannot(
                f"backup {stored.manifest.id} cannot be opened here: {cannot}. To restore it to another"
                " Qdrant instead, set backup.verify.target"
            ) from cannot
        log.info("verify.by_server", set_id=stored.manifest.id, reason=str(cannot))
        return await self._served.prove(stored)

    async def _by_engine(self, engine: Engine, manifest: Manifest, level: Level, read: _Read) -> Findings:
        copies = copies_of(manifest, read.not_active)
        for copy in copies:
            engine.check(copy.archive.version)  # before the first is unpacked
        opened: list[tuple[Copy, OpenedShard]] = []
        problems: list[str] = []
        for copy in copies:
            path = place_of(manifest).file(copy.archive.file)
            deep = level >= Level.RESTORED
            try:
                with step(self._progress, f"open {copy.words}", copy.held.length):
                    shard = await self._opened(engine, path, copy.held, copy.archive.version, deep=deep)
            except (BadArchive, StoreMissing, StoreShort) as error:
                problems.append(f"{copy.words}: {error}")
            else:
                opened.append((copy, shard))
        points = {str(copy.held.shard): shard.points for copy, shard in opened if copy.counts}
        return Findings(
            by="engine",
            problems=(*problems, *judged(manifest, opened, level)),
            points=dict(sorted(points.items(), key=lambda found: int(found[0]))),
            content=whole_content(manifest, opened),
        )

    async def _opened(
        self, engine: Engine, path: str, held: ArchivedShard, version: str, *, deep: bool
    ) -> OpenedShard:
        async with self._store.read(path, offset=held.offset, length=held.length) as chunks:
            tar = shard_tar(_told(chunks, self._progress.advance), held.shard)
            return await engine.open(tar, size_bytes=shard_tar_size(held.length), version=version, deep=deep)


def _walk_problems(archive: Archive, passing: Passing, broken: JobError | None) -> list[str]:
    """Hold what a walk found against what the manifest says of the archive."""
    if broken is not None:
        return [f"{archive.file}: {broken}"]
    try:
        shards = passing.shards
    except BadArchive as error:
        return [f"{archive.file}: {error}"]
    held = f"{archive.file} does not hold its shards where the manifest says"
    return [] if shards == archive.shards else [held]


async def _told(chunks: AsyncIterator[bytes], advance: Callable[[int], None]) -> AsyncIterator[bytes]:
    """Pass chunks on, and say how far it is."""
    done = 0
    async for chunk in chunks:
        yield chunk
        done += len(chunk)
        advance(done)
