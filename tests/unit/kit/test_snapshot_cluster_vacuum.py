"""The stand-in's optimizers and points behave as a real server's, so that tests may rely on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.kit.snapshot_cluster.optimizers import CANCELLED, Segment

LOWER = {"deleted_threshold": 0.1, "vacuum_min_vector_number": 100}
NAMED: dict[str, Any] = {
    "vectors": {
        "a": {"size": 2, "distance": "Dot"},
        "m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"s": {}},
    "shard_number": 1,
}


class Client:
    """Plain requests."""

    def __init__(self, cluster: SnapshotCluster, session: aiohttp.ClientSession) -> None:
        self.cluster, self._session = cluster, session

    async def __call__(self, method: str, path: str, body: Any = None, *, peer: int = 0) -> Any:
        async with self._session.request(method, self.cluster.urls[peer] + path, json=body) as response:
            said = await response.json(content_type=None)
            return (
                said["result"]
                if response.status == 200
                else (response.status, said and said["status"]["error"])
            )

    async def patch(self, **optimizers: Any) -> Any:
        """PATCH the optimizers of `docs`."""
        return await self("PATCH", "/collections/docs", {"optimizers_config": optimizers})

    async def shards(self, *, level: int = 4, peer: int = 0) -> list[Any]:
        """Return the local shards of `docs` in a peer's telemetry."""
        said = await self("GET", f"/telemetry?details_level={level}", peer=peer)
        return [shard["local"] for shard in said["collections"]["collections"][0]["shards"] if shard["local"]]


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    """Three peers with `docs`: 300 points in one shard of two replicas, and 60 deleted in each."""
    async with SnapshotCluster() as cluster, aiohttp.ClientSession() as session:
        cluster.create("docs", points(300), shard_number=1, replication_factor=2)
        cluster.optimizers.add_deleted("docs", 60)
        yield Client(cluster, session)


async def test_lowered_thresholds_start_a_vacuum_that_makes_a_segment_of_the_runs_uuid(
    client: Client,
) -> None:
    """Yellow and optimizing meanwhile, on every replica; segments are in level 4 only."""
    client.cluster.knobs.pace.held = True
    (before,) = await client.shards()
    assert await client.patch(**LOWER)
    (running,) = await client.shards()
    (other,) = await client.shards(peer=1)
    client.cluster.optimizers.finish("docs")
    (after,) = await client.shards()

    assert [one["status"] for one in (before, running, other, after)] == [
        "green",
        "yellow",
        "yellow",
        "green",
    ]
    run = running["optimizations"]["log"][0]
    old, new = before["segments"][0]["info"], after["segments"][0]["info"]
    assert (run["name"], run["status"], run["segment_uuids"]) == ("vacuum", "optimizing", [old["uuid"]])
    assert (old["num_points"], old["num_deleted_vectors"]) == (300, 60)
    assert (new["num_points"], new["num_deleted_vectors"], new["uuid"]) == (300, 0, run["uuid"])
    assert after["optimizations"]["log"][0]["status"] == "done"
    assert "segments" not in (await client.shards(level=3))[0]


async def test_a_patch_cancels_what_runs_and_plans_anew(client: Client) -> None:
    """Even an empty one; with the old thresholds nothing is wanted any more."""
    client.cluster.knobs.pace.held = True
    await client.patch(**LOWER)
    await client.patch()
    again = client.cluster.optimizers.statuses("docs")
    await client.patch(deleted_threshold=0.2, vacuum_min_vector_number=1000)

    cancelled = {"cancelled": CANCELLED}
    assert again == ["optimizing", cancelled] * 2
    assert client.cluster.optimizers.statuses("docs") == [cancelled, cancelled] * 2
    assert {shard["status"] for shard in await client.shards()} == {"green"}


async def test_a_run_lasts_as_many_looks_as_told(client: Client) -> None:
    """Of one peer's telemetry; the other's run waits for looks of its own."""
    client.cluster.knobs.pace.looks = 2
    await client.patch(**LOWER)

    assert [(await client.shards())[0]["status"] for _ in range(3)] == ["yellow", "yellow", "green"]
    assert (await client.shards(peer=1))[0]["status"] == "yellow"


async def test_after_a_restart_what_is_wanted_is_grey_until_a_patch(client: Client) -> None:
    """With thresholds that want it and an empty log."""
    client.cluster.knobs.pace.held = True
    await client.patch(**LOWER)
    client.cluster.restart(0)
    (grey,) = await client.shards()
    await client.patch()

    assert (grey["status"], grey["optimizations"]["log"]) == ("grey", [])
    assert (await client.shards())[0]["status"] == "yellow"


async def test_an_optimizer_that_fails_leaves_red_until_a_patch(client: Client) -> None:
    """The text is in the status and in the log."""
    client.cluster.knobs.pace.seconds, client.cluster.knobs.pace.error = 0.0, "no space left"
    await client.patch(**LOWER)
    (failed,) = await client.shards()
    described = await client("GET", "/collections/docs")

    assert (failed["status"], failed["optimizations"]["status"]) == ("red", {"error": "no space left"})
    assert failed["optimizations"]["log"][0]["status"] == {"error": "no space left"}
    assert (described["status"], described["optimizer_status"]) == ("red", {"error": "no space left"})


async def test_optimizations_tell_what_runs_and_waits_while_every_peer_lives(client: Client) -> None:
    """Of all peers; before 1.17 of this one, in another shape, and before 1.16 not at all."""
    client.cluster.knobs.pace.held = True
    segments = client.cluster.optimizers.segments("docs", 0, 0)
    segments.append(Segment(live=0, deleted=200, kind="indexed"))
    await client.patch(**LOWER)
    path = "/collections/docs/optimizations?with=queued"
    said = await client("GET", path)
    client.cluster.peers[0].version = "1.16.3"
    older = await client("GET", path)
    client.cluster.peers[0].version = "1.12.6"
    oldest = await client("GET", path)
    client.cluster.peers[0].version = "1.18.3"
    await client.cluster.kill(1)

    assert (len(said["running"]), said["summary"]["queued_optimizations"], len(said["queued"])) == (2, 1, 1)
    assert [one["name"] for one in older["ongoing"]] == ["Segment Optimizing"]
    assert oldest == (404, None)
    assert (await client("GET", path))[0] == 500
    assert (await client("GET", "/collections/docs/memory"))[0] == 500


async def test_impossible_thresholds_are_refused(client: Client) -> None:
    """In the server's words."""
    assert await client.patch(vacuum_min_vector_number=50) == (
        422,
        "Validation error in JSON body: [optimizers_config.vacuum_min_vector_number: "
        "value 50 invalid, must be 100 or larger]",
    )
    assert (await client.patch(deleted_threshold=2.0))[0] == 422


async def test_points_of_every_shape_come_back_as_they_went(client: Client) -> None:
    """Numbers before UUIDs, the indices of a sparse vector in order, floats as 32 bits hold them."""
    client.cluster.create("odd", **NAMED)
    uuid, largest = "00000000-0000-0000-0000-00000000aaaa", 2**64 - 1
    new = [
        {"id": uuid.upper(), "vector": {"s": {"indices": [9, 3], "values": [0.1, 2.0]}}},
        {"id": largest, "vector": {"a": [0.1, 1e-45], "m": [[1.0, 2.0], [3.0, 4.0]]}, "payload": {"n": None}},
        {"id": 7, "vector": {}},
    ]
    written = await client("PUT", "/collections/odd/points?wait=true", {"points": new})
    scrolled = await client("POST", "/collections/odd/points/scroll", {"with_vector": True, "limit": 2})
    body = {"ids": [uuid, 8, 7], "with_vector": ["s"], "with_payload": True}
    retrieved = await client("POST", "/collections/odd/points", body)

    assert written["status"] == "completed"
    assert scrolled["next_page_offset"] == uuid
    assert scrolled["points"] == [
        {"id": 7, "payload": {}, "vector": {}},
        {
            "id": largest,
            "payload": {"n": None},
            "vector": {"a": [0.1, 1e-45], "m": [[1.0, 2.0], [3.0, 4.0]]},
        },
    ]
    sparse = {"s": {"indices": [3, 9], "values": [2.0, 0.1]}}
    assert retrieved == [
        {"id": uuid, "payload": {}, "vector": sparse},
        {"id": 7, "payload": {}, "vector": {}},
    ]


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ({"id": 1}, "missing field `vector`"),
        ({"id": -1, "vector": {}}, "value -1 is not a valid point ID"),
        ({"id": 1, "vector": {"a": [1.0]}}, "expected dim: 2, got 1"),
        ({"id": 1, "vector": {"b": [1.0, 2.0]}}, "Not existing vector name error: b"),
        ({"id": 1, "vector": {"m": [[1, 2], [3, 4]]}}, "Conversion between sparse and regular"),
    ],
)
async def test_a_bad_point_is_refused(client: Client, point: dict[str, Any], says: str) -> None:
    """In the server's words; the last as 1.18.3 does, which takes rows of whole numbers for sparse."""
    client.cluster.create("odd", **NAMED)
    status, text = await client("PUT", "/collections/odd/points", {"points": [point]})

    assert status == 400
    assert says in text


async def test_a_body_that_is_too_large_is_refused(client: Client) -> None:
    """With 400, as the server does, or as a proxy in front of it would."""
    client.cluster.knobs.body_limit_bytes = 100
    body = {"points": [{"id": 1, "vector": [1.0] * 4, "payload": {"text": "x" * 100}}]}
    refused = await client("PUT", "/collections/docs/points", body)
    client.cluster.knobs.body_limit_status = 413

    assert refused[0] == 400
    assert refused[1].endswith("is larger than allowed (limit: 100 bytes).")
    assert (await client("PUT", "/collections/docs/points", body))[0] == 413
