"""One export or import, ours or by qdrant-client, in a process of its own: its peak in RAM is then its own.

    python -m tests.bench.export_work ROLE URL COLLECTION FOLDER

prints one line of JSON, of the work alone: importing modules is not counted. The client's two are written
as the guide's BackupManager has them, so that both sides begin and end with files on the same disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from qdrant_client import AsyncQdrantClient
from qdrant_client.http.models import Distance, OptimizersConfigDiff, PointStruct, VectorParams

from exporter.backup.exporting.taking import export
from exporter.backup.importing.run import Importer
from exporter.backup.importing.words import ImportOptions
from exporter.backup.shelf import Shelf
from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.local import LocalStore
from exporter.backup.survey import PeerAt
from exporter.clock import SystemClock
from exporter.logs import Redactor, configure
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.bench.process import peak_mebibytes

CLUSTER = "bench"
BATCH_SIZE = 1_000  # points of a scroll and of an upload, as the guide has it
CLIENT_SECONDS = 120


@dataclass(slots=True)
class Steps:
    """How long each step of a chore took, in seconds, by its first word."""

    seconds: dict[str, float] = field(default_factory=dict)
    _step: str = ""
    _began: float = 0.0

    def begin(self, what: str, total_bytes: int | None) -> None:
        """A step begins."""
        self._step, self._began = what.partition(" ")[0], time.perf_counter()

    def advance(self, done_bytes: int) -> None:
        """How far it is, is not asked."""

    def end(self) -> None:
        """The step is over."""
        took = time.perf_counter() - self._began
        self.seconds[self._step] = self.seconds.get(self._step, 0.0) + took


async def export_ours(url: str, collection: str, folder: Path) -> dict[str, Any]:
    """Export into a store: hashed, compressed, fsynced."""
    clock = SystemClock()
    async with _ground(url, folder) as (shelf, peer):
        began = time.perf_counter()
        manifest = await export(collection, cluster=CLUSTER, peers=(peer,), shelf=shelf, clock=clock)
        took = time.perf_counter() - began
    return {"seconds": took, "points": manifest.points, "bytes": manifest.size_bytes}


async def export_by_client(url: str, collection: str, folder: Path) -> dict[str, Any]:
    """Scroll, and write each batch as JSON, which nobody hashes or syncs."""
    return await _scroll(url, collection, folder)


async def scroll_by_client(url: str, collection: str, folder: Path) -> dict[str, Any]:
    """Scroll, and write nothing."""
    return await _scroll(url, collection, None)


async def import_ours(url: str, collection: str, folder: Path) -> dict[str, Any]:
    """Import the newest export of the store under this name, with its proof."""
    steps = Steps()
    async with _ground(url, folder) as (shelf, peer):
        newest = max(await shelf.sets(), key=lambda stored: stored.manifest.id)
        importer = Importer(cluster=CLUSTER, peers=(peer,), shelf=shelf, clock=SystemClock(), progress=steps)
        began = time.perf_counter()
        imported = await importer.import_set(newest, ImportOptions(target=collection))
        took = time.perf_counter() - began
    return {"seconds": steps.seconds["load"], "points": imported.points, "whole": took}


async def upload_by_client(url: str, collection: str, folder: Path) -> dict[str, Any]:
    """Upload the batches that the client's export wrote, and wait for each: else nobody knows that it is
    there."""
    client = _client(url)
    points = 0
    files = sorted(folder.glob("batch_*.json"))
    size = len(json.loads(files[0].read_text())[0]["vector"])
    await client.create_collection(
        collection,
        vectors_config=VectorParams(size=size, distance=Distance.DOT),
        optimizers_config=OptimizersConfigDiff(indexing_threshold=0),
    )
    began = time.perf_counter()
    for file in files:
        with file.open() as opened:
            records = json.load(opened)
        batch = [
            PointStruct(id=record["id"], vector=record.get("vector"), payload=record.get("payload"))
            for record in records
        ]
        await client.upsert(collection, points=batch, wait=True)
        points += len(batch)
    took = time.perf_counter() - began
    await client.close()
    return {"seconds": took, "points": points}


ROLES = {
    "export": export_ours,
    "export-by-client": export_by_client,
    "scroll-by-client": scroll_by_client,
    "import": import_ours,
    "upload-by-client": upload_by_client,
}


async def _scroll(url: str, collection: str, folder: Path | None) -> dict[str, Any]:
    client = _client(url)
    offset, number, points = None, 0, 0
    began = time.perf_counter()
    while True:
        records, offset = await client.scroll(
            collection_name=collection,
            limit=BATCH_SIZE,
            offset=offset,
            with_payload=True,
            with_vectors=True,
        )
        if folder is not None:
            with (folder / f"batch_{number:06d}.json").open("w") as file:
                json.dump([record.model_dump() for record in records], file)
        number += 1
        points += len(records)
        if offset is None:
            break
    took = time.perf_counter() - began
    await client.close()
    return {"seconds": took, "points": points}


def _client(url: str) -> AsyncQdrantClient:
    """Return a client that keeps no connection: one that is idle while a batch is dumped gets a 408."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return AsyncQdrantClient(url=url, timeout=CLIENT_SECONDS, check_compatibility=False, limits=limits)


@asynccontextmanager
async def _ground(url: str, folder: Path) -> AsyncIterator[tuple[Shelf, PeerAt]]:
    clock = SystemClock()
    store = LocalStore(folder, bandwidth=Bandwidth(None, clock=clock), clock=clock)
    peer = PeerAt(CLUSTER, url, Courier(Door(url=url), clock))
    try:
        yield Shelf(store, clock), peer
    finally:
        await peer.courier.close()
        await store.close()


def main() -> None:
    """Do one piece of work and print what it took."""
    role, url, collection, folder = sys.argv[1:]
    configure(level="error", format="console", redactor=Redactor())
    warnings.simplefilter("ignore")  # the client's word on plain http
    figures = asyncio.run(ROLES[role](url, collection, Path(folder)))
    print(json.dumps(figures | {"peak": peak_mebibytes(os.getpid())}))


if __name__ == "__main__":
    main()
