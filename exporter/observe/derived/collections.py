"""What is true of one collection, from its view over all peers.

Logical numbers take one usable replica a shard; lag, deferred points and the queue take
the worst replica of each shard; physical numbers sum all replicas. A number that lacks a
part is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from exporter.model import CLUSTER_LABEL, Kind, MetricSpec, Reading, Scope
from exporter.observe.derived.view import CollectionView, ReplicaView, ShardView
from exporter.observe.sources.segments import ShardSegmentsSeen
from exporter.qdrant.payloads import Usage

LEVEL_3 = "GET /telemetry?details_level=3"
LEVEL_4 = "GET /telemetry?details_level=4"
MEMORY = "GET /collections/{collection}/memory"
LABELS = (CLUSTER_LABEL, "collection")

# Worst first: where shards and replicas differ, the worst is the collection's.
STATUSES = ("unavailable", "unloaded", "red", "grey", "yellow", "green")

# Payload fields with an index of their own series; more would let one schema flood Prometheus.
MAX_INDEXED_FIELDS = 50

# Texts of the optimizer that mean a full disk: its own pre-check, and the file system's error.
DISK_SPACE_TEXTS = ("Not enough space", "No space left on device")
ERROR_KINDS = ("disk_space", "other")

# The next run is planned within seconds of the last, and a graph counts every point that it takes in: ten
# minutes, ten looks at segments at the default interval, are no pause between two of them.
STANDSTILL_SECONDS = 600.0


def _gauge(
    name: str, what: str, unit: str, source: str, scope: Scope = Scope.LOGICAL, labels: tuple[str, ...] = ()
) -> MetricSpec:
    return MetricSpec(f"qdrantx_collection_{name}", Kind.GAUGE, what, unit, source, (*LABELS, *labels), scope)


PHYSICAL = Scope.PHYSICAL
STATUS = _gauge(
    "status",
    "Status over all shards and replicas, the worst in force: a shard without a live replica is unavailable, "
    "one that did not load is unloaded, the rest as the optimizer says",
    "1 or 0", LEVEL_3, labels=("status",),
)  # fmt: skip
COMPLETE = _gauge("complete", "Whether every shard has a usable replica that we see", "1 or 0", LEVEL_3)
SHARDS = _gauge("shards", "Shards, not counting replicas", "shards", LEVEL_3)
FACTOR = _gauge("replication_factor", "Replicas that the collection wants of each shard", "replicas", LEVEL_3)
POINTS = _gauge("points", "Points, deferred ones included", "points", LEVEL_3)
INDEXED = _gauge(
    "indexed_vectors", "Vectors in an index; several names a point count each", "vectors", LEVEL_4
)
SEGMENTS = _gauge("segments", "Segments", "segments", LEVEL_4)
LAG = _gauge(
    "indexing_lag_points",
    "Points of segments that reached the indexing threshold and have no index yet, worst replica a shard",
    "points", LEVEL_4, labels=("vector",),
)  # fmt: skip
EXCLUDED = _gauge(
    "indexed_only_excluded_points",
    "Points that searches with indexed_only skip as the server says, worst replica of each shard, since 1.16",
    "points", LEVEL_4, labels=("vector",),
)  # fmt: skip
DEFERRED = _gauge(
    "deferred_points",
    "Points stored but hidden from reads until optimized, worst replica of each shard, since 1.17",
    "points", LEVEL_3,
)  # fmt: skip
ENABLED = _gauge("indexing_enabled", "Whether the indexing threshold is not 0", "1 or 0", LEVEL_3)
STALLED = _gauge(
    "indexing_stalled",
    "Whether points wait and nothing is done about it: status grey, or points without an index and no "
    f"optimization running, or yellow for {STANDSTILL_SECONDS / 60:.0f} minutes in which no point, segment "
    "or index changed and no optimization got on, as far as one tells (since 1.17), without a snapshot or "
    "transfer; such a yellow makes it absent before 1.16, where it may be a snapshot",
    "1 or 0", f"{LEVEL_4}, GET /collections/{{collection}}/optimizations",
)  # fmt: skip
QUEUE = _gauge(
    "update_queue_length",
    "Updates accepted and not yet applied, worst replica of each shard, since 1.17",
    "operations", LEVEL_3,
)  # fmt: skip
RUNNING = _gauge("optimizations_running", "Optimizations under way", "optimizations", LEVEL_4, PHYSICAL)
QUEUED = _gauge(
    "optimizations_queued_points", "Points in segments that wait for an optimization, since 1.17",
    "points", "GET /collections/{collection}/optimizations", PHYSICAL,
)  # fmt: skip
SNAPSHOTTING = _gauge("snapshots_running", "Snapshots being made, since 1.16", "snapshots", LEVEL_3, PHYSICAL)
OPTIMIZER_OK = _gauge(
    "optimizer_ok", "Whether no replica's optimizer gave up with an error", "1 or 0", LEVEL_3
)
OPTIMIZER_ERROR = _gauge(
    "optimizer_error", "Whether an optimizer gave up, by what its error text says",
    "1 or 0", LEVEL_3, labels=("kind",),
)  # fmt: skip
DELETED = _gauge("deleted_points", "Deleted points still in segments", "points", LEVEL_4, PHYSICAL)
RECLAIMABLE = _gauge(
    "reclaimable_bytes", "Vector and payload bytes that a rebuild of segments would free",
    "bytes", LEVEL_4, PHYSICAL,
)  # fmt: skip
VECTOR_BYTES = _gauge("vector_bytes", "Raw vectors as the server estimates them", "bytes", LEVEL_3, PHYSICAL)
PAYLOAD_BYTES = _gauge("payload_bytes", "Payload as the server estimates it", "bytes", LEVEL_3, PHYSICAL)
RAM = _gauge("ram_bytes", "Memory held by the collection's structures", "bytes", MEMORY, PHYSICAL)
PAGE_CACHE = _gauge("page_cache_bytes", "Bytes of its files in the page cache", "bytes", MEMORY, PHYSICAL)
PAGE_CACHE_EXPECTED = _gauge(
    "page_cache_expected_bytes",
    "Bytes of its files that should be in the page cache",
    "bytes",
    MEMORY,
    PHYSICAL,
)
DISK = _gauge(
    "disk_allocated_bytes", "Size of its files; preallocated ones count whole", "bytes", MEMORY, PHYSICAL
)
INDEX_POINTS = _gauge(
    "payload_index_points",
    "Points in the payload index of a field",
    "points",
    LEVEL_4,
    labels=("field", "type"),
)
SPECS = (
    STATUS, COMPLETE, SHARDS, FACTOR, POINTS, INDEXED, SEGMENTS, LAG, EXCLUDED, DEFERRED, ENABLED, STALLED,
    QUEUE, RUNNING, QUEUED, SNAPSHOTTING, OPTIMIZER_OK, OPTIMIZER_ERROR, DELETED, RECLAIMABLE, VECTOR_BYTES,
    PAYLOAD_BYTES, RAM, PAGE_CACHE, PAGE_CACHE_EXPECTED, DISK, INDEX_POINTS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known of a collection beside its telemetry; None where it is not."""

    usage: Usage | None = None
    queued_points: int | None = None
    snapshots_running: int | None = None
    is_standing_still: bool = False  # yellow for STANDSTILL_SECONDS in which nothing moved


@dataclass(frozen=True, slots=True)
class Standing:
    """The worst status known, None where nothing is, and the statuses of which can be said whether they
    are in force: where a replica is not known, a worse one may be.
    """

    worst: str | None
    decided: tuple[str, ...]


def standing_of(view: CollectionView) -> Standing:
    """Return where a collection stands."""
    unavailable = [shard.unavailable for shard in view.shards]
    if True in unavailable:
        return Standing("unavailable", STATUSES)
    replicas = [replica for _, replica in view.replicas()]
    statuses = {replica_status(replica) for replica in replicas}
    worst = next((status for status in STATUSES if status in statuses), None)
    if worst is None or all(replica.live is not None for replica in replicas):
        return Standing(worst, STATUSES)
    better = STATUSES[STATUSES.index(worst) :]
    return Standing(worst, better if None in unavailable else ("unavailable", *better))


def replica_status(replica: ReplicaView) -> str | None:
    """Return a replica's own status; None where its peer told nothing, or a word we do not know."""
    if replica.local is None:
        return None
    if not replica.local.loaded:
        return "unloaded"
    return replica.local.status if replica.local.status in STATUSES else None


def readings(view: CollectionView, cluster: str, beside: Beside, standing: Standing) -> Iterator[Reading]:
    """Yield everything that is known of one collection."""
    labels = (cluster, view.name)
    usable = [shard.chosen for shard in view.shards if shard.chosen is not None]
    complete = len(usable) == len(view.shards)
    yield from _status(standing, labels)
    yield Reading(COMPLETE, labels, float(complete))
    yield Reading(SHARDS, labels, float(len(view.shards) + len(view.building)))
    yield Reading(FACTOR, labels, float(view.replication_factor))
    yield Reading(ENABLED, labels, float(view.indexing_enabled))
    if complete:
        yield from _logical(usable, labels)
    lag = worst_by_vector(view, lambda segments: segments.lag_points)
    yield from _waiting(view, labels, lag)
    if lag is not None:
        yield from _stalled(view, labels, beside, is_grey=standing.worst == "grey", lags=any(lag.values()))
    yield from _optimizer(view, labels, beside)
    yield from _physical(view, labels, beside)


def _status(standing: Standing, labels: tuple[str, str]) -> Iterator[Reading]:
    if standing.worst is not None:
        for word in standing.decided:
            yield Reading(STATUS, (*labels, word), float(word == standing.worst))


def _logical(usable: list[ReplicaView], labels: tuple[str, str]) -> Iterator[Reading]:
    points = _sum(replica.local.points for replica in usable if replica.local)
    if points is not None:
        yield Reading(POINTS, labels, float(points))
    segments = [replica.segments for replica in usable if replica.segments is not None]
    if len(segments) != len(usable):
        return
    yield Reading(INDEXED, labels, float(sum(one.indexed_vectors for one in segments)))
    yield Reading(SEGMENTS, labels, float(sum(one.segments for one in segments)))
    for (field, kind), count in list(index_points(segments).items())[:MAX_INDEXED_FIELDS]:
        yield Reading(INDEX_POINTS, (*labels, field, kind), float(count))


def index_points(segments: Iterable[ShardSegmentsSeen]) -> dict[tuple[str, str], int]:
    """Points by (field, type) over shards, in the order of the fields' names."""
    points: dict[tuple[str, str], int] = {}
    for one in segments:
        for key, count in one.index_points.items():
            points[key] = points.get(key, 0) + count
    return dict(sorted(points.items()))


def _waiting(
    view: CollectionView, labels: tuple[str, str], lag: Mapping[str, int] | None
) -> Iterator[Reading]:
    for vector, points in (lag or {}).items():
        yield Reading(LAG, (*labels, vector), float(points))
    excluded = worst_by_vector(view, lambda segments: segments.excluded_points)
    for vector, points in (excluded or {}).items():
        yield Reading(EXCLUDED, (*labels, vector), float(points))
    deferred = worst_of_shards(view, lambda replica: replica.local.deferred_points if replica.local else None)
    if deferred is not None:
        yield Reading(DEFERRED, labels, float(deferred))
    queue = worst_of_shards(view, lambda replica: replica.local.queue_length if replica.local else None)
    if queue is not None:
        yield Reading(QUEUE, labels, float(queue))


def _stalled(
    view: CollectionView, labels: tuple[str, str], beside: Beside, *, is_grey: bool, lags: bool
) -> Iterator[Reading]:
    running = worst_of_shards(view, lambda replica: replica.segments.running if replica.segments else None)
    if running is None:
        return
    # lag and running are of one look, and grey means by itself that nothing runs
    stalled = is_grey or (lags and running == 0)
    if stalled or not beside.is_standing_still:
        yield Reading(STALLED, labels, float(stalled))
    elif beside.snapshots_running is not None:  # before 1.16 a snapshot may be all that makes it yellow
        yield Reading(STALLED, labels, 1.0)


def _optimizer(view: CollectionView, labels: tuple[str, str], beside: Beside) -> Iterator[Reading]:
    running = _sum(
        None if replica.segments is None else replica.segments.running for _, replica in view.replicas()
    )
    if running is not None:
        yield Reading(RUNNING, labels, float(running))
    if beside.queued_points is not None:
        yield Reading(QUEUED, labels, float(beside.queued_points))
    if beside.snapshots_running is not None:
        yield Reading(SNAPSHOTTING, labels, float(beside.snapshots_running))
    told = [
        replica.local for _, replica in view.replicas() if replica.local and replica.local.optimizer_known
    ]
    # no trouble is only told where nobody who could have some is unknown
    whole = bool(told) and all(_optimizer_told(replica) for _, replica in view.replicas())
    errors = {error_kind(local.optimizer_error) for local in told if local.optimizer_error}
    if errors or whole:
        yield Reading(OPTIMIZER_OK, labels, float(not errors))
    for kind in ERROR_KINDS:
        if kind in errors or whole:
            yield Reading(OPTIMIZER_ERROR, (*labels, kind), float(kind in errors))


def _optimizer_told(replica: ReplicaView) -> bool:
    """Its peer told of its optimizer, or it is known not to be in use: down, or not loaded."""
    if replica.live is None:
        return False
    return not replica.live or (replica.local is not None and replica.local.optimizer_known)


def error_kind(text: str) -> str:
    """Return the kind of an optimizer's error text."""
    return "disk_space" if any(part in text for part in DISK_SPACE_TEXTS) else "other"


def _physical(view: CollectionView, labels: tuple[str, str], beside: Beside) -> Iterator[Reading]:
    replicas = [replica for _, replica in view.replicas()]
    segments = [replica.segments for replica in replicas if replica.segments is not None]
    if segments and len(segments) == len(replicas):
        yield Reading(DELETED, labels, float(sum(one.deleted_points for one in segments)))
        yield Reading(RECLAIMABLE, labels, float(sum(one.reclaimable_bytes for one in segments)))
    vector_bytes = _sum(replica.local.vector_bytes if replica.local else None for replica in replicas)
    if vector_bytes is not None:
        yield Reading(VECTOR_BYTES, labels, float(vector_bytes))
    payload_bytes = _sum(replica.local.payload_bytes if replica.local else None for replica in replicas)
    if payload_bytes is not None:
        yield Reading(PAYLOAD_BYTES, labels, float(payload_bytes))
    # the server counts a shard that did not load as 0 bytes
    dummy = any(replica.local is not None and not replica.local.loaded for replica in replicas)
    if beside.usage is not None and not dummy:
        yield Reading(RAM, labels, float(beside.usage.ram_bytes))
        yield Reading(PAGE_CACHE, labels, float(beside.usage.cached_bytes))
        yield Reading(PAGE_CACHE_EXPECTED, labels, float(beside.usage.expected_cache_bytes))
        yield Reading(DISK, labels, float(beside.usage.disk_bytes))


def _sum(numbers: Iterable[int | None]) -> int | None:
    """The sum, or None where a part is missing or there is none."""
    parts = list(numbers)
    return None if not parts or None in parts else sum(part for part in parts if part is not None)


def worst_of_shards(view: CollectionView, number: Callable[[ReplicaView], int | None]) -> int | None:
    """Sum over shards the highest number among the replicas in use.

    None where a shard has no replica in use, or one in use of which the number is not known.
    """
    worst = []
    for shard in view.shards:
        told = in_use(shard, number)
        if told is None:
            return None
        worst.append(max(told))
    return sum(worst) if worst else None


N = TypeVar("N")


def in_use(shard: ShardView, number: Callable[[ReplicaView], N | None]) -> list[N] | None:
    """What the replicas in use tell; None without one, or where one that may be in use tells nothing."""
    told: list[N] = []
    for replica in shard.replicas:
        if replica.live is None:
            return None
        if replica.usable:
            value = number(replica)
            if value is None:
                return None
            told.append(value)
    return told or None


def worst_by_vector(
    view: CollectionView, points: Callable[[ShardSegmentsSeen], Mapping[str, int] | None]
) -> dict[str, int] | None:
    """As `worst_of_shards`, for each vector name."""
    total: dict[str, int] = {}
    for shard in view.shards:
        told = in_use(shard, lambda replica: points(replica.segments) if replica.segments else None)
        if told is None:
            return None
        for vector in {vector for by_vector in told for vector in by_vector}:
            worst = max(by_vector.get(vector, 0) for by_vector in told)
            total[vector] = total.get(vector, 0) + worst
    return dict(sorted(total.items()))
