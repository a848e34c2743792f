"""One run of a job from its beginning to its end, whatever happens in it: a boundary for errors.

The collections come one after the other, each under its lock. What fails there is told, and the next one
goes on; a run ends at its deadline, and when it is told to stop, after the collection it is at where that
is soon enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from exporter.clock import Clock
from exporter.config.jobs import JobSettings
from exporter.errors import (
    ExporterError,
    JobDenied,
    JobLocked,
    JobRefused,
    SourceAuth,
    StoreDenied,
    StoreError,
    StoreFull,
)
from exporter.jobs.chores import Body, Chore
from exporter.jobs.ledger import Ledger
from exporter.jobs.locks import DEAD_SECONDS, Locks
from exporter.jobs.words import Cause, JobRun, Outcome, Part, Reason, Verdict, judge
from exporter.logs import get_logger
from exporter.printable import printable

log = get_logger()

# A run that was not heard of for some of these is not under way any more, whatever its row says.
HEARTBEAT_SECONDS = 30.0
# Another chore on the same collection, of a person or of another daemon, is over by then, or is a long one.
LOCK_PATIENCE_SECONDS = 900.0

NOT_BEGUN = "was not begun"
TOO_LATE = "was not done when the run's deadline came"
STOPPED = Verdict(Outcome.CANCELLED, Reason.STOPPING, "the daemon was told to stop")


@dataclass(slots=True)
class _Course:
    """How far a run is."""

    collections: tuple[str, ...] = ()
    parts: list[Part] = field(default_factory=list)  # of those that are over

    def cut_off(self, outcome: Outcome, reason: Reason, detail: str) -> None:
        """Say what came of the collections that are left: this of the first, and the others were not begun.

        None is left out: what a run was about is what its job covers, until the next one.
        """
        for name in self.collections[len(self.parts) :]:
            self.parts.append(Part(name, outcome, reason, detail))
            outcome, detail = Outcome.SKIPPED, NOT_BEGUN


class Runner:
    """Runs jobs. It keeps nothing of its own between two runs."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        locks: Locks,
        clock: Clock,
        stopping: asyncio.Event,
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        """`ready` raises StoreError where the store cannot be used; asked before each run."""
        self._ledger = ledger
        self._ready = ready
        self._locks = locks
        self._clock = clock
        self._stopping = stopping

    async def run(self, job: JobSettings, body: Body, run: JobRun) -> JobRun:
        """Do a run that was begun in the ledger; return it as it ended.

        Raises only CancelledError, when its end is written: CANCELLED.
        """
        log.info(
            "job.started", job=job.name, kind=job.kind, qdrant_cluster=run.cluster, cause=run.cause.value
        )
        course = _Course()
        heart = asyncio.create_task(self._beat(run), name=f"heartbeat {job.name}")
        cancelled: asyncio.CancelledError | None = None
        try:
            verdict = await self._bounded(job, body, run, course)
        except asyncio.CancelledError as error:
            verdict, cancelled = STOPPED, error
            course.cut_off(verdict.outcome, verdict.reason, verdict.detail)
        finally:
            heart.cancel()
        ended = await self._ended(job, run, course.parts, verdict)
        if cancelled is not None:
            raise cancelled
        return ended

    async def _bounded(self, job: JobSettings, body: Body, run: JobRun, course: _Course) -> Verdict:
        """Work until the deadline, and say what the whole came to."""
        try:
            async with asyncio.timeout(job.deadline_seconds) as deadline:
                return await self._whole(job, body, run, course)
        except TimeoutError as error:
            if not deadline.expired():
                return _failed(error, job.name)
            course.cut_off(Outcome.FAILED, Reason.DEADLINE, TOO_LATE)
            # none: it waited for its turn all the time
            return judge(course.parts or [Part("", Outcome.FAILED, Reason.DEADLINE, TOO_LATE)])
        except Exception as error:  # noqa: BLE001 - a bug in one job must not end the others
            verdict = _failed(error, job.name)
            if not course.collections:
                return verdict
            course.cut_off(Outcome.FAILED, verdict.reason, verdict.detail)
            return replace(verdict, outcome=Outcome.FAILED)

    async def _whole(self, job: JobSettings, body: Body, run: JobRun, course: _Course) -> Verdict:
        try:
            return await self._under_lock(job, body, run, course)
        except StoreFull:  # not even a lock finds room
            if course.collections or not await body.make_room(run.cluster):
                raise
        return await self._under_lock(job, body, run, course)

    async def _under_lock(self, job: JobSettings, body: Body, run: JobRun, course: _Course) -> Verdict:
        patience_seconds = DEAD_SECONDS if run.cause is Cause.CATCH_UP else 0.0
        take = self._locks.freeing_job if body.frees else self._locks.job
        try:
            await self._ready()
        except StoreFull:
            if not body.frees:
                raise
        async with take(run.cluster, job.name, patience_seconds=patience_seconds):
            return await self._collections(job, body, run.cluster, course)

    async def _collections(self, job: JobSettings, body: Body, cluster: str, course: _Course) -> Verdict:
        async with body.opened(job, cluster) as chore:
            course.collections = chore.collections
            for collection in chore.collections:
                if self._stopping.is_set():
                    course.cut_off(Outcome.SKIPPED, STOPPED.reason, NOT_BEGUN)
                    return STOPPED
                started = self._clock.monotonic()
                part = await self._part(chore, body, job, cluster, collection)
                course.parts.append(replace(part, took_seconds=round(self._clock.monotonic() - started, 3)))
                if part.outcome is not Outcome.OK:
                    log.warning(
                        "job.collection_failed",
                        job=job.name,
                        qdrant_cluster=cluster,
                        collection=printable(collection),
                        outcome=part.outcome.value,
                        reason=part.reason.value,
                        error=part.detail,
                    )
        return judge(course.parts)

    async def _part(self, chore: Chore, body: Body, job: JobSettings, cluster: str, collection: str) -> Part:
        begun = False
        take = self._locks.freeing if body.frees else self._locks.collection
        try:
            async with chore.turn(), take(cluster, collection, patience_seconds=LOCK_PATIENCE_SECONDS):
                begun = True
                return await chore.do(collection)
        except Exception as error:  # noqa: BLE001 - the next collection goes on
            failure = _failed(error, job.name)
            # a lock that was lost in the middle is no skip: something was begun
            outcome = Outcome.FAILED if begun else failure.outcome
            return Part(collection, outcome, failure.reason, failure.detail)

    async def _ended(self, job: JobSettings, run: JobRun, parts: Sequence[Part], verdict: Verdict) -> JobRun:
        ended = await self._ledger.end(replace(run, parts=tuple(parts)), verdict)
        tell = log.info if ended.outcome is Outcome.OK else log.error
        if ended.outcome in (Outcome.SKIPPED, Outcome.CANCELLED):
            tell = log.warning
        tell(
            "job.ended",
            job=job.name,
            kind=job.kind,
            qdrant_cluster=run.cluster,
            outcome=verdict.outcome.value,
            reason=verdict.reason.value,
            detail=verdict.detail,
            collections=len(parts),
            took_seconds=ended.took_seconds,
        )
        return ended

    async def _beat(self, run: JobRun) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._ledger.beat(run)


def reason_of(error: BaseException) -> Reason:
    """Return the word for a failure."""
    for kind, reason in (
        (JobLocked, Reason.LOCKED),
        (JobRefused, Reason.REFUSED),
        ((SourceAuth, JobDenied, StoreDenied), Reason.RIGHTS),
        (StoreError, Reason.STORE),
    ):
        if isinstance(error, kind):
            return reason
    return Reason.FAILED


def _failed(error: Exception, job: str) -> Verdict:
    if isinstance(error, ExporterError | OSError) and str(error):
        outcome = Outcome.SKIPPED if isinstance(error, JobLocked) else Outcome.FAILED
        return Verdict(outcome, reason_of(error), str(error))
    log.error("job.broken", job=job, exc_info=error)
    return Verdict(Outcome.FAILED, Reason.FAILED, f"a bug: {type(error).__name__}; the log has the trace")
