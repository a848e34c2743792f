"""The tables of jobs: what ran is known after a restart, counters never fall, requests are answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.state import JobBatch, JobStore, KnownJob, RunRequest, State, StoredRun
from exporter.state.jobs import ANSWERS_SECONDS, RUNS_KEPT, RUNS_SECONDS

NOW = 1_800_000_000.0


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.open(tmp_path / "state", clock=SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def store(state: State) -> JobStore:
    return JobStore(state)


def run(
    id: int, *, job: str = "nightly", outcome: str | None = "ok", ended_at: float | None = NOW
) -> StoredRun:
    return StoredRun(
        *(id, job, "eu", "backup", "schedule", NOW - 60, NOW - 50, NOW - 20),
        *(ended_at, outcome, "", "two collections", b"{}"),
    )


def test_what_was_written_is_read_after_a_restart(tmp_path: Path) -> None:
    """Runs, counters, successes and since when a job is known."""
    first = State.open(tmp_path, clock=SystemClock())
    JobStore(first).write(
        JobBatch(
            now=NOW,
            runs=(run(4), run(5, outcome=None, ended_at=None)),
            counts={("nightly", "run", "ok"): 7},
            successes={("nightly", "docs", ""): NOW},
            known=(KnownJob("nightly", "every 1d", NOW - 99),),
        )
    )
    first.close()

    second = State.open(tmp_path, clock=SystemClock())
    stored = JobStore(second).load()
    second.close()

    assert stored.runs == (run(4), run(5, outcome=None, ended_at=None))
    assert stored.counts == {("nightly", "run", "ok"): 7}
    assert stored.successes == {("nightly", "docs", ""): NOW}
    assert stored.known == (KnownJob("nightly", "every 1d", NOW - 99),)
    assert stored.next_id == 6


def test_a_daemon_reads_the_newest_run_of_each_outcome_and_all_without_an_end(store: JobStore) -> None:
    """What its readings are made of, and no more of ten thousand rows."""
    open_ = {"outcome": None, "ended_at": None}
    store.write(
        JobBatch(
            now=NOW,
            runs=(
                run(1),
                run(2, outcome="failed"),
                run(3),
                run(4, **open_),
                run(5, **open_),
                run(6, job="b"),
            ),
        )
    )

    assert [one.id for one in store.load().runs] == [2, 3, 4, 5, 6]


def test_the_history_is_told_newest_first_of_one_job_or_of_all(store: JobStore) -> None:
    """As many as were asked for."""
    store.write(JobBatch(now=NOW, runs=(run(1), run(2, job="b"), run(3))))

    assert [one.id for one in store.history(limit=2)] == [3, 2]
    assert [one.id for one in store.history(limit=9, job="nightly")] == [3, 1]
    assert store.run(2) == run(2, job="b")
    assert store.run(9) is None


def test_old_runs_go_and_the_newest_of_an_outcome_stays(store: JobStore) -> None:
    """Else the last success of a job that fails for a year would be forgotten."""
    old = NOW - RUNS_SECONDS - 1
    store.write(JobBatch(now=old, runs=(run(1, ended_at=old), run(2, ended_at=old))))

    store.write(JobBatch(now=NOW, runs=(run(3, outcome="failed"),)))

    assert [one.id for one in store.history(limit=9)] == [3, 2]


def test_successes_of_collections_that_are_long_gone_go(store: JobStore) -> None:
    """Where collections have new names each day there is no end of them."""
    old = {("nightly", "docs_2025_01_01", ""): NOW - RUNS_SECONDS - 1}
    store.write(JobBatch(now=NOW, runs=(run(1),), successes=old | {("nightly", "docs", ""): NOW}))

    assert store.load().successes == {("nightly", "docs", ""): NOW}


def test_runs_beyond_the_number_kept_go(store: JobStore) -> None:
    """A job that runs each minute does not fill the disk."""
    store.write(JobBatch(now=NOW, runs=tuple(run(id) for id in (1, 2, RUNS_KEPT + 1))))

    assert [one.id for one in store.history(limit=9)] == [RUNS_KEPT + 1, 2]


def test_a_run_is_replaced_whole(store: JobStore) -> None:
    """Begun, heard of, ended: one row."""
    store.write(JobBatch(now=NOW, runs=(run(1, outcome=None, ended_at=None),)))
    store.write(JobBatch(now=NOW, runs=(run(1),)))

    assert store.history(limit=9) == (run(1),)


def test_a_request_is_open_until_it_is_answered(store: JobStore) -> None:
    """By the run that came of it, or by why none did; then the daemon sees it no more."""
    first = store.request_run("nightly", now=NOW)
    second = store.request_run("weekly", now=NOW)

    store.answer(first, run=12)
    still_open = store.requests()
    store.answer(second, refusal="there is no such job")

    asked = RunRequest(second, "weekly", NOW)
    assert still_open == (asked,)
    assert store.requests() == ()
    assert store.request(first) == RunRequest(first, "nightly", NOW, run=12)
    assert store.request(second) == replace(asked, refusal="there is no such job")


def test_a_request_can_be_taken_back_until_it_is_answered(store: JobStore) -> None:
    """Where no daemon runs the next one must not be surprised by it."""
    number = store.request_run("nightly", now=NOW)

    assert store.withdraw(number)
    assert store.request(number) is None
    answered = store.request_run("nightly", now=NOW)
    store.answer(answered, run=1)
    assert not store.withdraw(answered)


def test_requests_of_yesterday_go(store: JobStore) -> None:
    """Nobody waits for them any more."""
    old = store.request_run("nightly", now=NOW - ANSWERS_SECONDS - 1)

    store.request_run("nightly", now=NOW)

    assert store.request(old) is None
