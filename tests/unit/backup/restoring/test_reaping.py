"""Scratch targets: removed when a verification is over, reaped when it was killed, and nothing else ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.backup.restoring.plan import default_target
from exporter.backup.restoring.reaping import Reaper
from exporter.errors import JobError, JobRefused
from tests.kit.patience import LoopClock
from tests.kit.snapshot_cluster import points
from tests.unit.backup.restoring.kit import SET_ID, Ground, ground

TARGET = default_target("docs", SET_ID)
SCRATCH = default_target("docs", SET_ID, scratch=True)


def reaper(here: Ground) -> Reaper:
    """Make one for this cluster."""
    return Reaper(peers=here.peers, shelf=here.shelf, clock=LoopClock())


async def test_a_scratch_target_goes_with_its_record() -> None:
    """It was made to be compared, under a name that no person's restore has."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        done = await here.restore(await here.stored("docs"), scratch=True)
        assert SCRATCH in here.cluster.world.collections

        removed = await reaper(here).remove(done.record)

        assert removed
        assert set(here.cluster.world.collections) == {"docs"}
        assert await here.shelf.restores() == []


async def test_what_a_killed_verification_left_is_reaped() -> None:
    """The mark of the collection and the record in the store name each other."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=2)
        kept = await here.stored("docs")
        here.cluster.knobs.fail("POST", "/shards/1/snapshots/upload")
        with pytest.raises(JobError):
            await here.restore(kept, scratch=True)

        reaped = await reaper(here).reap()

        assert reaped == (SCRATCH,)
        assert set(here.cluster.world.collections) == {"docs"}
        assert await here.shelf.restores() == []


async def test_a_verification_that_was_killed_is_gone_on_with() -> None:
    """Its target is not in the way of the next one."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        await here.restore(kept, scratch=True)

        done = await here.restore(kept, scratch=True)

        assert done.points == 60


@pytest.mark.parametrize("finished", [True, False])
async def test_what_a_person_restored_is_never_reaped(finished: bool) -> None:
    """Also where it was not finished: it can be gone on with."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=2)
        kept = await here.stored("docs")
        if finished:
            await here.restore(kept)
        else:
            here.cluster.knobs.fail("POST", "/shards/1/snapshots/upload")
            with pytest.raises(JobError):
                await here.restore(kept)

        reaped = await reaper(here).reap()

        assert reaped == ()
        assert TARGET in here.cluster.world.collections


async def test_a_collection_of_that_name_without_our_mark_stays() -> None:
    """Somebody deleted the target and made another under its name."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        done = await here.restore(await here.stored("docs"), scratch=True)
        here.cluster.world.delete(SCRATCH)
        here.cluster.create(SCRATCH, points(3))

        with pytest.raises(JobRefused, match="it stays"):
            await reaper(here).remove(done.record)
        reaped = await reaper(here).reap()

        assert reaped == ()
        assert here.cluster.points(SCRATCH) == points(3)


async def test_a_person_cannot_go_on_with_what_a_verification_made() -> None:
    """It would be reaped under his hands."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        await here.restore(kept, scratch=True, target="mine")

        with pytest.raises(JobRefused, match="mine was made by a verification of this backup"):
            await here.restore(kept, target="mine")


async def test_the_record_of_a_target_that_was_never_made_goes_after_a_day() -> None:
    """On which servers it would have been nobody knows, so nobody else would remove it."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        here.cluster.knobs.fail("PUT", SCRATCH, 400)
        with pytest.raises(JobError):
            await here.restore(kept, scratch=True)
        [record] = await here.shelf.restores()

        await reaper(here).reap()
        early = await here.shelf.restores()
        old = Reaper(peers=here.peers, shelf=here.shelf, clock=Later())
        await old.reap()

        assert early == [record]
        assert await here.shelf.restores() == []


@pytest.mark.parametrize("standalone", [True, False])
async def test_the_record_of_a_target_that_is_gone_goes(standalone: bool) -> None:
    """At once where the servers are known again; a single one has no id then: after a day."""
    async with ground(standalone=standalone) as here:
        here.cluster.create("docs", points(60))
        await here.restore(await here.stored("docs"), scratch=True)
        here.cluster.world.delete(SCRATCH)

        await reaper(here).reap()
        early = await here.shelf.restores()
        await Reaper(peers=here.peers, shelf=here.shelf, clock=Later()).reap()

        assert bool(early) == standalone
        assert await here.shelf.restores() == []


async def test_a_record_of_a_person_is_not_removed_by_name() -> None:
    """Removing is for scratch targets only."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        done = await here.restore(await here.stored("docs"))

        with pytest.raises(JobRefused, match="restored to be kept"):
            await reaper(here).remove(replace(done.record))


class Later(LoopClock):
    """Two days after."""

    def now(self) -> float:
        return super().now() + 2 * 86_400.0
