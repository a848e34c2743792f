"""Snapshots that lie on servers, and whose they are."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.backup.orphans import OrphanKind, find_orphans, left_in_folder
from exporter.backup.words import BackupIntent, PeerIntent
from exporter.errors import JobError
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.ground import CLUSTER, FAST, Ground, ground_of

NOW = 1_800_000_000.0
STAMP = "2027-01-15-08-00-00"


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    """Three peers and two collections."""
    async with ground_of(SnapshotCluster()) as made:
        made.cluster.knobs.now = lambda: NOW
        made.cluster.create("docs", points(60), shard_number=3)
        made.cluster.create("docs-1", points(60), shard_number=3)
        yield made


async def test_every_snapshot_is_told_with_its_peer_size_age_and_kind(ground: Ground) -> None:
    """Taken by somebody, uploaded, of the whole storage."""
    ids = ground.cluster.ids
    ground.cluster.lay_snapshot(0, "docs", f"docs-{ids[0]}-{STAMP}.snapshot", b"12345")
    ground.cluster.lay_snapshot(1, "docs-1", "mine.snapshot", b"123")
    ground.cluster.lay_snapshot(2, "", f"full-snapshot-{STAMP}.snapshot", b"1234567")

    found = await find_orphans(ground.peers, cluster=CLUSTER, limits=FAST)

    assert [(one.peer, one.collection, one.size_bytes, one.kind) for one in found.orphans] == [
        ("a", "docs", 5, OrphanKind.TAKEN),
        ("b", "docs-1", 3, OrphanKind.UPLOADED),
        ("c", "", 7, OrphanKind.FULL),
    ]
    assert found.orphans[0].age_seconds(NOW + 60) == 60
    assert found.bytes_by_peer() == {"a": 5, "b": 3, "c": 7}
    assert not any(line.startswith("DELETE") for line in ground.cluster.lines())


async def test_what_an_open_intent_claims_is_ours(ground: Ground) -> None:
    """By its name, or as the only new one of that time; of two new ones neither is."""
    names = [f"docs-{id_}-{STAMP}.snapshot" for id_ in ground.cluster.ids]
    for peer, name in enumerate(names):
        ground.cluster.lay_snapshot(peer, "docs", name)
    ground.cluster.lay_snapshot(2, "docs", f"docs-{ground.cluster.ids[2]}-2027-01-15-08-00-01.snapshot")
    parts = (
        PeerIntent("a", ground.cluster.ids[0], (), NOW, names[0]),
        PeerIntent("other label", ground.cluster.ids[1], (), NOW),
        PeerIntent("c", ground.cluster.ids[2], (), NOW),
    )
    intents = [BackupIntent("20270115T080000Z-00000a", CLUSTER, "docs", NOW, "host", parts)]

    found = await find_orphans(ground.peers, cluster=CLUSTER, intents=intents, limits=FAST)
    elsewhere = await find_orphans(ground.peers, cluster="other", intents=intents, limits=FAST)

    assert [one.kind.value for one in found.orphans] == ["ours", "ours", "taken", "taken"]
    assert {one.kind for one in elsewhere.orphans} == {OrphanKind.TAKEN}


async def test_a_peer_that_does_not_answer_is_missing_and_has_no_bytes(ground: Ground) -> None:
    """Nothing known is not nothing there."""
    await ground.cluster.kill(1)
    ground.cluster.knobs.fail("GET", r"/collections/docs/snapshots", 403, peer=2)

    found = await find_orphans(ground.peers, cluster=CLUSTER, limits=FAST)

    assert [peer.label for peer in found.missing] == ["b", "c"]
    assert "403" in found.missing[1].reason
    assert found.bytes_by_peer() == {"a": 0}


async def test_after_a_backup_nothing_of_ours_lies_there(ground: Ground) -> None:
    """The whole round."""
    await ground.take()

    found = await find_orphans(ground.peers, cluster=CLUSTER, limits=FAST)

    assert found.orphans == ()


def test_a_folder_shows_what_no_list_does(tmp_path: Path) -> None:
    """Checksums without their snapshot, folders of collections that are gone, files of any name."""
    for path in (
        "docs/docs-1-2027-01-15-08-00-00.snapshot",
        "docs/docs-1-2027-01-15-08-00-00.snapshot.checksum",
        "docs/docs-1-2026-01-15-08-00-00.snapshot.checksum",
        "docs/upload",
        "gone/gone-1-2027-01-15-08-00-00.snapshot",
        "full-snapshot-2027-01-15-08-00-00.snapshot",
        "full-snapshot-2027-01-15-08-00-00.snapshot.checksum",
        "full-snapshot-2026-01-15-08-00-00.snapshot.checksum",
        "tmp/upload/half",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"123")
    os.symlink("/etc", tmp_path / "docs" / "link")

    found = left_in_folder(tmp_path, ["docs"])

    assert {one.path: one.reason for one in found} == {
        "docs/docs-1-2026-01-15-08-00-00.snapshot.checksum": "the snapshot it belongs to is gone",
        "docs/upload": "an uploaded file that no list shows",
        "full-snapshot-2026-01-15-08-00-00.snapshot.checksum": "the snapshot it belongs to is gone",
        "gone/gone-1-2027-01-15-08-00-00.snapshot": "its collection is gone",
        "tmp/upload/half": "of a snapshot that is being made, or was when the server was killed",
    }
    assert {one.size_bytes for one in found} == {3}


def test_a_collection_called_tmp_is_one(tmp_path: Path) -> None:
    """Qdrant allows it."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "tmp-1-2027-01-15-08-00-00.snapshot").write_bytes(b"1")

    assert left_in_folder(tmp_path, ["tmp"]) == []


def test_a_folder_that_is_none_is_an_error_with_its_name(tmp_path: Path) -> None:
    """A person typed it."""
    with pytest.raises(JobError, match="nosuch: cannot be read: No such file"):
        left_in_folder(tmp_path / "nosuch", [])
