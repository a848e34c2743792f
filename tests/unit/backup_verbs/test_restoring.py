"""`backup restore` with a name that no collection can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter import exit_codes
from exporter.backup_verbs.opened import Chosen
from exporter.backup_verbs.restoring import Wanted, restore_now
from exporter.errors import JobRefused
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup_verbs.ground import Answer, Room, typed


def wanted(set_id: str, *, target: str | None = None, into: str | None = None) -> Wanted:
    """What is typed with these names and nothing else."""
    return Wanted(
        chosen=Chosen(set_id=set_id, latest=None, cluster=None),
        cluster=None,
        target=target,
        into=into,
        aliases=False,
        switch_alias=None,
        force=False,
        dry_run=False,
    )


@pytest.mark.parametrize("name", ["a/b", "a\\b", 'a"b', "a:b", "", "..", "x" * 256])
@pytest.mark.parametrize("option", ["target", "into"])
async def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str, option: str
) -> None:
    """Neither a record nor a lock in the store, and no server is asked for anything."""
    room = Room(tmp_path)
    kept = await room.keep()
    before = sorted(room.folder.rglob("*"))
    async with SnapshotCluster(peers=1) as cluster:
        cluster.create("docs", points(10))

        with pytest.raises(JobRefused, match="nothing is restored: "):
            await restore_now(
                room.settings(*cluster.urls), wanted(kept.id, **{option: name}), Answer().showing
            )

        assert cluster.requests == []
    assert sorted(room.folder.rglob("*")) == before


async def test_such_a_name_ends_in_4_and_says_what_a_name_may_be(tmp_path: Path) -> None:
    """As what would do harm: nothing was begun."""
    room = Room(tmp_path)
    kept = await room.keep()

    (done,) = await typed(
        f"backup restore {kept.id} --as a/b --store {room.folder} --qdrant.url http://127.0.0.1:1",
        folder=tmp_path,
    )

    assert done.code == exit_codes.REFUSED
    assert "Qdrant makes no collection a/b: a name may have any character but" in done.err
