"""Exports made of what a SnapshotCluster holds, and imports into one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from exporter.backup import layout
from exporter.backup.calling import Limits
from exporter.backup.content import ContentHash
from exporter.backup.exporting.records import Header, Point, chunk_writer
from exporter.backup.exporting.vectors import packed
from exporter.backup.importing.run import Importer
from exporter.backup.importing.words import Imported, ImportLimits, ImportOptions
from exporter.backup.restoring.target import RestoreLimits
from exporter.backup.shelf import Shelf, place_of
from exporter.backup.survey import PeerAt
from exporter.backup.words import (
    EXPORT_FORMAT,
    Chunk,
    Consistency,
    Encoding,
    Export,
    KeyLayout,
    Manifest,
    SetKind,
    SetState,
    ShardKey,
    StoredSet,
)
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.kit.patience import LoopClock
from tests.kit.scripted_store import ScriptedStore
from tests.kit.snapshot_cluster import Points, SnapshotCluster

SET_ID = "20270115T080000Z-00000a"
CLUSTER = "spare"  # of the target, where the set is of "prod"
LABELS = ("a", "b", "c", "d")
CALLS = Limits(wait_seconds=0.01, tries=2, told_to_wait_seconds=0.01)
# Chunks are read in threads, for which patient time would not wait: so all waits are short instead.
LIMITS = ImportLimits(
    target=RestoreLimits(calls=CALLS, look=0.01, still=0.3, moving=0.5),
    wait_seconds=0.01,
    upsert_seconds=0.5,
    upsert_tries=4,
    patience_seconds=0.3,
    queue_look_seconds=0.02,
    quiet_seconds=0.5,
    quiet_look_seconds=0.01,
    green_seconds=2.0,
    green_look_seconds=0.01,
)


@dataclass(slots=True)
class Ground:
    """A cluster, a store, and the way from one to the other."""

    cluster: SnapshotCluster
    store: ScriptedStore
    shelf: Shelf
    peers: tuple[PeerAt, ...]
    limits: ImportLimits = field(default_factory=lambda: LIMITS)

    async def exported(self, name: str, *, chunk_points: int = 40, **changed: Any) -> StoredSet:
        """Store what the cluster holds of a collection now, its manifest changed as told."""
        found = self.cluster.world.named(name)
        held: dict[ShardKey, Points] = {}
        for key in found.keys or [None]:
            held[key] = self.cluster.world.read(name, self.cluster.ids[0], key)
        keys = tuple(KeyLayout(key, tuple(sorted(ids))) for key, ids in found.keys.items())
        aliases = tuple(alias for alias, behind in self.cluster.world.aliases.items() if behind == name)
        given: dict[str, Any] = {
            "config": found.config, "payload_schema": found.payload_schema, "keys": keys, "aliases": aliases,
        }  # fmt: skip
        return await exported(
            self.store, self.shelf, name, held, chunk_points=chunk_points, **given | changed
        )

    def importer(self) -> Importer:
        """Make an importer into this cluster."""
        return Importer(
            cluster=CLUSTER, peers=self.peers, shelf=self.shelf, clock=LoopClock(), limits=self.limits
        )

    async def take(self, kept: StoredSet, **options: Any) -> Imported:
        """Import into this cluster."""
        return await self.importer().import_set(kept, ImportOptions(**options))

    def threshold(self, name: str) -> float | None:
        """Return the indexing threshold of a collection."""
        config = self.cluster.world.named(name).config["optimizer_config"]
        found: float | None = config.get("indexing_threshold")
        return found


@asynccontextmanager
async def ground(store: ScriptedStore | None = None, **cluster: Any) -> AsyncIterator[Ground]:
    """Give a cluster and a store; with a `store` of another ground, that one."""
    clock = LoopClock()
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


async def exported(
    store: ScriptedStore,
    shelf: Shelf,
    name: str,
    held: Mapping[ShardKey, Points],
    *,
    chunk_points: int = 40,
    **changed: Any,
) -> StoredSet:
    """Put chunks and a manifest into a store, of points by shard key."""
    chunks: list[Chunk] = []
    data: dict[str, bytes] = {}
    for key_number, (key, of_key) in enumerate(held.items()):
        points = [Point(id_, point[1], packed(point[0])) for id_, point in of_key.items()]
        for number, start in enumerate(range(0, len(points), chunk_points)):
            file = layout.chunk_file(key_number, number, Encoding.MSGPACK)
            header = Header(set=SET_ID, collection=name, key=key, number=len(chunks))
            made, chunk = chunk_of(file, header, points[start : start + chunk_points])
            data[file] = made
            chunks.append(chunk)
    count = sum(chunk.points for chunk in chunks)
    manifest = Manifest(
        format=EXPORT_FORMAT, id=SET_ID, cluster="prod", collection=name, state=SetState.COMPLETE,
        problems=(), started_at=1_800_000_000.0, ended_at=1_800_000_060.0, exporter_version="0.1.0",
        job="nightly", versions={"a": "1.18.3"}, uuid=None, config={}, payload_schema={}, aliases=(),
        keys=(), archives=(), shards=(), op_numbers={}, kind=SetKind.EXPORT, chunks=tuple(chunks),
        export=Export(Encoding.MSGPACK, Consistency.QUIESCED, (), (), count, count),
    )  # fmt: skip
    manifest = replace(manifest, **changed)
    for file, content in data.items():
        store.keep(place_of(manifest).file(file), content)
    await shelf.save_manifest(manifest)
    return await shelf.find(manifest.id)


def chunk_of(file: str, header: Header, points: Sequence[Point]) -> tuple[bytes, Chunk]:
    """Write a chunk and describe it as an export does."""
    writer = chunk_writer(header, Encoding.MSGPACK)
    data = writer.add(points) + writer.finish()
    content = ContentHash()
    for point in points:
        content.add_packed(point.id, point.payload, point.vectors)
    return data, Chunk(
        file=file, key=header.key, points=len(points), size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(), first=points[0].id, last=points[-1].id, content=str(content),
    )  # fmt: skip


async def killed(here: Ground, kept: StoredSet, at: int, **options: Any) -> bool:
    """Kill an import as its request of this number is carried out, 1 the first, of those that write.

    The server does what it was asked; nobody hears of it. False: it was over before, and good.
    """
    running = asyncio.ensure_future(here.take(kept, **options))
    seen = 0

    def count(_: int, method: str, path: str) -> None:
        nonlocal seen
        seen += is_writing(method, path)
        if seen == at:
            running.cancel()

    here.cluster.knobs.on_request = count
    try:
        await running
    except asyncio.CancelledError:
        return True
    else:
        return False
    finally:
        here.cluster.knobs.on_request = None


def is_writing(method: str, path: str) -> bool:
    """Whether a request changes something."""
    return method in ("PUT", "PATCH", "DELETE") or path.endswith("/collections/aliases")
