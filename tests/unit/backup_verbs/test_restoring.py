"""`backup restore`: names that no collection can have, and a newest backup that is in doubt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exporter import exit_codes
from exporter.backup.shelf import place_of
from exporter.backup_verbs.bringing_back import Wanted
from exporter.backup_verbs.opened import Chosen
from exporter.backup_verbs.restoring import restore_now
from exporter.errors import ConfigError, JobRefused, StoreMissing
from tests.kit.sets import shard
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup_verbs.ground import ENDED_AT, Answer, Room, typed


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


@pytest.mark.parametrize("accepted", [False, True])
async def test_the_newest_backup_is_restored_with_a_word_where_it_lost_half_of_its_points(
    tmp_path: Path, accepted: bool
) -> None:
    """Who deleted them by mistake wants the one before it; who accepted it knows."""
    room = Room(tmp_path)
    await room.keep(
        id="20260114T080000Z-00000a", ended_at=ENDED_AT - 1, shards=(shard(points=3_000, points_after=3_000),)
    )
    newest = await room.keep(id="20260115T080000Z-00000a")
    if accepted:
        await room.shelf.accept(newest)
    latest = replace(wanted(""), chosen=Chosen(set_id=None, latest="docs", cluster=None), dry_run=True)
    by_id = replace(wanted(newest.id), dry_run=True)
    answer, silent = Answer(), Answer()
    async with SnapshotCluster(peers=1) as cluster:
        codes = [
            await restore_now(room.settings(*cluster.urls), latest, answer.showing),
            await restore_now(room.settings(*cluster.urls), by_id, silent.showing),
        ]

    assert codes == [exit_codes.DONE, exit_codes.DONE]
    doubt = (
        "note: the newest set 20260115T080000Z-00000a has 10 points, and 20260114T080000Z-00000a has 3,000"
    )
    assert (doubt in answer.warnings) is not accepted
    assert "has 10 points" not in silent.warnings


@pytest.mark.parametrize("number", ["14", "16"])
async def test_a_newer_backup_that_cannot_be_read_is_told_of(tmp_path: Path, number: str) -> None:
    """As one that a newer version of this program made: another is restored in its place."""
    room = Room(tmp_path)
    kept = await room.keep(id="20260115T080000Z-00000a")
    other = await room.keep(id=f"202601{number}T080000Z-00000a")
    (room.folder / place_of(other).manifest).write_text('{"format": 99}')
    latest = replace(wanted(""), chosen=Chosen(set_id=None, latest="docs", cluster=None), dry_run=True)
    answer = Answer()
    async with SnapshotCluster(peers=1) as cluster:
        await restore_now(room.settings(*cluster.urls), latest, answer.showing)

    assert answer.text.startswith(f"backup {kept.id} of docs into ")
    doubt = f"note: backup {other.id} is newer, and cannot be read: "
    assert (doubt in answer.warnings) is (other.id > kept.id)


async def test_of_several_clusters_with_such_a_collection_the_one_that_it_comes_back_to_is_meant(
    tmp_path: Path,
) -> None:
    """Into a third one nobody can guess which: the id says it."""
    room = Room(tmp_path)
    for name, digit in (("prod", "a"), ("stage", "b")):
        await room.keep(id=f"20260115T080000Z-00000{digit}", cluster=name)
    latest = replace(wanted(""), chosen=Chosen(set_id=None, latest="docs", cluster=None), dry_run=True)
    answer = Answer()
    async with SnapshotCluster(peers=1) as cluster:
        settings = room.settings(*cluster.urls, clusters=("prod", "stage", "test"))
        await restore_now(settings, replace(latest, cluster="stage"), answer.showing)
        with pytest.raises(ConfigError, match="clusters prod, stage have one: write the id of the one"):
            await restore_now(settings, replace(latest, cluster="test"), answer.showing)

    assert answer.text.startswith("backup 20260115T080000Z-00000b of docs into ")


async def test_where_only_an_export_is_good_the_verb_that_imports_it_is_named(tmp_path: Path) -> None:
    """`restore --latest` takes snapshots only, and must not say that there is nothing."""
    room = Room(tmp_path)
    await room.keep_export()
    latest = replace(wanted(""), chosen=Chosen(set_id=None, latest="docs", cluster=None), dry_run=True)
    async with SnapshotCluster(peers=1) as cluster:
        with pytest.raises(StoreMissing, match="there is an export of it, for `backup import`"):
            await restore_now(room.settings(*cluster.urls), latest, Answer().showing)
