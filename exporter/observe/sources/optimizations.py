"""GET /collections/{collection}/optimizations of what is busy: points still queued for an optimizer.

The server asks every peer for it and counts each replica, so one peer is asked for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.model import Fault, FaultKind, MetricSpec
from exporter.observe.sources.contract import Ask, Learnt, Pace, Reach
from exporter.observe.sources.sweep import sweep
from exporter.qdrant.door import quote_segment
from exporter.qdrant.payloads import CollectionOptimizations, result

ENDPOINT = "/collections/{collection}/optimizations"


@dataclass(frozen=True, slots=True)
class OptimizationsSeen:
    """Queued points by collection, summed over replicas; a collection that was not busy has 0."""

    queued_points: Mapping[str, int]


class OptimizationsSource:
    """Since 1.17. A collection that is green on every replica has nothing queued and is not asked."""

    name = "optimizations"
    pace = Pace.MEDIUM
    reach = Reach.CLUSTER
    specs: tuple[MetricSpec, ...] = ()

    async def poll(self, ask: Ask) -> Learnt:
        idle = dict.fromkeys(ask.collections, 0)
        if ask.busy_collections and ask.unreachable_through:
            for name in ask.busy_collections:
                del idle[name]
            return Learnt(OptimizationsSeen(idle), faults=(held_back(ENDPOINT, ask),))

        async def queued(collection: str) -> int:
            path = f"/collections/{quote_segment(collection)}/optimizations"
            answer = await ask.gateway.get(
                path, endpoint=ENDPOINT, deadline_seconds=ask.fanout_deadline_seconds
            )
            return result(answer.body, CollectionOptimizations, ENDPOINT).summary.queued_points

        swept = await sweep(ask.busy_collections, queued)
        known = {name: 0 for name in idle if name not in set(ask.busy_collections)}
        return Learnt(OptimizationsSeen(known | swept.answers), faults=swept.faults)


def held_back(endpoint: str, ask: Ask) -> Fault:
    """The fault of calls not made, because the server would have to ask a peer that is down."""
    return Fault(FaultKind.UNREACHABLE, endpoint, f"not asked: {ask.unreachable_through}")
