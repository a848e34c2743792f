"""The points of a stored export, chunk by chunk, for whoever imports or verifies it."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import AsyncGenerator, Iterator, Sequence

from exporter.backup.content import ContentHash, difference
from exporter.backup.exporting.records import BadChunk, ChunkReader, Point, PointId, order_of
from exporter.backup.shelf import place_of
from exporter.backup.storage.contract import Store
from exporter.backup.words import Chunk, Manifest
from exporter.errors import JobError
from exporter.printable import printable


async def read_points(store: Store, manifest: Manifest, chunk: Chunk) -> AsyncGenerator[list[Point], None]:
    """Yield the points of a chunk, ascending by id, in lists of about a megabyte. Close it when left early.

    What was yielded is proven only once all was: at the end its SHA-256, count and content are compared with
    the manifest's. Raises BadChunk where the chunk is damaged or another one; StoreError.
    """
    path = place_of(manifest).file(chunk.file)
    reading = _Reading(manifest, chunk)
    async with store.read(path) as pieces:
        async for piece in pieces:
            batches = reading.feed(piece)
            while points := await asyncio.to_thread(next, batches, None):
                yield points
    await asyncio.to_thread(reading.finish)


class _Reading:
    """One chunk as it is read."""

    def __init__(self, manifest: Manifest, chunk: Chunk) -> None:
        if manifest.export is None:
            raise JobError(f"backup {manifest.id} is no export: it has no points to read")
        self._manifest = manifest
        self._chunk = chunk
        self._where = f"{chunk.file} of {manifest.id}"
        self._sha256 = hashlib.sha256()
        self._content = ContentHash()
        self._reader = ChunkReader(manifest.export.encoding, self._where)
        self._first: PointId | None = None
        self._last: PointId | None = None
        self._place: tuple[bool, int] | None = None  # of the last id

    def feed(self, data: bytes) -> Iterator[list[Point]]:
        """Take the next bytes of the file, and yield their points. Raises BadChunk."""
        self._sha256.update(data)
        for points in self._reader.feed(data):
            self._check_header()
            self._take(points)
            yield points

    def finish(self) -> None:
        """Compare all that was read with the manifest. Raises BadChunk."""
        self._reader.finish()
        self._check_header()
        chunk = self._chunk
        if self._sha256.hexdigest() != chunk.sha256:
            raise self._bad("its SHA-256 is not the manifest's")
        if self._content.points != chunk.points:
            raise self._bad(f"it holds {self._content.points} points, and the manifest says {chunk.points}")
        if (self._first, self._last) != (chunk.first, chunk.last):
            raise self._bad("it begins or ends at another id than the manifest says")
        if difference(str(self._content), chunk.content, vectors=True):
            raise self._bad("its points are others than the manifest says")

    def _take(self, points: Sequence[Point]) -> None:
        for point in points:
            try:
                place = order_of(point.id)
                self._content.add_packed(point.id, point.payload, point.vectors)
            except (ValueError, struct.error) as error:  # no UUID, or a number of more than 64 bits
                raise self._bad(f"after {self._content.points} points comes what is no id") from error
            if self._place is not None and place <= self._place:
                raise self._bad(f"its ids do not ascend at {point.id}")
            self._place = place
            self._last = point.id
        self._first = points[0].id if self._first is None else self._first

    def _check_header(self) -> None:
        """See that it is this chunk of this set: a file may have been put in the place of another."""
        header, manifest = self._reader.header, self._manifest
        if header is None:
            return
        said = (header.set, header.collection, header.key)
        if said != (manifest.id, manifest.collection, self._chunk.key):
            raise self._bad("by its own word it is a chunk of another set, collection or shard key")

    def _bad(self, what: str) -> BadChunk:
        return BadChunk(f"{printable(self._where)} is damaged: {what}")
