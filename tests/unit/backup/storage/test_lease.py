"""Locks that lie in the store."""

from __future__ import annotations

import asyncio
import json

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from exporter.backup.storage.lease import Claim, Lease
from exporter.errors import JobLocked, StoreError
from tests.kit.s3_server import S3Server
from tests.kit.scripted_store import ScriptedStore

NOW = 1_800_000_000.0
NAME = "prod/documents"
FIRST = f"locks/{NAME}/000000001.json"
SECOND = f"locks/{NAME}/000000002.json"


class SteadyClock:
    """Both clocks go by the loop's time; `ahead` is how much the wall clock is off."""

    def __init__(self, ahead_seconds: float = 0.0) -> None:
        self.ahead_seconds = ahead_seconds

    def now(self) -> float:
        return NOW + self.monotonic() + self.ahead_seconds

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@pytest_asyncio.fixture
async def store(patient_time: None) -> ScriptedStore:
    """A store in memory, and time that passes at once."""
    return ScriptedStore(SteadyClock())


def lease(store: ScriptedStore, owner: str = "us", *, ahead_seconds: float = 0.0) -> Lease:
    """Make one who takes locks."""
    return Lease(store, owner=owner, clock=SteadyClock(ahead_seconds))


def claim_in(store: ScriptedStore, path: str) -> Claim:
    """Return a claim as it lies there."""
    return Claim(**json.loads(store.objects[path]))


async def hold_for(holder: Lease, seconds: float, taken: asyncio.Event | None = None) -> None:
    """Hold the lock and do something."""
    async with holder.held(NAME):
        if taken is not None:
            taken.set()
        await asyncio.sleep(seconds)


async def test_a_lock_that_is_held_locks_out_others_and_is_free_afterwards(store: ScriptedStore) -> None:
    """The other is told who and since when; after the release it takes the next generation."""
    async with lease(store, "host-a:12").held(NAME) as held:
        assert claim_in(store, FIRST).owner == "host-a:12"
        with pytest.raises(JobLocked, match=r"prod/documents is locked by host-a:12 since 20\d\d-\d\d-\d\d"):
            await hold_for(lease(store, "host-b:7"), 0)
        assert not held.lost.is_set()

    assert claim_in(store, FIRST).released
    async with lease(store, "host-b:7").held(NAME):
        assert claim_in(store, SECOND).owner == "host-b:7"
    assert list(store.objects) == [SECOND]


async def test_locks_of_other_names_do_not_disturb(store: ScriptedStore) -> None:
    """Nor those whose name begins alike."""
    async with (
        lease(store).held("prod/documents"),
        lease(store).held("prod/documents2"),
        lease(store).held("prod"),
    ):
        assert sorted(store.objects) == [
            "locks/prod/000000001.json",
            "locks/prod/documents/000000001.json",
            "locks/prod/documents2/000000001.json",
        ]


async def test_of_many_who_want_a_lock_at_once_one_gets_it(store: ScriptedStore) -> None:
    """Each of twenty looks before anybody has put."""
    store.pause_seconds = 0.1

    ends = await asyncio.gather(
        *(hold_for(lease(store, f"host:{n}"), 5.0) for n in range(20)), return_exceptions=True
    )

    assert [type(end) for end in ends if end is not None] == [JobLocked] * 19


async def test_a_lock_is_renewed_as_long_as_it_is_held(store: ScriptedStore) -> None:
    """After three leases it is still ours, by the first generation."""
    taken = asyncio.Event()
    task = asyncio.create_task(hold_for(lease(store), 1_000.0, taken))
    await taken.wait()
    clock = SteadyClock()

    for _ in range(3):
        await asyncio.sleep(300.0)
        with pytest.raises(JobLocked):
            await hold_for(lease(store, "them"), 0)
        left_seconds = claim_in(store, FIRST).until - clock.now()
        assert 180 < left_seconds <= 300

    await task
    assert list(store.objects) == [FIRST]


async def test_a_holder_that_died_is_taken_over_after_its_lease_and_the_grace(store: ScriptedStore) -> None:
    """Not a second before 330, and it is logged."""
    await lease(store, "dead:1").take(NAME)

    await asyncio.sleep(329.0)
    with pytest.raises(JobLocked, match="dead:1"):
        await hold_for(lease(store), 0)
    await asyncio.sleep(1.5)
    with capture_logs() as logs:
        await hold_for(lease(store), 0)

    assert [(line["event"], line["owner"]) for line in logs] == [("lock.taken_over", "dead:1")]
    assert list(store.objects) == [SECOND]


@pytest.mark.parametrize("ahead_seconds", [-25.0, 25.0])
async def test_clocks_that_differ_by_half_a_minute_do_no_harm(
    store: ScriptedStore, ahead_seconds: float
) -> None:
    """A holder at work is renewed long before, and a dead one is waited for a little more or less."""
    await lease(store, "dead:1").take(NAME)
    other = Lease(store, owner="us", clock=SteadyClock(ahead_seconds))

    await asyncio.sleep(299.0)
    with pytest.raises(JobLocked):
        await hold_for(other, 0)
    await asyncio.sleep(60.0)
    await hold_for(other, 0)

    assert list(store.objects) == [SECOND]


async def test_who_was_taken_over_is_told_and_stops(store: ScriptedStore) -> None:
    """Its body is cancelled at the next renewal, and what it did is no success."""
    taken = asyncio.Event()
    task = asyncio.create_task(hold_for(lease(store, "slow:1"), 3_600.0, taken))
    await taken.wait()
    thief = Lease(store, owner="thief", clock=SteadyClock(ahead_seconds=600.0))

    async with thief.held(NAME):
        with pytest.raises(JobLocked, match="was lost: another took it over"):
            await task
        assert SECOND in store.objects
        assert not claim_in(store, SECOND).released


async def test_a_store_that_cannot_be_written_loses_the_lock_at_the_end_of_the_lease(
    store: ScriptedStore,
) -> None:
    """Not at the first failure: three minutes of it do no harm, five do."""
    holder, clock = lease(store), SteadyClock()
    store.fail("put", FIRST, lambda: StoreError("the store answered 503"), times=10)

    await hold_for(holder, 180.0)  # renewed nothing, lost nothing
    store.objects.clear()
    store._failures.clear()
    store.fail("put", FIRST, lambda: StoreError("the store answered 503"), times=1_000)
    began = clock.monotonic()
    with pytest.raises(JobLocked, match="could not be renewed in time"):
        await hold_for(holder, 3_600.0)

    assert 300 <= clock.monotonic() - began <= 311


async def test_a_store_that_hangs_loses_the_lock_as_well(store: ScriptedStore) -> None:
    """No answer is no renewal."""
    taken = asyncio.Event()
    task = asyncio.create_task(hold_for(lease(store), 3_600.0, taken))
    await taken.wait()

    store.pause_seconds = 100_000.0
    clock = SteadyClock()
    began = clock.monotonic()
    with pytest.raises(JobLocked, match="could not be renewed in time"):
        await task

    assert clock.monotonic() - began < 330


async def test_a_machine_that_slept_past_its_lease_knows_soon(store: ScriptedStore) -> None:
    """The wall clock jumped, the monotonic one stood still: another may have it by now."""
    clock = SteadyClock()
    task = asyncio.create_task(hold_for(Lease(store, owner="laptop", clock=clock), 3_600.0))
    await asyncio.sleep(50.0)

    clock.ahead_seconds = 3_600.0
    began = clock.monotonic()
    with pytest.raises(JobLocked, match="could not be renewed in time"):
        await task

    assert clock.monotonic() - began <= 10


async def test_an_error_or_a_cancellation_of_the_body_comes_out_as_it_is(store: ScriptedStore) -> None:
    """And the lock is free afterwards."""
    with pytest.raises(RuntimeError, match="mine"):
        async with lease(store).held(NAME):
            raise RuntimeError("mine")
    assert claim_in(store, FIRST).released

    taken = asyncio.Event()
    task = asyncio.create_task(hold_for(lease(store), 3_600.0, taken))
    await taken.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert claim_in(store, SECOND).released


async def test_a_release_that_fails_is_no_failure_of_the_run(store: ScriptedStore) -> None:
    """The lease ends by itself; a line says so."""
    store.fail("put", FIRST, lambda: StoreError("the store answered 503"), times=10)

    with capture_logs() as logs:
        await hold_for(lease(store), 1.0)

    assert [line["event"] for line in logs] == ["lock.left"]
    with pytest.raises(JobLocked):
        await hold_for(lease(store, "them"), 0)


async def test_one_who_was_slow_does_not_take_a_number_that_was_used(store: ScriptedStore) -> None:
    """Between its look and its put others came, went, and removed their generations."""
    await lease(store, "dead:1").take(NAME)
    await asyncio.sleep(400.0)
    slow_look = store.objects[FIRST]
    await hold_for(lease(store, "b"), 0)  # generation 2
    third = f"locks/{NAME}/000000003.json"
    holder = await lease(store, "c").take(NAME)  # generation 3
    await store.delete(SECOND)
    store.keep(FIRST, slow_look)
    only_first = _OnlyFirst(store)

    with pytest.raises(JobLocked, match="c"):
        await Lease(only_first, owner="slow", clock=SteadyClock()).take(NAME)

    assert SECOND not in store.objects
    assert claim_in(store, third).owner == "c"
    await lease(store, "c").renew(holder)
    assert not holder.lost.is_set()


async def test_a_claim_that_nobody_can_read_holds_for_a_lease(store: ScriptedStore) -> None:
    """By the time it was written: half a file is no free lock, and not one for ever."""
    store.keep(FIRST, b'{"owner": "half')

    with pytest.raises(JobLocked, match="unreadable"):
        await hold_for(lease(store), 0)
    await asyncio.sleep(331.0)
    await hold_for(lease(store), 0)

    assert list(store.objects) == [SECOND]


async def test_who_holds_a_lock_can_be_asked(store: ScriptedStore) -> None:
    """Nobody before, the owner while, nobody after."""
    asker = lease(store, "asker")
    assert await asker.holder(NAME) is None

    async with lease(store, "host:1").held(NAME):
        claim = await asker.holder(NAME)
        assert claim is not None
        assert (claim.owner, claim.since) == ("host:1", pytest.approx(SteadyClock().now(), abs=1))

    assert await asker.holder(NAME) is None


class _OnlyFirst(ScriptedStore):
    """A store whose first listing is from before: only the first generation is there."""

    def __init__(self, store: ScriptedStore) -> None:
        super().__init__(SteadyClock())
        self.objects = store.objects
        self.changed_at = store.changed_at
        self._is_old = True

    async def list(self, prefix: str = ""):  # type: ignore[no-untyped-def]  # as its parent's
        async for stored in super().list(prefix):
            if not self._is_old or stored.path == FIRST:
                yield stored
        self._is_old = False


@pytest.mark.parametrize("rounds", [3])
async def test_the_lock_works_in_a_bucket(s3: S3Server, rounds: int) -> None:
    """Two who come and go, by a server's put-if-absent."""
    store = s3.store()
    inside = 0

    async def come_and_go(owner: str) -> int:
        nonlocal inside
        times = 0
        while times < rounds:
            try:
                async with Lease(store, owner=owner, clock=SteadyClock()).held(NAME):
                    inside += 1
                    assert inside == 1
                    await asyncio.sleep(0)
                    inside -= 1
                    times += 1
            except JobLocked:
                await asyncio.sleep(0)
        return times

    assert await asyncio.gather(come_and_go("a"), come_and_go("b")) == [rounds, rounds]
    assert len([stored async for stored in store.list("locks")]) == 1


async def test_a_lock_is_let_go_of_on_a_disk_that_became_full(store: ScriptedStore) -> None:
    """Nothing can be written there, but the claim can be removed."""
    async with lease(store).held(NAME):
        pass
    async with lease(store).held(NAME):
        store.room_bytes = 0

    assert await lease(store, "somebody else").holder(NAME) is None
    store.room_bytes = None
    async with lease(store, "somebody else").held(NAME):
        assert claim_in(store, SECOND).owner == "somebody else"
