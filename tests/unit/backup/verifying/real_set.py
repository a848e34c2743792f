"""A set of backups in a store, of three archives that real peers made: complete, nobody wrote meanwhile."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from exporter.backup.archive.engine import Engine
from exporter.backup.archive.walk import shards_of
from exporter.backup.shelf import Shelf, place_of
from exporter.backup.verifying.levels import Verifier
from exporter.backup.words import Archive, KeyLayout, ShardCopy, StoredSet
from exporter.clock import SystemClock
from tests.kit import sets
from tests.kit.scripted_store import ScriptedStore
from tests.unit.backup.archive.tars import real_archive, walked

PEERS = {"a": "one_shard_of_three", "b": "three_shards_of_three", "c": "two_shards_of_three"}
POINTS = {2: 300, 3: 155, 4: 145}
COUNTING = {2: "b.snapshot", 3: "c.snapshot", 4: "a.snapshot"}


class RealSet:
    """The set and its store. Of the settings of a verifier the test says what it wants."""

    def __init__(self, *, engine: Engine | None, **changed: Any) -> None:
        self.clock = SystemClock()
        self.store = ScriptedStore(self.clock)
        self.shelf = Shelf(self.store, self.clock)
        self.engine = engine
        archives = tuple(_archive(peer, real_archive(name)) for peer, name in PEERS.items())
        manifest = sets.manifest(
            archives=archives,
            shards=tuple(_copy(shard, points) for shard, points in POINTS.items()),
            keys=(KeyLayout("b", (2,)), KeyLayout("c", (3, 4))),
        )
        self.stored = StoredSet(replace(manifest, **changed), (), accepted=False)
        for peer, name in PEERS.items():
            self.store.keep(self.path(peer), real_archive(name))

    def path(self, peer: str) -> str:
        """Where a peer's archive lies."""
        return place_of(self.stored.manifest).file(f"{peer}.snapshot")

    async def verifier(self, **more: Any) -> Verifier:
        """Make a verifier, once the set is in the store."""
        await self.shelf.save_manifest(self.stored.manifest)
        return Verifier(shelf=self.shelf, clock=self.clock, engine=self.engine, **more)

    def with_shard(self, shard: int, **changed: Any) -> RealSet:
        """Change what the manifest says of a shard."""
        manifest = self.stored.manifest
        shards = tuple(replace(one, **changed) if one.shard == shard else one for one in manifest.shards)
        self.stored = replace(self.stored, manifest=replace(manifest, shards=shards))
        return self

    def flip(self, peer: str, at: int) -> None:
        """Let a byte of an archive be another."""
        data = bytearray(self.store.objects[self.path(peer)])
        data[at] ^= 1
        self.store.keep(self.path(peer), bytes(data))

    def rewrite(self, peer: str, data: bytes) -> None:
        """Let an archive be another from the beginning: the manifest has its hash."""
        self.store.keep(self.path(peer), data)
        manifest = self.stored.manifest
        archives = tuple(
            replace(one, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
            if one.peer == peer
            else one
            for one in manifest.archives
        )
        self.stored = replace(self.stored, manifest=replace(manifest, archives=archives))


def _archive(peer: str, data: bytes) -> Archive:
    return sets.archive(
        file=f"{peer}.snapshot",
        peer=peer,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        shards=shards_of(walked(data).members),
    )


def _copy(shard: int, points: int) -> ShardCopy:
    return sets.shard(
        shard=shard,
        key="b" if shard == 2 else "c",
        archive=COUNTING[shard],
        points=points,
        points_before=points,
        points_after=points,
    )
