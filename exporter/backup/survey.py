"""A collection as all peers together show it at one moment: what is compared before and after a backup.

Every peer is asked itself, by calls that it answers from what it knows. A replica counts as Active only
where every peer that answered says so: a peer that lags behind costs a second look, not a set that is
thought to be whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exporter.backup.calling import Limits, is_gone, patiently
from exporter.backup.recent import Answer, Recent
from exporter.backup.words import KeyLayout, ShardKey
from exporter.clock import Clock
from exporter.errors import SourceAuth, SourceError
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked
from exporter.qdrant.courier import Courier
from exporter.qdrant.keeping import ACTIVE, CollectionSeen, Description, Placement
from exporter.qdrant.payloads import ClusterStatus

# What a peer says of a replica that the others know and it does not.
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PeerAt:
    """A peer and the way to it. `label` names it for people, in manifests and in metrics."""

    label: str
    url: str
    courier: Courier


@dataclass(frozen=True, slots=True)
class PeerView:
    """What one peer said."""

    label: str
    cluster: ClusterStatus
    version: str
    seen: CollectionSeen | None  # None: it has no such collection
    placement: Placement | None
    aliases: Mapping[str, str]  # collection by alias
    collections: tuple[str, ...]  # all their names, where that was asked for
    age_seconds: float = 0.0  # of `seen`, where it is what was told some other time

    @property
    def node(self) -> int | None:
        """By what its replicas are named, also on a server without a cluster."""
        return self.cluster.peer_id if self.placement is None else self.placement.peer_id

    @property
    def peer_id(self) -> int | None:
        """Its id in the cluster; None without one."""
        return self.cluster.peer_id


@dataclass(frozen=True, slots=True)
class MissingPeer:
    """A peer that did not answer."""

    label: str
    reason: str
    denied: bool = False  # the key may not ask


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica of a shard."""

    node: int
    peer: str | None  # the label of its peer; None: that one did not answer, or nobody told us its URL
    state: str
    loaded: bool  # its data is there; not known, so False, where its peer did not answer
    points: int | None
    op_num: int | None
    queue_length: int | None
    started: str = ""  # when its server began, as it says; "" where it did not answer

    @property
    def is_whole(self) -> bool:
        """It may be relied on."""
        return self.state == ACTIVE and self.loaded


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """A shard with all its replicas, by node."""

    shard: int
    key: ShardKey
    replicas: tuple[Replica, ...]

    def on(self, peer: str) -> Replica | None:
        """Return the replica on a peer, by the peer's label."""
        return next((replica for replica in self.replicas if replica.peer == peer), None)


@dataclass(frozen=True, slots=True)
class Survey:
    """All of it, joined."""

    collection: str
    at: float  # Unix seconds
    views: tuple[PeerView, ...]  # of the peers that answered
    missing: tuple[MissingPeer, ...]
    shards: tuple[ShardLayout, ...]  # ascending
    keys: tuple[KeyLayout, ...]  # by first shard
    transfers: tuple[tuple[int, int, int], ...]  # shard, from, to
    resharding: bool
    aliases: tuple[str, ...]
    uuid: str | None
    described: Description | None  # None: no peer could say, as while one is dead

    @property
    def exists(self) -> bool:
        """A peer that answered has the collection."""
        return any(view.placement is not None for view in self.views)

    @property
    def versions(self) -> dict[str, str]:
        """Server version by peer label."""
        return {view.label: view.version for view in self.views}

    @property
    def in_cluster(self) -> bool:
        """The server runs as a cluster."""
        return any(view.peer_id is not None for view in self.views)

    @property
    def op_numbers(self) -> dict[str, int]:
        """Last operation by "shard/peer id", where told."""
        return {
            f"{layout.shard}/{replica.node}": replica.op_num
            for layout in self.shards
            for replica in layout.replicas
            if replica.op_num is not None
        }

    @property
    def age_seconds(self) -> float:
        """How old the oldest is of what peers told of points and operations; 0 where all was asked now."""
        return max((view.age_seconds for view in self.views), default=0.0)

    @property
    def busy(self) -> str | None:
        """What is under way on the collection that a backup should wait for; None: nothing."""
        for view in self.views:
            if view.seen is not None and view.seen.snapshots_running:
                return f"a snapshot is taken on {view.label}"
            if view.seen is not None and view.seen.recoveries_running:
                return f"a snapshot is restored on {view.label}"
            if view.seen is not None and view.seen.optimizing:
                return f"an optimizer runs on {view.label}"
        return None

    def peers_holding(self) -> tuple[str, ...]:
        """Return the labels of the peers with a replica on them, in the order in which they were given."""
        held = {replica.peer for layout in self.shards for replica in layout.replicas}
        return tuple(view.label for view in self.views if view.label in held)


async def look(
    peers: Iterable[PeerAt],
    collection: str,
    clock: Clock,
    limits: Limits | None = None,
    *,
    recent: Recent | None = None,
    lists_all: bool = True,
) -> Survey:
    """Ask every peer, all at once. A peer that fails is missing, with the reason; nothing is raised.

    What a peer told a short while ago, and stands in `recent`, is not asked for again where the collection
    was at rest then and has as many points now; every new answer is kept there. `lists_all`: also ask for
    the names of all collections.
    """
    looking = _Looking(collection, clock, limits or Limits(), recent or Recent(clock), lists_all)
    peers = tuple(peers)
    answers = await asyncio.gather(*(looking.view(peer) for peer in peers))
    views = [answer for answer in answers if isinstance(answer, PeerView)]
    missing = [answer for answer in answers if isinstance(answer, MissingPeer)]
    answering = [peer for peer in peers if any(peer.label == view.label and view.seen for view in views)]
    described = await looking.described(answering)
    return joined(collection, views=views, missing=missing, described=described, at=clock.now())


@dataclass(frozen=True, slots=True)
class _Told:
    """What telemetry of a peer says of the collection."""

    version: str
    seen: CollectionSeen | None
    age_seconds: float = 0.0

    def holds(self, placement: Placement | None) -> bool:
        """Whether it was at rest, and its shards and points are still those: then it may be gone by."""
        seen = self.seen
        if seen is None or placement is None or _is_busy(seen) or seen.transfers or seen.resharding:
            return False
        here = {one.shard: one.points for one in seen.shards if one.loaded}
        now = {one.shard_id: one.points_count for one in placement.local_shards}
        return here == now and {one.shard for one in seen.shards} == set(placement.replicas)


@dataclass(frozen=True, slots=True)
class _Looking:
    """One look."""

    collection: str
    clock: Clock
    limits: Limits
    recent: Recent
    lists_all: bool

    async def view(self, peer: PeerAt) -> PeerView | MissingPeer:
        try:
            # asked first: with a thousand collections a frozen peer would cost the night
            hello_seconds = self.limits.hello_seconds
            cluster = await self._ask(peer, keeping.cluster_status(), deadline_seconds=hello_seconds)
            told, placement = await self._told(peer)
            names = await self._ask(peer, keeping.collections()) if self.lists_all else None
            return PeerView(
                label=peer.label,
                cluster=keeping.read_cluster_status(cluster),
                version=told.version,
                seen=told.seen,
                placement=placement,
                aliases=keeping.read_aliases(await self._ask(peer, keeping.aliases())),
                collections=() if names is None else keeping.read_collections(names),
                age_seconds=told.age_seconds,
            )
        except SourceError as error:
            return MissingPeer(peer.label, str(error), denied=isinstance(error, SourceAuth))

    async def described(self, peers: Sequence[PeerAt]) -> Description | None:
        """Ask one peer after the other for the settings: this is the one call that needs the others."""
        asked = keeping.describe(self.collection)
        for peer in peers:
            try:
                answer = await peer.courier.call(asked, deadline_seconds=self.limits.call_seconds)
                return keeping.read_description(answer)
            except SourceError:
                continue
        return None

    async def _told(self, peer: PeerAt) -> tuple[_Told, Placement | None]:
        """Return what a peer knows of the collection, and where it sees the replicas: that is always new."""
        answer = self.recent.of(peer.label)
        told = None if answer is None else self._read(answer)
        if told is not None and told.seen is not None:
            placement = await self._placement(peer)
            if told.holds(placement):
                return told, placement
        asked_at = self.clock.monotonic()
        answer = Answer(asked_at, await self._ask(peer, keeping.telemetry(3)))
        self.recent.keep(peer.label, answer)
        told = replace(self._read(answer), age_seconds=0.0)
        return told, None if told.seen is None else await self._placement(peer)

    def _read(self, answer: Answer) -> _Told:
        seen = keeping.read_telemetry(answer.body, self.collection)
        server = keeping.read_server(answer.body) if seen is None else seen.server
        return _Told(server.version, seen, self.clock.monotonic() - answer.asked_at)

    async def _placement(self, peer: PeerAt) -> Placement | None:
        try:
            answer = await self._ask(peer, keeping.placement(self.collection))
        except SourceError as error:
            if is_gone(error):  # deleted since telemetry
                return None
            raise
        return keeping.read_placement(answer)

    async def _ask(self, peer: PeerAt, asked: Asked, *, deadline_seconds: float | None = None) -> bytes:
        return await patiently(peer.courier, asked, self.limits, deadline_seconds=deadline_seconds)


def joined(
    collection: str,
    *,
    views: Sequence[PeerView],
    missing: Sequence[MissingPeer] = (),
    described: Description | None = None,
    at: float = 0.0,
) -> Survey:
    """Make one picture of what the peers said. Pure."""
    placements = [view.placement for view in views if view.placement is not None]
    keys: dict[str | int, set[int]] = {}
    for placement in placements:
        for key, shards in placement.keys.items():
            keys.setdefault(key, set()).update(shards)
    seen = [view.seen for view in views if view.seen is not None]
    aliases = {alias for view in views for alias, behind in view.aliases.items() if behind == collection}
    return Survey(
        collection=collection,
        at=at,
        views=tuple(views),
        missing=tuple(missing),
        shards=tuple(_shards(views, keys)),
        keys=tuple(sorted((_key(key, shards) for key, shards in keys.items()), key=lambda one: one.shards)),
        transfers=tuple(sorted({move for placement in placements for move in _moves(placement)})),
        resharding=any(one.resharding for one in seen) or any(one.resharding for one in placements),
        aliases=tuple(sorted(aliases)),
        uuid=next((one.uuid for one in seen if one.uuid is not None), None),
        described=described,
    )


def _is_busy(seen: CollectionSeen) -> bool:
    return bool(seen.snapshots_running or seen.recoveries_running or seen.optimizing)


def _shards(views: Sequence[PeerView], keys: Mapping[str | int, set[int]]) -> list[ShardLayout]:
    said = [view.placement.replicas for view in views if view.placement is not None]
    # telemetry also shows a shard that was lost with its last peer
    nodes: dict[int, set[int]] = {
        one.shard: set() for view in views if view.seen is not None for one in view.seen.shards
    }
    for replicas in said:
        for shard, states in replicas.items():
            nodes.setdefault(shard, set()).update(states)
    key_of = {shard: key for key, shards in keys.items() for shard in shards}
    return [
        ShardLayout(
            shard, key_of.get(shard), tuple(_replica(shard, node, said, views) for node in sorted(on))
        )
        for shard, on in sorted(nodes.items())
    ]


def _replica(
    shard: int, node: int, said: Sequence[Mapping[int, Mapping[int, str]]], views: Sequence[PeerView]
) -> Replica:
    states = {replicas.get(shard, {}).get(node, UNKNOWN) for replicas in said}
    view = next((view for view in views if view.node == node), None)
    here = None
    if view is not None and view.seen is not None:
        here = next((one for one in view.seen.shards if one.shard == shard), None)
    return Replica(
        node=node,
        peer=None if view is None else view.label,
        state=min(states - {ACTIVE}, default=ACTIVE),
        loaded=here is not None and here.loaded,
        points=None if here is None else here.points,
        op_num=None if here is None else here.op_num,
        queue_length=None if here is None else here.queue_length,
        started="" if view is None or view.seen is None else view.seen.server.started,
    )


def _key(key: str | int, shards: Iterable[int]) -> KeyLayout:
    return KeyLayout(key, tuple(sorted(shards)))


def _moves(placement: Placement) -> Iterable[tuple[int, int, int]]:
    return ((move.shard_id, move.from_peer, move.to_peer) for move in placement.shard_transfers)


def schema_of_archive(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload indexes of an archive's payload_index.json as the server says them elsewhere.

    The file has a type's name, or an object of the index's options with its type among them.
    """
    return {field: _indexed(said) for field, said in dict(index.get("schema") or {}).items()}


def _indexed(said: Any) -> Any:
    if isinstance(said, str):
        return {"data_type": said}
    if isinstance(said, dict) and "type" in said:
        return {"data_type": said["type"], "params": said}
    return said
