"""A collection as all peers together show it at one moment: what is compared before and after a backup.

Every peer is asked itself, by calls that it answers from what it knows. A replica counts as Active only
where every peer that answered says so: a peer that lags behind costs a second look, not a set that is
thought to be whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.backup.calling import Limits, is_gone, patiently
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
    collections: tuple[str, ...]

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
    peers: Iterable[PeerAt], collection: str, clock: Clock, limits: Limits | None = None
) -> Survey:
    """Ask every peer, all at once. A peer that fails is missing, with the reason; nothing is raised."""
    limits = limits or Limits()
    peers = tuple(peers)
    answers = await asyncio.gather(*(_view(peer, collection, limits) for peer in peers))
    views = [answer for answer in answers if isinstance(answer, PeerView)]
    missing = [answer for answer in answers if isinstance(answer, MissingPeer)]
    answering = [peer for peer in peers if any(peer.label == view.label and view.seen for view in views)]
    described = await _described(answering, collection, limits)
    return joined(collection, views=views, missing=missing, described=described, at=clock.now())


async def _view(peer: PeerAt, collection: str, limits: Limits) -> PeerView | MissingPeer:
    async def ask(asked: Asked) -> bytes:
        return await patiently(peer.courier, asked, limits)

    try:
        # asked first: with a thousand collections a frozen peer would cost the night
        cluster = keeping.read_cluster_status(
            await patiently(
                peer.courier, keeping.cluster_status(), limits, deadline_seconds=limits.hello_seconds
            )
        )
        telemetry = await ask(keeping.telemetry(3))
        seen = keeping.read_telemetry(telemetry, collection)
        return PeerView(
            label=peer.label,
            cluster=cluster,
            version=keeping.read_server(telemetry).version,
            seen=seen,
            placement=await _placement(peer, collection, limits) if seen is not None else None,
            aliases=keeping.read_aliases(await ask(keeping.aliases())),
            collections=keeping.read_collections(await ask(keeping.collections())),
        )
    except SourceError as error:
        return MissingPeer(peer.label, str(error), denied=isinstance(error, SourceAuth))


async def _placement(peer: PeerAt, collection: str, limits: Limits) -> Placement | None:
    try:
        answer = await patiently(peer.courier, keeping.placement(collection), limits)
    except SourceError as error:
        if is_gone(error):  # deleted since telemetry
            return None
        raise
    return keeping.read_placement(answer)


async def _described(peers: Sequence[PeerAt], collection: str, limits: Limits) -> Description | None:
    """Ask one peer after the other for the settings: this is the one call that needs the others."""
    for peer in peers:
        try:
            answer = await peer.courier.call(
                keeping.describe(collection), deadline_seconds=limits.call_seconds
            )
            return keeping.read_description(answer)
        except SourceError:
            continue
    return None


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
