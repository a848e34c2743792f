"""SnapshotCluster: peers on loopback sockets that keep collections, take snapshots and take them back."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import itertools
import time
from collections.abc import Mapping
from typing import Any, Self

from tests.kit.snapshot_cluster.archives import (
    BrokenArchiveError,
    Points,
    collection_archive,
    open_collection_archive,
    points_of_shard_tar,
)
from tests.kit.snapshot_cluster.knobs import Knobs, Seen, SnapshotAnswer
from tests.kit.snapshot_cluster.peer import Peer
from tests.kit.snapshot_cluster.routes import Routes
from tests.kit.snapshot_cluster.working import Working
from tests.kit.snapshot_cluster.world import ACTIVE, DEAD, Collection, RefusedError, Replica, World

# As real ones: more than 32 bits.
PEER_IDS = (392_660_894_735_341, 3_791_264_816_499_452, 2_386_962_488_601_729, 4_651_232_884_933_219)
VERSION = "1.18.3"


class SnapshotCluster:
    """Peers that share one state. Peers are named by number, 0 first, as `urls` and `ids` list them.

    `peers[n].version` may be set at any time: what it answers is then as of that version.
    """

    def __init__(self, *, peers: int = 3, standalone: bool = False, version: str = VERSION) -> None:
        ids = PEER_IDS[: 1 if standalone else peers]
        self.world = World(ids, clustered=not standalone)
        self.knobs = Knobs()
        self.optimizers = Working(self.world, self.knobs)
        self.requests: list[Seen] = []
        self.peers = tuple(Peer(self, number, id_, version) for number, id_ in enumerate(ids))
        self.routes = Routes(self)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._starts = itertools.count(1)

    @property
    def urls(self) -> tuple[str, ...]:
        """The REST URLs, by number."""
        return tuple(peer.url for peer in self.peers)

    @property
    def ids(self) -> tuple[int, ...]:
        """The consensus ids, by number."""
        return self.world.peer_ids

    async def __aenter__(self) -> Self:
        for peer in self.peers:
            await peer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        for peer in self.peers:
            await peer.stop()

    def lines(self, peer: int | None = None) -> list[str]:
        """Return "METHOD /path" of all requests so far, of one peer or of all."""
        return [seen.line for seen in self.requests if peer in (None, seen.peer)]

    # what is there

    def create(self, name: str, points: Points | None = None, **body: Any) -> Collection:
        """Create a collection, of four numbers a vector where `body` says nothing, and write points."""
        made = self.world.create(
            name, {"vectors": {"size": 4, "distance": "Dot"}, **body}, with_metadata=True
        )
        if points:
            self.world.upsert(name, points)
        return made

    def create_keys(self, name: str, points: Mapping[str | int, Points], **body: Any) -> None:
        """Create shard keys in this order, each with its points."""
        for key, of_key in points.items():
            self.world.create_key(name, {"shard_key": key, **body})
            self.world.upsert(name, of_key, key)

    def replica(self, name: str, shard: int, peer: int) -> Replica:
        """Return a replica, to look at or to change: points, state, loaded, status, op_num, queue_length."""
        return self.world.named(name).shards[shard].replicas[self.ids[peer]]

    def counts(self, name: str) -> dict[int, dict[int, int]]:
        """Return points by shard, then by peer number."""
        return {
            shard.id: {self.ids.index(peer): len(replica.points) for peer, replica in shard.replicas.items()}
            for shard in self.world.named(name).shards.values()
        }

    def states(self, name: str) -> set[str]:
        """Return the states of all replicas."""
        shards = self.world.named(name).shards.values()
        return {replica.state for shard in shards for replica in shard.replicas.values()}

    def points(self, name: str) -> Points:
        """Return all points, as the first peer shows them; with keys an id in two keys is shown once."""
        return self.world.read(name, self.ids[0])

    # what happens to it

    async def kill(self, peer: int) -> None:
        """Close a peer's socket and end its snapshots. Its replicas stay Active until a write hits them."""
        self.world.alive.discard(self.ids[peer])
        for taking in tuple(self.peers[peer].taking):
            taking.cancel()
        await self.peers[peer].stop()

    async def revive(self, peer: int) -> None:
        """Open it again on its port; what is Dead there is filled from another replica."""
        self.world.alive.add(self.ids[peer])
        self.restart(peer)
        await self.peers[peer].start()
        for name, found in self.world.collections.items():
            for shard in found.shards.values():
                own = shard.replicas.get(self.ids[peer])
                source = next((other for other, one in shard.replicas.items() if one.state == ACTIVE), None)
                if own is not None and own.state == DEAD and source is not None:
                    self._later(self._recover(name, shard.id, source, self.ids[peer]))

    def restart(self, peer: int) -> None:
        """Let a peer have been restarted: another start time, no log, and grey where a vacuum is wanted."""
        self.peers[peer].started = self._stamp("%Y-%m-%dT%H:%M:%S.") + f"{next(self._starts):03}Z"
        self.optimizers.restarted(self.ids[peer])

    def freeze(self, peer: int) -> None:
        """Let a peer accept requests and answer none."""
        self.peers[peer].frozen = True
        self.peers[peer].thawed.clear()

    def thaw(self, peer: int) -> None:
        """Let it answer again, the waiting ones first."""
        self.peers[peer].frozen = False
        self.peers[peer].thawed.set()

    def move_shard(self, name: str, shard: int, from_peer: int, to_peer: int) -> None:
        """Have moved a replica, all at once."""
        replicas = self.world.named(name).shards[shard].replicas
        replicas[self.ids[to_peer]] = replicas.pop(self.ids[from_peer])

    def recreate(self, name: str, points: Points | None = None) -> None:
        """Delete a collection and make it anew under its name: another uuid, other points."""
        body = self.world.named(name).body
        self.world.delete(name)
        self.world.create(name, body, with_metadata=True)
        if points:
            self.world.upsert(name, points)

    def lay_snapshot(self, peer: int, name: str, file: str, data: bytes = b"foreign") -> None:
        """Let somebody else's snapshot appear in a collection's folder ("" for whole storages)."""
        self.peers[peer].lay(name, file, data, created=self._stamp("%Y-%m-%dT%H:%M:%S"))

    def snapshots(self, name: str) -> list[list[str]]:
        """Return the names of the snapshots in a collection's folder, by peer number."""
        return [list(peer.snapshots.get(name, ())) for peer in self.peers]

    def corrupt_snapshot(self, peer: int, name: str, file: str, at: int) -> None:
        """Flip a byte of a snapshot on the server's disk; its checksum stays what it was."""
        stored = self.peers[peer].snapshots[name][file]
        stored.data = stored.data[:at] + bytes([stored.data[at] ^ 0xFF]) + stored.data[at + 1 :]

    def archive(self, name: str, peer: int) -> bytes:
        """Return the archive that a snapshot on this peer would be now."""
        return self._archive(self.world.named(name), peer)

    def _archive(self, found: Collection, peer: int) -> bytes:
        return collection_archive(
            found.folders(self.ids[peer]),
            config={**found.config, "uuid": found.uuid if self.world.clustered else None},
            keys=found.key_mapping(),
            payload_schema={field: _stored_schema(schema) for field, schema in found.payload_schema.items()},
            padding_bytes=self.knobs.padding_bytes,
        )

    # what the peers do when they are asked

    def own_id(self, peer: Peer) -> int:
        """Return the id that a peer gives itself; a server without a cluster has one too."""
        return peer.id

    def write_between(self) -> None:
        """Let every writer write, as it does before each request."""
        for writer in self.knobs.writers:
            if writer.collection in self.world.collections:
                ids = range(writer.next_id, writer.next_id + writer.points_a_request)
                writer.next_id = ids.stop
                new: Points = {id_: [[1.0, 0.0, 0.0, float(id_)], {"n": id_}] for id_ in ids}
                self.world.upsert(writer.collection, new, writer.key)

    async def take_snapshot(self, peer: Peer, name: str, *, wait: bool) -> dict[str, Any] | None:
        """Take a snapshot on a peer; None where nobody waits for it."""
        found = self.world.named(name)
        for shard in found.shards.values():
            own = shard.replicas.get(peer.id)
            if own is not None and not own.loaded:
                raise RefusedError(500, "Service internal error: Shard is not loaded")
        taking = self._later(self._snapshot(peer, found))
        peer.taking.add(taking)
        taking.add_done_callback(peer.taking.discard)
        answer = self._next_answer()
        if not wait:
            return None
        if answer is SnapshotAnswer.SILENCE:
            await asyncio.Event().wait()
        if answer is SnapshotAnswer.TIMEOUT:
            raise RefusedError(408, "Timeout error: Operation timed out")
        described = await asyncio.shield(taking)
        if answer is SnapshotAnswer.ERROR:
            raise RefusedError(500, "Service internal error: made to fail")
        return dict(described)

    async def take_collection(
        self, peer: Peer, name: str, data: bytes, file: str, query: dict[str, str]
    ) -> bool:
        """Take a whole collection's archive: an alias is resolved, and the file stays on the disk."""
        target = self.world.aliases.get(name, name)
        peer.lay(name, file, data, created=None, checksum=False)
        _check(data, query)
        try:
            opened = open_collection_archive(data)
        except BrokenArchiveError as error:
            raise RefusedError(500, str(error)) from error
        if not self.world.clustered and None in opened.shards.values():
            shard = next(shard for shard, points in opened.shards.items() if points is None)
            text = "Can't restore snapshot in local mode with missing data at shard"
            raise RefusedError(500, f"Service internal error: {text}: {shard}")
        if target not in self.world.collections:
            made = self.world.create(target, {**opened.config["params"]}, with_metadata=True)
            for field, schema in opened.payload_schema.items():
                made.add_index(field, schema)
        for shard, points in opened.shards.items():
            if points is not None and shard in self.world.collections[target].shards:
                self._replace(peer, target, shard, points, query)
        return True

    async def take_shard(
        self, peer: Peer, name: str, shard: int, data: bytes, file: str, query: dict[str, str]
    ) -> None:
        """Take one shard's archive: this peer's replica becomes it, and the others are filled from it."""
        found = self.world.named(name)
        if shard not in found.shards:
            raise RefusedError(404, f"Not found: shard {shard} not found")
        _check(data, query)
        try:
            points = points_of_shard_tar(data)
        except BrokenArchiveError as error:
            raise RefusedError(500 if error.malformed else 400, str(error)) from error
        self._replace(peer, found.name, shard, points, query)

    def transfer(self, name: str, shard: int, from_peer: int, to_peer: int, *, moves: bool) -> None:
        """Begin to copy a replica; with `moves` the first one goes when it is done."""
        replicas = self.world.named(name).shards[shard].replicas
        for peer in (from_peer, to_peer):
            if peer not in self.ids:
                raise RefusedError(400, f"Bad request: Peer {peer} does not exist")
        if to_peer in replicas:
            raise RefusedError(400, f"Bad request: Shard {shard} is already replicated on peer {to_peer}")
        replicas[to_peer] = Replica(state="Partial")
        self._later(self._recover(name, shard, from_peer, to_peer, moves=moves))

    def _replace(self, peer: Peer, name: str, shard: int, points: Points, query: Mapping[str, str]) -> None:
        priority = query.get("priority", "snapshot")
        assert priority != "replica", "priority=replica stops the consensus of a real cluster for good"
        replicas = self.world.named(name).shards[shard].replicas
        replicas[peer.id] = Replica(points=copy.deepcopy(points))
        if priority == "snapshot":
            for other in replicas:
                if other != peer.id:
                    self._later(self._recover(name, shard, peer.id, other, dead=True))

    async def _recover(
        self, name: str, shard: int, source: int, target: int, *, dead: bool = False, moves: bool = False
    ) -> None:
        """Fill a replica from another. `dead`: it is found to be no copy of it first."""
        found = self.world.collections.get(name)
        if found is None or shard not in found.shards:
            return
        replicas = found.shards[shard].replicas
        if dead:
            if self.knobs.dead_after_seconds:
                await asyncio.sleep(self.knobs.dead_after_seconds)
            if target in replicas:
                replicas[target].state = DEAD
        if not self.knobs.recovers or target not in self.world.alive:
            return
        moving = {
            "shard_id": shard,
            "from": source,
            "to": target,
            "sync": not moves,
            "method": "snapshot",
            "comment": "",
        }
        found.transfers.append(moving)
        await asyncio.sleep(self.knobs.recovery_seconds)
        found.transfers.remove(moving)
        # where one of the two died meanwhile, the copy is no good
        if {source, target} <= replicas.keys() & self.world.alive:
            replicas[target] = copy.deepcopy(replicas[source])
            replicas[target].state = ACTIVE
            replicas[target].optimizers.log.clear()
            if moves:
                del replicas[source]

    async def _snapshot(self, peer: Peer, found: Collection) -> dict[str, Any]:
        peer.running[found.name] += 1
        try:
            if self.knobs.snapshot_seconds:
                await asyncio.sleep(self.knobs.snapshot_seconds)
            data = self._archive(found, peer.number)
        finally:
            peer.running[found.name] -= 1
        peer.taken[found.name] += 1
        later, name = -1, ""
        while not name or (name in peer.snapshots.get(found.name, ()) and not self.knobs.names_collide):
            later += 1
            name = f"{found.name}-{peer.id}-{self._stamp('%Y-%m-%d-%H-%M-%S', later)}.snapshot"
        created = self._stamp("%Y-%m-%dT%H:%M:%S", later)
        peer.lay(found.name, name, data, created=created, checksum=self.knobs.checksums)
        return peer.snapshots[found.name][name].described()

    def _next_answer(self) -> SnapshotAnswer:
        knobs = self.knobs
        if knobs.snapshot_answers is None:
            return knobs.snapshot_answer
        if knobs.snapshot_answers <= 0:
            return SnapshotAnswer.GOOD
        knobs.snapshot_answers -= 1
        return knobs.snapshot_answer

    def _later(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _stamp(self, pattern: str, later_seconds: int = 0) -> str:
        return time.strftime(pattern, time.gmtime(self.knobs.unix_time() + later_seconds))


def _check(data: bytes, query: Mapping[str, str]) -> None:
    wanted, is_ = query.get("checksum"), hashlib.sha256(data).hexdigest()
    if wanted is not None and wanted != is_:
        raise RefusedError(400, f"Checksum mismatch: expected {is_}, actual {wanted}")


def _stored_schema(schema: Mapping[str, Any]) -> Any:
    """Return a field's index as an archive keeps it: its type, or its options."""
    return schema.get("params", schema["data_type"])
