"""The demo's load does what it says it does."""

from __future__ import annotations

import asyncio
import math

import aiohttp
import pytest

from exporter.embedded.demo_data import ClusteredVectors
from exporter.embedded.demo_load import PRODUCTS, demo_servers, play

PATIENCE_SECONDS = 60.0


async def test_products_fall_behind_while_the_load_says_so_and_it_stops_cleanly() -> None:
    """The burst begins, the shop turns yellow, and a cancelled load leaves both servers answering."""
    servers, said = demo_servers(), asyncio.Queue[str]()
    for server in servers.values():
        await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            playing = asyncio.create_task(play(servers, said.put_nowait))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while "rises" not in await said.get():
                    pass
                async with session.get(f"{servers['shop'].url}/collections/{PRODUCTS.name}") as response:
                    products = (await response.json())["result"]
            playing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await playing
            for server in servers.values():
                async with session.get(f"{server.url}/readyz") as response:
                    assert response.status == 200
    finally:
        for server in servers.values():
            await server.stop()

    assert products["status"] == "yellow"
    assert products["points_count"] >= PRODUCTS.kept_points > products["indexed_vectors_count"]


def test_points_lie_in_clusters() -> None:
    """Two points of one cluster are nearer to each other than to most points of others."""
    source = ClusteredVectors(dimension=32, seed=7)
    drawn = [source.one() for _ in range(300)]
    inside, outside = [], []
    for number, vector in drawn[1:]:
        distance = math.dist(vector, drawn[0][1])
        (inside if number == drawn[0][0] else outside).append(distance)

    assert max(inside) < min(outside)


def test_the_same_seed_makes_the_same_points() -> None:
    """A demo that is shown twice shows the same."""
    first, second = (ClusteredVectors(dimension=8, seed=3) for _ in range(2))

    assert list(first.points(range(5))) == list(second.points(range(5)))
