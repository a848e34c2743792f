"""Locks: of a collection for whatever is done with it, of a cluster for a restore."""

from __future__ import annotations

import asyncio

import pytest

from exporter.clock import SystemClock
from exporter.errors import JobLocked, StoreFull
from exporter.jobs.locks import Locks
from tests.kit.scripted_store import ScriptedStore


class Ground:
    """Two processes and a store."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.store = store = ScriptedStore(clock)
        self.daemon = Locks(store=store, owner="the daemon", clock=clock)
        self.person = Locks(store=store, owner="a person", clock=clock)


@pytest.fixture
def ground() -> Ground:
    return Ground()


async def test_a_collection_that_is_worked_on_is_locked_for_everybody_else(ground: Ground) -> None:
    """Who has it is said; other collections are free."""
    async with ground.daemon.collection("eu", "docs"):
        with pytest.raises(JobLocked, match="locked by the daemon"):
            async with ground.person.collection("eu", "docs"):
                pass
        async with ground.person.collection("eu", "images"), ground.person.collection("us", "docs"):
            pass

    async with ground.person.collection("eu", "docs"):
        pass


async def test_a_restore_takes_the_whole_cluster(ground: Ground) -> None:
    """No job begins on any of its collections meanwhile; another cluster is free."""
    async with ground.person.cluster("eu"):
        with pytest.raises(JobLocked, match="cluster eu is locked by a person"):
            async with ground.daemon.collection("eu", "docs"):
                pass
        with pytest.raises(JobLocked, match="locked by a person"):
            async with ground.daemon.cluster("eu"):
                pass
        async with ground.daemon.collection("us", "docs"):
            pass

    async with ground.daemon.collection("eu", "docs"):
        pass


async def test_a_restore_does_not_begin_while_a_job_is_at_a_collection(ground: Ground) -> None:
    """Whatever odd name that has."""
    async with ground.daemon.collection("eu", "docs/~cluster é"):
        with pytest.raises(JobLocked, match="is locked by the daemon"):
            async with ground.person.cluster("eu"):
                pass

    async with ground.person.cluster("eu"):
        pass


async def test_on_a_full_disk_what_nobody_works_on_may_still_be_pruned(ground: Ground) -> None:
    """No lock can be written there, and none that is held may be passed over."""
    async with ground.daemon.collection("eu", "docs"), ground.daemon.cluster("us"):
        ground.store.room_bytes = 0
        for cluster, collection in (("eu", "docs"), ("us", "docs")):
            with pytest.raises(JobLocked, match="locked by the daemon"):
                async with ground.person.freeing(cluster, collection):
                    pass
        with pytest.raises(StoreFull):
            async with ground.person.collection("eu", "images"):
                pass
        async with ground.person.freeing("eu", "images"):
            pass


async def test_the_lock_of_a_job_keeps_no_restore_waiting(ground: Ground) -> None:
    """It is about the job; each of its collections is locked when its turn comes."""
    async with ground.daemon.job("eu", "nightly"), ground.person.cluster("eu"):
        with pytest.raises(JobLocked):
            async with ground.person.job("eu", "nightly"):
                pass


async def test_jobs_of_one_process_wait_for_each_other_where_they_may(ground: Ground) -> None:
    """With patience in turn; without, at once: who has one lock and wants another must never wait."""
    order: list[str] = []
    taken = asyncio.Event()

    async def first() -> None:
        async with ground.daemon.collection("eu", "docs"):
            taken.set()
            await asyncio.sleep(0.02)
            order.append("first")

    async def second() -> None:
        await taken.wait()
        with pytest.raises(JobLocked, match="another job of this daemon"):
            async with ground.daemon.collection("eu", "docs"):
                pass
        async with ground.daemon.collection("eu", "docs", patience_seconds=60.0):
            order.append("second")

    await asyncio.gather(first(), second())

    assert order == ["first", "second"]


async def test_patience_waits_for_another_process_until_it_is_over(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking again now and then, and no longer than it has."""
    monkeypatch.setattr("exporter.jobs.locks.LOOK_AGAIN_SECONDS", 0.01)
    async with ground.person.collection("eu", "docs"):
        with pytest.raises(JobLocked):
            async with ground.daemon.collection("eu", "docs", patience_seconds=0.05):
                pass
        waiting = asyncio.create_task(_held_by(ground.daemon))
        await asyncio.sleep(0.03)
        assert not waiting.done()

    assert await waiting


async def _held_by(locks: Locks) -> bool:
    async with locks.collection("eu", "docs", patience_seconds=60.0):
        return True


async def test_in_a_cluster_there_is_one_vacuum_at_a_time(ground: Ground) -> None:
    """Whoever does it; it keeps nobody from a collection, and no restore waiting."""
    async with ground.daemon.vacuum("eu"):
        with pytest.raises(JobLocked, match="locked by the daemon"):
            async with ground.person.vacuum("eu"):
                pass
        async with ground.person.vacuum("us"), ground.person.collection("eu", "docs"):
            pass
        async with ground.person.cluster("eu"):
            pass

    async with ground.person.vacuum("eu"):
        pass
