"""One look at all collections: it leaves out those, and only those, in which there is nothing to do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from exporter.operations.vacuum.sweeping import idle_plans
from exporter.operations.vacuum.words import VacuumPlan, VacuumTerms
from tests.kit.snapshot_cluster import points
from tests.unit.operations.vacuum.ground import LIMITS, Ground, ground

NAMES = ("docs", "clean", "small", "people")
TERMS = VacuumTerms(min_reclaim_bytes=1 << 20)


@pytest.fixture
async def several() -> AsyncIterator[Ground]:
    """Four collections: a victim on every peer, nothing deleted, too little deleted, a victim on one peer."""
    async with ground() as made:
        for name in NAMES[1:]:
            made.cluster.create(name, points(900), shard_number=3)
        made.delete(vector_bytes=100_000)
        made.cluster.optimizers.add_deleted("small", 60, vector_bytes=10)
        made.cluster.optimizers.add_deleted("people", 60, vector_bytes=10)
        made.cluster.optimizers.segments("people", 2, 2)[0].vector_bytes = 100_000
        yield made


async def idle(ground: Ground, *names: str) -> dict[str, VacuumPlan]:
    """Return the plans of those in which there is nothing to do."""
    return await idle_plans(ground.peers, names, TERMS, LIMITS)


async def test_what_one_look_leaves_out_is_what_a_look_at_each_has_nothing_to_do_in(several: Ground) -> None:
    """By the same words; of the others nothing is said."""
    plans = await idle(several, *NAMES)

    each = {name: await several.plan(name, min_reclaim_bytes=1 << 20) for name in NAMES}
    assert plans == {name: plan for name, plan in each.items() if not plan.victims}
    assert set(plans) == {"clean", "small"}
    assert plans["clean"].note == "no segment has 10% of its points deleted"
    assert plans["small"].note.startswith("rewriting would free 0.0 MiB")


async def test_every_peer_is_asked_once_for_all_of_them(several: Ground) -> None:
    """And nobody for a queue: its answer would cost a call for each."""
    await idle(several, *NAMES)

    assert several.cluster.lines() == ["GET /telemetry?details_level=4"] * 3


async def test_of_one_collection_nothing_is_said_beforehand(several: Ground) -> None:
    """The look at it would be made twice."""
    assert (await idle(several, "clean"), several.cluster.lines()) == ({}, [])


async def test_where_a_peer_is_silent_none_is_left_out(several: Ground) -> None:
    """Victims may lie there."""
    await several.cluster.kill(1)

    assert await idle(several, *NAMES) == {}


async def test_where_a_replica_did_not_load_a_collection_is_not_left_out(several: Ground) -> None:
    """Nobody sees its segments."""
    several.cluster.replica("clean", 0, 0).loaded = False

    assert set(await idle(several, *NAMES)) == {"small"}
