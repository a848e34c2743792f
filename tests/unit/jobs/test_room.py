"""Jobs as the daemon has them: due, asked for, missed, exchanged, stopped; over sockets, a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from exporter.backup.records import backup_producer
from exporter.backup.words import BackupIntent, PeerIntent
from exporter.config.backup import BackupSettings, StoreSettings, VerifySettings, VerifyTargetSettings
from exporter.config.jobs import JobCollections
from exporter.config.secret import Secret
from exporter.errors import ConfigError, JobError, JobRefused
from exporter.jobs.locks import Locks
from exporter.jobs.once import run_job
from exporter.jobs.words import Cause, JobRun, Outcome, Reason
from exporter.state import JobBatch, KnownJob
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.jobs.asked import HOURLY, job
from tests.unit.jobs.ground import CLUSTER, NEVER, Ground, ground_of, often, until


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    """Three peers with two collections; requests are looked for more often than in earnest."""
    monkeypatch.setattr("exporter.jobs.room.LOOK_SECONDS", 0.02)
    async with ground_of(tmp_path, SnapshotCluster()) as made:
        made.cluster.create("docs", points(300), shard_number=3, replication_factor=2)
        made.cluster.create("images", points(100), shard_number=2)
        yield made


async def test_a_job_that_a_person_asks_for_is_done_at_once_and_told(ground: Ground) -> None:
    """By the database, as a verb does; its run, its readings and the backups are there afterwards."""
    async with ground.running(job(schedule=NEVER)):
        run = await ground.asked_for("nightly")
        await until(lambda: ground.reading("qdrantx_backup_points", "docs"))

        assert isinstance(run, JobRun)
        assert (run.outcome, run.cause) == (Outcome.OK, Cause.PERSON)
        assert [(part.collection, part.figures["points"]) for part in run.parts] == [
            ("docs", 300),
            ("images", 100),
        ]
        assert [one.manifest.job for one in await ground.shelf().sets(CLUSTER)] == ["nightly", "nightly"]
        assert ground.reading("qdrantx_job_last_status", "nightly") == 0
        assert ground.reading("qdrantx_job_running", "nightly") == 0
        assert ground.reading("qdrantx_job_runs_total", "nightly", "ok") == 1
        assert ground.reading("qdrantx_job_last_success_timestamp_seconds", "nightly", "docs") == run.ended_at
        assert ground.reading("qdrantx_backup_points", "docs") == 300
        assert ground.reading("qdrantx_backup_missing", "docs") == 0
        assert ground.reading("qdrantx_backup_orphan_bytes", "a") == 0
    assert ground.open_couriers == 0


async def test_a_job_is_done_when_it_is_due(ground: Ground) -> None:
    """Its planned time is the schedule's, and the next one stands in its readings."""
    async with ground.running(job(schedule=often(1.0), collections=JobCollections(include=("images",)))):
        await until(lambda: ground.ended())

        run = ground.ended()[0]
        assert (run.outcome, run.cause) == (Outcome.OK, Cause.SCHEDULE)
        assert run.planned_at == int(run.planned_at)
        assert run.started_at is not None
        assert 0 <= run.started_at - run.planned_at < 1.0
        next_at = ground.reading("qdrantx_job_next_run_timestamp_seconds", "nightly")
        assert next_at is not None
        assert next_at > run.planned_at


async def test_a_run_that_is_due_while_the_last_one_goes_is_skipped_and_counted(ground: Ground) -> None:
    """Never two of one job at once, and a skip is told by its reason."""
    ground.cluster.knobs.snapshot_seconds = 0.8
    async with ground.running(job(schedule=often(0.5), collections=JobCollections(include=("images",)))):
        await until(lambda: ground.reading("qdrantx_job_skipped_total", "nightly", "overlap"))
        await until(lambda: any(run.outcome is Outcome.OK for run in ground.ended()))

    skipped = [run for run in ground.ended() if run.outcome is Outcome.SKIPPED]
    assert {run.reason for run in skipped} == {Reason.OVERLAP}
    assert {run.started_at for run in skipped} == {None}


async def test_what_was_missed_while_no_daemon_ran_is_made_up_for_once(ground: Ground) -> None:
    """Not once for each hour, and not again at the next start."""
    long_ago = ground.clock.now() - 4 * 3_600
    known = KnownJob("nightly", "0 * * * * UTC", long_ago)
    ground.job_store.write(JobBatch(now=long_ago, known=(known,)))

    async with ground.running(job()):
        await until(lambda: ground.ended())
    async with ground.running(job()):
        pass

    (run,) = ground.history()
    assert (run.outcome, run.cause) == (Outcome.OK, Cause.CATCH_UP)
    assert run.planned_at % 3_600 == 0


async def test_what_was_missed_for_too_long_is_told_and_not_made_up_for(ground: Ground) -> None:
    """The window of the job is over: a miss, which its status shows until a run goes well."""
    long_ago = ground.clock.now() - 4 * 3_600
    known = KnownJob("nightly", "0 * * * * UTC", long_ago)
    ground.job_store.write(JobBatch(now=long_ago, known=(known,)))

    async with ground.running(job(schedule=HOURLY, catch_up_seconds=0.0)):
        await until(lambda: ground.reading("qdrantx_job_last_status", "nightly") == 1)

        assert ground.reading("qdrantx_job_skipped_total", "nightly", "missed") == 1
    (run,) = ground.history()
    assert (run.outcome, run.started_at) == (Outcome.MISSED, None)
    assert await ground.shelf().sets(CLUSTER) == []


async def test_readings_are_told_again_after_a_restart(ground: Ground) -> None:
    """From ledger and store: a failure of last night is not forgotten, nor a success."""
    ground.cluster.knobs.fail("POST", "/collections/docs/snapshots", 403, times=1_000)
    async with ground.running(job(schedule=NEVER)):
        run = await ground.done()
        assert run.outcome is Outcome.PARTLY

    ground.board.withdraw(next(iter(ground.board.view().standing)))
    async with ground.running(job(schedule=NEVER)):
        await until(lambda: ground.reading("qdrantx_backup_points", "images"))

        assert ground.reading("qdrantx_job_last_status", "nightly") == 2
        assert ground.reading("qdrantx_job_runs_total", "nightly", "partly") == 1
        assert ground.reading("qdrantx_backup_missing", "docs") == 1
        assert ground.reading("qdrantx_backup_missing", "images") == 0


async def test_a_request_that_cannot_be_done_is_answered_with_why(ground: Ground) -> None:
    """A person waits for it."""
    async with ground.running(job(schedule=NEVER)):
        assert await ground.asked_for("weekly") == (
            "there is no job of this name in the configuration; there are: nightly"
        )
        ground.cluster.knobs.snapshot_seconds = 0.1
        first = asyncio.create_task(ground.asked_for("nightly"))
        await until(lambda: ground.history())
        second = await ground.asked_for("nightly")

        assert second == "it is under way, as run 1"
        run = await first
        assert isinstance(run, JobRun)
        assert run.outcome is Outcome.OK


async def test_a_request_of_a_person_who_went_away_is_not_done(ground: Ground) -> None:
    """It was typed when no daemon looked, and nobody waits for it."""
    number = ground.job_store.request_run("nightly", now=ground.clock.now() - 600)

    async with ground.running(job(schedule=NEVER)):
        await until(lambda: ground.job_store.requests() == ())

    answer = ground.job_store.request(number)
    assert answer is not None
    assert answer.refusal == "it was asked for too long ago, when no daemon looked"
    assert ground.history() == []


async def test_told_to_stop_a_run_gets_its_grace_and_is_cancelled_then(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves no lock, no snapshot and no open intent; the next start makes up for it."""
    monkeypatch.setattr("exporter.jobs.room.GRACE_SECONDS", 0.2)
    ground.cluster.knobs.bytes_per_second = 1_000.0
    ground.cluster.knobs.padding_bytes = 1 << 20
    async with ground.running(job(schedule=often(3_600.0 * 24 * 365))) as room:
        number = ground.job_store.request_run("nightly", now=ground.clock.now())
        await until(
            lambda: any("GET /collections/docs/snapshots/" in line for line in ground.cluster.lines())
        )
        await room.stop()

    assert ground.job_store.request(number) is not None
    (run,) = ground.history()
    assert (run.outcome, run.reason) == (Outcome.CANCELLED, Reason.STOPPING)
    shelf = ground.shelf()
    assert await shelf.intents() == []
    assert await shelf.fragments() == []
    assert ground.cluster.snapshots("docs") == [[], [], []]
    ground.cluster.knobs.bytes_per_second = None
    async with ground.running(job(schedule=NEVER)):
        again = await ground.done()
    assert again.outcome is Outcome.OK


async def test_a_reload_exchanges_jobs_and_lets_a_run_end_as_it_began(ground: Ground) -> None:
    """The old job's readings go, its run is in the ledger, and the new one is in force."""
    ground.cluster.knobs.snapshot_seconds = 0.1
    async with ground.running(job(schedule=NEVER)) as room:
        asked = asyncio.create_task(ground.asked_for("nightly"))
        await until(lambda: ground.reading("qdrantx_job_running", "nightly"))

        await room.exchange(room.build(ground.settings(job("other", schedule=NEVER))))

        assert ground.reading("qdrantx_job_running", "nightly") is None
        assert ground.reading("qdrantx_job_running", "other") == 0
        run = await asked
        assert isinstance(run, JobRun)
        assert run.outcome is Outcome.OK
        nothing = ground.settings().model_copy(update={"backup": BackupSettings()})
        await room.exchange(room.build(nothing))
        assert ground.reading("qdrantx_job_running", "other") is None
        assert ground.reading("qdrantx_backup_points", "docs") is None


async def test_a_reload_that_changes_nothing_of_jobs_keeps_what_works(ground: Ground) -> None:
    """And tells it again: the cluster's watch may have taken the readings with it."""
    async with ground.running(job(schedule=NEVER)) as room:
        await ground.done()
        await until(lambda: ground.reading("qdrantx_backup_points", "docs"))
        ground.board.forget(CLUSTER)

        works = room.build(ground.settings(job(schedule=NEVER)))
        await room.exchange(works)

        assert ground.reading("qdrantx_job_last_status", "nightly") == 0
        assert ground.reading("qdrantx_backup_points", "docs") == 300


async def test_missing_rights_are_told_at_start_and_the_job_is_failing(ground: Ground) -> None:
    """Before it is due; with the right key the next reload is well again."""
    ground.cluster.knobs.api_key, ground.cluster.knobs.read_only_key = "full", "reader"
    ground.api_key = "reader"
    async with ground.running(job(schedule=NEVER)) as room:
        await until(lambda: ground.reading("qdrantx_job_last_status", "nightly") == 1)
        run = await ground.done()

        assert run.outcome is Outcome.FAILED
        ground.api_key = "full"
        run = await ground.done()
        assert run.outcome is Outcome.OK
        await until(lambda: ground.reading("qdrantx_job_last_status", "nightly") == 0)
        await until(lambda: set(room.expected(CLUSTER)) == {"docs", "images"})


async def test_the_rights_at_a_server_for_proofs_are_told_at_start_too(ground: Ground) -> None:
    """A proof that is due on Sunday shall not be the first to find out."""
    ground.cluster.knobs.api_key, ground.cluster.knobs.read_only_key = "full", "reader"
    ground.api_key = "full"
    proof = job("proof", kind="verify", level=4, schedule=NEVER)
    reader, full = (
        VerifySettings(target=VerifyTargetSettings(url=ground.cluster.urls[0], api_key=Secret(key)))
        for key in ("reader", "full")
    )
    async with ground.running(proof, verify=reader) as room:
        await until(lambda: ground.reading("qdrantx_job_last_status", "proof") == 1)

        await room.exchange(room.build(ground.settings(proof, verify=full)))

        await until(lambda: ground.reading("qdrantx_job_last_status", "proof") is None)


async def test_a_proof_that_nothing_here_can_do_fails_before_it_is_due(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No engine is installed and no server may be used; hashes can be proven all the same."""
    monkeypatch.setattr("exporter.jobs.making.engine_available", lambda: False)
    proofs = [job(f"level-{level}", kind="verify", level=level, schedule=NEVER) for level in (2, 3)]

    async with ground.running(*proofs):
        assert ground.reading("qdrantx_job_last_status", "level-2") is None
        assert ground.reading("qdrantx_job_last_status", "level-3") == 1
    async with ground.running(*proofs, verify=VerifySettings(allow_same_cluster=True)):
        assert ground.reading("qdrantx_job_last_status", "level-3") is None


async def test_a_proof_of_exports_needs_a_server_and_no_engine(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading one is level 3; only a server imports it, for level 4."""
    monkeypatch.setattr("exporter.jobs.making.engine_available", lambda: False)
    export = job(format="export", schedule=NEVER)
    proofs = [job(f"level-{level}", kind="verify", level=level, schedule=NEVER) for level in (3, 4)]

    async with ground.running(export, *proofs):
        assert ground.reading("qdrantx_job_last_status", "level-3") is None
        assert ground.reading("qdrantx_job_last_status", "level-4") == 1
    async with ground.running(export, *proofs, verify=VerifySettings(allow_same_cluster=True)):
        assert ground.reading("qdrantx_job_last_status", "level-4") is None


@pytest.mark.parametrize(
    ("asked", "failing"),
    [
        ({"kind": "vacuum"}, True),
        ({"kind": "vacuum", "dry_run": True}, False),
        ({"format": "export"}, False),
        ({"format": "snapshot"}, True),
    ],
)
async def test_a_key_that_may_only_read_is_enough_for_what_only_reads(
    ground: Ground, asked: dict[str, Any], failing: bool
) -> None:
    """An export and a dry run change nothing on the servers."""
    ground.cluster.knobs.api_key, ground.cluster.knobs.read_only_key = "full", "reader"
    ground.api_key = "reader"
    needy = job("needy", kind="vacuum", schedule=NEVER)

    async with ground.running(job("asked", schedule=NEVER, **asked), needy):
        await until(lambda: ground.reading("qdrantx_job_last_status", "needy") == 1)

        assert ground.reading("qdrantx_job_last_status", "asked") == (1 if failing else None)


async def test_a_store_that_cannot_be_read_after_a_restart_makes_no_backup_missing(ground: Ground) -> None:
    """The ledger stands in: the newest grows old, what was expected still is, and the jobs are failing."""
    async with ground.running(job(schedule=NEVER)):
        done = await ground.done()
    ground.board.withdraw(backup_producer(CLUSTER))
    shelter = ground.directory / "away"
    (ground.directory / "store").rename(shelter)
    (ground.directory / "store").write_text("no directory")

    async with ground.running(job(schedule=NEVER)) as room:
        await until(lambda: ground.reading("qdrantx_job_last_status", "nightly") == 1)

        last = "qdrantx_backup_last_complete_timestamp_seconds"
        assert ground.reading(last, "docs") == done.ended_at
        assert ground.reading("qdrantx_backup_missing", "docs") == 0
        assert ground.reading("qdrantx_backup_sets", "docs", "complete") is None
        assert set(room.expected(CLUSTER)) == {"docs", "images"}
        (ground.directory / "store").unlink()
        shelter.rename(ground.directory / "store")
        assert (await ground.done()).outcome is Outcome.OK
        await until(lambda: ground.reading("qdrantx_backup_sets", "docs", "complete") == 2)
        assert ground.reading("qdrantx_job_last_status", "nightly") == 0


async def test_what_lay_in_another_store_is_told_no_more_after_a_reload(ground: Ground) -> None:
    """In the new one there is no backup yet, and nobody shall believe so."""
    async with ground.running(job(schedule=NEVER)) as room:
        await ground.done()
        await until(lambda: room.note(CLUSTER, "docs"))
        elsewhere = ground.settings(job(schedule=NEVER)).model_copy(
            update={"backup": BackupSettings(store=StoreSettings(url=str(ground.directory / "elsewhere")))}
        )

        await room.exchange(room.build(elsewhere))

        assert room.note(CLUSTER, "docs") is None
        await until(lambda: ground.reading("qdrantx_backup_missing", "docs") == 1)


async def test_after_a_reload_a_cluster_is_still_backed_up_by_one_run_at_a_time(ground: Ground) -> None:
    """The run that the old configuration began goes on, and a peer makes one snapshot at a time."""
    ground.cluster.knobs.snapshot_seconds = 0.3
    first = job(schedule=NEVER, collections=JobCollections(include=("docs",)))
    second = job("second", schedule=NEVER, collections=JobCollections(include=("images",)))
    async with ground.running(first) as room:
        asked = asyncio.create_task(ground.done())
        await until(lambda: ground.reading("qdrantx_job_running", "nightly"))
        await room.exchange(room.build(ground.settings(second)))

        later = await ground.done("second")
        earlier = await asked

    (docs,) = await ground.shelf().sets(CLUSTER, "docs")
    (images,) = await ground.shelf().sets(CLUSTER, "images")
    assert (earlier.outcome, later.outcome) == (Outcome.OK, Outcome.OK)
    assert docs.manifest.ended_at <= images.manifest.started_at


async def test_the_newest_good_backup_is_known_in_words(ground: Ground) -> None:
    """For the page that says that a collection is gone."""
    async with ground.running(job(schedule=NEVER)) as room:
        assert room.note(CLUSTER, "docs") is None
        await ground.done()
        await until(lambda: room.note(CLUSTER, "docs"))

        note = room.note(CLUSTER, "docs")
        assert note is not None
        assert "with 300 points" in note.words
        assert note.restore.startswith("qdrant-exporter backup restore ")
        assert note.restore.endswith("--into docs --cluster prod --config.file /etc/exporter.yaml")


async def test_a_store_whose_library_is_not_installed_is_a_problem_of_the_configuration(
    ground: Ground,
) -> None:
    """Said when it is read, not at 02:00."""

    def refuse(*_: object) -> None:
        raise JobRefused("a store in a bucket needs the extra s3")

    room = ground.jobs()
    room._open_store = refuse  # type: ignore[assignment]

    with pytest.raises(ConfigError, match="a store in a bucket needs the extra s3"):
        room.build(ground.settings(job()))


async def test_what_a_killed_backup_left_is_cleared_up_at_the_next_start(ground: Ground) -> None:
    """Without waiting for the next run: its snapshot goes, and its intent is closed."""
    left = "docs-392660894735341-2026-11-26-02-30-00.snapshot"
    ground.cluster.lay_snapshot(0, "docs", left)
    part = PeerIntent("a", ground.cluster.ids[0], (), 1_800_000_000.0, left)
    intent = BackupIntent("20261126T023000Z-1a2b3c", CLUSTER, "docs", 1_800_000_000.0, "a host", (part,))
    await ground.shelf().save_intent(intent)

    async with ground.running(job(schedule=NEVER)):
        await until(lambda: ground.cluster.snapshots("docs") == [[], [], []])
        await until(lambda: ground.reading("qdrantx_backup_orphan_bytes", "a") == 0)

    assert await ground.shelf().intents() == []


async def test_what_a_killed_backup_left_is_cleared_up_once_its_lock_ended(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started anew at once, a daemon finds the lock of the killed one; the next run may be a day away."""
    monkeypatch.setattr("exporter.jobs.locks.LOOK_AGAIN_SECONDS", 0.01)
    left = "docs-392660894735341-2026-11-26-02-30-00.snapshot"
    ground.cluster.lay_snapshot(0, "docs", left)
    part = PeerIntent("a", ground.cluster.ids[0], (), 1_800_000_000.0, left)
    intent = BackupIntent("20261126T023000Z-1a2b3c", CLUSTER, "docs", 1_800_000_000.0, "a host", (part,))
    await ground.shelf().save_intent(intent)
    killed = Locks(store=ground.shelf().store, owner="a host process 7", clock=ground.clock)

    lock = AsyncExitStack()
    await lock.enter_async_context(killed.collection(CLUSTER, "docs"))

    async with ground.running(job(schedule=NEVER)):
        await until(lambda: bool(ground.cluster.lines()))
        await asyncio.sleep(0.1)
        assert ground.cluster.snapshots("docs")[0] == [left]
        await lock.aclose()
        await until(lambda: ground.cluster.snapshots("docs") == [[], [], []])

    assert await ground.shelf().intents() == []


async def test_a_job_can_be_done_where_no_daemon_runs(ground: Ground) -> None:
    """By a verb, in its own process: the run is in the ledger as any other."""
    settings = ground.settings(job(schedule=NEVER))

    run = await run_job(
        settings, "nightly", peers_of=ground.peers_of, clock=ground.clock, store=ground.job_store
    )

    assert (run.outcome, run.cause) == (Outcome.OK, Cause.PERSON)
    assert ground.history() == [run]
    assert ground.open_couriers == 0
    with pytest.raises(JobError, match="there is no job of this name in the configuration"):
        await run_job(settings, "weekly", peers_of=ground.peers_of, clock=ground.clock, store=None)
