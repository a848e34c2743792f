"""What is known of the polling itself, as readings that outlive the failures they tell of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from exporter.model import CLUSTER_LABEL, Fault, FaultKind, Kind, MetricSpec, Reading

OURS = "this daemon"
SOURCE_LABELS = (CLUSTER_LABEL, "peer", "source")


def _gauge(name: str, what: str, unit: str) -> MetricSpec:
    return MetricSpec(f"qdrantx_source_{name}", Kind.GAUGE, what, unit, OURS, SOURCE_LABELS)


UP = MetricSpec(
    "qdrantx_up",
    Kind.GAUGE,
    "Whether the newest poll of the peer's telemetry gave a readable answer; a refused key is 0",
    "1 or 0",
    "GET /telemetry?details_level=3",
    (CLUSTER_LABEL, "peer"),
)
SUCCESS = _gauge("success", "Whether every part of the source answered at its newest poll", "1 or 0")
DURATION = _gauge("duration_seconds", "How long the newest successful poll of the source took", "seconds")
LAST_SUCCESS = _gauge(
    "last_success_timestamp_seconds", "When every part of the source last answered", "seconds, Unix time"
)
INTERVAL = _gauge(
    "interval_seconds",
    "Interval in force; over the configured one where the source costs too much",
    "seconds",
)
SUPPORTED = _gauge("supported", "Whether the server's version has the source", "1 or 0")
FAULTS = MetricSpec(
    "qdrantx_source_faults_total",
    Kind.COUNTER,
    "Polls of the source in which a call failed, by the kind of failure",
    "polls",
    OURS,
    (*SOURCE_LABELS, "kind"),
)
REQUESTS = MetricSpec(
    "qdrantx_requests_to_qdrant_total",
    Kind.COUNTER,
    "Requests this daemon made to the peer, by route and outcome",
    "requests",
    OURS,
    (CLUSTER_LABEL, "peer", "endpoint", "outcome"),
)
RELOAD_SUCCESSFUL = MetricSpec(
    "qdrantx_config_last_reload_successful",
    Kind.GAUGE,
    "Whether the configuration in force is the one last read; 0: the newest was refused",
    "1 or 0",
    OURS,
    (),
)
RELOAD_AT = MetricSpec(
    "qdrantx_config_last_reload_success_timestamp_seconds",
    Kind.GAUGE,
    "When the configuration in force was read",
    "seconds, Unix time",
    OURS,
    (),
)
SPECS = (
    UP,
    SUCCESS,
    DURATION,
    LAST_SUCCESS,
    INTERVAL,
    SUPPORTED,
    FAULTS,
    REQUESTS,
    RELOAD_SUCCESSFUL,
    RELOAD_AT,
)


@dataclass(slots=True)
class SourceRecord:
    """One source of one peer: how its polls went."""

    polls: int = 0
    success: bool = False
    supported: bool = True
    duration_seconds: float | None = None
    last_success_at_seconds: float | None = None
    interval_seconds: float = 0.0
    newest_faults: tuple[Fault, ...] = ()
    faults: dict[FaultKind, int] = field(default_factory=lambda: dict.fromkeys(FaultKind, 0))

    def count(self, faults: tuple[Fault, ...]) -> None:
        """Count a poll's faults, each kind once a poll."""
        self.newest_faults = faults
        for kind in {fault.kind for fault in faults}:
            self.faults[kind] += 1

    def readings(self, cluster: str, peer: str, source: str) -> Iterator[Reading]:
        """Yield the source's record; success only after a first poll, and not of what is unsupported."""
        labels = (cluster, peer, source)
        yield Reading(SUPPORTED, labels, float(self.supported))
        yield Reading(INTERVAL, labels, self.interval_seconds)
        for kind, count in self.faults.items():
            yield Reading(FAULTS, (*labels, kind.value), float(count))
        if self.polls and self.supported:
            yield Reading(SUCCESS, labels, float(self.success))
        if self.duration_seconds is not None:
            yield Reading(DURATION, labels, self.duration_seconds)
        if self.last_success_at_seconds is not None:
            yield Reading(LAST_SUCCESS, labels, self.last_success_at_seconds)


def request_readings(cluster: str, peer: str, counts: Mapping[tuple[str, str], int]) -> Iterator[Reading]:
    """Yield what we asked of the peer, by (endpoint, outcome)."""
    for (endpoint, outcome), count in counts.items():
        yield Reading(REQUESTS, (cluster, peer, endpoint, outcome), float(count))
