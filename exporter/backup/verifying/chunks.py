"""The chunks of an export: what its manifest lacks, their hashes, and all of their points."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing

from exporter.backup import content
from exporter.backup.exporting.records import BadChunk, order_of
from exporter.backup.exporting.stored import read_points
from exporter.backup.progress import Progress, step
from exporter.backup.shelf import place_of
from exporter.backup.storage.contract import Store
from exporter.backup.verifying.findings import Findings
from exporter.backup.words import Chunk, Consistency, Manifest, ShardKey
from exporter.errors import StoreMissing, StoreShort
from exporter.printable import printable

# In place of a key where there are none. A key is written as JSON, so the text has quotes and this has none.
NO_KEY = "all"


def chunk_problems(manifest: Manifest) -> Iterator[str]:
    """Say what is wrong with the chunks by the manifest alone: files and keys, ids, points. Pure."""
    files = Counter(chunk.file for chunk in manifest.chunks)
    yield from (f"{printable(file)} is named {times} times" for file, times in files.items() if times > 1)
    keys: set[ShardKey] = {layout.key for layout in manifest.keys} or {None}
    before: dict[ShardKey, Chunk] = {}
    for chunk in manifest.chunks:
        if chunk.key not in keys:
            yield f"{printable(chunk.file)} is of a shard key that the manifest does not have"
        yield from _order_problems(chunk, before.get(chunk.key))
        before[chunk.key] = chunk
    export = manifest.export
    if export is not None and export.consistency is Consistency.QUIESCED:
        counted = {export.points_before, export.points_after} - {None, manifest.points}
        if counted:
            said = ", ".join(f"{one:,}" for one in sorted(one for one in counted if one is not None))
            yield f"the chunks have {manifest.points:,} points, and {said} were counted while nobody wrote"


async def hash_problems(store: Store, manifest: Manifest, progress: Progress) -> list[str]:
    """Read every chunk, and hold its SHA-256 against the manifest's. Raises StoreError."""
    problems: list[str] = []
    done = 0
    with step(progress, f"read {len(manifest.chunks)} chunks", manifest.size_bytes):
        for chunk in manifest.chunks:
            seen = hashlib.sha256()
            try:
                async with store.read(place_of(manifest).file(chunk.file)) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(seen.update, piece)
                        done += len(piece)
                        progress.advance(done)
            except (StoreMissing, StoreShort):
                problems.append(f"{chunk.file} cannot be read to its end")
                continue
            if seen.hexdigest() != chunk.sha256:
                problems.append(f"{chunk.file} is damaged: its SHA-256 is not the manifest's")
    return problems


async def decoded(store: Store, manifest: Manifest, progress: Progress) -> Findings:
    """Read every point of every chunk: header, hash, order, count and content. Raises StoreError.

    Holds about a megabyte of points at a time.
    """
    problems: list[str] = []
    points: Counter[str] = Counter()
    done = 0
    with step(progress, f"decode {len(manifest.chunks)} chunks", manifest.size_bytes):
        for chunk in manifest.chunks:
            problem = await _problem_of(store, manifest, chunk)
            if problem is None:
                points[_text(chunk.key)] += chunk.points
            else:
                problems.append(problem)
            done += chunk.size_bytes
            progress.advance(done)
    whole = None if problems else content.total([chunk.content for chunk in manifest.chunks])
    return Findings("", tuple(problems), dict(points), whole)


async def _problem_of(store: Store, manifest: Manifest, chunk: Chunk) -> str | None:
    try:
        async with aclosing(read_points(store, manifest, chunk)) as batches:
            async for _ in batches:
                pass  # reading them is what compares them
    except (StoreMissing, StoreShort):
        return f"{chunk.file} cannot be read to its end"
    except BadChunk as error:
        return str(error)
    return None


def _order_problems(chunk: Chunk, before: Chunk | None) -> Iterator[str]:
    """Hold a chunk against the one before it of the same key."""
    name = printable(chunk.file)
    if chunk.points < 1:
        yield f"{name} is said to hold no point"
    try:
        first, last = order_of(chunk.first), order_of(chunk.last)
        earlier = None if before is None else order_of(before.last)
    except ValueError:
        yield f"{name} or the chunk before it is said to end at what is no id"
        return
    if first > last or (earlier is not None and earlier >= first):
        yield f"the ids of {name} do not come after those before it"


def _text(key: ShardKey) -> str:
    """Return a key as text, the number 1 apart from the text "1"."""
    return NO_KEY if key is None else json.dumps(key)
