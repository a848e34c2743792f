"""A cluster of scripted peers, a store in memory, and a backup of one on the other."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from exporter.backup.calling import Limits
from exporter.backup.layout import place
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt, Survey, look
from exporter.backup.taking import CountShard, take
from exporter.backup.words import Archive, Manifest, StoredSet
from exporter.clock import SystemClock
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.kit.scripted_store import ScriptedStore
from tests.kit.snapshot_cluster import Points, SnapshotCluster
from tests.kit.snapshot_cluster.archives import open_collection_archive

CLUSTER = "prod"
# As the defaults, a hundred times as fast.
FAST = Limits(
    call_seconds=2.0,
    hello_seconds=2.0,
    tries=2,
    wait_seconds=0.01,
    told_to_wait_seconds=0.2,
    busy_seconds=0.3,
    create_seconds=2.0,
    answer_seconds=1.0,
    busy_look_seconds=0.02,
    look_seconds=0.02,
    quiet_looks=3,
    blind_seconds=0.3,
    lost_seconds=0.3,
    stall_seconds=0.5,
    breaks=3,
    cleanup_seconds=2.0,
)


class Ground:
    """The cluster, the ways to its peers, called a, b and c, and the store."""

    def __init__(self, cluster: SnapshotCluster, *, limits: Limits = FAST) -> None:
        self.cluster = cluster
        self.clock = SystemClock()
        self.store = ScriptedStore(self.clock)
        self.shelf = Shelf(self.store, self.clock)
        self.limits = limits
        self.peers = tuple(
            PeerAt(label, url, Courier(Door(url=url), self.clock))
            for label, url in zip("abc", cluster.urls, strict=False)
        )

    def foreign(self, peer: int, *, after_seconds: float) -> str:
        """Name a snapshot of "docs" on a peer that began so long after now."""
        stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(self.clock.now() + after_seconds))
        return f"docs-{self.cluster.ids[peer]}-{stamp}.snapshot"

    async def take(self, collection: str = "docs", **changed: Any) -> Manifest:
        """Back a collection up."""
        arguments: dict[str, Any] = {
            "cluster": CLUSTER,
            "peers": self.peers,
            "shelf": self.shelf,
            "clock": self.clock,
            "job": "nightly",
            "limits": self.limits,
        }
        return await take(collection, **arguments | changed)

    async def look(self, collection: str = "docs") -> Survey:
        """Look at a collection now."""
        return await look(self.peers, collection, self.clock, self.limits)

    async def sets(self) -> list[StoredSet]:
        """All sets in the store, newest first."""
        return await self.shelf.sets()

    async def is_clean(self) -> bool:
        """Nothing of ours is left on a server, and no intent is open."""
        lying = [name for names in self.cluster.snapshots("docs") for name in names]
        return not lying and await self.shelf.intents() == []

    def archive(self, manifest: Manifest, archive: Archive) -> bytes:
        """The bytes of an archive in the store."""
        path = place(manifest.cluster, manifest.collection, manifest.id).file(archive.file)
        return self.store.objects[path]

    def points(self, manifest: Manifest) -> Points:
        """All points that the replicas that count hold in their archives."""
        by_file = {archive.file: archive for archive in manifest.archives}
        found: Points = {}
        for shard in manifest.shards:
            if shard.archive is not None:
                opened = open_collection_archive(self.archive(manifest, by_file[shard.archive]))
                found |= opened.shards[shard.shard] or {}
        return found


@asynccontextmanager
async def ground_of(cluster: SnapshotCluster, *, limits: Limits = FAST) -> AsyncIterator[Ground]:
    """Start the peers, and close the ways to them at the end."""
    async with cluster:
        made = Ground(cluster, limits=limits)
        try:
            yield made
        finally:
            for peer in made.peers:
                await peer.courier.close()


def counting(ground: Ground) -> CountShard:
    """Return what counts a shard of an archive by opening it, as an engine would."""

    async def count(path: str, shard: Any, version: str) -> int:
        opened = open_collection_archive(ground.store.objects[path])
        return len(opened.shards[shard.shard] or {})

    return count


def as_json(value: Any) -> Any:
    """Return a value as JSON has it."""
    return json.loads(json.dumps(value))
