"""What the probes need of telemetry: vectors, strict mode, graphs and search counts, as servers told them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exporter.observe.sources import segments, telemetry
from exporter.observe.sources.remembered import Remembered
from exporter.observe.sources.segments import SearchesSeen, graph_points, searches_by_vector
from exporter.observe.sources.telemetry import CollectionSeen, VectorSeen, read_vectors
from exporter.qdrant.payloads import CollectionParams, Segment, StrictMode, Telemetry, result
from tests.kit.derivation import body_of
from tests.kit.recordings import recording

VERSIONS = ("v1.12.6", "v1.16.3", "v1.18.3")
# Thresholds of the recorded collections' graphs: 1,000 KB of raw vectors.
UNDER, OVER = 7_999, 8_000  # points of 128 bytes


def collections_of(json: Any) -> dict[str, CollectionSeen]:
    """Read the collections of a telemetry answer, each of which must read."""
    told = result(body_of(json), Telemetry, telemetry.ENDPOINT)
    seen = telemetry.read(told, Remembered(endpoint=telemetry.ENDPOINT), telemetry.Parts())
    assert seen.unreadable == ()
    return dict(seen.collections)


def altered(version: str, collection: str, config: dict[str, Any]) -> CollectionSeen:
    """Read a recorded collection with other settings."""
    json = recording(f"{version}/single/small/telemetry_3").json
    found = json["result"]["collections"]["collections"]
    next(one for one in found if one["id"] == collection)["config"] |= config
    return collections_of(json)[collection]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("answered", ["small/telemetry_3", "small/telemetry_4"])
def test_vectors_of_every_kind_are_read(version: str, answered: str) -> None:
    """The unnamed one, and by name: of several sizes and distances, of several rows, sparse."""
    seen = collections_of(recording(f"{version}/single/{answered}").json)

    assert seen["docs"].vectors == (VectorSeen("", 128, "Cosine"),)
    assert seen["strict"].vectors == (VectorSeen("", 16, "Cosine"),)
    assert seen["named"].vectors == (
        VectorSeen("body", 96, "Euclid"),
        VectorSeen("colbert", 32, "Cosine", multi=True),
        VectorSeen("img", 48, "Cosine"),
        VectorSeen("title", 64, "Dot"),
        VectorSeen("bm25", None, None),
    )
    assert [vector.name for vector in seen["named"].vectors if vector.sparse] == ["bm25"]
    assert all(collection.vectors for collection in seen.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_strict_mode_is_read_where_it_is_on(version: str) -> None:
    """One collection has limits, the others none."""
    seen = collections_of(recording(f"{version}/single/small/telemetry_3").json)

    assert seen["strict"].strict == StrictMode(
        enabled=True,
        max_query_limit=5,
        max_timeout=3,
        search_max_hnsw_ef=32,
        search_allow_exact=False,
        read_rate_limit=5,
    )
    assert {name for name, collection in seen.items() if collection.strict is not None} == {"strict"}


@pytest.mark.parametrize("strict", [None, {"enabled": False, "max_query_limit": 5}, {"max_query_limit": 5}])
@pytest.mark.parametrize("version", VERSIONS)
def test_strict_mode_that_is_off_limits_nothing(version: str, strict: dict[str, Any] | None) -> None:
    """Its limits may stay in the settings, without effect; 1.18 writes enabled: false by itself."""
    assert altered(version, "docs", {"strict_mode_config": strict}).strict is None


@pytest.mark.parametrize(
    ("params", "vectors"),
    [
        ({}, ()),
        ({"vectors": {}}, ()),
        ({"vectors": None, "sparse_vectors": None}, ()),
        ({"sparse_vectors": {"b": {}, "a": {"modifier": "idf"}}}, (("a", None), ("b", None))),
        ({"vectors": {"size": 4, "distance": "Dot"}, "sparse_vectors": {"s": {}}}, (("", 4), ("s", None))),
        ({"vectors": {"size": {"size": 4, "distance": "Dot"}}}, (("size", 4),)),  # one of that name
        ({"vectors": {"new": {"dimension": 4}, "old": {"size": 8}}}, (("old", 8),)),
        ({"vectors": {"odd": 7, "old": {"size": 8, "distance": "Fancy"}}}, (("old", 8),)),
    ],
)
def test_vectors_that_do_not_read_are_left_out(
    params: dict[str, Any], vectors: tuple[tuple[str, int | None], ...]
) -> None:
    """A newer server's kind of vector is not searched; the collection and its other vectors are told."""
    found = read_vectors(msgspec.convert(params, CollectionParams))

    assert tuple((vector.name, vector.size) for vector in found) == vectors


def shards_of(version: str, answered: str) -> dict[str, segments.ShardSegmentsSeen]:
    """Read the segments of a recorded answer: shard 0 of each collection."""
    seen = segments.read(
        recording(f"{version}/single/{answered}").body, Remembered(endpoint=segments.ENDPOINT)
    )
    return {name: by_id[0] for name, by_id in seen.shards.items()}


@pytest.mark.parametrize("version", VERSIONS)
def test_points_behind_a_graph_are_those_of_large_indexed_segments(version: str) -> None:
    """40,500 of 128 floats are 20 MB; 600 points of the other collections are scanned, graph or not."""
    shards = shards_of(version, "green/telemetry_4")

    assert {name: dict(shard.graph_points) for name, shard in shards.items() if shard.graph_points} == {
        "docs": {"": 40_500}
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_before_the_graph_is_built_there_is_none_to_search(version: str) -> None:
    """100,000 points that wait to be indexed are scanned."""
    assert shards_of(version, "yellow/telemetry_4")["docs"].graph_points == {}


@pytest.mark.parametrize(
    ("version", "of_docs"),
    [
        ("v1.12.6", SearchesSeen(graph=6, scan=7)),
        ("v1.16.3", SearchesSeen(graph=7, scan=0)),
        ("v1.18.3", SearchesSeen(graph=7, scan=0)),
    ],
)
def test_searches_are_counted_by_how_they_were_served(version: str, of_docs: SearchesSeen) -> None:
    """Through the graph where there is one, by reading all elsewhere; exact and sparse ones are not in it."""
    before = shards_of(version, "green/telemetry_4")
    after = shards_of(version, "vacuum/before.telemetry_4")

    assert all(shard.searches == {} for shard in before.values())
    assert after["docs"].searches == {"": of_docs}
    assert after["named"].searches == dict.fromkeys(("title", "img", "colbert"), SearchesSeen(0, 2))
    assert after["strict"].searches[""].graph == 0


def segment(points: int, searches: dict[str, dict[str, int]] | None = None, **vector: Any) -> Segment:
    """Return a segment with one vector named "v" of 32 floats; `searches` are counts by vector and kind."""
    told = {
        "info": {"num_points": points, "vectors_size_bytes": points * 128},
        "config": {"vector_data": {"v": {"size": 32} | vector}},
        "vector_index_searches": [
            {"index_name": name} | {kind: {"count": count} for kind, count in kinds.items()}
            for name, kinds in (searches or {}).items()
        ],
    }
    return msgspec.convert(told, Segment)


def hnsw(threshold_kb: int | None = 1_000) -> dict[str, Any]:
    """Return the settings of an index with a graph."""
    return {"type": "hnsw", "options": {"m": 16, "full_scan_threshold": threshold_kb}}


@pytest.mark.parametrize(
    ("points", "vector", "behind"),
    [
        (OVER, {"index": hnsw()}, {"v": OVER}),
        (UNDER, {"index": hnsw()}, {}),
        (UNDER, {"index": hnsw(0)}, {"v": UNDER}),
        (UNDER, {"index": hnsw(None)}, {"v": UNDER}),
        (OVER, {"index": {"type": "plain", "options": {}}}, {}),
        (2 * UNDER, {"index": hnsw(), "datatype": "float16"}, {}),
        (2 * OVER, {"index": hnsw(), "datatype": "float16"}, {"v": 2 * OVER}),
        (4 * OVER, {"index": hnsw(), "datatype": "uint8"}, {"v": 4 * OVER}),
        (OVER, {"index": hnsw(), "datatype": "float8"}, {}),
        (OVER, {"index": hnsw(), "multivector_config": {"comparator": "max_sim"}}, {"v": OVER}),
        (UNDER, {"index": hnsw(), "multivector_config": {"comparator": "max_sim"}}, {}),
    ],
)
def test_a_graph_counts_where_the_segments_raw_vectors_reach_the_full_scan_threshold(
    points: int, vector: dict[str, Any], behind: dict[str, int]
) -> None:
    """Whatever an element takes; of an unknown datatype nothing is claimed."""
    assert graph_points([segment(points, **vector)]) == behind


def test_segments_are_summed_by_vector() -> None:
    """A large one with a graph, one that is built, one that is too small."""
    held = [
        segment(OVER, index=hnsw()),
        segment(OVER),
        segment(UNDER, index=hnsw()),
        segment(OVER, index=hnsw()),
    ]

    assert graph_points(held) == {"v": 2 * OVER}
    assert graph_points([]) == {}


def test_every_kind_of_search_is_counted_once_and_exact_and_sparse_ones_not_at_all() -> None:
    """A filter that leaves few points is served by reading those, also where there is a graph."""
    kinds = {
        "unfiltered_hnsw": 1,
        "filtered_large_cardinality": 10,
        "unfiltered_plain": 100,
        "filtered_plain": 1_000,
        "filtered_small_cardinality": 10_000,
        "unfiltered_exact": 7,
        "filtered_exact": 7,
        "unfiltered_sparse": 7,
        "filtered_sparse": 7,
    }
    held = [segment(1, {"v": kinds, "w": {"unfiltered_exact": 7}}), segment(1, {"v": {"unfiltered_hnsw": 4}})]

    assert searches_by_vector(held) == {"v": SearchesSeen(graph=15, scan=11_100)}
    assert searches_by_vector([]) == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_search_counts_have_the_names_that_servers_write(version: str) -> None:
    """A kind that was renamed would be read as 0 for good."""
    json = recording(f"{version}/single/vacuum/before.telemetry_4").json
    written = {
        kind
        for collection in json["result"]["collections"]["collections"]
        for shard in collection["shards"]
        for held in shard["local"]["segments"]
        for told in held["vector_index_searches"]
        for kind in told
    }

    assert {"unfiltered_plain", "unfiltered_hnsw"} <= written
    assert written <= {
        "index_name",
        "unfiltered_plain",
        "unfiltered_hnsw",
        "unfiltered_sparse",
        "unfiltered_exact",
        "filtered_plain",
        "filtered_small_cardinality",
        "filtered_large_cardinality",
        "filtered_sparse",
        "filtered_exact",
    }
