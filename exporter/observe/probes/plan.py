"""How the server likely answers a collection's searches: through a graph, or by reading every point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from exporter.observe.sources.segments import SearchesSeen, ShardSegmentsSeen


class Plan(StrEnum):
    """What is said of one vector's searches."""

    HNSW = "hnsw"
    SCAN = "scan"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SearchesOfAll:
    """The searches of one vector that all replicas served, and in how many segments one search counts."""

    served: SearchesSeen
    segments_a_search: int
    graph_points: int


def searches_of_all(replicas: Iterable[tuple[int, ShardSegmentsSeen]], vector: str) -> SearchesOfAll:
    """Sum one vector's searches over replicas, each given with its shard.

    A search goes to one replica of each shard and counts once in every segment of it.
    """
    graph = scan = points = 0
    segments: dict[int, int] = {}
    for shard, seen in replicas:
        served = seen.searches.get(vector, SearchesSeen(0, 0))
        graph, scan = graph + served.graph, scan + served.scan
        points += seen.graph_points.get(vector, 0)
        segments[shard] = max(segments.get(shard, 0), seen.segments)
    return SearchesOfAll(SearchesSeen(graph, scan), sum(segments.values()), points)


def plan_of(before: SearchesOfAll | None, after: SearchesOfAll, own_searches: int) -> Plan:
    """Return the likely plan, from two looks and how often we searched between them.

    Where no segment has a graph worth using, every search is a scan. Else the counts tell, as long as
    they are ours alone: more of them than our searches can have made are somebody else's.
    """
    if not after.graph_points:
        return Plan.SCAN
    if before is None or not own_searches:
        return Plan.UNKNOWN
    graph = after.served.graph - before.served.graph
    scan = after.served.scan - before.served.scan
    # one search may have been under way at the first look
    ours = (own_searches + 1) * max(before.segments_a_search, after.segments_a_search)
    if graph < 0 or scan < 0 or graph + scan > ours:  # a rebuilt segment counts from 0
        return Plan.UNKNOWN
    if graph:
        return Plan.HNSW
    return Plan.SCAN if scan else Plan.UNKNOWN


class PlanWatch:
    """The looks at one collection: each is compared with the one before."""

    def __init__(self) -> None:
        self._looks: dict[str, SearchesOfAll] = {}
        self._searched: dict[str, int] = {}

    def searched(self, vector: str) -> None:
        """We sent a search that may use a graph."""
        self._searched[vector] = self._searched.get(vector, 0) + 1

    def look(
        self, replicas: Sequence[tuple[int, ShardSegmentsSeen]], vectors: Iterable[str]
    ) -> Mapping[str, Plan]:
        """Take in what all replicas tell now and return the plan of each vector."""
        plans: dict[str, Plan] = {}
        for vector in vectors:
            now = searches_of_all(replicas, vector)
            plans[vector] = plan_of(self._looks.get(vector), now, self._searched.get(vector, 0))
            self._looks[vector] = now
        self._searched.clear()
        return plans
