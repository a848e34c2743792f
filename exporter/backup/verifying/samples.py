"""Sample queries: the vectors of a few points are searched for, and must be found. Pure.

Which points: those whose ids hash lowest, so that every look at the same content takes the same ones.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

# A broken index is broken for most; twenty tell that for certain and cost nothing.
POINTS = 20
LIMIT = 10  # results of a query
# `hnsw_ef` of a query. How good an index its owner made is not asked: one that is built sparingly misses two
# thirds at the usual hundred, and one in twenty at this. A thousand of 3,072 numbers take 40 ms.
LONG_SEARCH = 1_000
# Scores come by way of half-precision vectors, and of another processor's arithmetic.
_TOLERANCE = 1e-3
# An approximate search may miss some. What even misses half of what is there is no index.
LARGEST_MISSED_SHARE = 0.5

T = TypeVar("T")


class Chosen(Generic[T]):
    """Keeps the points whose ids hash lowest, as they pass."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []  # by what is largest, so negated; a number breaks ties
        self._passed = 0

    def offer(self, point_id: str, point: T) -> None:
        """Take one in, or not."""
        rank = -int.from_bytes(hashlib.sha256(point_id.encode()).digest()[:8], "big")
        self._passed += 1
        if len(self._heap) < POINTS:
            heapq.heappush(self._heap, (rank, self._passed, point))
        elif rank > self._heap[0][0]:
            heapq.heapreplace(self._heap, (rank, self._passed, point))

    def points(self) -> list[T]:
        """Return those kept."""
        return [point for _, _, point in sorted(self._heap, reverse=True)]


@dataclass(frozen=True, slots=True)
class Searched:
    """What came of all sample queries of a shard or a collection."""

    queries: int = 0
    missed: int = 0  # by way of the index
    lost: int = 0  # by the exact search too

    def __add__(self, other: Searched) -> Searched:
        return Searched(self.queries + other.queries, self.missed + other.missed, self.lost + other.lost)

    @property
    def problem(self) -> str | None:
        """What is wrong, for people; None where the searches are as they must be."""
        if self.lost:
            return f"{self.lost} of {self.queries} stored vectors are not found even by an exact search"
        if self.missed > LARGEST_MISSED_SHARE * self.queries:
            return (
                f"{self.missed} of {self.queries} stored vectors are there, and a search does not find them"
            )
        return None


def is_found(own_id: str, own_score: float | None, found: Sequence[tuple[str, float]]) -> bool:
    """Whether a search for a point's own vector did right: it shows the point, or points that fit as well.

    Twins of the point push it off the list, and by Dot a longer vector is the better one: so the best must
    be at least as good as the point itself. Scores rise or fall along the list, by the kind of distance.
    """
    if any(point_id == own_id for point_id, _ in found):
        return True
    if own_score is None or not found:
        return False
    best, last = found[0][1], found[-1][1]
    if math.isclose(best, own_score, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
        return True
    if best == last:
        return False  # nothing says which way is better, and it is not as good
    return best < own_score if best < last else best > own_score
