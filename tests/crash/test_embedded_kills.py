"""The same verbs on the embedded server and with the engine: what is proven is real points in real segments.

`CRASH_KILLS` and `CRASH_SEED` as for the scripted peers; lives are longer here and fewer.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exporter import exit_codes
from exporter.backup.words import SetKind, SetState, StoredSet
from exporter.embedded.server import EmbeddedServer
from tests.crash.chores import INDEXING_DEFAULT, TRIES
from tests.crash.ground import (
    COLLECTION,
    LONGEST_SECONDS,
    LOOK_SECONDS,
    PAST_LEASE_SECONDS,
    Kill,
    Scene,
    Wall,
    forking,
)

KILLS = max(1, int(os.environ.get("CRASH_KILLS", "8")) // 8)
SEED = int(os.environ.get("CRASH_SEED", "7"))
POINTS = 300
SPEED = 5.0  # the server shares a core with us and does real work
VACUUM_SPEED = 20.0  # it looks at a quiet server for ten seconds
LONGEST_LIFE_SECONDS = 0.8
MOST_STEPS = 120
DUSTY, DUSTY_POINTS, DELETED = "dusty", 400, 120
OWN = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000}
VACUUM = ("vacuum", "run", DUSTY, "--p95-limit=off", "--min-reclaim=1KB")


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

    async def soil(self) -> None:
        """Make a collection of which a good quarter is deleted, and less than what it rewrites by itself."""
        if DUSTY in await self.collections():
            await self.ask("DELETE", f"/collections/{DUSTY}")
        await self.ask("PUT", f"/collections/{DUSTY}", {"vectors": {"size": 4, "distance": "Dot"}})
        points = [{"id": number, "vector": [1.0, number, 0.5, 0.25]} for number in range(DUSTY_POINTS)]
        await self.ask("PUT", f"/collections/{DUSTY}/points?wait=true", {"points": points})
        await self.ask(
            "POST", f"/collections/{DUSTY}/points/delete?wait=true", {"points": list(range(DELETED))}
        )
        async with asyncio.timeout(LONGEST_SECONDS):
            while (await self.rewriting())[0] != DELETED:  # counted now and then, as on a real server
                await asyncio.sleep(LOOK_SECONDS)

    async def thresholds(self) -> dict[str, Any]:
        """Return the settings by which the other collection is rewritten."""
        config = (await self.ask("GET", f"/collections/{DUSTY}"))["config"]["optimizer_config"]
        return {field: config[field] for field in OWN}

    async def rewriting(self) -> tuple[int, list[Any]]:
        """Return how many of its points are deleted still, and how its optimizations went."""
        found = await self.ask("GET", "/telemetry?details_level=4")
        of_dusty = next(one for one in found["collections"]["collections"] if one["id"] == DUSTY)
        locals_ = [shard["local"] for shard in of_dusty["shards"]]
        deleted = sum(
            segment["info"]["num_deleted_vectors"] for local in locals_ for segment in local["segments"]
        )
        return deleted, [run["status"] for local in locals_ for run in local["optimizations"]["log"]]


def some_kill(dice: random.Random) -> Kill:
    """Return a death by step or by moment."""
    if dice.random() < 0.5:
        return Kill(at_step=dice.randint(1, MOST_STEPS))
    return Kill(at_seconds=dice.uniform(0.02, LONGEST_LIFE_SECONDS))


async def contents(scene: Scene) -> set[str]:
    """Prove all sets of snapshots that look complete by the engine, and return what it found in them."""
    found = {one.manifest.id for one in await complete(scene, SetKind.SNAPSHOT)}
    if not found:
        return set()
    ended = await scene.live("backup", "verify", "--level=4", "--output=json")
    proofs = [proof for proof in json.loads(ended.output)["sets"] if proof["id"] in found]
    assert all(proof["good"] and proof["by"] == "engine" for proof in proofs), proofs
    return {proof["contentHash"] for proof in proofs}


async def complete(scene: Scene, kind: SetKind) -> list[StoredSet]:
    """Return the sets of a kind that look complete."""
    sets = [one for one in await scene.shelf.sets() if one.manifest.kind is kind]
    return [one for one in sets if one.manifest.state is not SetState.INCOMPLETE]


async def check_exports(scene: Scene, original: Any) -> int:
    """See that exports that look complete hold the very same points, and return how many there are."""
    sets = await complete(scene, SetKind.EXPORT)
    for one in sets:
        found = await scene.exported(one.manifest)
        assert {id_: (payload, vector) for id_, (vector, payload) in found.items()} == original
    return len(sets)


async def kill_copies(scene: Scene, server: Server, dice: random.Random, original: Any) -> None:
    """Kill an export and its import; both go on, to the very same points."""
    export = ("backup", "export", COLLECTION)
    await scene.live(*export, kill=some_kill(dice))
    await check_exports(scene, original)
    scene.wait(PAST_LEASE_SECONDS)
    ended = await scene.live(*export)
    assert ended.code == exit_codes.DONE, ended.output
    assert await scene.shelf.exports() == []
    assert await check_exports(scene, original)

    copy = ("backup", "import", f"--latest={COLLECTION}", "--as=copy")
    await scene.live(*copy, kill=some_kill(dice))
    scene.wait(PAST_LEASE_SECONDS)
    ended = await scene.live(*copy)
    assert ended.code == exit_codes.DONE or "restored from this backup already" in ended.output
    assert await server.points("copy") == original
    config = (await server.ask("GET", "/collections/copy"))["config"]
    assert config["optimizer_config"]["indexing_threshold"] == INDEXING_DEFAULT
    assert await scene.shelf.thresholds() == []
    await server.ask("DELETE", "/collections/copy")


async def kill_vacuum(scene: Scene, server: Server, dice: random.Random) -> None:
    """Kill a vacuum: thresholds are put back, nothing is cancelled, and another one finds what is left."""
    await server.soil()
    await scene.live(*VACUUM, kill=some_kill(dice))
    scene.wait(PAST_LEASE_SECONDS)
    for _ in range(TRIES):
        ended = await scene.live("vacuum", "put-back")
        if ended.code != exit_codes.PARTLY:  # the engine was at it still
            break
    assert ended.code == exit_codes.DONE, ended.output
    assert await scene.shelf.thresholds() == []
    assert await server.thresholds() == OWN
    deleted, _ = await server.rewriting()
    assert deleted in (0, DELETED)
    ended = await scene.live(*VACUUM)
    assert ended.code == (exit_codes.DONE if deleted else exit_codes.PARTLY), ended.output
    deleted, statuses = await server.rewriting()
    assert deleted == 0
    assert await server.thresholds() == OWN
    # the PATCH that puts back has it look again, which may last
    assert {"done", "optimizing"}.issuperset(map(str, statuses)), "\n".join([str(statuses), *scene.diary])


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
        for number in range(KILLS):
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

            if number % 2:
                await kill_copies(scene, server, dice, original)
            else:
                scene.speed = VACUUM_SPEED
                await kill_vacuum(scene, server, dice)
                scene.speed = SPEED
            assert await scene.held_locks() == []
        assert await server.collections() == {COLLECTION, DUSTY}
    with capsys.disabled():
        print(f"\n{scene.kills} kills of verbs on the embedded server, seed {SEED}")
