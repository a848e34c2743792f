"""How a collection may be searched: what is configured, cut to what its strict mode allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from exporter.config.probes import ProbeSettings, RecallSettings
from exporter.observe.probes.asking import Asking, asking_of
from exporter.observe.probes.book import RECALL, SEARCH
from exporter.observe.probes.pool import Query
from exporter.observe.probes.probed import Probed
from exporter.observe.probes.reasons import Skip
from exporter.observe.sources.telemetry import CollectionSeen, VectorSeen
from exporter.qdrant.payloads import StrictMode
from tests.kit.clock import ManualClock

UNNAMED = VectorSeen("", 4, "Cosine")
TITLE, COLBERT = VectorSeen("title", 64, "Dot"), VectorSeen("colbert", 32, "Cosine", multi=True)
BM25 = VectorSeen("bm25", None, None)
QUERY = Query(b"[0.1, 1e-7, -0.0]", "", own_id=7)


def asking(*vectors: VectorSeen, strict: StrictMode | None = None, **chosen: Any) -> Asking:
    """Settle how a collection with these vectors, of one unnamed by default, is searched."""
    seen = CollectionSeen("docs", 1, None, (), 0, vectors or (UNNAMED,), strict)
    return asking_of(ProbeSettings(**chosen), seen)


def sent(one: Asking, query: Query = QUERY, *, limit: int = 10, exact: bool = False) -> dict[str, Any]:
    """Return the body of a search as the server reads it."""
    read: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(one.body(query, limit=limit, exact=exact)))
    return read


def test_a_search_asks_for_ids_and_scores_only() -> None:
    """Neither payloads nor vectors come back: they would be measured with it, and cost the server."""
    assert sent(asking()) == {
        "query": [0.1, 1e-7, -0.0],
        "limit": 10,
        "with_payload": False,
        "with_vector": False,
    }


def test_a_vector_goes_back_byte_for_byte() -> None:
    """As the server wrote it: no number is read and written again."""
    body = msgspec.json.encode(asking().body(QUERY, limit=10, exact=False))

    assert b'"query":[0.1, 1e-7, -0.0]' in body


def test_a_named_vector_is_searched_by_its_name() -> None:
    """The unnamed one has none to write."""
    assert sent(asking(TITLE), Query(b"[1]", "title"))["using"] == "title"
    assert "using" not in sent(asking())


def test_what_is_configured_is_sent() -> None:
    """The filter as it was written, and how far the search may go."""
    chosen = {"must": [{"key": "city", "match": {"value": "Köln"}}]}
    one = asking(filter=chosen, hnsw_ef=200, indexed_only=True)

    assert sent(one)["filter"] == chosen
    assert sent(one)["params"] == {"hnsw_ef": 200, "indexed_only": True}


def test_a_query_with_a_filter_of_its_own_is_sent_with_that() -> None:
    """Written beside the query, it is meant more than the one for all."""
    query = Query(b"7", "", filter=b'{"must_not": [{"is_empty": {"key": "a"}}]}')

    assert sent(asking(filter={"must": []}), query)["filter"] == {"must_not": [{"is_empty": {"key": "a"}}]}


def test_an_exact_search_goes_through_no_graph_and_needs_no_depth() -> None:
    """The truth has the same filter and the same segments, or it would be that of another search."""
    one = asking(hnsw_ef=200, indexed_only=True, filter={"must": []})

    assert sent(one, exact=True)["params"] == {"exact": True, "indexed_only": True}
    assert sent(one, exact=True)["filter"] == {"must": []}


@pytest.mark.parametrize(
    ("allowed", "wanted", "asked"), [(None, 10, 10), (5, 10, 5), (10, 10, 10), (100, 10, 10)]
)
def test_no_request_asks_for_more_points_than_strict_mode_lets_it(
    allowed: int | None, wanted: int, asked: int
) -> None:
    """It would be refused whole; with a place for the query's own point too."""
    one = asking(limit=wanted, strict=StrictMode(enabled=True, max_query_limit=allowed))

    assert one.limit == asked
    assert one.within_limit(wanted + 1) == (wanted + 1 if allowed is None else min(wanted + 1, allowed))


@pytest.mark.parametrize(("allowed", "sent_ef"), [(None, 200), (32, 32), (200, 200), (1_000, 200)])
def test_a_search_goes_no_deeper_than_strict_mode_lets_it(allowed: int | None, sent_ef: int) -> None:
    """Where none is configured none is sent, whatever the limit."""
    strict = StrictMode(enabled=True, search_max_hnsw_ef=allowed)

    assert sent(asking(hnsw_ef=200, strict=strict))["params"] == {"hnsw_ef": sent_ef}
    assert "params" not in sent(asking(strict=strict))


@pytest.mark.parametrize(("allowed", "seconds"), [(None, 5.0), (3, 3), (5, 5.0), (60, 5.0)])
def test_the_server_gives_up_with_us_or_earlier_where_strict_mode_wants_it(
    allowed: int | None, seconds: float
) -> None:
    """A search that nobody waits for any more would still cost it."""
    strict = StrictMode(enabled=True, max_timeout=allowed)

    assert asking(deadline_seconds=5.0, strict=strict).timeout_seconds == seconds


@pytest.mark.parametrize(("tokens_a_minute", "shortest"), [(None, 0.0), (600, 3.0), (5, 360.0)])
def test_of_a_rate_limit_a_tenth_is_ours(tokens_a_minute: int | None, shortest: float) -> None:
    """The rest is for the collection's users: a search and the two requests of a recall share ours."""
    one = asking(strict=StrictMode(enabled=True, read_rate_limit=tokens_a_minute))

    assert one.shortest_interval_seconds == shortest


@pytest.mark.parametrize(
    ("tokens_a_minute", "search_seconds", "recall_seconds"),
    [(None, 30.0, 90.0), (600, 30.0, 90.0), (40, 45.0, 90.0), (10, 180.0, 180.0), (5, 360.0, 360.0)],
)
def test_a_probe_comes_as_configured_or_as_seldom_as_the_rate_limit_wants(
    tokens_a_minute: int | None, search_seconds: float, recall_seconds: float
) -> None:
    """From when strict mode is told, and no longer than it holds."""
    chosen = ProbeSettings(interval_seconds=30.0, recall=RecallSettings(interval_seconds=90.0))
    free = CollectionSeen("docs", 1, None, (), 0, (UNNAMED,))
    limited = replace(free, strict=StrictMode(enabled=True, read_rate_limit=tokens_a_minute))
    probed = Probed(name="docs", settings=chosen, seen=free, clock=ManualClock())

    intervals = []
    for seen in (free, limited, free):
        probed.update(seen, 1 << 20)
        intervals.append((probed.interval_seconds(SEARCH), probed.interval_seconds(RECALL)))

    assert intervals == [(30.0, 90.0), (search_seconds, recall_seconds), (30.0, 90.0)]


def test_each_vector_is_searched_and_recall_is_of_those_with_an_index_of_their_own() -> None:
    """A sparse vector's search is exact by design."""
    one = asking(TITLE, COLBERT, BM25)

    assert one.vectors == (TITLE, COLBERT, BM25)
    assert one.compared == (TITLE, COLBERT)


def test_a_configured_vector_is_the_only_one_searched() -> None:
    """Also where it is sparse; then there is no recall."""
    assert asking(TITLE, COLBERT, BM25, vector="colbert").vectors == (COLBERT,)
    assert asking(TITLE, COLBERT, BM25, vector="colbert").compared == (COLBERT,)
    assert asking(TITLE, BM25, vector="bm25").compared == ()
    assert asking(UNNAMED, BM25, vector="").vectors == (UNNAMED,)


@pytest.mark.parametrize(
    "chosen", [{"recall": RecallSettings(enabled=False)}, {"exact": True}, {"enabled": False}]
)
def test_where_recall_is_off_or_all_is_exact_nothing_is_compared(chosen: dict[str, Any]) -> None:
    """An exact search compared with itself is 1."""
    assert asking(**chosen).compared == ()


def test_a_vector_that_the_collection_lacks_is_not_searched_for() -> None:
    """What is configured does not fit, which is no failure of the server."""
    assert asking(TITLE, vector="gone").why_not_search() is Skip.REFUSED


@pytest.mark.parametrize(
    ("allowed", "exact", "why_not"),
    [(None, True, None), (True, True, None), (False, True, Skip.UNSUPPORTED), (False, False, None)],
)
def test_a_search_that_strict_mode_forbids_is_not_sent(
    allowed: bool | None, exact: bool, why_not: Skip | None
) -> None:
    """It would be refused each time; a search through the index is allowed all the same."""
    one = asking(exact=exact, strict=StrictMode(enabled=True, search_allow_exact=allowed))

    assert one.why_not_search() is why_not


@pytest.mark.parametrize(
    ("strict", "points", "p95_seconds", "why_not"),
    [
        (StrictMode(), 100.0, None, None),
        (StrictMode(), 100_000.0, 0.1, None),
        (StrictMode(), 100_001.0, 0.01, Skip.TOO_LARGE),
        (StrictMode(), 100.0, 0.11, Skip.PAUSED),
        (StrictMode(), None, 0.01, Skip.PAUSED),
        (StrictMode(enabled=True, search_allow_exact=False), 100.0, 0.01, Skip.UNSUPPORTED),
        (StrictMode(enabled=True, max_query_limit=1), 100.0, 0.01, Skip.UNSUPPORTED),
        (StrictMode(enabled=True, max_query_limit=2), 100.0, 0.01, None),
    ],
)
def test_an_exact_search_waits_for_small_collections_and_quick_times(
    strict: StrictMode, points: float | None, p95_seconds: float | None, why_not: Skip | None
) -> None:
    """It reads every point; users come first."""
    assert asking(strict=strict).why_not_compare(points, p95_seconds) is why_not


def test_strict_mode_that_is_off_limits_nothing() -> None:
    """Telemetry then tells none."""
    one = asking(strict=None, limit=1_000, hnsw_ef=1_000, deadline_seconds=60.0)

    assert (one.limit, one.timeout_seconds, one.shortest_interval_seconds) == (1_000, 60.0, 0.0)
    assert one.why_not_compare(1.0, None) is None
