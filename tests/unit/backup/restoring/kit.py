"""Sets of backups made of what a SnapshotCluster holds, and restores into one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from exporter.backup.archive.walk import TarWalk, shards_of
from exporter.backup.progress import Progress
from exporter.backup.restoring.run import Restorer
from exporter.backup.restoring.target import RestoreLimits
from exporter.backup.restoring.words import Restored, RestoreOptions
from exporter.backup.shelf import Shelf, place_of
from exporter.backup.survey import PeerAt
from exporter.backup.words import Archive, KeyLayout, Manifest, SetState, ShardCopy, StoredSet
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.kit.patience import LoopClock, patient
from tests.kit.scripted_store import ScriptedStore
from tests.kit.snapshot_cluster import SnapshotCluster

SET_ID = "20270115T080000Z-00000a"
LABELS = ("a", "b", "c", "d")


@dataclass(slots=True)
class Ground:
    """A cluster, a store, and the way from one to the other."""

    cluster: SnapshotCluster
    store: ScriptedStore
    shelf: Shelf
    peers: tuple[PeerAt, ...]
    limits: RestoreLimits | None = None

    async def stored(self, name: str, **changed: Any) -> StoredSet:
        """Store what the cluster holds of a collection now, its manifest changed as told."""
        return await stored(self.cluster, self.store, self.shelf, name, **changed)

    def restorer(self, progress: Progress | None = None) -> Restorer:
        """Make a restorer into this cluster."""
        return Restorer(
            peers=self.peers, shelf=self.shelf, clock=LoopClock(), progress=progress, limits=self.limits
        )

    def options(self, **options: Any) -> RestoreOptions:
        """Say what is wanted."""
        return RestoreOptions(**options)

    def unsettled(self, kept: StoredSet, *, before: int, after: int) -> StoredSet:
        """Return a set during whose backup somebody wrote: of no shard the points are known."""
        shards = tuple(
            replace(copy, points=None, settled=False, points_before=before, points_after=after)
            for copy in kept.manifest.shards
        )
        return replace(kept, manifest=replace(kept.manifest, shards=shards))

    async def restore(self, kept: StoredSet, **options: Any) -> Restored:
        """Restore into this cluster."""
        return await self.restorer().restore(kept, RestoreOptions(**options))


@asynccontextmanager
async def ground(store: ScriptedStore | None = None, **cluster: Any) -> AsyncIterator[Ground]:
    """Give a cluster and a store, in patient time; with a `store` of another ground, in that one's."""
    clock = LoopClock()
    with patient(asyncio.get_running_loop()) if store is None else nullcontext():
        async with SnapshotCluster(**cluster) as served:
            peers = tuple(
                PeerAt(label, url, Courier(Door(url), clock))
                for label, url in zip(LABELS, served.urls, strict=False)
            )
            kept = store or ScriptedStore(clock)
            try:
                yield Ground(served, kept, Shelf(kept, clock), peers)
            finally:
                for peer in peers:
                    await peer.courier.close()


async def stored(
    cluster: SnapshotCluster, store: ScriptedStore, shelf: Shelf, name: str, **changed: Any
) -> StoredSet:
    """Put an archive of every peer and a manifest into a store; the first peer that holds a shard counts."""
    found = cluster.world.named(name)
    archives, data = [], {}
    for number, label in zip(range(len(cluster.ids)), LABELS, strict=False):
        made = cluster.archive(name, number)
        archives.append(archive_of(label, cluster.peers[number].id, cluster.peers[number].version, made))
        data[archives[-1].file] = made
    shards = tuple(copy_of(shard.id, shard.key, len(points(shard)), archives, tuple(shard.replicas))
                   for shard in sorted(found.shards.values(), key=lambda one: one.id))  # fmt: skip
    manifest = Manifest(
        format=1,
        id=SET_ID,
        cluster="prod",
        collection=name,
        state=SetState.COMPLETE,
        problems=(),
        started_at=1_800_000_000.0,
        ended_at=1_800_000_060.0,
        exporter_version="0.1.0",
        job="nightly",
        versions={archive.peer: archive.version for archive in archives},
        uuid=found.uuid,
        config=found.config,
        payload_schema=found.payload_schema,
        aliases=tuple(alias for alias, behind in cluster.world.aliases.items() if behind == name),
        keys=tuple(KeyLayout(key, tuple(sorted(ids))) for key, ids in found.keys.items()),
        archives=tuple(archives),
        shards=shards,
        op_numbers={},
    )
    manifest = replace(manifest, **changed)
    for file, content in data.items():
        store.keep(place_of(manifest).file(file), content)
    await shelf.save_manifest(manifest)
    return await shelf.find(manifest.id)


def archive_of(label: str, peer_id: int, version: str, data: bytes) -> Archive:
    """Describe an archive as a backup does."""
    walk = TarWalk()
    walk.feed(data)
    return Archive(
        file=f"{label}.snapshot",
        peer=label,
        peer_id=peer_id,
        version=version,
        snapshot=f"{label}.snapshot",
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        checksum_from_server=True,
        began_at=1_800_000_000.0,
        ended_at=1_800_000_050.0,
        shards=shards_of(walk.finish()),
    )


def copy_of(
    shard: int, key: str | int | None, count: int, archives: list[Archive], peers: tuple[int, ...]
) -> ShardCopy:
    """Describe a shard, of the first archive that holds it, in a set that nobody wrote to meanwhile."""
    file = next((one.file for one in archives if shard in {part.shard for part in one.shards}), None)
    return ShardCopy(
        shard=shard, key=key, archive=file, points=count, settled=True, points_before=count,
        points_after=count, counted=False, peer_ids=peers,
    )  # fmt: skip


def points(shard: Any) -> Mapping[Any, Any]:
    """Return the points of a shard's replica on the first peer that has one."""
    for replica in shard.replicas.values():
        held: Mapping[Any, Any] = replica.points
        return held
    return {}


async def killed(ground: Ground, kept: StoredSet, at: int, **options: Any) -> bool:
    """Kill a restore as its request of this number is carried out, 1 the first, of those that write.

    The server does what it was asked; nobody hears of it. False: it was over before, and good.
    """
    running = asyncio.ensure_future(ground.restore(kept, **options))
    seen = 0

    def count(_: int, method: str, path: str) -> None:
        nonlocal seen
        seen += is_writing(method, path)
        if seen == at:
            running.cancel()

    ground.cluster.knobs.on_request = count
    try:
        await running
    except asyncio.CancelledError:
        return True
    else:
        return False
    finally:
        ground.cluster.knobs.on_request = None


def is_writing(method: str, path: str) -> bool:
    """Whether a request changes something."""
    return method != "GET" and not path.endswith("/points/count")
