"""A cluster of real peers: who is there, who leads, and numbers joined over replicas."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.contract.ground import HELD, RELEASED, Qdrant, path_of
from tests.contract.look import Look, look_at

POINTS = 1_500
SHARDS = 2
REPLICAS = 2


async def replicated(qdrant: Qdrant, **optimizers: object) -> str:
    """A collection with two replicas of each of its two shards."""
    return await qdrant.create(
        shard_number=SHARDS,
        replication_factor=REPLICAS,
        write_consistency_factor=REPLICAS,
        optimizers_config={"indexing_threshold": 10, "default_segment_number": 1, **optimizers},
    )


def majority(peers: int) -> int:
    """Voters that consensus needs."""
    return peers // 2 + 1


async def settled(qdrant: Qdrant) -> Look:
    """A look at a moment when all peers have the same log."""

    async def agreed() -> Look | None:
        look = await look_at(qdrant)
        return look if look.readings["cluster_commit_spread"] == 0 else None

    return await qdrant.until(agreed, what="all peers have the same log")


async def test_every_peer_is_known_watched_and_of_one_mind(cluster: Qdrant) -> None:
    """Exactly one leads, all have it, nothing waits, and the quorum could lose what it can."""
    look = await settled(cluster)

    peers = len(cluster.urls)
    assert look.failing == []
    assert list(look.troubles) == []
    assert list(look.unwatched) == []
    assert set(look.of("up").values()) == {1}
    assert [peers] * 3 == [
        look.readings[f"cluster_{part}"] for part in ("peers_known", "peers_watched", "voters")
    ]
    assert peers - majority(peers) == look.readings["cluster_quorum_headroom"]
    assert look.readings["cluster_versions"] == 1
    assert sum(look.of("consensus_is_leader").values()) == 1
    assert [[1.0] * peers] * 2 == [
        list(look.of(f"consensus_{part}").values()) for part in ("working", "has_leader")
    ]
    assert len(set(look.of("consensus_term").values())) == 1
    assert look.of("peer_view_disagreement") == {"kind=peers": 0, "kind=commit": 0, "kind=replicas": 0}
    failures = look.of("consensus_send_failures")
    assert [0] * (peers - 1) == list(failures.values())


async def test_the_leader_is_the_peer_that_the_others_name(cluster: Qdrant) -> None:
    """By its id in raft_info, 0 nowhere."""
    look = await settled(cluster)

    told = [await cluster.result("GET", "/cluster", url=url) for url in cluster.urls]
    (leader,) = {one["raft_info"]["leader"] for one in told}
    leads = [one["peer_id"] == leader for one in told]
    assert leads == [
        bool(look.readings[f"consensus_is_leader{{peer={urlsplit(url).netloc}}}"]) for url in cluster.urls
    ]


async def test_replicas_are_active_live_and_alike(cluster: Qdrant) -> None:
    """Two a shard, on different peers, with the same number of points."""
    name = await replicated(cluster, **RELEASED)
    await cluster.write(name, POINTS)
    await cluster.until_green(name)

    look = await settled(cluster)

    states = look.of_collection("replica_state", name)
    assert len(states) == SHARDS * REPLICAS
    assert all(labels.endswith("state=Active") for labels in states)
    live = look.of_collection("shard_live_replicas", name)
    assert {f"shard={shard}": REPLICAS for shard in range(SHARDS)} == live
    assert list(look.of_collection("shard_points_spread", name).values()) == [0] * SHARDS
    assert list(look.of_collection("replica_loaded", name).values()) == [1] * (SHARDS * REPLICAS)
    assert look.number("collection_complete", name) == 1
    assert look.number("shard_transfers", name) == 0


async def test_points_count_once_however_many_replicas_hold_them(cluster: Qdrant) -> None:
    """Logical as every peer's GET says; deleted points and their bytes are those of all replicas."""
    name = await replicated(cluster, **RELEASED)
    await cluster.write(name, POINTS)
    await cluster.until_all_indexed(name, POINTS)
    deleted = 100
    body = {"points": list(range(deleted))}
    await cluster.result("POST", f"{path_of(name)}/points/delete?wait=true", body)

    async def marked() -> bool:
        return await cluster.deleted_points(name) == deleted * REPLICAS

    await cluster.until(marked, what="every replica shows the deletion")
    look = await settled(cluster)

    counts = [await cluster.result("GET", path_of(name), url=url) for url in cluster.urls]
    assert {POINTS - deleted} == {one["points_count"] for one in counts}
    assert POINTS - deleted == look.number("collection_points", name)
    assert counts[0]["indexed_vectors_count"] == look.number("collection_indexed_vectors", name)
    assert deleted * REPLICAS == look.number("collection_deleted_points", name)
    assert (
        look.number("collection_shards", name),
        look.number("collection_replication_factor", name),
    ) == (SHARDS, REPLICAS)


async def test_lag_is_that_of_the_worst_replica_and_not_of_all(cluster: Qdrant) -> None:
    """Held back, every replica lags; the collection by its points, the optimizer's queue by all."""
    name = await replicated(cluster, **HELD)
    await cluster.write(name, POINTS)

    look = await settled(cluster)

    assert look.of_collection("collection_indexing_lag_points", name) == {"vector=": POINTS}
    summary = (await cluster.result("GET", f"{path_of(name)}/optimizations"))["summary"]
    assert summary["queued_points"] == POINTS * REPLICAS
    assert look.number("collection_optimizations_queued_points", name) == POINTS * REPLICAS
    assert look.of_collection("collection_status", name)["status=yellow"] == 1


async def test_memory_is_the_sum_over_all_peers(cluster: Qdrant) -> None:
    """Whichever peer is asked."""
    name = await replicated(cluster, **RELEASED)
    await cluster.write(name, POINTS)
    await cluster.until_all_indexed(name, POINTS)

    look = await look_at(cluster)

    told = [await cluster.result("GET", f"{path_of(name)}/memory", url=url) for url in cluster.urls]
    assert {look.number("collection_disk_allocated_bytes", name)} == {
        one["total"]["disk_bytes"] for one in told
    }


async def test_a_cluster_is_watched_whole_from_one_url_where_its_ports_are_alike(cluster: Qdrant) -> None:
    """Each peer is found on the host that /cluster lists, at the given URL's port."""
    if len({urlsplit(url).port for url in cluster.urls}) > 1:
        pytest.skip(f"the peers of this cluster have different ports: {', '.join(cluster.urls)}")

    look = await look_at(cluster, urls=cluster.urls[:1])

    assert look.failing == []
    assert {f"peer={urlsplit(url).netloc}": 1 for url in cluster.urls} == look.of("up")
    assert len(cluster.urls) == look.readings["cluster_peers_watched"]


async def test_peers_that_cannot_be_found_are_named_and_never_guessed_at(cluster: Qdrant) -> None:
    """On other ports: known and not watched, so that nothing is said of the quorum."""
    if len({urlsplit(url).port for url in cluster.urls}) == 1:
        pytest.skip(f"the peers of this cluster are found by themselves: {', '.join(cluster.urls)}")
    name = await replicated(cluster)
    await cluster.write(name, POINTS)

    look = await look_at(cluster, urls=cluster.urls[:1])

    known = len(cluster.urls)
    assert known - 1 == len(look.unwatched)
    assert (known, 1) == (look.readings["cluster_peers_known"], look.readings["cluster_peers_watched"])
    assert "cluster_quorum_headroom" not in look.readings
    assert look.of_collection("collection_status", name).get("status=unavailable", 0) == 0
    states = look.of_collection("replica_state", name)
    assert len(states) == SHARDS * REPLICAS
