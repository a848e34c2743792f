"""The words of the house: what is declared, read, at fault and observed.

No I/O and no third-party import belongs here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

# Every per-cluster metric starts with this label; `cluster` itself belongs to Prometheus users.
CLUSTER_LABEL = "qdrant_cluster"


# Values of MetricSpec.source for numbers that no poll brought.
OURS = "this daemon"
PROBED = "measured by probes of this daemon"


class Kind(StrEnum):
    """A Prometheus metric type."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


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
    source: str  # the endpoint the number comes from, OURS or PROBED
    labels: tuple[str, ...] = (CLUSTER_LABEL,)
    scope: Scope = Scope.NONE
    evidence: Evidence = Evidence.SEEN
    part: str = ""  # of a histogram's series: "_bucket", "_sum" or "_count"; see Histogram

    @property
    def series_name(self) -> str:
        """The name in front of a series' labels: the metric's own, or that of a part of a histogram."""
        return self.name + self.part

    @property
    def help(self) -> str:
        """The HELP text: what, unit, source endpoint, that it is polled, logical or physical."""
        scope = f", {self.scope}" if self.scope else ""
        polled = "" if self.source in (OURS, PROBED) else "polled from "
        return f"{self.what} ({self.unit}{scope}; {polled}{self.source})."


class Reading(NamedTuple):
    """One value of one MetricSpec. `labels` are values in the order of `spec.labels`."""

    spec: MetricSpec
    labels: tuple[str, ...]
    value: float


class Histogram:
    """A metric of kind histogram and the specs of its three parts, as one family of series.

    `bounds` are the upper bounds of its buckets in the metric's unit, ascending, without +Inf.
    """

    def __init__(self, spec: MetricSpec, *, bounds: tuple[float, ...]) -> None:
        self.spec = spec
        self.bounds = bounds
        self.bucket = replace(spec, part="_bucket", labels=(*spec.labels, "le"))
        self.sum = replace(spec, part="_sum")
        self.count = replace(spec, part="_count")
        self.edges = (*(f"{bound:g}" for bound in bounds), "+Inf")  # values of the label `le`


class Tally:
    """What one series of a histogram has counted since the start."""

    __slots__ = ("_bucket_labels", "_counts", "_histogram", "_labels", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._counts = [0] * len(histogram.edges)
        self._sum = 0.0
        self._labels: tuple[str, ...] = ()  # of the newest readings; made once, they are many
        self._bucket_labels: tuple[tuple[str, ...], ...] = ()

    def add(self, value: float) -> None:
        """Count one value into the bucket whose upper bound it does not exceed."""
        self._counts[bisect_left(self._histogram.bounds, value)] += 1
        self._sum += value

    def readings(self, labels: tuple[str, ...]) -> Iterator[Reading]:
        """Yield the buckets, each with all below it, then sum and count."""
        histogram, total = self._histogram, 0
        if labels != self._labels or not self._bucket_labels:
            self._labels = labels
            self._bucket_labels = tuple((*labels, edge) for edge in histogram.edges)
        for with_edge, count in zip(self._bucket_labels, self._counts, strict=True):
            total += count
            yield Reading(histogram.bucket, with_edge, float(total))
        yield Reading(histogram.sum, self._labels, self._sum)
        yield Reading(histogram.count, self._labels, float(total))


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
