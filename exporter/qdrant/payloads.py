"""Typed views of what we read in Qdrant's answers: only the fields we use.

Enumerations stay plain strings, so that a word of a newer server costs nothing.
Collections inside /telemetry stay raw bytes and are decoded one by one, so that
one odd collection costs itself and not the poll. What the answers mean is not said here.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta, Raw, Struct

from exporter.qdrant.answers import decode

T = TypeVar("T")

# What the server counts in unsigned 64 bits. A negative or larger number is not Qdrant's: it costs the
# collection it stands in, where a float made of it would cost the whole derivation.
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


# The default of a part that is read by itself: no bytes at all.
NOTHING = Raw()


class Payload(Struct, frozen=True, gc=False):
    """A view that holds no cycles, so the collector need not track it."""


class Envelope(Payload, Generic[T], frozen=True):
    """Qdrant's frame around every JSON answer."""

    result: T


class Features(Payload, frozen=True):
    recovery_mode: bool = False


class System(Payload, frozen=True):
    """Sizes in KiB, as the server counts them."""

    cores: Count | None = None
    cpu_cores_used: float | None = None
    ram_size: Count | None = None
    disk_size: Count | None = None


class App(Payload, frozen=True):
    version: str
    startup: str = ""
    features: Features = Features()
    system: Raw = NOTHING


class RunningSnapshots(Payload, frozen=True):
    id: str
    running_snapshots: Count = 0
    running_snapshot_recovery: Count = 0
    total_snapshot_creations: Count = 0  # begun since the server's start, those that run included


class Collections(Payload, frozen=True):
    number_of_collections: Count = 0
    collections: list[Raw] = []
    snapshots: Raw = NOTHING


class ConsensusThread(Payload, frozen=True):
    consensus_thread_status: str = ""


class PeerConsensus(Payload, frozen=True):
    term: Count = 0
    commit: Count = 0
    role: str | None = None
    is_voter: bool = True
    peer_id: Count | None = None
    consensus_thread_status: ConsensusThread | None = None


class PeerMetadata(Payload, frozen=True):
    version: str | None = None


class ClusterTelemetry(Payload, frozen=True):
    enabled: bool = False
    status: PeerConsensus | None = None
    peer_metadata: Raw = NOTHING


class RequestStatistics(Payload, frozen=True):
    count: Count = 0
    total_duration_micros: float | None = None


class RestRequests(Payload, frozen=True):
    responses: dict[str, dict[str, RequestStatistics]] = {}


class GrpcRequests(Payload, frozen=True):
    responses: dict[str, Raw] = {}  # before 1.17 one count a method, since then one a gRPC code


class Requests(Payload, frozen=True):
    rest: RestRequests = RestRequests()
    grpc: GrpcRequests = GrpcRequests()


class Memory(Payload, frozen=True):
    resident_bytes: Count | None = None


class QuotaExceeded(Payload, frozen=True):
    """Null: this limit is not enforced."""

    resident_memory: bool | None = None
    disk_usage: bool | None = None


class QuotaTelemetry(Payload, frozen=True):
    """Since 1.19: read in the server's code, never seen on a server."""

    exceeded: QuotaExceeded = QuotaExceeded()


class Telemetry(Payload, frozen=True):
    """GET /telemetry, levels 2 to 4. Parts stay raw: one that does not read costs itself."""

    id: str
    app: App
    collections: Collections
    cluster: ClusterTelemetry | None = None
    requests: Raw = NOTHING
    memory: Raw = NOTHING
    quota: Raw = NOTHING


class OptimizerConfig(Payload, frozen=True):
    indexing_threshold: Count | None = None  # KB; null: the server's default; 0: no indexing


class CollectionParams(Payload, frozen=True):
    replication_factor: Count = 1
    vectors: dict[str, Any] | None = None  # the unnamed one's own settings, or settings by name
    sparse_vectors: dict[str, Any] | None = None


class StrictMode(Payload, frozen=True):
    """Limits on requests to a collection, since 1.12.2. Null: no such limit."""

    enabled: bool | None = None
    max_query_limit: Count | None = None
    max_timeout: Count | None = None  # seconds
    search_max_hnsw_ef: Count | None = None
    search_allow_exact: bool | None = None
    read_rate_limit: Count | None = None  # tokens a minute and replica


class CollectionConfig(Payload, frozen=True):
    params: CollectionParams = CollectionParams()
    optimizer_config: OptimizerConfig = OptimizerConfig()
    strict_mode_config: StrictMode | None = None
    uuid: str | None = None  # null on one node


class UpdateQueue(Payload, frozen=True):
    length: Count | None = None
    op_num: Count | None = None
    deferred_points: Count | None = None


class OptimizationRun(Payload, frozen=True):
    name: str
    status: Any = None  # "optimizing", "done", {"cancelled": text} or {"error": text}
    start_at: str = ""
    uuid: str | None = None


class Optimizations(Payload, frozen=True):
    status: Any = None  # "ok" or {"error": text}
    log: list[OptimizationRun] = []


class PayloadIndex(Payload, frozen=True):
    data_type: str
    points: Count | None = None


class VectorCounts(Payload, frozen=True):
    num_vectors: Count = 0


class SegmentInfo(Payload, frozen=True):
    num_points: Count
    num_indexed_vectors: Count = 0
    num_deleted_vectors: Count = 0  # deleted points, whatever the name says
    vectors_size_bytes: Count = 0
    payloads_size_bytes: Count = 0
    index_schema: dict[str, PayloadIndex] = {}
    vector_data: dict[str, VectorCounts] = {}


class VectorIndexOptions(Payload, frozen=True):
    full_scan_threshold: Count | None = None  # KB; a smaller segment is scanned, graph or not


class VectorIndex(Payload, frozen=True):
    type: str = ""
    options: VectorIndexOptions | None = None


class SearchCounts(Payload, frozen=True):
    """Searches of one kind that a segment served since it was built."""

    count: Count = 0


class VectorSearches(Payload, frozen=True):
    """How a segment served searches of one vector: through its graph, or by reading every point."""

    index_name: str = ""
    unfiltered_plain: SearchCounts = SearchCounts()
    unfiltered_hnsw: SearchCounts = SearchCounts()
    filtered_plain: SearchCounts = SearchCounts()
    filtered_small_cardinality: SearchCounts = SearchCounts()
    filtered_large_cardinality: SearchCounts = SearchCounts()


class SegmentVector(Payload, frozen=True):
    size: Count
    index: VectorIndex = VectorIndex()
    datatype: str | None = None
    multivector_config: Any = None


class SegmentConfig(Payload, frozen=True):
    vector_data: dict[str, SegmentVector] = {}


class Segment(Payload, frozen=True):
    info: SegmentInfo
    config: SegmentConfig = SegmentConfig()
    vector_index_searches: list[VectorSearches] = []


class LocalShard(Payload, frozen=True):
    """A shard on this peer. A "dummy shard" did not load and reports green and nothing else."""

    variant_name: str | None = None
    status: str | None = None
    num_points: Count | None = None
    vectors_size_bytes: Count | None = None
    payloads_size_bytes: Count | None = None
    segments: list[Segment] | None = None
    optimizations: Optimizations | None = None
    indexed_only_excluded_vectors: dict[str, Count] | None = None
    update_queue: UpdateQueue | None = None


class Shard(Payload, frozen=True):
    id: Count
    key: str | int | None = None
    local: LocalShard | None = None
    replicate_states: dict[int, str] | None = None  # {}: the shard was lost with its last peer


class CollectionTelemetry(Payload, frozen=True):
    id: str
    config: CollectionConfig = CollectionConfig()
    shards: list[Shard] | None = None
    transfers: list[Any] | None = None
    resharding: list[Any] | None = None


class CollectionName(Payload, frozen=True):
    """Just the name, for a collection whose other fields do not fit."""

    id: str


class PeerAddress(Payload, frozen=True):
    uri: str = ""


class RaftInfo(Payload, frozen=True):
    term: Count = 0
    commit: Count = 0
    pending_operations: Count = 0
    leader: Count | None = None  # 0 as well as null: no leader
    role: str | None = None
    is_voter: bool = True


class SendFailures(Payload, frozen=True):
    count: Count = 0


class ClusterStatus(Payload, frozen=True):
    """GET /cluster."""

    status: str
    peer_id: Count | None = None
    peers: dict[int, PeerAddress] = {}
    raft_info: RaftInfo | None = None
    consensus_thread_status: ConsensusThread | None = None
    message_send_failures: dict[str, SendFailures] = {}


class OptimizationsSummary(Payload, frozen=True):
    queued_points: Count


class OptimizationStep(Payload, frozen=True):
    """A step of an optimization, with the steps it is made of. Few tell how much of it is done."""

    started_at: str | None = None
    finished_at: str | None = None
    done: Count | None = None
    children: list[OptimizationStep] = []


class RunningOptimization(Payload, frozen=True):
    uuid: str = ""
    progress: OptimizationStep | None = None


class CollectionOptimizations(Payload, frozen=True):
    """GET /collections/{collection}/optimizations, since 1.17."""

    summary: OptimizationsSummary
    running: list[RunningOptimization] = []


class Usage(Payload, frozen=True):
    disk_bytes: Count
    ram_bytes: Count
    cached_bytes: Count
    expected_cache_bytes: Count


class CollectionMemory(Payload, frozen=True):
    """GET /collections/{collection}/memory, since 1.18."""

    total: Usage


class Alias(Payload, frozen=True):
    alias_name: str
    collection_name: str


class Aliases(Payload, frozen=True):
    aliases: list[Alias]


class Snapshot(Payload, frozen=True):
    size: Count = 0


class Issue(Payload, frozen=True):
    id: str


class Issues(Payload, frozen=True):
    issues: list[Issue]


class QuotaUsage(Payload, frozen=True):
    """Whole percent of this node; null where the server cannot measure."""

    disk_usage_percent: float | None = None


class Quotas(Payload, frozen=True):
    """GET /quotas, since 1.19: read in the server's code, never seen on a server."""

    usage: QuotaUsage


def result(body: bytes | Raw, kind: type[T], endpoint: str) -> T:
    """Decode the `result` of an answer. Raises BadPayload as `decode` does."""
    envelope: Envelope[T] = decode(body, Envelope[kind], endpoint)  # type: ignore[valid-type]
    return envelope.result
