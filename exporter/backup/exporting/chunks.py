"""Chunks of an export as they are written, each with all that the manifest says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from exporter.backup.content import ContentHash
from exporter.backup.exporting.records import Header, Point, chunk_writer
from exporter.backup.exporting.vectors import has_holes
from exporter.backup.words import Chunk, Encoding


class ChunkMaker:
    """One chunk on its way. `take` and `end` may run in a thread, one call at a time."""

    def __init__(self, file: str, header: Header, encoding: Encoding) -> None:
        self._file = file
        self._header = header
        self._writer = chunk_writer(header, encoding)
        self._sha256 = hashlib.sha256()
        self._content = ContentHash()
        self._ends: tuple[Point, Point] | None = None
        self.size_bytes = 0
        self.not_finite = 0  # points with a vector in which a number is infinite or none

    @property
    def points(self) -> int:
        """How many it holds so far."""
        return self._content.points

    def take(self, points: Sequence[Point]) -> bytes:
        """Take points in, ascending by id and one at least; return bytes to be stored."""
        for point in points:
            self._content.add_packed(point.id, point.payload, point.vectors)
            if any(map(has_holes, point.vectors.values())):
                self.not_finite += 1
        first = points[0] if self._ends is None else self._ends[0]
        self._ends = first, points[-1]
        return self._counted(self._writer.add(points))

    def end(self) -> bytes:
        """Return the last bytes to be stored."""
        return self._counted(self._writer.finish())

    def chunk(self) -> Chunk:
        """Return what the manifest says of it, after its end."""
        assert self._ends is not None
        return Chunk(
            file=self._file,
            key=self._header.key,
            points=self.points,
            size_bytes=self.size_bytes,
            sha256=self._sha256.hexdigest(),
            first=self._ends[0].id,
            last=self._ends[1].id,
            content=str(self._content),
        )

    def _counted(self, data: bytes) -> bytes:
        self._sha256.update(data)
        self.size_bytes += len(data)
        return data
