"""The room of scheduled jobs, as the daemon uses it: start, exchange at a reload, stop.

Whatever is due becomes a task here; what a run is and how it ends is in `runner.py`. At start, and at a
reload, what was missed is made up for, the store is read and the rights of the key are asked for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from exporter.backup.storage.contract import Store
from exporter.backup.storage.opening import open_store
from exporter.backup.survey import PeerAt
from exporter.backup.telling import BackupNote
from exporter.board import Board
from exporter.clock import Clock
from exporter.config.backup import StoreSettings
from exporter.config.jobs import JobSettings
from exporter.config.settings import Settings
from exporter.jobs.due import overdue
from exporter.jobs.facts import cluster_of, covered, job_facts, no_such_job
from exporter.jobs.ledger import Ledger
from exporter.jobs.making import make_works
from exporter.jobs.published import Published
from exporter.jobs.reconciling import Reconciler
from exporter.jobs.records import job_producer, job_readings
from exporter.jobs.requests import Requests
from exporter.jobs.schedule import previous_fire
from exporter.jobs.scheduler import Scheduler
from exporter.jobs.watching_rights import RightsWatch
from exporter.jobs.words import Cause, Outcome, Reason, Verdict
from exporter.jobs.works import Works
from exporter.logs import get_logger
from exporter.state import JobStore

log = get_logger()

HINT_TO_OPEN = (
    "nothing can open what is stored: write backup.verify with target: or allow_same_cluster: true; for"
    " snapshots the extra edge does too"
)
LOOK_SECONDS = 1.0  # for requests: a person who typed one waits for it
MINUTE_SECONDS = 60.0
# People back up and prune by hand, and other daemons by themselves.
READ_AGAIN_SECONDS = 600.0
# What is under way is let end for so long when we are told to stop: what is all but done is spared. With
# what follows, alerting's last messages and the end of the HTTP face, it fits into the 30 s after which
# Kubernetes kills. Who kills sooner loses no backup: what was begun is tidied up at the next start.
GRACE_SECONDS = 5.0
# What a cancelled run needs to put down what it holds: six seconds for what it left on servers.
TIDY_SECONDS = 7.0


def _catch_up_delay_seconds() -> float:
    """Peers are found within the first polls; and not all that was missed begins in the same moment."""
    return 20.0 + random.uniform(0.0, 40.0)  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class _Asked:
    """A run that is to be made."""

    planned_at: float
    cause: Cause
    delay_seconds: float
    begun: asyncio.Future[int]  # its number, once the ledger has it


class Jobs:
    """All jobs of a daemon. Belongs to the event loop."""

    def __init__(
        self,
        *,
        peers_of: Callable[[str], Sequence[PeerAt]],
        board: Board,
        clock: Clock,
        store: JobStore | None,
        flags: Sequence[str] = (),
        open_store: Callable[[StoreSettings, Clock], Store] = open_store,
        catch_up_delay_seconds: Callable[[], float] = _catch_up_delay_seconds,
    ) -> None:
        """`peers_of` makes ways to all peers of a cluster, with the jobs' key; we close them.

        `flags` complete a command that is told to people: by them it finds cluster and store.
        """
        self._peers_of = peers_of
        self._board = board
        self._clock = clock
        self._open_store = open_store
        self._catch_up_delay_seconds = catch_up_delay_seconds
        self._ledger = Ledger(store=store, clock=clock)
        self._requests = Requests(store=store, clock=clock)
        self._published = Published(board=board, clock=clock, flags=flags)
        self._turns: dict[str, asyncio.Lock] = {}
        self._rights = RightsWatch(peers_of=peers_of, clock=clock)
        self._reconciler = Reconciler(intents=self._published.intents, delay_seconds=catch_up_delay_seconds)
        self._scheduler = Scheduler(due=self._due)
        self._asking = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._works: Works | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}  # what is due or under way, by job
        self._others: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()  # clusters whose jobs or backups stand on the Board

    # --- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up the ledger and begin to look at the time. Raises StateError."""
        for run in await self._ledger.load():
            log.error("job.interrupted", job=run.job, qdrant_cluster=run.cluster, run=run.id)
        self._scheduler.start()
        self._spawn(self._look_for_requests(), "look for requests")
        self._spawn(self._look_at_the_clock(), "look at the clock")
        self._spawn(self._look_at_the_store(), "look at the store")
        self._spawn(self._reconciler.run(), "put thresholds back")

    def build(self, settings: Settings) -> Works | None:
        """Return what these settings ask for; nothing of it is begun. None: no store, so no jobs.

        Where nothing changed that concerns jobs it is what is in force. Raises ConfigError.
        """
        if self._works is not None and _concerning(self._works.settings) == _concerning(settings):
            return self._works
        return make_works(
            settings,
            ledger=self._ledger,
            published=self._published,
            board=self._board,
            peers_of=self._peers_of,
            open_store=self._open_store,
            turns=self._turns,
            stopping=self._stopping,
            clock=self._clock,
        )

    async def exchange(self, works: Works | None) -> None:
        """Put these works in force. Runs under way end as they began.

        To be called after the clusters were exchanged: what is told of a cluster goes with its watch.
        """
        before, self._works = self._works, works
        if works is before:
            self._tell_all()
            return
        jobs = self._jobs()
        if jobs and not self._ledger.keeps:
            log.warning("jobs.unkept", hint="set --state.dir: else a restart knows of no run that was missed")
        await self._ledger.know(jobs)
        self._scheduler.exchange(jobs)
        if before is not None:
            await before.retire()
            if works is None or works.settings.backup.store != before.settings.backup.store:
                self._published.forget()
        self._rights.exchange(works)
        self._reconciler.exchange(works)
        self._catch_up()
        self._tell_all()
        if works is not None:
            for name in sorted(works.hopeless):
                log.error("job.hopeless", job=name, hint=HINT_TO_OPEN)
            self._spawn(self._read(), "read the store of backups")
            self._spawn(self._ask_rights(), "ask for the jobs' rights")
            self._spawn(self._tidy(works), "clear up after killed runs")

    async def stop(self) -> None:
        """Begin nothing more, let end what is under way, and cancel what takes too long."""
        self._stopping.set()
        self._scheduler.stop()
        for task in self._others:
            task.cancel()
        for seconds in (GRACE_SECONDS, TIDY_SECONDS):
            left = (*self._tasks.values(), *self._others)
            if left:
                await asyncio.wait(left, timeout=seconds)
            for task in self._tasks.values():
                task.cancel()
        if self._works is not None:
            await self._works.retire()

    # --- what others ask ---------------------------------------------------------------------------

    def note(self, cluster: str, collection: str) -> BackupNote | None:
        """Return the newest good backup of a collection in words; None where none is known."""
        return self._published.note(cluster, collection)

    def expected(self, cluster: str) -> Mapping[str, frozenset[str]]:
        """Return the collections that have a good backup and that a job still covers, with their aliases."""
        return self._published.expected(cluster)

    # --- what is due -------------------------------------------------------------------------------

    def _due(self, name: str) -> None:
        """A job's time has come."""
        job, works = self._job(name), self._works
        if job is None or works is None or self._stopping.is_set():
            return
        now = self._clock.now()
        planned_at = previous_fire(job.schedule, now)
        if planned_at is None or self._ledger.record(name).came_about(planned_at, now):
            return  # the clock was set back
        if name in self._tasks:
            late = Verdict(Outcome.SKIPPED, Reason.OVERLAP, "its last run was not over")
            self._spawn(self._note(works, job, planned_at, late), f"skip {name}")
        elif now - planned_at > max(job.catch_up_seconds, MINUTE_SECONDS):
            self._note_missed(works, job)  # the machine slept
        else:
            self._begin(works, job, planned_at, Cause.SCHEDULE)

    def _catch_up(self) -> None:
        """Make up for what was missed while nothing ran here, or write down that it was."""
        works = self._works
        for job in self._jobs():
            missed = overdue(job, self._ledger.record(job.name), self._clock.now())
            if works is None or missed is None or job.name in self._tasks:
                continue
            if missed.in_time:
                delay = self._catch_up_delay_seconds()
                self._begin(works, job, missed.newest_at, Cause.CATCH_UP, delay_seconds=delay)
            else:
                self._note_missed(works, job)

    def _note_missed(self, works: Works, job: JobSettings) -> None:
        missed = overdue(job, self._ledger.record(job.name), self._clock.now())
        if missed is not None:
            log.error("job.missed", job=job.name, planned_at=missed.newest_at, number=missed.number)
            self._spawn(self._note(works, job, missed.newest_at, missed.verdict), f"miss {job.name}")

    async def _note(self, works: Works, job: JobSettings, planned_at: float, verdict: Verdict) -> None:
        if verdict.outcome is Outcome.SKIPPED:
            log.warning("job.skipped", job=job.name, reason=verdict.reason.value, detail=verdict.detail)
        cluster = cluster_of(job, works.clusters)
        await self._ledger.note(job, cluster, planned_at=planned_at, verdict=verdict)
        self._tell_all()

    # --- runs --------------------------------------------------------------------------------------

    def _begin(
        self, works: Works, job: JobSettings, planned_at: float, cause: Cause, *, delay_seconds: float = 0.0
    ) -> asyncio.Future[int]:
        """Begin a run; return what becomes its number, or is cancelled where none is begun."""
        works.users += 1  # at once: a reload may come before the task begins
        begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(
            self._task(works, job, _Asked(planned_at, cause, delay_seconds, begun)), name=f"job {job.name}"
        )
        self._tasks[job.name] = task
        task.add_done_callback(partial(self._over, job.name, begun))
        return begun

    def _over(self, name: str, begun: asyncio.Future[int], task: asyncio.Task[None]) -> None:
        begun.cancel()
        if self._tasks.get(name) is task:  # cancelled before it ran
            del self._tasks[name]
        _log_failure(task)

    async def _task(self, works: Works, job: JobSettings, asked: _Asked) -> None:
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(asked.delay_seconds):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return  # nothing is written down: the next start makes up for it
            await self._whole_run(works, job, asked)
        finally:
            works.users -= 1
            await works.close_unused()
            # at once: who saw the end in the ledger may ask for the next
            self._tasks.pop(job.name, None)

    async def _whole_run(self, works: Works, job: JobSettings, asked: _Asked) -> None:
        cluster = cluster_of(job, works.clusters)
        run = await self._ledger.begin(job, cluster, planned_at=asked.planned_at, cause=asked.cause)
        asked.begun.set_result(run.id)
        self._tell_all()
        try:
            ended = await works.runner.run(job, works.bodies[job.kind], run)
            if ended.outcome is Outcome.OK:
                self._rights.shown(job.name)
        finally:
            self._tell_all()
        self._spawn(self._read(), "read the store of backups")

    # --- looking -----------------------------------------------------------------------------------

    # Each by itself: a server or a store that does not answer keeps neither a person waiting nor a job.

    async def _look_for_requests(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._requests.look(self._wanted_by_a_person)

    async def _look_at_the_clock(self) -> None:
        while True:
            await asyncio.sleep(MINUTE_SECONDS)
            self._scheduler.look(self._clock.now())
            if not self._asking.locked():
                self._spawn(self._ask_rights(), "ask for the jobs' rights")

    async def _look_at_the_store(self) -> None:
        while True:
            # one that failed says no to jobs too: the sooner it is known to be well the better
            failing = self._published.is_failing
            await asyncio.sleep(MINUTE_SECONDS if failing else READ_AGAIN_SECONDS)
            await self._read()

    def _wanted_by_a_person(self, name: str) -> asyncio.Future[int] | str:
        """Begin a run that a person asks for; return its number to come, or why there is none."""
        job, works, running = self._job(name), self._works, self._ledger.record(name).running
        if job is None or works is None:
            return no_such_job(self._jobs())
        if name in self._tasks:
            return f"it is under way{'' if running is None else f', as run {running.id}'}"
        return self._begin(works, job, self._clock.now(), Cause.PERSON)

    async def _read(self) -> None:
        """Read what the store in force holds, and tell it."""
        works = self._works
        if works is not None:
            async with works.used():
                await self._published.read(works.shelf, works.clusters, ready=works.check)
            self._tell_all()

    async def _tidy(self, works: Works) -> None:
        """Clear up after runs that were killed, once peers are found."""
        await asyncio.sleep(self._catch_up_delay_seconds())
        async with works.used():
            for cluster in works.clusters:
                await works.tidying.everything(cluster)
        self._tell_all()

    async def _ask_rights(self) -> None:
        async with self._asking:
            if await self._rights.look():
                self._tell_all()

    # --- telling -----------------------------------------------------------------------------------

    def _tell_all(self) -> None:
        """Put on the Board what is known of jobs and of backups, by cluster."""
        names = () if self._works is None else self._works.clusters
        clusters = set(names)
        for cluster in self._told - clusters:
            self._published.withdraw(cluster)
            self._board.withdraw(job_producer(cluster))
        for cluster in clusters:
            jobs = [job for job in self._jobs() if cluster_of(job, names) == cluster]
            records = {job.name: self._ledger.record(job.name) for job in jobs}
            now = self._clock.now()
            facts = [
                job_facts(job, cluster, records[job.name], now, cannot=self._cannot(job.name)) for job in jobs
            ]
            self._board.post(job_producer(cluster), tuple(job_readings(facts)))
            self._published.tell(cluster, tuple(covered(jobs, records)))
        self._told = clusters

    # --- inside ------------------------------------------------------------------------------------

    def _jobs(self) -> tuple[JobSettings, ...]:
        return () if self._works is None else self._works.settings.jobs

    def _cannot(self, name: str) -> bool:
        """A job cannot be done: its key may not, nothing can open archives, or the store was never usable."""
        works = self._works
        if works is None:
            return False
        refused = not works.check.is_good and self._published.is_failing
        return refused or name in works.hopeless or self._rights.are_missing(name)

    def _job(self, name: str) -> JobSettings | None:
        return next((job for job in self._jobs() if job.name == name), None)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._stopping.is_set():
            work.close()
            return
        task = asyncio.create_task(work, name=name)
        self._others.add(task)
        task.add_done_callback(self._others.discard)
        task.add_done_callback(_log_failure)


def _concerning(settings: Settings) -> tuple[object, ...]:
    """Return what jobs are made of. How a peer is reached is asked for with each run."""
    return settings.backup, settings.jobs, tuple(cluster.name for cluster in settings.clusters)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.error("jobs.broken", task=task.get_name(), exc_info=failure)
