"""Sample, search, compare: over a real socket, against a collection that finds what it is told to find."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.probes import ProbeSettings
from exporter.config.queries_file import WrittenQuery
from exporter.errors import BadPayload, SourceRefused
from exporter.observe.probes.asking import asking_of
from exporter.observe.probes.book import RECALL, SEARCH
from exporter.observe.probes.pool import REFRESH_SECONDS, Pool, Query, WrittenPool
from exporter.observe.probes.probed import Probed
from exporter.observe.probes.reasons import Failure, Skip
from exporter.observe.probes.searches import (
    TRUTH_SECONDS,
    TRUTHS_KEPT,
    Found,
    Searcher,
    Truth,
    is_tied,
    matches,
    truth_of,
    without,
)
from exporter.observe.sources.telemetry import CollectionSeen, VectorSeen
from exporter.qdrant.door import Door
from exporter.qdrant.lanes import Lanes
from exporter.qdrant.payloads import StrictMode
from exporter.qdrant.search import QUERY_ENDPOINT, FoundPoint, read_points
from exporter.qdrant.versions import Version
from tests.kit.clock import ManualClock
from tests.kit.recordings import recording

NEW, OLD = Version(1, 18, 3), Version(1, 10, 1)
UNNAMED = VectorSeen("", 1, "Dot")
STATE = ("collection", 7)


class Collection:
    """A server with one collection of points whose score is their number times the query's.

    What an index misses is in `missed`; an answer in `says` is given in place of the true one.
    """

    def __init__(self) -> None:
        self.vectors: dict[int, Any] = {number: [float(number)] for number in range(1, 41)}
        self.missed: set[int] = set()
        self.says: dict[str, web.Response] = {}  # by what is asked: sample, exact, approximate, scroll
        self.targets: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"title": "qdrant"})
        body = msgspec.json.decode(await request.read())
        what, points = self._points(body)
        self.targets.append(request.raw_path)
        self.bodies.append(body)
        self.asked.append(what)
        if what in self.says:
            told = self.says[what]
            return web.Response(status=told.status, body=told.body, headers=told.headers)
        page = {"points": points[: body["limit"]]}
        if what == "scroll":
            page["next_page_offset"] = points[body["limit"]]["id"] if len(points) > body["limit"] else None
        return web.json_response({"result": page, "status": "ok", "time": 0.00125})

    def _points(self, body: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        everything = sorted(self.vectors.items())
        if "query" not in body:
            first = body.get("offset", 0)
            return "scroll", [{"id": one, "vector": vector} for one, vector in everything if one >= first]
        if body["query"] == {"sample": "random"}:
            return "sample", [{"id": one, "score": 0.0, "vector": vector} for one, vector in everything]
        exact = body.get("params", {}).get("exact", False)
        scores = {one: float(one) for one, _ in everything if exact or one not in self.missed}
        best = sorted(scores, key=lambda one: -scores[one])
        return "exact" if exact else "approximate", [{"id": one, "score": scores[one]} for one in best]


class Asked:
    """A searcher of that collection through real lanes."""

    def __init__(self, collection: Collection, lanes: Lanes) -> None:
        self.collection = collection
        self.lanes = lanes
        self.clock = ManualClock()

    def searcher(
        self,
        *vectors: VectorSeen,
        strict: StrictMode | None = None,
        pool: Pool | WrittenPool | None = None,
        name: str = "docs",
        **chosen: Any,
    ) -> Searcher:
        """Settle how the collection is searched."""
        seen = CollectionSeen(name, 1, None, (), 0, vectors or (UNNAMED,), strict)
        asking = asking_of(ProbeSettings(**chosen), seen)
        return Searcher(
            collection=name, asking=asking, pool=pool or Pool(limit_bytes=1 << 20), clock=self.clock
        )


@pytest_asyncio.fixture
async def asked() -> AsyncIterator[Asked]:
    """A collection of forty points behind a listening socket."""
    collection = Collection()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", collection.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    clock = ManualClock()
    lanes = Lanes(door=Door(f"http://127.0.0.1:{runner.addresses[0][1]}"), clock=clock)
    yield Asked(collection, lanes)
    await lanes.close()
    await runner.cleanup()


def query(own_id: int | None = 40, vector: bytes = b"[40.0]") -> Query:
    """Return a query with the vector of a stored point, or of none."""
    return Query(vector, "", own_id=own_id)


def points(scores: Mapping[int, float]) -> tuple[FoundPoint, ...]:
    """Return found points in this order."""
    return tuple(FoundPoint(id=one, score=score) for one, score in scores.items())


# What counts as found


def test_the_querys_own_point_is_no_result() -> None:
    """It would always find itself; ids are numbers or text."""
    found = (FoundPoint(id=1), FoundPoint(id="a"), FoundPoint(id=2))

    assert without(1, found) == (found[1], found[2])
    assert without("a", found) == (found[0], found[2])
    assert without(None, found) == found


def test_what_is_to_be_found_is_the_exact_searchs_points() -> None:
    """None, where nothing but the query's own point is stored."""
    assert truth_of(points({3: 0.9, 1: 0.5})) == Truth((3,), (1,), 0.5)
    assert truth_of(points({3: 0.9, 1: 0.5, 2: 0.5})) == Truth((3,), (1, 2), 0.5)
    assert truth_of(()) == Truth((), (), 0.0)
    assert truth_of(points({3: 0.9, 1: 0.5, 2: 0.5})).expected == 3
    assert (truth_of(()).expected, matches(truth_of(()), points({1: 0.5}))) == (0, 0)


@pytest.mark.parametrize(
    ("found", "matched"),
    [
        ({1: 0.9, 2: 0.8, 3: 0.7}, 3),
        ({3: 0.7, 1: 0.9, 2: 0.8}, 3),
        ({1: 0.9, 2: 0.8, 4: 0.6}, 2),
        ({}, 0),
        ({1: 0.9, 2: 0.8, 4: 0.7}, 3),  # another point with the very score of the last
        ({1: 0.9, 2: 0.8, 4: 0.7000000001}, 3),  # and with that of another summation
        ({1: 0.9, 2: 0.8, 4: 0.70001}, 2),
        ({1: 0.91, 2: 0.82, 3: 0.66}, 3),  # quantized scores are others, the points are the same
        ({4: 0.99, 5: 0.95, 6: 0.93}, 0),  # quantized scores beyond the truth's make no point right
    ],
)
def test_a_point_counts_by_its_id_or_by_the_very_score_of_the_last(
    found: dict[int, float], matched: int
) -> None:
    """A better score counts for nothing by itself: quantized vectors have scores of their own."""
    assert matches(truth_of(points({1: 0.9, 2: 0.8, 3: 0.7})), points(found)) == matched


def test_large_scores_are_one_within_the_rounding_of_32_bit_floats() -> None:
    """A dot product of long vectors has few digits behind the point."""
    truth = truth_of(points({1: 4_096.0}))

    assert matches(truth, points({2: 4_096.002})) == 1
    assert matches(truth, points({2: 4_096.01})) == 0


@pytest.mark.parametrize("last", [1e-12, 1e-6, 0.7, 1.0, 4_096.0, 1e20])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_scores_are_one_relative_to_their_size(last: float, sign: float) -> None:
    """Small distances differ in small numbers: an absolute share would make duplicates of neighbours."""
    last *= sign

    assert is_tied(last, last)
    assert is_tied(last * (1 + 9e-7), last)
    assert is_tied(last * (1 - 9e-7), last)
    assert not is_tied(last * (1 + 1.1e-6), last)
    assert not is_tied(last * (1 - 1.1e-6), last)
    assert not is_tied(-last, last)


def test_with_a_score_of_nothing_only_that_very_score_is_one() -> None:
    """Points at no distance are duplicates of the query; at any distance they are others."""
    assert is_tied(0.0, 0.0)
    assert is_tied(-0.0, 0.0)
    assert not is_tied(1e-30, 0.0)
    assert not is_tied(0.0, 1e-30)


def test_of_near_points_those_at_another_distance_are_missed() -> None:
    """Of vectors that hardly differ: an index that finds others than the nearest is told so."""
    truth = truth_of(points({1: 1e-9, 2: 2e-9, 3: 3e-9}))

    assert truth == Truth((1, 2), (3,), 3e-9)
    assert matches(truth, points({1: 1e-9, 4: 4e-9, 5: 5e-9})) == 1
    assert matches(truth, points({1: 1e-9, 2: 2e-9, 4: 3e-9})) == 3


def best_of(scores: Mapping[int, float], seen: Sequence[int], k: int) -> tuple[FoundPoint, ...]:
    """Return the best k of these points; of equal ones those that come first in `seen`."""
    ordered = sorted(seen, key=lambda one: -scores[one])
    return tuple(FoundPoint(id=one, score=scores[one]) for one in ordered[:k])


def counted(truth: Sequence[FoundPoint], found: Sequence[FoundPoint]) -> int:
    """Count what was found by hand: each point stands for itself, a tied one for any tied one."""
    last = truth[-1].score if truth else 0.0
    better = {point.id for point in truth if point.score != last}
    places = len(truth) - len(better)
    tied = sum(1 for point in found if point.score == last)
    return sum(1 for point in found if point.id in better) + min(places, tied)


# scores of few values, so that ties are common; each list is an order in which points are met
stored = st.dictionaries(st.integers(0, 30), st.sampled_from([0.25, 0.5, 0.75, 1.0]), max_size=12)


@settings(max_examples=200, deadline=None)
@given(stored, st.integers(1, 8), st.data())
def test_recall_is_that_of_a_count_by_hand(scores: dict[int, float], k: int, data: st.DataObject) -> None:
    """Whatever the index missed, in whatever order equal points come."""
    truth = best_of(scores, data.draw(st.permutations(sorted(scores))), k)
    visited = data.draw(st.lists(st.sampled_from(sorted(scores)), unique=True)) if scores else []
    found = best_of(scores, visited, k)

    assert counted(truth, found) == matches(truth_of(truth), found)
    assert len(truth) == truth_of(truth).expected == matches(truth_of(truth), truth)


def test_points_tied_with_the_last_stand_for_no_better_one() -> None:
    """Of duplicates an index finds plenty; the one point that is nearer is missed all the same."""
    truth = truth_of(points({1: 1.0, 2: 0.5}))

    assert matches(truth, points({3: 0.5, 4: 0.5})) == 1


def test_a_quantized_score_makes_no_second_point_of_one_that_was_found() -> None:
    """The nearest point is found, with just the score of the last one: the last one is still missed."""
    truth = truth_of(points({1: 1.0, 2: 0.5}))

    assert matches(truth, points({1: 0.5, 3: 0.25})) == 1
    assert matches(truth, points({1: 0.5, 2: 0.75})) == 2


@pytest.mark.parametrize("version", ["v1.12.6", "v1.16.3", "v1.18.3"])
def test_recorded_searches_compare(version: str) -> None:
    """The same query through the index and exactly, over 40,500 points; the index of 1.16.3 missed some."""
    read = {
        name: read_points(recording(f"{version}/single/query/{name}").body, QUERY_ENDPOINT).result.points
        for name in ("exact", "approx", "approx_ef")
    }
    truth = truth_of(read["exact"])

    assert matches(truth, read["exact"]) == truth.expected == 10
    for name in ("approx", "approx_ef"):
        in_both = {one.id for one in read[name]} & {one.id for one in read["exact"]}
        assert matches(truth, read[name]) == len(in_both)


# Comparing


async def test_recall_is_what_the_index_found_of_what_an_exact_search_finds(asked: Asked) -> None:
    """Both of the same query, the exact one first; one more is asked for, as the own point takes a place."""
    asked.collection.missed = {39, 35, 31, 7}

    compared = await asked.searcher(limit=10).compare(asked.lanes, query(), STATE)

    assert (compared.expected, compared.matched) == (10, 7)
    assert asked.collection.asked == ["exact", "approximate"]
    assert [body["limit"] for body in asked.collection.bodies] == [11, 11]
    assert [body["query"] for body in asked.collection.bodies] == [[40.0], [40.0]]


async def test_a_query_whose_own_point_is_gone_still_compares_k(asked: Asked) -> None:
    """It was deleted since, or the filter leaves it out: then the answer has one too many."""
    del asked.collection.vectors[40]
    asked.collection.missed = {39}

    compared = await asked.searcher(limit=10).compare(asked.lanes, query(), STATE)

    assert (compared.expected, compared.matched) == (10, 9)


async def test_a_written_query_has_no_own_point(asked: Asked) -> None:
    """So just k are asked for."""
    compared = await asked.searcher(limit=10).compare(asked.lanes, query(None), STATE)

    assert (compared.expected, compared.matched) == (10, 10)
    assert [body["limit"] for body in asked.collection.bodies] == [10, 10]


@pytest.mark.parametrize(("held", "expected"), [(4, 3), (1, 0)])
async def test_a_collection_smaller_than_k_expects_what_it_holds(
    asked: Asked, held: int, expected: int
) -> None:
    """Nothing at all, where the query's own point is the only one."""
    asked.collection.vectors = {40 - number: [1.0] for number in range(held)}

    compared = await asked.searcher(limit=10).compare(asked.lanes, query(), STATE)

    assert (compared.expected, compared.matched) == (expected, expected)


async def test_within_strict_mode_k_shrinks_by_the_own_points_place(asked: Asked) -> None:
    """Five may be asked for, so four are compared."""
    strict = StrictMode(enabled=True, max_query_limit=5)

    compared = await asked.searcher(limit=10, strict=strict).compare(asked.lanes, query(), STATE)

    assert compared.expected == 4
    assert [body["limit"] for body in asked.collection.bodies] == [5, 5]


async def test_an_exact_answer_is_known_while_the_data_are_the_same(asked: Asked) -> None:
    """It is the dear half; another state of the collection asks anew."""
    searcher = asked.searcher()

    first = await searcher.compare(asked.lanes, query(), STATE)
    asked.clock.advance(100_000.0)
    again = await searcher.compare(asked.lanes, query(), ("collection", 7))
    asked.collection.vectors[41] = [41.0]
    changed = await searcher.compare(asked.lanes, query(), ("collection", 8))

    assert asked.collection.asked == ["exact", "approximate", "approximate", "exact", "approximate"]
    assert [one.exact is None for one in (first, again, changed)] == [False, True, False]
    assert [(one.expected, one.matched) for one in (first, again, changed)] == [(10, 10)] * 3


async def test_before_1_17_an_exact_answer_counts_for_ten_minutes(asked: Asked) -> None:
    """Nothing there tells that the data changed."""
    searcher = asked.searcher()

    for pause in (0.0, TRUTH_SECONDS, 0.5, TRUTH_SECONDS):
        asked.clock.advance(pause)
        await searcher.compare(asked.lanes, query(), None)

    known = ["exact", "approximate", "approximate"]
    assert asked.collection.asked == known + known


async def test_an_answer_of_a_state_is_none_of_an_unknown_one(asked: Asked) -> None:
    """Nor the other way round, while the servers of a cluster are upgraded."""
    searcher = asked.searcher()

    for state in (None, STATE, None):
        await searcher.compare(asked.lanes, query(), state)

    assert asked.collection.asked.count("exact") == 3


async def test_exact_answers_are_known_for_their_very_query(asked: Asked) -> None:
    """By its point or its vector, by the vector's name and by the filter."""
    searcher = asked.searcher()
    queries = [
        Query(b"[1.0]", "", own_id=1),
        Query(b"[1.0]", "", own_id=2),
        Query(b"[1.0]", ""),
        Query(b"[2.0]", ""),
        Query(b"[2.0]", "title"),
        Query(b"[2.0]", "", filter=b'{"must":[]}'),
    ]

    for one in (*queries, *queries):
        await searcher.compare(asked.lanes, one, STATE)

    assert asked.collection.asked.count("exact") == len(queries)


async def test_of_exact_answers_the_newest_few_are_kept(asked: Asked) -> None:
    """Two vectors' whole pools, and no more however many queries a person wrote."""
    searcher = asked.searcher()
    written = [query(None, f"[{number}]".encode()) for number in range(TRUTHS_KEPT + 1)]
    for one in written:
        await searcher.compare(asked.lanes, one, STATE)
    del asked.collection.asked[:]

    await searcher.compare(asked.lanes, written[-1], STATE)
    await searcher.compare(asked.lanes, written[1], STATE)
    await searcher.compare(asked.lanes, written[0], STATE)

    assert asked.collection.asked == ["approximate", "approximate", "exact", "approximate"]


async def test_an_exact_answer_of_another_k_is_not_used_again(asked: Asked) -> None:
    """Somebody switches strict mode on: of ten points five are asked for, and all of those are found."""
    searcher = asked.searcher(limit=10)
    await searcher.compare(asked.lanes, query(), STATE)
    strict = StrictMode(enabled=True, max_query_limit=6)
    searcher.asking = asked.searcher(limit=10, strict=strict).asking

    compared = await searcher.compare(asked.lanes, query(), STATE)

    assert compared.matched == compared.expected == 5


def refused(status: int, **headers: str) -> web.Response:
    """Return an answer that says no."""
    return web.json_response({"status": {"error": "no"}}, status=status, headers=headers)


async def test_where_the_exact_search_fails_nothing_else_is_asked(asked: Asked) -> None:
    """The peer has trouble enough; and nothing is known from it."""
    asked.collection.says = {"exact": refused(500)}
    searcher = asked.searcher()

    compared = await searcher.compare(asked.lanes, query(), STATE)
    asked.collection.says = {}
    afterwards = await searcher.compare(asked.lanes, query(), STATE)

    assert compared.exact is not None
    assert (compared.exact.reason, compared.approximate) == (Failure.SERVER_ERROR, None)
    assert (compared.expected, compared.matched) == (0, 0)
    assert (afterwards.expected, afterwards.matched) == (10, 10)


async def test_where_the_approximate_search_fails_its_failure_is_told(asked: Asked) -> None:
    """That it matched nothing is then no statement about the index."""
    asked.collection.says = {"approximate": refused(429, **{"Retry-After": "12"})}

    compared = await asked.searcher().compare(asked.lanes, query(), STATE)

    assert compared.approximate is not None
    assert compared.approximate.reason is Failure.RATE_LIMITED
    assert compared.approximate.retry_after_seconds == 12.0
    assert compared.approximate.answer is None


# Searching


async def test_a_search_brings_its_points_and_the_servers_own_time(asked: Asked) -> None:
    """Through the very collection, however odd its name."""
    found = await asked.searcher(name="a b/ü%").search(asked.lanes, query(), limit=3, exact=False)

    assert found.answer is not None
    assert [(point.id, point.score) for point in found.answer.result.points] == [
        (40, 40.0), (39, 39.0), (38, 38.0),
    ]  # fmt: skip
    assert found.answer.time == 0.00125
    assert (found.reason, found.failure, found.retry_after_seconds) == (None, None, None)
    assert asked.collection.targets == ["/collections/a%20b%2F%C3%BC%25/points/query?timeout=5"]


@pytest.mark.parametrize(
    ("deadline", "allowed", "timeout"),
    [(5.0, None, 5), (7.9, None, 8), (0.1, None, 1), (5.0, 3, 3), (5.0, 60, 5)],
)
async def test_the_server_is_told_when_to_give_up_in_whole_seconds_from_1(
    asked: Asked, deadline: float, allowed: int | None, timeout: int
) -> None:
    """It refuses 0, and what strict mode does not allow."""
    strict = StrictMode(enabled=True, max_timeout=allowed)
    searcher = asked.searcher(strict=strict, deadline_seconds=deadline)

    await searcher.search(asked.lanes, query(), limit=1, exact=False)

    assert asked.collection.targets == [f"/collections/docs/points/query?timeout={timeout}"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b'{"result":{}}',
        b'{"result":[]}',
        b'{"result":{"points":[]}}',
        b'{"result":{"points":[{"id":null}]},"time":1}',
    ],
)
async def test_a_good_status_with_an_answer_that_does_not_read_is_a_bad_answer(
    asked: Asked, body: bytes
) -> None:
    """What took its time is told all the same."""
    asked.collection.says = {"approximate": web.Response(body=body, content_type="application/json")}

    found = await asked.searcher().search(asked.lanes, query(), limit=1, exact=False)

    assert isinstance(found.failure, BadPayload)
    assert found.reason is Failure.BAD_ANSWER
    assert found.answer is None
    assert found.timed.failure is None


async def test_a_query_that_the_server_calls_wrong_is_no_failure_of_it(asked: Asked) -> None:
    """What is configured does not fit the collection."""
    asked.collection.says = {"approximate": refused(400)}

    found = await asked.searcher().search(asked.lanes, query(), limit=1, exact=False)

    assert isinstance(found.failure, SourceRefused)
    assert found.reason is Skip.REFUSED


@pytest.mark.parametrize(
    ("text", "reason"),
    [("Not found: No point with id 7 found", Skip.REFUSED), ("Not found: Collection", Failure.NOT_FOUND)],
)
async def test_a_written_query_by_a_point_that_is_gone_is_no_failure_of_the_server(
    asked: Asked, text: str, reason: Failure | Skip
) -> None:
    """That the collection is gone is one."""
    told = web.json_response({"status": {"error": text}}, status=404)
    asked.collection.says = {"exact": told, "approximate": told}
    searcher = asked.searcher(pool=WrittenPool([WrittenQuery(b"7")]))
    written = searcher.next_query(SEARCH, [UNNAMED])
    assert written is not None

    found = await searcher.search(asked.lanes, written, limit=1, exact=False)
    compared = await searcher.compare(asked.lanes, written, STATE)

    assert asked.collection.bodies[0]["query"] == 7
    assert found.reason is reason
    assert compared.exact is not None
    assert compared.exact.reason is reason


# Sampling


async def replenished(asked: Asked, searcher: Searcher, version: Version | None = NEW) -> Found:
    """Fetch a sample that must be wanted."""
    found = await searcher.replenish(asked.lanes, version)
    assert found is not None
    return found


@pytest.mark.parametrize("version", [NEW, Version(1, 11, 0), None])
async def test_the_pool_is_filled_with_a_random_sample(asked: Asked, version: Version | None) -> None:
    """Of an unreadable version too: then the newest is the likeliest."""
    searcher = asked.searcher()

    await replenished(asked, searcher, version)

    assert asked.collection.bodies == [
        {"query": {"sample": "random"}, "limit": 16, "with_payload": False, "with_vector": True}
    ]
    assert searcher.pool.next("") == Query(b"[1.0]", "", own_id=1)


async def test_before_1_11_the_pool_is_filled_by_scrolling_on(asked: Asked) -> None:
    """Each time from where the last one ended, and from the start again after the end."""
    pool = Pool(limit_bytes=1 << 20)
    searcher = asked.searcher(pool=pool)

    for _ in range(4):
        await replenished(asked, searcher, OLD)
        pool.clear()

    assert asked.collection.asked == ["scroll"] * 4
    assert [body.get("offset") for body in asked.collection.bodies] == [None, 17, 33, None]
    assert asked.collection.targets[0] == "/collections/docs/points/scroll?timeout=5"


async def test_a_filled_pool_is_left_alone_until_it_is_old(asked: Asked) -> None:
    """Then a few are exchanged."""
    searcher = asked.searcher()
    await replenished(asked, searcher)

    meanwhile = await searcher.replenish(asked.lanes, NEW)
    asked.clock.advance(REFRESH_SECONDS)
    await replenished(asked, searcher)

    assert meanwhile is None
    assert [body["limit"] for body in asked.collection.bodies] == [16, 4]


async def test_named_vectors_are_fetched_by_name(asked: Asked) -> None:
    """And no others: a collection may hold large ones that nobody searches."""
    asked.collection.vectors = {7: {"title": [0.5], "bm25": {"indices": [1], "values": [2.0]}}}
    searcher = asked.searcher(VectorSeen("title", 1, "Dot"), VectorSeen("bm25", None, None))

    await replenished(asked, searcher)

    assert asked.collection.bodies[0]["with_vector"] == ["title", "bm25"]
    sparse = searcher.pool.next("bm25")
    assert sparse is not None
    assert msgspec.json.decode(sparse.vector) == {"indices": [1], "values": [2.0]}


async def test_no_more_is_fetched_than_fits_and_than_strict_mode_allows(asked: Asked) -> None:
    """65,536 numbers take 768 KB as text, of a megabyte."""
    large = asked.searcher(VectorSeen("", 65_536, "Dot"))
    strict = asked.searcher(strict=StrictMode(enabled=True, max_query_limit=5))

    await replenished(asked, large)
    await replenished(asked, strict)

    assert [body["limit"] for body in asked.collection.bodies] == [1, 5]


async def test_a_collection_that_became_empty_empties_its_pool(asked: Asked) -> None:
    """Its old vectors would search for what is no more."""
    searcher = asked.searcher()
    await replenished(asked, searcher)
    asked.collection.vectors = {}
    asked.clock.advance(REFRESH_SECONDS)

    found = await replenished(asked, searcher)

    assert found.failure is None
    assert searcher.pool.next("") is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refused(500), Failure.SERVER_ERROR),
        (refused(404), Failure.NOT_FOUND),
        (web.Response(body=b"{"), Failure.BAD_ANSWER),
        (
            web.Response(body=b'{"result":{"points":[{"id":1,"vector":{"\xff":[1]}}]},"time":1}'),
            Failure.BAD_ANSWER,
        ),
    ],
)
async def test_a_sample_that_fails_leaves_the_pool_as_it_is(
    asked: Asked, answer: web.Response, reason: Failure
) -> None:
    """The vectors of before are good to search with."""
    searcher = asked.searcher()
    await replenished(asked, searcher)
    asked.collection.says = {"sample": answer}
    asked.clock.advance(REFRESH_SECONDS)

    found = await replenished(asked, searcher)

    assert found.reason is reason
    assert searcher.pool.next("") == Query(b"[1.0]", "", own_id=1)


async def test_written_queries_need_no_sample(asked: Asked) -> None:
    """They are a person's own, all that there are."""
    searcher = asked.searcher(pool=WrittenPool([WrittenQuery(b"[1]")]))

    assert await searcher.replenish(asked.lanes, NEW) is None
    assert asked.collection.asked == []


TITLES = [VectorSeen(name, 1, "Dot") for name in ("body", "img", "title")]


async def test_vectors_are_searched_each_in_turn(asked: Asked) -> None:
    """Whichever comes first."""
    asked.collection.vectors = {one: {"body": [1.0], "img": [1.0], "title": [1.0]} for one in range(20)}
    searcher = asked.searcher(*TITLES)
    await replenished(asked, searcher)

    queries = [searcher.next_query(SEARCH, TITLES) for _ in range(6)]

    names = [None if one is None else one.using for one in queries]
    assert set(names[:3]) == {"body", "img", "title"}
    assert names[3:] == names[:3]


async def test_a_vector_without_a_query_gives_its_turn_to_the_next(asked: Asked) -> None:
    """No point has it; where none has any there is no query at all."""
    asked.collection.vectors = {one: {"body": [1.0], "title": [1.0]} for one in range(20)}
    searcher = asked.searcher(*TITLES)
    before = searcher.next_query(SEARCH, TITLES)
    await replenished(asked, searcher)

    queries = [searcher.next_query(SEARCH, TITLES) for _ in range(6)]

    assert before is None
    assert {None if one is None else one.using for one in queries} == {"body", "title"}


@pytest.mark.parametrize("searches_between", [1, 5])
async def test_searches_and_comparisons_both_see_every_vector(asked: Asked, searches_between: int) -> None:
    """However many searches come between two comparisons; by default it is five."""
    seen = CollectionSeen("docs", 1, None, (), 0, (TITLES[0], TITLES[2]))
    asked.collection.vectors = {one: {"body": [1.0], "title": [1.0]} for one in range(20)}
    probed = Probed(name="docs", settings=ProbeSettings(), seen=seen, clock=asked.clock)
    probed.update(seen, 1 << 20)

    for _ in range(4):
        for _ in range(searches_between):
            await probed.run(SEARCH, asked.lanes, NEW, None)
        await probed.run(RECALL, asked.lanes, NEW, STATE)

    compared = [
        reading.labels[-1]
        for reading in probed.readings(RECALL, "default", 60.0)
        if reading.spec.name == "qdrantx_recall_expected_total"
    ]
    assert sorted(compared) == ["body", "title"]
