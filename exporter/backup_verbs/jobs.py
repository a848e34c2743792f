"""`jobs list`, `run` and `history`: what is scheduled, what ran, and a run now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exporter import exit_codes
from exporter.backup_verbs.opened import cluster_of, free_bytes, reached
from exporter.backup_verbs.showing import Showing, day
from exporter.clock import Clock, SystemClock
from exporter.config.flags import CONFIG_FILE
from exporter.config.settings import Settings
from exporter.errors import ConfigError, JobError, Problem
from exporter.jobs.once import run_job
from exporter.jobs.schedule import next_fires
from exporter.jobs.stored import job_run
from exporter.jobs.words import JobRun, Outcome, Part
from exporter.printable import printable
from exporter.state import DATABASE_NAME, JobStore, State, StateLock

NEXT_TIMES = 3
LOOK_SECONDS = 0.5  # at a run that a daemon does: it writes its end down at once
# A daemon looks for requests each second; one that says nothing for so long does not look. One that ended
# in the middle of a run is back within so long, where something starts it again.
ANSWER_SECONDS = 30.0

_CODES = {
    Outcome.OK: exit_codes.DONE,
    Outcome.PARTLY: exit_codes.PARTLY,
    Outcome.SKIPPED: exit_codes.PARTLY,
}


async def show_jobs(settings: Settings, showing: Showing) -> int:
    """Show what is scheduled; return the exit code."""
    clock = SystemClock()
    last = _last_runs(settings, clock)
    now = clock.now()
    jobs = [(job, next_fires(job.schedule, now, NEXT_TIMES), last.get(job.name)) for job in settings.jobs]
    if showing.is_json:
        showing.document(
            [
                {
                    "name": job.name,
                    "kind": job.kind,
                    "cluster": job.cluster,
                    "next": list(times),
                    "last": None if run is None else _document(run),
                }
                for job, times, run in jobs
            ]
        )
        return exit_codes.DONE
    if not jobs:
        showing.say("No job is configured.")
        return exit_codes.DONE
    showing.table(
        ("job", "kind", "cluster", "next", "", "", "last run", "outcome"),
        [
            (
                job.name,
                job.kind,
                job.cluster or "",
                *(day(at) for at in (*times, *[None] * (NEXT_TIMES - len(times)))),
                day(None if run is None else run.started_at or run.planned_at),
                "" if run is None else _outcome(run),
            )
            for job, times, run in jobs
        ],
    )
    return exit_codes.DONE


async def show_history(settings: Settings, name: str | None, limit: int, showing: Showing) -> int:
    """Show the newest runs; return the exit code."""
    directory = settings.state.dir
    if directory is None:
        raise _no_state()
    if not _is_kept(directory):
        raise JobError(f"no daemon has kept its state in {directory}: give the --state.dir of the daemon")
    with _store(settings, SystemClock()) as store:
        assert store is not None, "asked above"
        runs = [job_run(stored) for stored in store.history(limit=limit, job=name)]
    if showing.is_json:
        showing.document([_document(run) for run in runs])
        return exit_codes.DONE
    if not runs:
        showing.say("No run is known.")
        return exit_codes.DONE
    showing.table(
        ("run", "job", "cause", "planned", "started", "took", "outcome", "detail"),
        [
            (
                str(run.id),
                run.job,
                run.cause.value,
                day(run.planned_at),
                day(run.started_at),
                "" if run.took_seconds is None else f"{run.took_seconds:.1f} s",
                _outcome(run),
                run.detail,
            )
            for run in runs
        ],
    )
    return exit_codes.DONE


async def run_job_now(settings: Settings, name: str, showing: Showing) -> int:
    """Have a job run, by the daemon where one has the state directory; return the exit code."""
    clock = SystemClock()
    job = next((job for job in settings.jobs if job.name == name), None)
    if job is None:
        names = ", ".join(job.name for job in settings.jobs) or "none"
        text = f"there is no job {printable(name)} in the configuration; there are: {names}"
        raise ConfigError([Problem("JOB", None, "", text)])
    directory = settings.state.dir
    if directory is not None and StateLock(directory=directory).is_held():
        run = await _by_daemon(settings, directory, name, clock)
    else:
        run = await _here(settings, name, job.cluster, clock)
    if showing.is_json:
        showing.document(_document(run))
    else:
        took = "" if run.took_seconds is None else f" in {run.took_seconds:.1f} s"
        showing.say(f"run {run.id} of {run.job}: {_outcome(run)}{took}; {run.detail}")
        for part in run.parts:
            showing.say(f"  {_part_text(part)}")
    return _CODES.get(run.outcome or Outcome.FAILED, exit_codes.FAILED)


async def _here(settings: Settings, name: str, cluster: str | None, clock: Clock) -> JobRun:
    chosen = cluster_of(settings, cluster)
    with _store(settings, clock) as store:
        async with reached(settings, chosen, clock) as peers:
            return await run_job(
                settings,
                name,
                peers_of=lambda _: peers,
                clock=clock,
                store=store,
                disks_of=lambda _: free_bytes(chosen),
            )


async def _by_daemon(settings: Settings, directory: Path, name: str, clock: Clock) -> JobRun:
    """Ask the running daemon, and wait for the end of the run."""
    with _store(settings, clock) as store:
        assert store is not None, "a daemon has it"
        number = store.request_run(name, now=clock.now())
        try:
            run_id = await _accepted(store, number)
            seen_at = clock.monotonic()
            while clock.monotonic() - seen_at < ANSWER_SECONDS:
                stored = store.run(run_id)
                run = None if stored is None else job_run(stored)
                if run is not None and run.outcome is not None:
                    return run
                if StateLock(directory=directory).is_held():
                    seen_at = clock.monotonic()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            store.withdraw(number)
    raise JobError(f"the daemon ended in the middle of run {run_id}; the next one clears up after it")


async def _accepted(store: JobStore, number: int) -> int:
    """Return the number of the run that was begun. Raises JobError where the daemon will not."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                request = store.request(number)
                if request is not None and request.refusal is not None:
                    raise JobError(f"the daemon does not run it: {request.refusal}")
                if request is not None and request.run is not None:
                    return request.run
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise JobError(f"the daemon did not answer within {ANSWER_SECONDS:g} s") from None


@contextmanager
def _store(settings: Settings, clock: Clock) -> Iterator[JobStore | None]:
    """Open the ledger of the daemon's state directory; None where none is configured."""
    if settings.state.dir is None:
        yield None
        return
    state = State.open(settings.state.dir, clock=clock)
    try:
        yield JobStore(state)
    finally:
        state.close()


def _last_runs(settings: Settings, clock: Clock) -> dict[str, JobRun]:
    """Return the newest run of each job, as far as one is known."""
    directory = settings.state.dir
    if directory is None or not _is_kept(directory):
        return {}
    found: dict[str, JobRun] = {}
    with _store(settings, clock) as store:
        for job in settings.jobs if store is not None else ():
            assert store is not None, "asked above"
            for stored in store.history(limit=1, job=job.name):
                found[job.name] = job_run(stored)
    return found


def _is_kept(directory: Path) -> bool:
    """Whether there is a ledger. A look makes none: one of another user would keep the daemon out."""
    return (directory / DATABASE_NAME).exists()


def _no_state() -> ConfigError:
    text = f"the daemon keeps its runs in state.dir: give --state.dir, or {CONFIG_FILE.option} of the daemon"
    return ConfigError([Problem("--state.dir", None, "", text)])


def _outcome(run: JobRun) -> str:
    if run.outcome is None:
        return "under way"
    return f"{run.outcome.value} ({run.reason.value})" if run.reason.value else run.outcome.value


def _part_text(part: Part) -> str:
    figures = ", ".join(f"{name} {value}" for name, value in part.figures.items())
    told = "; ".join(text for text in (figures, part.detail) if text)
    return f"{part.collection or '(cluster)'}: {part.outcome.value}{f': {told}' if told else ''}"


def _document(run: JobRun) -> dict[str, Any]:
    return {
        "run": run.id,
        "job": run.job,
        "kind": run.kind,
        "cluster": run.cluster,
        "cause": run.cause.value,
        "plannedAt": run.planned_at,
        "startedAt": run.started_at,
        "endedAt": run.ended_at,
        "outcome": None if run.outcome is None else run.outcome.value,
        "reason": run.reason.value,
        "detail": run.detail,
        "collections": [
            {
                "collection": part.collection,
                "outcome": part.outcome.value,
                "reason": part.reason.value,
                "detail": part.detail,
                "tookSeconds": part.took_seconds,
                "figures": part.figures,
            }
            for part in run.parts
        ],
    }
