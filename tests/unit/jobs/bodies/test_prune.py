"""Jobs of kind prune: by the policy, never by suspicion, never of what is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.config.backup import RetentionSettings
from exporter.jobs.locks import Locks
from exporter.jobs.words import Outcome, Reason
from tests.kit.scripted_store import ScriptedStore
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.jobs.asked import job
from tests.unit.jobs.ground import CLUSTER, NEVER, Ground, ground_of

ONE = RetentionSettings(last=1, daily=0, weekly=0, monthly=0)
PRUNE = job("prune", kind="prune", schedule=NEVER)


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    """Three peers with two collections."""
    monkeypatch.setattr("exporter.jobs.room.LOOK_SECONDS", 0.02)
    async with ground_of(tmp_path, SnapshotCluster()) as made:
        made.cluster.create("docs", points(120), shard_number=3)
        made.cluster.create("images", points(50))
        yield made


async def kept(ground: Ground, collection: str) -> list[str]:
    """The ids of a collection's sets, newest first."""
    return [one.manifest.id for one in await ground.shelf().sets(CLUSTER, collection)]


async def test_what_the_policy_does_not_keep_is_deleted(ground: Ground) -> None:
    """Of each collection the newest stays, and the run says how many went."""
    async with ground.running(job(schedule=NEVER), PRUNE, retention=ONE):
        await ground.done()
        await ground.done()
        newest = [(await kept(ground, name))[0] for name in ("docs", "images")]

        run = await ground.done("prune")

        assert run.outcome is Outcome.OK
        assert [part.figures["removed"] for part in run.parts] == [1, 1]
        assert [await kept(ground, name) for name in ("docs", "images")] == [[one] for one in newest]


async def test_a_store_without_a_byte_left_is_pruned(ground: Ground) -> None:
    """It has no room for a lock, and needs it most."""
    store = ScriptedStore(ground.clock)
    ground.store = store
    async with ground.running(job(schedule=NEVER), PRUNE, retention=ONE):
        await ground.done()
        await ground.done()
        store.room_bytes = sum(map(len, store.objects.values()))

        run = await ground.done("prune")

        assert run.outcome is Outcome.OK, run.detail
        assert [part.figures["removed"] for part in run.parts] == [1, 1]


async def test_a_store_that_is_full_is_not_pruned_where_somebody_works(ground: Ground) -> None:
    """A lock that is held stays one."""
    store = ScriptedStore(ground.clock)
    ground.store = store
    person = Locks(store=store, owner="a person", clock=ground.clock)
    async with ground.running(job(schedule=NEVER), PRUNE, retention=ONE):
        await ground.done()
        await ground.done()
        async with person.job(CLUSTER, "prune"):
            store.room_bytes = 0

            run = await ground.done("prune")

        assert (run.outcome, run.reason) == (Outcome.SKIPPED, Reason.LOCKED)
        assert len(await kept(ground, "docs")) == 2


async def test_a_newest_set_that_shrank_stops_the_pruning_of_its_collection(ground: Ground) -> None:
    """A failure that people see, until one of them accepts it."""
    async with ground.running(job(schedule=NEVER), PRUNE, retention=ONE):
        await ground.done()
        ground.cluster.recreate("docs", points(10))
        await ground.done()

        run = await ground.done("prune")

        assert (run.outcome, run.reason) == (Outcome.PARTLY, Reason.REFUSED)
        assert "qdrant-exporter backup accept" in run.detail
        assert len(await kept(ground, "docs")) == 2
        assert len(await kept(ground, "images")) == 1


async def test_backups_of_a_collection_that_is_gone_are_left_alone(ground: Ground) -> None:
    """They may be all that is left of it."""
    async with ground.running(job(schedule=NEVER), PRUNE, retention=ONE):
        await ground.done()
        await ground.done()
        del ground.cluster.world.collections["docs"]

        run = await ground.done("prune")

        assert run.outcome is Outcome.OK
        assert len(await kept(ground, "docs")) == 2
        assert len(await kept(ground, "images")) == 1
