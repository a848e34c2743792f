"""Vectors as bytes: 32-bit floats, little endian, each the one that the server holds. Pure.

JSON has the shortest text of a float. Read as a double and cut to a float it is the same again: for all
amounts between 2e-11 and 2e19 no such text lies so near the middle of two floats that the double would be
the middle itself. What is not finite JSON has as null; here it is one NaN, whatever it was.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias, cast

FLOAT_BYTES = 4
INDEX_BYTES = 4


class Sparse(NamedTuple):
    """A sparse vector, ascending by index."""

    indices: bytes  # 32-bit unsigned integers, little endian
    values: bytes


class Multi(NamedTuple):
    """Several vectors of one length in one."""

    rows: int
    values: bytes

    def each(self) -> Iterator[bytes]:
        """Yield row after row."""
        length = len(self.values) // max(self.rows, 1)
        return (self.values[place : place + length] for place in range(0, self.rows * length, length or 1))


Dense: TypeAlias = bytes
Vector: TypeAlias = Dense | Sparse | Multi


def packed(vector: Any) -> dict[str, Vector]:
    """Return all vectors of a point by name, from the shapes of the REST API.

    `vector`: a list of numbers, a list of those, or these and {"indices", "values"} by name; None or {} for
    none. The name of an unnamed one is "". Raises ValueError, TypeError or KeyError where it is none of
    these.
    """
    if vector is None:
        return {}
    named = vector if isinstance(vector, Mapping) else {"": vector}
    return {name: _packed(one) for name, one in named.items()}


def plain(vectors: Mapping[str, Vector]) -> Any:
    """Return vectors as the REST API has them: the unnamed one alone without a name."""
    if len(vectors) == 1 and "" in vectors:
        return _plain(vectors[""])
    return {name: _plain(one) for name, one in vectors.items()}


def is_sound(vector: Vector) -> bool:
    """Whether the lengths fit together."""
    if isinstance(vector, bytes):
        return len(vector) % FLOAT_BYTES == 0
    if isinstance(vector, Sparse):
        return len(vector.indices) == len(vector.values) and len(vector.values) % FLOAT_BYTES == 0
    size = FLOAT_BYTES * vector.rows
    return vector.rows > 0 and len(vector.values) % size == 0


def is_finite(vector: Vector) -> bool:
    """Whether all its numbers are some."""
    values = vector if isinstance(vector, bytes) else vector.values
    return math.isfinite(sum(_floats(values)))  # no sum of doubles that are 32-bit floats overflows


def floats_packed(values: Sequence[float | None]) -> bytes:
    """Return numbers as bytes. Raises ValueError where one is none."""
    known = cast("Sequence[float]", values)
    try:
        if math.isfinite(sum(known)):  # not so where one is NaN or infinite
            return struct.pack(f"<{len(known)}f", *known)
    except TypeError:  # a null, or no number
        pass
    try:
        known = [value if value is not None and math.isfinite(value) else math.nan for value in values]
        return struct.pack(f"<{len(known)}f", *known)
    except (TypeError, struct.error, OverflowError) as error:
        raise ValueError("a vector with something that is no 32-bit float") from error


def _packed(vector: Any) -> Vector:
    if isinstance(vector, Mapping):
        return _sparse_packed(vector["indices"], vector["values"])
    if vector and isinstance(vector[0], Sequence):
        rows = [floats_packed(row) for row in vector]
        if len({len(row) for row in rows}) != 1:
            raise ValueError("a multivector with rows of different lengths")
        return Multi(len(rows), b"".join(rows))
    return floats_packed(vector)


def _sparse_packed(indices: Sequence[int], values: Sequence[float]) -> Sparse:
    if any(one >= other for one, other in pairwise(indices)):
        pairs = sorted(zip(indices, values, strict=True))
        indices, values = [index for index, _ in pairs], [value for _, value in pairs]
    if len(indices) != len(values):
        raise ValueError("a sparse vector with more indices than values, or fewer")
    try:
        return Sparse(struct.pack(f"<{len(indices)}I", *indices), floats_packed(values))
    except struct.error as error:
        raise ValueError("a sparse vector with something that is no 32-bit index") from error


def _plain(vector: Vector) -> Any:
    if isinstance(vector, bytes):
        return list(_floats(vector))
    if isinstance(vector, Sparse):
        count = len(vector.indices) // INDEX_BYTES
        indices = struct.unpack(f"<{count}I", vector.indices)
        return {"indices": list(indices), "values": list(_floats(vector.values))}
    return [list(_floats(row)) for row in vector.each()]


def _floats(values: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(values) // FLOAT_BYTES}f", values)
