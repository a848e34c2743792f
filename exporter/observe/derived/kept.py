"""Readings of collections as last derived: what did not change since is not derived again.

Most collections of a large deployment are idle between two polls. The sources hand out the
very same objects for what the server said again in the same bytes, so identity tells.
Of a yellow collection it is also kept since when nothing in it moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporter.model import Reading
from exporter.observe.derived import collections, replicas
from exporter.observe.derived.collections import STANDSTILL_SECONDS, Beside
from exporter.observe.derived.consensus import Joined
from exporter.observe.derived.view import CollectionView, PeerView, collection_view
from exporter.observe.sources.optimizations import ProgressSeen
from exporter.observe.sources.telemetry import CollectionSeen
from exporter.qdrant.payloads import Usage


@dataclass(frozen=True, slots=True)
class Looks:
    """When the cluster was looked at, on the monotonic clock, and what was seen of running optimizations.

    `until_seconds`: nothing in force is older, so what did not change by then had not changed then.
    """

    now_seconds: float
    until_seconds: float
    running: Mapping[str, tuple[ProgressSeen, ...]]


class _Told(NamedTuple):
    """What one collection is derived from."""

    objects: tuple[Any, ...]  # compared by identity; held, so that no other takes their place
    usage: Usage | None
    queued_points: int | None
    snapshots_running: int | None
    running: tuple[ProgressSeen, ...] | None

    def is_as(self, other: _Told) -> bool:
        """Whether the same would be derived from both."""
        return self[1:] == other[1:] and _same(self.objects, other.objects)


class _Stand(NamedTuple):
    """A yellow collection's work, and when it was first seen as it is."""

    work: tuple[Any, ...] | None
    since_seconds: float

    def is_still(self, looks: Looks) -> bool:
        """Whether nothing moved for so long that an optimizer would have moved something."""
        return self.work is not None and looks.until_seconds - self.since_seconds >= STANDSTILL_SECONDS


# Of a collection of which no standstill can be told: one object for thousands.
NO_STAND = _Stand(None, 0.0)


@dataclass(frozen=True, slots=True)
class _Kept:
    told: _Told
    stand: _Stand
    is_still: bool
    readings: tuple[Reading, ...]
    busy: bool
    fields_dropped: int
    disagreeing_shards: int

    def holds(self, told: _Told, looks: Looks) -> bool:
        """Whether nothing changed, and no time went by that changes what is to be said."""
        return self.told.is_as(told) and self.stand.is_still(looks) == self.is_still


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

    def refresh(
        self, selected: Sequence[str], told: Mapping[str, CollectionSeen], joined: Joined, looks: Looks
    ) -> None:
        """Derive again what changed. `told`: each collection as the peer tells it whose word counts."""
        parts = [part for peer in joined.peers for part in (peer.telemetry, peer.segments)]
        inputs = (selected, joined.usage, joined.queued, looks.running, *parts)
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
        kept: dict[str, _Kept] = {}
        for name in selected:
            before = self._kept.get(name)
            told_now = _told(told[name], joined, looks)
            if unchanged and before is not None and before.holds(told_now, looks):
                kept[name] = before
            else:
                view = collection_view(told[name], joined.peers, joined.membership)
                stand = NO_STAND if before is None else before.stand
                kept[name] = self._derived(view, told_now, stand, looks)
        self._keep(kept)
        self._inputs, self._circumstances = inputs, circumstances

    def _keep(self, kept: dict[str, _Kept]) -> None:
        self._kept = kept
        self.busy = tuple(name for name, one in kept.items() if one.busy)
        self.fields_dropped = sum(one.fields_dropped for one in kept.values())
        self.disagreeing_shards = sum(one.disagreeing_shards for one in kept.values())

    def _derived(self, view: CollectionView, told: _Told, before: _Stand, looks: Looks) -> _Kept:
        standing = collections.standing_of(view)
        work = work_of(view, told) if standing.worst == "yellow" else None
        stand = NO_STAND
        if work is not None:
            stand = before if before.work == work else _Stand(work, looks.now_seconds)
        is_still = stand.is_still(looks)
        beside = Beside(told.usage, told.queued_points, told.snapshots_running, is_still)
        chosen = [one.segments for shard in view.shards if (one := shard.chosen) and one.segments]
        return _Kept(
            told,
            stand,
            is_still,
            (
                *collections.readings(view, self._cluster, beside, standing),
                *replicas.readings(view, self._cluster),
            ),
            busy=standing.worst != "green",
            fields_dropped=max(0, len(collections.index_points(chosen)) - collections.MAX_INDEXED_FIELDS),
            disagreeing_shards=view.disagreeing_shards,
        )


def _told(told: CollectionSeen, joined: Joined, looks: Looks) -> _Told:
    name = told.name
    usage = joined.usage.get(name)
    objects: list[Any] = [told, usage]
    for peer in joined.peers:
        objects.append(peer.telemetry.collections.get(name))
        objects.append(peer.segments.shards.get(name) if peer.segments else None)
    snapshots = snapshots_running(joined.peers, told)
    return _Told(tuple(objects), usage, joined.queued.get(name), snapshots, looks.running.get(name))


def work_of(view: CollectionView, told: _Told) -> tuple[Any, ...] | None:
    """Return all that moves while the optimizers of a yellow collection get on, to be compared.

    None where a snapshot or a transfer may be why it is yellow, and where an optimization runs that
    does not tell how far it has come: a long merge is no standstill.
    """
    replicas_seen = [replica for _, replica in view.replicas()]
    segments = [replica.segments for replica in replicas_seen if replica.segments is not None]
    runs = any(one.running for one in segments)
    progress = told.running or ()
    if told.snapshots_running or view.transfers or runs != bool(progress):
        return None
    if not all(one.done for one in progress):
        return None
    numbers = [(one.segments, one.indexed_vectors, one.deleted_points, one.lag_points) for one in segments]
    points = [replica.local.points for replica in replicas_seen if replica.local is not None]
    return (numbers, points, told.queued_points, progress)


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
