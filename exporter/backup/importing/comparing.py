"""Points compared number by number, where their bits are not all the same. Pure but for what it notes.

A vector that is compared by cosine is made one of length 1 when it is written. One that is of that length
already stays as it is, and of which length it is another processor may see otherwise by the last bit; half
precision never has that length to the bit. And a server reads the numbers of payloads from JSON not to the
last bit: of doubles with any exponent 3 in 100 are others after each writing, of usual ones none (seen on
1.18.3). So such numbers may come out a little different each time.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from exporter.backup.exporting.losses import TURBO
from exporter.backup.exporting.records import Point, Said
from exporter.backup.exporting.vectors import FLOAT_BYTES, Multi, Sparse, Vector, has_holes
from exporter.errors import JobError
from exporter.printable import printable

COSINE = "Cosine"
# A few ulps of a double: what a server's reading of JSON makes of a number is two away at most.
PAYLOAD_TOLERANCE = 1e-14


class Tolerance(NamedTuple):
    """By how much a number of a vector may differ."""

    part: float  # of the number
    least: float  # or by so much, where that is more: the smallest numbers have few digits


EXACT = Tolerance(0.0, 0.0)
# An ulp of a float is 1.2e-7 of it at most, and a length that is a sum of thousands adds some.
COSINE_FLOAT = Tolerance(2e-6, 1e-43)
# An ulp of half precision is 1e-3 of it at most, and 6e-8 at the least; rounding may go one further.
COSINE_HALF = Tolerance(2e-3, 1.2e-7)
# Turbo datatypes change numbers anew each time they are written: only where a vector points to is compared.
ROUGH = Tolerance(math.inf, math.inf)
# The least cosine of what was written and what is read: turbo4 moves a vector by 0.31 of its length at most,
# which is 0.95, seen of vectors of 1 to 200 numbers (qdrant-edge-py 0.9.0). Of others it is about 0.
ROUGH_COSINE = 0.8


def tolerances(config: Mapping[str, Any]) -> dict[str, Tolerance]:
    """Return by how much the numbers of each vector may differ, by its name, where they may at all."""
    vectors = (config.get("params") or {}).get("vectors") or {}
    # a vector may be called "size"
    named = {"": vectors} if isinstance(vectors.get("size"), int) else vectors
    found = {name: _tolerance(settings) for name, settings in named.items() if isinstance(settings, dict)}
    return {name: tolerance for name, tolerance in found.items() if tolerance is not EXACT}


class Comparison:
    """Compares points with what a server shows of them, and notes what is not the same to the bit."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._allowed = tolerances(config)
        self.rounded: set[str] = set()  # for people: what differs by as little as it may

    def other(self, points: Sequence[Point], said: Sequence[Said]) -> str:
        """Name the first point that is another on the server, which `said` so; "" where none is.

        Vectors with numbers that are not finite are not there, for no request can write them. Raises JobError
        where an answer cannot be read.
        """
        try:
            there = {one.id: one.point() for one in said}
        except ValueError as error:
            raise JobError(f"a point that was read back cannot be understood: {error}") from error
        return next((what for point in points if (what := self._other(point, there.get(point.id)))), "")

    def _other(self, point: Point, held: Point | None) -> str:
        wanted = finite(point.vectors)
        if held is None or held.vectors.keys() != wanted.keys():
            return f"point {point.id}"
        if not _is_near_value(point.payload or {}, held.payload or {}):
            return f"the payload of point {point.id}"
        if point.payload != held.payload:
            self.rounded.add("payloads")
        for name, vector in wanted.items():
            if vector == held.vectors[name]:
                continue
            if not _is_near(vector, held.vectors[name], self._allowed.get(name, EXACT)):
                return (
                    f"the vector {printable(name)} of point {point.id}"
                    if name
                    else f"the vector of point {point.id}"
                )
            self.rounded.add(f"vectors {printable(name)}" if name else "vectors")
        return ""


def finite(vectors: Mapping[str, Vector]) -> dict[str, Vector]:
    """Return the vectors without those of which a number is not finite."""
    return {name: vector for name, vector in vectors.items() if not has_holes(vector)}


def _tolerance(settings: Mapping[str, Any]) -> Tolerance:
    datatype = str(settings.get("datatype") or "").lower()
    if datatype.startswith(TURBO):
        return ROUGH
    if settings.get("distance") != COSINE:
        return EXACT
    return COSINE_HALF if datatype == "float16" else COSINE_FLOAT


def _is_near_value(one: Any, other: Any) -> bool:
    """Whether two values of payloads are the same, but for the last bits of a number."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_near_value(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_is_near_value, one, other))
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=PAYLOAD_TOLERANCE)
    return bool(one == other)


def _is_near(one: Vector, other: Vector, tolerance: Tolerance) -> bool:
    if one == other:
        return True
    if type(one) is not type(other) or isinstance(one, Sparse):
        return False
    if isinstance(one, Multi) and isinstance(other, Multi):
        return one.rows == other.rows and _are_near(one.values, other.values, tolerance)
    return isinstance(one, bytes) and isinstance(other, bytes) and _are_near(one, other, tolerance)


def _are_near(one: bytes, other: bytes, tolerance: Tolerance) -> bool:
    if len(one) != len(other):
        return False
    wanted, held = _floats(one), _floats(other)
    if tolerance is ROUGH:
        return _product(wanted, held) >= ROUGH_COSINE * math.hypot(*wanted) * math.hypot(*held)
    part, least = tolerance
    return all(math.isclose(a, b, rel_tol=part, abs_tol=least) for a, b in zip(wanted, held, strict=True))


def _product(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def _floats(values: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(values) // FLOAT_BYTES}f", values)
