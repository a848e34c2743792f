"""The played cluster has the recorded shape at any size, and numbers that move."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from tests.kit.recordings import recording
from tests.kit.scale import Peer, Scale, peer_id

SMALL = Scale(collections=10, shards=6, replicas=2, peers=3, changing_share=0.2)
URIS = [f"http://127.0.0.{peer + 1}:6335/" for peer in range(SMALL.peers)]


def telemetry(peer: Peer, level: int) -> dict[str, Any]:
    """Return the result of one telemetry answer."""
    status, body = peer.answer("/telemetry", f"details_level={level}")
    assert status == 200
    result: dict[str, Any] = json.loads(body)["result"]
    return result


def local_points(result: dict[str, Any]) -> dict[str, list[int]]:
    """Return the points of the local replicas, by collection."""
    return {
        held["id"]: [shard["local"]["num_points"] for shard in held["shards"] if shard["local"]]
        for held in result["collections"]["collections"]
    }


def test_every_shard_has_its_replicas_spread_over_the_peers() -> None:
    """Each shard is local on exactly as many peers as it has replicas."""
    results = [telemetry(Peer(SMALL, number, URIS), 3) for number in range(SMALL.peers)]

    replicas = sum(len(points) for result in results for points in local_points(result).values())
    assert replicas == SMALL.collections * SMALL.shards * SMALL.replicas
    assert {result["cluster"]["status"]["peer_id"] for result in results} == {peer_id(n) for n in range(3)}


def test_a_played_collection_has_the_keys_of_the_recorded_one() -> None:
    """Nothing is left out that a parser would meet on a real server."""
    for level in (3, 4):
        recorded = recording(f"v1.18.3/cluster/02_healthy/peer0/telemetry_{level}").json["result"]
        real = next(held for held in recorded["collections"]["collections"] if held["id"] == "rf2")
        played = telemetry(Peer(SMALL, 0, URIS), level)["collections"]["collections"][0]

        real_local = next(shard["local"] for shard in real["shards"] if shard["local"])
        played_local = next(shard["local"] for shard in played["shards"] if shard["local"])
        assert played.keys() == real.keys()
        assert played_local.keys() == real_local.keys()


def test_a_share_of_the_collections_differs_from_answer_to_answer() -> None:
    """Two of ten collections move each time, others than the time before."""
    peer = Peer(SMALL, 0, URIS)
    seen = [local_points(telemetry(peer, 3)) for _ in range(3)]

    moved = [{name for name in later if later[name] != earlier[name]} for earlier, later in pairwise(seen)]
    assert [len(names) for names in moved] == [2, 2]
    assert not moved[0] & moved[1]


def test_what_is_not_played_is_not_found() -> None:
    """404 with an empty body, as Qdrant says to an unknown route and to /quotas before 1.19."""
    peer = Peer(SMALL, 0, URIS)

    assert peer.answer("/quotas", "") == (404, b"")
    assert peer.answer("/collections/collection-00001/memory", "")[0] == 200
