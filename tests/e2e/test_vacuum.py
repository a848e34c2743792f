"""Vacuums from end to end: the real daemon beside an embedded server, whose engine rewrites for real."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import string
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest_asyncio

from exporter import exit_codes
from tests.e2e.jobs_ground import NEVER, Ground, needs_engine, quick_ground
from tests.kit.daemons import eventually

if find_spec("qdrant_edge") is not None:
    from tests.unit.embedded.kit import DIMENSION, Served, serving

POINTS, DELETED = 900, 270  # fewer than the minimum, and a smaller share than the threshold
# What is deleted is worth more than the least that a job may be told to free, also once it is compressed.
TEXT = "".join(random.Random(7).choices(string.ascii_letters, k=6_000))
THRESHOLDS = {"deleted_threshold": 0.5, "vacuum_min_vector_number": 1_000}
SWEEP: dict[str, Any] = {
    "name": "sweep",
    "kind": "vacuum",
    "schedule": NEVER,
    "min_reclaim": "1MiB",
    "p95_limit": "0s",
}
INTENT = 'qdrantx_vacuum_intent_opened_timestamp_seconds{qdrant_cluster="shop",collection="docs"}'


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    """An embedded server with a collection of which 30 % is deleted, and which its owner lets be."""
    async with serving() as served:
        vectors = {"size": DIMENSION, "distance": "Cosine"}
        made = {"vectors": vectors, "optimizers_config": THRESHOLDS}
        await served.result("PUT", "/collections/docs", made)
        await served.write(0, POINTS)
        text = {"payload": {"text": TEXT}, "points": list(range(POINTS))}
        await served.result("POST", "/collections/docs/points/payload?wait=true", text)
        deleted = {"points": list(range(DELETED))}
        await served.result("POST", "/collections/docs/points/delete?wait=true", deleted)
        await served.until(lambda local: deleted_of(local) == DELETED)
        yield served


@pytest_asyncio.fixture
async def ground(tmp_path: Path, served: Served) -> AsyncIterator[Ground]:
    """A daemon and verbs in a hurry."""
    async with quick_ground(tmp_path, served.server.url) as ground:
        yield ground


def deleted_of(local: dict[str, Any]) -> int:
    """How many deleted points the segments hold still."""
    return sum(segment["info"]["num_deleted_vectors"] for segment in local["segments"])


async def thresholds(served: Served) -> dict[str, float]:
    """The thresholds that are in force."""
    config = (await served.result("GET", "/collections/docs"))["config"]["optimizer_config"]
    return {field: config[field] for field in THRESHOLDS}


async def runs(served: Served) -> list[Any]:
    """How each run of an optimizer ended."""
    return [run["status"] for run in (await served.local_shard())["optimizations"]["log"]]


@needs_engine
async def test_a_vacuum_clears_up_what_the_owners_thresholds_leave_and_puts_them_back(
    ground: Ground, served: Served
) -> None:
    """Planned, then by a job that only says what it would do, then by one that does it."""
    ground.configure({**SWEEP, "name": "dry", "dry_run": True}, SWEEP)
    async with ground.daemon as daemon:
        planned = await ground.document("vacuum", "plan", "docs", "--min-reclaim=1MiB", "--p95-limit=off")
        dry = await ground.document("jobs", "run", "dry")
        untouched = deleted_of(await served.local_shard()), await thresholds(served), await runs(served)
        swept = await ground.document("jobs", "run", "sweep")
        history = await ground.document("jobs", "history")
        done = 'qdrantx_job_runs_total{qdrant_cluster="shop",job_name="sweep",outcome="ok"}'
        page = await daemon.until(lambda page: page.get(done) == 1, what="the vacuum is on the page")

    (plan,) = planned["collections"]
    assert [(victim["deleted"], victim["ratio"]) for victim in plan["victims"]] == [(DELETED, 0.3)]
    assert plan["change"] == {"deleted_threshold": 0.297, "vacuum_min_vector_number": POINTS}
    assert [gate for gate in plan["gates"] if not gate["open"]] == []
    assert dry["collections"][0]["figures"]["vacuum"] == "planned"
    assert untouched == (DELETED, THRESHOLDS, [])

    assert history[0] == swept
    figures = swept["collections"][0]["figures"]
    assert (figures["vacuum"], figures["thresholds"]) == ("done", "put back")
    assert (figures["deleted_before"], figures["deleted_after"]) == (DELETED, 0)
    assert figures["reclaimable_before"] > 1 << 20
    assert deleted_of(await served.local_shard()) == 0
    assert await thresholds(served) == THRESHOLDS
    assert set(await runs(served)) == {"done"}
    assert INTENT not in page
    assert await ground.shelf.thresholds() == []


@needs_engine
async def test_thresholds_that_a_killed_vacuum_left_are_told_at_once_and_put_back_as_the_page_says(
    ground: Ground, served: Served
) -> None:
    """By SIGKILL, as soon as they are lowered. The command is typed as it is written."""
    ground.configure(SWEEP)
    daemon = ground.another()  # in no hurry: it waits for ten seconds and more before it puts back

    async def are_lowered() -> bool:
        assert not asked.done(), asked.result()
        return await thresholds(served) != THRESHOLDS

    try:
        await daemon.start()
        asked = asyncio.create_task(ground.slow_verb("jobs", "run", "sweep", "--output=json"))
        await eventually(are_lowered, what="thresholds are lowered")
        await daemon.stop(signal.SIGKILL)
        (intent,) = await ground.shelf.thresholds()
        await daemon.start()
        told = await daemon.until(lambda page: INTENT in page, what="what is open is told")
        alert = await ground.firing("VacuumIntentOpen", by=daemon)
        locked = await ground.told(alert)
        ground.let_leases_end()
        put_back = await ground.told(alert)
        after = await thresholds(served)
        ground.configure({**SWEEP, "name": "other"})
        await daemon.reload()
        await daemon.until(lambda page: INTENT not in page, what="nothing is open")
        interrupted = await asked
    finally:
        await daemon.stop()

    assert told[INTENT] == intent.opened_at
    assert locked.returncode == exit_codes.LOCKED, locked
    assert put_back.returncode == 0, put_back
    assert after == THRESHOLDS
    assert json.loads(interrupted.stdout)["outcome"] == "interrupted"
    assert deleted_of(await served.local_shard()) == 0
    assert set(await runs(served)) == {"done"}
    assert await ground.shelf.thresholds() == []
