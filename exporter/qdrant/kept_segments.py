"""Segments, and what optimizers do, as jobs read them: telemetry of level 4 and /optimizations. No I/O.

Level 4 walks every segment of the peer, so it is asked for where a job works on a collection and not to
watch one. Settings of the collection are in it too, as this peer knows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from exporter.qdrant import keeping
from exporter.qdrant.answers import decode
from exporter.qdrant.asked import Asked
from exporter.qdrant.connection import Request
from exporter.qdrant.door import quote_segment
from exporter.qdrant.keeping import COLLECTION, TELEMETRY
from exporter.qdrant.kept import DUMMY, error_of
from exporter.qdrant.payloads import (
    CollectionName,
    Count,
    Payload,
    RunningSnapshots,
    Telemetry,
    UpdateQueue,
    result,
)

ENDPOINT = TELEMETRY.format(level=4)
OPTIMIZATIONS = f"{COLLECTION}/optimizations"

RUNNING = "running"
DONE = "done"
CANCELLED = "cancelled"
ERROR = "error"
# The server's own word for a run that has not ended.
OPTIMIZING = "optimizing"


@dataclass(frozen=True, slots=True)
class SegmentRead:
    """One segment. Sizes are the server's: average bytes a point, times the points that are left."""

    uuid: str | None  # since 1.17
    kind: str  # plain, indexed, or special: a proxy, while the segment behind it is rebuilt
    live: int  # points
    deleted: int  # points
    vector_bytes: int
    payload_bytes: int  # follows late, after a flush
    vectors: Mapping[str, tuple[int, int]]  # by vector name: how many are there, how many the index holds


@dataclass(frozen=True, slots=True)
class RunRead:
    """An entry of the optimizer's log, which keeps 16 of a shard, or one that runs."""

    uuid: str  # since 1.17, else its optimizer and when it began
    name: str  # vacuum, indexing, merge, ...
    outcome: str  # RUNNING, DONE, CANCELLED or ERROR
    detail: str  # the server's words where it was cancelled or failed
    segments: tuple[str, ...]  # uuids of those it reads, since 1.17
    started_at: str  # RFC 3339


@dataclass(frozen=True, slots=True)
class ShardRead:
    """A shard of the collection on the peer that was asked, or what it knows of one that is elsewhere."""

    shard: int
    local: bool
    loaded: bool  # a dummy is not: it says green, and has nothing
    status: str | None  # green, yellow, grey or red; None without a replica here
    queue_length: int | None  # updates that wait, since 1.17
    optimizer_error: str | None
    replicas: Mapping[int, str]  # state by node
    segments: tuple[SegmentRead, ...]
    runs: tuple[RunRead, ...]  # newest first


@dataclass(frozen=True, slots=True)
class CollectionRead:
    """The collection as one peer has it."""

    uuid: str | None  # None on a server without a cluster
    config: Mapping[str, Any]  # its optimizer_config, as the server says it
    shards: tuple[ShardRead, ...]
    transfers: int
    resharding: bool
    snapshots_running: int | None  # None: it does not say (1.12)
    recoveries_running: int | None


@dataclass(frozen=True, slots=True)
class SegmentsRead:
    """One answer: the server, and the collection where it has it."""

    version: str
    node: int | None  # its id in the cluster; None without one
    collection: CollectionRead | None


class _VectorCounts(Payload, frozen=True):
    num_vectors: Count = 0
    num_indexed_vectors: Count = 0


class _Info(Payload, frozen=True):
    num_points: Count
    uuid: str | None = None
    segment_type: str = ""
    num_deleted_vectors: Count = 0  # deleted points, whatever the name says
    vectors_size_bytes: Count = 0
    payloads_size_bytes: Count = 0
    vector_data: dict[str, _VectorCounts] = msgspec.field(default_factory=dict)


class _Segment(Payload, frozen=True):
    info: _Info


class _Run(Payload, frozen=True):
    name: str
    status: Any = None  # "optimizing", "done", {"cancelled": text} or {"error": text}
    start_at: str = ""
    uuid: str | None = None
    segment_uuids: tuple[str, ...] = ()


class _Optimizations(Payload, frozen=True):
    status: Any = None
    log: tuple[_Run, ...] = ()


class _Local(Payload, frozen=True):
    variant_name: str | None = None
    status: str | None = None
    segments: tuple[_Segment, ...] | None = None
    optimizations: _Optimizations | None = None  # of a dummy null
    update_queue: UpdateQueue | None = None


class _Shard(Payload, frozen=True):
    id: Count
    local: _Local | None = None
    replicate_states: dict[int, str] | None = None


class _Config(Payload, frozen=True):
    optimizer_config: dict[str, Any] = msgspec.field(default_factory=dict)
    uuid: str | None = None


class _Collection(Payload, frozen=True):
    id: str
    config: _Config = _Config()
    shards: tuple[_Shard, ...] | None = None
    transfers: tuple[Any, ...] | None = None
    resharding: tuple[Any, ...] | None = None


class _Summary(Payload, frozen=True):
    queued_optimizations: Count


class _Queue(Payload, frozen=True):
    summary: _Summary


def segments() -> Asked:
    """Ask a peer for the segments it holds, the runs of its optimizers and its settings."""
    return keeping.telemetry(4)


def read_segments(body: bytes, collection: str) -> SegmentsRead:
    """Understand the answer to `segments`, of one collection. Raises BadPayload."""
    said = result(body, Telemetry, ENDPOINT)
    for raw in said.collections.collections:
        if decode(raw, CollectionName, ENDPOINT).id == collection:
            running = keeping.running_of(said, collection)
            return SegmentsRead(said.app.version, _node(said), _collection(raw, running))
    return SegmentsRead(said.app.version, _node(said), None)


def read_every(body: bytes) -> Iterator[tuple[str, SegmentsRead]]:
    """Understand the answer to `segments`, one collection after the other, each with its name.

    What snapshots run is not looked for. Raises BadPayload.
    """
    said = result(body, Telemetry, ENDPOINT)
    for raw in said.collections.collections:
        name = decode(raw, CollectionName, ENDPOINT).id
        yield name, SegmentsRead(said.app.version, _node(said), _collection(raw, None))


def optimizations(collection: str) -> Asked:
    """Ask what waits for optimizers, since 1.17: the server asks its peers, and fails where one is dead."""
    return Asked(Request(f"/collections/{quote_segment(collection)}/optimizations"), OPTIMIZATIONS)


def read_optimizations(body: bytes) -> int:
    """Return how many optimizations wait, over all replicas. Raises BadPayload, for the shape of 1.16 too."""
    return result(body, _Queue, OPTIMIZATIONS).summary.queued_optimizations


def _node(said: Telemetry) -> int | None:
    cluster = said.cluster.status if said.cluster is not None else None
    return None if cluster is None else cluster.peer_id


def _collection(raw: msgspec.Raw, running: RunningSnapshots | None) -> CollectionRead:
    found = decode(raw, _Collection, ENDPOINT)
    return CollectionRead(
        uuid=found.config.uuid,
        config=found.config.optimizer_config,
        shards=tuple(sorted(map(_shard, found.shards or ()), key=lambda one: one.shard)),
        transfers=len(found.transfers or ()),
        resharding=bool(found.resharding),
        snapshots_running=None if running is None else running.running_snapshots,
        recoveries_running=None if running is None else running.running_snapshot_recovery,
    )


def _shard(said: _Shard) -> ShardRead:
    local = said.local or _Local()
    optimized = local.optimizations or _Optimizations()
    return ShardRead(
        shard=said.id,
        local=said.local is not None,
        loaded=said.local is not None and local.variant_name != DUMMY,
        status=local.status,
        queue_length=(local.update_queue or UpdateQueue()).length,
        optimizer_error=error_of(optimized.status),
        replicas=dict(said.replicate_states or {}),
        segments=tuple(_segments(local.segments or ())),
        runs=tuple(_run(run) for run in optimized.log),
    )


def _segments(said: Sequence[_Segment]) -> Iterator[SegmentRead]:
    for segment in said:
        info = segment.info
        yield SegmentRead(
            uuid=info.uuid,
            kind=info.segment_type,
            live=info.num_points,
            deleted=info.num_deleted_vectors,
            vector_bytes=info.vectors_size_bytes,
            payload_bytes=info.payloads_size_bytes,
            vectors={
                name: (one.num_vectors, one.num_indexed_vectors) for name, one in info.vector_data.items()
            },
        )


def _run(said: _Run) -> RunRead:
    outcome, detail = _outcome(said.status)
    uuid = said.uuid or f"{said.name} {said.start_at}"
    return RunRead(uuid, said.name, outcome, detail, said.segment_uuids, said.start_at)


def _outcome(status: Any) -> tuple[str, str]:
    """Return how a run ended, with the server's words for it; a word that we do not know is no good end."""
    if status in (OPTIMIZING, DONE):
        return (RUNNING if status == OPTIMIZING else DONE), ""
    if isinstance(status, dict) and CANCELLED in status:
        return CANCELLED, str(status[CANCELLED])
    return ERROR, error_of(status) or ""
