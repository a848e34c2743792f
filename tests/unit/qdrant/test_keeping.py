"""The requests of jobs, and what recorded answers say to them."""

from __future__ import annotations

import json

import msgspec
import pytest

from exporter.errors import BadPayload
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked
from exporter.qdrant.keeping import SnapshotDescription, Transfer
from tests.kit.recordings import recording

PEER_0, PEER_1, PEER_2 = 392660894735341, 3791264816499452, 2386962488601729
HEALTHY = "v1.18.3/cluster/02_healthy/peer0"
SNAPSHOTS = "v1.18.3/single/snapshots"
DUMMY = "v1.18.3/single/broken_shard"


def answered(result: object) -> bytes:
    """Frame a result as the server does."""
    return json.dumps({"result": result, "status": "ok", "time": 0.1}).encode()


def sent(asked: Asked) -> tuple[str, str, object]:
    """Return method, path and decoded body of a request."""
    assert isinstance(asked.request.body, bytes)
    body = json.loads(asked.request.body) if asked.request.body else None
    return asked.request.method, asked.request.path, body


def test_telemetry_shows_the_shards_of_a_peer_and_what_it_knows_of_the_others() -> None:
    """Own replicas have numbers, the others' only states."""
    seen = keeping.read_telemetry(recording(f"{HEALTHY}/telemetry_3").body, "custom")

    assert seen is not None
    assert (seen.server.version, seen.transfers, seen.resharding) == ("1.18.3", 0, False)
    assert seen.uuid is not None
    assert (seen.snapshots_running, seen.recoveries_running, seen.optimizing) == (0, 0, False)
    assert {shard.key for shard in seen.shards} == {"de", "en", "fr"}
    local = [shard for shard in seen.shards if shard.local]
    remote = [shard for shard in seen.shards if not shard.local]
    assert local
    assert remote
    for shard in local:
        assert shard.loaded
        assert shard.status == "green"
        assert shard.points is not None
        assert (shard.queue_length, shard.optimizer_error) == (0, None)
        assert shard.op_num is not None
        assert shard.replicas[PEER_0] == "Active"
    for shard in remote:
        assert not shard.loaded
        assert (shard.points, shard.op_num, shard.status) == (None, None, None)
        assert set(shard.replicas.values()) == {"Active"}


def test_a_collection_that_a_peer_does_not_have_is_none() -> None:
    """A name that telemetry does not hold is no error."""
    assert keeping.read_telemetry(recording(f"{HEALTHY}/telemetry_3").body, "nosuch") is None


def test_a_shard_that_did_not_load_is_local_and_not_loaded() -> None:
    """The dummy in its place says green; its variant tells."""
    seen = keeping.read_telemetry(recording(f"{DUMMY}/telemetry_3").body, "binary")

    assert seen is not None
    (shard,) = seen.shards
    assert (shard.local, shard.loaded, shard.variant, shard.status) == (True, False, "dummy shard", "green")
    assert shard.points is None


def test_telemetry_before_the_counts_of_shards_sums_its_segments() -> None:
    """1.12.6 tells neither points of a shard, nor its queue, nor which snapshots run."""
    body = recording("v1.12.6/single/small/telemetry_4").body
    told = recording("v1.12.6/single/small/collection.named").json["result"]["points_count"]

    seen = keeping.read_telemetry(body, "named")

    assert seen is not None
    assert seen.uuid is None
    assert (seen.snapshots_running, seen.recoveries_running) == (None, None)
    assert sum(shard.points or 0 for shard in seen.shards) == told
    assert {(shard.queue_length, shard.op_num) for shard in seen.shards} == {(None, None)}


def test_an_optimizer_at_work_and_one_that_failed_are_seen() -> None:
    """Yellow is at work; an error is told in the server's words."""
    busy = keeping.read_telemetry(recording("v1.18.3/single/yellow/telemetry_3").body, "docs")
    full = keeping.read_telemetry(recording("v1.18.3/single/disk_full/after_5s/telemetry_3").body, "full")

    assert busy is not None
    assert busy.optimizing
    assert full is not None
    (error,) = {shard.optimizer_error for shard in full.shards}
    assert error is not None
    assert "Not enough space" in error


def test_a_snapshot_that_runs_is_counted_for_its_collection_alone() -> None:
    """Telemetry counts running snapshots beside the collections."""
    said = recording(f"{HEALTHY}/telemetry_3").json
    for one in said["result"]["collections"]["snapshots"]:
        one["running_snapshots"] = 1 if one["id"] == "rf2" else 0
    body = json.dumps(said).encode()

    running = {name: keeping.read_telemetry(body, name) for name in ("rf2", "rf3")}

    assert {name: seen and seen.snapshots_running for name, seen in running.items()} == {"rf2": 1, "rf3": 0}


def test_snapshots_that_were_begun_are_counted_where_the_server_does() -> None:
    """Also of a collection of which none was; 1.12 does not count."""
    counted = keeping.read_running(recording(f"{HEALTHY}/telemetry_3").body, "rf2")

    assert counted is not None
    assert (counted.total_snapshot_creations, counted.running_snapshots) == (0, 0)
    assert keeping.read_running(recording("v1.12.6/single/small/telemetry_4").body, "named") is None


def test_the_server_says_its_version_and_its_start() -> None:
    """Another start means that op numbers may have gone back."""
    server = keeping.read_server(recording(f"{HEALTHY}/telemetry_3").body)

    assert server.version == "1.18.3"
    assert server.started.startswith("2026-11-23T")


def test_a_placement_shows_replicas_by_shard_and_keys() -> None:
    """Shards ascend; a key's shards do too."""
    placed = keeping.read_placement(recording(f"{HEALTHY}/collection_cluster.custom").body)

    assert placed.peer_id == PEER_0
    assert list(placed.replicas) == sorted(placed.replicas)
    assert all(set(states.values()) == {"Active"} for states in placed.replicas.values())
    assert all(len(states) == 2 for states in placed.replicas.values())
    assert list(placed.keys) == ["de", "en", "fr"]
    assert sorted(shard for shards in placed.keys.values() for shard in shards) == list(placed.replicas)
    assert (placed.shard_transfers, placed.resharding) == ((), False)


def test_a_placement_shows_what_moves() -> None:
    """A move has both ends, and its new replica is not Active yet."""
    placed = keeping.read_placement(recording("v1.18.3/cluster/09_move/cluster_2").body)

    assert placed.shard_transfers == (
        Transfer(0, PEER_0, PEER_2, sync=False, method="snapshot", comment="finalizing (0.02s)"),
    )
    assert placed.replicas[0] == {PEER_0: "Active", PEER_2: "Partial"}
    assert placed.keys == {}


def test_resharding_is_seen() -> None:
    """The server names operations that split or merge shards."""
    operations = [{"direction": "up", "peer_id": 1, "shard_id": 2, "shard_key": None}]
    body = answered({"peer_id": 1, "shard_count": 1, "resharding_operations": operations})

    assert keeping.read_placement(body).resharding


def test_a_description_keeps_the_servers_own_words() -> None:
    """Config and payload schema are what a later restore is made from."""
    said = recording("v1.18.3/single/green/collection.docs").json["result"]

    description = keeping.read_description(recording("v1.18.3/single/green/collection.docs").body)

    assert description.config == said["config"]
    assert description.payload_schema == said["payload_schema"]
    assert description.payload_schema
    assert (description.points_count, description.status) == (said["points_count"], "green")
    assert description.optimizer_status == "ok"


def test_an_optimizers_error_is_the_status_of_a_description() -> None:
    """The server wraps it into an object."""
    body = answered({"config": {}, "status": "red", "optimizer_status": {"error": "no space"}})

    assert keeping.read_description(body).optimizer_status == "no space"


def test_snapshots_are_listed_with_size_and_checksum() -> None:
    """One that was just taken looks as it does in the list."""
    (listed,) = keeping.read_snapshots(recording(f"{SNAPSHOTS}/list").body)

    assert listed == keeping.read_snapshot(recording(f"{SNAPSHOTS}/create").body)
    assert listed == SnapshotDescription(
        name="docs-6471617423424443-2026-11-23-01-39-29.snapshot",
        size=130_601_984,
        creation_time="2026-11-23T01:39:29",
        checksum="7f1e90d5edf980d08c582e87e39066f4d02959f8ee54d865708c67d029faf78f",
    )
    (full,) = keeping.read_snapshots(recording(f"{SNAPSHOTS}/full_list").body)
    assert full.name.startswith("full-snapshot-")


def test_a_snapshot_without_checksum_and_time_reads() -> None:
    """A server with S3 behind it names neither."""
    listed = keeping.read_snapshots(
        answered([{"name": "a", "size": 1, "creation_time": None, "checksum": None}])
    )

    assert listed == [SnapshotDescription("a", 1)]


def test_names_aliases_and_peers_read() -> None:
    """Lists of collections and aliases, and the peers of the cluster."""
    assert keeping.read_collections(recording(f"{HEALTHY}/collections").body) == (
        "custom",
        "rf1",
        "rf2",
        "rf3",
    )
    assert keeping.read_aliases(recording(f"{SNAPSHOTS}/aliases_after").body) == {"docs_live": "docs"}
    status = keeping.read_cluster_status(recording(f"{HEALTHY}/cluster").body)
    assert (status.peer_id, set(status.peers)) == (PEER_0, {PEER_0, PEER_1, PEER_2})


def test_points_come_as_the_server_wrote_them() -> None:
    """Whole numbers stay whole, and the largest id stays exact."""
    largest = 2**64 - 1
    page = {"points": [{"id": largest, "payload": {"n": 1, "x": 1.0}}], "next_page_offset": largest}

    points, following = keeping.read_scroll(answered(page))

    assert points == [{"id": largest, "payload": {"n": 1, "x": 1.0}}]
    assert isinstance(points[0]["payload"]["n"], int)
    assert following == largest
    assert keeping.read_scroll(answered({"points": [], "next_page_offset": None})) == ([], None)
    assert keeping.read_count(recording(f"{SNAPSHOTS}/original_count").body) == 64_500
    assert keeping.read_query(answered({"points": [{"id": 1, "score": 0.5}]})) == [{"id": 1, "score": 0.5}]


def test_points_may_stay_as_the_server_wrote_them() -> None:
    """Each as its own JSON, to be read one at a time."""
    body = b'{"result":{"points":[{"id":1, "payload":{"x":1.0}}],"next_page_offset":2},"status":"ok"}'
    found = b'{"result":[{"id":1, "payload":{"x":1.0}}],"status":"ok"}'

    points, following = keeping.read_page(body, msgspec.Raw)

    assert [bytes(one) for one in points] == [b'{"id":1, "payload":{"x":1.0}}']
    assert following == 2
    assert keeping.read_retrieved(found, msgspec.Raw) == points


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"result":', b'{"result":{"points":1}}', b'{"result":[1]}', b"{}"]
)
def test_what_is_no_answer_of_the_server_is_a_bad_payload(body: bytes) -> None:
    """Every reader refuses what it cannot understand."""
    readers = (
        keeping.read_cluster_status,
        keeping.read_server,
        keeping.read_collections,
        keeping.read_aliases,
        keeping.read_description,
        keeping.read_placement,
        keeping.read_snapshots,
        keeping.read_snapshot,
        keeping.read_count,
        keeping.read_scroll,
        keeping.read_query,
    )

    for read in readers:
        with pytest.raises(BadPayload):
            read(body)
    with pytest.raises(BadPayload):
        keeping.read_telemetry(body, "docs")


NAME = "a/b %41\n😀"
ESCAPED = "a%2Fb%20%2541%0A%F0%9F%98%80"


@pytest.mark.parametrize(
    ("asked", "expected", "endpoint"),
    [
        (keeping.create_snapshot(NAME), ("POST", "/snapshots?wait=true", {}), "POST /snapshots"),
        (
            keeping.delete_snapshot(NAME, "../s"),
            ("DELETE", "/snapshots/..%2Fs?wait=true", None),
            "DELETE /snapshots/{snapshot}",
        ),
        (keeping.create_collection(NAME, {"vectors": {}}), ("PUT", "", {"vectors": {}}), "PUT "),
        (keeping.patch_collection(NAME, {"metadata": {}}), ("PATCH", "", {"metadata": {}}), "PATCH "),
        (keeping.delete_collection(NAME), ("DELETE", "", None), "DELETE "),
        (keeping.create_key(NAME, {"shard_key": 1}), ("PUT", "/shards", {"shard_key": 1}), "PUT /shards"),
        (
            keeping.delete_key(NAME, "a"),
            ("POST", "/shards/delete", {"shard_key": "a"}),
            "POST /shards/delete",
        ),
        (
            keeping.create_index(NAME, "n", {"type": "integer", "range": False}),
            (
                "PUT",
                "/index?wait=true",
                {"field_name": "n", "field_schema": {"type": "integer", "range": False}},
            ),
            "PUT /index",
        ),
    ],
)
def test_what_writes_goes_out_once_under_an_escaped_name(
    asked: Asked, expected: tuple[str, str, object], endpoint: str
) -> None:
    """A name is one segment of the path, and no part of the endpoint's label."""
    method, route, body = expected

    assert sent(asked) == (method, f"/collections/{ESCAPED}{route}", body)
    verb, _, rest = endpoint.partition(" ")
    assert asked.endpoint == f"{verb} /collections/{{collection}}{rest}"
    assert asked.request.once


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (keeping.count("c"), ("POST", "/collections/c/points/count", {"exact": True})),
        (keeping.count("c", 7), ("POST", "/collections/c/points/count", {"exact": True, "shard_key": 7})),
        (keeping.scroll("c", {"limit": 5}), ("POST", "/collections/c/points/scroll", {"limit": 5})),
        (
            keeping.retrieve("c", [1, 2]),
            ("POST", "/collections/c/points", {"ids": [1, 2], "with_payload": True, "with_vector": True}),
        ),
        (
            keeping.retrieve("c", [1], "eu"),
            (
                "POST",
                "/collections/c/points",
                {"ids": [1], "with_payload": True, "with_vector": True, "shard_key": "eu"},
            ),
        ),
        (keeping.query("c", {"query": 1}), ("POST", "/collections/c/points/query", {"query": 1})),
        (keeping.describe("c"), ("GET", "/collections/c", None)),
        (keeping.placement(".."), ("GET", "/collections/%2E%2E/cluster", None)),
        (keeping.list_snapshots("c"), ("GET", "/collections/c/snapshots", None)),
        (keeping.full_snapshots(), ("GET", "/snapshots", None)),
        (keeping.telemetry(4), ("GET", "/telemetry?details_level=4", None)),
    ],
)
def test_what_reads_may_be_sent_again(asked: Asked, expected: tuple[str, str, object]) -> None:
    """Reading over a connection that broke is tried on another."""
    assert sent(asked) == expected
    assert not asked.request.once


def test_a_shard_is_uploaded_with_the_priority_that_was_proven() -> None:
    """The archive counts, and the server fills the other replicas from it."""
    assert keeping.shard_upload_path("a b", 4) == (
        "/collections/a%20b/shards/4/snapshots/upload?priority=snapshot&wait=true"
    )


def test_aliases_are_changed_in_one_request() -> None:
    """All actions go in one body."""
    actions = [{"create_alias": {"collection_name": "c", "alias_name": "a"}}]

    assert sent(keeping.change_aliases(actions)) == ("POST", "/collections/aliases", {"actions": actions})
