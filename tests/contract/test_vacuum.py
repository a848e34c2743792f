"""What a vacuum by lowered thresholds looks like from outside: segments, the log, what is queued."""

from __future__ import annotations

from typing import Any

from tests.contract.ground import HELD, RELEASED, Qdrant, path_of

POINTS = 1_200  # over vacuum_min_vector_number's default of 1,000
DELETED = POINTS // 10  # below the default threshold of 0.2
OWN = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000}
LOWER = {"deleted_threshold": 0.05, "vacuum_min_vector_number": 100}


async def littered(qdrant: Qdrant) -> str:
    """Make a collection of one indexed segment, of which fewer points are deleted than make a vacuum."""
    # held until all is written: what came during a run would be left in a segment too small to index
    optimizers = {**HELD, "indexing_threshold": 100, "default_segment_number": 1}
    name = await qdrant.create(optimizers_config=optimizers, shard_number=1)
    await qdrant.write(name, POINTS)
    await qdrant.patch(name, **RELEASED)
    await qdrant.until_all_indexed(name, POINTS)
    await qdrant.delete(name, *range(DELETED))
    return name


def segment_with_points(shard: dict[str, Any]) -> dict[str, Any]:
    """Return the info of a shard's one segment that holds points."""
    (found,) = [one["info"] for one in shard["segments"] if one["info"]["num_points"]]
    return dict(found)


async def test_lowered_thresholds_rewrite_a_segment_and_raised_ones_leave_it(qdrant: Qdrant) -> None:
    """The old uuid is gone, the log names it, and putting the thresholds back begins nothing.

    A PATCH of nothing only wakes the optimizer, and a threshold that is null stays.
    """
    name = await littered(qdrant)
    (shard,) = await qdrant.until_green(name)
    before = segment_with_points(shard)
    await qdrant.patch(name)
    await qdrant.patch(name, deleted_threshold=None)
    (untouched,) = await qdrant.until_green(name)
    await qdrant.patch(name, **LOWER)

    async def vacuumed() -> Any:
        """A real server is green, with the new segment, a moment before its log says done."""
        (shard,) = await qdrant.shards(name)
        log = shard["optimizations"]["log"]
        done = log[0]["name"] == "vacuum" and log[0]["status"] == "done"
        return shard if done and await qdrant.deleted_points(name) == 0 else None

    await qdrant.until(vacuumed, what="a vacuum")
    (shard,) = await qdrant.until_green(name)
    after, run = segment_with_points(shard), shard["optimizations"]["log"][0]
    await qdrant.patch(name, **OWN)
    (back,) = await qdrant.until_green(name)
    told = await qdrant.result("GET", f"{path_of(name)}/optimizations?with=queued")
    config = (await qdrant.info(name))["config"]["optimizer_config"]

    assert (before["num_points"], before["num_deleted_vectors"]) == (POINTS - DELETED, DELETED)
    # the vectors of deleted points count until they are rewritten
    assert (
        before["vector_data"][""]["num_vectors"] == before["vector_data"][""]["num_indexed_vectors"] == POINTS
    )
    assert segment_with_points(untouched)["uuid"] == before["uuid"]
    assert (after["num_points"], after["num_deleted_vectors"]) == (POINTS - DELETED, 0)
    assert after["uuid"] != before["uuid"]
    assert (run["name"], run["status"]) == ("vacuum", "done")
    assert before["uuid"] in run["segment_uuids"]
    assert segment_with_points(back)["uuid"] == after["uuid"]
    assert back["optimizations"]["log"][0]["uuid"] == run["uuid"]
    assert {**config, **OWN} == config
    assert (told["running"], told["queued"], told["summary"]["queued_optimizations"]) == ([], [], 0)
