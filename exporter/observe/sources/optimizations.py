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
        busy = frozenset(ask.busy_collections)
        idle = {name: 0 for name in ask.collections if name not in busy}
        if busy and ask.unreachable_through:
            return Learnt(OptimizationsSeen(idle), faults=(held_back(ENDPOINT, ask),))

        async def queued(collection: str) -> int:
            path = f"/collections/{quote_segment(collection)}/optimizations"
            answer = await ask.gateway.get(
                path, endpoint=ENDPOINT, deadline_seconds=ask.fanout_deadline_seconds
            )
            return read(answer.body)

        swept = await sweep(ask.busy_collections, queued)
        return Learnt(OptimizationsSeen(idle | swept.answers), faults=swept.faults)


def read(body: bytes) -> int:
    """Return the points queued for an optimizer. Raises BadPayload."""
    return result(body, CollectionOptimizations, ENDPOINT).summary.queued_points


def held_back(endpoint: str, ask: Ask) -> Fault:
    """The fault of calls not made, because the server would have to ask a peer that is down."""
    return Fault(FaultKind.UNREACHABLE, endpoint, f"not asked: {ask.unreachable_through}")
