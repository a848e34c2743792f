"""One run: whatever happens in it, it ends, is written down, and the next collection is not kept from its."""

from __future__ import annotations

import asyncio

import pytest

from exporter.backup.storage.lease import LEASE_SECONDS, Lease
from exporter.clock import Clock, SystemClock
from exporter.errors import (
    JobDenied,
    JobError,
    JobLocked,
    JobRefused,
    SourceAuth,
    StoreDenied,
    StoreError,
    StoreFull,
)
from exporter.jobs.ledger import Ledger
from exporter.jobs.locks import Locks
from exporter.jobs.runner import Runner
from exporter.jobs.words import Cause, JobRun, Outcome, Part, Reason
from tests.kit.patience import LoopClock
from tests.kit.scripted_store import ScriptedStore
from tests.unit.jobs.asked import job
from tests.unit.jobs.fakes import Hanging, ToldBody


class Ground:
    """A runner over a store in memory."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.store = ScriptedStore(self.clock)
        self.locks = Locks(store=self.store, owner="us", clock=self.clock)
        self.others = Locks(store=self.store, owner="somebody else", clock=self.clock)
        self.ledger = Ledger(store=None, clock=self.clock)
        self.stopping = asyncio.Event()
        self.not_ready: StoreError | None = None
        self.runner = Runner(
            ledger=self.ledger, locks=self.locks, clock=self.clock, stopping=self.stopping, ready=self._ready
        )

    async def run(
        self, body: ToldBody, *, deadline_seconds: float = 60.0, cause: Cause = Cause.SCHEDULE
    ) -> JobRun:
        """Do a job now."""
        settings = job(deadline_seconds=60.0).model_copy(update={"deadline_seconds": deadline_seconds})
        begun = await self.ledger.begin(settings, "eu", planned_at=1.0, cause=cause)
        return await self.runner.run(settings, body, begun)

    async def _ready(self) -> None:
        if self.not_ready is not None:
            raise self.not_ready


@pytest.fixture
def ground() -> Ground:
    return Ground()


async def failing(error: Exception) -> Part:
    raise error


async def test_collections_are_done_one_after_the_other_and_told_one_by_one(ground: Ground) -> None:
    """In the order that the body says; the run is good where all are, and in the ledger."""
    body = ToldBody("b", "a")

    ended = await ground.run(body)

    assert body.done == ["b", "a"]
    assert (ended.outcome, [part.collection for part in ended.parts]) == (Outcome.OK, ["b", "a"])
    assert ground.ledger.record("nightly").last == ended
    assert ground.ledger.record("nightly").running is None


async def test_one_collection_that_fails_keeps_no_other_from_its_turn(ground: Ground) -> None:
    """Not even with a bug of ours, of which the ledger says no more than its kind."""

    async def do(name: str) -> Part:
        if name == "bad":
            raise JobError("no peer answers")
        if name == "odd":
            raise ZeroDivisionError
        return Part(name, Outcome.OK)

    ended = await ground.run(ToldBody("bad", "odd", "good", do=do))

    assert ended.outcome is Outcome.PARTLY
    assert [(part.outcome, part.detail) for part in ended.parts] == [
        (Outcome.FAILED, "no peer answers"),
        (Outcome.FAILED, "a bug: ZeroDivisionError; the log has the trace"),
        (Outcome.OK, ""),
    ]


async def test_a_turn_is_waited_for_before_a_collection_is_locked(ground: Ground) -> None:
    """Who has the turn may want that lock: neither would ever go on."""
    body = ToldBody("a")
    turn = asyncio.Lock()
    body.turn = turn

    async with turn:
        running = asyncio.create_task(ground.run(body))
        await asyncio.sleep(0.05)
        async with ground.locks.collection("eu", "a"):
            pass
        done_early = list(body.done)
    ended = await running

    assert (done_early, ended.outcome) == ([], Outcome.OK)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (StoreFull("no room"), Outcome.FAILED, Reason.STORE),
        (StoreDenied("403"), Outcome.FAILED, Reason.RIGHTS),
        (SourceAuth("/collections", "403"), Outcome.FAILED, Reason.RIGHTS),
        (JobDenied("a: 403"), Outcome.FAILED, Reason.RIGHTS),
        (JobRefused("it is an alias"), Outcome.FAILED, Reason.REFUSED),
        (JobError("broke"), Outcome.FAILED, Reason.FAILED),
        (JobLocked("somebody has it"), Outcome.SKIPPED, Reason.LOCKED),
    ],
)
async def test_a_run_that_cannot_even_begin_says_why_in_one_word(
    ground: Ground, error: Exception, outcome: Outcome, reason: Reason
) -> None:
    """The word is a label, the rest is for people."""
    ended = await ground.run(ToldBody("a", refuses=error))

    assert (ended.outcome, ended.reason, ended.detail) == (outcome, reason, str(error))
    assert ended.parts == ()


async def test_a_store_that_cannot_lock_is_not_worked_on(ground: Ground) -> None:
    """It was asked before the first lock."""
    ground.not_ready = StoreError("ignores put-if-absent")
    body = ToldBody("a")

    ended = await ground.run(body)

    assert (ended.outcome, ended.reason) == (Outcome.FAILED, Reason.STORE)
    assert body.done == []
    assert ground.store.objects == {}


async def test_of_two_daemons_one_does_a_job_and_the_other_skips_it(ground: Ground) -> None:
    """A lock in the store: a skip, by its reason, and no failure."""
    async with ground.others.job("eu", "nightly"):
        body = ToldBody("a")
        ended = await ground.run(body)

    assert (ended.outcome, ended.reason) == (Outcome.SKIPPED, Reason.LOCKED)
    assert "somebody else" in ended.detail
    assert body.done == []


@pytest.mark.parametrize(
    ("cause", "outcome"), [(Cause.CATCH_UP, Outcome.OK), (Cause.SCHEDULE, Outcome.SKIPPED)]
)
async def test_what_is_made_up_for_waits_until_the_lease_of_the_dead_is_over(
    patient_time: None, cause: Cause, outcome: Outcome
) -> None:
    """A daemon that was killed in the middle, and started again at once, loses no night."""
    clock = Passing()
    ground = Ground(clock)
    await Lease(ground.store, owner="who died", clock=clock).take("~jobs/eu~nightly")

    ended = await ground.run(ToldBody("a"), deadline_seconds=10 * LEASE_SECONDS, cause=cause)

    assert ended.outcome is outcome


async def test_what_another_daemon_makes_up_for_is_not_done_once_more(patient_time: None) -> None:
    """Both were started again at once; the other was alive, and let go of the lock."""
    clock = Passing()
    ground = Ground(clock)

    async def others() -> None:
        async with ground.others.job("eu", "nightly"):
            await asyncio.sleep(60.0)

    other = asyncio.create_task(others())
    await asyncio.sleep(1.0)

    ended = await ground.run(ToldBody("a"), deadline_seconds=10 * LEASE_SECONDS, cause=Cause.CATCH_UP)

    await other
    assert (ended.outcome, ended.reason) == (Outcome.SKIPPED, Reason.LOCKED)


async def test_a_collection_is_done_under_its_lock(ground: Ground) -> None:
    """Nobody restores or prunes it meanwhile, and afterwards it is free."""
    seen: list[str] = []

    async def do(name: str) -> Part:
        try:
            async with ground.others.collection("eu", name):
                seen.append("free")
        except JobLocked as refused:
            seen.append(str(refused))
        return Part(name, Outcome.OK)

    await ground.run(ToldBody("docs", do=do))

    assert len(seen) == 1
    assert "locked by us" in seen[0]
    async with ground.others.collection("eu", "docs"), ground.others.job("eu", "nightly"):
        pass


async def test_a_run_ends_at_its_deadline_and_says_what_was_not_done(ground: Ground) -> None:
    """The one under way is cancelled, the rest is not begun, what was done stays done."""
    hanging = Hanging()

    async def do(name: str) -> Part:
        return await hanging(name) if name == "slow" else Part(name, Outcome.OK)

    body = ToldBody("quick", "slow", "never", do=do)

    ended = await ground.run(body, deadline_seconds=0.2)

    assert hanging.cancelled
    assert (ended.outcome, ended.reason) == (Outcome.PARTLY, Reason.DEADLINE)
    assert [(part.collection, part.outcome, part.reason) for part in ended.parts] == [
        ("quick", Outcome.OK, Reason.NONE),
        ("slow", Outcome.FAILED, Reason.DEADLINE),
        ("never", Outcome.SKIPPED, Reason.DEADLINE),
    ]
    assert body.closed == 1


async def test_told_to_stop_it_ends_after_the_collection_it_is_at(ground: Ground) -> None:
    """In peace: what was begun is done, and nothing more begins."""

    async def do(name: str) -> Part:
        ground.stopping.set()
        return Part(name, Outcome.OK)

    ended = await ground.run(ToldBody("a", "b", do=do))

    assert (ended.outcome, ended.reason) == (Outcome.CANCELLED, Reason.STOPPING)
    assert [(part.collection, part.outcome, part.reason) for part in ended.parts] == [
        ("a", Outcome.OK, Reason.NONE),
        ("b", Outcome.SKIPPED, Reason.STOPPING),
    ]


async def test_cancelled_it_writes_its_end_down_and_holds_no_lock(ground: Ground) -> None:
    """As when the grace of a stop is over."""
    hanging = Hanging()
    running = asyncio.create_task(ground.run(ToldBody("a", "b", do=hanging)))
    await hanging.begun.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert hanging.cancelled
    (ended,) = ground.ledger.recent()
    assert ended.outcome is Outcome.CANCELLED
    assert [(part.collection, part.outcome) for part in ended.parts] == [
        ("a", Outcome.CANCELLED),
        ("b", Outcome.SKIPPED),
    ]
    assert ground.ledger.record("nightly").running is None
    async with ground.others.collection("eu", "a"), ground.others.job("eu", "nightly"):
        pass


class Passing(LoopClock):
    """A wall clock that goes as the loop does."""

    def now(self) -> float:
        return self.monotonic()
