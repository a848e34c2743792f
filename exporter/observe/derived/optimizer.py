"""Optimizer runs counted from the servers' logs, each run once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.model import CLUSTER_LABEL, Kind, MetricSpec, Reading
from exporter.observe.sources.segments import SegmentsSeen, ShardSegmentsSeen

OUTCOMES = ("done", "cancelled", "error")

RUNS = MetricSpec(
    "qdrantx_optimizer_runs_total",
    Kind.COUNTER,
    "Optimizations that ended since this daemon first saw the peer, by outcome; cancelled: a change of "
    "the collection's settings stopped it",
    "runs",
    "GET /telemetry?details_level=4",
    (CLUSTER_LABEL, "collection", "peer", "optimizer", "outcome"),
)
SPECS = (RUNS,)


NO_RUNS: frozenset[str] = frozenset()  # one for all: each of its own takes 216 bytes


class RunCounts:
    """Runs of one peer. The server keeps the last 16 a shard, so each look is compared with the last.

    What the log held when the daemon first saw the peer was before its time and is not
    counted; a collection that appears later is counted from its first run.
    """

    def __init__(self) -> None:
        self._first_look = True
        self._seen: dict[tuple[str, int], frozenset[str]] = {}
        self._counts: dict[str, dict[tuple[str, str], int]] = {}

    def look(self, seen: SegmentsSeen) -> frozenset[str]:
        """Take in one look at the log and return the collections whose counts changed."""
        odd = frozenset(seen.unreadable)  # nothing new is known of these, so nothing of them is dropped
        changed = {name for name in self._counts if name not in seen.shards and name not in odd}
        for gone in changed:
            del self._counts[gone]
        known = {key: runs for key, runs in self._seen.items() if key[0] in odd}
        for collection, shards in seen.shards.items():
            counts = self._counts.setdefault(collection, {})
            for shard_id, shard in shards.items():
                key = (collection, shard_id)
                before = self._seen.get(key, NO_RUNS)
                known[key] = frozenset(run.key for run in shard.runs) if shard.runs else NO_RUNS
                if self._count(counts, shard, before):
                    changed.add(collection)
        self._seen = known
        self._first_look = False
        return frozenset(changed)

    def _count(
        self, counts: dict[tuple[str, str], int], shard: ShardSegmentsSeen, before: frozenset[str]
    ) -> bool:
        new = [run for run in shard.runs if run.key not in before]
        for run in new:
            for outcome in OUTCOMES:
                counts.setdefault((run.optimizer, outcome), 0)
            if not self._first_look:
                counts[(run.optimizer, run.outcome)] += 1
        return bool(new)

    def counts(self, collection: str) -> Mapping[tuple[str, str], int]:
        """Return the runs of a collection by (optimizer, outcome)."""
        return self._counts.get(collection, {})

    def readings(self, cluster: str, peer: str, collection: str) -> Iterator[Reading]:
        """Yield the counters of one collection on this peer."""
        for (optimizer, outcome), count in self.counts(collection).items():
            yield Reading(RUNS, (cluster, collection, peer, optimizer, outcome), float(count))
