"""The ClusterView: collections → shards → replicas, as all peers' newest observations together show it.

What is live, readable, complete or in disagreement is a question to this structure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exporter.observe.sources.segments import SegmentsSeen, ShardSegmentsSeen
from exporter.observe.sources.telemetry import CollectionSeen, LocalSeen, ShardSeen, TelemetrySeen

# States in which the server itself reads from a replica.
READABLE = frozenset({"Active", "ActiveRead", "ReshardingScaleDown"})

# The state of every replica of a shard that resharding is filling: the server does not read from it yet.
RESHARDING = "Resharding"


@dataclass(frozen=True, slots=True)
class PeerView:
    """One watched peer: what is known of it, not older than three intervals."""

    label: str
    peer_id: int | None
    answering: bool  # its newest telemetry poll gave a readable answer
    refusing: bool  # that poll failed, but the server was there: a wrong key, a limit, an odd answer
    telemetry: TelemetrySeen
    segments: SegmentsSeen | None = None
    listed: bool = True  # the cluster lists it; one that was removed may run on and tell old news


@dataclass(frozen=True, slots=True)
class Membership:
    """Which peer ids are watched, under which label, and who was silent at the newest telemetry poll."""

    label_of: Mapping[int, str]
    silent: frozenset[str] = frozenset()

    def label(self, peer_id: int) -> str:
        """Return the label of a peer; one known only by its id is "id:<peer_id>"."""
        return self.label_of.get(peer_id, f"id:{peer_id}")


@dataclass(slots=True)
class ReplicaView:
    """One replica of a shard. `local` is None where its peer told nothing of it.

    `live`: readable, loaded and on an answering peer; None where nobody we watch can say.
    `usable`: its numbers may stand for the shard: readable, loaded, told of not long ago.
    Both are settled at construction: they are asked for again and again.
    """

    peer_id: int
    peer: str
    answering: bool
    state: str
    live: bool | None
    usable: bool
    local: LocalSeen | None = None
    segments: ShardSegmentsSeen | None = None


@dataclass(slots=True)
class ShardView:
    """One shard with its replicas, lowest peer id first.

    `chosen`: the replica whose numbers are the shard's, answering ones first, lowest peer id first.
    `live_count`: how many are live; None where an unwatched peer decides it.
    `unavailable`: whether none is live; None where an unwatched peer decides it.
    """

    shard: int
    replicas: list[ReplicaView]
    chosen: ReplicaView | None
    live_count: int | None
    unavailable: bool | None


def shard_view(shard: int, replicas: list[ReplicaView]) -> ShardView:
    """Settle what a shard is from its replicas, given lowest peer id first."""
    usable = [replica for replica in replicas if replica.usable]
    lives = [replica.live for replica in replicas]
    undecided = None in lives  # a shard without any replica was lost with its last peer
    return ShardView(
        shard,
        replicas,
        chosen=next((replica for replica in usable if replica.answering), usable[0] if usable else None),
        live_count=None if undecided else lives.count(True),
        unavailable=False if True in lives else None if undecided else True,
    )


@dataclass(slots=True)
class CollectionView:
    """One collection over all its peers."""

    name: str
    replication_factor: int
    indexing_enabled: bool
    transfers: int
    shards: list[ShardView]
    building: list[ShardView]  # made by resharding and not in use yet: nobody reads from them
    disagreeing_shards: int  # shards whose replica states two answering peers tell differently

    def replicas(self) -> Iterator[tuple[ShardView, ReplicaView]]:
        """Yield every replica with its shard."""
        for shard in self.shards:
            for replica in shard.replicas:
                yield shard, replica


def authority(peers: Sequence[PeerView]) -> PeerView | None:
    """The peer whose word on replica states counts: answering, listed by the cluster, in touch with a
    leader, then highest (term, commit).

    Else a peer that was removed, or cut off and standing for election in ever higher terms, would win.
    """
    return max(
        peers,
        key=lambda peer: (
            peer.answering,
            peer.listed,
            peer.telemetry.settled,
            peer.telemetry.term,
            peer.telemetry.commit,
            _lowest_first(peer),
        ),
        default=None,
    )


def _lowest_first(peer: PeerView) -> int:
    return -(peer.peer_id or 0)


def collection_view(
    told: CollectionSeen, peers: Sequence[PeerView], membership: Membership
) -> CollectionView:
    """Join what every peer tells of the collection that the authority calls `told`."""
    local_shards = {peer.label: _shards_of(peer, told.name) for peer in peers}
    by_id = {peer.peer_id: peer for peer in peers if peer.peer_id is not None}
    newest_commit = max((peer.telemetry.commit for peer in peers), default=0)
    shards: list[ShardView] = []
    building: list[ShardView] = []
    disagreeing = 0
    for shard in told.shards:
        told_of = Told(told.name, peers, by_id, local_shards, newest_commit)
        view = _shard_view(shard, told_of, membership)
        (building if _is_building(shard) else shards).append(view)
        disagreeing += _disagrees(shard, peers, local_shards)
    return CollectionView(
        name=told.name,
        replication_factor=told.replication_factor,
        indexing_enabled=told.indexing_threshold_kb != 0,
        transfers=told.transfers,
        shards=shards,
        building=building,
        disagreeing_shards=disagreeing,
    )


def _shards_of(peer: PeerView, collection: str) -> Mapping[int, ShardSeen]:
    seen = peer.telemetry.collections.get(collection)
    return {} if seen is None else {shard.shard: shard for shard in seen.shards}


def _is_building(shard: ShardSeen) -> bool:
    return bool(shard.states) and all(state == RESHARDING for state in shard.states.values())


class Told(NamedTuple):
    """What all peers told of one collection."""

    collection: str
    peers: Sequence[PeerView]
    by_id: Mapping[int, PeerView]
    local_shards: Mapping[str, Mapping[int, ShardSeen]]
    newest_commit: int


def _shard_view(shard: ShardSeen, told: Told, membership: Membership) -> ShardView:
    replicas = []
    for peer_id in sorted(shard.states):
        peer = told.by_id.get(peer_id)
        if peer is None and len(told.peers) == 1 and told.peers[0].telemetry.clustered is False:
            peer = told.peers[0]  # a standalone server's shard lists an id that nothing else there tells
        state = shard.states[peer_id]
        if peer is None:
            replicas.append(_untold(peer_id, state, membership))
        else:
            replicas.append(_told(peer_id, state, peer, shard, told))
    return shard_view(shard.shard, replicas)


def _told(peer_id: int, state: str, peer: PeerView, shard: ShardSeen, told: Told) -> ReplicaView:
    own = told.local_shards[peer.label].get(shard.shard)
    # a shard that its own peer does not list as a replica is left-over data: never counted
    local = own.local if own is not None and peer_id in own.states else None
    usable = state in READABLE and local is not None and local.loaded
    live: bool | None = usable and peer.answering
    unknown = peer.refusing or (local is None and peer.answering and _is_behind(peer, told))
    if unknown and state in READABLE:
        live = None
    segments = None if local is None else _segments_of(peer, told.collection, shard.shard)
    return ReplicaView(peer_id, peer.label, peer.answering, state, live, usable, local, segments)


def _is_behind(peer: PeerView, told: Told) -> bool:
    """The peer's telemetry is older than the news of this collection, or does not read: it says nothing.

    Peers are polled one after another; a new collection or a moved shard reaches them meanwhile.
    """
    return peer.telemetry.commit < told.newest_commit or told.collection not in peer.telemetry.collections


def _untold(peer_id: int, state: str, membership: Membership) -> ReplicaView:
    """A replica whose peer told nothing: not live if that was silent, undecided if nobody asked it yet."""
    label = membership.label(peer_id)
    live = False if label in membership.silent or state not in READABLE else None
    return ReplicaView(peer_id, label, False, state, live, False)


def _segments_of(peer: PeerView, collection: str, shard: int) -> ShardSegmentsSeen | None:
    if peer.segments is None or peer.segments.process_id != peer.telemetry.process_id:
        return None  # from before a restart
    return peer.segments.shards.get(collection, {}).get(shard)


def _disagrees(
    shard: ShardSeen, peers: Sequence[PeerView], local_shards: Mapping[str, Mapping[int, ShardSeen]]
) -> bool:
    for peer in peers:
        other = local_shards[peer.label].get(shard.shard)
        if peer.answering and other is not None and other.states != shard.states:
            return True
    return False
