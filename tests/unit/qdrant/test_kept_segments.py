"""Segments and what optimizers do, as recorded servers told them before, during and after a vacuum."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from exporter.errors import BadPayload
from exporter.qdrant import kept_segments
from exporter.qdrant.kept_segments import CANCELLED, DONE, ERROR, RUNNING, CollectionRead, ShardRead
from tests.kit.recordings import recording

OLD, MIDDLE, NEW = (f"v{version}/single/vacuum" for version in ("1.12.6", "1.16.3", "1.18.3"))


def docs(name: str) -> CollectionRead:
    """Read the collection of a recording."""
    found = kept_segments.read_segments(recording(name).body, "docs").collection
    assert found is not None
    return found


def shard(name: str) -> ShardRead:
    """Read its only shard."""
    (found,) = docs(name).shards
    return found


@pytest.mark.parametrize("folder", [OLD, MIDDLE, NEW])
def test_a_segment_tells_live_and_deleted_points_and_loses_the_deleted_ones_by_a_vacuum(folder: str) -> None:
    """15 % of 40,500 points were deleted, and the vacuum made a new segment of what was left."""
    before = shard(f"{folder}/deleted_15.telemetry_4").segments[1]
    after = shard(f"{folder}/after.telemetry_4").segments[1]

    assert (before.kind, before.live, before.deleted) == ("indexed", 34_498, 6_002)
    assert before.vectors == {"": (40_500, 40_500)}
    assert before.vector_bytes == 34_498 * 128 * 4
    assert (after.live, after.deleted, after.vectors) == (34_498, 0, {"": (34_498, 34_498)})


def test_segments_and_runs_have_their_ids_since_1_17() -> None:
    """What a run makes has the id of the run."""
    before = shard(f"{NEW}/deleted_15.telemetry_4").segments[1]
    now = shard(f"{NEW}/after.telemetry_4")

    assert now.runs[0].name == "vacuum"
    assert now.runs[0].segments == (before.uuid,)
    assert now.runs[0].uuid == now.segments[1].uuid != before.uuid


@pytest.mark.parametrize("folder", [OLD, MIDDLE])
def test_before_a_segment_has_no_id_and_a_run_that_of_its_beginning(folder: str) -> None:
    """Two looks must know the same run again."""
    seen = shard(f"{folder}/after.telemetry_4")

    assert {segment.uuid for segment in seen.segments} == {None}
    assert seen.runs[0].uuid == f"vacuum {seen.runs[0].started_at}"
    assert seen.runs[0].segments == ()


@pytest.mark.parametrize(
    ("folder", "outcomes"),
    [
        (OLD, [("merge", RUNNING), ("indexing", CANCELLED), ("vacuum", DONE), ("indexing", DONE)]),
        (MIDDLE, [("merge", RUNNING), ("indexing", CANCELLED), ("indexing", CANCELLED), ("vacuum", DONE)]),
        (NEW, [("indexing", RUNNING), ("indexing", CANCELLED), ("vacuum", DONE)]),
    ],
)
def test_a_patch_while_something_runs_cancels_it_as_the_log_shows(
    folder: str, outcomes: list[tuple[str, str]]
) -> None:
    """The recorded PATCH was empty: it cancels all the same."""
    seen = shard(f"{folder}/patch_while_running.telemetry_4")

    assert [(run.name, run.outcome) for run in seen.runs][: len(outcomes)] == outcomes
    assert "process cancelled by service" in {run.detail for run in seen.runs}
    assert seen.status == "yellow"


def test_settings_stand_beside_the_segments() -> None:
    """As this peer knows them; a server of 1.12 took a minimum that newer ones refuse."""
    assert docs(f"{OLD}/patch_while_running.telemetry_4").config["vacuum_min_vector_number"] == 5
    assert docs(f"{NEW}/deleted_15.telemetry_4").config["deleted_threshold"] == 0.2


def test_what_a_peer_of_a_cluster_knows_of_other_replicas() -> None:
    """Its own id, the collection's, and the states of all replicas."""
    seen = kept_segments.read_segments(recording("v1.18.3/cluster/02_healthy/peer0/telemetry_4").body, "rf2")

    assert seen.node == 392660894735341
    assert seen.collection is not None
    assert seen.collection.uuid is not None
    assert all(set(one.replicas.values()) == {"Active"} for one in seen.collection.shards)
    assert {one.loaded for one in seen.collection.shards if one.local} == {True}
    assert {one.status for one in seen.collection.shards if not one.local} <= {None}
    assert (seen.collection.transfers, seen.collection.snapshots_running) == (0, 0)


def test_a_shard_that_did_not_load_is_told_apart() -> None:
    """It says green."""
    seen = kept_segments.read_segments(
        recording("v1.18.3/single/broken_shard/telemetry_4").body, _broken_collection()
    )

    assert seen.collection is not None
    assert [(one.local, one.loaded, one.status) for one in seen.collection.shards] == [(True, False, "green")]


def test_a_collection_that_a_peer_does_not_have_is_none() -> None:
    """The server is told all the same."""
    seen = kept_segments.read_segments(recording(f"{NEW}/after.telemetry_4").body, "nobody's")

    assert (seen.collection, seen.version, seen.node) == (None, "1.18.3", None)


def test_what_waits_since_1_17() -> None:
    """Just after the PATCH the vacuum waits; then it runs."""
    first = kept_segments.read_optimizations(recording(f"{NEW}/running.0.optimizations").body)
    later = kept_segments.read_optimizations(recording(f"{NEW}/running.3.optimizations").body)

    assert (first, later) == (1, 0)


def test_the_other_shape_of_1_16_is_no_answer() -> None:
    """It does not tell what waits."""
    with pytest.raises(BadPayload):
        kept_segments.read_optimizations(recording(f"{MIDDLE}/running.3.optimizations").body)


@pytest.mark.parametrize("status", [{"error": "disk is full"}, "abandoned", None])
def test_a_run_that_ended_in_a_way_we_do_not_know_does_not_run_for_ever(status: object) -> None:
    """The log keeps 16 runs: one that seems to run would keep thresholds changed for long."""
    said = json.loads(recording(f"{NEW}/after.telemetry_4").body)
    for one in said["result"]["collections"]["collections"]:
        for place in one["shards"]:
            for run in place["local"]["optimizations"]["log"]:
                run["status"] = status
    read = kept_segments.read_segments(json.dumps(said).encode(), "docs").collection

    assert read is not None
    assert {run.outcome for run in read.shards[0].runs} == {ERROR}


def test_requests_name_the_collection_as_a_path_does() -> None:
    """A name may hold a slash's escape."""
    assert kept_segments.optimizations("a b").request.path == "/collections/a%20b/optimizations"
    assert kept_segments.segments().request.path == "/telemetry?details_level=4"


def _broken_collection() -> str:
    collections = recording("v1.18.3/single/broken_shard/telemetry_4").json["result"]["collections"]
    return next(
        str(one["id"])
        for one in collections["collections"]
        for place in one["shards"]
        if place["local"]["variant_name"] == "dummy shard"
    )


def test_all_collections_of_an_answer_read_as_each_of_them_does() -> None:
    """But for the snapshots that run, which are not looked for."""
    body = recording(f"{NEW}/after.telemetry_4").body

    every = dict(kept_segments.read_every(body))

    assert set(every) == {"binary", "deferred", "docs", "named", "noindex", "quantized", "strict"}
    for name, read in every.items():
        alone = kept_segments.read_segments(body, name)
        assert alone.collection is not None
        unsaid = replace(alone.collection, snapshots_running=None, recoveries_running=None)
        assert read == replace(alone, collection=unsaid)
