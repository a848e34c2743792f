"""What the write canary measured, as readings, and the specs of these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from exporter.model import CLUSTER_LABEL, PROBED, Histogram, Kind, MetricSpec, Reading, Tally
from exporter.observe.probes.book import BOUNDS_SECONDS, INTERVAL, PROBES, SKIPPED
from exporter.observe.probes.reasons import Skip
from exporter.qdrant.canary import CANARY_COLLECTION


class Phase(StrEnum):
    """The steps of a round."""

    PREPARE = "prepare"  # the collection and its keys are made; only its failures are told
    WRITE = "write"  # until the server accepts the point
    RETRIEVE = "retrieve"  # until every peer returns it by id
    SEARCH = "search"  # until every peer finds it
    COUNT = "count"  # until every peer counts it
    GONE = "gone"  # from its deletion until no peer shows it any more


CANARY = "canary"  # the label `probe`
SKIPS = (Skip.BUDGET, Skip.CONCURRENCY, Skip.BACKOFF, Skip.LATE)
TIMED = (Phase.WRITE, Phase.RETRIEVE, Phase.SEARCH, Phase.COUNT, Phase.GONE)

LABELS = (CLUSTER_LABEL, "peer", "phase")
VISIBLE = Histogram(
    MetricSpec(
        "qdrantx_canary_visible_seconds",
        Kind.HISTOGRAM,
        "Time from sending a point to a peer until it is accepted (write), and until every peer that is up "
        "returns it by id, finds it and counts it; gone: from its deletion until none does; as finely as it "
        "is looked for: after 5, 10, 20 ms and so on, then every 250 ms",
        "seconds",
        PROBED,
        LABELS,
    ),
    bounds=BOUNDS_SECONDS,
)
FAILURES = MetricSpec(
    "qdrantx_canary_failures_total",
    Kind.COUNTER,
    "Rounds in which a step failed or was not done by the deadline; the peer is the one that did not answer, "
    "else the one written through; prepare: the collection cannot be made, which needs a key that may manage",
    "rounds",
    PROBED,
    LABELS,
)
SPECS = (VISIBLE.spec, FAILURES)


class CanaryBook:
    """What was measured through each peer."""

    def __init__(self) -> None:
        self.rounds = 0
        self._skips = dict.fromkeys(SKIPS, 0)
        self._times: dict[tuple[str, Phase], Tally] = {}
        self._failures: dict[tuple[str, Phase], int] = {}

    def keep(self, peers: Iterable[str]) -> None:
        """Tell of just these peers, every step from 0."""
        kept = set(peers)
        self._times = {key: tally for key, tally in self._times.items() if key[0] in kept}
        self._failures = {key: count for key, count in self._failures.items() if key[0] in kept}
        for peer in kept:
            for phase in TIMED:
                self._times.setdefault((peer, phase), Tally(VISIBLE))
            for phase in Phase:
                self._failures.setdefault((peer, phase), 0)

    def took(self, peer: str, phase: Phase, seconds: float) -> None:
        """Take in a step that was done."""
        if (peer, phase) in self._times:  # else the peer was dropped meanwhile
            self._times[peer, phase].add(seconds)

    def failed(self, peer: str, phase: Phase) -> None:
        """Count a round in which a step failed."""
        if (peer, phase) in self._failures:
            self._failures[peer, phase] += 1

    def skipped(self, reason: Skip, times: int = 1) -> None:
        """Count rounds that were due and did not run."""
        self._skips[reason] += times

    def readings(self, cluster: str, interval_seconds: float) -> Iterator[Reading]:
        """Yield all of it; `interval_seconds` is the one in force."""
        labels = (cluster, CANARY_COLLECTION, CANARY)
        yield Reading(PROBES, labels, float(self.rounds))
        yield Reading(INTERVAL, labels, interval_seconds)
        for skip, count in self._skips.items():
            yield Reading(SKIPPED, (*labels, skip.value), float(count))
        for (peer, phase), tally in self._times.items():
            yield from tally.readings((cluster, peer, phase.value))
        for (peer, phase), count in self._failures.items():
            yield Reading(FAILURES, (cluster, peer, phase.value), float(count))
