"""What the probes of one collection have measured, as readings, and the specs of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.model import CLUSTER_LABEL, OURS, PROBED, Histogram, Kind, MetricSpec, Reading, Tally
from exporter.observe.probes.reasons import RECALL_SKIPS, SEARCH_SKIPS, Failure, Skip
from exporter.observe.probes.windows import Window, percentile

SEARCH, RECALL = "search", "recall"
LABELS = (CLUSTER_LABEL, "collection", "probe")
VECTOR_LABELS = (CLUSTER_LABEL, "collection", "vector")

# From a search in a warm small collection, under 1 ms, to beyond any deadline that users bear.
BOUNDS_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

# Ten minutes: an outage shows at once, and a p95 of a probe a minute still means the last ten.
WINDOW_SECONDS = 600.0
# A p95 of fewer than 20 samples is their maximum, a p99 of fewer than 100 as well.
MIN_SAMPLES_P95 = 20
MIN_SAMPLES_P99 = 100
# Below so many probes one failure would be 25 % and more.
MIN_PROBES = 5
# One query in thirty is 3 %: fewer cannot tell 0.95 from 0.9.
MIN_RECALL_QUERIES = 30
# As many as an alert wants to see, whatever the interval.
LEAST_RECALL_QUERIES = 50
# As for polled readings: three intervals without a search, and what they said is old.
EXPIRY_INTERVALS = 3

_WINDOW_TEXT = "over 10 minutes, or the last {} samples where those are more"


def _probe(name: str, kind: Kind, what: str, unit: str, labels: tuple[str, ...] = LABELS) -> MetricSpec:
    return MetricSpec(f"qdrantx_{name}", kind, what, unit, PROBED, labels)


DURATION = Histogram(
    _probe(
        "probe_duration_seconds", Kind.HISTOGRAM,
        "Time of a search from sending it on an open connection to the last byte of the answer; "
        "a timeout counts with the whole time waited", "seconds",
    ),
    bounds=BOUNDS_SECONDS,
)  # fmt: skip
SERVER_TIME = Histogram(
    _probe(
        "probe_server_seconds", Kind.HISTOGRAM, "Time of a search as the server itself tells it", "seconds"
    ),
    bounds=BOUNDS_SECONDS,
)
PEER_DURATION = Histogram(
    _probe(
        "peer_probe_duration_seconds", Kind.HISTOGRAM,
        "Time of searches of all collections through a peer, as qdrantx_probe_duration_seconds", "seconds",
        (CLUSTER_LABEL, "peer", "probe"),
    ),
    bounds=BOUNDS_SECONDS,
)  # fmt: skip
P50 = _probe(
    "probe_latency_p50_seconds", Kind.GAUGE,
    f"Median of the searches' times, {_WINDOW_TEXT.format(MIN_SAMPLES_P95)}", "seconds",
)  # fmt: skip
P95 = _probe(
    "probe_latency_p95_seconds", Kind.GAUGE,
    f"95th percentile of the searches' times, exact, {_WINDOW_TEXT.format(MIN_SAMPLES_P95)}; absent under "
    f"{MIN_SAMPLES_P95}", "seconds",
)  # fmt: skip
P99 = _probe(
    "probe_latency_p99_seconds", Kind.GAUGE,
    f"99th percentile of the searches' times, exact, {_WINDOW_TEXT.format(MIN_SAMPLES_P99)}; absent under "
    f"{MIN_SAMPLES_P99}", "seconds",
)  # fmt: skip
SAMPLES = _probe("probe_window_samples", Kind.GAUGE, "Searches that p50 and p95 are made of", "searches")
PROBES = _probe("probes_total", Kind.COUNTER, "Probes that ran, failed ones included", "probes")
FAILURES = _probe(
    "probe_failures_total", Kind.COUNTER,
    "Probes that failed, by reason: timeout (no whole answer within our deadline, or 408), unreachable, auth "
    "(401, 403), rate_limited (429), not_found (404), server_error (5xx), bad_answer", "probes",
    (*LABELS, "reason"),
)  # fmt: skip
ERROR_RATIO = _probe(
    "probe_error_ratio", Kind.GAUGE,
    f"Failed probes over all that ran in the last 10 minutes; absent under {MIN_PROBES}", "ratio 0-1",
)  # fmt: skip
INTERVAL = MetricSpec(
    "qdrantx_probe_interval_seconds", Kind.GAUGE,
    "Interval in force; over the configured one where probes cost a peer more than their share of its time, "
    "or the collection's own rate limit wants it", "seconds", OURS, LABELS,
)  # fmt: skip
SKIPPED = MetricSpec(
    "qdrantx_probes_skipped_total", Kind.COUNTER,
    "Probes that were due and said nothing of the server: empty (nothing stored), budget and concurrency "
    "(ours are spent), backoff (after a 429), late (this daemon stood still), unsupported (strict mode), "
    "refused (400: the query does not fit), too_large and paused (exact searches)", "probes", OURS,
    (*LABELS, "reason"),
)  # fmt: skip
RECALL_RATIO = _probe(
    "recall_ratio", Kind.GAUGE,
    "Share of the points that an exact search finds which the same search finds through the index, at k = "
    f"limit, over the window or the last {LEAST_RECALL_QUERIES} queries where those are more; absent under "
    f"{MIN_RECALL_QUERIES}", "ratio 0-1", VECTOR_LABELS,
)  # fmt: skip
RECALL_QUERIES = _probe(
    "recall_window_queries", Kind.GAUGE, "Queries that the recall is made of", "queries", VECTOR_LABELS
)
RECALL_EXPECTED = _probe(
    "recall_expected_total", Kind.COUNTER, "Points that exact searches found", "points", VECTOR_LABELS
)
RECALL_MATCHED = _probe(
    "recall_matched_total", Kind.COUNTER, "Of those, points that the index found too", "points", VECTOR_LABELS
)
RECALL_PLAN = _probe(
    "recall_plan", Kind.GAUGE,
    "How the server likely answers the recall's searches, from segments and their search counts: hnsw, scan "
    "(every point is read, recall is 1), unknown (others search too); the one in force", "1",
    (*VECTOR_LABELS, "plan"),
)  # fmt: skip

SPECS = (
    DURATION.spec, SERVER_TIME.spec, PEER_DURATION.spec, P50, P95, P99, SAMPLES, PROBES, FAILURES,
    ERROR_RATIO, INTERVAL, SKIPPED, RECALL_RATIO, RECALL_QUERIES, RECALL_EXPECTED, RECALL_MATCHED,
    RECALL_PLAN,
)  # fmt: skip


class RunBook:
    """Runs, failures and skips of one probe of one collection."""

    def __init__(self, *, probe: str, skips: Sequence[Skip]) -> None:
        self.probe = probe
        self._runs = 0
        self._failures = dict.fromkeys(Failure, 0)
        self._skips = dict.fromkeys(skips, 0)
        self._outcomes = Window(seconds=WINDOW_SECONDS, least=0, columns=1)

    def ran(self, failure: Failure | None, now: float) -> None:
        """Count a run and how it ended."""
        self._runs += 1
        if failure is not None:
            self._failures[failure] += 1
        self._outcomes.add(now, float(failure is not None))

    def skipped(self, reason: Skip, times: int = 1) -> None:
        """Count what was due and did not run."""
        self._skips[reason] += times

    def readings(self, cluster: str, collection: str, interval: float, now: float) -> Iterator[Reading]:
        """Yield the counters, the interval in force in seconds and the error ratio."""
        labels = (cluster, collection, self.probe)
        yield Reading(PROBES, labels, float(self._runs))
        for failure, count in self._failures.items():
            yield Reading(FAILURES, (*labels, failure.value), float(count))
        for skip, count in self._skips.items():
            yield Reading(SKIPPED, (*labels, skip.value), float(count))
        yield Reading(INTERVAL, labels, interval)
        outcomes = self._outcomes.column(now)
        if len(outcomes) >= MIN_PROBES:
            yield Reading(ERROR_RATIO, labels, sum(outcomes) / len(outcomes))


class SearchBook:
    """What searches of one collection took."""

    def __init__(self) -> None:
        self.runs = RunBook(probe=SEARCH, skips=SEARCH_SKIPS)
        self._duration = Tally(DURATION)
        self._server_time = Tally(SERVER_TIME)
        self._times = Window(seconds=WINDOW_SECONDS, least=MIN_SAMPLES_P99, columns=1)

    def took(self, seconds: float, server_seconds: float | None, now: float) -> None:
        """Take in one search; `server_seconds` where the server told them."""
        self._duration.add(seconds)
        self._times.add(now, seconds)
        if server_seconds is not None:
            self._server_time.add(server_seconds)

    def slow_seconds(self, now: float) -> float | None:
        """What searches take now: the p95, the median where there are too few for it, None under five."""
        times = sorted(self._times.column(now, least=MIN_SAMPLES_P95))
        if len(times) < MIN_PROBES:
            return None
        return percentile(times, 0.95 if len(times) >= MIN_SAMPLES_P95 else 0.5)

    def readings(self, cluster: str, collection: str, interval: float, now: float) -> Iterator[Reading]:
        """Yield everything of this collection's searches; percentiles only while searches go on."""
        labels = (cluster, collection, SEARCH)
        yield from self._duration.readings(labels)
        yield from self._server_time.readings(labels)
        yield from self.runs.readings(cluster, collection, interval, now)
        newest = self._times.newest_seconds()
        if newest is None or now - newest > EXPIRY_INTERVALS * interval:
            return
        ordered = sorted(self._times.column(now, least=MIN_SAMPLES_P95))
        yield Reading(SAMPLES, labels, float(len(ordered)))
        yield Reading(P50, labels, percentile(ordered, 0.5))
        if len(ordered) >= MIN_SAMPLES_P95:
            yield Reading(P95, labels, percentile(ordered, 0.95))
        if self._times.count(now) >= MIN_SAMPLES_P99:
            yield Reading(P99, labels, percentile(sorted(self._times.column(now)), 0.99))


class RecallBook:
    """Recall of one collection, vector by vector. `window_seconds` as configured."""

    def __init__(self, *, window_seconds: float) -> None:
        self.runs = RunBook(probe=RECALL, skips=RECALL_SKIPS)
        self._window_seconds = window_seconds
        self._windows: dict[str, Window] = {}
        self._totals: dict[str, tuple[int, int]] = {}
        self.plans: dict[str, str] = {}

    def compared(self, vector: str, expected: int, matched: int, now: float) -> None:
        """Take in one query: points that an exact search found, and how many of them the index found."""
        window = self._windows.get(vector)
        if window is None:
            window = Window(seconds=self._window_seconds, least=LEAST_RECALL_QUERIES, columns=2)
            self._windows[vector] = window
        window.add(now, expected, matched)
        expected_before, matched_before = self._totals.get(vector, (0, 0))
        self._totals[vector] = (expected_before + expected, matched_before + matched)

    def readings(self, cluster: str, collection: str, interval: float, now: float) -> Iterator[Reading]:
        """Yield everything of this collection's recall; the ratio only while queries go on."""
        yield from self.runs.readings(cluster, collection, interval, now)
        for vector, (expected, matched) in self._totals.items():
            labels = (cluster, collection, vector)
            yield Reading(RECALL_EXPECTED, labels, float(expected))
            yield Reading(RECALL_MATCHED, labels, float(matched))
            window = self._windows[vector]
            newest = window.newest_seconds()
            # the vectors of a collection take turns
            patience = EXPIRY_INTERVALS * interval * len(self._totals)
            if newest is None or now - newest > patience:
                continue
            counts = window.column(now, 0)
            yield Reading(RECALL_QUERIES, labels, float(len(counts)))
            if len(counts) >= MIN_RECALL_QUERIES:
                yield Reading(RECALL_RATIO, labels, sum(window.column(now, 1)) / sum(counts))
            if vector in self.plans:
                yield Reading(RECALL_PLAN, (*labels, self.plans[vector]), 1.0)
