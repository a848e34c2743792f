"""How long searches take before a vacuum and meanwhile: a few stored vectors, searched for one at a time.

What the probes measure is not asked: a vacuum also runs from a terminal, without a daemon. No vectors, no
figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from exporter.backup.calling import Limits, patiently
from exporter.backup.survey import PeerAt
from exporter.clock import Clock
from exporter.errors import SourceError, SourceTimeout
from exporter.qdrant import search
from exporter.qdrant.answers import decode
from exporter.qdrant.asked import Asked
from exporter.qdrant.search import FoundPoint

SEARCHES = 20  # before: enough for a p95 that one slow answer does not decide
FEWEST_ANSWERS = 10  # fewer say nothing of the slow ones
VECTORS = 10  # searched for in turn, so that no answer comes from a cache of one
LIMIT = 10  # points found, as people ask
SEARCH_SECONDS = 5.0  # a search that takes longer counts with so much
SAMPLE_SECONDS = 10.0


class Searches:
    """Searches of one collection, and how long they took."""

    def __init__(self, peers: Sequence[PeerAt], collection: str, clock: Clock, limits: Limits) -> None:
        self._peers = tuple(peers)
        self._collection = collection
        self._clock = clock
        self._limits = limits
        self._vectors: tuple[tuple[str, bytes], ...] | None = None  # (name, JSON); None: not asked for yet
        self._turn = 0
        self._seconds: list[float] = []
        self.failed = 0

    async def measure(self, searches: int) -> None:
        """Search so many times, one after the other. What fails is counted; nothing is raised."""
        if self._vectors is None:
            self._vectors = await self._sampled()
        if not self._vectors:
            return
        for _ in range(searches):
            await self._search(*self._vectors[self._turn % len(self._vectors)])
            self._turn += 1

    def p95_seconds(self) -> float | None:
        """Return what 95 of 100 searches since `forget` did not exceed; None after fewer than ten."""
        return p95(self._seconds)

    def forget(self) -> None:
        """Begin anew, with the same vectors."""
        self._seconds, self.failed = [], 0

    async def _search(self, name: str, vector: bytes) -> None:
        body = search.search_body(vector, using=name, limit=LIMIT)
        request = search.points_request(self._collection, "query", body, timeout_seconds=SEARCH_SECONDS)
        peer = self._peers[self._turn % len(self._peers)]
        began = self._clock.monotonic()
        try:
            await peer.courier.call(Asked(request, search.QUERY_ENDPOINT), deadline_seconds=SEARCH_SECONDS)
        except SourceError as error:
            self.failed += 1
            if not isinstance(error, SourceTimeout):
                return
        self._seconds.append(self._clock.monotonic() - began)

    async def _sampled(self) -> tuple[tuple[str, bytes], ...]:
        """Return vectors of stored points, from the first peer that gives some."""
        body = search.scroll_body([""], VECTORS, None)
        request = search.points_request(self._collection, "scroll", body, timeout_seconds=SAMPLE_SECONDS)
        for peer in self._peers:
            try:
                answer = await patiently(
                    peer.courier,
                    Asked(request, search.SCROLL_ENDPOINT),
                    self._limits,
                    deadline_seconds=SAMPLE_SECONDS,
                )
                points = search.read_points(answer, search.SCROLL_ENDPOINT).result.points
                return tuple(found for point in points if (found := _vector(point)) is not None)
            except SourceError:
                continue
        return ()


def p95(seconds: Sequence[float]) -> float | None:
    """Return the value that 95 of 100 do not exceed, one of them; None of fewer than ten."""
    if len(seconds) < FEWEST_ANSWERS:
        return None
    return sorted(seconds)[math.ceil(len(seconds) * 95 / 100) - 1]


def _vector(point: FoundPoint) -> tuple[str, bytes] | None:
    """Return a point's unnamed vector, or the first by name, which is one that a search takes as it is."""
    unnamed = search.vector_of(point, "")
    if unnamed is not None:
        return "", unnamed
    if bytes(point.vector)[:1] != b"{":
        return None
    names = sorted(decode(point.vector, dict[str, object], search.SCROLL_ENDPOINT))
    named = next(((name, search.vector_of(point, name)) for name in names), None)
    return None if named is None or named[1] is None else (named[0], named[1])
