"""The Qdrant that a contract is tested on: the embedded one, or a real one that somebody runs.

What is made on it has names of its own and is removed afterwards; nothing else there is touched.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from exporter.embedded.server import EmbeddedServer
from exporter.embedded.shard import Pacing
from exporter.qdrant.door import quote_segment

Seen = TypeVar("Seen")

URLS_VARIABLE = "QDRANT_URL"
KEY_VARIABLE = "QDRANT_API_KEY"
HOW_TO_RUN = (
    "the contract was tested on the embedded server only; for a real one: "
    f"{URLS_VARIABLE}=http://127.0.0.1:6333 make test ARGS=tests/contract "
    f"(the peers of one cluster: all their URLs, separated by commas; {KEY_VARIABLE} where a key is set)"
)
DIMENSION = 64
BATCH_POINTS = 500  # a body well under 1 MB, which aiohttp sends in one piece
# The optimizer of a real server wakes every few seconds where nothing was written.
PATIENCE_SECONDS = 60.0
BOUNDARY = "of-a-form-with-a-snapshot"
LOOK_EVERY_SECONDS = 0.02
# Waits for a pause in the writes, as short as the survey of a shard lets it be seen.
PACING = Pacing(quiet_seconds=0.05, patience_seconds=1.0)
# Work is planned and not begun until another PATCH: what would pass in a moment stands still.
HELD = {"max_optimization_threads": 0}
RELEASED = {"max_optimization_threads": 1}
# A graph so dense that building it takes a second or two on any machine.
SLOW_GRAPH = {"m": 64, "ef_construct": 1_000, "max_indexing_threads": 1}
TELEMETRY = "/telemetry?details_level={level}"


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer."""

    status: int
    content_type: str  # "" where the body is empty
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Received:
    """One answer as bytes, with its headers."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Qdrant:
    """A deployment under test and how to ask it. `urls` are the peers of one cluster."""

    def __init__(
        self,
        *,
        urls: Sequence[str],
        api_key: str | None,
        session: aiohttp.ClientSession,
        embedded: EmbeddedServer | None = None,
    ) -> None:
        self.urls = tuple(urls)
        self.api_key = api_key
        self.embedded = embedded
        self.prefix = f"qdrantx-contract-{uuid.uuid4().hex[:8]}-"
        self._session = session
        self._made: list[str] = []

    async def ask(self, method: str, path: str, body: Any = None, *, url: str | None = None) -> Answered:
        """Send one request, to the first peer where no other is named."""
        headers = {} if self.api_key is None else {"api-key": self.api_key}
        target = URL((url or self.urls[0]) + path, encoded=True)
        async with self._session.request(method, target, json=body, headers=headers) as response:
            text = await response.text()
            kind = response.headers.get("Content-Type", "") if text else ""
            return Answered(response.status, kind, text)

    async def fetch(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Received:
        """Ask the first peer for bytes, as they are unless `headers` accept gzip; those stay packed."""
        own = {} if self.api_key is None else {"api-key": self.api_key}
        asked = {"Accept-Encoding": "identity", **own, **(headers or {})}
        target = URL(self.urls[0] + path, encoded=True)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(method, target, headers=asked) as response,
        ):
            return Received(response.status, response.headers, await response.read())

    async def upload(self, path: str, file: bytes, *, field: str = "snapshot") -> Answered:
        """Send the first peer a form with one file in it, on a connection of its own.

        A server that refuses early hangs up once it has answered: a form that is not sent in one piece by
        then loses the answer.
        """
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        if self.api_key is not None:
            headers["api-key"] = self.api_key
        about = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="made.snapshot"'
        kind = "Content-Type: application/octet-stream\r\n\r\n"
        form = f"{about}\r\n{kind}".encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()
        target = URL(self.urls[0] + path, encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.post(target, data=form, headers=headers) as response,
        ):
            text = await response.text()
            return Answered(response.status, response.headers.get("Content-Type", ""), text)

    def name(self, suffix: str) -> str:
        """A name that is removed afterwards, whoever makes a collection of it."""
        self._made.append(self.prefix + suffix)
        return self._made[-1]

    async def result(self, method: str, path: str, body: Any = None, *, url: str | None = None) -> Any:
        """Send one request that must succeed; return its result."""
        answered = await self.ask(method, path, body, url=url)
        assert answered.status == 200, answered.text
        return answered.json["result"]

    async def create(self, suffix: str = "docs", **config: Any) -> str:
        """Create a collection on every peer and return its name. Of DIMENSION where nothing else is said."""
        name = self.name(suffix)  # first: a creation that fails half-way is removed too
        config.setdefault("vectors", {"size": DIMENSION, "distance": "Dot"})
        await self.result("PUT", path_of(name), config)
        await self.until(lambda: self._is_everywhere(name), what=f"{name!r} on every peer")
        return name

    async def _is_everywhere(self, name: str) -> bool:
        found = [await self.result("GET", f"{path_of(name)}/exists", url=url) for url in self.urls]
        return all(one["exists"] for one in found)

    async def write(self, name: str, last: int, *, first: int = 0, wait: bool = True) -> None:
        """Write points `first` to `last` - 1 and wait until they are applied."""
        chance = random.Random(first)
        target = f"{path_of(name)}/points?wait={'true' if wait else 'false'}"
        for start in range(first, last, BATCH_POINTS):
            numbers = range(start, min(start + BATCH_POINTS, last))
            await self.result("PUT", target, {"points": [point(number, chance) for number in numbers]})

    async def delete(self, name: str, *points: int) -> None:
        """Delete points and wait until that many are marked as deleted in the segments."""
        await self.result("POST", f"{path_of(name)}/points/delete?wait=true", {"points": points})

        async def marked() -> bool:
            return await self.deleted_points(name) >= len(points)

        await self.until(marked, what="the segments show the deletion")

    async def deleted_points(self, name: str) -> int:
        """Points that the segments of all replicas keep as deleted."""
        shards = await self.shards(name)
        return sum(one["info"]["num_deleted_vectors"] for shard in shards for one in shard["segments"])

    async def patch(self, name: str, **optimizers: Any) -> None:
        """Change the optimizer's settings, which also wakes it."""
        await self.result("PATCH", path_of(name), {"optimizers_config": optimizers})

    async def info(self, name: str) -> Any:
        """What GET /collections/{collection} says."""
        return await self.result("GET", path_of(name))

    async def telemetry(self, level: int, *, url: str | None = None) -> Any:
        """One peer's telemetry, of all collections those of this test only."""
        page = await self.result("GET", TELEMETRY.format(level=level), url=url)
        collections = page["collections"].get("collections", [])
        if level > 1:
            collections[:] = [one for one in collections if one["id"].startswith(self.prefix)]
        return page

    async def shards(self, name: str, *, level: int = 4) -> list[Any]:
        """Every replica of a collection, as its own peer tells it."""
        pages = [await self.telemetry(level, url=url) for url in self.urls]
        return [
            shard["local"]
            for page in pages
            for collection in page["collections"]["collections"]
            for shard in collection["shards"]
            if collection["id"] == name and shard["local"] is not None
        ]

    async def until_all_indexed(self, name: str, vectors: int) -> None:
        """Wait until every replica is green and so many vectors are in an index."""

        async def indexed() -> bool:
            await self.until_green(name)
            return bool((await self.info(name))["indexed_vectors_count"] == vectors)

        await self.until(indexed, what=f"{vectors} vectors of {name!r} are indexed")

    async def until_green(self, name: str) -> Any:
        """Wait until nothing is left to optimize on any replica; return the replicas."""

        async def green() -> Any:
            shards = await self.shards(name)
            return shards if all(one["status"] == "green" for one in shards) else None

        return await self.until(green, what=f"{name!r} is green")

    async def until(self, look: Callable[[], Awaitable[Seen | None]], *, what: str) -> Seen:
        """Return the first result of `look` that is not None or False; fail saying `what` never came."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (seen := await look()):
                    await asyncio.sleep(LOOK_EVERY_SECONDS)
                return seen
        except TimeoutError:
            raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}") from None

    async def remove_all(self) -> None:
        """Delete every collection of this test, with its aliases and snapshots."""
        for name in self._made:
            for url in self.urls:
                listed = await self.ask("GET", f"{path_of(name)}/snapshots", url=url)
                for snapshot in listed.json["result"] if listed.status == 200 else ():
                    await self.ask("DELETE", f"{path_of(name)}/snapshots/{snapshot['name']}", url=url)
            await self.ask("DELETE", path_of(name))


def path_of(name: str) -> str:
    """The path of a collection."""
    return f"/collections/{quote_segment(name)}"


def point(number: int, chance: random.Random) -> dict[str, Any]:
    """A point with three fields of payload."""
    payload = {"colour": f"c{number % 5}", "price": number / 8, "stock": number}
    return {"id": number, "vector": vector(chance), "payload": payload}


def vector(chance: random.Random) -> list[float]:
    """A vector of small whole numbers, which every datatype holds exactly."""
    return [float(chance.randrange(256)) for _ in range(DIMENSION)]


def real_urls() -> tuple[str, ...]:
    """The peers of the real deployment; none where nobody named one."""
    return tuple(
        url.strip().rstrip("/") for url in os.environ.get(URLS_VARIABLE, "").split(",") if url.strip()
    )


@asynccontextmanager
async def embedded_qdrant(*, api_key: str | None = None) -> AsyncIterator[Qdrant]:
    """An embedded server, for one test."""
    server = EmbeddedServer(pacing=PACING, api_key=api_key)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Qdrant(urls=[server.url], api_key=api_key, session=session, embedded=server)
    finally:
        await server.stop()


@asynccontextmanager
async def real_qdrant() -> AsyncIterator[Qdrant]:
    """The real deployment that the environment names."""
    async with aiohttp.ClientSession() as session:
        qdrant = Qdrant(urls=real_urls(), api_key=os.environ.get(KEY_VARIABLE), session=session)
        try:
            yield qdrant
        finally:
            await qdrant.remove_all()
