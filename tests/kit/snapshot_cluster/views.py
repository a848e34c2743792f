"""The JSON of a SnapshotCluster's answers, in the recorded shapes of a server's version."""

from __future__ import annotations

from typing import Any

from tests.kit.snapshot_cluster.world import Collection, Replica, Shard, World

P2P_PORT = 6413  # of the first peer, as in the recordings; ten more for each further one
STARTED = "2026-11-26T05:22:09.590Z"
Version = tuple[int, ...]


def version_of(text: str) -> Version:
    """Return a version to compare."""
    return tuple(int(part) for part in text.split("."))


def description(found: Collection, world: World, peer: int, version: Version) -> dict[str, Any]:
    """GET /collections/{c}."""
    replicas = [replica for shard in found.shards.values() for replica in shard.replicas.values()]
    errors = [replica.optimizer_error for replica in replicas if replica.optimizer_error]
    said: dict[str, Any] = {
        "status": "red"
        if errors
        else "yellow"
        if any(one.status == "yellow" for one in replicas)
        else "green",
        "optimizer_status": {"error": errors[0]} if errors else "ok",
        "indexed_vectors_count": 0,
        "points_count": world.counted(found.name, peer),
        "segments_count": 2 * len(found.shards),
        "config": found.config,
        "payload_schema": found.indexes(),
    }
    if version >= (1, 17):
        said["update_queue"] = {"length": 0}
    return said


def placement(found: Collection, peer: int) -> dict[str, Any]:
    """GET /collections/{c}/cluster."""
    local, remote = [], []
    for shard in sorted(found.shards.values(), key=lambda one: one.id):
        key = {} if shard.key is None else {"shard_key": shard.key}
        for holder, replica in shard.replicas.items():
            if holder == peer:
                points = len(replica.points) if replica.loaded else 0
                local.append({"shard_id": shard.id, **key, "points_count": points, "state": replica.state})
            else:
                remote.append({"shard_id": shard.id, **key, "peer_id": holder, "state": replica.state})
    said: dict[str, Any] = {
        "peer_id": peer,
        "shard_count": len(found.shards),
        "local_shards": local,
        "remote_shards": remote,
        "shard_transfers": found.transfers,
    }
    if found.resharding:
        said["resharding_operations"] = found.resharding
    return said


def cluster_status(world: World, peer: int) -> dict[str, Any]:
    """GET /cluster."""
    if not world.clustered:
        return {"status": "disabled"}
    return {
        "status": "enabled",
        "peer_id": peer,
        "peers": _uris(world),
        "raft_info": {
            "term": 1,
            "commit": 272,
            "pending_operations": 0,
            "leader": world.peer_ids[0],
            "role": "Leader" if peer == world.peer_ids[0] else "Follower",
            "is_voter": True,
        },
        "consensus_thread_status": {"consensus_thread_status": "working", "last_update": STARTED},
        "message_send_failures": {},
    }


def telemetry(
    world: World,
    peer: int,
    level: int,
    *,
    versions: dict[int, str],
    started: str,
    running: dict[str, int],
    taken: dict[str, int],
) -> dict[str, Any]:
    """GET /telemetry of a level. `running`, `taken`: snapshots by collection."""
    version = version_of(versions[peer])
    collections: dict[str, Any] = {"number_of_collections": len(world.collections)}
    if level >= 2:
        if version >= (1, 14):
            collections["snapshots"] = [
                {
                    "id": name,
                    "running_snapshots": running.get(name, 0),
                    "running_snapshot_recovery": 0,
                    "total_snapshot_creations": taken.get(name, 0),
                }
                for name in world.collections
            ]
        whole = level >= 3 or version < (1, 14)
        collections["collections"] = [
            _collection(found, world, peer, version, whole=whole) for found in world.collections.values()
        ]
    cluster: dict[str, Any] = {"enabled": world.clustered}
    if world.clustered:
        status = cluster_status(world, peer)
        cluster |= {
            "status": {
                "number_of_peers": len(world.peer_ids),
                **{
                    name: status["raft_info"][name]
                    for name in ("term", "commit", "pending_operations", "role")
                },
                "is_voter": True,
                "peer_id": peer,
                "consensus_thread_status": status["consensus_thread_status"],
            },
            "peers": _uris(world),
            "peer_metadata": {str(other): {"version": text} for other, text in versions.items()},
        }
    return {
        "id": f"e99d492a-3adf-41ae-bd0a-{peer:012}"[:36],
        "app": {
            "name": "qdrant",
            "version": versions[peer],
            "features": {"recovery_mode": False},
            "system": {"cores": 2, "ram_size": 24_684_100, "disk_size": 270_553_174},
            "startup": started,
        },
        "collections": collections,
        "cluster": cluster,
        "requests": {"rest": {"responses": {}}, "grpc": {"responses": {}}},
        "memory": {"resident_bytes": 100_000_000},
    }


def _collection(
    found: Collection, world: World, peer: int, version: Version, *, whole: bool
) -> dict[str, Any]:
    config = {**found.config, "uuid": found.uuid if world.clustered else None}
    said: dict[str, Any] = {"id": found.name, "init_time_ms": 2, "config": config}
    if whole:
        shards = sorted(found.shards.values(), key=lambda one: one.id)
        said["shards"] = [_shard(shard, peer, version) for shard in shards]
        said["transfers"] = found.transfers
        said["resharding"] = found.resharding
    return said


def _shard(shard: Shard, peer: int, version: Version) -> dict[str, Any]:
    own = shard.replicas.get(peer)
    return {
        "id": shard.id,
        "key": shard.key,
        "local": None if own is None else _replica(own, version),
        "remote": [{"shard_id": shard.id, "peer_id": other} for other in shard.replicas if other != peer],
        "replicate_states": {str(holder): replica.state for holder, replica in shard.replicas.items()},
    }


def _replica(own: Replica, version: Version) -> dict[str, Any]:
    if not own.loaded:
        return {"variant_name": "dummy shard", "status": "green", "total_optimized_points": 0}
    points = len(own.points)
    error = own.optimizer_error
    said: dict[str, Any] = {
        "variant_name": "local shard",
        "status": "red" if error else own.status,
        "total_optimized_points": 0,
        "optimizations": {"status": {"error": error} if error else "ok"},
    }
    if version < (1, 14):
        said["segments"] = [{"info": {"num_points": points}}, {"info": {"num_points": 0}}]
        return said
    # about what 4 numbers a vector and a small payload take
    said |= {"num_points": points, "vectors_size_bytes": 16 * points, "payloads_size_bytes": 20 * points}
    if version >= (1, 17):
        said["update_queue"] = {"length": own.queue_length, "op_num": own.op_num}
    return said


def _uris(world: World) -> dict[str, Any]:
    return {
        str(peer): {"uri": f"http://127.0.0.1:{P2P_PORT + 10 * number}/"}
        for number, peer in enumerate(world.peer_ids)
    }
