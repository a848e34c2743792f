"""The JSON of a SnapshotCluster's answers, in the recorded shapes of a server's version."""

from __future__ import annotations

from typing import Any

from tests.kit.snapshot_cluster import segments
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
    errors = [replica.error for replica in replicas if replica.error]
    statuses = {status(replica, found) for replica in replicas}
    said: dict[str, Any] = {
        "status": next((one for one in ("red", "yellow", "grey") if one in statuses), "green"),
        "optimizer_status": {"error": errors[0]} if errors else "ok",
        "indexed_vectors_count": 0,
        "points_count": world.counted(found.name, peer),
        "segments_count": sum(_segments_count(shard) for shard in found.shards.values()),
        "config": found.config,
        "payload_schema": found.indexes(),
    }
    if version >= (1, 17):
        said["update_queue"] = {"length": sum(replica.queue_length for replica in replicas)}
    return said


def _segments_count(shard: Shard) -> int:
    return max((len(one.optimizers.segments) for one in shard.replicas.values()), default=0)


def status(own: Replica, found: Collection) -> str:
    """Return a replica's status: an error, what runs or is wanted, or what a test says it shows."""
    if own.error:
        return "red"
    if own.status != "green":
        return own.status
    optimizers = own.optimizers
    if optimizers.running:
        return "yellow"
    if optimizers.wanted(len(own.points), found.config["optimizer_config"], found.vector_names):
        return "yellow" if optimizers.triggered else "green" if optimizers.says_green else "grey"
    return "green"


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
            _collection(found, world, peer, version, level=max(level, 3) if whole else level)
            for found in world.collections.values()
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
    found: Collection, world: World, peer: int, version: Version, *, level: int
) -> dict[str, Any]:
    config = {**found.config, "uuid": found.uuid if world.clustered else None}
    said: dict[str, Any] = {"id": found.name, "init_time_ms": 2, "config": config}
    if level >= 3:
        shards = sorted(found.shards.values(), key=lambda one: one.id)
        said["shards"] = [_shard(shard, found, peer, version, level=level) for shard in shards]
        said["transfers"] = found.transfers
        said["resharding"] = found.resharding
    return said


def _shard(shard: Shard, found: Collection, peer: int, version: Version, *, level: int) -> dict[str, Any]:
    own = shard.replicas.get(peer)
    return {
        "id": shard.id,
        "key": shard.key,
        "local": None if own is None else _replica(own, found, version, level),
        "remote": [{"shard_id": shard.id, "peer_id": other} for other in shard.replicas if other != peer],
        "replicate_states": {str(holder): replica.state for holder, replica in shard.replicas.items()},
    }


def _replica(own: Replica, found: Collection, version: Version, level: int) -> dict[str, Any]:
    if not own.loaded:
        return {"variant_name": "dummy shard", "status": "green", "total_optimized_points": 0}
    points = len(own.points)
    said: dict[str, Any] = {
        "variant_name": "local shard",
        "status": status(own, found),
        "total_optimized_points": 0,
        "optimizations": {"status": {"error": own.error} if own.error else "ok"},
    }
    if level >= 4:
        said["segments"] = [segments.segment(one, own, found, version) for one in own.optimizers.segments]
        said["optimizations"]["log"] = [segments.logged(run, version) for run in own.optimizers.log]
        own.optimizers.looked()
    elif version < (1, 14):
        said["segments"] = [{"info": {"num_points": points}}, {"info": {"num_points": 0}}]
    if version < (1, 14):
        return said
    sizes = [(own.optimizers.live(one, points), one) for one in own.optimizers.segments]
    said |= {
        "num_points": points,
        "vectors_size_bytes": sum(live * one.vector_bytes for live, one in sizes),
        "payloads_size_bytes": sum(live * one.payload_bytes for live, one in sizes),
    }
    if version >= (1, 17):
        said["update_queue"] = {"length": own.queue_length, "op_num": own.op_num}
    return said


def _uris(world: World) -> dict[str, Any]:
    return {
        str(peer): {"uri": f"http://127.0.0.1:{P2P_PORT + 10 * number}/"}
        for number, peer in enumerate(world.peer_ids)
    }
