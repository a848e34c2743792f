"""What the probes ask of a server: stored vectors to search with, exact answers, points of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from exporter.clock import SystemClock
from exporter.config.probes import ProbeSettings, ProbesSettings, RecallSettings
from exporter.observe.probes.asking import asking_of
from exporter.observe.probes.canary import Canary
from exporter.observe.probes.canary_book import TIMED, Phase
from exporter.observe.probes.canary_collection import CanaryPeer, StepError, remove
from exporter.observe.probes.plan import Plan, plan_of, searches_of_all
from exporter.observe.probes.pool import Pool, Query
from exporter.observe.probes.reasons import Failure, Skip
from exporter.observe.probes.searches import Found, Searcher
from exporter.observe.sources import segments, telemetry
from exporter.observe.sources.remembered import Remembered
from exporter.observe.sources.segments import ShardSegmentsSeen
from exporter.observe.sources.telemetry import CollectionSeen
from exporter.qdrant import canary as requests
from exporter.qdrant.canary import CANARY_COLLECTION
from exporter.qdrant.canary import PATH as CANARY_PATH
from exporter.qdrant.door import Door
from exporter.qdrant.lanes import Lanes
from exporter.qdrant.payloads import Telemetry, result
from exporter.qdrant.search import (
    QUERY_ENDPOINT,
    SCROLL_ENDPOINT,
    points_request,
    read_points,
    sample_body,
    scroll_body,
    search_body,
    vector_of,
)
from exporter.qdrant.versions import Version
from tests.contract.ground import DIMENSION, RELEASED, TELEMETRY, Qdrant, path_of
from tests.contract.look import QUICK, key_of, settings_for
from tests.contract.test_shapes import NAMED_POINT, NAMED_VECTORS
from tests.kit.watching import Watching, named

POINTS = 1_500
LIMIT = 10
DEADLINE_SECONDS = 10.0
KINDS = {**NAMED_VECTORS, "halves": {"size": 4, "distance": "Euclid", "datatype": "float16"}}
A_POINT = {**NAMED_POINT, "halves": [0.5, -2.0, 0.25, 1.0]}
NAMES = tuple(A_POINT)
# So few links that an index of a thousand points misses some, and a threshold that lets it be used.
THIN_GRAPH = {"m": 4, "ef_construct": 10, "full_scan_threshold": 10}
OLD, NEW = Version(1, 10, 1), Version(1, 18, 3)


@asynccontextmanager
async def lanes_to(qdrant: Qdrant, url: str | None = None) -> AsyncIterator[Lanes]:
    """Lanes to a peer, to the first where no other is named."""
    lanes = Lanes(door=Door(url=url or qdrant.urls[0], **key_of(qdrant)), clock=SystemClock())
    try:
        yield lanes
    finally:
        await lanes.close()


async def of_kinds(qdrant: Qdrant) -> str:
    """A collection with vectors of every kind; its points are turns of one."""
    name = await qdrant.create("kinds", vectors=KINDS, sparse_vectors={"terms": {}})
    points = [
        {"id": number, "vector": {**A_POINT, "title": [float(number), 1.0, 0.0, 0.0]}}
        for number in range(1, 9)
    ]
    await qdrant.result("PUT", f"{path_of(name)}/points?wait=true", {"points": points})
    return name


async def seen(qdrant: Qdrant, name: str) -> CollectionSeen:
    """A collection as the telemetry source reads it."""
    answer = await qdrant.ask("GET", TELEMETRY.format(level=3))
    told = result(answer.text.encode(), Telemetry, telemetry.ENDPOINT)
    read = telemetry.read(told, Remembered(endpoint=telemetry.ENDPOINT), telemetry.Parts())
    return read.collections[name]


async def searcher_of(qdrant: Qdrant, name: str, **chosen: Any) -> Searcher:
    """What searches a collection as these settings say."""
    asking = asking_of(ProbeSettings(**chosen), await seen(qdrant, name))
    return Searcher(collection=name, asking=asking, pool=Pool(limit_bytes=1 << 20), clock=SystemClock())


# Vectors to search with


@pytest.mark.parametrize("route", ["query", "scroll"])
async def test_a_vector_of_every_kind_comes_out_as_it_goes_in_again(qdrant: Qdrant, route: str) -> None:
    """Sampled, or scrolled through before 1.11: dense, of bytes and of half floats, sparse, of many rows."""
    name = await of_kinds(qdrant)
    found: dict[str, int] = {}
    async with lanes_to(qdrant) as lanes:
        body = sample_body(NAMES, 3) if route == "query" else scroll_body(NAMES, 3, None)
        request = points_request(name, route, body, timeout_seconds=DEADLINE_SECONDS)
        endpoint = QUERY_ENDPOINT if route == "query" else SCROLL_ENDPOINT
        sampled = await lanes.call(request, endpoint=endpoint, deadline_seconds=DEADLINE_SECONDS)
        assert sampled.failure is None
        stored = read_points(sampled.body, endpoint).result.points
        for vector in NAMES:
            told = vector_of(stored[0], vector)
            assert told is not None, vector
            body = search_body(told, using=vector, limit=2)
            request = points_request(name, "query", body, timeout_seconds=DEADLINE_SECONDS)
            answer = await lanes.call(request, endpoint=QUERY_ENDPOINT, deadline_seconds=DEADLINE_SECONDS)
            assert answer.failure is None, vector
            found[vector] = len(read_points(answer.body, QUERY_ENDPOINT).result.points)

    assert len(stored) == 3
    assert found == dict.fromkeys(NAMES, 2)


async def test_the_unnamed_vector_is_sampled_without_a_name(qdrant: Qdrant) -> None:
    """As one list; and what is sampled lies in the collection."""
    name = await qdrant.create()
    await qdrant.write(name, 50)
    async with lanes_to(qdrant) as lanes:
        searcher = await searcher_of(qdrant, name)
        sampled = await searcher.replenish(lanes, NEW)
        query = searcher.pool.next("")
        assert query is not None
        searched = await searcher.search(lanes, query, limit=LIMIT, exact=False)

    assert (sampled is not None, sampled and sampled.failure) == (True, None)
    assert isinstance(query.own_id, int)
    assert query.own_id < 50
    stored = await qdrant.result(
        "POST", f"{path_of(name)}/points", {"ids": [query.own_id], "with_vector": True}
    )
    assert stored[0]["vector"] == searched_vector(query)
    assert searched.answer is not None
    assert len(searched.answer.result.points) == LIMIT
    assert searched.answer.time > 0


def searched_vector(query: Query) -> Any:
    """The vector of a query."""
    return msgspec.json.decode(query.vector)


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_an_empty_collection_hands_out_no_vector_and_fails_nothing(
    qdrant: Qdrant, version: Version
) -> None:
    """No points in a good answer: by a sample or by a scroll."""
    name = await qdrant.create()
    async with lanes_to(qdrant) as lanes:
        searcher = await searcher_of(qdrant, name)
        sampled = await searcher.replenish(lanes, version)

    assert sampled is not None
    assert sampled.failure is None
    assert searcher.pool.next("") is None


# Recall


async def thin(qdrant: Qdrant) -> str:
    """A collection whose index misses some neighbours, one shard with one segment."""
    optimizers = {"indexing_threshold": 10, "default_segment_number": 1, **RELEASED}
    vectors = {"size": DIMENSION, "distance": "Cosine"}
    name = await qdrant.create(
        vectors=vectors, hnsw_config=THIN_GRAPH, optimizers_config=optimizers, shard_number=1
    )
    await qdrant.write(name, POINTS)
    await qdrant.until_all_indexed(name, POINTS)
    return name


async def test_recall_is_that_of_a_count_by_hand_from_exact_answers(qdrant: Qdrant) -> None:
    """Of stored vectors, each without its own point; the index misses some of what is there."""
    name = await thin(qdrant)
    by_hand, compared = [], []
    async with lanes_to(qdrant) as lanes:
        searcher = await searcher_of(qdrant, name, hnsw_ef=LIMIT, limit=LIMIT)
        await searcher.replenish(lanes, NEW)
        queries = [query for _ in range(12) if (query := searcher.pool.next("")) is not None]
        for query in queries:
            one = await searcher.compare(lanes, query, None)
            compared.append((one.expected, one.matched))
            by_hand.append(await counted_by_hand(qdrant, name, query))

    assert len(queries) == 12
    assert compared == by_hand
    expected, matched = (sum(column) for column in zip(*compared, strict=True))
    assert expected == LIMIT * len(queries)
    assert 0.2 * expected < matched < expected


async def counted_by_hand(qdrant: Qdrant, name: str, query: Query) -> tuple[int, int]:
    """Search the REST API exactly and through the index; count the points and those in both answers."""
    answers = []
    for params in ({"exact": True}, {"hnsw_ef": LIMIT}):
        body = {"query": searched_vector(query), "limit": LIMIT + 1, "params": params}
        answer = await qdrant.result("POST", f"{path_of(name)}/points/query", body)
        answers.append([point for point in answer["points"] if point["id"] != query.own_id][:LIMIT])
    exact, found = answers
    last = exact[-1]["score"]
    return len(exact), sum(1 for point in found if point["score"] >= last - 1e-6)


async def test_the_daemon_measures_recall_and_tells_through_what_it_was_found(qdrant: Qdrant) -> None:
    """As in production, only more often: searches through every peer, and the plan from segments' counts."""
    name = await thin(qdrant)
    recall = RecallSettings.model_construct(interval_seconds=0.05, latency_target_seconds=60.0)
    pattern = ProbeSettings.model_construct(interval_seconds=0.1, hnsw_ef=LIMIT, recall=recall)
    probes = ProbesSettings(collections=(pattern,), budget_ratio=0.5)
    ratio = f"recall_ratio{{collection={name},vector=}}"
    # the embedded server counts no searches, so that nothing tells a graph that is there from its use
    plan = Plan.UNKNOWN if qdrant.embedded else Plan.HNSW
    told = f"recall_plan{{collection={name},vector=,plan={plan}}}"
    async with Watching(settings_for(qdrant, poll=QUICK, probes=probes)) as watching:
        readings = await watching.until(lambda seen: ratio in seen and told in seen, seconds=20.0)

    assert 0.2 < readings[ratio] < 1
    assert {value for series, value in readings.items() if series.startswith("probe_failures")} == {0}
    peers = {url.removeprefix("http://") for url in qdrant.urls}
    searches = {peer: f"peer_probe_duration_seconds_count{{peer={peer},probe=search}}" for peer in peers}
    assert all(readings[series] > 0 for series in searches.values())


# How the server answers


async def replicas(qdrant: Qdrant, name: str) -> list[tuple[int, ShardSegmentsSeen]]:
    """The segments of every replica with its shard, as the segments source reads them."""
    found: list[tuple[int, ShardSegmentsSeen]] = []
    for url in qdrant.urls:
        answer = await qdrant.ask("GET", TELEMETRY.format(level=4), url=url)
        read = segments.read(answer.text.encode(), Remembered(endpoint=segments.ENDPOINT))
        found += read.shards.get(name, {}).items()
    return found


async def searched(qdrant: Qdrant, name: str, times: int, *, exact: bool = False) -> None:
    """Search through the index, or exactly."""
    async with lanes_to(qdrant) as lanes:
        searcher = await searcher_of(qdrant, name)
        await searcher.replenish(lanes, NEW)
        for _ in range(times):
            query = searcher.pool.next("")
            assert query is not None
            found = await searcher.search(lanes, query, limit=LIMIT, exact=exact)
            assert found.failure is None


async def test_a_segment_under_the_full_scan_threshold_is_scanned_though_it_has_an_index(
    qdrant: Qdrant,
) -> None:
    """What we expect of its searches from its size alone."""
    optimizers = {"indexing_threshold": 10, "default_segment_number": 1, **RELEASED}
    name = await qdrant.create(optimizers_config=optimizers, shard_number=1)
    await qdrant.write(name, POINTS)
    await qdrant.until_all_indexed(name, POINTS)
    before = searches_of_all(await replicas(qdrant, name), "")

    await searched(qdrant, name, 5)

    after = searches_of_all(await replicas(qdrant, name), "")
    assert after.graph_points == 0
    assert plan_of(before, after, 5) is Plan.SCAN
    assert after.served.graph == 0
    if qdrant.embedded is None:  # which counts no searches; a real one none in an empty segment
        assert 5 <= after.served.scan - before.served.scan <= 5 * after.segments_a_search


async def test_a_segment_over_it_is_searched_through_its_graph_and_exact_searches_count_nowhere(
    real: Qdrant,
) -> None:
    """Each search once in each segment that holds points."""
    name = await thin(real)
    before = searches_of_all(await replicas(real, name), "")

    await searched(real, name, 5)
    after = searches_of_all(await replicas(real, name), "")
    await searched(real, name, 3, exact=True)
    exactly = searches_of_all(await replicas(real, name), "")

    assert after.graph_points == POINTS
    assert plan_of(before, after, 5) is Plan.HNSW
    assert after.served.graph - before.served.graph == 5
    moved = sum(after.served) - sum(before.served)
    assert 5 <= moved <= 5 * after.segments_a_search
    assert exactly.served == after.served


# How the server says no


async def refused(qdrant: Qdrant, name: str, vector: Sequence[float], **body: Any) -> Found:
    """Send a search as it is, whatever the collection allows."""
    asked = {"query": list(vector), "limit": 2, **body}
    async with lanes_to(qdrant) as lanes:
        request = points_request(name, "query", asked, timeout_seconds=DEADLINE_SECONDS)
        timed = await lanes.call(request, endpoint=QUERY_ENDPOINT, deadline_seconds=DEADLINE_SECONDS)
    return Found(timed, failure=timed.failure)


async def test_a_collection_that_is_gone_is_not_found(qdrant: Qdrant) -> None:
    """404 with a reason, which is a failure."""
    found = await refused(qdrant, f"{qdrant.prefix}nosuch", [1.0] * DIMENSION)

    assert found.reason is Failure.NOT_FOUND


@pytest.mark.parametrize(
    "body",
    [
        {"query": [1.0, 2.0]},
        {"using": "nosuch"},
        {"filter": {"must": [{"nonsense": 1}]}},
    ],
)
async def test_a_query_that_does_not_fit_is_refused_and_no_failure(
    qdrant: Qdrant, body: dict[str, Any]
) -> None:
    """400: of another size, of a vector that is not there, with a filter that is none."""
    name = await qdrant.create()
    await qdrant.write(name, 10)

    found = await refused(qdrant, name, [1.0] * DIMENSION, **body)

    assert found.reason is Skip.REFUSED


STRICT = {"enabled": True, "max_query_limit": 5, "search_max_hnsw_ef": 16, "search_allow_exact": False}


@pytest.mark.parametrize("body", [{"limit": 6}, {"params": {"hnsw_ef": 17}}, {"params": {"exact": True}}, {}])
async def test_what_strict_mode_forbids_is_unsupported_by_its_text(
    real: Qdrant, body: dict[str, Any]
) -> None:
    """Every refusal ends with what helps; what is allowed passes."""
    name = await real.create(strict_mode_config=STRICT)
    await real.write(name, 10)

    found = await refused(real, name, [1.0] * DIMENSION, **body)

    assert found.reason is (Skip.UNSUPPORTED if body else None)


async def test_within_strict_mode_our_searches_pass(real: Qdrant) -> None:
    """It is in telemetry, and limit and ef are cut to it; no exact search would be sent."""
    name = await real.create(strict_mode_config=STRICT)
    await real.write(name, 50)
    async with lanes_to(real) as lanes:
        searcher = await searcher_of(real, name, limit=100, hnsw_ef=512)
        sampled = await searcher.replenish(lanes, NEW)
        query = searcher.pool.next("")
        assert query is not None
        found = await searcher.search(lanes, query, limit=searcher.asking.limit, exact=False)

    assert (sampled is not None, sampled and sampled.failure) == (True, None)
    assert found.answer is not None
    assert len(found.answer.result.points) == STRICT["max_query_limit"]
    assert searcher.asking.why_not_compare(50.0, 0.001) is Skip.UNSUPPORTED


async def test_over_the_read_rate_the_server_says_429_and_for_how_long(real: Qdrant) -> None:
    """So a probe may rest that long."""
    name = await real.create(strict_mode_config={"enabled": True, "read_rate_limit": 2}, shard_number=1)

    found = [await refused(real, name, [1.0] * DIMENSION) for _ in range(6)]

    limited = [one for one in found if one.reason is Failure.RATE_LIMITED]
    assert limited
    assert all(0 < (one.retry_after_seconds or 0) <= 60 for one in limited)
    assert {one.reason for one in found} == {None, Failure.RATE_LIMITED}
    assert (await searcher_of(real, name)).asking.shortest_interval_seconds == 900


# Points of our own


@asynccontextmanager
async def canary_peers(qdrant: Qdrant) -> AsyncIterator[list[CanaryPeer]]:
    """All peers with lanes of their own; the canary's collection is removed at the end."""
    several = len(qdrant.urls) > 1
    async with AsyncExitStack() as stack:
        peers = []
        for number, url in enumerate(qdrant.urls):
            told = await qdrant.result("GET", "/cluster", url=url)
            lanes = await stack.enter_async_context(lanes_to(qdrant, url))
            peers.append(CanaryPeer(f"peer{number}", told["peer_id"] if several else None, lanes))
        if (await qdrant.result("GET", f"{CANARY_PATH}/exists"))["exists"]:
            pytest.skip(f"somebody's canary is at work here: there is a collection {CANARY_COLLECTION}")
        try:
            yield peers
        finally:
            await remove(peers[0])


async def sent(peer: CanaryPeer, asked: requests.Asked) -> None:
    """Send a request that must succeed."""
    timed = await peer.lanes.call(asked.request, endpoint=asked.endpoint, deadline_seconds=30.0)
    assert timed.failure is None


def canary_of(peers: Sequence[CanaryPeer]) -> Canary:
    canary = Canary(instance="a-test", deadline_seconds=DEADLINE_SECONDS, clock=SystemClock())
    canary.book.keep([peer.label for peer in peers])
    return canary


def listed_of(peers: Sequence[CanaryPeer]) -> frozenset[int]:
    return frozenset(peer.peer_id for peer in peers if peer.peer_id is not None)


def told_of(canary: Canary, name: str) -> dict[str, float]:
    """Readings of one metric, by labels."""
    told = {named(reading): reading.value for reading in canary.book.readings("default", 60.0)}
    return {labels: value for labels, value in told.items() if labels.startswith(name)}


async def test_rounds_of_the_canary_pass_and_leave_nothing(qdrant: Qdrant) -> None:
    """Through every peer: in a cluster each writes to a shard of its own, under a key of its own."""
    async with canary_peers(qdrant) as peers:
        canary = canary_of(peers)

        made = [await canary.round(peers, listed_of(peers)) for _ in range(3)]

        assert [one.failures for one in made] == [{}, {}, {}]
        counts = told_of(canary, "canary_visible_seconds_count")
        assert counts == {
            f"canary_visible_seconds_count{{peer={peer.label},phase={phase}}}": 3
            for peer in peers
            for phase in TIMED
        }
        assert set(told_of(canary, "canary_failures_total").values()) == {0}
        assert set(made[-1].cost_seconds) == {peer.label for peer in peers}
        count = await qdrant.result("POST", f"{CANARY_PATH}/points/count", {"exact": True})
        assert count == {"count": 0}
        for url, peer in zip(qdrant.urls, peers, strict=True):
            placed = await qdrant.result("GET", f"{CANARY_PATH}/cluster", url=url)
            keys = [shard.get("shard_key") for shard in placed["local_shards"]]
            assert keys == [peer.key]


async def test_points_that_were_left_are_removed_by_the_next_round(qdrant: Qdrant) -> None:
    """Our own, whoever wrote them through which peer."""
    async with canary_peers(qdrant) as peers:
        first = canary_of(peers)
        await first.round(peers, listed_of(peers))
        for peer in peers:
            stamp = {"instance": "a-test", "written_at": 0.0}
            await sent(peer, requests.upsert(str(uuid4()), stamp, peer.key))

        made = await first.round(peers, listed_of(peers))

        count = await qdrant.result("POST", f"{CANARY_PATH}/points/count", {"exact": True})
        assert (made.failures, count) == ({}, {"count": 0})


async def test_a_collection_without_keys_is_made_anew_and_a_key_of_no_peer_goes(cluster: Qdrant) -> None:
    """What it was when its server stood alone, and when a peer more was there."""
    async with canary_peers(cluster) as peers:
        await sent(peers[0], requests.create(custom_sharding=False))

        first = await canary_of(peers).round(peers, listed_of(peers))
        await cluster.result("PUT", f"{CANARY_PATH}/shards", {"shard_key": "4711"})
        second = await canary_of(peers).round(peers, listed_of(peers))

        assert (first.failures, second.failures) == ({}, {})
        keys = await cluster.result("GET", f"{CANARY_PATH}/shards")
        assert {one["key"] for one in keys["shard_keys"]} == {peer.key for peer in peers}


async def test_the_collection_of_somebody_else_stays(qdrant: Qdrant) -> None:
    """Neither a round nor the verb touches it."""
    async with canary_peers(qdrant) as peers:
        await qdrant.result("PUT", CANARY_PATH, {"vectors": {"size": 4, "distance": "Cosine"}})
        try:
            made = await canary_of(peers).round(peers, listed_of(peers))
            with pytest.raises(StepError, match="no write canary made"):
                await remove(peers[0])
            info = await qdrant.info(CANARY_COLLECTION)
        finally:
            await qdrant.result("DELETE", CANARY_PATH)

        assert made.failures.keys() == {(peers[0].label, Phase.PREPARE)}
        assert info["config"]["params"]["vectors"]["distance"] == "Cosine"


async def test_points_written_without_waiting_are_seen_in_order_with_their_deletion(qdrant: Qdrant) -> None:
    """The canary's deletion must never overtake its write."""
    async with canary_peers(qdrant) as peers:
        await canary_of(peers).round(peers, listed_of(peers))
        for _ in range(20):
            point = str(uuid4())
            stamp = {"instance": "another", "written_at": 4e9}
            for asked in (
                requests.upsert(point, stamp, peers[0].key),
                requests.delete_point(point, peers[0].key),
            ):
                timed = await peers[0].lanes.call(
                    asked.request, endpoint=asked.endpoint, deadline_seconds=5.0
                )
                assert timed.failure is None

        async def gone() -> bool:
            count = await qdrant.result("POST", f"{CANARY_PATH}/points/count", {"exact": True})
            return bool(count == {"count": 0})

        await qdrant.until(gone, what="every point is gone")
