"""Vectors to search with: real ones, sampled from the collection itself, or a person's own queries.

A made-up vector lies nowhere near the data: its search takes another way through the index, and its
recall says nothing. So where nothing is stored there is no query, and the collection is `empty`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exporter.config.queries_file import WrittenQuery
from exporter.observe.sources.telemetry import VectorSeen
from exporter.qdrant.search import FoundPoint, PointId, vector_of

# Different vectors of each name: few enough to fetch at once, enough that no cache serves them all.
VECTORS_A_NAME = 16
# A quarter is exchanged every hour: the sample follows the data, and stays long enough for exact answers,
# asked for every five minutes, to be used again.
REFRESH_SECONDS = 3_600.0
REFRESHED_A_TIME = VECTORS_A_NAME // 4

# Bytes of JSON that a vector takes: 12 a number for floats, measured on the recorded answers. A
# multivector and a sparse one tell no length; these are usual ones of 32 rows and of 100 entries.
BYTES_A_NUMBER = 12
USUAL_ROWS = 32
USUAL_SPARSE_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class Query:
    """What to search with. `vector` is JSON, of a vector or of a point's id.

    `own_id` names the point it was taken from, which would always find itself.
    """

    vector: bytes
    using: str
    own_id: PointId | None = None
    filter: bytes | None = None  # of its own, in place of the configured one


class Pool:
    """The queries of one collection, kept for each vector by name. `limit_bytes` bounds what is held."""

    def __init__(self, *, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes  # may change: collections share a limit
        self._held_bytes = 0
        self._queries: dict[str, deque[Query]] = {}
        self._turns: dict[tuple[str, str], int] = {}  # by name and taker
        self._lacking: set[str] = set()  # names of vectors that no fetched point had
        self._refreshed_at_seconds: float | None = None

    @property
    def held_bytes(self) -> int:
        """What the kept vectors take."""
        return self._held_bytes

    def wants(self, names: Sequence[str], now: float) -> int:
        """How many points to fetch now: many at first, a few every hour, else 0.

        A vector that none of the fetched points had is no reason to fetch more before that.
        """
        spent = any(not self._queries.get(name) for name in names if name not in self._lacking)
        if self._refreshed_at_seconds is None or spent or len(self._lacking) == len(names):
            return VECTORS_A_NAME
        return REFRESHED_A_TIME if now - self._refreshed_at_seconds >= REFRESH_SECONDS else 0

    def put(self, points: Sequence[FoundPoint], names: Sequence[str], now: float) -> None:
        """Take in fetched points; the oldest queries of a name go where it has enough, or too much.

        The newest of each name stays whatever it takes, until it was `next`. Raises BadPayload
        where the points' vectors do not read.
        """
        found = {name: list(_queries_of(points, name)) for name in names}
        for name, queries in found.items():
            kept = self._queries.setdefault(name, deque())
            for query in queries:
                for old in [old for old in kept if old.own_id == query.own_id]:
                    kept.remove(old)
                    self._held_bytes -= len(old.vector)
                kept.append(query)
                self._held_bytes += len(query.vector)
            while len(kept) > VECTORS_A_NAME:
                self._forget(kept)
        for name in sorted(names, key=lambda name: -self._bytes_of(name)):
            kept = self._queries[name]
            while self._held_bytes > self.limit_bytes and len(kept) > 1:
                self._forget(kept)
        self._lacking = {name for name in names if not self._queries[name]}
        self._refreshed_at_seconds = now

    def next(self, name: str, taker: str = "") -> Query | None:
        """Return a query for one vector, each in turn and for each taker; None where the pool has none.

        What does not fit the limit even alone is handed out and not kept.
        """
        kept = self._queries.get(name)
        if not kept:
            return None
        if self._held_bytes > self.limit_bytes:
            query = kept.popleft()
            self._held_bytes -= len(query.vector)
            return query
        turn = self._turns[name, taker] = self._turns.get((name, taker), -1) + 1
        return kept[turn % len(kept)]

    def clear(self) -> None:
        """Forget all: the collection is another one now, or empty."""
        self._queries.clear()
        self._lacking.clear()
        self._held_bytes = 0
        self._refreshed_at_seconds = None

    def _forget(self, kept: deque[Query]) -> None:
        self._held_bytes -= len(kept.popleft().vector)

    def _bytes_of(self, name: str) -> int:
        return sum(len(query.vector) for query in self._queries[name])


def _queries_of(points: Sequence[FoundPoint], name: str) -> Iterator[Query]:
    for point in points:
        vector = vector_of(point, name)
        if vector is not None:
            yield Query(vector, name, own_id=point.id)


class WrittenPool:
    """A person's own queries, each in turn."""

    def __init__(self, queries: Sequence[WrittenQuery]) -> None:
        self._queries = queries
        self._turns: dict[str, int] = {}  # by taker

    def next(self, name: str, taker: str = "") -> Query:
        """Return the next query of a taker, for the vector `name` where it says none itself."""
        turn = self._turns[taker] = self._turns.get(taker, -1) + 1
        written = self._queries[turn % len(self._queries)]
        using = name if written.using is None else written.using
        return Query(written.query, using, filter=written.filter)


def points_that_fit(vectors: Sequence[VectorSeen], wanted: int, limit_bytes: int) -> int:
    """Return how many points to fetch at once so that their vectors fit, at least 1."""
    return max(1, min(wanted, limit_bytes // max(1, sum(map(estimated_bytes, vectors)))))


def estimated_bytes(vector: VectorSeen) -> int:
    """Return what one vector takes as JSON, about."""
    if vector.size is None:
        return USUAL_SPARSE_BYTES
    return vector.size * BYTES_A_NUMBER * (USUAL_ROWS if vector.multi else 1)
