"""Points in requests of a size that servers take."""

from __future__ import annotations

import math
import struct

import msgspec

from exporter.backup.exporting.records import Point
from exporter.backup.importing.batches import Batches, halves


def point(number: int, letters: int = 10) -> Point:
    """A point without vectors, of so many letters."""
    return Point(number, {"text": "x" * letters}, {})


def test_a_batch_has_at_most_so_many_points() -> None:
    """And what is left comes at the end."""
    batches = Batches(size_bytes=1 << 20, points=3)

    full = batches.add(point(number) for number in range(7))

    assert [[piece.id for piece in batch] for batch in full] == [[0, 1, 2], [3, 4, 5]]
    assert [[piece.id for piece in batch] for batch in batches.rest()] == [[6]]
    assert batches.rest() == []


def test_a_batch_has_about_so_many_bytes_and_a_larger_point_goes_alone() -> None:
    """The point before it is not held back, and the one after begins anew."""
    batches = Batches(size_bytes=200, points=100)

    full = batches.add([point(0), point(1), point(2, letters=900), point(3)])

    assert [[piece.id for piece in batch] for batch in full] == [[0, 1], [2]]
    assert [piece.id for batch in batches.rest() for piece in batch] == [3]


def test_half_of_a_batch_is_what_was_the_beginning() -> None:
    """Of three the first goes alone."""
    [batch] = Batches(size_bytes=1 << 20, points=3).add(point(number) for number in range(3))

    first, second = halves(batch)

    assert [[piece.id for piece in one] for one in (first, second)] == [[0], [1, 2]]


def test_vectors_with_holes_are_left_out_where_they_are_known_to_be_there() -> None:
    """No request can say what is not finite; the point keeps its other vectors."""
    vectors = {"good": struct.pack("<2f", 1.0, 2.0), "bad": struct.pack("<2f", 1.0, math.nan)}
    batches = Batches(size_bytes=1 << 20, points=1, only_finite=True)

    [[piece]] = batches.add([Point(1, None, vectors)])

    assert msgspec.json.decode(piece.data) == {"id": 1, "payload": None, "vector": {"good": [1.0, 2.0]}}
