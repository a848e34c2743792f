"""Thresholds that killed runs left changed are put back by the daemon, in a quiet moment and never before."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.backup.thresholds.putting_back import LOOK_SECONDS
from exporter.backup.words import FieldChange, Purpose, ThresholdIntent
from exporter.jobs.intent_records import INTENT_OPENED, intent_producer
from exporter.jobs.locks import Locks
from exporter.jobs.words import Outcome
from exporter.model import ProducerKey, Reading
from exporter.observe.sources import disk
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.ground import FAST
from tests.unit.jobs.asked import job
from tests.unit.jobs.ground import CLUSTER, NEVER, Ground, ground_of, until

THRESHOLD = "deleted_threshold"
OPENED_AT = 1_800_000_000.0


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    """Three peers with a collection, looked at more often than in earnest."""
    monkeypatch.setattr("exporter.jobs.room.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("exporter.jobs.reconciling.WHILE_OPEN_SECONDS", 0.05)
    monkeypatch.setattr("exporter.jobs.bodies.tidying.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("exporter.jobs.making.Limits", lambda: FAST)
    async with ground_of(tmp_path, SnapshotCluster()) as made:
        made.cluster.create("docs", points(300), shard_number=2)
        yield made


async def left_behind(ground: Ground) -> None:
    """Let a vacuum have changed a threshold, and have been killed then."""
    made = ThresholdIntent(
        id="20261126T023000Z-1a2b3c",
        cluster=CLUSTER,
        collection="docs",
        uuid=None,
        purpose=Purpose.VACUUM,
        opened_at=OPENED_AT,
        owner="a host that died",
        changes=(FieldChange(THRESHOLD, 0.2, 0.11, 0.2),),
    )
    await ground.shelf().save_thresholds(made)
    docs = ground.cluster.world.named("docs")
    docs.config["optimizer_config"][THRESHOLD] = 0.11
    ground.cluster.optimizers.patched(docs)


def in_force(ground: Ground) -> object:
    """The threshold as the servers have it."""
    return ground.cluster.world.named("docs").config["optimizer_config"][THRESHOLD]


def told(ground: Ground) -> float | None:
    """Since when it is told that thresholds of docs are changed; None: they are not."""
    standing = ground.board.view().standing.get(intent_producer(CLUSTER), ())
    return next((one.value for one in standing if one.spec is INTENT_OPENED), None)


def patches(ground: Ground) -> int:
    """How many changes were sent."""
    return sum(line.startswith("PATCH") for line in ground.cluster.lines())


async def test_what_a_killed_vacuum_changed_is_put_back_at_the_next_start(ground: Ground) -> None:
    """And until then it is told since when."""
    ground.cluster.knobs.pace.held = True
    ground.cluster.optimizers.add_deleted("docs", 3_000)
    await left_behind(ground)

    async with ground.running():
        await until(lambda: told(ground) == OPENED_AT)
        await until(lambda: ground.cluster.lines(0).count("GET /telemetry?details_level=4") > 2)
        assert (in_force(ground), patches(ground)) == (0.11, 0)
        ground.cluster.knobs.pace.held = False

        await until(lambda: told(ground) is None)

    assert in_force(ground) == 0.2
    assert await ground.shelf().thresholds() == []
    assert ground.cluster.optimizers.statuses("docs") == ["done", "done"]
    assert patches(ground) == 1


async def test_while_a_peer_is_down_nothing_is_sent_and_jobs_are_done(ground: Ground) -> None:
    """It is put back once the peer is there again."""
    await left_behind(ground)
    await ground.cluster.kill(2)

    async with ground.running(job(schedule=NEVER)):
        await until(lambda: told(ground) == OPENED_AT)
        run = await ground.done()
        assert run.outcome is not Outcome.SKIPPED
        assert (in_force(ground), patches(ground)) == (0.11, 0)

        await ground.cluster.revive(2)
        await until(lambda: told(ground) is None)

    assert in_force(ground) == 0.2


async def test_what_somebody_works_on_is_left_to_him(ground: Ground) -> None:
    """The vacuum that opened it may live, and be at it."""
    await left_behind(ground)
    store = ground.settings().backup.store
    assert store is not None
    another = Locks(store=ground.opened(store, ground.clock), owner="another", clock=ground.clock)

    async with another.collection(CLUSTER, "docs"), ground.running():
        await until(lambda: ground.reading("qdrantx_backup_orphan_bytes", "a") == 0)

    assert told(ground) == OPENED_AT
    assert (in_force(ground), patches(ground)) == (0.11, 0)
    assert "GET /telemetry?details_level=4" not in ground.cluster.lines()


async def test_a_daemon_that_is_told_to_stop_sends_nothing_any_more(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks too; what is open stays written down, and the stop is not held up."""
    monkeypatch.setattr("exporter.jobs.bodies.tidying.LOOK_SECONDS", LOOK_SECONDS)
    await left_behind(ground)

    async with ground.running():
        await until(lambda: "GET /telemetry?details_level=4" in ground.cluster.lines(0))
        began = time.monotonic()

    assert time.monotonic() - began < LOOK_SECONDS / 2
    assert (in_force(ground), patches(ground)) == (0.11, 0)
    assert [one.collection for one in await ground.shelf().thresholds()] == ["docs"]
    assert ground.open_couriers == 0


async def test_what_a_person_leaves_while_the_daemon_runs_is_found(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is looked at again and again."""
    monkeypatch.setattr("exporter.jobs.reconciling.WHILE_CLOSED_SECONDS", 0.05)
    async with ground.running():
        await left_behind(ground)

        await until(lambda: in_force(ground) == 0.2)
        await until(lambda: told(ground) is None)


async def test_a_vacuum_that_a_stop_cuts_short_is_cleared_up_after_at_the_next_start(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent on the way out: it would cancel what runs."""
    monkeypatch.setattr("exporter.jobs.room.GRACE_SECONDS", 0.05)
    ground.cluster.optimizers.add_deleted("docs", 30, vector_bytes=100_000)
    ground.cluster.knobs.pace.held = True
    room = [Reading(disk.FREE, (CLUSTER, label, "/data"), 1e12) for label in "abc"]
    ground.board.post(ProducerKey(CLUSTER, "", "disk"), room)
    weekly = job("weekly", kind="vacuum", min_reclaim_bytes=1 << 20, schedule=NEVER)

    async with ground.running(weekly):
        ground.job_store.request_run("weekly", now=ground.clock.now())
        await until(lambda: patches(ground) == 1)
        await until(lambda: told(ground) is not None)
    (run,) = ground.history()
    assert (run.outcome, patches(ground)) == (Outcome.CANCELLED, 1)
    assert in_force(ground) != 0.2

    ground.cluster.knobs.pace.held = False
    async with ground.running(weekly):
        await until(lambda: in_force(ground) == 0.2)
        await until(lambda: told(ground) is None)

    assert await ground.shelf().thresholds() == []
    assert ground.cluster.optimizers.statuses("docs") == ["done", "done"]
