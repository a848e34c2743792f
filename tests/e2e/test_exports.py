"""Exports from end to end: the real daemon beside an embedded server, a state directory and a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.e2e.jobs_ground import (
    NEVER,
    NIGHTLY,
    PROOF,
    TIDY,
    Ground,
    content,
    flip_a_byte,
    needs_engine,
    quick_ground,
)

if find_spec("qdrant_edge") is not None:
    from tests.unit.embedded.kit import SMALL_CONFIG, Served, serving

POINTS = 300
LOGICAL: dict[str, Any] = {"name": "logical", "kind": "backup", "format": "export", "schedule": NEVER}


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    """An embedded server with a collection that has payload and an index of it."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        index = {"field_name": "n", "field_schema": "integer"}
        await served.result("PUT", "/collections/docs/index?wait=true", index)
        await served.write(0, POINTS)
        some = {"payload": {"n": 7, "names": ["a", "ü"]}, "points": list(range(0, POINTS, 3))}
        await served.result("POST", "/collections/docs/points/payload?wait=true", some)
        yield served


@pytest_asyncio.fixture
async def ground(tmp_path: Path, served: Served) -> AsyncIterator[Ground]:
    """A daemon and verbs in a hurry, with a job that exports beside one that takes snapshots."""
    async with quick_ground(tmp_path, served.server.url) as ground:
        ground.configure(LOGICAL, NIGHTLY, PROOF, TIDY)
        yield ground


async def described(served: Served) -> dict[str, Any]:
    """What a collection is by its settings and its payload indexes."""
    found = await served.result("GET", "/collections/docs")
    bare = {"metadata": {}}  # what our own mark leaves of it, once it is gone
    return {"config": bare | found["config"], "schema": found["payload_schema"]}


async def by_kind(ground: Ground) -> dict[str, dict[str, Any]]:
    """What is in the store, as a person sees it; one set of a kind."""
    sets = (await ground.document("backup", "list"))["sets"]
    found = {one["kind"]: one for one in sets}
    assert len(found) == len(sets)
    return found


def set_of(run: dict[str, Any]) -> str:
    """The set that a run of a backup made."""
    return str(run["collections"][0]["figures"]["set"])


@needs_engine
async def test_a_lost_collection_comes_back_from_its_export_by_the_command_that_the_page_names(
    ground: Ground, served: Served
) -> None:
    """Kept beside a snapshot, and proven, by jobs; with the line that a person copies all is as it was.

    Then a byte of it is another.
    """
    was, settings = await content(served, "docs"), await described(served)
    async with ground.daemon:
        jobs = ("nightly", "nightly", "logical", "logical")
        made = [set_of(await ground.document("jobs", "run", name)) for name in jobs]
        pruned = await ground.document("jobs", "run", "tidy")
        proven = await ground.document("jobs", "run", "proof")
        kept = await by_kind(ground)
        there = (await served.result("GET", "/collections"))["collections"]
        await served.result("DELETE", "/collections/docs")
        alert = await ground.firing("CollectionMissing")
        imported = await ground.told(alert)
        now = await content(served, "docs"), await described(served)
        (chunk,) = ground.store.glob(f"shop/docs/{made[-1]}/0000-000000.*")
        flip_a_byte(chunk)
        (found,) = (await ground.document("jobs", "run", "proof", code=1))["collections"]
        damaged = await by_kind(ground)

    assert pruned["collections"][0]["figures"]["removed"] == 2
    assert {kind: one["id"] for kind, one in kept.items()} == {"snapshot": made[1], "export": made[3]}
    assert (kept["export"]["points"], kept["export"]["consistency"]) == (POINTS, "quiesced")
    assert proven["outcome"] == "ok"
    assert {kind: one["verified"]["4"]["contentHash"] for kind, one in kept.items()} == {
        "snapshot": was,
        "export": was,
    }
    assert there == [{"name": "docs"}]
    assert f"backup import {made[3]} --into docs" in alert["annotations"]["action"]
    assert imported.returncode == 0, imported
    assert now == (was, settings)
    assert await ground.shelf.thresholds() == []
    assert (found["reason"], chunk.name in found["detail"]) == ("bad", True)
    assert {kind: one["good"] for kind, one in damaged.items()} == {"snapshot": True, "export": False}
