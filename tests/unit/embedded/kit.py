"""An embedded server and a session to it, for the tests of what it does."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from exporter.clock import Clock
from exporter.embedded.server import EmbeddedServer
from exporter.embedded.shard import Pacing

DIMENSION = 16
PATIENCE_SECONDS = 40.0
BOUNDARY = "a-line-between-parts"
SMALL_CONFIG = {
    "vectors": {"size": DIMENSION, "distance": "Cosine"},
    "optimizers_config": {"indexing_threshold": 1, "vacuum_min_vector_number": 100},
    "hnsw_config": {"full_scan_threshold": 10},
}


@dataclass(slots=True)
class Served:
    """A running server and how to ask it."""

    server: EmbeddedServer
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """Send one request; return status and JSON, or the text where it is none."""
        async with self.session.request(method, self.server.url + path, json=body, **more) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def result(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request that must succeed; return its result."""
        status, answer = await self.ask(method, path, body)
        assert status == 200, answer
        return answer["result"]

    async def upload(self, path: str, file: bytes, *, name: str = "made.snapshot") -> tuple[int, Any]:
        """Send a form with a snapshot in it, its name as it is; return status and JSON."""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="snapshot"; filename="{name}"\r\n\r\n'
        form = head.encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        async with self.session.post(self.server.url + path, data=form, headers=headers) as response:
            return response.status, await response.json()

    async def snapshot(self, name: str = "docs") -> tuple[str, bytes]:
        """Make a snapshot; return its name and the file."""
        described = await self.result("POST", f"/collections/{name}/snapshots", {})
        path = f"/collections/{name}/snapshots/{described['name']}"
        async with self.session.get(self.server.url + path) as response:
            return described["name"], await response.read()

    async def write(self, first: int, last: int, *, wait: bool = True) -> Any:
        """Write points first to last - 1 into `docs`."""
        points = [
            {"id": number, "vector": [round(random.gauss(), 3) for _ in range(DIMENSION)]}
            for number in range(first, last)
        ]
        path = f"/collections/docs/points?wait={'true' if wait else 'false'}"
        return await self.result("PUT", path, {"points": points})

    def worker(self) -> int:
        """The process of the only collection."""
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii")
        (worker,) = children.split()
        return int(worker)

    async def local_shard(self) -> dict[str, Any]:
        """The shard of `docs` as telemetry 4 shows it."""
        page = await self.result("GET", "/telemetry?details_level=4")
        collections = {one["id"]: one for one in page["collections"]["collections"]}
        return dict(collections["docs"]["shards"][0]["local"])

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask for the shard until it is as wanted; fail after a while."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not wanted(local := await self.local_shard()):
                await asyncio.sleep(0.02)
        return local


def is_green(local: dict[str, Any]) -> bool:
    """Nothing is left to optimize."""
    return bool(local["status"] == "green")


@asynccontextmanager
async def serving(
    *,
    data: Path | None = None,
    pacing: Pacing | None = None,
    api_key: str | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Served]:
    """Run a server for a while."""
    fast = pacing or Pacing(quiet_seconds=0.05, patience_seconds=1.0)
    server = EmbeddedServer(data=data, pacing=fast, api_key=api_key, clock=clock)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Served(server, session)
    finally:
        await server.stop()
