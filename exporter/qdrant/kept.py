"""What a server says of collections, shards and snapshots, as jobs read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exporter.qdrant.payloads import (
    CollectionTelemetry,
    Count,
    LocalShard,
    Payload,
    RunningSnapshots,
    Shard,
    UpdateQueue,
)

ACTIVE = "Active"
DUMMY = "dummy shard"

ShardKey = str | int | None


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """The server as telemetry shows it."""

    version: str
    started: str  # RFC 3339; another one: it was restarted, and op numbers may have gone back


@dataclass(frozen=True, slots=True)
class ShardSeen:
    """A shard of a collection as one peer sees it. Numbers are of its own replica, None without one."""

    shard: int
    key: ShardKey
    local: bool  # a replica lies on this peer
    variant: str | None  # "local shard", "dummy shard", "proxy shard" while it is sent on, ...
    status: str | None
    points: int | None  # before 1.14 the sum of the segments, which counts some twice while they are rebuilt
    queue_length: int | None  # since 1.17: operations waiting
    op_num: int | None  # since 1.17: of the last operation that was applied
    optimizing: bool  # yellow is also shown while a snapshot is taken
    optimizer_error: str | None
    replicas: Mapping[int, str]  # state by peer id, all replicas; {} before a peer has an id

    @property
    def loaded(self) -> bool:
        """Its data is there: a dummy says green, Active and 0 points."""
        return self.local and self.variant != DUMMY


@dataclass(frozen=True, slots=True)
class CollectionSeen:
    """One collection in the telemetry of one peer: its own shards and what it knows of the others."""

    uuid: str | None  # None on a server without a cluster
    shards: tuple[ShardSeen, ...]
    transfers: int
    resharding: bool
    snapshots_running: int | None  # of this collection on this peer; None: it does not say (1.12)
    recoveries_running: int | None
    server: ServerSeen

    @property
    def optimizing(self) -> bool:
        """An optimizer works on a shard of this peer."""
        return any(shard.optimizing for shard in self.shards)


@dataclass(frozen=True, slots=True)
class Description:
    """GET /collections/{collection}. `config` and `payload_schema` are the server's own JSON."""

    config: dict[str, Any]
    payload_schema: dict[str, Any]
    points_count: int | None
    status: str
    optimizer_status: str  # "ok" or the error


class LocalReplica(Payload, frozen=True):
    """A replica on the peer that was asked."""

    shard_id: Count
    shard_key: str | int | None = None
    points_count: Count = 0
    state: str = ""


class RemoteReplica(Payload, frozen=True):
    shard_id: Count
    peer_id: Count
    shard_key: str | int | None = None
    state: str = ""


class Transfer(Payload, frozen=True, rename={"from_peer": "from", "to_peer": "to"}):
    """A replica that is being copied. `sync`: the first one stays."""

    shard_id: Count
    from_peer: Count
    to_peer: Count
    sync: bool = False
    method: str | None = None
    comment: str | None = None


class Placement(Payload, frozen=True):
    """GET /collections/{collection}/cluster: where all replicas are, as this peer knows it."""

    peer_id: Count
    shard_count: Count
    local_shards: tuple[LocalReplica, ...] = ()
    remote_shards: tuple[RemoteReplica, ...] = ()
    shard_transfers: tuple[Transfer, ...] = ()
    resharding_operations: tuple[Any, ...] | None = None

    @property
    def replicas(self) -> dict[int, dict[int, str]]:
        """State by shard, then by peer id; shards ascending."""
        found: dict[int, dict[int, str]] = {}
        for shard, _, peer, state in self._all():
            found.setdefault(shard, {})[peer] = state
        return dict(sorted(found.items()))

    @property
    def keys(self) -> dict[str | int, tuple[int, ...]]:
        """Shards by custom key, both ascending by shard; {} with automatic sharding."""
        found: dict[str | int, set[int]] = {}
        for shard, key, _, _ in sorted(self._all(), key=lambda replica: replica[0]):
            if key is not None:
                found.setdefault(key, set()).add(shard)
        return {key: tuple(sorted(shards)) for key, shards in found.items()}

    @property
    def resharding(self) -> bool:
        """Shards are being split or merged."""
        return bool(self.resharding_operations)

    def _all(self) -> Iterator[tuple[int, ShardKey, int, str]]:
        for here in self.local_shards:
            yield here.shard_id, here.shard_key, self.peer_id, here.state
        for there in self.remote_shards:
            yield there.shard_id, there.shard_key, there.peer_id, there.state


class SnapshotDescription(Payload, frozen=True):
    """A snapshot on the server's disk, or in its S3 bucket, where there is no checksum."""

    name: str
    size: Count
    creation_time: str | None = None  # of the server's clock, without a zone: 2026-11-23T01:39:29
    checksum: str | None = None  # SHA-256, hexadecimal


def collection_seen(
    said: CollectionTelemetry, running: RunningSnapshots | None, server: ServerSeen
) -> CollectionSeen:
    """Understand one collection of telemetry. `running`: what the server counts beside it."""
    return CollectionSeen(
        uuid=said.config.uuid,
        shards=tuple(sorted((_shard(shard) for shard in said.shards or ()), key=lambda one: one.shard)),
        transfers=len(said.transfers or ()),
        resharding=bool(said.resharding),
        snapshots_running=None if running is None else running.running_snapshots,
        recoveries_running=None if running is None else running.running_snapshot_recovery,
        server=server,
    )


def error_of(status: Any) -> str | None:
    """Return the text of a status {"error": text}, None of "ok"."""
    if isinstance(status, dict):
        return str(status.get("error", status))
    return None if status in (None, "ok") else str(status)


def _shard(said: Shard) -> ShardSeen:
    local = said.local
    queue = local.update_queue if local is not None and local.update_queue is not None else UpdateQueue()
    return ShardSeen(
        shard=said.id,
        key=said.key,
        local=local is not None,
        variant=None if local is None else local.variant_name,
        status=None if local is None else local.status,
        points=None if local is None else _points(local),
        queue_length=queue.length,
        op_num=queue.op_num,
        optimizing=local is not None and _is_optimizing(local),
        optimizer_error=None
        if local is None or local.optimizations is None
        else error_of(local.optimizations.status),
        replicas=dict(said.replicate_states or {}),
    )


def _points(local: LocalShard) -> int | None:
    if local.num_points is not None or local.segments is None:
        return local.num_points
    return sum(segment.info.num_points for segment in local.segments)


def _is_optimizing(local: LocalShard) -> bool:
    runs = () if local.optimizations is None else local.optimizations.log
    return local.status == "yellow" or any(run.status == "optimizing" for run in runs)
