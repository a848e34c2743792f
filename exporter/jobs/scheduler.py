"""APScheduler, told when jobs are due by our own schedules. It keeps nothing: what ran is in the ledger.

Its traps, and why nothing here steps into them: its cron takes 0 for Monday and fires twice when clocks
are set back, so the times are ours; a run that is a second late is dropped unless `misfire_grace_time` is
None; runs that overlap are dropped without a word, so what it calls only says that a job is due and
returns; its shutdown cancels what runs, so runs are tasks of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from apscheduler.jobstores.memory import MemoryJobStore  # type: ignore[import-untyped]
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.base import BaseTrigger  # type: ignore[import-untyped]

from exporter.config.jobs import JobSettings, ScheduleSettings
from exporter.jobs.schedule import next_fires


class ScheduleTrigger(BaseTrigger):  # type: ignore[misc]
    """Our schedule, as APScheduler asks for it."""

    def __init__(self, schedule: ScheduleSettings) -> None:
        self._schedule = schedule

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the first time after now, and after the previous one. APScheduler's own name.

        What a machine that slept has missed in between is one run: the ledger counts the rest.
        """
        after = now if previous_fire_time is None else max(previous_fire_time, now)
        for at in next_fires(self._schedule, after.timestamp(), 1):
            return datetime.fromtimestamp(at, UTC)
        return None


class Scheduler:
    """Calls `due` with a job's name when it is due. Belongs to the event loop."""

    def __init__(self, *, due: Callable[[str], None]) -> None:
        self._due = due
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            jobstores={"default": MemoryJobStore()},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )

    def start(self) -> None:
        """Begin to look at the time."""
        self._scheduler.start()

    def exchange(self, jobs: Iterable[JobSettings]) -> None:
        """Put these jobs in force, and no others. What is due next is asked of the schedules anew."""
        self._scheduler.remove_all_jobs()
        for job in jobs:
            self._scheduler.add_job(
                self._fire, ScheduleTrigger(job.schedule), args=[job.name], id=job.name, name=job.name
            )

    def look(self, now: float) -> None:
        """Look at the clock again: its timer knows of no clock that was set and no machine that slept.

        `now` is Unix seconds. Where the clock was ahead until now, what is due waits for no such time.
        """
        moment = datetime.fromtimestamp(now, UTC)
        for waiting in self._scheduler.get_jobs():
            sooner = waiting.trigger.get_next_fire_time(None, moment)
            if sooner is not None and sooner < waiting.next_run_time:
                waiting.modify(next_run_time=sooner)
        self._scheduler.wakeup()

    def stop(self) -> None:
        """Call nobody any more."""
        if self._scheduler.running:
            self._scheduler.remove_all_jobs()
            self._scheduler.shutdown(wait=False)

    async def _fire(self, name: str) -> None:  # a coroutine: what is none goes to a thread
        self._due(name)
