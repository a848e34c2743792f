"""The demo's load: two servers, three collections, and a script that a dashboard can follow.

One round takes about four minutes and repeats. Everything goes through the servers' own
HTTP doors, so their request counters count it, except the disappearance, which is theirs to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from exporter.embedded.demo_data import ClusteredVectors
from exporter.embedded.server import EmbeddedServer
from exporter.embedded.shard import Pacing

# The optimizer waits for a pause in the writes, so that a burst of them shows as lag for a while.
DEMO_PACING = Pacing(quiet_seconds=4.0, patience_seconds=90.0)
BATCH_POINTS = 250
RECALL_SECONDS = 20.0  # with the pause before, 35 of the 50 queries that the recall is made of
THIN_GRAPH = {"m": 2, "ef_construct": 4, "full_scan_threshold": 100}
# Products are indexed so thoroughly that searches wait for it, long enough for their p95 to show it.
THOROUGH_GRAPH = {"m": 16, "ef_construct": 500, "full_scan_threshold": 100}
BURST_SECONDS = 35.0  # two polls of the segments at least, at one in 10 s
BURST_PAUSE_SECONDS = 0.7  # between two batches: about 12,000 points a burst
HOLD_SECONDS = 15.0  # how long a state stays as it is, so that a poll sees it
GONE_SECONDS = 45.0  # beyond the half minute after which the demo pages for it
SEARCH_PAUSE_SECONDS = 0.5
CALL_SECONDS = 60.0  # a search behind an optimization waits for its end
FIRST_DELETED_SHARE, SECOND_DELETED_SHARE = 0.15, 0.15  # the vacuum comes at a fifth

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoCollection:
    """A collection of the demo. It holds `kept_points` between two rounds."""

    server: str
    name: str
    dimension: int
    kept_points: int


PRODUCTS = DemoCollection("shop", "products", dimension=48, kept_points=3000)
REVIEWS = DemoCollection("shop", "reviews", dimension=32, kept_points=2000)
PAPERS = DemoCollection("archive", "papers", dimension=32, kept_points=4000)
COLLECTIONS = (PRODUCTS, REVIEWS, PAPERS)
CONFIG = {
    # small, so that indexing begins after some hundred points
    "optimizers_config": {
        "indexing_threshold": 150,
        "deleted_threshold": 0.2,
        "vacuum_min_vector_number": 500,
        "default_segment_number": 1,
    },
    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 100},
}


def demo_servers() -> dict[str, EmbeddedServer]:
    """Return the demo's servers by the name of their cluster, not started."""
    names = dict.fromkeys(collection.server for collection in COLLECTIONS)
    return {name: EmbeddedServer(pacing=DEMO_PACING) for name in names}


async def play(servers: Mapping[str, EmbeddedServer], say: Say) -> None:
    """Play rounds on started servers until cancelled; `say` is told what happens and what shows it."""
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
        load = DemoLoad(servers=servers, session=session, say=say)
        await load.fill()
        for collection in COLLECTIONS:
            tasks.create_task(load.search_on(collection))
        for number in itertools.count(1):
            say(f"Round {number} begins.")
            await load.burst()
            await load.delete_and_vacuum()
            await load.spoil_recall()
            await load.disappear()
            await load.tidy_up()


class DemoLoad:
    """The phases of one round."""

    def __init__(
        self, *, servers: Mapping[str, EmbeddedServer], session: aiohttp.ClientSession, say: Say
    ) -> None:
        self._servers = servers
        self._session = session
        self._say = say
        self._vectors = {
            collection.name: ClusteredVectors(dimension=collection.dimension, seed=seed)
            for seed, collection in enumerate(COLLECTIONS)
        }
        self._points = {collection.name: 0 for collection in COLLECTIONS}  # ids count up from 0

    async def fill(self) -> None:
        """Create the collections with what they hold between two rounds."""
        for collection in COLLECTIONS:
            vectors = {"size": collection.dimension, "distance": "Cosine"}
            graph = {"hnsw_config": THOROUGH_GRAPH} if collection is PRODUCTS else {}
            await self._call("PUT", collection, "", {"vectors": vectors, **CONFIG, **graph})
            index = {"field_name": "cluster", "field_schema": "integer"}
            await self._call("PUT", collection, "/index?wait=true", index)
            while self._points[collection.name] < collection.kept_points:
                await self._write(collection)
            held = self._points[collection.name]
            self._say(f"{collection.server}: collection {collection.name} holds {held:,} points.")

    async def search_on(self, collection: DemoCollection) -> None:
        """Search like a neighbour of some point, for ever; a server that is gone is tried again."""
        while True:
            _, vector = self._vectors[collection.name].one()
            query = {"query": vector, "limit": 10, "params": {"hnsw_ef": 64}}
            # the script lets a server disappear, and its absence is what the demo shows
            with contextlib.suppress(aiohttp.ClientConnectionError, TimeoutError):
                await self._call("POST", collection, "/points/query", query)
            await asyncio.sleep(SEARCH_PAUSE_SECONDS)

    async def burst(self) -> None:
        """Insert faster than the optimizer takes it, then let it catch up."""
        self._say(
            "shop: products gets new points faster than they are indexed. "
            'qdrantx_collection_indexing_lag_points{collection="products"} rises, its status turns yellow.'
        )
        clock = asyncio.get_running_loop().time
        ends_seconds = clock() + BURST_SECONDS
        while clock() < ends_seconds:
            await self._write(PRODUCTS)
            await asyncio.sleep(BURST_PAUSE_SECONDS)
        self._say(
            f"shop: the burst is over at {self._points['products']:,} points; now the index is built. "
            "The lag falls to 0, qdrantx_collection_optimizations_running is 1 meanwhile, and searches wait: "
            'qdrantx_probe_latency_p95_seconds{collection="products"} rises.'
        )
        await self._until_quiet(PRODUCTS)
        self._say("shop: products is green again, every point is in the index.")

    async def delete_and_vacuum(self) -> None:
        """Delete below the vacuum's threshold, wait, then pass it."""
        held = self._points["products"]
        first, second = int(held * FIRST_DELETED_SHARE), int(held * SECOND_DELETED_SHARE)
        await self._delete(PRODUCTS, range(first))
        self._say(
            f"shop: {first:,} products deleted, too few for the vacuum. They stay on disk: "
            "qdrantx_collection_deleted_points and qdrantx_collection_reclaimable_bytes show them."
        )
        await asyncio.sleep(HOLD_SECONDS)
        await self._delete(PRODUCTS, range(first, first + second))
        self._say(
            f"shop: {second:,} more deleted, over a fifth now: the vacuum rewrites the segment. "
            "The status is yellow, then qdrantx_collection_deleted_points is 0."
        )
        await self._until_quiet(PRODUCTS)

    async def spoil_recall(self) -> None:
        """Build the index of reviews anew with a graph that is too thin, wait, then as it was."""
        await self._until_quiet(REVIEWS)
        self._say(
            "shop: somebody saves memory on the index of reviews: m from 16 to 2. It stays green and fast "
            'and finds much less: qdrantx_recall_ratio{collection="reviews"} falls below 0.9.'
        )
        await self._call("PATCH", REVIEWS, "", {"hnsw_config": THIN_GRAPH})
        await self._until_quiet(REVIEWS)
        await asyncio.sleep(RECALL_SECONDS)
        self._say("shop: the index of reviews is built as it was. The recall is back at 1 within a minute.")
        await self._call("PATCH", REVIEWS, "", {"hnsw_config": CONFIG["hnsw_config"]})
        await self._until_quiet(REVIEWS)

    async def disappear(self) -> None:
        """Let a server go and come back."""
        archive = self._servers["archive"]
        self._say(
            f"archive: the server disappears for {GONE_SECONDS:.0f} s. "
            'qdrantx_up{qdrant_cluster="archive"} turns 0; nothing else of shop is later for it.'
        )
        await archive.hide()
        try:
            await asyncio.sleep(GONE_SECONDS)
        finally:
            await archive.show()
        self._say("archive: the server is back. qdrantx_up is 1 again.")
        await asyncio.sleep(HOLD_SECONDS)

    async def tidy_up(self) -> None:
        """Empty products and fill it anew, so that rounds do not grow."""
        self._say("shop: yesterday's products go, a new catalogue comes: points fall, then rise.")
        await self._delete(PRODUCTS, range(self._points["products"]))
        self._points["products"] = 0
        while self._points["products"] < PRODUCTS.kept_points:
            await self._write(PRODUCTS)
        await self._until_quiet(PRODUCTS)

    async def _write(self, collection: DemoCollection) -> None:
        first = self._points[collection.name]
        points = list(self._vectors[collection.name].points(range(first, first + BATCH_POINTS)))
        await self._call("PUT", collection, "/points?wait=true", {"points": points})
        self._points[collection.name] += BATCH_POINTS

    async def _delete(self, collection: DemoCollection, ids: range) -> None:
        await self._call("POST", collection, "/points/delete?wait=true", {"points": list(ids)})

    async def _until_quiet(self, collection: DemoCollection) -> None:
        """Wait until nothing is left to optimize and a poll has had time to see it."""
        await asyncio.sleep(DEMO_PACING.quiet_seconds)  # the optimizer begins no sooner
        # the server tells only when it is asked
        while (await self._call("GET", collection, "", None))["status"] != "green":  # noqa: ASYNC110
            await asyncio.sleep(1.0)
        await asyncio.sleep(HOLD_SECONDS)

    async def _call(self, method: str, collection: DemoCollection, path: str, body: Any) -> Any:
        url = f"{self._servers[collection.server].url}/collections/{collection.name}{path}"
        async with self._session.request(method, url, json=body) as response:
            response.raise_for_status()
            return (await response.json())["result"]
