"""Readings of collections as last derived: what did not change since is not derived again.

Most collections of a large deployment are idle between two polls. The sources hand out the
very same objects for what the server said again in the same bytes, so identity tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.model import Reading
from exporter.observe.derived import collections, replicas
from exporter.observe.derived.collections import Beside
from exporter.observe.derived.consensus import Joined
from exporter.observe.derived.view import PeerView, collection_view
from exporter.observe.sources.telemetry import CollectionSeen


@dataclass(frozen=True, slots=True)
class _Kept:
    objects: tuple[Any, ...]  # compared by identity; held, so that no other takes their place
    numbers: tuple[int | None, ...]
    readings: tuple[Reading, ...]
    busy: bool
    fields_dropped: int
    disagreeing_shards: int


class KeptCollections:
    """The blocks of readings of one cluster's collections."""

    def __init__(self, *, cluster: str) -> None:
        self._cluster = cluster
        self._kept: dict[str, _Kept] = {}
        self._inputs: tuple[Any, ...] = ()
        self._circumstances: tuple[Any, ...] = ()
        self.busy: tuple[str, ...] = ()  # not green everywhere
        self.fields_dropped = 0
        self.disagreeing_shards = 0

    def blocks(self) -> dict[str, tuple[Reading, ...]]:
        """Return the readings of each collection, by name; an unchanged block is the same object."""
        return {name: kept.readings for name, kept in self._kept.items()}

    def clear(self) -> None:
        """Nothing is known of any collection."""
        self._inputs = ()
        self._keep({})

    def refresh(self, selected: Sequence[str], told: Mapping[str, CollectionSeen], joined: Joined) -> None:
        """Derive again what changed. `told`: each collection as the peer tells it whose word counts."""
        parts = [part for peer in joined.peers for part in (peer.telemetry, peer.segments)]
        inputs = (selected, joined.usage, joined.queued, *parts)
        # what concerns every collection alike: who is who, who answers
        circumstances = (
            tuple(
                (
                    peer.label,
                    peer.peer_id,
                    peer.answering,
                    peer.refusing,
                    peer.telemetry.commit,
                    _current(peer),
                )
                for peer in joined.peers
            ),
            tuple(joined.membership.label_of.items()),
            joined.membership.silent,
        )
        unchanged = circumstances == self._circumstances
        if unchanged and _same(inputs, self._inputs):
            return
        kept = self._kept if unchanged else {}
        self._keep({name: self._derived(told[name], kept.get(name), joined) for name in selected})
        self._inputs, self._circumstances = inputs, circumstances

    def _keep(self, kept: dict[str, _Kept]) -> None:
        self._kept = kept
        self.busy = tuple(name for name, one in kept.items() if one.busy)
        self.fields_dropped = sum(one.fields_dropped for one in kept.values())
        self.disagreeing_shards = sum(one.disagreeing_shards for one in kept.values())

    def _derived(self, told: CollectionSeen, kept: _Kept | None, joined: Joined) -> _Kept:
        name = told.name
        usage = joined.usage.get(name)
        objects: list[Any] = [told, usage]
        for peer in joined.peers:
            objects.append(peer.telemetry.collections.get(name))
            objects.append(peer.segments.shards.get(name) if peer.segments else None)
        numbers = (joined.queued.get(name), snapshots_running(joined.peers, told))
        if kept is not None and kept.numbers == numbers and _same(kept.objects, objects):
            return kept
        view = collection_view(told, joined.peers, joined.membership)
        beside = Beside(usage, *numbers)
        standing = collections.standing_of(view)
        chosen = [one.segments for shard in view.shards if (one := shard.chosen) and one.segments]
        return _Kept(
            tuple(objects),
            numbers,
            (
                *collections.readings(view, self._cluster, beside, standing),
                *replicas.readings(view, self._cluster),
            ),
            busy=standing.worst != "green",
            fields_dropped=max(0, len(collections.index_points(chosen)) - collections.MAX_INDEXED_FIELDS),
            disagreeing_shards=view.disagreeing_shards,
        )


def _current(peer: PeerView) -> bool:
    """The segments are of the process that now answers, not of the one before a restart."""
    return peer.segments is not None and peer.segments.process_id == peer.telemetry.process_id


def _same(these: Sequence[Any], those: Sequence[Any]) -> bool:
    return len(these) == len(those) and all(this is that for this, that in zip(these, those, strict=True))


def snapshots_running(peers: Sequence[PeerView], told: CollectionSeen) -> int | None:
    """Snapshots of a collection being made on any peer that holds a part of it.

    None where one of them is not known, or its server does not tell (before 1.16).
    """
    holders: set[int | None] = {peer_id for shard in told.shards for peer_id in shard.states}
    known = {peer.peer_id: peer.telemetry.snapshots_running for peer in peers}
    if len(peers) == 1 and peers[0].telemetry.clustered is False:
        holders = {peers[0].peer_id}  # a standalone server's shards list an id that it tells nowhere else
    total = 0
    for holder in holders:
        running = known.get(holder)
        if running is None:
            return None
        total += running.get(told.name, 0)
    return total if holders else None
