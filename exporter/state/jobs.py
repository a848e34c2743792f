"""What jobs keep over a restart: their runs, what they ever brought about, requests of verbs.

Words and figures are text and bytes here: what they mean belongs to `jobs`. As with State, every function
blocks on the disk, raises StateError, and may be called from any thread; verbs call them beside a running
daemon.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from exporter.state.database import State

# A year and a month: the yearly question is how it went since the last one.
RUNS_SECONDS = 400 * 86_400.0
RUNS_KEPT = 10_000  # about 10 MB; a job that runs each minute fills it in a week
ANSWERS_SECONDS = 86_400.0  # a verb waits for minutes, at most for a run's deadline

_COLUMNS = (
    "id, job, cluster, kind, cause, planned_at, started_at, heartbeat_at, ended_at,"
    " outcome, reason, detail, figures"
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run of a job, or one that did not come about. Times are Unix seconds."""

    id: int
    job: str
    cluster: str
    kind: str
    cause: str
    planned_at: float
    started_at: float | None
    heartbeat_at: float | None
    ended_at: float | None
    outcome: str | None  # None while it has no end
    reason: str
    detail: str
    figures: bytes


@dataclass(frozen=True, slots=True)
class KnownJob:
    """Since when a job has the schedule that it has."""

    job: str
    schedule: str
    since: float


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Somebody typed `jobs run`. Answered once `run` or `refusal` is set."""

    number: int
    job: str
    requested_at: float
    run: int | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class StoredJobs:
    """All that a daemon reads when it starts."""

    runs: tuple[StoredRun, ...] = ()  # by id: the newest of each job and outcome, and all without an end
    counts: Mapping[tuple[str, str, str], int] = field(default_factory=dict)  # by job, what and word
    # by job, collection and level ("": it did what it had to)
    successes: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    known: tuple[KnownJob, ...] = ()
    next_id: int = 1


@dataclass(frozen=True, slots=True)
class JobBatch:
    """What is written in one transaction."""

    now: float
    runs: tuple[StoredRun, ...] = ()
    counts: Mapping[tuple[str, str, str], int] = field(default_factory=dict)  # the totals, not what is added
    successes: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    known: tuple[KnownJob, ...] = ()


class JobStore:
    """The tables of jobs in the open database."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what blocks on the disk in the thread of the database; see `State.in_thread`."""
        return await self._state.in_thread(work)

    def load(self) -> StoredJobs:
        """Return what a daemon goes on from, as of one moment."""
        with self._state.transaction() as connection:
            return StoredJobs(
                runs=_runs(
                    connection,
                    f"SELECT {_COLUMNS} FROM job_runs WHERE outcome IS NULL OR id IN"  # noqa: S608
                    " (SELECT max(id) FROM job_runs GROUP BY job, outcome) ORDER BY id",
                ),
                counts={
                    (job, what, word): number
                    for job, what, word, number in connection.execute(
                        "SELECT job, what, word, number FROM job_counts"
                    )
                },
                successes={
                    (job, collection, level): at
                    for job, collection, level, at in connection.execute(
                        "SELECT job, collection, level, at FROM job_successes"
                    )
                },
                known=tuple(
                    KnownJob(*row)
                    for row in connection.execute("SELECT job, schedule, since FROM known_jobs")
                ),
                next_id=connection.execute("SELECT coalesce(max(id), 0) + 1 FROM job_runs").fetchone()[0],
            )

    def write(self, batch: JobBatch) -> None:
        """Store all of it or nothing; runs that are too old or too many go, and successes too old."""
        with self._state.transaction() as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO job_runs ({_COLUMNS})"  # noqa: S608 - the names above
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(run) for run in batch.runs],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO job_counts (job, what, word, number) VALUES (?, ?, ?, ?)",
                [(*key, number) for key, number in batch.counts.items()],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO job_successes (job, collection, level, at) VALUES (?, ?, ?, ?)",
                [(*key, at) for key, at in batch.successes.items()],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO known_jobs (job, schedule, since) VALUES (?, ?, ?)",
                [(one.job, one.schedule, one.since) for one in batch.known],
            )
            if any(run.ended_at is not None for run in batch.runs):
                _drop_what_is_old(connection, batch.now)

    def history(self, *, limit: int, job: str | None = None) -> tuple[StoredRun, ...]:
        """Return the newest runs, of one job or of all, newest first. For verbs."""
        with self._state.reading() as connection:
            return _runs(
                connection,
                f"SELECT {_COLUMNS} FROM job_runs"  # noqa: S608 - the names above
                " WHERE ?1 IS NULL OR job = ?1 ORDER BY id DESC LIMIT ?2",
                job,
                limit,
            )

    def run(self, id: int) -> StoredRun | None:
        """Return one run; None where there is none of this number."""
        with self._state.reading() as connection:
            found = _runs(connection, f"SELECT {_COLUMNS} FROM job_runs WHERE id = ?", id)  # noqa: S608
        return found[0] if found else None

    def request_run(self, job: str, *, now: float) -> int:
        """Leave a request for a running daemon; return its number."""
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM job_requests WHERE requested_at < ?", (now - ANSWERS_SECONDS,))
            request = connection.execute(
                "INSERT INTO job_requests (job, requested_at) VALUES (?, ?)", (job, now)
            )
            return int(request.lastrowid or 0)

    def requests(self) -> tuple[RunRequest, ...]:
        """Return what verbs asked for and nobody answered. Cheap: the daemon asks each second."""
        with self._state.reading() as connection:
            rows = connection.execute(
                "SELECT number, job, requested_at, run, refusal FROM job_requests"
                " WHERE run IS NULL AND refusal IS NULL ORDER BY number"
            ).fetchall()
        return tuple(RunRequest(*row) for row in rows)

    def answer(self, number: int, *, run: int | None = None, refusal: str | None = None) -> None:
        """Say which run came of a request, or why none did."""
        with self._state.transaction() as connection:
            connection.execute(
                "UPDATE job_requests SET run = ?, refusal = ? WHERE number = ?", (run, refusal, number)
            )

    def request(self, number: int) -> RunRequest | None:
        """Return a request and its answer; None where it was withdrawn."""
        with self._state.reading() as connection:
            row = connection.execute(
                "SELECT number, job, requested_at, run, refusal FROM job_requests WHERE number = ?",
                (number,),
            ).fetchone()
        return None if row is None else RunRequest(*row)

    def withdraw(self, number: int) -> bool:
        """Take a request back; False where it was answered before."""
        with self._state.transaction() as connection:
            gone = connection.execute(
                "DELETE FROM job_requests WHERE number = ? AND run IS NULL AND refusal IS NULL", (number,)
            )
            return gone.rowcount > 0


def _runs(connection: sqlite3.Connection, query: str, *parameters: object) -> tuple[StoredRun, ...]:
    return tuple(StoredRun(*row) for row in connection.execute(query, parameters))


def _row(run: StoredRun) -> Sequence[object]:
    return (
        *(run.id, run.job, run.cluster, run.kind, run.cause),
        *(run.planned_at, run.started_at, run.heartbeat_at, run.ended_at),
        *(run.outcome, run.reason, run.detail, run.figures),
    )


def _drop_what_is_old(connection: sqlite3.Connection, now: float) -> None:
    # of collections that are long gone: where they have new names each day there is no end of them
    connection.execute("DELETE FROM job_successes WHERE at < ?", (now - RUNS_SECONDS,))
    # The newest of each job and outcome stays: it is what the job's readings are made of.
    connection.execute(
        "DELETE FROM job_runs WHERE ended_at IS NOT NULL"
        " AND (ended_at < ?1 OR id <= (SELECT max(id) FROM job_runs) - ?2)"
        " AND id NOT IN (SELECT max(id) FROM job_runs GROUP BY job, outcome)",
        (now - RUNS_SECONDS, RUNS_KEPT),
    )
