"""The requests of probes to one collection, through one peer: sample, search, compare. No schedule here."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.clock import Clock
from exporter.errors import BadPayload, SourceError, SourceRefused
from exporter.observe.probes.asking import Asking
from exporter.observe.probes.pool import Pool, Query, WrittenPool, estimated_bytes, points_that_fit
from exporter.observe.probes.reasons import Failure, Skip, reason_of
from exporter.observe.sources.telemetry import VectorSeen
from exporter.qdrant.lanes import ANSWER_LIMIT_BYTES, ClosedLanesError, Lanes, Timed
from exporter.qdrant.search import (
    QUERY_ENDPOINT,
    SCROLL_ENDPOINT,
    FoundPoint,
    PointId,
    QueryAnswer,
    points_request,
    read_points,
    sample_body,
    scroll_body,
)
from exporter.qdrant.versions import Version

# Servers before have no random sample: their points are scrolled through.
FIRST_WITH_SAMPLE = Version(1, 11, 0)

# Two scores are one where they differ by the rounding of 32-bit floats, whose steps are 6e-8 of a value.
TIE_SHARE = 1e-6

# An answer may be so many times as long as its vectors are estimated: multivectors and sparse ones vary.
LONGER_THAN_ESTIMATED = 16

# Exact answers kept a collection: two vectors' whole pools.
TRUTHS_KEPT = 32
# Before 1.17 nothing tells that a collection changed: an exact answer counts for so long.
TRUTH_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search brought. `answer` is None where it failed."""

    timed: Timed
    answer: QueryAnswer | None = None
    failure: SourceError | None = None

    @property
    def reason(self) -> Failure | Skip | None:
        """Why it failed; None where it did not."""
        return None if self.failure is None else reason_of(self.failure)

    @property
    def retry_after_seconds(self) -> float | None:
        """How long the server asked to wait."""
        return self.failure.retry_after_seconds if isinstance(self.failure, SourceRefused) else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A query's points by an exact search, at most `k`, and how many of them the index found too.

    `exact` is None where its answer was known from before, `approximate` where the exact one failed.
    """

    k: int
    expected: int
    matched: int
    exact: Found | None
    approximate: Found | None


class Truth(NamedTuple):
    """What an exact search found: ids of points, and how many of them share the last one's score."""

    better: tuple[PointId, ...]  # than the last one
    tied: tuple[PointId, ...]  # with the last one, itself included
    last_score: float

    @property
    def expected(self) -> int:
        """How many points there are to find."""
        return len(self.better) + len(self.tied)


@dataclass(frozen=True, slots=True)
class _Kept:
    truth: Truth
    state: Hashable
    at_seconds: float


@dataclass(slots=True)
class Searcher:
    """The searches of one collection. Owns its pool and the exact answers it may use again."""

    collection: str
    asking: Asking
    pool: Pool | WrittenPool
    clock: Clock
    _turns: dict[str, int] = field(default_factory=dict)
    _scrolled_to: PointId | None = None
    _truths: dict[Hashable, _Kept] = field(default_factory=dict)

    def next_query(self, probe: str, vectors: Sequence[VectorSeen]) -> Query | None:
        """Return a query for the next of these vectors that has one; None where none has.

        Each in turn, and each probe in turns of its own: two would always meet the same of two vectors.
        """
        turn = self._turns[probe] = self._turns.get(probe, -1) + 1
        for offset in range(len(vectors)):
            query = self.pool.next(vectors[(turn + offset) % len(vectors)].name, probe)
            if query is not None:
                return query
        return None

    def forget(self) -> None:
        """Forget stored vectors and exact answers: the collection is another one now."""
        self._truths.clear()
        if isinstance(self.pool, Pool):
            self.pool.clear()

    async def replenish(self, lanes: Lanes, version: Version | None) -> Found | None:
        """Fetch stored vectors where the pool wants some; None where it does not, or a person wrote it."""
        vectors = self.asking.vectors
        names = [vector.name for vector in vectors]
        if isinstance(self.pool, WrittenPool):
            return None
        wanted = self.pool.wants(names, self.clock.monotonic())
        if not wanted:
            return None
        limit = self.asking.within_limit(points_that_fit(vectors, wanted, self.pool.limit_bytes))
        sampled = version is None or version >= FIRST_WITH_SAMPLE
        room = ANSWER_LIMIT_BYTES + limit * sum(map(estimated_bytes, vectors)) * LONGER_THAN_ESTIMATED
        if sampled:
            found = await self._ask(lanes, "query", sample_body(names, limit), room)
        else:
            found = await self._ask(lanes, "scroll", scroll_body(names, limit, self._scrolled_to), room)
        if found.answer is None:
            return found
        self._scrolled_to = found.answer.result.next_page_offset
        try:
            self.pool.put(found.answer.result.points[:limit], names, self.clock.monotonic())
        except BadPayload as error:
            return Found(found.timed, failure=error)
        if not found.answer.result.points:
            self.pool.clear()
        return found

    async def search(self, lanes: Lanes, query: Query, *, limit: int, exact: bool) -> Found:
        """Send one search and read its answer."""
        return await self._ask(lanes, "query", self.asking.body(query, limit=limit, exact=exact))

    async def compare(self, lanes: Lanes, query: Query, state: Hashable | None) -> Comparison:
        """Search exactly, then through the index. `state`: of the collection's data, None where unknown."""
        own = query.own_id is not None
        limit = self.asking.within_limit(self.asking.settings.limit + own)
        k = limit - own
        truth = self._known_truth(query, k, state)
        exact: Found | None = None
        if truth is None:
            exact = await self.search(lanes, query, limit=limit, exact=True)
            if exact.answer is None:
                return Comparison(k, 0, 0, exact, None)
            truth = truth_of(without(query.own_id, exact.answer.result.points)[:k])
            self._keep_truth(query, k, truth, state)
        found = await self.search(lanes, query, limit=limit, exact=False)
        points = () if found.answer is None else found.answer.result.points
        matched = matches(truth, without(query.own_id, points)[:k])
        return Comparison(k, truth.expected, matched, exact, found)

    def _known_truth(self, query: Query, k: int, state: Hashable | None) -> Truth | None:
        kept = self._truths.get(_key(query, k))
        if kept is None or kept.state != state:
            return None
        old = state is None and self.clock.monotonic() - kept.at_seconds > TRUTH_SECONDS
        return None if old else kept.truth

    def _keep_truth(self, query: Query, k: int, truth: Truth, state: Hashable | None) -> None:
        self._truths.pop(_key(query, k), None)
        self._truths[_key(query, k)] = _Kept(truth, state, self.clock.monotonic())
        while len(self._truths) > TRUTHS_KEPT:
            del self._truths[next(iter(self._truths))]  # the oldest

    async def _ask(
        self, lanes: Lanes, route: str, body: dict[str, object], limit_bytes: int = ANSWER_LIMIT_BYTES
    ) -> Found:
        request = points_request(self.collection, route, body, timeout_seconds=self.asking.timeout_seconds)
        endpoint = QUERY_ENDPOINT if route == "query" else SCROLL_ENDPOINT
        timed = await lanes.call(
            request,
            endpoint=endpoint,
            deadline_seconds=self.asking.settings.deadline_seconds,
            limit_bytes=limit_bytes,
        )
        if timed.failure is not None:
            if lanes.closed:
                raise ClosedLanesError
            return Found(timed, failure=timed.failure)
        try:
            return Found(timed, read_points(timed.body, endpoint))
        except BadPayload as error:
            return Found(timed, failure=error)


def without(own_id: PointId | None, points: Sequence[FoundPoint]) -> tuple[FoundPoint, ...]:
    """Return the points without the query's own."""
    return tuple(point for point in points if own_id is None or point.id != own_id)


def _key(query: Query, k: int) -> Hashable:
    """Tell queries apart without holding on to a vector: its point's id and its hash stand for it."""
    return (query.using, query.own_id, hash(query.vector), query.filter, k)


def truth_of(points: Sequence[FoundPoint]) -> Truth:
    """Return what is to be found, given best first."""
    if not points:
        return Truth((), (), 0.0)
    last = points[-1].score
    better = tuple(point.id for point in points if not is_tied(point.score, last))
    return Truth(better, tuple(point.id for point in points[len(better) :]), last)


def matches(truth: Truth, found: Sequence[FoundPoint]) -> int:
    """Return how many of the exact search's points were found.

    Of points with the very score of the last one, the exact search shows as many as there was room
    for: any other with that score is as good. A score that is better counts for nothing by itself,
    for quantized vectors have scores of their own.
    """
    ids = {point.id for point in found}
    better = len(ids.intersection(truth.better))
    tied = {point.id for point in found if is_tied(point.score, truth.last_score)}
    as_good = (tied | ids.intersection(truth.tied)).difference(truth.better)
    return better + min(len(as_good), len(truth.tied))


def is_tied(score: float, last: float) -> bool:
    """Whether two scores are one, but for the rounding of 32-bit floats."""
    return abs(score - last) <= TIE_SHARE * abs(last)
