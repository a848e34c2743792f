"""APScheduler as we use it: told by our schedules, late once rather than never, and quiet when stopped."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from exporter.jobs.scheduler import Scheduler, ScheduleTrigger
from tests.unit.jobs.asked import HOURLY, job
from tests.unit.jobs.ground import NEVER, often, until

NOON = datetime(2026, 10, 12, 12, tzinfo=UTC)


async def test_a_job_is_called_whenever_it_is_due() -> None:
    """By its name; one that is not due is not called."""
    called: list[str] = []
    scheduler = Scheduler(due=called.append)
    scheduler.start()
    scheduler.exchange([job("often", schedule=often(0.1)), job("never", schedule=NEVER)])

    await until(lambda: len(called) >= 3)

    scheduler.stop()
    assert set(called) == {"often"}


async def test_a_loop_that_was_busy_over_its_time_is_called_once_when_it_is_free() -> None:
    """A backup must not be dropped because the process was busy for two seconds."""
    called: list[str] = []
    scheduler = Scheduler(due=called.append)
    scheduler.start()
    scheduler.exchange([job(schedule=often(0.3))])
    await until(lambda: called)
    called.clear()

    time.sleep(1.0)  # as a loop that is blocked
    await asyncio.sleep(0.01)

    scheduler.stop()
    assert called == ["nightly"]


async def test_only_the_jobs_of_the_last_exchange_are_in_force() -> None:
    """And none after the stop."""
    called: list[str] = []
    scheduler = Scheduler(due=called.append)
    scheduler.start()
    scheduler.exchange([job("old", schedule=often(0.05))])
    await until(lambda: called)

    scheduler.exchange([job("new", schedule=often(0.05))])
    await asyncio.sleep(0)
    called.clear()
    await until(lambda: "new" in called)
    scheduler.stop()
    await asyncio.sleep(0)
    stopped = list(called)
    await asyncio.sleep(0.2)

    assert set(called) == {"new"}
    assert called == stopped


async def test_a_clock_that_was_ahead_makes_no_job_wait_until_then() -> None:
    """A machine without a clock of its own may begin in the year 2030."""
    called: list[str] = []
    scheduler = Scheduler(due=called.append)
    scheduler.start()
    scheduler.exchange([job(schedule=NEVER)])
    scheduler.look(datetime(2000, 2, 28, 23, 59, tzinfo=UTC).timestamp())

    await until(lambda: called)  # the 29th of February 2000 is over by the machine's clock
    scheduler.stop()


def test_the_trigger_knows_no_time_that_is_over() -> None:
    """What a machine that slept for a day has missed is one call, and the next is in the future."""
    trigger = ScheduleTrigger(HOURLY)

    assert trigger.get_next_fire_time(None, NOON) == NOON.replace(hour=13)
    assert trigger.get_next_fire_time(NOON.replace(day=11), NOON) == NOON.replace(hour=13)
    # a clock that was set back does not call again for what was called
    assert trigger.get_next_fire_time(NOON.replace(hour=13), NOON) == NOON.replace(hour=14)
