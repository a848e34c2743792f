"""The ledger: what ran is known after a restart, and a disk that says no stops nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.config.jobs import ScheduleSettings
from exporter.errors import StateError
from exporter.jobs.due import overdue
from exporter.jobs.ledger import Ledger
from exporter.jobs.stored import job_run, stored_run
from exporter.jobs.words import Cause, JobRun, Outcome, Part, Reason, Verdict
from exporter.state import JobBatch, JobStore, State
from tests.kit.clock import ManualClock
from tests.unit.jobs.asked import job

OK = Verdict(Outcome.OK, Reason.NONE, "2 collections")
FAILED = Verdict(Outcome.FAILED, Reason.STORE, "no room")
MISSED = Verdict(Outcome.MISSED, Reason.MISSED, "it was due")
OVERLAP = Verdict(Outcome.SKIPPED, Reason.OVERLAP, "its last run was not over")
CANCELLED = Verdict(Outcome.CANCELLED, Reason.STOPPING, "stop")
HOUR = 3_600.0


class Disk:
    """A state directory that a ledger is opened on again and again, as by one process after the other."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.state = State.open(directory, clock=self.clock)

    async def ledger(self) -> Ledger:
        """What a new process knows."""
        opened = Ledger(store=JobStore(self.state), clock=self.clock)
        await opened.load()
        return opened


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "state")
    yield made
    made.state.close()


async def run_of(ledger: Ledger, clock: ManualClock, verdict: Verdict, **changed: Any) -> JobRun:
    """Begin a run of the job now, and end it a minute later."""
    cause = changed.pop("cause", Cause.SCHEDULE)
    begun = await ledger.begin(job(), "eu", planned_at=changed.pop("planned_at", clock.now()), cause=cause)
    clock.advance(60)
    return await ledger.end(replace(begun, **changed), verdict)


async def test_a_run_is_known_to_the_next_process_with_all_that_it_did(disk: Disk) -> None:
    """When it began and ended, what came of each collection, and what it counts for."""
    part = Part("docs", Outcome.OK, figures={"set": "20270115T080000Z-a1b2c3", "points": 600})
    ended = await run_of(await disk.ledger(), disk.clock, OK, parts=(part,))

    record = (await disk.ledger()).record("nightly")

    assert record.last == ended
    assert record.last is not None
    assert record.last.parts == (part,)
    assert record.counts == {"ok": 1}
    assert record.last_success_at == ended.ended_at
    assert record.successes == {("docs", ""): ended.ended_at}


async def test_a_run_whose_process_ended_is_interrupted_since_it_was_last_heard_of(disk: Disk) -> None:
    """Nobody else will ever end it."""
    first = await disk.ledger()
    begun = await first.begin(job(), "eu", planned_at=disk.clock.now(), cause=Cause.SCHEDULE)
    disk.clock.advance(90)
    beaten = await first.beat(begun)
    disk.clock.advance(5 * HOUR)

    second = Ledger(store=JobStore(disk.state), clock=disk.clock)
    (left,) = await second.load()

    assert (left.outcome, left.ended_at) == (Outcome.INTERRUPTED, beaten.heartbeat_at)
    assert second.record("nightly").running is None
    assert second.record("nightly").counts == {"interrupted": 1}
    assert (await disk.ledger()).record("nightly").last == left


async def test_what_was_due_while_nothing_ran_is_overdue_once(disk: Disk) -> None:
    """Five hourly runs that were missed are one that is made up for."""
    first = await disk.ledger()
    await first.know([job()])
    await run_of(first, disk.clock, OK)
    disk.clock.advance(5 * HOUR)

    missed = overdue(job(), (await disk.ledger()).record("nightly"), disk.clock.now())

    assert missed is not None
    assert (missed.number, missed.in_time) == (5, True)


async def test_a_job_that_is_new_missed_nothing(disk: Disk) -> None:
    """It was not due before it was known; and a changed schedule is a new one."""
    ledger = await disk.ledger()
    await ledger.know([job()])
    disk.clock.advance(2 * HOUR)
    other = job(schedule=ScheduleSettings(cron="*/10 * * * *"))
    again = await disk.ledger()

    await again.know([other])

    assert overdue(other, again.record("nightly"), disk.clock.now()) is None
    assert overdue(job(), ledger.record("nightly"), disk.clock.now()) is not None


async def test_what_was_missed_for_too_long_is_written_down_and_not_made_up_for(disk: Disk) -> None:
    """After `catch_up` the next one is near; and once noted it is not missed again."""
    ledger = await disk.ledger()
    await ledger.know([job()])
    disk.clock.advance(3 * HOUR)
    impatient = job(catch_up_seconds=60.0)

    missed = overdue(impatient, ledger.record("nightly"), disk.clock.now() + 600)
    assert missed is not None
    assert not missed.in_time
    await ledger.note(impatient, "eu", planned_at=missed.newest_at, verdict=missed.verdict)

    record = (await disk.ledger()).record("nightly")
    assert overdue(impatient, record, disk.clock.now() + 600) is None
    assert record.last is not None
    assert (
        record.last.detail
        == "it was due 3 times while nothing ran here, and it is too late to make up for it"
    )
    assert record.skips == {"missed": 1}


@pytest.mark.parametrize(
    ("undone", "again"), [(CANCELLED, True), (Verdict(Outcome.INTERRUPTED, Reason.FAILED, ""), False)]
)
async def test_a_run_that_was_not_let_end_is_made_up_for(disk: Disk, undone: Verdict, again: bool) -> None:
    """Of one that was killed but once: a backup that kills its daemon must not be begun again and again."""
    ledger = await disk.ledger()
    await ledger.know([job()])
    disk.clock.advance(HOUR)
    planned_at = disk.clock.now() // HOUR * HOUR

    await run_of(ledger, disk.clock, undone, planned_at=planned_at)
    first = overdue(job(), (await disk.ledger()).record("nightly"), disk.clock.now())
    await run_of(ledger, disk.clock, undone, planned_at=planned_at, cause=Cause.CATCH_UP)
    second = overdue(job(), (await disk.ledger()).record("nightly"), disk.clock.now())

    assert first is not None
    assert first.newest_at == planned_at
    assert (second is not None) == again


async def test_a_run_of_a_clock_that_was_ahead_keeps_no_later_one_from_its_turn(disk: Disk) -> None:
    """Once the clock is right the job is due again, and what that clock said is forgotten."""
    ledger = await disk.ledger()
    right = disk.clock.now()
    await run_of(ledger, disk.clock, OK, planned_at=right + 400 * 24 * HOUR)
    record = ledger.record("nightly")

    assert not record.came_about(right, disk.clock.now())

    await run_of(ledger, disk.clock, OK, planned_at=right)
    assert record.came_about(right, disk.clock.now())
    assert not record.came_about(right + HOUR, disk.clock.now())


async def test_a_clock_that_was_set_back_by_hours_does_nothing_twice(disk: Disk) -> None:
    """What was due at a time is not due again when the same time comes again."""
    ledger = await disk.ledger()
    await run_of(ledger, disk.clock, OK, planned_at=disk.clock.now())

    assert ledger.record("nightly").came_about(disk.clock.now() - 2 * HOUR, disk.clock.now() - 2 * HOUR)


async def test_skips_and_cancelled_runs_say_nothing_of_how_a_job_does(disk: Disk) -> None:
    """Its status is that of the last run that was let end; a skip is counted by its reason."""
    ledger = await disk.ledger()
    failed = await run_of(ledger, disk.clock, FAILED)
    await ledger.note(job(), "eu", planned_at=disk.clock.now(), verdict=OVERLAP)
    await run_of(ledger, disk.clock, CANCELLED)

    record = (await disk.ledger()).record("nightly")

    assert record.last == failed
    assert record.skips == {"overlap": 1}
    assert record.counts == {"failed": 1, "skipped": 1, "cancelled": 1}


@pytest.mark.parametrize("level", [0, 4])
async def test_levels_that_were_proven_are_known_when_the_set_is_gone(disk: Disk, level: int) -> None:
    """Retention may delete the very set that was restored last week."""
    proven = Part("docs", Outcome.OK, figures={"level": level})
    ended = await run_of(await disk.ledger(), disk.clock, OK, parts=(proven,))

    assert (await disk.ledger()).record("nightly").successes == {
        ("docs", ""): ended.ended_at,
        ("docs", str(level)): ended.ended_at,
    }


class Broken(JobStore):
    """A disk that says no until it is mended."""

    broken = True

    def write(self, batch: JobBatch) -> None:
        if self.broken:
            raise StateError("no space left")
        super().write(batch)


async def test_a_disk_that_says_no_stops_no_run_and_gets_it_later(disk: Disk) -> None:
    """Memory is the truth; what could not be written is written with the next that can."""
    store = Broken(disk.state)
    ledger = Ledger(store=store, clock=disk.clock)
    await ledger.load()
    first = await run_of(ledger, disk.clock, FAILED)
    assert (await disk.ledger()).record("nightly").last is None

    store.broken = False
    second = await run_of(ledger, disk.clock, OK)

    assert ledger.record("nightly").last == second
    assert [job_run(one) for one in store.history(limit=9)] == [second, first]
    assert (await disk.ledger()).record("nightly").counts == {"failed": 1, "ok": 1}


async def test_without_a_state_directory_runs_live_in_memory() -> None:
    """By somebody's choice: a restart knows nothing of them."""
    clock = ManualClock()
    ledger = Ledger(store=None, clock=clock)
    await ledger.load()

    ended = await run_of(ledger, clock, OK)

    assert not ledger.keeps
    assert ledger.record("nightly").last == ended
    assert tuple(ledger.recent()) == (ended,)


def test_a_run_of_a_newer_version_is_read_as_what_comes_closest() -> None:
    """Whoever goes back a version keeps the history."""
    run = JobRun(1, "nightly", "eu", "backup", Cause.PERSON, 1.0, 2.0, 3.0, 4.0, Outcome.OK)
    newer = replace(stored_run(run), cause="moon", outcome="splendid", reason="odd", figures=b"[{]")

    assert job_run(stored_run(run)) == run
    assert job_run(newer) == replace(run, cause=Cause.SCHEDULE, outcome=Outcome.FAILED, reason=Reason.FAILED)
