"""How a collection may be searched: as configured, and within its strict mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Raw

from exporter.config.probes import ProbeSettings
from exporter.observe.probes.pool import Query
from exporter.observe.probes.reasons import Skip
from exporter.observe.sources.telemetry import CollectionSeen, VectorSeen
from exporter.qdrant.payloads import StrictMode
from exporter.qdrant.search import search_body

# Of a collection's own read rate limit, the rest is its users'.
SHARE_OF_RATE_LIMIT = 0.1
# A search, and the two of a recall.
REQUESTS_A_BEAT = 3

NO_LIMITS = StrictMode()


@dataclass(frozen=True, slots=True)
class Asking:
    """The searches of one collection, settled from its settings and what strict mode leaves of them."""

    settings: ProbeSettings
    vectors: tuple[VectorSeen, ...]  # those to search, each in turn
    compared: tuple[VectorSeen, ...]  # of these, the ones whose recall is measured
    strict: StrictMode

    @property
    def limit(self) -> int:
        """Points asked for by a search."""
        return self.within_limit(self.settings.limit)

    @property
    def timeout_seconds(self) -> float:
        """When the server should give up: with us, or earlier where strict mode wants it."""
        allowed = self.strict.max_timeout
        deadline = self.settings.deadline_seconds
        return deadline if allowed is None else min(deadline, allowed)

    def within_limit(self, wanted: int) -> int:
        """Return as many points as strict mode lets one request ask for."""
        allowed = self.strict.max_query_limit
        return wanted if allowed is None else min(wanted, allowed)

    @property
    def shortest_interval_seconds(self) -> float:
        """How often probes may run so that all of them keep to our share of the rate limit; 0: freely."""
        a_minute = self.strict.read_rate_limit
        return 0.0 if not a_minute else 60.0 * REQUESTS_A_BEAT / (SHARE_OF_RATE_LIMIT * a_minute)

    def why_not_search(self) -> Skip | None:
        """Return why a search cannot go as configured."""
        if not self.vectors:
            return Skip.REFUSED  # the configured vector is none of the collection's
        return Skip.UNSUPPORTED if self.settings.exact and not self._exact_allowed else None

    def why_not_compare(self, points: float | None, search_seconds: float | None) -> Skip | None:
        """Return why no exact search should go now.

        `points` of the collection, `search_seconds` as searches take now; None where unknown.
        """
        recall = self.settings.recall
        # a query's own point takes a place in the answer, so k = 1 asks for two
        if not self._exact_allowed or self.within_limit(2) < 2:
            return Skip.UNSUPPORTED
        if points is None:  # a shard has no replica to count: nothing to compare with either
            return Skip.PAUSED
        if points > recall.max_points:
            return Skip.TOO_LARGE
        is_slow = search_seconds is not None and search_seconds > recall.latency_target_seconds
        return Skip.PAUSED if is_slow else None

    def body(self, query: Query, *, limit: int, exact: bool) -> dict[str, Any]:
        """Return the body of a search."""
        chosen: Raw | Mapping[str, Any] | None = self.settings.filter
        if query.filter is not None:
            chosen = Raw(query.filter)
        return search_body(
            query.vector, using=query.using, limit=limit, filter=chosen, params=self._params(exact=exact)
        )

    def _params(self, *, exact: bool) -> dict[str, Any]:
        params: dict[str, Any] = {}
        if exact:
            params["exact"] = True
        elif self.settings.hnsw_ef is not None:
            allowed = self.strict.search_max_hnsw_ef
            wanted = self.settings.hnsw_ef
            params["hnsw_ef"] = wanted if allowed is None else min(wanted, allowed)
        if self.settings.indexed_only:
            params["indexed_only"] = True
        return params

    @property
    def _exact_allowed(self) -> bool:
        return self.strict.search_allow_exact is not False


def asking_of(settings: ProbeSettings, seen: CollectionSeen) -> Asking:
    """Settle how a collection is searched."""
    vectors: Sequence[VectorSeen] = seen.vectors
    if settings.vector is not None:
        vectors = [vector for vector in vectors if vector.name == settings.vector]
    # a sparse vector's index is exact by design: its recall is 1 and not worth a search
    compared = [vector for vector in vectors if not vector.sparse] if settings.measures_recall else []
    return Asking(settings, tuple(vectors), tuple(compared), seen.strict or NO_LIMITS)
