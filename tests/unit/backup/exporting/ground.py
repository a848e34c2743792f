"""Exports of scripted peers into a store in memory, and what came of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

from exporter.backup.content import ContentHash, total
from exporter.backup.exporting.records import Point
from exporter.backup.exporting.stored import read_points
from exporter.backup.exporting.taking import export
from exporter.backup.shelf import place_of
from exporter.backup.words import Level, Manifest
from tests.kit.snapshot_cluster import Points
from tests.unit.backup.ground import CLUSTER, Ground

SMALL_CHUNK = 200  # bytes: a page is a chunk


async def exported(ground: Ground, collection: str = "docs", **changed: Any) -> Manifest:
    """Export a collection."""
    arguments: dict[str, Any] = {
        "cluster": CLUSTER,
        "peers": ground.peers,
        "shelf": ground.shelf,
        "clock": ground.clock,
        "job": "weekly",
        "limits": ground.limits,
    }
    return await export(collection, **arguments | changed)


async def points_of(ground: Ground, manifest: Manifest) -> list[Point]:
    """Read all points of a set back, chunk after chunk."""
    return [point async for point in _points(ground, manifest)]


async def _points(ground: Ground, manifest: Manifest) -> AsyncIterator[Point]:
    for chunk in manifest.chunks:
        async with aclosing(read_points(ground.store, manifest, chunk)) as batches:
            async for batch in batches:
                for point in batch:
                    yield point


def content_of(*held: Points) -> str:
    """Return the content of points as a scripted cluster holds them, of one key each."""
    made = ContentHash()
    for points in held:
        for id_, (vector, payload) in points.items():
            made.add(id_, payload, vector)
    return str(made)


def content_in(manifest: Manifest) -> str:
    """Return the content of all chunks."""
    return total([chunk.content for chunk in manifest.chunks])


def leftovers(ground: Ground, manifest: Manifest) -> list[str]:
    """Return what lies in the store and belongs to no set."""
    place = place_of(manifest)
    ours = {place.manifest, place.proof(Level.HASHED), *files(manifest)}
    return sorted(set(ground.store.objects) - ours)


def files(manifest: Manifest) -> Iterable[str]:
    """Return the paths of all chunks."""
    return [place_of(manifest).file(chunk.file) for chunk in manifest.chunks]
