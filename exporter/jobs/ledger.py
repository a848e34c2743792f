"""What ran, and what came of it: in memory, and on disk before anybody is told.

Memory is the truth and SQLite its log, as with alerting: a disk that says no stops no backup. What could
not be written is written with the next that can. Without a state directory all of it lives in memory, and
a restart knows nothing of what was missed meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from exporter.clock import Clock
from exporter.config.jobs import JobSettings, ScheduleSettings
from exporter.errors import StateError
from exporter.jobs.stored import job_run, stored_run
from exporter.jobs.words import Cause, JobRun, Outcome, Reason, Verdict
from exporter.logs import get_logger
from exporter.state import JobBatch, JobStore, KnownJob, StoredRun

log = get_logger()

RUNS_IN_MEMORY = 1_000  # without a state directory; a page of history and more

RUN, SKIP, LEVEL_OF_A_RUN = "run", "skip", ""

# A clock that is further ahead than this was wrong: by hand people set it by hours.
CLOCK_WRONG_SECONDS = 86_400.0
# Ends that say something of the job: of these the last is its status.
_TELLING = frozenset({Outcome.OK, Outcome.PARTLY, Outcome.FAILED, Outcome.MISSED, Outcome.INTERRUPTED})


@dataclass(slots=True)
class Record:
    """What is known of one job."""

    since: float = 0.0  # when it got its schedule: what was due before was never missed
    done_until: float = 0.0  # the newest time it was due that something came of
    running: JobRun | None = None
    last: JobRun | None = None  # the newest that says how the job does: not one skipped or cancelled
    last_begun: JobRun | None = None  # the newest that began and ended
    last_worked: JobRun | None = None  # the newest that came as far as the collections
    last_success_at: float | None = None
    counts: dict[str, int] = field(default_factory=dict)  # ends by outcome
    skips: dict[str, int] = field(default_factory=dict)  # by reason
    successes: dict[tuple[str, str], float] = field(default_factory=dict)  # by collection and level

    def take(self, run: JobRun) -> None:
        """Take a run in, in its newest form; in the order of their numbers."""
        if run.outcome is None:
            self.running = run
            return
        if self.running is not None and self.running.id == run.id:
            self.running = None
        if not _is_undone(run):
            was_wrong = self.done_until > (run.ended_at or run.planned_at) + CLOCK_WRONG_SECONDS
            self.done_until = run.planned_at if was_wrong else max(self.done_until, run.planned_at)
        if run.outcome in _TELLING:
            self.last = run
        if run.started_at is not None:
            self.last_begun = run
        if any(part.collection for part in run.parts):
            self.last_worked = run
        if run.outcome is Outcome.OK:
            self.last_success_at = run.ended_at

    def came_about(self, planned_at: float, now: float) -> bool:
        """Something came of the time that is due now; not where only a clock that was wrong says so."""
        return planned_at <= self.done_until <= now + CLOCK_WRONG_SECONDS


class Ledger:
    """The runs of all jobs. Belongs to the event loop."""

    def __init__(self, *, store: JobStore | None, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._records: dict[str, Record] = {}
        self._recent: deque[JobRun] = deque(maxlen=RUNS_IN_MEMORY)
        self._next_id = 1
        self._schedules: dict[str, str] = {}
        self._unsaved: dict[int, StoredRun] = {}
        self._unsaved_known: dict[str, KnownJob] = {}
        self._failure = ""

    @property
    def keeps(self) -> bool:
        """What is written outlives the process."""
        return self._store is not None

    def record(self, job: str) -> Record:
        """Return what is known of a job; to be read only."""
        return self._records.setdefault(job, Record())

    def recent(self) -> Iterable[JobRun]:
        """Return the runs that ended in this process, oldest first; for where there is no database."""
        return tuple(self._recent)

    async def load(self) -> tuple[JobRun, ...]:
        """Take up what the last process left; return the runs it did not end, now interrupted.

        Raises StateError: then nothing can be kept from the start.
        """
        if self._store is None:
            return ()
        stored = await self._store.in_thread(self._store.load)
        self._next_id = stored.next_id
        self._schedules = {one.job: one.schedule for one in stored.known}
        for known in stored.known:
            self.record(known.job).since = known.since
        for (job, what, word), number in stored.counts.items():
            record = self.record(job)
            (record.counts if what == RUN else record.skips)[word] = number
        for (job, collection, level), at in stored.successes.items():
            self.record(job).successes[collection, level] = at
        runs = [job_run(one) for one in stored.runs]
        for run in runs:
            if run.outcome is not None:
                self.record(run.job).take(run)
        left = [run for run in runs if run.outcome is None]
        return tuple([await self.end(run, _interrupted(run)) for run in left])

    async def know(self, jobs: Iterable[JobSettings]) -> None:
        """Note since when each job has its schedule: now, where it is new or was changed."""
        now = self._clock.now()
        changed = []
        for job in jobs:
            schedule = _text_of(job.schedule)
            if self._schedules.get(job.name) == schedule:
                continue
            self._schedules[job.name] = schedule
            self.record(job.name).since = now
            changed.append(KnownJob(job.name, schedule, now))
        if changed:
            self._unsaved_known |= {one.job: one for one in changed}
            await self._write(())

    async def begin(self, job: JobSettings, cluster: str, *, planned_at: float, cause: Cause) -> JobRun:
        """Write down that a run begins now."""
        now = self._clock.now()
        run = replace(self._new_run(job, cluster, planned_at, cause), started_at=now, heartbeat_at=now)
        self.record(job.name).take(run)
        await self._write([run])
        return run

    async def beat(self, run: JobRun) -> JobRun:
        """Write down that a run still goes."""
        beaten = replace(run, heartbeat_at=self._clock.now())
        self.record(run.job).take(beaten)
        await self._write([beaten])
        return beaten

    async def end(self, run: JobRun, verdict: Verdict) -> JobRun:
        """Write down how a run ended, with what it did for each collection."""
        now = self._clock.now()
        # an interrupted one ended when it was last heard of
        lost = verdict.outcome is Outcome.INTERRUPTED
        ended = replace(
            run,
            ended_at=(run.heartbeat_at or run.planned_at) if lost else now,
            outcome=verdict.outcome,
            reason=verdict.reason,
            detail=verdict.detail,
        )
        await self._ended(ended)
        return ended

    async def note(
        self,
        job: JobSettings,
        cluster: str,
        *,
        planned_at: float,
        verdict: Verdict,
        cause: Cause = Cause.SCHEDULE,
    ) -> JobRun:
        """Write down a run that was due and did not come about."""
        run = replace(
            self._new_run(job, cluster, planned_at, cause),
            ended_at=self._clock.now(),
            outcome=verdict.outcome,
            reason=verdict.reason,
            detail=verdict.detail,
        )
        await self._ended(run)
        return run

    async def _ended(self, run: JobRun) -> None:
        record = self.record(run.job)
        record.take(run)
        assert run.outcome is not None, "it ended"
        record.counts[run.outcome.value] = record.counts.get(run.outcome.value, 0) + 1
        if run.outcome in (Outcome.SKIPPED, Outcome.MISSED):
            record.skips[run.reason.value] = record.skips.get(run.reason.value, 0) + 1
        for part in run.parts:
            level = part.figures.get("level")
            if part.outcome is Outcome.OK and run.ended_at is not None:
                record.successes[part.collection, LEVEL_OF_A_RUN] = run.ended_at
                if level is not None:
                    record.successes[part.collection, str(level)] = run.ended_at
        self._recent.append(run)
        await self._write([run])

    def _new_run(self, job: JobSettings, cluster: str, planned_at: float, cause: Cause) -> JobRun:
        """Return a run of which nothing came yet, under the next number."""
        self._next_id += 1
        return JobRun(
            id=self._next_id - 1,
            job=job.name,
            cluster=cluster,
            kind=job.kind,
            cause=cause,
            planned_at=planned_at,
        )

    async def _write(self, runs: Iterable[JobRun]) -> None:
        """Store what changed, and what could not be stored before; a disk that says no is logged once."""
        if self._store is None:
            return
        self._unsaved |= {run.id: stored_run(run) for run in runs}
        store, batch = self._store, self._batch()
        try:
            await store.in_thread(lambda: store.write(batch))
        except StateError as error:
            if str(error) != self._failure:
                log.error("state.failed", error=str(error))
            self._failure = str(error)
            return
        self._failure = ""
        # not what changed while the disk was busy
        self._unsaved = {id: run for id, run in self._unsaved.items() if run not in batch.runs}
        self._unsaved_known = {
            job: known for job, known in self._unsaved_known.items() if known not in batch.known
        }

    def _batch(self) -> JobBatch:
        touched = {run.job for run in self._unsaved.values() if run.ended_at is not None}
        counts: dict[tuple[str, str, str], int] = {}
        successes: dict[tuple[str, str, str], float] = {}
        for job in touched:
            record = self.record(job)
            counts |= {(job, RUN, word): number for word, number in record.counts.items()}
            counts |= {(job, SKIP, word): number for word, number in record.skips.items()}
            successes |= {(job, *key): at for key, at in record.successes.items()}
        return JobBatch(
            now=self._clock.now(),
            runs=tuple(self._unsaved.values()),
            counts=counts,
            successes=successes,
            known=tuple(self._unsaved_known.values()),
        )


def _is_undone(run: JobRun) -> bool:
    """Whether it left undone what was due, so that it is made up for.

    One whose process died is so once only, or a backup that kills its daemon would be begun for ever.
    """
    if run.outcome is Outcome.INTERRUPTED:
        return run.cause is not Cause.CATCH_UP
    return run.outcome is Outcome.CANCELLED


def _interrupted(run: JobRun) -> Verdict:
    return Verdict(
        Outcome.INTERRUPTED, Reason.FAILED, "the process ended in the middle of it; what it left is tidied up"
    )


def _text_of(schedule: ScheduleSettings) -> str:
    """Return a schedule as one text: another text is another schedule."""
    if schedule.every_seconds is not None:
        return f"every {schedule.every_seconds:g}s"
    return f"{schedule.cron} {schedule.timezone}"
