"""An export in a store, its chunks written as an export writes them: two shard keys, three chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from exporter.backup.content import ContentHash
from exporter.backup.exporting.records import Header, Point, chunk_writer
from exporter.backup.exporting.vectors import packed
from exporter.backup.shelf import Shelf, place_of
from exporter.backup.verifying.levels import Verifier
from exporter.backup.words import Chunk, Encoding, KeyLayout, Manifest, ShardKey, StoredSet
from exporter.clock import SystemClock
from tests.kit import sets
from tests.kit.scripted_store import ScriptedStore

FIRST, SECOND, OTHER = "0000-000000.points", "0000-000001.points", "0001-000000.points"
IDS = {FIRST: range(1, 41), SECOND: range(41, 61), OTHER: range(1, 31)}  # ids under two keys at once, too
KEYS: dict[str, ShardKey] = {FIRST: "x", SECOND: "x", OTHER: 7}


class ExportedSet:
    """The set and its store."""

    def __init__(self, encoding: Encoding = Encoding.MSGPACK, **changed: Any) -> None:
        self.clock = SystemClock()
        self.store = ScriptedStore(self.clock)
        self.shelf = Shelf(self.store, self.clock)
        self.encoding = encoding
        manifest = sets.exported(
            config={"params": {"vectors": {"size": 4}, "shard_number": 1, "sharding_method": "custom"}},
            keys=(KeyLayout("x", (0,)), KeyLayout(7, (1,))),
            export=sets.export(encoding=encoding, points_before=90, points_after=90),
            chunks=(),
        )
        self.stored = StoredSet(replace(manifest, **changed), (), accepted=False)
        self._change(chunks=tuple(self.write(file, points(IDS[file]), KEYS[file]) for file in IDS))

    @property
    def manifest(self) -> Manifest:
        """What the set says of itself."""
        return self.stored.manifest

    def path(self, file: str) -> str:
        """Where a chunk lies."""
        return place_of(self.manifest).file(file)

    def write(self, file: str, held: Sequence[Point], key: ShardKey, /, **header: Any) -> Chunk:
        """Write a chunk, its header changed as told; return what a manifest says of it."""
        said = {"set": self.manifest.id, "collection": self.manifest.collection, "key": key, "number": 0}
        writer = chunk_writer(Header(**said | header), self.encoding)
        data = writer.add(held) + writer.finish()
        self.store.keep(self.path(file), data)
        seen = ContentHash()
        for point in held:
            seen.add_packed(point.id, point.payload, point.vectors)
        return Chunk(
            file=file,
            key=key,
            points=len(held),
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            first=held[0].id,
            last=held[-1].id,
            content=str(seen),
        )

    def say(self, file: str, **changed: Any) -> None:
        """Let the manifest say something else of a chunk."""
        self._change(
            chunks=tuple(
                replace(chunk, **changed) if chunk.file == file else chunk for chunk in self.manifest.chunks
            )
        )

    def put(self, file: str, data: bytes) -> None:
        """Let a chunk have other bytes, with their size and hash in the manifest."""
        self.store.keep(self.path(file), data)
        self.say(file, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def data(self, file: str) -> bytes:
        """The bytes of a chunk."""
        return self.store.objects[self.path(file)]

    async def verifier(self, **more: Any) -> Verifier:
        """Make a verifier, once the set is in the store."""
        await self.shelf.save_manifest(self.manifest)
        return Verifier(shelf=self.shelf, clock=self.clock, **more)

    def _change(self, **changed: Any) -> None:
        self.stored = replace(self.stored, manifest=replace(self.manifest, **changed))


def points(ids: Sequence[int]) -> list[Point]:
    """Make points with these ids, each with a payload and a vector of its own."""
    return [Point(one, {"n": one}, packed([float(one), 0.5, -1.0, 0.0])) for one in ids]
