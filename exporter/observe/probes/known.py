"""What probes need to know of the cluster that is watched."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from exporter.observe.sources.segments import ShardSegmentsSeen
from exporter.observe.sources.telemetry import CollectionSeen
from exporter.qdrant.lanes import Lanes
from exporter.qdrant.versions import Version


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """A peer to search through. `up`: its newest telemetry poll answered; None before the first."""

    label: str
    up: bool | None
    version: Version | None
    peer_id: int | None  # None for a server without a cluster, and before it told
    lanes: Lanes
    writing: Lanes  # with a key that may write


class Known(Protocol):
    """What a prober asks of the cluster that is watched."""

    def news(self) -> int:
        """Return a number that grows whenever collections, their settings or peers may have changed."""
        ...

    def probe_targets(self) -> Sequence[ProbeTarget]:
        """Return the peers, always in the same order."""
        ...

    def peers_listed(self) -> frozenset[int] | None:
        """Return the ids of the peers that the cluster lists, empty for a server without a cluster.

        None as long as no peer has answered the question.
        """
        ...

    def collections_to_probe(self) -> Sequence[str]:
        """Return the names of the collections in force."""
        ...

    def collection_seen(self, name: str) -> CollectionSeen | None:
        """Return a collection's settings, None where no peer told them yet."""
        ...

    def points_of(self, name: str) -> float | None:
        """Return how many points it holds, None where that is unknown."""
        ...

    def state_of(self, name: str) -> Hashable | None:
        """Return what differs whenever a collection's data do; None where the servers do not tell."""
        ...

    def segments_of(self, name: str) -> Sequence[tuple[int, ShardSegmentsSeen]] | None:
        """Return the segments of every replica with its shard; None where one is unknown."""
        ...
