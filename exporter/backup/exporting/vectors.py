"""Vectors as bytes: 32-bit floats, little endian, each the one that the server holds. Pure.

JSON has the shortest text of a float. Read as a double and cut to a float it is the same again: for all
amounts between 2e-11 and 2e19 no such text lies so near the middle of two floats that the double would be
the middle itself. What is not finite JSON has as null; here it is one NaN, whatever it was.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias, cast

FLOAT_BYTES = 4
HOLE = struct.pack("<f", math.nan)
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
Floats: TypeAlias = Callable[[Sequence[float | None]], bytes]


def packed(vector: Any, floats: Floats | None = None) -> dict[str, Vector]:
    """Return all vectors of a point by name, from the shapes of the REST API.

    `vector`: a list of numbers, a list of those, or these and {"indices", "values"} by name; None or {} for
    none. The name of an unnamed one is "". `floats` packs numbers, as JSON has them where nothing else is
    said. Raises ValueError, TypeError or KeyError where it is none of these.
    """
    if vector is None:
        return {}
    named = vector if isinstance(vector, Mapping) else {"": vector}
    return {name: _packed(one, floats or of_json) for name, one in named.items()}


def plain(vectors: Mapping[str, Vector]) -> Any:
    """Return vectors as the REST API has them: the unnamed one alone without a name, unless it is sparse."""
    if len(vectors) == 1 and "" in vectors and not isinstance(vectors[""], Sparse):
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


def has_holes(vector: Vector) -> bool:
    """Whether JSON had a null for one of its numbers."""
    values = vector if isinstance(vector, bytes) else vector.values
    # quick to look for, and nearly never found: where it is, it may lie across two numbers
    return HOLE in values and not math.isfinite(sum(_floats(values)))


def of_json(values: Sequence[float | None]) -> bytes:
    """Pack the numbers of a vector; JSON has those that are not finite as null. Raises ValueError."""
    try:
        return _layout(len(values)).pack(*values)
    except (struct.error, OverflowError):  # a null, for one
        return _with_holes(values)


def of_floats(values: Sequence[float | None]) -> bytes:
    """Pack the numbers of a vector, also those that are not finite. Raises ValueError."""
    known = cast("Sequence[float]", values)
    try:
        is_finite = math.isfinite(sum(known))
    except TypeError:  # a null
        is_finite = False
    return of_json(known) if is_finite else _with_holes(values)


def _with_holes(values: Sequence[float | None]) -> bytes:
    try:
        known = [value if value is not None and math.isfinite(value) else math.nan for value in values]
        return struct.pack(f"<{len(known)}f", *known)
    except (TypeError, struct.error, OverflowError) as error:
        raise ValueError("a vector with something that is no 32-bit float") from error


def _packed(vector: Any, floats: Floats) -> Vector:
    if isinstance(vector, list) and vector and isinstance(vector[0], float):  # nearly all, and quickly known
        return floats(vector)
    if isinstance(vector, Mapping):
        return _sparse_packed(vector["indices"], vector["values"], floats)
    if vector and isinstance(vector[0], Sequence):
        rows = [floats(row) for row in vector]
        if len({len(row) for row in rows}) != 1:
            raise ValueError("a multivector with rows of different lengths")
        return Multi(len(rows), b"".join(rows))
    return floats(vector)


def _sparse_packed(indices: Sequence[int], values: Sequence[float], floats: Floats) -> Sparse:
    if len(indices) != len(values):
        raise ValueError("a sparse vector with more indices than values, or fewer")
    if any(one >= other for one, other in pairwise(indices)):
        pairs = sorted(zip(indices, values, strict=True))
        indices, values = [index for index, _ in pairs], [value for _, value in pairs]
    try:
        return Sparse(struct.pack(f"<{len(indices)}I", *indices), floats(values))
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


@lru_cache(maxsize=64)  # of a collection's few lengths
def _layout(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")


def _floats(values: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(values) // FLOAT_BYTES}f", values)
