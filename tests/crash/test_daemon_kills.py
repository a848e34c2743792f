"""A daemon with jobs, killed while it makes up for what it missed: the next one clears up and says so.

`CRASH_KILLS` and `CRASH_SEED` as for the verbs; the daemon is killed an eighth as often.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from exporter import exit_codes
from exporter.backup.words import Consistency, SetKind
from exporter.jobs.stored import job_run
from exporter.jobs.words import JobRun, Outcome
from exporter.state import JobStore, State
from tests.crash.chores import BELOW, DUSTY, Chores
from tests.crash.ground import COLLECTION, PAST_LEASE_SECONDS, Ground, Kill, ground_in
from tests.kit.scripted import free_port

KILLS = max(1, int(os.environ.get("CRASH_KILLS", "8")) // 8)
SEED = int(os.environ.get("CRASH_SEED", "7"))
# What waits for peers and for company waits for half a minute to a whole one.
SPEED = 30.0
# Of one that only puts thresholds back, and does so within its second minute.
PUTTING_BACK_SPEED = 60.0
# Killed so often before it is let do its work.
KILLS_IN_A_ROW = 3
LONGEST_LIFE_SECONDS = 3.0
MOST_STEPS = 350
SCHEDULE = {"every": "5m"}  # shorter than a lease: after each death all is overdue
JOBS = (
    {"name": "nightly", "kind": "backup", "collections": {"include": [COLLECTION]}, "schedule": SCHEDULE},
    {"name": "weekly", "kind": "verify", "level": 4, "schedule": SCHEDULE},
    {"name": "tidy", "kind": "prune", "schedule": SCHEDULE},
    {
        "name": "points",
        "kind": "backup",
        "format": "export",
        "collections": {"include": [COLLECTION]},
        "schedule": SCHEDULE,
    },
    {
        "name": "sweep",
        "kind": "vacuum",
        "collections": {"include": [DUSTY]},
        "min_reclaim": "1MiB",
        "p95_limit": "0s",
        "schedule": SCHEDULE,
    },
)


def history(ground: Ground) -> list[JobRun]:
    """Return all runs of the ledger, newest first."""
    with closing(State.open(ground.folder / "state", clock=ground.wall)) as state:
        return [job_run(one) for one in JobStore(state).history(limit=10_000)]


def daemon(ground: Ground, jobs: Sequence[Mapping[str, Any]] = JOBS) -> tuple[str, ...]:
    """Write its configuration, and return how it is started."""
    poll = {"fast": "60s", "medium": "2m", "slow": "5m", "deadline": "30s"}
    ground.write_config(*jobs, poll=poll)
    return ("run", f"--web.listen-address=127.0.0.1:{free_port(('127.0.0.1',))}", "--log.level=error")


async def let_work(ground: Ground, chores: Chores) -> None:
    """Let a daemon live until every job was done by it, and see that nothing else is left."""
    before = {run.id for run in history(ground)}

    async def is_done() -> bool:
        new = [run for run in history(ground) if run.id not in before]
        failed = [run for run in new if run.outcome in (Outcome.FAILED, Outcome.PARTLY)]
        assert not failed, failed
        done = {run.job for run in new if run.outcome is Outcome.OK}
        if done != {job["name"] for job in JOBS} or any(run.outcome is None for run in new):
            return False
        left = await ground.shelf.intents() or await ground.open_scratch() or ground.on_servers()
        return not left and await chores.is_put_back()

    ended = await ground.live(*daemon(ground), until=is_done)
    assert ended.status == exit_codes.DONE, ended.output
    runs = history(ground)
    assert all(run.outcome is not None for run in runs)
    assert await ground.held_locks() == []
    sets = await ground.sets()
    for kind in SetKind:
        newest = next(one.manifest for one in sets if one.manifest.kind is kind)
        # an export that went on after points were written says so
        fuzzy = newest.export is not None and newest.export.consistency is Consistency.FUZZY
        assert newest.points == ground.points or fuzzy
    assert await ground.shelf.exports() == []
    assert chores.deleted == 0


async def test_a_daemon_killed_amid_its_jobs_is_followed_by_one_that_clears_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All five kinds of work are overdue at each start; each death comes somewhere amid them."""
    dice = random.Random(SEED)
    async with ground_in(tmp_path) as ground:
        ground.speed = SPEED
        chores = Chores(ground)
        (tmp_path / "state").mkdir()
        await let_know(ground)
        # else what proves and prunes may come before what backs up, and find nothing to do
        assert (await ground.live("backup", "run", COLLECTION)).code == exit_codes.DONE
        for number in range(1, KILLS + 1):
            ground.write(2)
            if chores.deleted == 0 and await chores.is_put_back():
                chores.soil(BELOW)
            ground.wait(PAST_LEASE_SECONDS)
            by_step, seconds = dice.random() < 0.5, dice.uniform(0.5, LONGEST_LIFE_SECONDS)
            kill = Kill(
                at_step=dice.randint(1, MOST_STEPS) if by_step else None,
                at_seconds=LONGEST_LIFE_SECONDS if by_step else seconds,
            )
            ended = await ground.live(*daemon(ground), kill=kill)
            assert ended.was_killed, ended.output
            await ground.sets()
            await chores.see()
            if number % KILLS_IN_A_ROW == 0 or number == KILLS:
                ground.wait(PAST_LEASE_SECONDS)
                await let_work(ground, chores)
                await chores.see()

        await let_put_back(ground, chores)
        outcomes = Counter(f"{run.outcome} {run.reason}".strip() for run in history(ground))
    with capsys.disabled():
        print(f"\n{ground.kills} kills of a daemon, seed {SEED}; runs: {dict(outcomes)}")


async def let_know(ground: Ground) -> None:
    """Let a first daemon write down since when it has its jobs."""

    async def is_known() -> bool:
        with closing(State.open(ground.folder / "state", clock=ground.wall)) as state:
            return len(JobStore(state).load().known) == len(JOBS)

    assert (await ground.live(*daemon(ground), until=is_known)).status == exit_codes.DONE


async def let_put_back(ground: Ground, chores: Chores) -> None:
    """Let a daemon without jobs find what a vacuum left that died, while the server is still at it."""
    await chores.leave(asked=True, looks=2)
    ground.speed = PUTTING_BACK_SPEED
    ended = await ground.live(*daemon(ground, ()), until=chores.is_put_back)
    assert ended.status == exit_codes.DONE, ended.output
    await chores.see()
    assert chores.deleted == 0
