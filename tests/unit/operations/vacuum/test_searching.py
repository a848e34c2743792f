"""Searches before and during a vacuum: of stored vectors, one at a time, and what they say."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.operations.vacuum.searching import Searches, p95
from tests.kit.snapshot_cluster import Points
from tests.unit.operations.vacuum.ground import LIMITS, Ground, ground


def searches(made: Ground, collection: str = "docs") -> Searches:
    """Make searches of a collection by all peers."""
    return Searches(made.peers, collection, made.clock, LIMITS)


def queries(made: Ground) -> list[Any]:
    """Return the bodies of the searches that came."""
    return [seen.body for seen in made.cluster.requests if "/points/query" in seen.path]


async def test_stored_vectors_are_searched_for_in_turn_by_all_peers() -> None:
    """Ten of them, without payload or vectors in the answers."""
    async with ground() as docs:
        made = searches(docs)

        await made.measure(20)

        assert made.p95_seconds() is not None
        sent = queries(docs)
        assert len(sent) == 20
        assert len({str(body["query"]) for body in sent}) == 10
        assert {(body["limit"], body["with_payload"], body["with_vector"]) for body in sent} == {
            (10, False, False)
        }
        assert {seen.peer for seen in docs.cluster.requests if "/points/query" in seen.path} == {0, 1, 2}


async def test_a_named_vector_is_searched_by_its_name() -> None:
    """The first by name that a point has."""
    named: Points = {1: [{"title": [1.0, 0.0, 0.0, 0.0]}, {}]}
    async with ground() as docs:
        docs.cluster.create("named", named, vectors={"title": {"size": 4, "distance": "Dot"}})

        await searches(docs, "named").measure(1)

        assert queries(docs)[0]["using"] == "title"


async def test_without_vectors_nothing_is_searched_and_nothing_known() -> None:
    """An empty collection has no p95."""
    async with ground() as docs:
        docs.cluster.create("empty")
        made = searches(docs, "empty")

        await made.measure(20)

        assert (made.p95_seconds(), made.failed, queries(docs)) == (None, 0, [])


async def test_refused_searches_are_counted_and_say_nothing_of_time() -> None:
    """Eleven of twenty refused leave too few."""
    async with ground() as docs:
        docs.cluster.knobs.fail("POST", "/points/query", 400, times=11)
        made = searches(docs)

        await made.measure(20)

        assert (made.p95_seconds(), made.failed) == (None, 11)


async def test_a_search_that_times_out_counts_with_the_time_that_was_waited() -> None:
    """Otherwise a server that answers nobody would look quick."""
    async with ground(standalone=True) as docs:
        made = searches(docs)
        await made.measure(9)
        docs.cluster.freeze(0)

        await made.measure(1)

        assert made.failed == 1
        assert made.p95_seconds() == pytest.approx(5.0, abs=0.1)


async def test_what_came_before_is_forgotten() -> None:
    """Before and meanwhile are two figures."""
    async with ground() as docs:
        made = searches(docs)
        await made.measure(20)

        made.forget()

        assert made.p95_seconds() is None


def test_the_p95_is_one_of_the_values() -> None:
    """The nineteenth of twenty; of nine there is none."""
    assert p95([float(number) for number in range(20, 0, -1)]) == 19.0
    assert p95([1.0] * 9) is None
    assert p95([float(number) for number in range(1, 11)]) == 10.0
