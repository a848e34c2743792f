"""The error ratio of each peer's data routes, over a window of its own counters."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from exporter.model import Kind, MetricSpec, Observation, Reading
from exporter.observe.sources.contract import PEER_LABELS
from exporter.observe.sources.telemetry import TelemetrySeen
from exporter.observe.sources.traffic import BAD_CLASSES, SOURCE, UNKNOWN_GRPC, Traffic

# Five minutes: short enough that an outage shows within the two minutes of its rule at 15 s polls,
# long enough that one slow minute of a quiet service has company.
WINDOW_SECONDS = 300.0

# Telemetry is polled once a minute at the slowest: so much longer than said may the window be.
LONGEST_GAP_SECONDS = 60.0

# Below so many requests in the window one failure would be 5 % and more: no ratio is told.
MIN_REQUESTS = 20

ERROR_RATIO = MetricSpec(
    "qdrantx_error_ratio",
    Kind.GAUGE,
    f"Requests to data routes that ended in a server error or timeout, over all of the last "
    f"{WINDOW_SECONDS / 60:.0f} minutes, our probes among them; absent under {MIN_REQUESTS} requests, and "
    "for gRPC before 1.17",
    "ratio 0-1",
    SOURCE,
    (*PEER_LABELS, "protocol"),
)
SPECS = (ERROR_RATIO,)


class ErrorWindow:
    """One peer's counters of the last five minutes, by protocol. A restart of the server starts anew."""

    def __init__(self) -> None:
        self._process_id = ""
        self._looks: deque[tuple[float, dict[str, tuple[int, int]]]] = deque()

    def look(self, telemetry: Observation) -> None:
        """Take in one poll. What was counted before a restart is not compared with what came after."""
        seen: TelemetrySeen = telemetry.seen
        now = telemetry.monotonic_seconds
        if seen.process_id != self._process_id:
            self._looks.clear()
            started = seen.started_at_seconds
            if started is not None and telemetry.at_seconds - started <= WINDOW_SECONDS:
                # a new process counts from 0, and all it counted lies within the window
                self._looks.append((now - (telemetry.at_seconds - started), {}))
            self._process_id = seen.process_id
        self._looks.append((now, totals(seen.traffic)))
        while len(self._looks) > 2 and self._looks[1][0] <= now - WINDOW_SECONDS:
            self._looks.popleft()
        # after an outage the last look before it is no beginning of five minutes
        while self._looks[0][0] < now - WINDOW_SECONDS - LONGEST_GAP_SECONDS:
            self._looks.popleft()

    def ratios(self) -> dict[str, float]:
        """Return failed over all by protocol, where enough requests were made in the window."""
        if len(self._looks) < 2:
            return {}
        first, last = self._looks[0][1], self._looks[-1][1]
        ratios = {}
        for protocol, (requests, failed) in last.items():
            requests_before, failed_before = first.get(protocol, (0, 0))
            made = requests - requests_before
            if made >= MIN_REQUESTS:
                ratios[protocol] = (failed - failed_before) / made
        return ratios

    def readings(self, cluster: str, peer: str) -> Iterator[Reading]:
        """Yield the ratios in force."""
        for protocol, ratio in self.ratios().items():
            yield Reading(ERROR_RATIO, (cluster, peer, protocol), ratio)


def totals(traffic: Sequence[Traffic]) -> dict[str, tuple[int, int]]:
    """Return (requests, failed) by protocol; a protocol whose failures cannot be told is left out."""
    sums: dict[str, tuple[int, int]] = {}
    blind = {one.protocol for one in traffic if one.outcome == UNKNOWN_GRPC}
    for one in traffic:
        if one.protocol not in blind:
            requests, failed = sums.get(one.protocol, (0, 0))
            bad = one.count if one.outcome in BAD_CLASSES else 0
            sums[one.protocol] = (requests + one.count, failed + bad)
    return sums
