"""`backup prune` and `accept` as a person asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from exporter.backup_verbs.pruning import accept_now, prune_now
from exporter.config.settings import Settings
from tests.kit.sets import shard
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup_verbs.ground import ENDED_AT, KEEPS_ONE, Answer, Room

DAY = 86_400.0


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[SnapshotCluster]:
    """A server that has `docs` and nothing else."""
    async with SnapshotCluster(peers=1) as cluster:
        cluster.create("docs", points(10))
        yield cluster


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """An empty store."""
    return Room(tmp_path)


async def nights(room: Room, collection: str, *, counts: tuple[int, ...] = (10, 10)) -> list[str]:
    """Store a good set a night with so many points; return the ids, oldest first."""
    made = [
        await room.keep(
            id=f"202601{15 + night:02}T080000Z-00000a",
            collection=collection,
            ended_at=ENDED_AT + night * DAY,
            shards=(shard(points=count),),
        )
        for night, count in enumerate(counts)
    ]
    return [one.id for one in made]


async def pruned(
    settings: Settings, *collections: str, is_json: bool = False, dry_run: bool = False
) -> tuple[int, Answer]:
    """Prune, and return the exit code and what was said."""
    answer = Answer(is_json)
    code = await prune_now(settings, collections, None, answer.showing, dry_run=dry_run, vanished=False)
    return code, answer


async def test_a_dry_run_explains_each_decision_and_deletes_nothing(
    room: Room, cluster: SnapshotCluster
) -> None:
    """What a person looks at before the real one."""
    old, new = await nights(room, "docs")

    code, answer = await pruned(room.settings(*cluster.urls, retention=KEEPS_ONE), dry_run=True)

    assert code == 0
    by_id = {line.split()[0]: line for line in answer.lines[2:]}
    assert "stays" in by_id[new]
    assert "newest good" in by_id[new]
    assert "would go" in by_id[old]
    assert len(await room.shelf.sets()) == 2


async def test_a_plan_says_what_each_thing_is(room: Room, cluster: SnapshotCluster) -> None:
    """An export stays beside the snapshot that is as new: neither stands for the other."""
    (snapshot,) = await nights(room, "docs", counts=(10,))
    export = await room.keep_export(id="20260101T080000Z-00000a", ended_at=ENDED_AT - 14 * DAY)
    settings = room.settings(*cluster.urls, retention=KEEPS_ONE)

    _, answer = await pruned(settings, dry_run=True)
    _, as_json = await pruned(settings, dry_run=True, is_json=True)

    rows = {line.split()[0]: line for line in answer.lines[2:]}
    assert rows[snapshot].split()[1] == "snapshot"
    assert rows[export.id].split()[1] == "export"
    assert "newest good" in rows[export.id]
    (document,) = as_json.document["collections"]
    kinds = {line["id"]: (line["kind"], line["setKind"]) for line in document["lines"]}
    assert kinds == {snapshot: ("set", "snapshot"), export.id: ("set", "export")}


async def test_what_retention_does_not_keep_goes_and_is_told(room: Room, cluster: SnapshotCluster) -> None:
    """With how much room that made."""
    old, new = await nights(room, "docs")

    code, answer = await pruned(room.settings(*cluster.urls, retention=KEEPS_ONE), is_json=True)

    (document,) = answer.document["collections"]
    assert (code, document["removed"]) == (0, [old])
    assert document["freedBytes"] >= 4_096
    assert [one.manifest.id for one in await room.shelf.sets()] == [new]


async def test_backups_of_what_exists_no_more_go_only_when_that_is_asked_for(
    room: Room, cluster: SnapshotCluster
) -> None:
    """They may be all that is left of it; with --include-vanished no server is asked."""
    await nights(room, "gone")
    no_server = room.settings(retention=KEEPS_ONE)
    unnamed, named = Answer(), Answer()

    _, kept = await pruned(room.settings(*cluster.urls, retention=KEEPS_ONE), is_json=True)
    codes = [
        await prune_now(no_server, (), name, answer.showing, dry_run=False, vanished=True)
        for name, answer in ((None, unnamed), ("prod", named))
    ]

    assert [one["removed"] for one in kept.document["collections"]] == [[]]
    assert codes == [0, 0]
    assert unnamed.text == f"{room.folder} has no backup of cluster default.\n"
    assert "removed 1" in named.text


async def test_pruning_stands_still_before_a_backup_that_shrank_until_it_is_accepted(
    room: Room, cluster: SnapshotCluster
) -> None:
    """Exit code 3, with the command that lets it go on."""
    _, new = await nights(room, "docs", counts=(100, 10))
    settings = room.settings(*cluster.urls, retention=KEEPS_ONE)

    stopped, told = await pruned(settings)
    accepted = Answer()
    code = await accept_now(settings, new, accepted.showing)
    goes_on, _ = await pruned(settings)

    assert (stopped, code, goes_on) == (3, 0, 0)
    assert f"backup accept {new}" in told.text
    assert accepted.text == f"backup {new} of docs is accepted; prune goes on from it\n"
    assert [one.manifest.id for one in await room.shelf.sets()] == [new]


async def test_a_collection_without_backups_is_told_apart(room: Room, cluster: SnapshotCluster) -> None:
    """A name that was mistyped must not look as if all were well."""
    await nights(room, "docs")
    settings = room.settings(*cluster.urls, retention=KEEPS_ONE)

    alone, answer = await pruned(settings, "dosc")
    beside, _ = await pruned(settings, "docs", "dosc", dry_run=True)

    assert (alone, beside) == (10, 3)
    assert (answer.text, answer.warnings) == ("", "dosc: there is no backup of it\n")


async def test_one_that_is_locked_keeps_the_others_from_nothing(room: Room, cluster: SnapshotCluster) -> None:
    """Exit code 3: some of it was done."""
    cluster.create("people", points(1))
    await nights(room, "docs")
    await nights(room, "people")
    settings = room.settings(*cluster.urls, retention=KEEPS_ONE)

    async with room.locks().collection("prod", "docs"):
        code, answer = await pruned(settings)

    assert code == 3
    assert "elsewhere 4711" in answer.warnings
    assert [len(await room.shelf.sets("prod", name)) for name in ("docs", "people")] == [2, 1]
