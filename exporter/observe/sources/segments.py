"""GET /telemetry?details_level=4: segments, indexing lag, payload indexes, the optimizer's log.

Local to the peer like level 3, but it walks every segment. Each shard is digested to
the sums we need, so that memory does not grow with segments or indexed fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from exporter.model import MetricSpec
from exporter.observe.sources.contract import Ask, Learnt, Pace, Reach, odd
from exporter.observe.sources.remembered import Remembered
from exporter.observe.sources.telemetry import DUMMY
from exporter.qdrant.payloads import (
    CollectionTelemetry,
    LocalShard,
    OptimizationRun,
    Segment,
    Telemetry,
    result,
)
from exporter.qdrant.versions import default_indexing_threshold_kb, parse_version

PATH = "/telemetry?details_level=4"
ENDPOINT = PATH  # of its own: slow segments must not open the breaker of level 3

KB = 1024  # the server's threshold counts kilobytes of 1,024 bytes
# Bytes of one element by datatype; unset is float32. Another word (a newer server's) is not guessed.
ELEMENT_BYTES = {None: 4, "float32": 4, "float16": 2, "uint8": 1}

# Servers keep the last 16 optimizations and every failed one; more than this many failed ones a shard
# would be read again and again for nothing: the newest tell the story.
MAX_RUNS_A_SHARD = 64


@dataclass(frozen=True, slots=True)
class RunSeen:
    """One entry of the optimizer's log that has ended. `key` is the same at every look."""

    key: str
    optimizer: str
    outcome: str  # done, cancelled or error


class SearchesSeen(NamedTuple):
    """How the segments of a shard served searches of one vector since they were built.

    Each search counts once a segment. Exact searches are not in it.
    """

    graph: int  # through HNSW
    scan: int  # by reading every point that passes the filter


NO_SEARCHES: Mapping[str, SearchesSeen] = MappingProxyType({})  # one for all: most were never searched


@dataclass(frozen=True, slots=True)
class ShardSegmentsSeen:
    """The segments of one local shard, summed."""

    segments: int
    indexed_vectors: int
    deleted_points: int
    reclaimable_bytes: float
    lag_points: Mapping[str, int]  # by vector name
    excluded_points: Mapping[str, int] | None  # by vector name; None before 1.16
    index_points: Mapping[tuple[str, str], int]  # by (field, type)
    runs: tuple[RunSeen, ...]
    running: int
    graph_points: Mapping[str, int]  # by vector name: points of segments that are searched through a graph
    searches: Mapping[str, SearchesSeen]  # by vector name; only what was searched


@dataclass(frozen=True, slots=True)
class SegmentsSeen:
    """All local, loaded shards of one peer, by (collection, shard)."""

    process_id: str
    shards: Mapping[str, Mapping[int, ShardSegmentsSeen]]
    unreadable: tuple[str, ...] = ()


class SegmentsSource:
    """Only sees; what it means for a collection is derived with the other peers' view."""

    name = "segments"
    pace = Pace.MEDIUM
    reach = Reach.PEER
    specs: tuple[MetricSpec, ...] = ()

    def __init__(self) -> None:
        self._remembered: Remembered[Mapping[int, ShardSegmentsSeen]] = Remembered(endpoint=ENDPOINT)

    async def poll(self, ask: Ask) -> Learnt:
        answer = await ask.gateway.get(PATH, endpoint=ENDPOINT, deadline_seconds=ask.deadline_seconds)
        seen: SegmentsSeen = await ask.off_loop(read, answer.body, self._remembered)
        return Learnt(seen, faults=odd(ENDPOINT, "segments of collections", seen.unreadable))


def read(body: bytes, remembered: Remembered[Mapping[int, ShardSegmentsSeen]]) -> SegmentsSeen:
    """Understand telemetry of level 4 (2 before 1.14).

    Raises BadPayload when the whole does not read; a collection that does not is named in `unreadable`.
    """
    telemetry = result(body, Telemetry, ENDPOINT)
    default_kb = default_indexing_threshold_kb(parse_version(telemetry.app.version))

    def understand(told: CollectionTelemetry) -> Mapping[int, ShardSegmentsSeen]:
        threshold_kb = told.config.optimizer_config.indexing_threshold
        return read_collection(told, default_kb if threshold_kb is None else threshold_kb)

    shards, unreadable = remembered.understood(telemetry.collections.collections, telemetry.id, understand)
    return SegmentsSeen(telemetry.id, shards, unreadable)


def read_collection(told: CollectionTelemetry, threshold_kb: int) -> Mapping[int, ShardSegmentsSeen]:
    """Understand the loaded local shards of one collection, by shard id."""
    return {
        shard.id: read_shard(shard.local, threshold_kb)
        for shard in told.shards or ()
        if shard.local is not None and shard.local.variant_name != DUMMY and shard.local.segments is not None
    }


def read_shard(local: LocalShard, threshold_kb: int) -> ShardSegmentsSeen:
    """Sum one shard's segments. `threshold_kb` is the collection's indexing threshold, in KB; 0: off."""
    segments = local.segments or []
    log = local.optimizations.log if local.optimizations else []
    return ShardSegmentsSeen(
        segments=len(segments),
        indexed_vectors=sum(segment.info.num_indexed_vectors for segment in segments),
        deleted_points=sum(segment.info.num_deleted_vectors for segment in segments),
        reclaimable_bytes=sum(reclaimable_bytes(segment) for segment in segments),
        lag_points=lag_points(segments, threshold_kb),
        excluded_points=local.indexed_only_excluded_vectors,
        index_points=_index_points(segments),
        runs=tuple(ended_runs(log)),
        running=sum(1 for run in log if run.status == "optimizing"),
        graph_points=graph_points(segments),
        searches=searches_by_vector(segments) or NO_SEARCHES,
    )


def graph_points(segments: Iterable[Segment]) -> dict[str, int]:
    """Points whose searches go through a graph, by vector name: in segments that have one and are large.

    A segment under the full scan threshold is scanned all the same (seen on 1.18.3: unfiltered_plain).
    """
    points: dict[str, int] = {}
    for segment in segments:
        for name, vector in segment.config.vector_data.items():
            options = vector.index.options
            threshold_kb = options.full_scan_threshold if options else None
            raw_bytes = raw_vector_bytes(segment, name)
            large = raw_bytes is not None and raw_bytes >= (threshold_kb or 0) * KB
            if vector.index.type == "hnsw" and large:
                points[name] = points.get(name, 0) + segment.info.num_points
    return points


def searches_by_vector(segments: Iterable[Segment]) -> dict[str, SearchesSeen]:
    """Sum how the segments served searches; vectors that were not searched are left out."""
    sums: dict[str, SearchesSeen] = {}
    for segment in segments:
        for told in segment.vector_index_searches:
            graph = told.unfiltered_hnsw.count + told.filtered_large_cardinality.count
            scan = (
                told.unfiltered_plain.count
                + told.filtered_plain.count
                + told.filtered_small_cardinality.count
            )
            if graph or scan:
                before = sums.get(told.index_name, SearchesSeen(0, 0))
                sums[told.index_name] = SearchesSeen(before.graph + graph, before.scan + scan)
    return sums


def lag_points(segments: Iterable[Segment], threshold_kb: int) -> dict[str, int]:
    """Points big enough to be indexed and not indexed, by vector name.

    A segment counts when its raw bytes of that vector reach the indexing threshold and
    its index is plain. Sparse vectors are always indexed and never appear. With indexing
    off (threshold 0) every name has 0.
    """
    lag: dict[str, int] = {}
    for segment in segments:
        for name, vector in segment.config.vector_data.items():
            behind = lag.setdefault(name, 0)
            raw_bytes = raw_vector_bytes(segment, name) if vector.index.type == "plain" else None
            if threshold_kb and raw_bytes is not None and raw_bytes >= threshold_kb * KB:
                lag[name] = behind + segment.info.num_points
    return lag


def raw_vector_bytes(segment: Segment, name: str) -> int | None:
    """Bytes of one vector's raw data in a segment: points × dim × element size.

    A multivector has no fixed size: it gets what the segment's estimate of all vectors
    leaves after the others. None where the datatype is not known.
    """
    vector = segment.config.vector_data[name]
    if vector.multivector_config is None:
        element = ELEMENT_BYTES.get(vector.datatype)
        return None if element is None else _points_with(segment, name) * vector.size * element
    others = 0
    for other, other_vector in segment.config.vector_data.items():
        if other != name and other_vector.multivector_config is None:
            others += (
                _points_with(segment, other) * other_vector.size * ELEMENT_BYTES.get(other_vector.datatype, 4)
            )
    return max(0, segment.info.vectors_size_bytes - others)


def _points_with(segment: Segment, name: str) -> int:
    counts = segment.info.vector_data.get(name)
    return counts.num_vectors if counts is not None else segment.info.num_points


def reclaimable_bytes(segment: Segment) -> float:
    """Bytes a rebuild would free: deleted ÷ live × (vectors + payload).

    The server's sizes are averages times live points, so a segment with no live point
    tells nothing of what its deleted ones hold and counts 0.
    """
    info = segment.info
    if info.num_points <= 0:
        return 0.0
    return info.num_deleted_vectors / info.num_points * (info.vectors_size_bytes + info.payloads_size_bytes)


def ended_runs(log: list[OptimizationRun]) -> Iterable[RunSeen]:
    """Yield the newest ended optimizations of a shard's log."""
    for run in log[:MAX_RUNS_A_SHARD]:
        outcome = _outcome(run.status)
        if outcome is not None:
            yield RunSeen(run.uuid or f"{run.name} {run.start_at}", run.name, outcome)


def _outcome(status: Any) -> str | None:
    if status == "done":
        return "done"
    if isinstance(status, dict):
        return next((outcome for outcome in ("cancelled", "error") if outcome in status), None)
    return None


def _index_points(segments: Iterable[Segment]) -> dict[tuple[str, str], int]:
    """Points by (field, type); without those that some segment names and does not count."""
    points: dict[tuple[str, str], int] = {}
    uncounted: set[tuple[str, str]] = set()
    for segment in segments:
        for name, index in segment.info.index_schema.items():
            key = (name, index.data_type)
            if index.points is None:
                uncounted.add(key)
            else:
                points[key] = points.get(key, 0) + index.points
    return {key: count for key, count in points.items() if key not in uncounted}
