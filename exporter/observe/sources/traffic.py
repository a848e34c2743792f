"""The server's own request counters, as /telemetry tells them: the data routes only.

Our polls, cluster-internal calls and the management of collections never count, so
that a quiet server stays quiet and an error ratio is about what users feel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from exporter.model import Kind, MetricSpec, Reading
from exporter.observe.sources.contract import PEER_LABELS
from exporter.qdrant.answers import decoder_of
from exporter.qdrant.payloads import Requests, RequestStatistics

SOURCE = "GET /telemetry?details_level=3"
MICROSECONDS = 1e6

REQUESTS = MetricSpec(
    "qdrantx_server_requests_total",
    Kind.COUNTER,
    "Requests to data routes since the server started, by outcome, our own probes among them; gRPC outcomes "
    "since 1.17",
    "requests",
    SOURCE,
    (*PEER_LABELS, "protocol", "operation", "class"),
)
SECONDS = MetricSpec(
    "qdrantx_server_request_seconds_total",
    Kind.COUNTER,
    "Time spent in requests to data routes since the server started",
    "seconds",
    SOURCE,
    (*PEER_LABELS, "protocol", "operation"),
)
SPECS = (REQUESTS, SECONDS)

CLASSES = ("ok", "client_error", "rate_limited", "timeout", "server_error")
BAD_CLASSES = ("timeout", "server_error")

# gRPC status codes: 4 deadline exceeded, 8 resource exhausted; 2 unknown, 12 unimplemented, 13 internal,
# 14 unavailable and 15 data loss are the server's; the rest is the caller's.
GRPC_CLASSES = {
    "0": "ok", "4": "timeout", "8": "rate_limited",
    "2": "server_error", "13": "server_error", "14": "server_error", "15": "server_error",
}  # fmt: skip
UNKNOWN_GRPC = "unknown"  # before 1.17 a method has one count for good and bad alike
GRPC_PREFIX = "/qdrant.Points/"


@dataclass(frozen=True, slots=True)
class Traffic:
    """One (protocol, operation, class) since the server started."""

    protocol: str  # "rest" or "grpc"
    operation: str  # "POST points/query", "Query"
    outcome: str  # one of CLASSES, or "unknown"
    count: int
    seconds: float


def read(requests: Requests) -> Iterator[Traffic]:
    """Yield the counters of data routes, statuses of one class summed."""
    sums: dict[tuple[str, str, str], tuple[int, float]] = {}
    for key, statistics in (*_rest(requests), *_grpc(requests)):
        count, seconds = sums.get(key, (0, 0.0))
        took = (statistics.total_duration_micros or 0.0) / MICROSECONDS
        sums[key] = (count + statistics.count, seconds + took)
    for (protocol, operation, outcome), (count, seconds) in sums.items():
        yield Traffic(protocol, operation, outcome, count, seconds)


def _rest(requests: Requests) -> Iterator[tuple[tuple[str, str, str], RequestStatistics]]:
    for route, by_status in requests.rest.responses.items():
        operation = rest_operation(route)
        if operation is not None:
            for status, statistics in by_status.items():
                yield ("rest", operation, rest_class(status)), statistics


def _grpc(requests: Requests) -> Iterator[tuple[tuple[str, str, str], RequestStatistics]]:
    for method, raw in requests.grpc.responses.items():
        if not method.startswith(GRPC_PREFIX):
            continue
        operation = method.removeprefix(GRPC_PREFIX)
        for code, statistics in _by_code(raw).items():
            outcome = UNKNOWN_GRPC if code == UNKNOWN_GRPC else GRPC_CLASSES.get(code, "client_error")
            yield ("grpc", operation, outcome), statistics


def _by_code(raw: msgspec.Raw) -> dict[str, RequestStatistics]:
    """One method's counts by gRPC code; a method that does not read at all tells nothing."""
    with suppress(msgspec.ValidationError):
        return decoder_of(dict[str, RequestStatistics]).decode(raw)
    with suppress(msgspec.ValidationError):  # the shape before 1.17
        return {UNKNOWN_GRPC: decoder_of(RequestStatistics).decode(raw)}
    return {}


def rest_operation(route: str) -> str | None:
    """Return "POST points/query" for "POST /collections/{name}/points/query"; None off the data routes."""
    method, _, path = route.partition(" ")
    parts = path.split("/")
    # "", "collections", "{name}" or "{collection_name}" (since 1.17.1), then the route
    if len(parts) < 4 or parts[1] != "collections" or not parts[2].startswith("{"):
        return None
    if parts[3] != "points" and parts[3:] != ["facet"]:
        return None
    return f"{method} {'/'.join(parts[3:])}"


def rest_class(status: str) -> str:
    """Return the class of an HTTP status."""
    if status == "429":
        return "rate_limited"
    if status == "408":
        return "timeout"
    if status.startswith("5"):
        return "server_error"
    return "client_error" if status.startswith("4") else "ok"


def readings(traffic: Sequence[Traffic], cluster: str, peer: str) -> Iterator[Reading]:
    """Yield the counters; every class of a known operation is there from the first, for rate()."""
    counts = {(one.protocol, one.operation, one.outcome): one.count for one in traffic}
    seconds: dict[tuple[str, str], float] = {}
    for one in traffic:
        key = (one.protocol, one.operation)
        seconds[key] = seconds.get(key, 0.0) + one.seconds
    for (protocol, operation), spent in seconds.items():
        labels = (cluster, peer, protocol, operation)
        unknown = counts.get((protocol, operation, UNKNOWN_GRPC))
        outcomes = CLASSES if unknown is None else (UNKNOWN_GRPC,)
        for outcome in outcomes:
            count = counts.get((protocol, operation, outcome), 0)
            yield Reading(REQUESTS, (*labels, outcome), float(count))
        yield Reading(SECONDS, labels, spent)
