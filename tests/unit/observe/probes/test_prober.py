"""Probes as in production: a real watch on a real Board, against the real engine and servers that err."""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from rich.console import Console

from exporter.config.probes import CanarySettings, ProbeSettings, ProbesSettings, RecallSettings
from exporter.config.queries_file import read_queries_file
from exporter.config.secret import Secret
from exporter.config.settings import Settings
from exporter.embedded.demo_data import ClusteredVectors
from exporter.observe.probes.book import MIN_PROBES, MIN_RECALL_QUERIES, MIN_SAMPLES_P95
from exporter.observe.probes.canary_book import TIMED
from exporter.observe.probes.canary_collection import NEEDS_A_KEY
from exporter.observe.probes.pool import VECTORS_A_NAME
from exporter.observe.probes.reasons import RECALL_SKIPS, SEARCH_SKIPS, Failure, Skip
from exporter.once import Output, once
from exporter.qdrant.canary import CANARY_COLLECTION
from tests.kit.replay import ReplayServer, Reply, replies_of
from tests.kit.scripted import ScriptedCluster
from tests.kit.watching import Watching, cluster_of
from tests.unit.embedded.kit import DIMENSION, SMALL_CONFIG, Served, serving

FEW = tuple(ClusteredVectors(dimension=DIMENSION, seed=1).points(range(40)))
# Twenty searches a second: what a day takes at a minute is seen in seconds.
QUICK_SECONDS = 0.05
LIMIT = 10
CANARY = f"collection={CANARY_COLLECTION},probe=canary"

Readings = Mapping[str, float]


@dataclass(slots=True)
class Seen:
    """One request, when it came and what it was answered. `body` and `answer` are JSON."""

    method: str
    path: str
    body: Any
    at_seconds: float
    answer: Any = None
    status: int = 0
    ended_seconds: float = math.inf

    @property
    def collection(self) -> str:
        """The collection that it is about."""
        return self.path.split("/")[2] if self.path.startswith("/collections/") else ""

    @property
    def is_sample(self) -> bool:
        """It fetches stored vectors."""
        return self.path.endswith("/points/query") and self.body["query"] == {"sample": "random"}

    @property
    def is_search(self) -> bool:
        """It searches with a vector."""
        return self.path.endswith("/points/query") and not self.is_sample

    @property
    def is_points(self) -> bool:
        """It writes points, or reads them by id."""
        return self.path.endswith("/points")

    @property
    def is_exact(self) -> bool:
        """It reads every point."""
        return self.is_search and bool(self.body.get("params", {}).get("exact"))


@dataclass(slots=True)
class Between:
    """Stands between the daemon and an embedded server: notes every request, and meddles where told.

    `meddle` may wait, and may answer in the server's place; `strict` is a strict mode that telemetry
    shows of every collection, which the embedded server itself has not.
    """

    served: Served
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    meddle: Callable[[Seen], Awaitable[web.Response | None]] | None = None
    strict: dict[str, Any] | None = None

    def searches(self, collection: str | None = None) -> list[Seen]:
        """Every search with a vector so far."""
        return [seen for seen in self.seen if seen.is_search and collection in (None, seen.collection)]

    def vectors_told(self) -> dict[str, set[int]]:
        """The points of every vector that the server handed out, by its JSON."""
        told: dict[str, set[int]] = {}
        for seen in self.seen:
            if seen.is_sample and seen.answer is not None:
                for point in seen.answer["result"]["points"]:
                    told.setdefault(text_of(point["vector"]), set()).add(point["id"])
        return told

    async def handle(self, request: web.Request) -> web.Response:
        """Pass a request on and its answer back."""
        read = await request.read()
        seen = Seen(
            request.method, request.path, msgspec.json.decode(read) if read else None, time.monotonic()
        )
        self.seen.append(seen)
        try:
            own = None if self.meddle is None else await self.meddle(seen)
            return own if own is not None else await self._passed_on(request, read, seen)
        finally:
            seen.ended_seconds = time.monotonic()

    async def _passed_on(self, request: web.Request, read: bytes, seen: Seen) -> web.Response:
        target = self.served.server.url + request.raw_path
        headers = {"Content-Type": "application/json", "api-key": request.headers.get("api-key", "")}
        try:
            async with self.served.session.request(
                request.method, target, data=read or None, headers=headers
            ) as answered:
                body, seen.status = await answered.read(), answered.status
        except aiohttp.ClientConnectionError:  # it is hidden: as if there were nobody here either
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=502)
        if answered.content_type == "application/json":
            seen.answer = msgspec.json.decode(body)
            if self.strict is not None and request.path == "/telemetry":
                for told in seen.answer["result"]["collections"].get("collections", ()):
                    told["config"]["strict_mode_config"] = self.strict
                body = msgspec.json.encode(seen.answer)
        return web.Response(status=seen.status, body=body, content_type=answered.content_type)


def text_of(vector: Any) -> str:
    """A vector as text, to be found again."""
    return msgspec.json.encode(vector).decode()


@pytest_asyncio.fixture
async def between() -> AsyncIterator[Between]:
    """An embedded server without collections, and what stands in front of it."""
    async with serving() as served, standing_before(served) as one:
        yield one


@asynccontextmanager
async def standing_before(served: Served) -> AsyncIterator[Between]:
    """Listen in front of a server."""
    between = Between(served)
    application = web.Application(client_max_size=1 << 25)
    application.router.add_route("*", "/{path:.*}", between.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.05, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    between.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield between
    finally:
        await runner.cleanup()


async def fill(served: Served, name: str, *, points: Sequence[Any] = FEW, **config: Any) -> None:
    """Create a collection of these points."""
    await served.result("PUT", f"/collections/{name}", {**SMALL_CONFIG, **config})
    for start in range(0, len(points), 500):
        body = {"points": points[start : start + 500]}
        await served.result("PUT", f"/collections/{name}/points?wait=true", body)


def quick(**chosen: Any) -> ProbeSettings:
    """The settings of a pattern, with intervals that no configuration may have."""
    chosen.setdefault("interval_seconds", QUICK_SECONDS)
    chosen.setdefault("recall", RecallSettings(enabled=False))
    return ProbeSettings.model_construct(**chosen)


def quick_recall(**chosen: Any) -> RecallSettings:
    """Recall, compared as often, and not paused by a slow machine."""
    chosen = {"interval_seconds": QUICK_SECONDS, "latency_target_seconds": 60.0, **chosen}
    return RecallSettings.model_construct(**chosen)


def probing(url: str, *patterns: ProbeSettings, **more: Any) -> Watching:
    """A watch that probes as these patterns say, with a budget that is none and room for slow answers."""
    more = {"budget_ratio": 0.5, "concurrent": 256, **more}
    return Watching(cluster_of(url, probes=ProbesSettings(collections=patterns or (quick(),), **more)))


def total(readings: Readings, name: str, collection: str = "docs", probe: str = "search") -> float:
    """A counter or another reading of one probe."""
    return readings.get(f"{name}{{collection={collection},probe={probe}}}", 0.0)


def by_reason(
    readings: Readings, name: str, collection: str = "docs", probe: str = "search"
) -> dict[str, float]:
    """A counter by its label `reason`, those that are not 0; without `late`, which this machine is."""
    start = f"{name}{{collection={collection},probe={probe},reason="
    counts = {
        series.removeprefix(start).rstrip("}"): value
        for series, value in readings.items()
        if series.startswith(start)
    }
    return {reason: count for reason, count in counts.items() if count and reason != Skip.LATE}


def late(readings: Readings, collection: str) -> float:
    """Searches that were due while this machine stood still."""
    return readings[f"probes_skipped_total{{collection={collection},probe=search,reason={Skip.LATE}}}"]


def series_of(readings: Readings, collection: str) -> set[str]:
    """The names of all metrics that speak of a collection's probes."""
    mark = f"collection={collection},"
    return {
        series.partition("{")[0]
        for series in readings
        if mark in series and series.startswith(("probe", "recall"))
    }


# What is measured


async def test_searches_are_counted_timed_and_their_percentiles_told(between: Between) -> None:
    """Of the collection, and over all collections of the peer; nothing failed and nothing was skipped."""
    await fill(between.served, "docs")
    peer = between.url.removeprefix("http://")
    sent = 0

    def wanted(seen: Readings) -> bool:
        nonlocal sent
        sent = len(between.searches())
        return total(seen, "probes_total") > MIN_SAMPLES_P95

    async with probing(between.url) as watching:
        readings = await watching.until(wanted)

    count = total(readings, "probes_total")
    assert [count] * 3 == [
        total(readings, name)
        for name in ("probe_duration_seconds_count", "probe_server_seconds_count", "probe_window_samples")
    ]
    assert readings[f"peer_probe_duration_seconds_count{{peer={peer},probe=search}}"] == count
    shown = [total(readings, f"probe_latency_{name}_seconds") for name in ("p50", "p95")]
    assert 0 < shown[0] <= shown[1] < 1
    assert total(readings, "probe_server_seconds_sum") <= total(readings, "probe_duration_seconds_sum")
    assert "probe_latency_p99_seconds{collection=docs,probe=search}" not in readings
    assert total(readings, "probe_error_ratio") == 0
    assert total(readings, "probe_interval_seconds") == QUICK_SECONDS
    assert by_reason(readings, "probe_failures_total") == {}
    assert by_reason(readings, "probes_skipped_total") == {}
    assert count <= sent <= count + 3  # some may be under way


async def test_every_reason_is_there_from_the_first_probe_on(between: Between) -> None:
    """Or the first failure of its kind would be no increase to Prometheus."""
    await fill(between.served, "docs")
    settings = quick(recall=quick_recall())
    async with probing(between.url, settings) as watching:
        readings = await watching.until(
            lambda seen: all(total(seen, "probes_total", probe=probe) for probe in ("search", "recall"))
        )

    for probe, skips in (("search", SEARCH_SKIPS), ("recall", RECALL_SKIPS)):
        labels = f"collection=docs,probe={probe}"
        assert all(f"probes_skipped_total{{{labels},reason={skip}}}" in readings for skip in skips)
        assert all(f"probe_failures_total{{{labels},reason={failure}}}" in readings for failure in Failure)


async def test_requests_of_probes_are_counted_with_all_that_the_peer_is_asked(between: Between) -> None:
    """By route and outcome, the opening of connections too."""
    await fill(between.served, "docs")
    peer = between.url.removeprefix("http://")
    route = "/collections/{collection}/points/query"
    name = f"requests_to_qdrant_total{{peer={peer},endpoint={route},outcome=ok}}"
    async with probing(between.url) as watching:
        readings = await watching.until(lambda seen: seen.get(name, 0) > MIN_PROBES)

    samples = sum(1 for seen in between.seen if seen.is_sample)
    assert total(readings, "probes_total") + 1 <= readings[name] <= len(between.searches()) + samples
    assert readings[f"requests_to_qdrant_total{{peer={peer},endpoint=/,outcome=ok}}"] >= 1
    assert readings[f"requests_to_qdrant_total{{peer={peer},endpoint=/telemetry,outcome=ok}}"] >= 1


async def test_every_vector_searched_with_is_one_that_the_server_handed_out(between: Between) -> None:
    """Bit for bit, in both probes, over many refills of the pool: a dummy would say nothing of the data."""
    await fill(between.served, "docs")
    await between.served.result("PUT", "/collections/void", SMALL_CONFIG)
    settings = quick(recall=quick_recall())
    async with probing(between.url, settings, pool_limit_bytes=2_000) as watching:
        await watching.until(lambda _: len(between.searches("docs")) > 4 * MIN_PROBES)

    handed_out = between.vectors_told()
    assert {text_of(seen.body["query"]) for seen in between.searches()} <= handed_out.keys()
    assert {seen.collection for seen in between.searches()} == {"docs"}
    assert len({text_of(seen.body["query"]) for seen in between.searches()}) > 1


async def test_an_empty_collection_is_skipped_as_empty_until_something_is_stored(between: Between) -> None:
    """Not a failure, and not a search either; then it is probed without anybody's doing."""
    await between.served.result("PUT", "/collections/docs", SMALL_CONFIG)
    async with probing(between.url, quick(recall=quick_recall())) as watching:
        empty = await watching.until(
            lambda seen: by_reason(seen, "probes_skipped_total", probe="recall").get("empty", 0) > 2
        )
        assert between.searches() == []
        point = {"id": 1, "vector": [1.0] * DIMENSION}
        await between.served.result("PUT", "/collections/docs/points?wait=true", {"points": [point]})
        readings = await watching.until(lambda seen: total(seen, "probes_total") > 0)

    assert by_reason(empty, "probes_skipped_total").keys() == {"empty"}
    assert by_reason(empty, "probes_skipped_total", probe="recall").keys() == {"empty"}
    assert (total(empty, "probes_total"), by_reason(empty, "probe_failures_total")) == (0, {})
    assert "probe_latency_p50_seconds{collection=docs,probe=search}" not in empty
    assert by_reason(readings, "probe_failures_total") == {}


# Which collections


async def test_collections_that_come_and_go_take_their_series_with_them(between: Between) -> None:
    """Within a second or two; the others keep what they counted."""
    await fill(between.served, "docs")
    async with probing(between.url, quick(recall=quick_recall())) as watching:
        await watching.until(lambda seen: total(seen, "probes_total") > 0)
        await fill(between.served, "guest")
        came = await watching.until(lambda seen: total(seen, "probes_total", "guest", "recall") > 0)
        await between.served.result("DELETE", "/collections/guest")
        left = await watching.until(lambda seen: not series_of(seen, "guest"))
        some_beats_on = total(left, "probes_total") + 4
        later = await watching.until(lambda seen: total(seen, "probes_total") > some_beats_on)

    assert {"probes_total", "probes_skipped_total", "recall_window_queries"} <= series_of(came, "guest")
    assert total(left, "probes_total") >= total(came, "probes_total")
    assert not series_of(later, "guest")


async def test_what_is_probed_and_how_is_said_by_the_first_pattern_that_matches(between: Between) -> None:
    """Switched off, or matched by none: not one request is about it."""
    for name in ("docs", "skip-this", "other"):
        await fill(between.served, name)
    patterns = (
        ProbeSettings(match="skip-*", enabled=False),
        quick(match="d*", limit=3, hnsw_ef=7, indexed_only=True, filter={"must_not": [{"has_id": [0]}]}),
        quick(match="skip-this"),
    )
    async with probing(between.url, *patterns) as watching:
        readings = await watching.until(lambda seen: total(seen, "probes_total") > 2)

    assert {seen.collection for seen in between.seen if seen.method == "POST"} == {"docs"}
    assert {
        series.partition("{")[0] for series in readings if "probe=" in series and "docs" not in series
    } <= {f"peer_probe_duration_seconds_{part}" for part in ("bucket", "sum", "count")}
    for seen in between.searches():
        del seen.body["query"]
        assert seen.body == {
            "limit": 3,
            "with_payload": False,
            "with_vector": False,
            "filter": {"must_not": [{"has_id": [0]}]},
            "params": {"hnsw_ef": 7, "indexed_only": True},
        }


async def test_probes_that_are_switched_off_send_nothing(between: Between) -> None:
    """Everything else goes on as before."""
    await fill(between.served, "docs")
    async with probing(between.url, quick(recall=quick_recall()), enabled=False) as watching:
        polls = "source_last_success_timestamp_seconds{peer=" + between.url.removeprefix("http://")
        first = await watching.until(lambda seen: f"{polls},source=segments}}" in seen)
        readings = await watching.until(
            lambda seen: seen[f"{polls},source=segments}}"] > first[f"{polls},source=segments}}"]
        )

    assert {seen.method for seen in between.seen} == {"GET"}
    assert "/" not in {seen.path for seen in between.seen}
    assert not [series for series in readings if series.startswith(("probe", "recall", "peer_probe"))]
    assert readings["collection_points{collection=docs}"] == len(FEW)


async def test_a_file_of_queries_is_used_in_place_of_stored_vectors(between: Between, tmp_path: Path) -> None:
    """In turn, each with its own filter; nothing is sampled, and a point's id stands for its vector."""
    await fill(between.served, "docs")
    lines = [
        {"vector": [1.0] * DIMENSION},
        {"vector": [0.5] * DIMENSION, "filter": {"must": [{"has_id": [1, 2, 3]}]}},
        {"id": 7},
    ]
    path = tmp_path / "queries.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(line) for line in lines))
    settings = quick(queries_file=read_queries_file(path), recall=quick_recall())
    async with probing(between.url, settings) as watching:
        readings = await watching.until(
            lambda seen: min(total(seen, "probes_total", probe=probe) for probe in ("search", "recall")) > 3
        )

    asked = {
        (text_of(seen.body["query"]), text_of(seen.body.get("filter"))) for seen in between.searches("docs")
    }
    assert asked == {
        (text_of(line.get("vector", line.get("id"))), text_of(line.get("filter"))) for line in lines
    }
    assert not [seen for seen in between.seen if seen.is_sample]
    assert {seen.body["limit"] for seen in between.searches()} == {LIMIT}
    assert by_reason(readings, "probe_failures_total") == {}


# When the server errs


async def test_a_collection_that_hangs_delays_no_other_and_counts_the_whole_wait(between: Between) -> None:
    """Its probes go on too, each on a connection of its own; the other keeps its beat."""
    await fill(between.served, "docs")
    await fill(between.served, "stuck")
    interval, deadline = 0.15, 0.3

    async def meddle(seen: Seen) -> web.Response | None:
        if seen.is_search and seen.collection == "stuck":
            await asyncio.Event().wait()
        return None

    between.meddle = meddle
    settings = quick(interval_seconds=interval, deadline_seconds=deadline)
    async with probing(between.url, settings) as watching:
        readings = await watching.until(lambda seen: total(seen, "probes_total", "stuck") >= 2 * MIN_PROBES)

    beats, stuck = between.searches("docs"), between.searches("stuck")
    for name, searches in (("docs", beats), ("stuck", stuck)):
        spent = searches[-1].at_seconds - searches[0].at_seconds
        # a beat that this machine came too late for was none of theirs
        assert spent / (len(searches) - 1 + late(readings, name)) == pytest.approx(interval, rel=0.5)
    due = [total(readings, "probes_total", name) + late(readings, name) for name in ("docs", "stuck")]
    assert abs(due[0] - due[1]) <= deadline / interval + 2
    waits = [(one.at_seconds, one.ended_seconds) for one in stuck]
    for others in (beats, stuck):  # most waits saw another search begin, of either
        met = [any(began < one.at_seconds < ended for one in others) for began, ended in waits]
        assert met.count(True) > len(met) / 2
    assert by_reason(readings, "probe_failures_total", "stuck") == {
        "timeout": total(readings, "probes_total", "stuck")
    }
    count = total(readings, "probe_duration_seconds_count", "stuck")
    assert count == total(readings, "probes_total", "stuck")
    buckets = [
        readings[f"probe_duration_seconds_bucket{{collection=stuck,probe=search,le={edge}}}"]
        for edge in ("0.25", "+Inf")
    ]
    assert buckets == [0, count]
    assert total(readings, "probe_duration_seconds_sum", "stuck") >= deadline * count
    assert total(readings, "probe_server_seconds_count", "stuck") == 0
    assert total(readings, "probe_error_ratio", "stuck") == 1
    assert (total(readings, "probe_error_ratio"), by_reason(readings, "probes_skipped_total")) == (0, {})
    assert total(readings, "probe_latency_p50_seconds") < deadline


async def test_a_429_is_one_failure_and_then_the_collection_rests(between: Between) -> None:
    """As long as the server said, from both probes; the other collection goes on."""
    for name in ("docs", "limited"):
        await fill(between.served, name)
    probes = ("search", "recall")

    async def meddle(seen: Seen) -> web.Response | None:
        if not (seen.is_search and seen.collection == "limited"):
            return None
        text = "Rate limiting exceeded: Read rate limit exceeded, retry later"
        said = {"status": {"error": text}, "time": 0.0}
        return web.json_response(said, status=429, headers={"Retry-After": "30"})

    def backed_off(seen: Readings, probe: str) -> float:
        return by_reason(seen, "probes_skipped_total", "limited", probe).get("backoff", 0)

    async with probing(between.url, quick(recall=quick_recall())) as watching:
        good = await watching.until(
            lambda seen: all(total(seen, "probes_total", "limited", probe) > 2 for probe in probes)
        )
        good_searches = len(between.searches("limited"))
        between.meddle = meddle
        readings = await watching.until(
            lambda seen: all(backed_off(seen, probe) > MIN_PROBES for probe in probes)
        )

    failures = [by_reason(readings, "probe_failures_total", "limited", probe) for probe in probes]
    limited = sum(one.get("rate_limited", 0) for one in failures)
    # searches and both of a comparison may have been under way when the first answer came
    assert 1 <= limited <= len(between.searches("limited")) - good_searches <= MIN_PROBES
    assert {reason for one in failures for reason in one} == {"rate_limited"}
    for readings_then in (good, readings):
        counted = total(readings_then, "probe_duration_seconds_count", "limited")
        failed = by_reason(readings_then, "probe_failures_total", "limited").get("rate_limited", 0)
        assert counted == total(readings_then, "probes_total", "limited") - failed
    assert total(readings, "probes_total") > MIN_PROBES
    assert by_reason(readings, "probes_skipped_total") == {}


async def test_a_query_that_the_server_refuses_is_skipped_and_no_failure_of_qdrant(between: Between) -> None:
    """What is configured does not fit: 400 by the real engine, and a vector that is not there."""
    for name in ("docs", "named"):
        await fill(between.served, name)
    patterns = (
        quick(match="docs", filter={"must": [{"nonsense": 1}]}, recall=quick_recall()),
        quick(match="named", vector="title"),
    )
    async with probing(between.url, *patterns) as watching:
        readings = await watching.until(
            lambda seen: all(
                by_reason(seen, "probes_skipped_total", name).get("refused", 0) > 2
                for name in ("docs", "named")
            )
        )

    answered = {seen.status for seen in between.searches() if seen.status}  # one may be under way still
    assert answered == {400}
    assert between.searches("named") == []
    for name in ("docs", "named"):
        assert by_reason(readings, "probes_skipped_total", name).keys() == {"refused"}
        assert by_reason(readings, "probe_failures_total", name) == {}
        assert total(readings, "probes_total", name) == 0
        assert f"probe_error_ratio{{collection={name},probe=search}}" not in readings


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b'{"status":{"error":"Service internal error: no"}}', "server_error"),
        (404, b'{"status":{"error":"Not found: Collection `docs` doesn\'t exist!"}}', "not_found"),
        (403, b'{"status":{"error":"Forbidden: Access to collection docs is required"}}', "auth"),
        (200, b'{"result":{"points":7},"status":"ok","time":0.001}', "bad_answer"),
        (408, b'{"status":{"error":"Timeout error: Operation timed out"}}', "timeout"),
    ],
)
async def test_a_search_that_fails_is_counted_by_its_reason(
    between: Between, status: int, body: bytes, reason: str
) -> None:
    """Each probe fails by itself, and of the failures in between the searches that work say nothing."""
    await fill(between.served, "docs")
    fails = iter([True, False] * 100)

    async def meddle(seen: Seen) -> web.Response | None:
        if not (seen.is_search and next(fails)):
            return None
        return web.Response(status=status, body=body, content_type="application/json")

    between.meddle = meddle
    async with probing(between.url) as watching:
        readings = await watching.until(lambda seen: total(seen, "probes_total") >= 2 * MIN_PROBES)

    count = total(readings, "probes_total")
    failed = by_reason(readings, "probe_failures_total")
    assert failed.keys() == {reason}
    # every second one that was sent; those that work may be under way for longer
    assert count / 2 - 1 <= failed[reason] <= len(between.searches()) / 2 + 1
    assert total(readings, "probe_error_ratio") == pytest.approx(failed[reason] / count)
    timed = count if reason == "timeout" else count - failed[reason]
    assert total(readings, "probe_duration_seconds_count") == timed
    assert total(readings, "probe_server_seconds_count") == count - failed[reason]


async def test_a_server_that_is_gone_goes_on_being_probed_and_fails(between: Between) -> None:
    """Its outage is what the failures are for: they rise while it lasts, and nothing is lost after it."""
    await fill(between.served, "docs")
    server = between.served.server
    async with probing(between.url) as watching:
        before = await watching.until(lambda seen: total(seen, "probes_total") > MIN_PROBES)
        await server.hide()
        down = await watching.until(
            lambda seen: by_reason(seen, "probe_failures_total").get("unreachable", 0) > 30
        )
        await server.show()
        after = await watching.until(
            lambda seen: (
                total(seen, "probe_duration_seconds_count") > total(down, "probe_duration_seconds_count")
            )
        )

    assert total(down, "probes_total") > total(before, "probes_total")
    assert total(after, "probes_total") >= total(down, "probes_total")


async def test_a_peer_that_is_down_is_passed_over_while_another_is_up() -> None:
    """Its collections are still there, and users would go elsewhere too."""
    found = b'{"result":{"points":[{"id":7,"score":0.5,"vector":[0.25]}]},"status":"ok","time":0.001}'

    def answers(peer: int) -> Callable[[str], Reply]:
        recorded = replies_of(f"v1.18.3/cluster/02_healthy/peer{peer}")
        searched = Reply(200, found, {"content-type": "application/json"})
        return lambda target: searched if "/points/query" in target or target == "/" else recorded(target)

    servers = [ReplayServer(answer=answers(peer)) for peer in range(3)]
    async with servers[0], servers[1], servers[2]:
        labels = [server.url.removeprefix("http://") for server in servers]
        settings = ProbesSettings(collections=(quick(match="rf3"),), budget_ratio=0.5)
        watch = Watching(cluster_of(*(server.url for server in servers), probes=settings))
        async with watch as watching:
            name = "peer_probe_duration_seconds_count{{peer={},probe=search}}".format
            await watching.until(lambda seen: min(seen.get(name(label), 0) for label in labels) > 1)
            await servers[1].stop()
            down = await watching.until(lambda seen: seen[f"up{{peer={labels[1]}}}"] == 0)
            more = 10
            readings = await watching.until(
                lambda seen: total(seen, "probes_total", "rf3") >= total(down, "probes_total", "rf3") + more
            )

    for label in (labels[0], labels[2]):
        assert readings[name(label)] - down[name(label)] == pytest.approx(more / 2, abs=2)
    # some may have met the closed socket before the poll did, and one was under way
    failed, failed_before = (
        sum(by_reason(seen, "probe_failures_total", "rf3").values()) for seen in (readings, down)
    )
    assert failed - failed_before <= 1
    assert readings[name(labels[1])] == down[name(labels[1])]


# Limits of the collection


async def test_strict_mode_is_read_first_and_nothing_beyond_it_is_ever_sent(between: Between) -> None:
    """Limit and ef are cut to what is allowed, the sample's too; where exact is forbidden, recall is none."""
    await fill(between.served, "docs")
    between.strict = {
        "enabled": True, "max_query_limit": 4, "search_max_hnsw_ef": 16, "search_allow_exact": False,
        "max_timeout": 2,
    }  # fmt: skip
    async with probing(between.url, quick(limit=10, hnsw_ef=128, recall=quick_recall())) as watching:
        readings = await watching.until(
            lambda seen: (
                total(seen, "probes_total") > MIN_PROBES
                and by_reason(seen, "probes_skipped_total", probe="recall").get("unsupported", 0) > 2
            )
        )

    posted = [seen for seen in between.seen if seen.method == "POST"]
    assert {seen.body["limit"] for seen in posted} == {4}
    assert {text_of(seen.body["params"]) for seen in posted if seen.is_search} == {'{"hnsw_ef":16}'}
    assert by_reason(readings, "probes_skipped_total", probe="recall").keys() == {"unsupported"}
    assert total(readings, "probes_total", probe="recall") == 0
    assert by_reason(readings, "probe_failures_total") == {}


async def test_a_strict_mode_that_is_not_enabled_limits_nothing(between: Between) -> None:
    """Its limits are there for later."""
    await fill(between.served, "docs")
    between.strict = {"enabled": False, "max_query_limit": 4, "search_allow_exact": False}
    async with probing(between.url, quick(recall=quick_recall())) as watching:
        await watching.until(lambda seen: total(seen, "probes_total", probe="recall") > 2)

    assert {seen.body["limit"] for seen in between.searches()} == {LIMIT, LIMIT + 1}
    assert any(seen.is_exact for seen in between.seen)


async def test_a_collection_with_a_rate_limit_is_probed_within_a_tenth_of_it(between: Between) -> None:
    """1,800 reads a minute: three requests a second are ours at the most, and the intervals say so."""
    await fill(between.served, "docs")
    between.strict = {"enabled": True, "read_rate_limit": 1800}
    async with probing(between.url, quick(recall=quick_recall())) as watching:
        readings = await watching.until(
            lambda seen: (
                min(total(seen, "probe_interval_seconds", probe=one) for one in ("search", "recall")) > 0
                and total(seen, "probes_total") > 1
            )
        )

    assert total(readings, "probe_interval_seconds") == 1
    assert total(readings, "probe_interval_seconds", probe="recall") == 1
    moments = [seen.at_seconds for seen in between.searches() if seen.body["limit"] == LIMIT]
    # one may have been late, and the next was not
    assert min(after - before for before, after in pairwise(moments)) > 0.5


async def test_exact_searches_are_never_two_at_once_on_a_peer(between: Between) -> None:
    """They read every point; who finds one under way tries again soon, so that none is left out."""
    names = ("docs", "more", "most")
    for name in names:
        await fill(between.served, name)

    async def meddle(seen: Seen) -> web.Response | None:
        await asyncio.sleep(0.07 if seen.is_exact else 0.0)
        return None

    def of_all(readings: Readings, reason: str) -> float:
        skipped = [by_reason(readings, "probes_skipped_total", name, "recall") for name in names]
        return sum(one.get(reason, 0) for one in skipped)

    between.meddle = meddle
    async with probing(between.url, quick(recall=quick_recall())) as watching:
        await watching.until(
            lambda seen: (
                of_all(seen, "concurrency") > MIN_PROBES
                and all(total(seen, "probes_total", name, "recall") > 1 for name in names)
                and all(total(seen, "probes_total", name) > MIN_PROBES for name in names)
            )
        )

    exact = [seen for seen in between.seen if seen.is_exact]
    assert len(exact) > MIN_PROBES
    # an answer may be read before the server has noted that it was sent
    assert all(one.ended_seconds < after.at_seconds + 0.01 for one, after in pairwise(exact))


# Recall


GOOD_GRAPH = {"m": 16, "ef_construct": 100}
THIN_GRAPH = {"m": 2, "ef_construct": 4}


def by_hand(between: Between, points: Sequence[Mapping[str, Any]], k: int) -> list[tuple[int, int]]:
    """Count for each search through the index what there was to find and what was found.

    From the points alone: their cosines with the query's vector, the query's own point left out. A
    found point counts as much as the last one that counts by the exact order.
    """
    own_ids = between.vectors_told()
    counts = []
    searches = [seen for seen in between.searches() if not seen.is_exact and seen.body["limit"] == k + 1]
    for seen in sorted(searches, key=lambda seen: seen.ended_seconds):
        if seen.answer is None:
            continue
        query = seen.body["query"]
        (own_id,) = own_ids[text_of(query)]
        scores = {one["id"]: cosine(query, one["vector"]) for one in points if one["id"] != own_id}
        last = sorted(scores.values(), reverse=True)[k - 1]
        found = [one["id"] for one in seen.answer["result"]["points"] if one["id"] != own_id][:k]
        counts.append((k, sum(1 for one in found if scores[one] >= last - 1e-6)))
    return counts


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(mine * its for mine, its in zip(one, other, strict=True))
    return product / math.hypot(*one) / math.hypot(*other)


async def test_recall_falls_with_a_thin_graph_and_comes_back_as_a_count_by_hand_says(
    between: Between,
) -> None:
    """The index is built anew with few links, then as it was; status and speed show nothing of it."""
    dimension, window_seconds = 32, 0.5
    points = list(ClusteredVectors(dimension=dimension, seed=1).points(range(1_500)))
    recall = "recall_{}{{collection=docs,vector=}}".format
    settings = quick(
        interval_seconds=0.5,
        hnsw_ef=16,
        # searches wait while an index is built, which must not pause what is to be seen here
        recall=quick_recall(
            interval_seconds=0.02, window_seconds=window_seconds, latency_target_seconds=60.0
        ),
    )
    await fill(between.served, "docs", points=points, vectors={"size": dimension, "distance": "Cosine"})
    await between.served.until(lambda shard: shard["status"] == "green")

    async with probing(between.url, settings) as watching:

        async def seen_when(wanted: Callable[[float], bool]) -> Readings:
            return await watching.until(
                lambda seen: (
                    wanted(seen.get(recall("ratio"), math.nan))
                    and seen["collection_status{collection=docs,status=green}"] == 1
                ),
                seconds=60.0,
            )

        good = await seen_when(lambda ratio: ratio > 0.95)
        await between.served.result("PATCH", "/collections/docs", {"hnsw_config": THIN_GRAPH})
        thin = await seen_when(lambda ratio: ratio < 0.9)
        await between.served.result("PATCH", "/collections/docs", {"hnsw_config": GOOD_GRAPH})
        again = await seen_when(lambda ratio: ratio > 0.95)

    counts = by_hand(between, points, LIMIT)
    for readings in (good, thin, again):
        queries = round(readings[recall("expected_total")]) // LIMIT
        expected, matched = (sum(column) for column in zip(*counts[:queries], strict=True))
        assert (readings[recall("expected_total")], readings[recall("matched_total")]) == (expected, matched)
        window = counts[:queries][-round(readings[recall("window_queries")]) :]
        expected, matched = (sum(column) for column in zip(*window, strict=True))
        assert len(window) >= MIN_RECALL_QUERIES
        assert readings[recall("ratio")] == pytest.approx(matched / expected)
    assert by_reason(again, "probe_failures_total", probe="recall") == {}


async def test_exact_answers_are_asked_for_once_while_nothing_is_written(between: Between) -> None:
    """They are the dear half: known after a round of the pool, and asked for anew after a write."""
    await fill(between.served, "docs")

    def exact() -> list[str]:
        return [text_of(seen.body["query"]) for seen in between.seen if seen.is_exact]

    async with probing(between.url, quick(recall=quick_recall())) as watching:
        await watching.until(lambda seen: total(seen, "probes_total", probe="recall") > 2 * VECTORS_A_NAME)
        known = exact()
        body = {"points": [{"id": 1_000, "vector": [1.0] * DIMENSION}]}
        await between.served.result("PUT", "/collections/docs/points?wait=true", body)
        await watching.until(lambda _: len(exact()) > len(known))

    assert len(known) == len(set(known)) > 1
    assert exact()[len(known)] in known


async def test_each_probe_goes_through_all_vectors_of_the_pool(between: Between) -> None:
    """Whatever their intervals: in step with the other it would compare the same few for ever."""
    await fill(between.served, "docs")
    recall = quick_recall(interval_seconds=3 * QUICK_SECONDS)
    async with probing(between.url, quick(recall=recall)) as watching:
        await watching.until(
            lambda seen: total(seen, "probes_total", probe="recall") > VECTORS_A_NAME + MIN_PROBES
        )

    searched, compared = (
        {text_of(seen.body["query"]) for seen in between.searches() if seen.body["limit"] == limit}
        for limit in (LIMIT, LIMIT + 1)
    )
    assert min(len(searched), len(compared)) >= VECTORS_A_NAME


# Peers that come


async def test_a_peer_that_is_found_later_is_probed_too() -> None:
    """Searches go to each in turn from then on."""
    async with ScriptedCluster(spread_hosts=True) as cluster:
        settings = ProbesSettings(collections=(quick(match="rf3"),), budget_ratio=0.5)
        async with Watching(cluster_of(cluster.urls[0], probes=settings)) as watching:

            def probed(server: ReplayServer) -> int:
                return sum(1 for target in server.asked if "/collections/rf3/points/query" in target)

            await watching.until(lambda _: all(probed(server) > 2 for server in cluster.servers))


# The write canary


INSTANCE = "the-daemon-of-this-test"


def with_canary(url: str, *, api_key: str | None = None, canary_key: str | None = None) -> Watching:
    """A watch whose canary writes often, with a key of its own where it has one."""
    key, own_key = (None if one is None else Secret(one) for one in (api_key, canary_key))
    canary = CanarySettings.model_construct(
        enabled=True, interval_seconds=0.2, deadline_seconds=10.0, api_key=own_key
    )
    probes = ProbesSettings(canary=canary, collections=(quick(),), budget_ratio=0.5)
    return Watching(cluster_of(url, probes=probes, api_key=key), instance=INSTANCE)


async def test_the_canary_goes_its_rounds_beside_the_searches(between: Between) -> None:
    """At once and then at its interval, with the daemon's own mark on its points."""
    await fill(between.served, "docs")
    peer = between.url.removeprefix("http://")
    visible = f"canary_visible_seconds_count{{{{peer={peer},phase={{}}}}}}".format
    async with with_canary(between.url) as watching:
        readings = await watching.until(
            lambda seen: seen.get(visible("gone"), 0) == seen.get(f"probes_total{{{CANARY}}}") >= 3
        )
        trouble = watching.watch.probe_trouble

    rounds = readings[f"probes_total{{{CANARY}}}"]
    assert [rounds] * len(TIMED) == [readings[visible(phase)] for phase in TIMED]
    assert {value for series, value in readings.items() if series.startswith("canary_failures")} == {0}
    assert trouble == ""
    written = [seen.body["points"][0] for seen in between.seen if seen.method == "PUT" and seen.is_points]
    assert {point["payload"]["instance"] for point in written} == {INSTANCE}
    assert len({point["id"] for point in written}) == len(written) >= 3
    assert total(readings, "probes_total") > 0


async def test_the_canarys_collection_is_no_users_and_told_of_nowhere(between: Between) -> None:
    """Not among the collections, not searched, not in the table of `once`."""
    await fill(between.served, "docs")
    async with with_canary(between.url) as watching:
        readings = await watching.until(
            lambda seen: seen.get(f"probes_total{{{CANARY}}}", 0) > 2 and total(seen, "probes_total") > 2
        )
    written = io.StringIO()
    settings = Settings.model_construct(clusters=(cluster_of(between.url),))
    await once(settings, Output.TABLE, Console(file=written, width=200))

    assert CANARY_COLLECTION in {seen.collection for seen in between.seen}
    assert readings["collections"] == 1
    of_canary = {series for series in readings if CANARY_COLLECTION in series}
    assert {series.partition("{")[0] for series in of_canary} == {
        "probes_total", "probes_skipped_total", "probe_interval_seconds",
    }  # fmt: skip
    assert all(CANARY in series for series in of_canary)
    assert not [seen for seen in between.seen if seen.is_sample and seen.collection == CANARY_COLLECTION]
    assert "docs" in written.getvalue()
    assert CANARY_COLLECTION not in written.getvalue()


async def test_what_the_canary_asks_is_counted_where_nothing_else_is_probed(between: Between) -> None:
    """Its cost is on the page like every other request's."""
    peer = between.url.removeprefix("http://")
    route = "PUT /collections/{collection}/points"
    async with with_canary(between.url) as watching:
        readings = await watching.until(lambda seen: seen.get(f"probes_total{{{CANARY}}}", 0) > 2)

    assert readings["collections"] == 0
    assert readings[f"requests_to_qdrant_total{{peer={peer},endpoint={route},outcome=ok}}"] > 0


async def test_a_canary_without_a_key_that_may_manage_stands_still_and_the_searches_go_on() -> None:
    """A person is told what to write; of the collection nothing is there."""
    key = "a-key-that-may-manage"
    async with (
        serving(api_key=key) as locked,
        aiohttp.ClientSession(headers={"api-key": key}) as session,
        standing_before(Served(locked.server, session)) as between,
    ):
        served = between.served
        await fill(served, "docs")
        peer = between.url.removeprefix("http://")
        failed = f"canary_failures_total{{peer={peer},phase=prepare}}"
        async with with_canary(between.url, api_key=key, canary_key="a-wrong-key") as watching:
            readings = await watching.until(
                lambda seen: seen.get(failed, 0) > 1 and total(seen, "probes_total") > 1
            )
            trouble = watching.watch.probe_trouble

    assert trouble == NEEDS_A_KEY
    assert by_reason(readings, "probe_failures_total") == {}
    assert readings["collections"] == 1
