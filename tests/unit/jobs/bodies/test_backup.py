"""Jobs of kind backup: which collections, what where there is no room, what killed runs left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.backup.words import BackupIntent, PeerIntent, SetKind
from exporter.config.backup import RetentionSettings
from exporter.config.jobs import JobCollections
from exporter.jobs.words import Outcome, Reason
from tests.kit.scripted_store import ScriptedStore
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.ground import FAST
from tests.unit.jobs.asked import job
from tests.unit.jobs.ground import CLUSTER, NEVER, Ground, ground_of, until

ONE = RetentionSettings(last=1, daily=0, weekly=0, monthly=0)


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    """Three peers with two collections."""
    monkeypatch.setattr("exporter.jobs.room.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("exporter.jobs.making.Limits", lambda: FAST)
    async with ground_of(tmp_path, SnapshotCluster()) as made:
        made.cluster.create("docs", points(300), shard_number=3)
        made.cluster.create("images", points(100), shard_number=2)
        yield made


async def test_only_what_is_selected_is_backed_up_and_nothing_of_ours(ground: Ground) -> None:
    """The canary's collection is worth no backup, nor is what a proof restored."""
    ground.cluster.create("_qdrantx_canary", points(3))
    ground.cluster.create("_qdrantx_verify_20261126T023000Z-1a2b3c", points(3))
    selected = JobCollections(exclude=("im*",))

    async with ground.running(job(schedule=NEVER, collections=selected)):
        run = await ground.done()

    assert [part.collection for part in run.parts] == ["docs"]


async def test_what_a_peer_tells_after_one_backup_serves_the_next(ground: Ground) -> None:
    """Its telemetry holds all collections: asked for twice a backup, it would be most of the work."""
    async with ground.running(job(schedule=NEVER)):
        await ground.done()
        ground.cluster.requests.clear()
        run = await ground.done()

    assert [part.collection for part in run.parts] == ["docs", "images"]
    for peer in (0, 1, 2):
        assert ground.cluster.lines(peer).count("GET /telemetry?details_level=3") == 3


async def test_a_job_that_selects_nothing_fails_and_says_so(ground: Ground) -> None:
    """Most likely a name was misspelt; an empty cluster is another matter."""
    async with ground.running(job(schedule=NEVER, collections=JobCollections(include=("dosc*",)))):
        run = await ground.done()

        assert (run.outcome, run.detail) == (
            Outcome.FAILED,
            "the job selects none of the 2 collections of prod",
        )
        ground.cluster.world.collections.clear()
        run = await ground.done()
        assert (run.outcome, run.reason) == (Outcome.SKIPPED, Reason.EMPTY)


async def test_a_collection_that_a_job_names_and_that_does_not_exist_is_a_failure(ground: Ground) -> None:
    """Misspelt or deleted: the others are backed up, and that one is missing."""
    named = JobCollections(include=("docs", "imagse"))
    async with ground.running(job(schedule=NEVER, collections=named)):
        run = await ground.done()

        assert run.outcome is Outcome.PARTLY
        assert [(part.collection, part.detail) for part in run.parts] == [
            ("docs", ""),
            ("imagse", "there is no collection imagse"),
        ]
        await until(lambda: ground.reading("qdrantx_backup_missing", "imagse") == 1)
        assert ground.reading("qdrantx_backup_missing", "docs") == 0


async def test_a_backup_that_finds_no_room_prunes_and_is_taken_then(ground: Ground) -> None:
    """By the same policy as ever: the newest good one of each stays."""
    store = ScriptedStore(ground.clock)
    ground.store = store
    async with ground.running(job(schedule=NEVER), retention=ONE):
        for _ in range(3):
            assert (await ground.done()).outcome is Outcome.OK
        store.room_bytes = sum(map(len, store.objects.values())) + 5_000

        run = await ground.done()

        assert run.outcome is Outcome.OK, run.detail
        sets = await ground.shelf().sets(CLUSTER, "docs")
        assert run.parts[0].figures["set"] == sets[0].manifest.id
        assert len(sets) < 4


async def test_a_backup_on_a_store_without_a_byte_left_prunes_first(ground: Ground) -> None:
    """There is no room for a lock either."""
    store = ScriptedStore(ground.clock)
    ground.store = store
    async with ground.running(job(schedule=NEVER), retention=ONE):
        for _ in range(3):
            await ground.done()
        store.room_bytes = sum(map(len, store.objects.values()))

        run = await ground.done()

        assert run.outcome is Outcome.OK, run.detail
        sets = await ground.shelf().sets(CLUSTER, "docs")
        assert run.parts[0].figures["set"] == sets[0].manifest.id


async def test_a_backup_that_finds_no_room_even_then_fails(ground: Ground) -> None:
    """And nothing half of it lies about."""
    store = ScriptedStore(ground.clock)
    ground.store = store
    async with ground.running(job(schedule=NEVER), retention=ONE):
        await ground.done()
        store.room_bytes = sum(map(len, store.objects.values())) + 5_000

        run = await ground.done()

        assert (run.outcome, run.reason) == (Outcome.FAILED, Reason.STORE)
        assert len(await ground.shelf().sets(CLUSTER)) == 2
        assert await ground.shelf().fragments() == []


async def test_what_a_killed_backup_of_another_collection_left_is_cleared_up(ground: Ground) -> None:
    """Also of one that no job selects any more; what is not ours stays, and is told in bytes."""
    left = "docs-392660894735341-2026-11-26-02-30-00.snapshot"
    ground.cluster.lay_snapshot(0, "docs", left)
    ground.cluster.lay_snapshot(1, "docs", "docs-somebody.snapshot", b"theirs")
    part = PeerIntent("a", ground.cluster.ids[0], (), 1_800_000_000.0, left)
    intent = BackupIntent("20261126T023000Z-1a2b3c", CLUSTER, "docs", 1_800_000_000.0, "a host", (part,))
    await ground.shelf().save_intent(intent)

    async with ground.running(job(schedule=NEVER, collections=JobCollections(include=("images",)))):
        run = await ground.done()

        assert run.outcome is Outcome.OK
        assert ground.cluster.snapshots("docs") == [[], ["docs-somebody.snapshot"], []]
        assert await ground.shelf().intents() == []
        await until(lambda: ground.reading("qdrantx_backup_orphan_bytes", "b") == 6)
        assert ground.reading("qdrantx_backup_orphan_bytes", "a") == 0


async def test_where_no_peer_answers_the_run_fails_and_says_which(ground: Ground) -> None:
    """Each with its reason."""
    for number in range(3):
        await ground.cluster.kill(number)

    async with ground.running(job(schedule=NEVER)):
        run = await ground.done()

    assert run.outcome is Outcome.FAILED
    assert run.detail.startswith("no peer says which collections there are: a: ")


async def test_a_set_that_is_incomplete_is_a_failure_with_its_name(ground: Ground) -> None:
    """What there is was kept, for a person to look at."""
    await ground.cluster.kill(2)

    async with ground.running(job(schedule=NEVER, collections=JobCollections(include=("docs",)))):
        run = await ground.done()

    (docs,) = run.parts
    assert (docs.collection, docs.outcome) == ("docs", Outcome.FAILED)
    assert docs.figures["state"] == "incomplete"
    assert docs.figures["set"] in {one.manifest.id for one in await ground.shelf().sets(CLUSTER)}


async def test_a_job_may_export_and_its_sets_are_backups_like_any(ground: Ground) -> None:
    """Counted, told as such, and no snapshot is taken for it."""
    export = job(schedule=NEVER, format="export", collections=JobCollections(include=("docs",)))
    async with ground.running(export):
        run = await ground.done()
        await until(lambda: ground.reading("qdrantx_backup_points", "docs") == 300)

    (docs,) = run.parts
    (stored,) = await ground.shelf().sets(CLUSTER, "docs")
    assert (run.outcome, docs.figures["set"]) == (Outcome.OK, stored.manifest.id)
    assert (docs.figures["points"], docs.figures["chunks"]) == (300, len(stored.manifest.chunks))
    assert docs.figures["consistency"] == "quiesced"
    assert (stored.manifest.kind, stored.manifest.job) == (SetKind.EXPORT, "nightly")
    assert not [
        line
        for line in ground.cluster.lines()
        if line.startswith("POST") and "snapshots" in line and "_qdrantx_rights" not in line
    ]


async def test_an_export_that_would_lose_something_is_refused_unless_the_job_allows_it(
    ground: Ground,
) -> None:
    """What an import could not bring back must not be found out then."""
    ground.cluster.create("tiny", points(10), vectors={"size": 4, "distance": "Dot", "datatype": "turbo4"})
    only = JobCollections(include=("tiny",))
    async with ground.running(job(schedule=NEVER, format="export", collections=only)):
        refused = await ground.done()
    async with ground.running(job(schedule=NEVER, format="export", allow_lossy=True, collections=only)):
        allowed = await ground.done()

    assert (refused.outcome, refused.reason) == (Outcome.FAILED, Reason.REFUSED)
    assert allowed.outcome is Outcome.OK
    assert "turbo" in allowed.parts[0].detail
