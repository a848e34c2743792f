"""One run of an embedded server through the states that were recorded, keeping every answer.

The collections are created by the recorded requests themselves, so that both sides hold alike.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from exporter.embedded.server import EmbeddedServer
from exporter.embedded.shard import Pacing
from tests.kit.recordings import Recording, recording

SINGLE = "v1.18.3/single"
INDEXED_POINTS = 2500  # of 128 dimensions: a quarter more than docs' indexing_threshold of 1,000 KB
NAMED_POINTS = 200
BATCH_POINTS = 500  # a body under 1 MB, which aiohttp sends in one piece
PATIENCE_SECONDS = 60.0
# What is asked in every state, by the name of its recording.
ASKED = (
    *(f"telemetry_{level}" for level in range(5)),
    *("root", "healthz", "livez", "readyz", "cluster", "collections", "aliases", "issues", "metrics"),
    *("collection.docs", "collection.named", "collection_cluster.docs", "collection_aliases.docs"),
    *("optimizations.docs", "snapshots.docs", "snapshots_full"),
)
CREATIONS = ("docs", "named", "weird_03", "weird_05")
CREATED = frozenset({"docs", "named", "per%41cent", "new\nline"})
INDEXES = ("category", "price", "text", "ts")


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of the embedded server."""

    status: int
    content_type: str
    body: Any  # JSON, or the text where it was none


@dataclass(slots=True)
class Answers:
    """Everything that was answered: by recording, and by name over the states."""

    replayed: dict[str, Answered] = field(default_factory=dict)
    states: dict[str, list[Answered]] = field(default_factory=dict)


async def send(session: aiohttp.ClientSession, base: str, seen: Recording) -> Answered:
    """Send a recorded request again."""
    target = URL(base + seen.path, encoded=True)
    body = seen.request.get("body")
    async with session.request(seen.request["method"], target, json=body) as response:
        text = await response.text()
        is_json = response.content_type == "application/json"
        named = response.headers.get("Content-Type", "") if text else ""
        return Answered(response.status, named, await response.json() if is_json else text)


async def play(replays: list[str]) -> Answers:
    """Run the whole scenario; `replays` are recordings sent once everything is quiet."""
    answers = Answers()
    server = EmbeddedServer(pacing=Pacing(quiet_seconds=0.3, patience_seconds=5.0))
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            await _fill(session, server.url, answers)
            await _until(session, server.url, lambda found: found["queued"])
            await _look(session, server.url, answers)
            await _until(session, server.url, lambda found: found["running"])
            await _look(session, server.url, answers)
            await _until(session, server.url, lambda found: not found["running"] and not found["queued"])
            await _look(session, server.url, answers)
            for name in replays:
                answers.replayed[name] = await send(session, server.url, recording(f"{SINGLE}/{name}"))
    finally:
        await server.stop()
    return answers


async def _fill(session: aiohttp.ClientSession, base: str, answers: Answers) -> None:
    names = [f"create/create.{name}" for name in CREATIONS]
    names += [f"create/index.{name}" for name in INDEXES]
    for name in [*names, "create/alias.create"]:
        answers.replayed[name] = await send(session, base, recording(f"{SINGLE}/{name}"))
    await _upsert(session, f"{base}/collections/named", [_named_point(one) for one in range(NAMED_POINTS)])
    points = [_document(one) for one in range(INDEXED_POINTS)]
    for first in range(0, INDEXED_POINTS, BATCH_POINTS):
        await _upsert(session, f"{base}/collections/docs", points[first : first + BATCH_POINTS])


async def _upsert(session: aiohttp.ClientSession, collection: str, points: list[Any]) -> None:
    async with session.put(f"{collection}/points?wait=true", json={"points": points}) as response:
        assert response.status == 200, await response.text()


async def _until(session: aiohttp.ClientSession, base: str, wanted: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            target = f"{base}/collections/docs/optimizations?with=queued"
            async with session.get(target) as response:
                if wanted((await response.json())["result"]):
                    return
            await asyncio.sleep(0.01)


async def _look(session: aiohttp.ClientSession, base: str, answers: Answers) -> None:
    for name in ASKED:
        answered = await send(session, base, recording(f"{SINGLE}/green/{name}"))
        answers.states.setdefault(name, []).append(answered)


def _numbers(count: int) -> list[float]:
    return [round(random.gauss(), 4) for _ in range(count)]


def _document(number: int) -> dict[str, Any]:
    payload = {
        "category": f"c{number % 8}",
        "price": number / 8,
        "ts": 1_700_000_000 + number,
        "text": f"document number {number}",
    }
    return {"id": number, "vector": _numbers(128), "payload": payload}


def _named_point(number: int) -> dict[str, Any]:
    vector = {
        "title": _numbers(64),
        "body": _numbers(96),
        "colbert": [_numbers(32) for _ in range(3)],
        "img": [random.randrange(256) for _ in range(48)],
        "bm25": {"indices": [1, 7, 42, 100 + number], "values": [1.0, 0.5, 0.25, 2.0]},
    }
    return {"id": number, "vector": vector}
