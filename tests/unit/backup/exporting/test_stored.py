"""Chunks read back from a store: what is not as the manifest says is found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from exporter.backup.exporting.records import BadChunk, ChunkReader, Header, chunk_writer
from exporter.backup.words import Chunk, Encoding, Manifest
from exporter.errors import JobError, StoreMissing
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.exporting.ground import exported, files, points_of
from tests.unit.backup.ground import Ground, ground_of


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    """One server with a collection of twenty points."""
    async with ground_of(SnapshotCluster(standalone=True)) as made:
        made.cluster.create("docs", points(20))
        yield made


def changed(manifest: Manifest, **fields: Any) -> Manifest:
    """Return a manifest that says something else of its one chunk."""
    (chunk,) = manifest.chunks
    return replace(manifest, chunks=(replace(chunk, **fields),))


@pytest.mark.parametrize("encoding", Encoding)
async def test_a_chunk_that_is_whole_gives_its_points(ground: Ground, encoding: Encoding) -> None:
    """As the server says them."""
    manifest = await exported(ground, encoding=encoding)

    found = await points_of(ground, manifest)

    assert [one.plain() for one in found] == [
        {"id": id_, "payload": payload, "vector": vector} for id_, (vector, payload) in points(20).items()
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"points": 19}, "holds 20 points"),
        ({"first": 1}, "begins or ends"),
        ({"last": 20}, "begins or ends"),
        ({"content": f"c1:{0:032x}:{0:032x}"}, "points are others"),
        ({"key": "eu"}, "another set"),
    ],
)
async def test_a_chunk_that_is_not_what_the_manifest_says_is_bad(
    ground: Ground, fields: dict[str, Any], why: str
) -> None:
    """Each of what it says is compared."""
    manifest = await exported(ground)

    with pytest.raises(BadChunk, match=why):
        await points_of(ground, changed(manifest, **fields))


async def test_a_chunk_of_another_set_is_bad(ground: Ground) -> None:
    """By its own word, though it is whole."""
    manifest, other = await exported(ground), await exported(ground)
    ground.store.objects[next(iter(files(manifest)))] = ground.store.objects[next(iter(files(other)))]

    with pytest.raises(BadChunk, match="another set"):
        await points_of(ground, manifest)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: b"\0" + data[1:]])
async def test_a_chunk_that_was_cut_off_or_damaged_is_bad(
    ground: Ground, damage: Callable[[bytes], bytes]
) -> None:
    """Whatever the disk did to it."""
    manifest = await exported(ground)
    (path,) = files(manifest)
    ground.store.objects[path] = damage(ground.store.objects[path])

    with pytest.raises(BadChunk, match=r"0000-000000\.points"):
        await points_of(ground, manifest)


async def test_a_chunk_whose_ids_do_not_ascend_is_bad(ground: Ground) -> None:
    """A point that comes twice is no other point."""
    manifest = await exported(ground)
    (path,) = files(manifest)
    reader = ChunkReader(Encoding.MSGPACK, "chunk")
    (read,) = reader.feed(ground.store.objects[path])
    writer = chunk_writer(Header(manifest.id, "docs", None, 0), Encoding.MSGPACK)
    ground.store.objects[path] = writer.add(read[::-1]) + writer.finish()

    with pytest.raises(BadChunk, match="do not ascend"):
        await points_of(ground, manifest)


async def test_a_chunk_that_is_not_there_is_missing(ground: Ground) -> None:
    """The store says so."""
    manifest = await exported(ground)
    ground.store.objects.clear()

    with pytest.raises(StoreMissing):
        await points_of(ground, manifest)


async def test_a_snapshot_has_no_points_to_read(ground: Ground) -> None:
    """Its archives are opened by an engine."""
    manifest = await ground.take()
    chunk = Chunk("0000-000000.points", None, 1, 1, "", 1, 1, "")

    with pytest.raises(JobError, match="is no export"):
        await points_of(ground, replace(manifest, chunks=(chunk,)))
