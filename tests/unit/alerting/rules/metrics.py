"""Metrics made up for the tests of rules: short names, all kinds."""

from __future__ import annotations

from exporter.model import CLUSTER_LABEL, OURS, PROBED, Kind, MetricSpec

TELEMETRY = "GET /telemetry?details_level=3"
PEER = (CLUSTER_LABEL, "peer")
COLLECTION = (CLUSTER_LABEL, "collection")


def gauge(name: str, labels: tuple[str, ...], *, unit: str = "points", source: str = TELEMETRY) -> MetricSpec:
    """Declare a gauge."""
    return MetricSpec(name, Kind.GAUGE, "Made up", unit, source, labels)


LAG = gauge("lag", COLLECTION)
LIMIT = gauge("limit", COLLECTION)
QUEUE = gauge("queue", COLLECTION)
DISK = gauge("disk", PEER, unit="ratio 0-1")
SIZE = gauge("size", PEER, unit="bytes")
UP = gauge("up", PEER, unit="1 or 0")
SHARDS = gauge("shards", (CLUSTER_LABEL, "collection", "shard"))
STATE = gauge("qdrantx_replica_state", (CLUSTER_LABEL, "collection", "shard", "peer", "state"), unit="1")
FULL_AT = gauge("full_at", PEER, unit="seconds, Unix time")
LATENCY = gauge("latency", COLLECTION, unit="seconds", source=PROBED)
EXPECTED = gauge("qdrantx_collection_expected_present", COLLECTION, unit="1 or 0")
RECEIVER = gauge("receiver_up", ("receiver",), unit="1 or 0", source=OURS)
ERRORS = MetricSpec("errors_total", Kind.COUNTER, "Made up", "errors", TELEMETRY, (*PEER, "kind"))
TIMES = MetricSpec("times", Kind.HISTOGRAM, "Made up", "seconds", PROBED, COLLECTION)

SPECS = (
    LAG,
    LIMIT,
    QUEUE,
    DISK,
    SIZE,
    UP,
    SHARDS,
    STATE,
    FULL_AT,
    LATENCY,
    RECEIVER,
    EXPECTED,
    ERRORS,
    TIMES,
)
