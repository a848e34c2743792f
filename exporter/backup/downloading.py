"""A snapshot from a peer into the store: streamed, resumed, hashed and looked through as it passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from exporter.backup.archive.walk import BadArchive
from exporter.backup.calling import Limits, may_have_been_done, told_to_wait
from exporter.backup.passing import Passing
from exporter.backup.progress import Progress
from exporter.backup.storage.contract import Store
from exporter.backup.survey import PeerAt
from exporter.errors import BadPayload, JobError, SourceError, SourceRefused
from exporter.qdrant import keeping
from exporter.qdrant.download import Download
from exporter.qdrant.kept import SnapshotDescription

# Hashed and written at a time, beside the reading of the next: large enough that a thread's turn costs
# nothing, small enough that a few of them are no memory.
BLOCK_BYTES = 2 << 20
# What came out wrong is fetched once more from its beginning: a disk or a proxy may have had a bad moment.
FETCHES = 2
PARTIAL = 206
RANGE_NOT_SATISFIABLE = 416


class WrongBytes(JobError):
    """What came is not what the server has: another hash or size, or no archive."""


class _Changed(Exception):
    """The server began anew in the middle: what we have belongs to something else."""


@dataclass(frozen=True, slots=True)
class Source:
    """A snapshot on a peer."""

    peer: PeerAt
    collection: str
    snapshot: SnapshotDescription

    @property
    def path(self) -> str:
        """Its path on the server."""
        return keeping.snapshot_path(self.collection, self.snapshot.name)


async def fetch(source: Source, store: Store, path: str, *, limits: Limits, progress: Progress) -> Passing:
    """Store a snapshot under a path, and return what was learnt of it; otherwise nothing of it stays.

    Raises SourceError where the server did not give it, WrongBytes, BadArchive, StoreError.
    """
    wrong = 0
    for _ in range(limits.breaks):
        try:
            return await _fetch_once(source, store, path, limits, progress)
        except _Changed:
            continue
        except (WrongBytes, BadArchive):
            wrong += 1
            if wrong == FETCHES:
                raise
    raise WrongBytes(
        f"the download broke {limits.breaks} times, and this server begins at the first byte again"
    )


async def _fetch_once(source: Source, store: Store, path: str, limits: Limits, progress: Progress) -> Passing:
    passing = Passing()
    async with store.write(path) as writing, aclosing(_ahead(_blocks(source, limits))) as blocks:
        async for block in blocks:
            # hashing lets go of the interpreter's lock: the next bytes come meanwhile
            await asyncio.gather(asyncio.to_thread(passing.feed, block), writing.write(block))
            progress.advance(passing.size_bytes)
        passing.finish()
        _check(source.snapshot, passing)
        await writing.publish()
    return passing


def _check(snapshot: SnapshotDescription, passing: Passing) -> None:
    if snapshot.checksum is not None and passing.sha256 != snapshot.checksum.lower():
        raise WrongBytes(
            f"what came has not the SHA-256 that the server says: {passing.sha256} is not {snapshot.checksum}"
        )
    _ = passing.shards  # raises where one could not be cut out


async def _ahead(blocks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield block after block, the next one being read meanwhile."""
    coming = asyncio.ensure_future(anext(blocks, b""))
    try:
        while block := await coming:
            coming = asyncio.ensure_future(anext(blocks, b""))
            yield block
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await blocks.aclose()


async def _blocks(source: Source, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a snapshot, going on where a connection broke. Raises SourceError, _Changed."""
    body = _Body(source)
    idle = 0
    while body.done < source.snapshot.size:
        before = body.done
        try:
            async with source.peer.courier.stream(
                source.path,
                endpoint=keeping.SNAPSHOT,
                stall_seconds=limits.stall_seconds,
                headers=body.headers(),
            ) as download:
                body.check_head(download)
                async for chunk in download:
                    block = body.take(chunk)
                    if block:
                        yield block
            body.check_end()
        except SourceError as error:
            if isinstance(error, SourceRefused) and error.status == RANGE_NOT_SATISFIABLE:
                raise _Changed from error
            idle = 0 if body.done > before else idle + 1
            await asyncio.sleep(_pause(error, idle, limits))
            if body.etag is None and body.done:
                raise _Changed from error
    yield body.rest()


def _pause(error: SourceError, idle: int, limits: Limits) -> float:
    """Return the seconds before a download goes on. Raises the failure where that has no sense."""
    told = told_to_wait(error, limits)
    if idle >= limits.breaks or (told is None and not may_have_been_done(error)):
        raise error
    return limits.wait_seconds * 2 ** min(idle, 5) if told is None else told


class _Body:
    """How far a download is, over all its connections."""

    def __init__(self, source: Source) -> None:
        self.done = 0  # bytes that came
        self.etag: str | None = None
        self._size_bytes = source.snapshot.size
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def headers(self) -> dict[str, str]:
        """Ask for what is left, and for all where it is not the same file any more."""
        if self.etag is None or not self.done:
            return {}
        return {"Range": f"bytes={self.done}-", "If-Range": self.etag}

    def check_head(self, download: Download) -> None:
        """See that what comes goes on where we are. Raises BadPayload, _Changed."""
        coding = download.headers.get("Content-Encoding", "identity")
        if coding != "identity":
            raise BadPayload(keeping.SNAPSHOT, f"compressed as {coding[:20]!r} against our wish: a proxy?")
        etag = download.headers.get("ETag")
        if not self.done:
            if download.status == PARTIAL:
                raise BadPayload(keeping.SNAPSHOT, "a part where all was asked for")
            # a weak one does not promise the same bytes
            self.etag = None if etag is None or etag.startswith("W/") else etag
            return
        begins = download.headers.get("Content-Range", "").startswith(f"bytes {self.done}-")
        # real servers heed no If-Range: without the ETag nobody knows whose bytes these are
        if download.status != PARTIAL or not begins or etag != self.etag:
            raise _Changed

    def take(self, chunk: bytes) -> bytes:
        """Take what came; return a block once there is enough. Raises WrongBytes where it is too much."""
        self.done += len(chunk)
        if self.done > self._size_bytes:
            raise WrongBytes(f"the server says {self._size_bytes} bytes, and more came")
        self._waiting.append(chunk)
        self._waiting_bytes += len(chunk)
        return self.rest() if self._waiting_bytes >= BLOCK_BYTES else b""

    def check_end(self) -> None:
        """See that a body which ended as it was announced is all of it. Raises WrongBytes."""
        if self.done < self._size_bytes:
            raise WrongBytes(f"the server says {self._size_bytes} bytes, and {self.done} came")

    def rest(self) -> bytes:
        """Return what was taken and not yet returned."""
        block = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        return block
