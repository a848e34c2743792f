"""GET /collections/{collection}/memory: RAM, page cache and disk, over all replicas.

The server asks every peer for it (1.4 ms of its time each), so one peer is asked for all, slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.model import MetricSpec
from exporter.observe.sources.contract import Ask, Learnt, Pace, Reach
from exporter.observe.sources.optimizations import held_back
from exporter.observe.sources.sweep import sweep
from exporter.qdrant.door import quote_segment
from exporter.qdrant.payloads import CollectionMemory, Usage, result

ENDPOINT = "/collections/{collection}/memory"


@dataclass(frozen=True, slots=True)
class MemorySeen:
    """Usage in bytes by collection."""

    usage: Mapping[str, Usage]


class MemorySource:
    """Since 1.18. Not asked while a peer is down.

    The server then answers 500, also where a live replica exists.
    """

    name = "memory"
    pace = Pace.SLOW
    reach = Reach.CLUSTER
    specs: tuple[MetricSpec, ...] = ()

    async def poll(self, ask: Ask) -> Learnt:
        if ask.collections and ask.unreachable_through:
            return Learnt(MemorySeen({}), faults=(held_back(ENDPOINT, ask),))

        async def usage(collection: str) -> Usage:
            path = f"/collections/{quote_segment(collection)}/memory"
            answer = await ask.gateway.get(
                path, endpoint=ENDPOINT, deadline_seconds=ask.fanout_deadline_seconds
            )
            return read(answer.body)

        swept = await sweep(ask.collections, usage)
        return Learnt(MemorySeen(swept.answers), faults=swept.faults)


def read(body: bytes) -> Usage:
    """Return the usage of one collection, in bytes. Raises BadPayload."""
    return result(body, CollectionMemory, ENDPOINT).total
