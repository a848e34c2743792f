"""GET /collections/{collection}/optimizations of what is busy: points still queued for an optimizer, and
how far those that run have come.

The server asks every peer for it and counts each replica, so one peer is asked for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from exporter.model import Fault, FaultKind, MetricSpec
from exporter.observe.sources.contract import Ask, Learnt, Pace, Reach
from exporter.observe.sources.sweep import sweep
from exporter.qdrant.door import quote_segment
from exporter.qdrant.payloads import CollectionOptimizations, OptimizationStep, result

ENDPOINT = "/collections/{collection}/optimizations"


class ProgressSeen(NamedTuple):
    """How far a running optimization has come: what is done of each step under way, by its start.

    Empty where no step under way tells: of the steps seen only the building of a graph counts its points.
    """

    uuid: str
    done: tuple[tuple[str, int], ...]


class QueueSeen(NamedTuple):
    """What one collection's optimizers have before them, over all replicas."""

    queued_points: int
    running: tuple[ProgressSeen, ...] = ()


@dataclass(frozen=True, slots=True)
class OptimizationsSeen:
    """By collection; one that was not busy has nothing queued and nothing running."""

    queued_points: Mapping[str, int]
    running: Mapping[str, tuple[ProgressSeen, ...]]


class OptimizationsSource:
    """Since 1.17. A collection that is green on every replica has nothing queued and is not asked."""

    name = "optimizations"
    pace = Pace.MEDIUM
    reach = Reach.CLUSTER
    specs: tuple[MetricSpec, ...] = ()

    async def poll(self, ask: Ask) -> Learnt:
        busy = frozenset(ask.busy_collections)
        idle = {name: IDLE for name in ask.collections if name not in busy}
        if busy and ask.unreachable_through:
            return Learnt(seen_of(idle), faults=(held_back(ENDPOINT, ask),))

        async def queue(collection: str) -> QueueSeen:
            path = f"/collections/{quote_segment(collection)}/optimizations"
            answer = await ask.gateway.get(
                path, endpoint=ENDPOINT, deadline_seconds=ask.fanout_deadline_seconds
            )
            return read(answer.body)

        swept = await sweep(ask.busy_collections, queue)
        return Learnt(seen_of(idle | swept.answers), faults=swept.faults)


IDLE = QueueSeen(0)


def seen_of(queues: Mapping[str, QueueSeen]) -> OptimizationsSeen:
    """Lay the collections' answers out by what is told."""
    return OptimizationsSeen(
        {name: queue.queued_points for name, queue in queues.items()},
        {name: queue.running for name, queue in queues.items()},
    )


def read(body: bytes) -> QueueSeen:
    """Return the points queued for an optimizer and the progress of those that run. Raises BadPayload."""
    told = result(body, CollectionOptimizations, ENDPOINT)
    running = sorted(
        ProgressSeen(one.uuid, tuple(under_way(one.progress)) if one.progress else ()) for one in told.running
    )
    return QueueSeen(told.summary.queued_points, tuple(running))


def under_way(step: OptimizationStep) -> Iterator[tuple[str, int]]:
    """Yield the start of each step that is under way and tells how much is done, with how much that is."""
    if step.started_at is None or step.finished_at is not None:
        return
    if step.done is not None:
        yield step.started_at, step.done
    for child in step.children:
        yield from under_way(child)


def held_back(endpoint: str, ask: Ask) -> Fault:
    """The fault of calls not made, because the server would have to ask a peer that is down."""
    return Fault(FaultKind.UNREACHABLE, endpoint, f"not asked: {ask.unreachable_through}")
