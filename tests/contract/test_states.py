"""Statuses, lag and the optimizer: what the server shows of its work, and what we tell of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.ground import DIMENSION, HELD, RELEASED, SLOW_GRAPH, Qdrant, path_of
from tests.contract.look import look_at, watching

KB = 1024
THRESHOLD_KB = 100
# As many points of DIMENSION float32 as weigh exactly the threshold.
THRESHOLD_POINTS = THRESHOLD_KB * KB // (DIMENSION * 4)
POINTS = 2_000
# One segment, so that a test may reckon with its size; one shard also on a cluster.
ONE_SEGMENT = {"indexing_threshold": THRESHOLD_KB, "default_segment_number": 1}
ELEMENT_BYTES = {"float32": 4, "float16": 2, "uint8": 1}


async def held(qdrant: Qdrant, **config: Any) -> str:
    """Create a collection whose optimizer plans and does not begin."""
    return await qdrant.create(optimizers_config={**ONE_SEGMENT, **HELD}, shard_number=1, **config)


async def queued(qdrant: Qdrant, name: str) -> Any:
    """The server's own word on the points that wait."""
    answer = await qdrant.result("GET", f"{path_of(name)}/optimizations")
    return answer["summary"]["queued_points"]


async def test_points_of_a_small_segment_are_indexed_by_nobody_and_lag_behind_nothing(qdrant: Qdrant) -> None:
    """Below the threshold a collection is green with no index and no lag."""
    name = await qdrant.create()
    await qdrant.write(name, 100)

    look = await look_at(qdrant)

    info = await qdrant.info(name)
    assert (info["status"], info["indexed_vectors_count"]) == ("green", 0)
    assert look.of_collection("collection_status", name)["status=green"] == 1
    assert look.of_collection("collection_indexing_lag_points", name) == {"vector=": 0}


async def test_a_collection_is_yellow_and_lags_until_its_points_are_indexed(qdrant: Qdrant) -> None:
    """Held back it stalls; let go it is green, without lag, and the run is counted."""
    name = await held(qdrant)
    async with watching(qdrant) as watched:
        await qdrant.write(name, POINTS)
        lag = f"collection_indexing_lag_points{{collection={name},vector=}}"
        status = f"collection_status{{collection={name},status="
        queue = f"collection_optimizations_queued_points{{collection={name}}}"
        behind = await watched.until(
            lambda now: now.get(lag) == POINTS and now.get(queue) == POINTS, seconds=20
        )
        info = await qdrant.info(name)
        await qdrant.patch(name, **RELEASED)
        done = await watched.until(
            lambda now: now.get(lag) == 0 and now.get(f"{status}green}}") == 1 and now.get(queue) == 0,
            seconds=20,
        )

    stalled = f"collection_indexing_stalled{{collection={name}}}"
    runs = sum(
        value for key, value in done.items()
        if key.startswith(f"optimizer_runs_total{{collection={name}") and "outcome=done" in key
    )  # fmt: skip
    assert (info["status"], behind[f"{status}yellow}}"], behind[stalled]) == ("yellow", 1, 1)
    assert (done[stalled], runs) == (0, 1)
    assert done[f"collection_indexed_vectors{{collection={name}}}"] == POINTS


async def test_a_running_optimization_is_yellow_and_in_the_log_at_once(qdrant: Qdrant) -> None:
    """One page of telemetry tells both, and level 3 the same status as level 4."""
    name = await held(qdrant, hnsw_config=SLOW_GRAPH)
    await qdrant.write(name, POINTS)
    await qdrant.patch(name, **RELEASED)

    async def running() -> Any:
        shards = await qdrant.shards(name)
        return [shard for shard in shards if "optimizing" in statuses(shard)]

    (shard,) = await qdrant.until(running, what="the optimizer runs")
    (brief,) = await qdrant.shards(name, level=3)
    look = await look_at(qdrant)
    assert (shard["status"], brief["status"]) == ("yellow", "yellow")
    assert look.number("collection_optimizations_running", name) == 1
    await qdrant.until_green(name)


def statuses(shard: Any) -> list[Any]:
    """How the runs in a shard's log stand, newest first."""
    return [run["status"] for run in shard["optimizations"]["log"]]


@pytest.mark.parametrize("datatype", ELEMENT_BYTES)
async def test_lag_begins_with_the_point_at_which_the_server_plans(qdrant: Qdrant, datatype: str) -> None:
    """At raw bytes equal to the threshold, whatever a vector's elements take."""
    vectors = {"size": DIMENSION, "distance": "Dot", "datatype": datatype}
    name = await held(qdrant, vectors=vectors)
    last = THRESHOLD_KB * KB // (DIMENSION * ELEMENT_BYTES[datatype])

    await qdrant.write(name, last - 1)
    below = await queued(qdrant, name), await lag_of(qdrant, name)
    await qdrant.write(name, last, first=last - 1)
    at = await queued(qdrant, name), await lag_of(qdrant, name)

    assert [(0, {"vector=": 0}), (last, {"vector=": last})] == [below, at]


async def lag_of(qdrant: Qdrant, name: str) -> dict[str, float]:
    """What we tell of a collection's lag, by vector."""
    return (await look_at(qdrant)).of_collection("collection_indexing_lag_points", name)


async def test_deleted_points_weigh_until_they_are_vacuumed(qdrant: Qdrant) -> None:
    """A segment that reached the threshold stays in the plan when some of its points are deleted."""
    name = await held(qdrant)
    await qdrant.write(name, THRESHOLD_POINTS)

    await qdrant.delete(name, 0, 1)

    assert await queued(qdrant, name) == THRESHOLD_POINTS - 2
    assert await lag_of(qdrant, name) == {"vector=": THRESHOLD_POINTS - 2}


async def test_each_vector_lags_by_its_own_weight(qdrant: Qdrant) -> None:
    """Neither a small vector lags nor one that half of the points lack."""
    large = {"size": DIMENSION, "distance": "Dot"}
    vectors = {"small": {"size": 4, "distance": "Dot"}, "rare": large, "common": large}
    name = await held(qdrant, vectors=vectors)
    row = [1.0] * DIMENSION
    often = {"small": [1.0] * 4, "common": row}
    points = [
        {"id": one, "vector": often | ({"rare": row} if one % 2 else {})} for one in range(THRESHOLD_POINTS)
    ]
    await qdrant.result("PUT", f"{path_of(name)}/points?wait=true", {"points": points})
    lagging = {"vector=small": 0, "vector=rare": 0, "vector=common": THRESHOLD_POINTS}

    async def told() -> bool:
        return await lag_of(qdrant, name) == lagging

    await qdrant.until(told, what=f"lag {lagging}")


async def test_a_multivector_weighs_as_much_as_all_its_rows(real: Qdrant) -> None:
    """It lags at a quarter of the points where each has four. The embedded engine tells no such size."""
    vectors = {"size": DIMENSION, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}
    name = await held(real, vectors=vectors)
    points = [{"id": one, "vector": [[1.0] * DIMENSION] * 4} for one in range(THRESHOLD_POINTS // 4)]

    await real.result("PUT", f"{path_of(name)}/points?wait=true", {"points": points[1:]})
    below = await queued(real, name), await lag_of(real, name)
    await real.result("PUT", f"{path_of(name)}/points?wait=true", {"points": points[:1]})
    at = await queued(real, name), await lag_of(real, name)

    assert [(0, {"vector=": 0}), (len(points), {"vector=": len(points)})] == [below, at]


async def test_a_collection_with_indexing_switched_off_never_lags(qdrant: Qdrant) -> None:
    """Threshold 0: green at any size, and told as switched off."""
    name = await qdrant.create(optimizers_config={"indexing_threshold": 0})
    await qdrant.write(name, POINTS)

    look = await look_at(qdrant)

    assert (await qdrant.info(name))["status"] == "green"
    assert look.number("collection_indexing_enabled", name) == 0
    assert look.of_collection("collection_indexing_lag_points", name) == {"vector=": 0}


async def test_deleted_points_are_told_until_a_vacuum_reclaims_their_bytes(qdrant: Qdrant) -> None:
    """Of an indexed segment: their count, their share of its bytes, and nothing after the vacuum."""
    deleted = POINTS // 10
    # a payload is counted until the next flush
    optimizers = {**ONE_SEGMENT, **RELEASED, "flush_interval_sec": 1}
    name = await qdrant.create(optimizers_config=optimizers, shard_number=1)
    await qdrant.write(name, POINTS)
    await qdrant.until_all_indexed(name, POINTS)
    whole = await look_at(qdrant)
    await qdrant.delete(name, *range(deleted))
    due = (
        deleted
        / POINTS
        * sum(whole.number(f"collection_{part}_bytes", name) for part in ("vector", "payload"))
    )

    async def reclaimable() -> bool:
        now = await look_at(qdrant)
        told = now.number("collection_reclaimable_bytes", name)
        return deleted == now.number("collection_deleted_points", name) and told == pytest.approx(
            due, rel=0.01
        )

    await qdrant.until(reclaimable, what=f"{deleted} deleted points and {due} bytes to reclaim")
    await qdrant.patch(name, deleted_threshold=0.05, vacuum_min_vector_number=100)

    async def clean() -> bool:
        return await qdrant.deleted_points(name) == 0

    await qdrant.until(clean, what="a vacuum")
    after = await look_at(qdrant)
    assert DIMENSION * 4 * deleted < due
    assert (POINTS - deleted, 0, 0) == (
        after.number("collection_points", name),
        after.number("collection_deleted_points", name),
        after.number("collection_reclaimable_bytes", name),
    )


async def test_a_point_counts_once_in_whichever_segment_it_is(qdrant: Qdrant) -> None:
    """Also where a vacuum, now below the threshold, leaves two segments that both take new points."""
    name = await held(qdrant)
    await qdrant.write(name, THRESHOLD_POINTS)
    await qdrant.delete(name, *range(100))
    left = THRESHOLD_POINTS - 100
    await qdrant.patch(name, **RELEASED)
    await qdrant.until_all_indexed(name, left)
    await qdrant.delete(name, *range(100, 140))
    await qdrant.write(name, 210, first=200)  # written anew, these ten leave the indexed segment
    await qdrant.patch(name, deleted_threshold=0.05, vacuum_min_vector_number=100)

    async def clean() -> bool:
        return await qdrant.deleted_points(name) == 0

    await qdrant.until(clean, what="a vacuum")
    (shard,) = await qdrant.until_green(name)
    look = await look_at(qdrant)
    counts = [segment["info"]["num_points"] for segment in shard["segments"]]
    assert sorted(count for count in counts if count) == [10, left - 50]
    assert left - 40 == shard["num_points"] == look.number("collection_points", name)
    assert look.number("collection_indexed_vectors", name) == 0


async def test_a_patch_cancels_the_running_optimization(qdrant: Qdrant) -> None:
    """The log says so, we count it, and the work begins again."""
    name = await held(qdrant, hnsw_config=SLOW_GRAPH)
    await qdrant.write(name, 4 * POINTS)
    async with watching(qdrant) as watched:
        await watched.until(lambda now: f"collection_points{{collection={name}}}" in now, seconds=20)
        await qdrant.patch(name, **RELEASED)

        async def running() -> bool:
            return any("optimizing" in statuses(shard) for shard in await qdrant.shards(name))

        await qdrant.until(running, what="the optimizer runs")
        await qdrant.patch(name, flush_interval_sec=6)
        counted = await watched.until(lambda now: _cancelled(now, name) == 1, seconds=20)

    (shard,) = await qdrant.shards(name)
    assert shard["num_points"] == 4 * POINTS
    assert any("cancelled" in one for one in statuses(shard) if isinstance(one, dict))
    assert _cancelled(counted, name) == 1


def _cancelled(readings: dict[str, float], name: str) -> float:
    prefix = f"optimizer_runs_total{{collection={name}"
    return sum(
        value
        for key, value in readings.items()
        if key.startswith(prefix) and key.endswith("outcome=cancelled}")
    )


async def test_deferred_points_are_told_until_they_are_optimized(real: Qdrant) -> None:
    """With prevent_unoptimized. The embedded engine does not tell how many it hides."""
    name = await real.create(
        optimizers_config={**ONE_SEGMENT, **HELD, "prevent_unoptimized": True}, shard_number=1
    )
    # a write that waits would wait until its points are no more deferred
    await real.write(name, POINTS, wait=False)

    async def applied() -> bool:
        return all(one["update_queue"]["length"] == 0 for one in await real.shards(name))

    await real.until(applied, what="the writes are applied")
    before = await look_at(real)
    told = [one["update_queue"]["deferred_points"] for one in await real.shards(name)]
    await real.patch(name, **RELEASED)
    await real.until_green(name)
    after = await look_at(real)

    assert [before.number("collection_deferred_points", name)] == told
    assert 0 < before.number("collection_deferred_points", name) <= POINTS
    assert after.number("collection_deferred_points", name) == 0
