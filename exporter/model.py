"""The words of the house: what is declared, read, at fault and observed.

No I/O and no third-party import belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

# Every per-cluster metric starts with this label; `cluster` itself belongs to Prometheus users.
CLUSTER_LABEL = "qdrant_cluster"


class Kind(StrEnum):
    """A Prometheus metric type."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Scope(StrEnum):
    """How a number over replicas was joined."""

    LOGICAL = "logical"  # one replica a shard: what a user of the collection sees
    PHYSICAL = "physical"  # all replicas: what the machines carry
    NONE = ""


class Evidence(StrEnum):
    """How we know what the server says."""

    SEEN = "seen"  # on a real server, recorded or run
    CODE = "read in code only"  # never seen on a real server


@dataclass(frozen=True, slots=True, eq=False)
class MetricSpec:
    """Declaration of one metric. Compared by identity: each is declared once."""

    name: str
    kind: Kind
    what: str  # one clause, without a full stop
    unit: str  # "points", "bytes", "seconds", "ratio 0-1", "1 or 0", ...
    source: str  # the endpoint the number comes from, or "this daemon"
    labels: tuple[str, ...] = (CLUSTER_LABEL,)
    scope: Scope = Scope.NONE
    evidence: Evidence = Evidence.SEEN

    @property
    def help(self) -> str:
        """The HELP text: what, unit, source endpoint, that it is polled, logical or physical."""
        scope = f", {self.scope}" if self.scope else ""
        polled = "" if self.source == "this daemon" else "polled from "
        return f"{self.what} ({self.unit}{scope}; {polled}{self.source})."


class Reading(NamedTuple):
    """One value of one MetricSpec. `labels` are values in the order of `spec.labels`."""

    spec: MetricSpec
    labels: tuple[str, ...]
    value: float


class FaultKind(StrEnum):
    """Why a source could not answer."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    AUTH = "auth"
    REFUSED = "refused"  # an answer that says no: 4xx, 429, 5xx, a redirect
    BAD_PAYLOAD = "bad_payload"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure of one call, as data. `detail` is for people and holds no secret."""

    kind: FaultKind
    endpoint: str
    detail: str


class ProducerKey(NamedTuple):
    """Who learnt something. `peer` is "" for what is known of the cluster as a whole."""

    cluster: str
    peer: str
    source: str


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything one producer learnt in one go. Immutable; replaced whole.

    `seen` is what was read, typed; None when the producer failed. With faults
    and `seen` both set, a part of the calls failed and the rest is true.
    """

    key: ProducerKey
    at_seconds: float  # Unix time at the end
    monotonic_seconds: float  # same moment, for ages
    took_seconds: float
    interval_seconds: float  # the interval in force: three of them and this is too old
    seen: Any = None
    readings: tuple[Reading, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def complete(self) -> bool:
        """Every part answered."""
        return self.seen is not None and not self.faults
