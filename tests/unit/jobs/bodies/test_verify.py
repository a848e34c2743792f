"""Jobs of kind verify: which sets, up to which level, and what a bad one comes to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.backup.restoring.plan import default_target
from exporter.backup.words import Level, Manifest, Proof, SetKind, StoredSet
from exporter.config.backup import VerifySettings
from exporter.jobs.bodies.verify import plan
from exporter.jobs.words import Outcome, Reason
from tests.kit.sets import export, exported, manifest
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.jobs.asked import job
from tests.unit.jobs.ground import CLUSTER, NEVER, Ground, ground_of, until

OLDER = "1.15.4"  # its archives are none that the engine opens


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    """Three peers with a collection."""
    monkeypatch.setattr("exporter.jobs.room.LOOK_SECONDS", 0.02)
    async with ground_of(tmp_path, SnapshotCluster(version=OLDER)) as made:
        made.cluster.create("docs", points(120), shard_number=3, replication_factor=2)
        yield made


def flip_a_byte(ground: Ground, stored: StoredSet) -> None:
    """Flip one in the middle of a set's first archive, as a disk does."""
    (path, *_) = sorted((ground.directory / "store").glob(f"*/*/{stored.manifest.id}/*.snapshot"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


async def test_a_flipped_byte_in_any_set_is_found(ground: Ground) -> None:
    """Also in an older one; the job fails, and the bad set counts for nothing any more."""
    proof = job("proof", kind="verify", schedule=NEVER)
    async with ground.running(job(schedule=NEVER), proof):
        await ground.done()
        await ground.done()
        (newer, older) = await ground.shelf().sets(CLUSTER)
        flip_a_byte(ground, older)

        run = await ground.done("proof")

        assert (run.outcome, run.reason) == (Outcome.FAILED, Reason.BAD)
        assert f"backup {older.manifest.id} is bad" in run.detail
        assert newer.manifest.id not in run.detail
        found = {one.manifest.id: one.counts for one in await ground.shelf().sets(CLUSTER)}
        assert found == {newer.manifest.id: True, older.manifest.id: False}
        await until(lambda: ground.reading("qdrantx_job_last_status", "proof") == 1)


async def test_good_sets_are_proven_and_told(ground: Ground) -> None:
    """By level, as the newest time at which one was."""
    proof = job("proof", kind="verify", schedule=NEVER, level=2)
    async with ground.running(job(schedule=NEVER), proof):
        await ground.done()

        run = await ground.done("proof")

        assert run.outcome is Outcome.OK
        assert run.parts[0].figures == {"sets": 1, "level": 2}
        (stored,) = await ground.shelf().sets(CLUSTER)
        (hashed,) = stored.proofs
        assert hashed.at > stored.manifest.ended_at
        assert ground.reading("qdrantx_backup_unverified", "docs", "2") == 0
        assert ground.reading("qdrantx_backup_unverified", "docs", "4") is None  # nobody asks for it
        told = "qdrantx_backup_last_verified_timestamp_seconds"
        await until(lambda: ground.reading(told, "docs", "2") == run.ended_at)


async def test_what_nothing_here_can_open_is_no_success(ground: Ground) -> None:
    """The hashes are right, and it says what to set."""
    proof = job("proof", kind="verify", schedule=NEVER, level=4)
    async with ground.running(job(schedule=NEVER), proof):
        await ground.done()

        run = await ground.done("proof")

        assert (run.outcome, run.reason) == (Outcome.FAILED, Reason.FAILED)
        assert "set backup.verify.target" in run.detail
        (stored,) = await ground.shelf().sets(CLUSTER)
        assert stored.counts
        await until(lambda: ground.reading("qdrantx_backup_unverified", "docs", "4") == 1)


async def test_the_newest_set_is_restored_beside_the_original_where_that_is_allowed(ground: Ground) -> None:
    """Compared, searched and removed again."""
    proof = job("proof", kind="verify", schedule=NEVER, level=4)
    async with ground.running(job(schedule=NEVER), proof, verify=VerifySettings(allow_same_cluster=True)):
        await ground.done()

        run = await ground.done("proof")

        assert run.outcome is Outcome.OK, run.detail
        (stored,) = await ground.shelf().sets(CLUSTER)
        restored = stored.proven(Level.RESTORED)
        assert restored is not None
        assert restored.by == "server a"
        assert list(ground.cluster.world.collections) == ["docs"]
        assert await ground.shelf().restores() == []


def known(manifest: Manifest, *, is_good: bool = True) -> StoredSet:
    """Return a set with a proof."""
    problems = () if is_good else ("no",)
    return StoredSet(manifest, (Proof(Level.HASHED, 1.0, is_good, problems, "", 1.0),), accepted=False)


def test_the_newest_good_set_is_opened_and_the_others_are_read() -> None:
    """What is needed first is proven furthest; every complete one is read."""
    bad, good, older = known(manifest(), is_good=False), known(manifest()), known(manifest())
    sets = [bad, good, older]

    assert plan(sets, Level.RESTORED) == [
        (bad, Level.HASHED),
        (good, Level.RESTORED),
        (older, Level.HASHED),
    ]
    assert plan(sets[1:], Level.SIZED) == [(good, Level.SIZED), (older, Level.SIZED)]
    assert plan(sets[:1], Level.OPENED) == [(bad, Level.OPENED)]
    assert plan([], Level.OPENED) == []


def test_of_each_kind_the_newest_good_set_is_opened() -> None:
    """A snapshot that can be restored says nothing of an export, years later and for another version."""
    bad, snapshot = known(manifest(), is_good=False), known(manifest())
    export, older = known(exported()), known(exported())

    assert plan([bad, export, snapshot, older], Level.RESTORED) == [
        (bad, Level.HASHED),
        (export, Level.RESTORED),
        (snapshot, Level.RESTORED),
        (older, Level.HASHED),
    ]


async def test_an_export_that_cannot_be_imported_is_decoded_and_no_success(ground: Ground) -> None:
    """As far as it goes without a server is proven; it says what to set."""
    proof = job("proof", kind="verify", schedule=NEVER, level=4)
    async with ground.running(job(schedule=NEVER), proof):
        nothing = export(points_before=0, points_after=0)
        made = exported(cluster=CLUSTER, collection="docs", chunks=(), export=nothing)
        await ground.shelf().save_manifest(made)

        run = await ground.done("proof")

        assert (run.outcome, run.reason) == (Outcome.FAILED, Reason.FAILED)
        assert "proven further by an import: set backup.verify.target" in run.detail
        (stored,) = await ground.shelf().sets(CLUSTER)
        assert [proof.level for proof in stored.proofs if proof.good] == [Level.OPENED]
        assert stored.counts


async def test_a_set_that_must_not_be_restored_is_read_and_the_other_kind_is_proven(ground: Ground) -> None:
    """Here a collection of somebody's has the name that the snapshot would be restored under."""
    proof = job("proof", kind="verify", schedule=NEVER, level=4)
    async with ground.running(job(schedule=NEVER), proof, verify=VerifySettings(allow_same_cluster=True)):
        await ground.done()
        (snapshot,) = await ground.shelf().sets(CLUSTER)
        ground.cluster.create(default_target("docs", snapshot.manifest.id, scratch=True))
        nothing = export(points_before=0, points_after=0)
        made = exported(cluster=CLUSTER, collection="docs", chunks=(), export=nothing)
        await ground.shelf().save_manifest(made)

        run = await ground.done("proof")

        assert (run.outcome, run.reason) == (Outcome.FAILED, Reason.REFUSED)
        assert "no restore of this backup made it" in run.detail
        levels = {
            one.manifest.kind: max(proof.level for proof in one.proofs if proof.good)
            for one in await ground.shelf().sets(CLUSTER)
        }
        assert levels == {SetKind.SNAPSHOT: Level.HASHED, SetKind.EXPORT: Level.RESTORED}
