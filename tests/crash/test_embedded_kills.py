"""The same verbs on the embedded server and with the engine: what is proven is real points in real segments.

`CRASH_KILLS` and `CRASH_SEED` as for the scripted peers; lives are longer here and fewer.
"""

from __future__ import annotations

import json
import os
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exporter import exit_codes
from exporter.backup.words import SetState
from exporter.embedded.server import EmbeddedServer
from tests.crash.ground import COLLECTION, PAST_LEASE_SECONDS, Kill, Scene, Wall, forking

KILLS = max(1, int(os.environ.get("CRASH_KILLS", "8")) // 8)
SEED = int(os.environ.get("CRASH_SEED", "7"))
POINTS = 300
SPEED = 5.0  # the server shares a core with us and does real work
LONGEST_LIFE_SECONDS = 0.8
MOST_STEPS = 120


class Server:
    """The embedded server, asked as any client asks."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, f"{self.url}{path}", json=body) as answer:
            document = await answer.json()
            assert answer.status == 200, document
            return document["result"]

    async def fill(self) -> None:
        """Make a collection of known points."""
        vectors = {"size": 4, "distance": "Dot"}
        await self.ask("PUT", f"/collections/{COLLECTION}", {"vectors": vectors})
        await self.ask(
            "PUT", f"/collections/{COLLECTION}/index", {"field_name": "n", "field_schema": "integer"}
        )
        points = [
            {"id": number, "vector": [1.0, number / POINTS, 0.5, 0.25], "payload": {"n": number}}
            for number in range(POINTS)
        ]
        await self.ask("PUT", f"/collections/{COLLECTION}/points?wait=true", {"points": points})

    async def collections(self) -> set[str]:
        found = await self.ask("GET", "/collections")
        return {one["name"] for one in found["collections"]}

    async def snapshots(self) -> list[str]:
        return [one["name"] for one in await self.ask("GET", f"/collections/{COLLECTION}/snapshots")]

    async def points(self, name: str) -> dict[int, Any]:
        """Return all points of a collection."""
        body = {"limit": 10 * POINTS, "with_payload": True, "with_vector": True}
        found = await self.ask("POST", f"/collections/{name}/points/scroll", body)
        return {point["id"]: (point["payload"], point["vector"]) for point in found["points"]}


def some_kill(dice: random.Random) -> Kill:
    """Return a death by step or by moment."""
    if dice.random() < 0.5:
        return Kill(at_step=dice.randint(1, MOST_STEPS))
    return Kill(at_seconds=dice.uniform(0.02, LONGEST_LIFE_SECONDS))


async def contents(scene: Scene) -> set[str]:
    """Prove all complete sets by the engine, and return what it found in them."""
    found = [one for one in await scene.shelf.sets() if one.manifest.state is not SetState.INCOMPLETE]
    if not found:
        return set()
    ended = await scene.live("backup", "verify", "--level=4", "--output=json")
    assert ended.code == exit_codes.DONE, ended.output
    proofs = json.loads(ended.output)["sets"]
    assert all(proof["good"] and proof["by"] == "engine" for proof in proofs), proofs
    return {proof["contentHash"] for proof in proofs}


async def test_verbs_killed_on_the_embedded_server_leave_sets_that_the_engine_proves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sets that look complete have the same content; what is restored in the end equals the original."""
    dice, wall = random.Random(SEED), Wall()
    async with AsyncExitStack() as stack:
        embedded = EmbeddedServer(clock=wall)
        await embedded.start()
        stack.push_async_callback(embedded.stop)
        server = Server(embedded.url, await stack.enter_async_context(aiohttp.ClientSession()))
        await server.fill()
        original = await server.points(COLLECTION)
        scene = Scene(tmp_path, await stack.enter_async_context(forking()), [embedded.url], wall=wall)
        stack.push_async_callback(scene.store.close)
        scene.speed, scene.has_engine = SPEED, True
        scene.write_config()
        for _ in range(KILLS):
            await scene.live("backup", "run", COLLECTION, kill=some_kill(dice))
            scene.wait(PAST_LEASE_SECONDS)
            ended = await scene.live("backup", "run", COLLECTION)
            assert ended.code == exit_codes.DONE, ended.output
            assert await scene.shelf.intents() == []
            assert await server.snapshots() == []

            await scene.live("backup", "verify", "--level=4", kill=some_kill(dice))
            scene.wait(PAST_LEASE_SECONDS)
            assert len(await contents(scene)) == 1

            again = ("backup", "restore", f"--latest={COLLECTION}", "--as=again")
            await scene.live(*again, kill=some_kill(dice))
            scene.wait(PAST_LEASE_SECONDS)
            ended = await scene.live(*again)
            assert ended.code == exit_codes.DONE or "restored from this backup already" in ended.output
            assert await server.points("again") == original
            await server.ask("DELETE", "/collections/again")

            await scene.live("backup", "prune", COLLECTION, kill=some_kill(dice))
            scene.wait(PAST_LEASE_SECONDS)
            ended = await scene.live("backup", "prune", COLLECTION)
            assert ended.code == exit_codes.DONE, ended.output
            assert await scene.held_locks() == []
        assert await server.collections() == {COLLECTION}
    with capsys.disabled():
        print(f"\n{scene.kills} kills of verbs on the embedded server, seed {SEED}")
