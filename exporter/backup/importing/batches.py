"""Points gathered into requests of a size that servers take. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from exporter.backup.exporting.records import Point, PointId
from exporter.backup.importing.comparing import finite


@dataclass(frozen=True, slots=True)
class Piece:
    """A point as JSON."""

    id: PointId
    data: bytes


Batch = tuple[Piece, ...]


class Batches:
    """Makes batches of at most so many points and about so many bytes, in the order of the points.

    A point that is larger than a batch goes alone. `only_finite`: vectors with a number that JSON cannot say
    are left out, of points that keep their others.
    """

    def __init__(self, *, size_bytes: int, points: int, only_finite: bool = False) -> None:
        self._size_bytes = size_bytes
        self._points = points
        self._only_finite = only_finite
        self._held: list[Piece] = []
        self._held_bytes = 0

    def add(self, points: Iterable[Point]) -> list[Batch]:
        """Take points in and return the batches that are full by now."""
        return list(self._full(points))

    def rest(self) -> list[Batch]:
        """Return what is left, as one batch or none."""
        return [self._taken()] if self._held else []

    def _full(self, points: Iterable[Point]) -> Iterator[Batch]:
        for point in points:
            data = msgspec.json.encode(self._writable(point).plain())
            if self._held and self._held_bytes + len(data) > self._size_bytes:
                yield self._taken()
            self._held.append(Piece(point.id, data))
            self._held_bytes += len(data)
            if len(self._held) >= self._points:
                yield self._taken()

    def _writable(self, point: Point) -> Point:
        return Point(point.id, point.payload, finite(point.vectors)) if self._only_finite else point

    def _taken(self) -> Batch:
        batch, self._held, self._held_bytes = tuple(self._held), [], 0
        return batch


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """Cut a batch of two or more in two."""
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]
