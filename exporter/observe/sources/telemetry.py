"""GET /telemetry?details_level=3: the backbone. One call, local to the peer, true in every state seen.

Tells the peer's own numbers and, for each shard it holds, the status, points and
update queue. Servers before 1.14 answer with their whole tree, segments included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from msgspec import Raw

from exporter.errors import BadPayload
from exporter.model import Evidence, Kind, MetricSpec, Reading
from exporter.observe.sources import traffic
from exporter.observe.sources.contract import PEER_LABELS, Ask, Learnt, Pace, Reach, odd, peer_gauge
from exporter.observe.sources.remembered import Remembered
from exporter.qdrant.answers import decode
from exporter.qdrant.payloads import (
    NOTHING,
    CollectionParams,
    CollectionTelemetry,
    LocalShard,
    Memory,
    PeerConsensus,
    PeerMetadata,
    QuotaTelemetry,
    Requests,
    RunningSnapshots,
    StrictMode,
    System,
    Telemetry,
    result,
)
from exporter.qdrant.versions import Version, parse_version

T = TypeVar("T")

ENDPOINT = "/telemetry"
PATH = "/telemetry?details_level=3"
SOURCE = "GET /telemetry?details_level=3"
KIB = 1024  # the server counts memory and disk in KiB

# A shard that failed to load, or was not loaded in recovery mode, is told by this name alone.
DUMMY = "dummy shard"

# A peer that was cut off votes for itself in ever higher terms; its word is old all the same.
SETTLED_ROLES = frozenset({"Leader", "Follower"})

# Until 1.11.3 work that waits for a write is told as this "error" beside a green status; since then it
# is the status grey. It is no failure and must not page as one.
PENDING_TEXT = "optimizations pending, awaiting update operation"

INFO = peer_gauge("qdrantx_peer_info", "Version and peer id of the server", "1", SOURCE, "version", "peer_id")
START = peer_gauge(
    "qdrantx_peer_start_time_seconds", "When the server process started", "seconds, Unix time", SOURCE
)
RECOVERY = peer_gauge(
    "qdrantx_peer_recovery_mode", "Whether the server runs in recovery mode", "1 or 0", SOURCE
)
CPU = peer_gauge("qdrantx_peer_cpu_cores_used", "CPU the server uses, since 1.18", "cores", SOURCE)
RESIDENT = peer_gauge(
    "qdrantx_peer_memory_resident_bytes",
    "Resident memory of the server's allocator; mapped files are not in it",
    "bytes",
    SOURCE,
)
TOTAL_MEMORY = peer_gauge("qdrantx_peer_memory_total_bytes", "Memory of the machine", "bytes", SOURCE)
USED_MEMORY = peer_gauge(
    "qdrantx_peer_memory_used_ratio", "Resident memory of the server over the machine's", "ratio 0-1", SOURCE
)
DISK_SIZE = peer_gauge(
    "qdrantx_peer_disk_size_bytes",
    "Size of the disks of the machine as the server counts them",
    "bytes",
    SOURCE,
)
QUOTA = MetricSpec(
    "qdrantx_quota_exceeded",
    Kind.GAUGE,
    "Whether a quota of the server is exceeded, since 1.19; absent where it is not enforced",
    "1 or 0",
    SOURCE,
    (*PEER_LABELS, "resource"),
    evidence=Evidence.CODE,
)


@dataclass(frozen=True, slots=True)
class LocalSeen:
    """A shard on the peer that told of it. Numbers are None where the server does not give them."""

    loaded: bool
    status: str | None = None
    points: int | None = None
    vector_bytes: int | None = None
    payload_bytes: int | None = None
    optimizer_error: str = ""
    optimizer_known: bool = False
    queue_length: int | None = None
    operations: int | None = None
    deferred_points: int | None = None


@dataclass(frozen=True, slots=True)
class ShardSeen:
    """A shard of a collection as one peer tells it; `local` where the peer holds it."""

    shard: int
    states: Mapping[int, str]  # peer id -> replica state
    local: LocalSeen | None


@dataclass(frozen=True, slots=True)
class VectorSeen:
    """A vector of a collection's points, as its settings say. `name` is "" for the unnamed one."""

    name: str
    size: int | None  # numbers in it; None for a sparse one
    distance: str | None  # None for a sparse one
    multi: bool = False

    @property
    def sparse(self) -> bool:
        """Whether it is one: searched without HNSW, always exactly."""
        return self.size is None


@dataclass(frozen=True, slots=True)
class CollectionSeen:
    """A collection as one peer tells it. `strict`: limits on requests, None where there are none."""

    name: str
    replication_factor: int
    indexing_threshold_kb: int | None
    shards: tuple[ShardSeen, ...]
    transfers: int
    vectors: tuple[VectorSeen, ...] = ()
    strict: StrictMode | None = None


@dataclass(frozen=True, slots=True)
class TelemetrySeen:
    """One peer's telemetry. `unreadable` names collections whose part did not fit."""

    process_id: str  # random per server process: a change is a restart
    version: Version | None
    version_text: str
    started_at_seconds: float | None
    clustered: bool | None  # None where a narrow key hides it
    peer_id: int | None
    settled: bool  # its consensus works and it follows or is a leader
    term: int
    commit: int
    collections: Mapping[str, CollectionSeen]
    unreadable: tuple[str, ...] = ()
    snapshots_running: Mapping[str, int] | None = None
    peer_versions: Mapping[int, str] = field(default_factory=dict)
    traffic: tuple[traffic.Traffic, ...] = ()


class TelemetrySource:
    """The peer's own numbers as readings; collections are told by what is derived from all peers."""

    name = "telemetry"
    pace = Pace.FAST
    reach = Reach.PEER
    specs: tuple[MetricSpec, ...] = (
        INFO, START, RECOVERY, CPU, RESIDENT, TOTAL_MEMORY, USED_MEMORY, DISK_SIZE, QUOTA, *traffic.SPECS,
    )  # fmt: skip

    def __init__(self) -> None:
        self._remembered: Remembered[CollectionSeen] = Remembered(endpoint=ENDPOINT)

    async def poll(self, ask: Ask) -> Learnt:
        answer = await ask.gateway.get(PATH, endpoint=ENDPOINT, deadline_seconds=ask.deadline_seconds)
        learnt: Learnt = await ask.off_loop(self._read, answer.body, ask.cluster, ask.peer)
        return learnt

    def _read(self, body: bytes, cluster: str, peer: str) -> Learnt:
        telemetry = result(body, Telemetry, ENDPOINT)
        parts = Parts()
        seen = read(telemetry, self._remembered, parts)
        told = tuple(readings(telemetry, seen, parts, (cluster, peer)))
        faults = (*odd(ENDPOINT, "parts", parts.odd), *odd(ENDPOINT, "collections", seen.unreadable))
        return Learnt(seen, told, faults)


class Parts:
    """Reads the parts of one answer each by itself; `odd` names those that do not read."""

    def __init__(self) -> None:
        self.odd: list[str] = []

    def read(self, raw: Raw, kind: type[T], name: str) -> T | None:
        """Return the part, or None where it is missing, null or odd."""
        if bytes(raw) in (b"", b"null"):
            return None
        try:
            return decode(raw, kind, ENDPOINT)
        except BadPayload:
            self.odd.append(name)
            return None


def read(telemetry: Telemetry, remembered: Remembered[CollectionSeen], parts: Parts) -> TelemetrySeen:
    """Understand one peer's telemetry, level 2 (before 1.14) or 3."""
    cluster = telemetry.cluster
    status = cluster.status if cluster else None
    collections, unreadable = remembered.understood(
        telemetry.collections.collections, telemetry.id, read_collection
    )
    snapshots = parts.read(telemetry.collections.snapshots, list[RunningSnapshots], "snapshots")
    metadata = parts.read(
        cluster.peer_metadata if cluster else NOTHING, dict[int, PeerMetadata], "peer_metadata"
    )
    requests = parts.read(telemetry.requests, Requests, "requests")
    return TelemetrySeen(
        process_id=telemetry.id,
        version=parse_version(telemetry.app.version),
        version_text=telemetry.app.version,
        started_at_seconds=unix_time(telemetry.app.startup),
        clustered=cluster.enabled if cluster else None,
        peer_id=status.peer_id if status else None,
        settled=status is not None and status.role in SETTLED_ROLES and _works(status),
        term=status.term if status else 0,
        commit=status.commit if status else 0,
        collections=collections,
        unreadable=unreadable,
        snapshots_running=None if snapshots is None else {one.id: one.running_snapshots for one in snapshots},
        peer_versions={peer: one.version for peer, one in (metadata or {}).items() if one.version},
        traffic=tuple(traffic.read(requests)) if requests else (),
    )


def _works(status: PeerConsensus) -> bool:
    thread = status.consensus_thread_status
    return thread is None or thread.consensus_thread_status == "working"


def read_collection(told: CollectionTelemetry) -> CollectionSeen:
    """Understand one collection of the telemetry. Raises BadPayload where its shards are left out."""
    if told.shards is None or any(shard.replicate_states is None for shard in told.shards):
        raise BadPayload(ENDPOINT, f"collection {told.id!r} is told without its shards or their replicas")
    strict = told.config.strict_mode_config
    return CollectionSeen(
        name=told.id,
        replication_factor=told.config.params.replication_factor,
        indexing_threshold_kb=told.config.optimizer_config.indexing_threshold,
        shards=tuple(
            ShardSeen(
                shard.id, shard.replicate_states or {}, read_local(shard.local) if shard.local else None
            )
            for shard in told.shards
        ),
        transfers=len(told.transfers or ()),
        vectors=tuple(read_vectors(told.config.params)),
        strict=strict if strict is not None and strict.enabled else None,
    )


def read_vectors(params: CollectionParams) -> Iterator[VectorSeen]:
    """Yield the vectors of a collection by name; one whose settings do not read is left out."""
    vectors = params.vectors or {}
    if isinstance(vectors.get("size"), int):
        vectors = {"": vectors}
    for name, told in sorted(vectors.items()):
        if isinstance(told, dict) and isinstance(told.get("size"), int):
            multi = told.get("multivector_config") is not None
            yield VectorSeen(name, told["size"], str(told.get("distance", "")), multi)
    for name in sorted(params.sparse_vectors or {}):
        yield VectorSeen(name, None, None)


def read_local(local: LocalShard) -> LocalSeen:
    """Understand a shard on this peer; a dummy's green and its zeros are not believed."""
    if local.variant_name == DUMMY:
        return LocalSeen(loaded=False)
    points = local.num_points
    if points is None and local.segments is not None:  # before 1.14 a shard has no count of its own
        points = sum(segment.info.num_points for segment in local.segments)
    vector_bytes, payload_bytes = local.vectors_size_bytes, local.payloads_size_bytes
    if vector_bytes is None and local.segments is not None:
        vector_bytes = sum(segment.info.vectors_size_bytes for segment in local.segments)
        payload_bytes = sum(segment.info.payloads_size_bytes for segment in local.segments)
    queue = local.update_queue
    error = error_text(local.optimizations.status) if local.optimizations else ""
    pending = error == PENDING_TEXT
    return LocalSeen(
        loaded=True,
        status="grey" if pending else local.status,
        points=points,
        vector_bytes=vector_bytes,
        payload_bytes=payload_bytes,
        optimizer_error="" if pending else error,
        optimizer_known=local.optimizations is not None,
        queue_length=queue.length if queue else None,
        operations=queue.op_num if queue else None,
        # the server leaves the field out while prevent_unoptimized is off: nothing is deferred then
        deferred_points=(queue.deferred_points or 0) if queue else None,
    )


def error_text(status: Any) -> str:
    """Return the text in {"error": text}, the optimizer's way to say that it gave up; else ""."""
    return str(status.get("error", "")) if isinstance(status, dict) else ""


def unix_time(text: str) -> float | None:
    """Return Qdrant's ISO time (UTC, up to nanoseconds) as Unix seconds, or None."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def readings(
    telemetry: Telemetry, seen: TelemetrySeen, parts: Parts, labels: tuple[str, str]
) -> Iterator[Reading]:
    """Yield the peer's own numbers; `labels`: cluster and peer."""
    peer_id = "" if seen.peer_id is None else str(seen.peer_id)
    yield Reading(INFO, (*labels, seen.version_text, peer_id), 1.0)
    if seen.started_at_seconds is not None:
        yield Reading(START, labels, seen.started_at_seconds)
    yield Reading(RECOVERY, labels, float(telemetry.app.features.recovery_mode))
    yield from _machine(telemetry, parts, labels)
    quota = parts.read(telemetry.quota, QuotaTelemetry, "quota")
    if quota is not None:
        exceeded = quota.exceeded
        for resource, value in (("memory", exceeded.resident_memory), ("disk", exceeded.disk_usage)):
            if value is not None:
                yield Reading(QUOTA, (*labels, resource), float(value))
    yield from traffic.readings(seen.traffic, *labels)


def _machine(telemetry: Telemetry, parts: Parts, labels: tuple[str, str]) -> Iterator[Reading]:
    """CPU, memory and disk. The server counts the machine's memory and disk in KiB."""
    system = parts.read(telemetry.app.system, System, "system") or System()
    memory = parts.read(telemetry.memory, Memory, "memory")
    resident = memory.resident_bytes if memory else None
    if system.cpu_cores_used is not None:
        yield Reading(CPU, labels, system.cpu_cores_used)
    if resident is not None:
        yield Reading(RESIDENT, labels, float(resident))
    if system.ram_size:
        yield Reading(TOTAL_MEMORY, labels, float(system.ram_size * KIB))
        if resident is not None:
            yield Reading(USED_MEMORY, labels, resident / (system.ram_size * KIB))
    if system.disk_size:
        yield Reading(DISK_SIZE, labels, float(system.disk_size * KIB))
