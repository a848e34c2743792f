"""`jobs run` beside a daemon, and how runs are shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.backup_verbs import jobs
from exporter.backup_verbs.jobs import run_job_now, show_history, show_jobs
from exporter.config.jobs import JobSettings, ScheduleSettings
from exporter.config.settings import Settings, StateSettings
from exporter.errors import JobError
from exporter.jobs.stored import stored_run
from exporter.jobs.words import Cause, JobRun, Outcome, Part, Reason
from exporter.state import JobBatch, JobStore, State, StateLock
from tests.unit.backup_verbs.ground import CLOCK, Answer

NIGHTLY = JobSettings(name="nightly", kind="backup", schedule=ScheduleSettings(cron="30 2 * * *"))
BEGUN = JobRun(7, "nightly", "prod", "backup", Cause.PERSON, planned_at=CLOCK.now())


def settings_of(folder: Path) -> Settings:
    """A configuration with one job and a state directory."""
    return Settings(state=StateSettings(dir=folder / "state"), jobs=(NIGHTLY,))


def keep(folder: Path, run: JobRun) -> None:
    """Write a run into the ledger."""
    with closing(State.open(folder / "state", clock=CLOCK)) as state:
        JobStore(state).write(JobBatch(now=CLOCK.now(), runs=(stored_run(run),)))


@asynccontextmanager
async def daemon(folder: Path, answer: Callable[[JobStore, int], Awaitable[None]]) -> AsyncIterator[None]:
    """Have the state directory as a daemon has it, and answer the first request so."""
    with StateLock(directory=folder / "state"), closing(State.open(folder / "state", clock=CLOCK)) as state:
        store = JobStore(state)

        async def look() -> None:
            while not (asked := store.requests()):
                await asyncio.sleep(0.01)
            await answer(store, asked[0].number)

        looking = asyncio.create_task(look())
        try:
            async with asyncio.timeout(20):
                yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking


async def test_a_run_that_the_daemon_makes_is_waited_for_and_shown(tmp_path: Path) -> None:
    """With what came of each collection; exit code 3 where some failed."""
    ended = replace(
        BEGUN,
        started_at=BEGUN.planned_at,
        ended_at=BEGUN.planned_at + 12.0,
        outcome=Outcome.PARTLY,
        detail="1 of 2 collections failed",
        parts=(
            Part("docs", Outcome.OK, figures={"points": 10}),
            Part("pe\nople", Outcome.FAILED, Reason.FAILED, "no room"),
        ),
    )

    async def answer(store: JobStore, number: int) -> None:
        store.write(JobBatch(now=CLOCK.now(), runs=(stored_run(BEGUN),)))
        store.answer(number, run=BEGUN.id)
        await asyncio.sleep(0.05)
        store.write(JobBatch(now=CLOCK.now(), runs=(stored_run(ended),)))

    shown = Answer()
    async with daemon(tmp_path, answer):
        code = await run_job_now(settings_of(tmp_path), "nightly", shown.showing)

    assert code == 3
    assert shown.lines == [
        "run 7 of nightly: partly in 12.0 s; 1 of 2 collections failed",
        "  docs: ok: points 10",
        "  pe\\nople: failed: no room",
    ]


async def test_what_the_daemon_refuses_is_told_with_its_reason(tmp_path: Path) -> None:
    """Such as a job that it does not know, because it was not reloaded."""

    async def answer(store: JobStore, number: int) -> None:
        store.answer(number, refusal="there is no such job")

    async with daemon(tmp_path, answer):
        with pytest.raises(JobError, match="the daemon does not run it: there is no such job"):
            await run_job_now(settings_of(tmp_path), "nightly", Answer().showing)


async def test_a_daemon_that_does_not_answer_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request goes too: it must not begin a run when nobody waits for it."""
    monkeypatch.setattr(jobs, "ANSWER_SECONDS", 0.2)

    async def answer(store: JobStore, number: int) -> None:
        await asyncio.Event().wait()

    async with daemon(tmp_path, answer):
        with pytest.raises(JobError, match="did not answer within"):
            await run_job_now(settings_of(tmp_path), "nightly", Answer().showing)

    with closing(State.open(tmp_path / "state", clock=CLOCK)) as state:
        assert JobStore(state).requests() == ()


async def test_a_daemon_that_ends_in_the_middle_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor taken for gone at once: it may be started again and tell what became of the run."""
    monkeypatch.setattr(jobs, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.02)
    began = asyncio.Event()

    async def answer(store: JobStore, number: int) -> None:
        store.write(JobBatch(now=CLOCK.now(), runs=(stored_run(BEGUN),)))
        store.answer(number, run=BEGUN.id)
        began.set()

    async with daemon(tmp_path, answer):
        asked = asyncio.create_task(run_job_now(settings_of(tmp_path), "nightly", Answer().showing))
        await began.wait()
    with pytest.raises(JobError, match="the daemon ended in the middle of run 7"):
        await asked


async def test_a_list_shows_the_next_times_and_makes_no_state(tmp_path: Path) -> None:
    """A state directory of another user would keep the daemon out."""
    shown = Answer()

    code = await show_jobs(settings_of(tmp_path), shown.showing)

    (line,) = shown.lines[1:]
    assert code == 0
    assert line.count(" 02:30:00Z") == 3
    assert line.split()[-1] == "never"
    assert list(tmp_path.iterdir()) == []


async def test_the_history_tells_runs_that_have_no_end_yet(tmp_path: Path) -> None:
    """The newest first, as many as are asked for; what comes from outside stays on one line."""
    keep(tmp_path, replace(BEGUN, id=6, outcome=Outcome.MISSED, reason=Reason.MISSED, detail="down\nthen"))
    keep(tmp_path, replace(BEGUN, started_at=BEGUN.planned_at))
    shown, newest = Answer(), Answer(is_json=True)

    await show_history(settings_of(tmp_path), None, 20, shown.showing)
    await show_history(settings_of(tmp_path), None, 1, newest.showing)

    under_way, missed = shown.lines[1:]
    assert under_way.endswith("under way")
    assert "missed (missed)" in missed
    assert missed.endswith("down\\nthen")
    assert [run["run"] for run in newest.document] == [7]
