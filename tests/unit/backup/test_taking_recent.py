"""Backups of one run after the other: what was told after one serves the next, and never hides a change."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from exporter.backup.recent import RECENT_SECONDS, Recent
from exporter.backup.taking import SetIncomplete
from exporter.backup.words import Manifest, SetState
from tests.kit.clock import ManualClock
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.ground import Ground, ground_of

NAMES = tuple(f"c{number}" for number in range(10))
LEVEL_3 = "GET /telemetry?details_level=3"


class Run:
    """One run over the collections, by a clock that stands still between them unless a test says so."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.cluster = ground.cluster
        self.clock = ManualClock()
        self.recent = Recent(self.clock)

    async def take(self, name: str) -> Manifest:
        """Back one up."""
        return await self.ground.take(name, clock=self.clock, recent=self.recent)

    async def asks_anew(self, name: str) -> bool:
        """Back one up, and say whether its first look asked every peer for telemetry of level 3."""
        self.cluster.requests.clear()
        await self.take(name)
        lines = self.cluster.lines()
        return lines[: lines.index(f"POST /collections/{name}/snapshots?wait=true")].count(LEVEL_3) == 3


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Three peers and ten small collections with a replica on each."""
    async with ground_of(SnapshotCluster()) as ground:
        for name in NAMES:
            ground.cluster.create(name, points(6), shard_number=1, replication_factor=3)
        yield Run(ground)


async def test_a_run_asks_each_peer_once_a_collection_for_what_holds_all_collections(run: Run) -> None:
    """And once more before the first: else a thousand collections would cost a million looks at one."""
    for name in NAMES:
        await run.take(name)

    for peer in (0, 1, 2):
        asked = Counter(
            next((line.replace(f"/{name}/", "/*/") for name in NAMES if f"/{name}/" in line), line)
            for line in run.cluster.lines(peer)
        )
        assert asked[LEVEL_3] <= len(NAMES) + 1
        assert asked["GET /telemetry?details_level=2"] <= 2 * len(NAMES)
        assert asked["GET /collections/*/cluster"] <= 2 * len(NAMES)
        assert asked["GET /cluster"] <= 2 * len(NAMES)
        assert asked["GET /aliases"] <= 2 * len(NAMES)
        assert asked["GET /collections"] == 0


async def test_every_set_of_a_run_is_as_good_as_one_alone(run: Run) -> None:
    """Complete, settled, and with the points of its own collection."""
    made = [await run.take(name) for name in NAMES]

    for name, manifest in zip(NAMES, made, strict=True):
        assert (manifest.collection, manifest.state, manifest.points) == (name, SetState.COMPLETE, 6)
        assert all(shard.settled for shard in manifest.shards)
        assert manifest.uuid == run.cluster.world.named(name).uuid


@pytest.mark.parametrize(("seconds", "anew"), [(RECENT_SECONDS, False), (RECENT_SECONDS + 1.0, True)])
async def test_what_was_told_serves_for_a_minute(run: Run, seconds: float, anew: bool) -> None:
    """Later it would rather tell what happened before the backup than during it."""
    await run.take("c0")
    run.clock.advance(seconds)

    asks_anew = await run.asks_anew("c1")

    assert asks_anew is anew


async def test_points_that_came_since_are_asked_for_before_a_snapshot_is(run: Run) -> None:
    """They are seen in what is asked anyhow, so nothing is taken twice."""
    await run.take("c0")
    run.cluster.world.upsert("c1", points(3, start=100))

    asks_anew = await run.asks_anew("c1")

    assert asks_anew
    (found,) = await run.ground.shelf.sets("prod", "c1")
    assert found.manifest.points == 9
    assert all(shard.settled for shard in found.manifest.shards)


async def test_a_collection_that_was_not_at_rest_is_asked_for_anew(run: Run) -> None:
    """A backup would wait an hour for an optimizer that was done long ago."""
    run.cluster.replica("c1", 0, 1).status = "yellow"
    await run.take("c0")
    run.cluster.replica("c1", 0, 1).status = "green"
    run.cluster.requests.clear()

    await run.take("c1")

    assert [run.cluster.lines(peer).count(LEVEL_3) for peer in (0, 1, 2)] == [1, 2, 1]


async def test_points_written_over_since_cost_a_second_look_and_no_settled_set(run: Run) -> None:
    """Their number stays, so only the operations tell, and they are known at the end: it is taken again."""
    await run.take("c0")
    run.cluster.world.upsert("c1", points(6))
    run.clock.advance(5.0)
    run.cluster.requests.clear()

    manifest = await run.take("c1")

    assert all(shard.settled for shard in manifest.shards)
    assert len(await run.ground.shelf.sets("prod", "c1")) == 1
    assert run.cluster.lines(0).count("POST /collections/c1/snapshots?wait=true") == 2
    assert all(not names for names in run.cluster.snapshots("c1"))


async def test_a_collection_that_is_written_to_while_it_is_backed_up_is_taken_once(run: Run) -> None:
    """What was told is newer than the backup took: the writes came meanwhile, and would again."""
    await run.take("c0")
    run.clock.advance(5.0)
    run.cluster.requests.clear()

    def write(peer: int, method: str, path: str) -> None:
        if method == "POST":
            run.clock.advance(10.0)
            run.cluster.world.upsert("c1", points(6))

    run.cluster.knobs.on_request = write

    manifest = await run.take("c1")

    assert not any(shard.settled for shard in manifest.shards)
    assert run.cluster.lines(0).count("POST /collections/c1/snapshots?wait=true") == 1


async def test_a_collection_made_anew_since_is_backed_up_as_it_is_now(run: Run) -> None:
    """With the same points in the same places: only its uuid tells."""
    await run.take("c0")
    run.cluster.recreate("c1", points(6))
    run.clock.advance(5.0)

    manifest = await run.take("c1")

    assert manifest.state is SetState.COMPLETE
    assert manifest.uuid == run.cluster.world.named("c1").uuid
    assert [one.manifest.id for one in await run.ground.shelf.sets("prod", "c1")] == [manifest.id]


async def test_a_second_try_that_waits_for_an_optimizer_keeps_what_it_got(run: Run) -> None:
    """It is the last: what peers at rest told before the wait is no reason to throw it away."""
    await run.take("c0")
    run.cluster.world.upsert("c1", points(6))
    run.clock.advance(5.0)
    posts = looks = 0

    def change(peer: int, method: str, path: str) -> None:
        nonlocal posts, looks
        run.clock.advance(0.001)
        posts += method == "POST"
        looks += path == "/telemetry?details_level=3" and posts == 3
        run.cluster.replica("c1", 0, 1).status = "yellow" if posts == 3 and looks <= 6 else "green"
        if method == "POST" and posts == 5:
            run.cluster.recreate("c1", points(6))

    run.cluster.knobs.on_request = change

    with pytest.raises(SetIncomplete):
        await run.take("c1")

    (found,) = await run.ground.shelf.sets("prod", "c1")
    assert found.manifest.state is SetState.INCOMPLETE
