"""`probe`: what a person sees of one collection's searches, and which exit code says what."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ValidationError
from rich.console import Console
from typer.testing import CliRunner

from exporter.cli import app
from exporter.config.clusters import ClusterSettings
from exporter.config.flags import FLAGS
from exporter.config.probes import ProbeSettings, ProbesSettings, RecallSettings
from exporter.config.queries_file import read_queries_file
from exporter.config.secret import Secret
from exporter.config.settings import Settings
from exporter.observe.sources.telemetry import CollectionSeen, VectorSeen
from exporter.probing.report import NotProbed, Output, Wanted, histogram_of, side_by_side, times_of
from exporter.probing.run import probe
from exporter.probing.settling import notes_on, settle, strict_limits, why_no_recall
from exporter.probing.show import shortened
from exporter.qdrant.payloads import StrictMode
from exporter.qdrant.search import FoundPoint
from tests.kit.daemons import run_command
from tests.kit.recordings import recording
from tests.kit.replay import SILENCE, ReplayServer, Reply, replies_of, reply_of
from tests.kit.scripted import free_port
from tests.kit.watching import cluster_of
from tests.unit.embedded.kit import DIMENSION, SMALL_CONFIG, Served, is_green, serving

POINTS = 300
STANDALONE = "v1.18.3/single/green"
QUERIES = "v1.18.3/single/query"
# More than there are points: the graph is searched to its end, and finds what an exact search finds.
WIDE = 512
ONE_OF_A_FEW = {"must": [{"has_id": [*range(0, POINTS, 2)]}]}
SEEN = CollectionSeen(
    name="docs",
    replication_factor=1,
    indexing_threshold_kb=None,
    shards=(),
    transfers=0,
    vectors=(VectorSeen("bm25", None, None), VectorSeen("title", 4, "Dot")),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What one run of the verb came to."""

    code: int
    text: str
    errors: str

    @property
    def document(self) -> Any:
        """The output as JSON."""
        return json.loads(self.text)

    def rows(self, title: str) -> list[list[str]]:
        """The cells of each row of the table under a title."""
        table = self.text.split(f"\n{title}", 1)[1].split("└", 1)[0]
        lines = [line for line in table.splitlines() if line.startswith("│")]
        return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


async def probed(cluster: ClusterSettings, collection: str = "docs", **wanted: Any) -> Shown:
    """Run the verb in this process, without a terminal."""
    settings = Settings.model_construct(clusters=(cluster,))
    text, errors = io.StringIO(), io.StringIO()
    code = await probe(
        settings,
        Wanted(collection=collection, **wanted),
        Console(file=text, width=400),
        Console(file=errors, width=80),
    )
    return Shown(code, text.getvalue(), errors.getvalue())


def with_probes(url: str, **settings: Any) -> ClusterSettings:
    """A cluster of one peer with one pattern for all collections."""
    return cluster_of(url, probes=ProbesSettings(collections=(ProbeSettings(**settings),)))


@asynccontextmanager
async def small_collection() -> AsyncIterator[Served]:
    """An embedded server with an indexed collection `docs`, its alias `live`, and an empty one."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        await served.result("PUT", "/collections/void", SMALL_CONFIG)
        await served.write(0, POINTS)
        alias = {"create_alias": {"collection_name": "docs", "alias_name": "live"}}
        await served.result("POST", "/collections/aliases", {"actions": [alias]})
        await served.until(is_green)
        yield served


def json_reply(result: Any, *, status: int = 200, **options: Any) -> Reply:
    body = json.dumps({"result": result, "status": "ok", "time": 0.002}).encode()
    return Reply(status, body, {"content-type": "application/json"}, **options)


FOUND = json_reply({"points": [{"id": 7, "score": 0.5, "vector": [0.25] * 128}]})


def answers(
    query: Reply | Callable[[], Reply], more: Mapping[str, Reply] | None = None
) -> Callable[[str], Reply]:
    """Answer as the recorded standalone server; searches and samples as said, other paths by `more`."""
    recorded = replies_of(STANDALONE)

    def answer(target: str) -> Reply:
        path = target.partition("?")[0]
        if more and path in more:
            return more[path]
        if path.endswith("/points/query"):
            return query() if callable(query) else query
        if path.endswith("/points/count"):
            return json_reply({"count": 40_500})
        return json_reply({}) if path == "/" else recorded(target)

    return answer


async def test_one_probe_shows_query_times_points_recall_and_exits_0() -> None:
    """Everything that a person looks for, in the order in which it happened."""
    async with small_collection() as served:
        shown = await probed(with_probes(served.server.url, filter=ONE_OF_A_FEW), limit=5, hnsw_ef=WIDE)

    assert (shown.code, shown.errors) == (0, "")
    assert "vector       the unnamed vector: 16 numbers, Cosine, searched" in shown.text
    assert re.search(r"query +stored point \d+, of a random sample", shown.text)
    assert '{"must": [{"has_id": [0, 2, 4, … 150 in all]}]}' in shown.text
    assert "POST /collections/docs/points/query?timeout=5" in shown.text
    assert re.search(r'\{"query": \[[^\]]*, … 16 in all\], "limit": 5, ', shown.text)
    phases = shown.rows("time")
    assert [phase for phase, *_ in phases] == [
        "connection", "round trip", "sample", "search", "exact search", "search again",
    ]  # fmt: skip
    assert all(re.fullmatch(r"[0-9.]+ m?s", ours) for _, ours, _ in phases)
    points = shown.rows("points found")
    assert [row[0] for row in points] == ["1", "2", "3", "4", "5"]
    assert all(int(row[1]) % 2 == 0 and row[1:3] == row[4:6] for row in points)
    assert "recall@5: 1 (5 of 5 points)" in shown.text
    assert "likely plan for the unnamed vector: " in shown.text


async def test_many_searches_print_a_histogram_and_no_percentile_of_too_few() -> None:
    """A p95 of 19 searches would be their maximum, and so would a p99 of 20."""
    async with small_collection() as served:
        few = await probed(with_probes(served.server.url), count=19)
        more = await probed(with_probes(served.server.url), count=20, recall=False)

    assert (few.code, more.code) == (0, 0)
    assert sum(int(searches) for _, _, searches, _ in few.rows("searches by their time")) == 19
    assert any(set(bar) == {"█"} for _, bar, _, _ in few.rows("searches by their time"))
    assert "no p95: of 19 searches" in few.text
    assert "no p95" not in more.text
    assert "no p99: of 20 searches" in more.text
    ours = next(line for line in few.text.splitlines() if "on our side" in line and "ms" in line)
    assert [cell.strip() == "-" for cell in ours.split("│")[2:7]] == [False, False, True, True, False]
    assert "searches: 19 good, 0 failed, 19 asked for" in few.text
    # a second sample may hold points of the first
    assert re.search(r"recall@10: [0-9.]+ \(\d+ of 1[6-9]0 points, over 1[6-9] different queries\)", few.text)
    assert "recall: not measured: --no-recall" in more.text


async def test_json_has_everything_in_one_object() -> None:
    """The request whole, so that it can be sent again; through an alias, and of the collection behind it."""
    async with small_collection() as served:
        one = await probed(cluster_of(served.server.url), "live", output=Output.JSON, limit=3)
        many = await probed(cluster_of(served.server.url), "live", output=Output.JSON, count=3)

    told = one.document
    assert (told["collection"], told["alias"], told["exit_code"]) == ("docs", "live", 0)
    assert told["vectors"] == [{"name": "", "size": DIMENSION, "distance": "Cosine", "multi": False}]
    assert told["request"]["path"] == "/collections/live/points/query?timeout=5"
    assert len(told["request"]["body"]["query"]) == DIMENSION
    assert told["points"] == POINTS
    assert len(told["exact"]) == len(told["found"]) == told["recall"]["expected"] == 3
    assert {"name", "seconds", "server_seconds"} == set(told["phases"][0])
    assert told["plans"].keys() == {""}
    assert sum(bucket["searches"] for bucket in many.document["searches"]["histogram"]) == 3
    assert many.document["searches"]["seconds"]["p95"] is None


async def test_an_alias_is_said_to_lead_to_its_collection_and_a_disabled_pattern_is_probed() -> None:
    """What is switched off for the daemon a person may still look at, with its settings."""
    async with small_collection() as served:
        shown = await probed(
            with_probes(served.server.url, match="docs", enabled=False, limit=2), "live", hnsw_ef=WIDE
        )

    assert shown.code == 0
    assert "alias        live leads to collection docs" in shown.text
    assert '"limit": 2' in shown.text
    assert "recall@2: 1" in shown.text


async def test_a_file_of_queries_is_searched_with_and_named(tmp_path: Path) -> None:
    """Its own filters go with its queries."""
    file = tmp_path / "queries.jsonl"
    file.write_text('{"id": 7, "filter": {"must": [{"has_id": [1, 2]}]}}\n{"id": 8}\n', encoding="utf-8")
    async with small_collection() as served:
        shown = await probed(
            with_probes(served.server.url, queries_file=read_queries_file(file)), hnsw_ef=WIDE
        )

    assert shown.code == 0
    assert f"query 1 of 2 in {file}" in shown.text
    assert '{"must": [{"has_id": [1, 2]}]}' in shown.text
    assert "recall@10: 1 (2 of 2 points)" in shown.text


async def test_an_empty_collection_cannot_be_judged_and_an_unknown_one_is_a_mistake() -> None:
    """The nearest names are what a person meant to type."""
    async with small_collection() as served:
        empty = await probed(cluster_of(served.server.url), "void")
        unknown = await probed(cluster_of(served.server.url), "dosc", output=Output.JSON)
        vector = await probed(cluster_of(served.server.url), vector="title")

    assert empty.code == 3
    assert "the collection is empty: there is no vector to search with" in empty.errors
    assert unknown.code == 2
    assert unknown.errors == "there is no collection or alias 'dosc'; near it: 'docs'\n"
    assert unknown.document == {"error": unknown.errors.strip(), "exit_code": 2}
    assert (vector.code, vector.text) == (2, "")
    assert "--vector: collection 'docs' has no vector 'title'; it has ''" in vector.errors


async def test_a_key_that_is_refused_fails_the_probe_and_is_not_shown() -> None:
    """Nor where the server repeats it."""
    refused = Reply(401, b"no such key: sesame-street")
    async with ReplayServer(answer=lambda _: refused) as server:
        shown = await probed(cluster_of(server.url, api_key=Secret("sesame-street")))

    assert shown.code == 1
    assert "the API key is refused, or there is none: --qdrant.api-key-file" in shown.errors
    assert "sesame" not in shown.text + shown.errors


async def test_a_peer_that_is_down_is_told_and_the_next_one_searched_through() -> None:
    """Where none is left the probe failed, and each says why."""
    dead = f"http://127.0.0.1:{free_port(('127.0.0.1',))}"
    label = dead.removeprefix("http://")
    async with ReplayServer(answer=answers(FOUND)) as server:
        second = await probed(cluster_of(dead, server.url))
        chosen = await probed(cluster_of(dead, server.url), peer=label)
        unknown = await probed(cluster_of(dead), peer="qdrant-9")

    assert second.code == 0
    assert f"peer {label} does not answer: it cannot be reached (cannot connect" in second.errors
    assert f"probe of docs through {server.url.removeprefix('http://')}" in second.text
    assert chosen.code == 1
    assert chosen.errors.startswith(f"no peer could be asked:\n{label}: it cannot be reached")
    assert unknown.code == 2
    assert unknown.errors == f"--peer: cluster default has no peer 'qdrant-9'; write one of {label}\n"


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (json_reply({}, status=500), 1, "the server failed (500"),
        (Reply(200, b"[]"), 1, "the answer is not Qdrant's"),
        (reply_of(recording(f"{QUERIES}/strict_rate_429")), 1, "the server asks for rest (429"),
        (reply_of(recording(f"{QUERIES}/strict_exact_400")), 3, "strict mode forbids it (400"),
        (reply_of(recording(f"{QUERIES}/wrong_dim_400")), 3, "the server calls the request wrong (400"),
    ],
)
async def test_what_the_server_answers_decides_on_the_exit_code(reply: Reply, code: int, words: str) -> None:
    """A failure of the server is one; a request that it rightly refuses says nothing of it."""
    async with ReplayServer(answer=answers(reply)) as server:
        shown = await probed(cluster_of(server.url))

    assert shown.code == code
    assert words in shown.errors
    assert "recall: not measured: no search succeeded" in shown.text


@pytest.mark.usefixtures("patient_time")
async def test_a_search_that_hangs_is_given_up_at_its_deadline_and_shown_as_a_timeout() -> None:
    """Of ten thousand, ten in a row are enough to know."""
    replies = iter([FOUND])
    async with ReplayServer(answer=answers(lambda: next(replies, SILENCE))) as server:
        shown = await probed(with_probes(server.url, deadline_seconds=0.2), count=100)

    assert shown.code == 1
    assert "  timeout: 10\n" in shown.text
    assert "stopped early: 10 failures in a row" in shown.text
    assert sum(int(searches) for _, _, searches, _ in shown.rows("searches by their time")) == 10
    assert "searches that failed: timeout 10; the last one: no whole answer in time" in shown.errors


async def test_a_server_that_asks_for_rest_gets_it() -> None:
    """Nothing is searched after a 429, not exactly either."""
    good = iter([FOUND] * 5)
    rest = reply_of(recording(f"{QUERIES}/strict_rate_429"))
    async with ReplayServer(answer=answers(lambda: next(good, rest))) as server:
        shown = await probed(cluster_of(server.url), count=100)
        searches = [target for target in server.asked if "/points/query" in target]

    assert shown.code == 1
    assert "searches: 4 good, 1 failed, 100 asked for" in shown.text
    assert "recall: not measured: the server asks for rest" in shown.text
    assert len(searches) == 6  # the sample among them


async def test_an_exact_search_that_fails_fails_the_probe() -> None:
    """The other searches are shown all the same."""
    good = iter([FOUND] * 4)
    failed = json_reply({}, status=500)
    async with ReplayServer(answer=answers(lambda: next(good, failed))) as server:
        shown = await probed(cluster_of(server.url), count=3)

    assert shown.code == 1
    assert "searches: 3 good, 0 failed, 3 asked for" in shown.text
    assert "recall: not measured: the server failed (500" in shown.text
    assert "exact searches failed: the server failed (500" in shown.errors


async def test_stored_vectors_are_sampled_anew_where_each_was_searched_with_once() -> None:
    """A thousand searches with the same sixteen vectors would measure what is at hand already."""
    points = json_reply({"points": [{"id": one, "vector": [0.25] * 128} for one in range(16)]})
    async with ReplayServer(answer=answers(points)) as server:
        shown = await probed(cluster_of(server.url), count=33, recall=False)
        asked_for = sum("/points/query" in target for target in server.asked)

    assert "searches: 33 good" in shown.text
    assert asked_for == 33 + 3


async def test_ctrl_c_prints_what_there_is() -> None:
    """A run of an hour that was enough after a minute."""
    replies = iter([FOUND] * 4)
    asked = asyncio.Event()

    def next_reply() -> Reply:
        reply = next(replies, SILENCE)
        if reply is SILENCE:
            asked.set()
        return reply

    text = io.StringIO()
    async with ReplayServer(answer=answers(next_reply)) as server:
        settings = Settings.model_construct(clusters=(cluster_of(server.url),))
        wanted = Wanted(collection="docs", count=1_000)
        running = asyncio.create_task(probe(settings, wanted, Console(file=text), Console(file=text)))
        await asked.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert "searches: 3 good, 0 failed, 1,000 asked for" in text.getvalue()
    assert "stopped early: interrupted" in text.getvalue()


def page(process: str, *, shards: int, local: int, graph_searches: int) -> Reply:
    """Telemetry of a peer that holds one of some shards, with a graph that served so many searches."""
    segment = {
        "info": {"num_points": 1_000, "vector_data": {"": {"num_vectors": 1_000}}},
        "config": {"vector_data": {"": {"size": 128, "index": {"type": "hnsw"}}}},
        "vector_index_searches": [{"index_name": "", "unfiltered_hnsw": {"count": graph_searches}}],
    }
    told = [
        {
            "id": shard,
            "replicate_states": {str(shard): "Active"},
            "local": {"segments": [segment], "num_points": 1_000} if shard == local else None,
        }
        for shard in range(shards)
    ]
    docs = {"id": "docs", "config": {"params": {"vectors": {"size": 128, "distance": "Dot"}}}, "shards": told}
    return json_reply({"id": process, "app": {"version": "1.18.3"}, "collections": {"collections": [docs]}})


@pytest.mark.parametrize(
    ("peers", "others_search", "plan"),
    [
        (2, False, "likely plan for the unnamed vector: hnsw"),
        (2, True, "likely plan for the unnamed vector: unknown, for the counts of the segments do not tell"),
        (1, False, "the plan is not known: 1 of 2 shards have no replica on a peer that told its segments"),
    ],
)
async def test_the_plan_is_read_from_what_the_segments_of_all_peers_served(
    peers: int, others_search: bool, plan: str
) -> None:
    """Counts beside our own are somebody else's, and an unseen shard may do anything."""
    searches = 0

    def search() -> Reply:
        nonlocal searches
        searches += 100 if others_search else 1
        return FOUND

    def answer(number: int) -> Callable[[str], Reply]:
        def answered(target: str) -> Reply:
            told = page(f"process-{number}", shards=2, local=number, graph_searches=searches)
            return answers(search, {"/telemetry": told})(target)

        return answered

    servers = [ReplayServer(answer=answer(number)) for number in range(2)]
    async with servers[0], servers[1]:
        shown = await probed(cluster_of(*(server.url for server in servers[:peers])), recall=False)

    assert shown.code == 0
    assert plan in shown.text


async def test_what_a_server_says_cannot_move_the_cursor_or_become_markup() -> None:
    """Names, versions and errors are whatever it sends."""
    told = recording(f"{STANDALONE}/telemetry_3").json
    told["result"]["app"]["version"] = "\x1b[2J[red]1.18.3"
    docs = next(one for one in told["result"]["collections"]["collections"] if one["id"] == "docs")
    docs["id"] = "do\x1b[31mcs\n"
    docs["config"]["params"]["vectors"] = {"ti\x07[bold]tle": {"size": 2, "distance": "D\rot"}}
    body = Reply(200, json.dumps(told).encode(), {"content-type": "application/json"})
    refused = Reply(500, b'{"status":{"error":"on \\u001b[2J fire"}}', {"content-type": "application/json"})
    async with ReplayServer(answer=answers(refused, {"/telemetry": body})) as server:
        shown = await probed(cluster_of(server.url), "do\x1b[31mcs\n")
        unknown = await probed(cluster_of(server.url), "do\x1b[31mcs")

    everything = shown.text + shown.errors + unknown.text + unknown.errors
    assert (shown.code, unknown.code) == (1, 2)
    assert not set(everything) & set("\x1b\x07\r")
    assert r"probe of do\x1b[31mcs\n through" in shown.text
    assert r"Qdrant \x1b[2J[red]1.18.3" in shown.text
    assert "[bold]tle" in shown.text


def asked(limits: StrictMode | None = None, **settings: Any) -> Any:
    """How `docs` of SEEN is searched with these settings of its pattern and these limits."""
    seen = CollectionSeen("docs", 1, None, (), 0, SEEN.vectors, limits)
    cluster = ClusterSettings(probes=ProbesSettings(collections=(ProbeSettings(**settings),)))
    return settle(cluster, Wanted(collection="docs"), seen)


def test_the_first_dense_vector_is_searched_and_what_was_typed_goes_before_the_pattern() -> None:
    """A sparse vector comes first by its name only."""
    cluster = ClusterSettings(probes=ProbesSettings(collections=(ProbeSettings(limit=50, hnsw_ef=64),)))

    usual = settle(cluster, Wanted(collection="docs"), SEEN)
    typed = settle(cluster, Wanted(collection="docs", vector="bm25", limit=3), SEEN)

    assert (usual.vector.name, usual.asking.limit) == ("title", 50)
    assert (typed.vector.name, typed.asking.limit, typed.asking.settings.hnsw_ef) == ("bm25", 3, 64)


def test_what_strict_mode_makes_of_a_request_is_said_beforehand() -> None:
    """Nobody should wait twenty minutes and not know what for."""
    limits = StrictMode(enabled=True, max_query_limit=5, search_max_hnsw_ef=32, read_rate_limit=60)
    settled = asked(limits, hnsw_ef=64)

    assert strict_limits(settled.asking) == {
        "max_query_limit": 5, "search_max_hnsw_ef": 32, "read_rate_limit": 60,
    }  # fmt: skip
    assert list(notes_on(settled.asking, 100)) == [
        "limit 10 is cut to 5 by strict mode (max_query_limit)",
        "hnsw_ef 64 is cut to 32 by strict mode (search_max_hnsw_ef)",
        "strict mode allows 60 reads a minute (read_rate_limit), and we take a tenth: a search every 30 s,"
        " so this takes 3,000 s",
    ]


@pytest.mark.parametrize(
    ("settings", "limits", "points", "p95_seconds", "why"),
    [
        ({}, None, 100, None, ""),
        ({"exact": True}, None, 100, None, "exact themselves"),
        ({"recall": RecallSettings(enabled=False)}, None, 100, None, "switched off"),
        ({"vector": "bm25"}, None, 100, None, "exact by design"),
        ({}, StrictMode(enabled=True, search_allow_exact=False), 100, None, "search_allow_exact"),
        ({}, StrictMode(enabled=True, max_query_limit=1), 100, None, "max_query_limit"),
        ({}, None, 100_001, None, "100,001 points are more"),
        ({}, None, None, None, "not known"),
        ({}, None, 100, 0.2, "searches are slow (p95 over recall.latency_target, 100ms)"),
    ],
)
def test_exact_searches_are_sent_only_where_they_may_be(
    settings: dict[str, Any],
    limits: StrictMode | None,
    points: int | None,
    p95_seconds: float | None,
    why: str,
) -> None:
    """And where they are not, the reason names the setting."""
    said = why_no_recall(asked(limits, **settings), Wanted(collection="docs"), points, p95_seconds)

    assert (why in said) if why else said == ""


def test_an_exact_search_that_strict_mode_forbids_is_not_sent() -> None:
    """The pattern says exact, the collection says no: nothing is judged."""
    with pytest.raises(NotProbed, match="search_allow_exact") as refused:
        asked(StrictMode(enabled=True, search_allow_exact=False), exact=True)

    assert refused.value.code == 3


def test_points_that_the_index_missed_are_marked_and_ties_are_excused() -> None:
    """One with the score of the last is as good as the last, and no better than the first."""
    exact = [FoundPoint(1, 0.9), FoundPoint(2, 0.8), FoundPoint(3, 0.7)]
    found = [FoundPoint(2, 0.8), FoundPoint(4, 0.7), FoundPoint(5, 0.6)]

    sides = side_by_side(exact, found)

    assert [[(point.id, point.mark) for point in side] for side in sides] == [
        [(1, "missed"), (2, ""), (3, "tie")],
        [(2, ""), (4, "tie"), (5, "other")],
    ]


def test_the_histogram_spans_from_the_first_filled_bucket_to_the_last() -> None:
    """A gap between them is shown, nothing around them."""
    buckets = histogram_of([0.0005, 0.004, 99.0])

    assert (buckets[0].bound, buckets[0].searches) == (0.001, 1)
    assert (buckets[1].bound, buckets[1].searches) == (0.0025, 0)
    assert (buckets[-1].bound, buckets[-1].searches) == (None, 1)
    assert histogram_of([]) == []


def test_percentiles_are_told_of_enough_samples_only() -> None:
    """Twenty for the 95th, a hundred for the 99th."""
    told = {count: times_of([0.001] * count) for count in (1, 19, 20, 99, 100)}

    assert {
        count: (times.p95 is not None, times.p99 is not None) for count, times in told.items() if times
    } == {1: (False, False), 19: (False, False), 20: (True, False), 99: (True, False), 100: (True, True)}


def test_a_long_list_is_shortened_wherever_it_stands() -> None:
    """Of a multivector, the rows too."""
    assert shortened({"query": [[1.5] * 9] * 9, "limit": 10}) == (
        '{"query": [[1.5, 1.5, 1.5, … 9 in all], [1.5, 1.5, 1.5, … 9 in all], [1.5, 1.5, 1.5, … 9 in all],'
        ' … 9 in all], "limit": 10}'
    )


async def test_which_of_several_clusters_has_to_be_said() -> None:
    """The names are in the message."""
    shop, archive = (cluster_of().model_copy(update={"name": name}) for name in ("shop", "archive"))
    settings = Settings.model_construct(clusters=(shop, archive))
    errors = io.StringIO()

    codes = [
        await probe(
            settings, Wanted(collection="docs", cluster=name), Console(file=errors), Console(file=errors)
        )
        for name in (None, "shed")
    ]

    assert codes == [2, 2]
    assert errors.getvalue().splitlines() == [
        "--cluster: say which one: shop, archive",
        "--cluster: there is no cluster 'shed'; write one of shop, archive",
    ]


async def test_the_command_probes_and_prints_to_a_pipe_without_colours() -> None:
    """A real process, as people and scripts run it."""
    async with ReplayServer(answer=answers(FOUND)) as server:
        done = await run_command("probe", "docs", f"--qdrant.url={server.url}", "--count=3", "--no-recall")
        refused = await run_command("probe", "docz", f"--qdrant.url={server.url}")

    assert (done.returncode, done.stderr) == (0, "")
    assert "searches: 3 good, 0 failed, 3 asked for" in done.stdout
    assert "\x1b" not in done.stdout
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "near it: 'docs'" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--count=0",), ("--count=10001",), ("--limit=1001",), ("--hnsw-ef=0",), ("--output=xml",)],
)
def test_what_is_out_of_range_is_refused_before_anybody_is_asked(arguments: tuple[str, ...]) -> None:
    """Exit code 2, and one sentence that names the flag."""
    done = CliRunner().invoke(app, ("probe", "docs", "--qdrant.url=http://127.0.0.1:1", *arguments))

    assert done.exit_code == 2
    assert arguments[0].partition("=")[0] in done.stderr


@pytest.mark.parametrize("typed", [{"limit": 1_001}, {"hnsw_ef": 100_001}, {"limit": 0}, {"hnsw_ef": 0}])
def test_the_flags_have_the_bounds_of_the_settings(typed: dict[str, int]) -> None:
    """What the command line refuses, the configuration refuses too."""
    with pytest.raises(ValidationError):
        ProbeSettings(**typed)


def test_every_flag_of_the_table_is_an_option_of_probe_and_its_own_are_explained() -> None:
    """The usual flags say which deployment, as for `run` and `once`."""
    command = typer.main.get_group(app).commands["probe"]
    options = {option for parameter in command.params for option in parameter.opts}
    help_text = CliRunner().invoke(app, ("probe", "--help")).stdout

    assert {flag.option for flag in FLAGS} <= options
    assert "Searches, one after the other." in help_text
    assert "--no-no-recall" not in help_text
