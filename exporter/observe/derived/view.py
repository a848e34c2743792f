"""The ClusterView: collections → shards → replicas, as all peers' newest observations together show it.

What is live, readable, complete or in disagreement is a question to this structure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.observe.sources.segments import SegmentsSeen, ShardSegmentsSeen
from exporter.observe.sources.telemetry import CollectionSeen, LocalSeen, ShardSeen, TelemetrySeen

# States in which the server itself reads from a replica.
READABLE = frozenset({"Active", "ActiveRead", "ReshardingScaleDown"})

STANDALONE_PEER_ID = 0  # where the server tells none: a single node has no other to mix it up with


@dataclass(frozen=True, slots=True)
class PeerView:
    """One watched peer: what is known of it, not older than three intervals."""

    label: str
    peer_id: int | None
    answering: bool  # its newest telemetry poll gave a readable answer
    telemetry: TelemetrySeen
    segments: SegmentsSeen | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """Which peer ids are watched, under which label."""

    label_of: Mapping[int, str]

    def label(self, peer_id: int) -> str:
        """Return the label of a peer; one known only by its id is "id:<peer_id>"."""
        return self.label_of.get(peer_id, f"id:{peer_id}")


@dataclass(slots=True)
class ReplicaView:
    """One replica of a shard. `local` is None where its peer told nothing of it."""

    peer_id: int
    peer: str
    watched: bool
    answering: bool
    state: str
    local: LocalSeen | None = None
    segments: ShardSegmentsSeen | None = None

    @property
    def live(self) -> bool | None:
        """Readable, loaded and on an answering peer; None where nobody we watch can say."""
        if self.state not in READABLE:
            return False
        if not self.watched:
            return None
        return self.answering and self.local is not None and self.local.loaded

    @property
    def usable(self) -> bool:
        """Its numbers may stand for the shard: readable, loaded, told of not long ago."""
        return self.state in READABLE and self.local is not None and self.local.loaded


@dataclass(slots=True)
class ShardView:
    """One shard with its replicas, lowest peer id first."""

    shard: int
    replicas: list[ReplicaView]

    def chosen(self) -> ReplicaView | None:
        """The replica whose numbers are the shard's: answering ones first, lowest peer id first."""
        usable = [replica for replica in self.replicas if replica.usable]
        return next((replica for replica in usable if replica.answering), usable[0] if usable else None)

    def live_count(self) -> int | None:
        """How many replicas are live; None where an unwatched peer decides it."""
        lives = [replica.live for replica in self.replicas]
        return None if None in lives else sum(1 for live in lives if live)

    def unavailable(self) -> bool | None:
        """Whether no replica is live; None where an unwatched peer decides it."""
        lives = [replica.live for replica in self.replicas]
        if True in lives:
            return False
        return None if None in lives else True


@dataclass(slots=True)
class CollectionView:
    """One collection over all its peers."""

    name: str
    replication_factor: int
    indexing_enabled: bool
    transfers: int
    shards: list[ShardView]
    disagreeing_shards: int  # shards whose replica states two answering peers tell differently

    def replicas(self) -> Iterator[tuple[ShardView, ReplicaView]]:
        """Yield every replica with its shard."""
        for shard in self.shards:
            for replica in shard.replicas:
                yield shard, replica


def authority(peers: Sequence[PeerView]) -> PeerView | None:
    """The peer whose word on replica states counts: answering first, then highest (term, commit)."""
    return max(
        peers,
        key=lambda peer: (peer.answering, peer.telemetry.term, peer.telemetry.commit, _lowest_first(peer)),
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
    shards: list[ShardView] = []
    disagreeing = 0
    for shard in told.shards:
        shards.append(_shard_view(shard, told.name, (peers, by_id, local_shards), membership))
        disagreeing += _disagrees(shard, peers, local_shards)
    return CollectionView(
        name=told.name,
        replication_factor=told.replication_factor,
        indexing_enabled=told.indexing_threshold_kb != 0,
        transfers=told.transfers,
        shards=shards,
        disagreeing_shards=disagreeing,
    )


def _shards_of(peer: PeerView, collection: str) -> Mapping[int, ShardSeen]:
    seen = peer.telemetry.collections.get(collection)
    return {} if seen is None else {shard.shard: shard for shard in seen.shards}


Told = tuple[Sequence[PeerView], Mapping[int, PeerView], Mapping[str, Mapping[int, ShardSeen]]]


def _shard_view(shard: ShardSeen, collection: str, told: Told, membership: Membership) -> ShardView:
    peers, by_id, local_shards = told
    replicas = []
    for peer_id in sorted(shard.states):
        peer = by_id.get(peer_id)
        if peer is None and len(peers) == 1 and peers[0].peer_id is None and len(shard.states) == 1:
            peer = peers[0]  # a standalone server's shard lists an id that nothing else there tells
        replica = ReplicaView(
            peer_id=peer_id,
            peer=peer.label if peer else membership.label(peer_id),
            watched=peer is not None or peer_id in membership.label_of,
            answering=peer is not None and peer.answering,
            state=shard.states[peer_id],
        )
        if peer is not None:
            own = local_shards[peer.label].get(shard.shard)
            # a shard that its own peer does not list as a replica is left-over data: never counted
            if own is not None and peer_id in own.states:
                replica.local = own.local
                replica.segments = _segments_of(peer, collection, shard.shard)
        replicas.append(replica)
    return ShardView(shard.shard, replicas)


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
