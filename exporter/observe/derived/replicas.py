"""What is true of the replicas and shards of one collection."""

from __future__ import annotations

from exporter.model import CLUSTER_LABEL, Kind, MetricSpec, Reading, Scope
from exporter.observe.derived.collections import replica_status
from exporter.observe.derived.view import CollectionView, ReplicaView, ShardView

LEVEL_3 = "GET /telemetry?details_level=3"
REPLICA = (CLUSTER_LABEL, "collection", "shard", "peer")
SHARD = (CLUSTER_LABEL, "collection", "shard")


def _gauge(name: str, what: str, unit: str, labels: tuple[str, ...], scope: Scope = Scope.NONE) -> MetricSpec:
    return MetricSpec(name, Kind.GAUGE, what, unit, LEVEL_3, labels, scope)


LOADED = _gauge(
    "qdrantx_replica_loaded", "Whether the replica's data is loaded; 0: the server put a dummy in its place",
    "1 or 0", REPLICA,
)  # fmt: skip
POINTS = _gauge("qdrantx_replica_points", "Points of the replica", "points", REPLICA)
OPERATIONS = MetricSpec(
    "qdrantx_replica_operations_total", Kind.COUNTER, "Updates the replica was given, since 1.17",
    "operations", LEVEL_3, REPLICA,
)  # fmt: skip
STATE = _gauge(
    "qdrantx_replica_state", "State of the replica in consensus; the one in force", "1", (*REPLICA, "state")
)
STATUS = _gauge(
    "qdrantx_replica_status", "Status of the replica's optimizer; the one in force", "1", (*REPLICA, "status")
)
LIVE = _gauge(
    "qdrantx_shard_live_replicas",
    "Replicas that are readable, loaded and on a peer whose newest poll answered",
    "replicas", SHARD, Scope.LOGICAL,
)  # fmt: skip
SPREAD = _gauge(
    "qdrantx_shard_points_spread",
    "Most points of a live replica minus fewest",
    "points",
    SHARD,
    Scope.LOGICAL,
)
SPREAD_RATIO = _gauge(
    "qdrantx_shard_points_spread_ratio", "Spread of the live replicas over the most points", "ratio 0-1",
    SHARD, Scope.LOGICAL,
)  # fmt: skip
TRANSFERS = _gauge(
    "qdrantx_shard_transfers", "Shard transfers under way", "transfers", (CLUSTER_LABEL, "collection"),
    Scope.LOGICAL,
)  # fmt: skip
SPECS = (LOADED, POINTS, OPERATIONS, STATE, STATUS, LIVE, SPREAD, SPREAD_RATIO, TRANSFERS)


def readings(view: CollectionView, cluster: str) -> list[Reading]:
    """Return every replica's and every shard's readings. A list: there are many, and often."""
    name = view.name
    found = [Reading(TRANSFERS, (cluster, name), float(view.transfers))]
    for shard in view.shards:
        found += _shard(shard, (cluster, name, str(shard.shard)))
    for shard in (*view.shards, *view.building):
        number = str(shard.shard)
        for replica in shard.replicas:
            found += _replica(replica, (cluster, name, number, replica.peer))
    return found


def _replica(replica: ReplicaView, labels: tuple[str, str, str, str]) -> list[Reading]:
    found = [Reading(STATE, (*labels, replica.state), 1.0)]
    local = replica.local
    if local is None:
        return found
    found.append(Reading(LOADED, labels, 1.0 if local.loaded else 0.0))
    if local.points is not None:
        found.append(Reading(POINTS, labels, float(local.points)))
    if local.operations is not None:
        found.append(Reading(OPERATIONS, labels, float(local.operations)))
    status = replica_status(replica)
    if status is not None:
        found.append(Reading(STATUS, (*labels, status), 1.0))
    return found


def _shard(shard: ShardView, labels: tuple[str, str, str]) -> list[Reading]:
    """Live replicas; their spread where the shard has more than one replica to compare."""
    found = [] if shard.live_count is None else [Reading(LIVE, labels, float(shard.live_count))]
    if len(shard.replicas) < 2:
        return found
    points = [
        replica.local.points
        for replica in shard.replicas
        if replica.live and replica.local is not None and replica.local.points is not None
    ]
    if points:
        most = max(points)
        spread = most - min(points)
        found.append(Reading(SPREAD, labels, float(spread)))
        found.append(Reading(SPREAD_RATIO, labels, spread / most if most else 0.0))
    return found
