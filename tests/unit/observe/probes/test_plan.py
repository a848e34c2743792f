"""How searches are likely answered: from graphs, and from how the counts of segments moved."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from exporter.observe.probes.plan import Plan, PlanWatch, SearchesOfAll, plan_of, searches_of_all
from exporter.observe.sources import segments
from exporter.observe.sources.remembered import Remembered
from exporter.observe.sources.segments import SearchesSeen, ShardSegmentsSeen
from tests.kit.recordings import recording


def look(graph: int, scan: int, *, graph_points: int = 1_000, segments_a_search: int = 2) -> SearchesOfAll:
    """Return what all replicas served of one vector's searches."""
    return SearchesOfAll(SearchesSeen(graph, scan), segments_a_search, graph_points)


def shard(
    *,
    held: int = 2,
    graph_points: Mapping[str, int] | None = None,
    searches: Mapping[str, SearchesSeen] | None = None,
) -> ShardSegmentsSeen:
    """Return a shard of so many segments."""
    return ShardSegmentsSeen(
        segments=held,
        indexed_vectors=0,
        deleted_points=0,
        reclaimable_bytes=0.0,
        lag_points={},
        excluded_points=None,
        index_points={},
        runs=(),
        running=0,
        graph_points=graph_points or {},
        searches=searches or {},
    )


@pytest.mark.parametrize(
    ("before", "after", "own_searches", "plan"),
    [
        (look(0, 0), look(5, 0), 5, Plan.HNSW),
        (look(0, 0), look(5, 5), 5, Plan.HNSW),  # a small segment beside the large one is scanned
        (look(100, 40), look(105, 40), 5, Plan.HNSW),
        (look(0, 0), look(0, 5), 5, Plan.SCAN),  # a filter leaves so few points that they are read
        (look(0, 0), look(12, 0), 5, Plan.HNSW),  # one was under way at the look before
        (look(0, 0), look(13, 0), 5, Plan.UNKNOWN),  # more than ours: somebody else searches too
        (look(0, 0), look(0, 13), 5, Plan.UNKNOWN),
        (look(0, 0), look(6, 7), 5, Plan.UNKNOWN),
        (look(0, 0), look(0, 0), 5, Plan.UNKNOWN),  # our searches went where we cannot see
        (look(100, 0), look(3, 0), 5, Plan.UNKNOWN),  # a rebuilt segment counts from 0
        (look(0, 100), look(5, 3), 5, Plan.UNKNOWN),
        (look(0, 0), look(5, 0), 0, Plan.UNKNOWN),  # none of them was ours
        (None, look(5, 0), 5, Plan.UNKNOWN),  # nothing to compare with
        (None, look(5, 0, graph_points=0), 0, Plan.SCAN),  # no segment has a graph worth using
        (look(0, 0), look(900, 0, graph_points=0), 5, Plan.SCAN),
        (look(0, 0, segments_a_search=3), look(18, 0, segments_a_search=1), 5, Plan.HNSW),  # merged meanwhile
    ],
)
def test_the_plan_is_told_from_graphs_and_from_counts_that_are_ours_alone(
    before: SearchesOfAll | None, after: SearchesOfAll, own_searches: int, plan: Plan
) -> None:
    """Where others search too nothing is claimed."""
    assert plan_of(before, after, own_searches) is plan


def test_a_search_counts_in_every_segment_of_one_replica_of_each_shard() -> None:
    """So of two replicas the one with more segments bounds what a search of ours may count."""
    replicas = [
        (0, shard(held=2, graph_points={"": 100}, searches={"": SearchesSeen(3, 1)})),
        (0, shard(held=4, graph_points={"": 50})),
        (1, shard(held=1, searches={"": SearchesSeen(0, 2), "bm25": SearchesSeen(9, 9)})),
    ]

    summed = searches_of_all(replicas, "")

    assert summed == SearchesOfAll(SearchesSeen(3, 3), segments_a_search=5, graph_points=150)
    assert searches_of_all((), "") == SearchesOfAll(SearchesSeen(0, 0), 0, 0)


def test_each_look_is_compared_with_the_one_before() -> None:
    """Searches between two looks count for the later one only."""
    watch = PlanWatch()

    def looked(graph: int) -> Plan:
        seen = shard(held=1, graph_points={"": 100}, searches={"": SearchesSeen(graph, 0)})
        return watch.look([(0, seen)], [""])[""]

    watch.searched("")
    plans = [looked(1)]
    for _ in range(3):
        watch.searched("")
    plans += [looked(4), looked(4), looked(9)]

    assert plans == [Plan.UNKNOWN, Plan.HNSW, Plan.UNKNOWN, Plan.UNKNOWN]


def test_vectors_are_told_apart() -> None:
    """One may have a graph and another none, and we search each in turn."""
    watch = PlanWatch()
    graph_points = {"title": 100, "body": 100}
    watch.look([(0, shard(graph_points=graph_points))], ["title", "body", "img"])
    watch.searched("title")
    searches = {"title": SearchesSeen(2, 0), "body": SearchesSeen(2, 0)}

    plans = watch.look([(0, shard(graph_points=graph_points, searches=searches))], ["title", "body", "img"])

    assert plans == {"title": Plan.HNSW, "body": Plan.UNKNOWN, "img": Plan.SCAN}


@pytest.mark.parametrize("version", ["v1.12.6", "v1.16.3", "v1.18.3"])
@pytest.mark.parametrize(("own_searches", "plan"), [(13, Plan.HNSW), (1, Plan.UNKNOWN), (0, Plan.UNKNOWN)])
def test_recorded_looks_before_and_after_searches_tell_the_graph(
    version: str, own_searches: int, plan: Plan
) -> None:
    """40,500 points in one segment with a graph and an empty one; about a dozen searches between."""
    watch = PlanWatch()
    for state in ("green/telemetry_4", "vacuum/before.telemetry_4"):
        body = recording(f"{version}/single/{state}").body
        seen = segments.read(body, Remembered(endpoint=segments.ENDPOINT))
        plans = watch.look(list(seen.shards["docs"].items()), [""])
        small = PlanWatch().look(list(seen.shards["named"].items()), ["title"])
        for _ in range(own_searches):
            watch.searched("")

    assert plans[""] is plan
    assert small["title"] is Plan.SCAN
