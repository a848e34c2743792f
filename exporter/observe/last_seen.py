"""What the newest polls of a cluster's peers say, as its probes ask for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from exporter.model import Observation
from exporter.observe.derived.collections import POINTS
from exporter.observe.derived.deriver import Derived
from exporter.observe.polled import Polled
from exporter.observe.probes.known import ProbeTarget
from exporter.observe.sources.cluster import ClusterSeen
from exporter.observe.sources.segments import SegmentsSeen, ShardSegmentsSeen
from exporter.observe.sources.telemetry import CollectionSeen, TelemetrySeen


class LastSeen:
    """The last good telemetry and segments of each peer. Belongs to the event loop.

    `polled`: the targets in force, by label.
    """

    def __init__(self, *, polled: Callable[[], Mapping[str, Polled]]) -> None:
        self._polled = polled
        self._derived = Derived()
        self._selected: Sequence[str] = ()
        self._news = 0
        self._telemetry: dict[str, TelemetrySeen] = {}
        self._segments: dict[str, SegmentsSeen] = {}
        self._consensus: dict[str, ClusterSeen] = {}
        self._seen_anew: set[str] = set()  # peers whose segments came since the last whole round

    def heard(self, label: str, source: str, observation: Observation) -> bool:
        """Take in what a source of a peer learnt; true when all peers' segments are now seen anew."""
        if observation.seen is None:
            return False
        if source == "telemetry":
            self._telemetry[label] = observation.seen
            self._news += 1
        elif source == "cluster":
            self._consensus[label] = observation.seen
        if source != "segments":
            return False
        self._segments[label] = observation.seen
        self._seen_anew.add(label)
        if not self._seen_anew >= {up for up, _ in self._up()}:
            return False
        self._seen_anew.clear()
        return True

    def derived(self, derived: Derived) -> None:
        """Take in what was derived last."""
        self._derived = derived
        if derived.collections_known is None:
            return  # nobody tells: the collections known last are probed on, and fail
        if derived.selected is not self._selected:
            self._news += 1
        self._selected = derived.selected

    def forget(self, label: str) -> None:
        """A peer is polled no more."""
        self._news += 1
        self._telemetry.pop(label, None)
        self._segments.pop(label, None)
        self._consensus.pop(label, None)

    def news(self) -> int:
        """Return a number that grows whenever collections, their settings or peers may have changed."""
        return self._news

    def probe_targets(self) -> Sequence[ProbeTarget]:
        """Return the peers in configured order."""
        return [
            ProbeTarget(
                label,
                one.poller.up,
                version=None if seen is None else seen.version,
                peer_id=None if seen is None else seen.peer_id,
                lanes=one.lanes,
                writing=one.writing,
            )
            for label, one in self._polled().items()
            for seen in (self._telemetry.get(label),)
        ]

    def peers_listed(self) -> frozenset[int] | None:
        """Return the ids of the peers that the cluster lists, empty for a server without a cluster.

        None as long as no peer has answered the question.
        """
        if not self._consensus:
            return None
        lists = (frozenset(seen.peers) for seen in self._consensus.values() if seen.enabled)
        return frozenset().union(*lists)

    def collections_to_probe(self) -> Sequence[str]:
        """Return the collections in force, by name; those known last while no peer tells."""
        return self._selected

    def collection_seen(self, name: str) -> CollectionSeen | None:
        """Return a collection as the first peer that is up tells it, where none is as one told it last."""
        known = [seen for _, seen in self._up()] or list(self._telemetry.values())
        told = (seen.collections.get(name) for seen in known)
        return next((one for one in told if one is not None), None)

    def points_of(self, name: str) -> float | None:
        """Return the points of a collection, None where a shard has no replica that counts them."""
        readings = self._derived.blocks.get(f"collection:{name}", ())
        return next((one.value for one in readings if one.spec is POINTS), None)

    def state_of(self, name: str) -> Hashable | None:
        """Return every server process with the number of the last update to each of its shards, since 1.17.

        It is as old as the newest poll: an update since then is not in it.
        """
        state: list[Hashable] = []
        for label, seen in self._up():
            collection = seen.collections.get(name)
            for shard in () if collection is None else collection.shards:
                if shard.local is None:
                    continue
                if shard.local.operations is None:
                    return None
                state.append((label, seen.process_id, shard.shard, shard.local.operations))
        return tuple(state) if state else None

    def segments_of(self, name: str) -> Sequence[tuple[int, ShardSegmentsSeen]] | None:
        """Return the segments of every replica on peers that are up, with its shard.

        None where a peer has told none yet, or a shard lies on no peer that is watched.
        """
        replicas: list[tuple[int, ShardSegmentsSeen]] = []
        for label, _ in self._up():
            seen = self._segments.get(label)
            if seen is None:
                return None
            replicas += seen.shards.get(name, {}).items()
        told = self.collection_seen(name)
        shards = {shard.shard for shard in told.shards} if told is not None else set()
        return replicas if shards and shards == {shard for shard, _ in replicas} else None

    def _up(self) -> list[tuple[str, TelemetrySeen]]:
        return [
            (label, self._telemetry[label])
            for label, one in self._polled().items()
            if one.poller.up and label in self._telemetry
        ]
