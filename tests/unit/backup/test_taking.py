"""Backups against three scripted peers, when all goes well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from exporter.backup.archive.entries import BadArchive
from exporter.backup.exporting.taking import export
from exporter.backup.taking import SetIncomplete
from exporter.backup.words import (
    ArchivedShard,
    FieldChange,
    KeyLayout,
    Level,
    Purpose,
    SetState,
    ThresholdIntent,
)
from exporter.errors import JobError, JobRefused
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.ground import CLUSTER, FAST, Ground, counting, ground_of


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    """Three peers, and a collection of six shards with two replicas each and 600 points."""
    async with ground_of(SnapshotCluster()) as made:
        made.cluster.create("docs", points(600), shard_number=6, replication_factor=2)
        yield made


async def test_a_backup_holds_every_point_of_every_shard(ground: Ground) -> None:
    """Of each shard one replica counts; together they are the collection."""
    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert manifest.problems == ()
    assert [shard.shard for shard in manifest.shards] == [0, 1, 2, 3, 4, 5]
    assert all(shard.settled for shard in manifest.shards)
    assert manifest.points == 600
    assert ground.points(manifest) == ground.cluster.points("docs")


async def test_the_manifest_says_all_that_a_restore_needs(ground: Ground) -> None:
    """Config, indexes, aliases, versions, layout, hashes and sizes, when and by whom."""
    ground.cluster.world.aliases["current"] = "docs"
    before = await ground.look()

    manifest = await ground.take()

    assert before.described is not None
    assert manifest.config == before.described.config
    assert manifest.aliases == ("current",)
    assert manifest.uuid == before.uuid is not None
    assert manifest.versions == {"a": "1.18.3", "b": "1.18.3", "c": "1.18.3"}
    assert (manifest.cluster, manifest.collection, manifest.job) == ("prod", "docs", "nightly")
    assert manifest.started_at <= manifest.archives[0].began_at <= manifest.ended_at
    assert {archive.peer_id for archive in manifest.archives} == set(ground.cluster.ids)
    for archive in manifest.archives:
        assert archive.checksum_from_server
        assert archive.size_bytes == len(ground.archive(manifest, archive))
    assert set(manifest.op_numbers) == {
        f"{layout.shard}/{replica.node}" for layout in before.shards for replica in layout.replicas
    }
    for shard, layout in zip(manifest.shards, before.shards, strict=True):
        assert shard.peer_ids == tuple(replica.node for replica in layout.replicas)


async def test_what_is_changed_for_a_while_is_backed_up_as_it_was(ground: Ground) -> None:
    """A restore would keep what a vacuum lowered, or never index what an import loaded."""
    settings = ground.cluster.world.named("docs").config["optimizer_config"]
    settings |= {"deleted_threshold": 0.12, "vacuum_min_vector_number": 300, "indexing_threshold": 0}
    changes = (
        FieldChange("deleted_threshold", 0.2, 0.12, 0.2),
        FieldChange("vacuum_min_vector_number", 1000.0, 100.0, 1000.0),  # a person set 300 since
        FieldChange("indexing_threshold", None, 0.0, 10_000.0),
    )
    intent = ThresholdIntent(
        "20270115T080000Z-00000a", CLUSTER, "docs", None, Purpose.VACUUM, 1.8e9, "host process 7", changes
    )
    await ground.shelf.save_thresholds(intent)

    exported = await export(
        "docs", cluster=CLUSTER, peers=ground.peers, shelf=ground.shelf, clock=ground.clock,
        limits=ground.limits,
    )  # fmt: skip
    for manifest in (await ground.take(), exported):
        held = manifest.config["optimizer_config"]
        assert held == settings | {"deleted_threshold": 0.2, "indexing_threshold": None}


async def test_a_set_is_proven_by_its_hashes_from_the_start(ground: Ground) -> None:
    """They were compared while it came, so it counts at once."""
    await ground.take()

    (found,) = await ground.sets()
    assert [proof.level for proof in found.proofs] == [Level.HASHED]
    assert found.counts


async def test_nothing_is_left_on_the_servers_and_no_intent_stays_open(ground: Ground) -> None:
    """The server's copies go once they are stored."""
    await ground.take()

    assert await ground.is_clean()


async def test_the_intent_comes_before_the_request_and_the_manifest_last(ground: Ground) -> None:
    """Whenever it is killed, what it left is written down, and no set is there that is none."""
    seen: list[tuple[str, int]] = []
    ground.cluster.knobs.on_request = lambda peer, method, path: seen.append(
        (f"{method} {path.partition('?')[0].rpartition('/')[2]}", len(ground.store.calls))
    )

    manifest = await ground.take()

    calls = [(call.what, call.path.rpartition("/")[2]) for call in ground.store.calls]
    posts = [at for line, at in seen if line == "POST snapshots"]
    assert len(posts) == 3
    for number, at in enumerate(posts, 1):
        intents = [call for call in calls[:at] if call == ("put", f"{manifest.id}.json")]
        assert len(intents) >= number
    written = [what for what in calls if what[0] in ("put", "put_if_absent", "publish")]
    assert written[-1] == ("put_if_absent", "manifest.json")
    assert calls[-1] == ("delete", f"{manifest.id}.json")


async def test_snapshots_are_taken_one_after_the_other_and_fetched_uncompressed(ground: Ground) -> None:
    """No two at once, each asked for once, and the server is not made to compress."""
    await ground.take()

    wanted = ("POST /collections/docs/snapshots", "GET /collections/docs/snapshots/", "DELETE ")
    order = [seen for seen in ground.cluster.requests if seen.line.startswith(wanted)]
    assert [(seen.peer, seen.method) for seen in order] == [
        (peer, method) for peer in (0, 1, 2) for method in ("POST", "GET", "DELETE")
    ]
    assert {seen.headers["accept-encoding"] for seen in order if seen.method == "GET"} == {"identity"}


async def test_shard_keys_are_kept_with_the_shards_they_have(ground: Ground) -> None:
    """A key that was deleted left a gap in the ids; keys may be numbers."""
    ground.cluster.create("keyed", sharding_method="custom", shard_number=1, replication_factor=2)
    ground.cluster.create_keys("keyed", {"gone": points(1)})
    ground.cluster.create_keys("keyed", {"de": points(30), 7: points(20, start=100)}, shards_number=2)
    ground.cluster.world.delete_key("keyed", "gone")

    manifest = await ground.take("keyed")

    assert manifest.keys == (KeyLayout("de", (2, 3)), KeyLayout(7, (4, 5)))
    assert [(shard.shard, shard.key) for shard in manifest.shards] == [(2, "de"), (3, "de"), (4, 7), (5, 7)]
    assert manifest.points == 50


async def test_a_collection_without_any_key_yet_is_a_complete_set_without_archives(ground: Ground) -> None:
    """Its settings are all that there is of it."""
    ground.cluster.create("keyed", sharding_method="custom")

    manifest = await ground.take("keyed")

    assert (manifest.state, manifest.archives, manifest.shards) == (SetState.COMPLETE, (), ())
    assert manifest.config["params"]["sharding_method"] == "custom"


async def test_a_server_without_a_cluster_is_backed_up_too() -> None:
    """It has no peer id and no uuid, and one shard or more."""
    async with ground_of(SnapshotCluster(standalone=True)) as ground:
        ground.cluster.create("docs", points(100), shard_number=2)

        manifest = await ground.take()

        assert manifest.state is SetState.COMPLETE
        assert manifest.uuid is None
        assert [archive.peer_id for archive in manifest.archives] == [None]
        assert [shard.peer_ids for shard in manifest.shards] == [(), ()]
        assert ground.points(manifest) == ground.cluster.points("docs")


@pytest.mark.parametrize("version", ["1.12.6", "1.16.3"])
async def test_an_older_server_that_numbers_no_operations_is_never_called_settled(version: str) -> None:
    """Equal counts before and after may hide a deletion and an insertion; the number is told all the same."""
    async with ground_of(SnapshotCluster(version=version)) as ground:
        ground.cluster.create("docs", points(60), shard_number=2, replication_factor=2)
        for shard in (0, 1):
            for peer in ground.cluster.counts("docs")[shard]:
                ground.cluster.replica("docs", shard, peer).op_num = None

        manifest = await ground.take()

        assert manifest.state is SetState.COMPLETE
        assert not manifest.settled
        assert manifest.points == 60


async def test_a_writer_during_the_backup_makes_counts_a_range(ground: Ground) -> None:
    """What the archive holds lies between the two looks, and nobody says which."""
    ground.cluster.knobs.writer("docs", points_a_request=6)

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert not manifest.settled
    held = ground.points(manifest)
    low = sum(shard.points_before or 0 for shard in manifest.shards)
    high = sum(shard.points_after or 0 for shard in manifest.shards)
    assert low < len(held) < high
    assert not any(shard.counted for shard in manifest.shards)


async def test_where_an_engine_is_at_hand_the_archives_are_counted(ground: Ground) -> None:
    """Then the number is that of the archive, exactly."""
    ground.cluster.knobs.writer("docs", points_a_request=6)

    manifest = await ground.take(count=counting(ground))

    assert all(shard.counted for shard in manifest.shards if not shard.settled)
    assert manifest.points == len(ground.points(manifest))


async def test_an_archive_that_should_open_and_does_not_makes_a_set_incomplete(ground: Ground) -> None:
    """Its hash is right, and it could not be restored."""
    ground.cluster.knobs.writer("docs", points_a_request=6)

    async def refuse(path: str, shard: ArchivedShard, version: str) -> int:
        raise BadArchive("the engine does not open it")

    with pytest.raises(SetIncomplete, match=r"shard 0 in .\.snapshot cannot be opened: the engine does not"):
        await ground.take(count=refuse)
    assert [found.counts for found in await ground.sets()] == [False]


async def test_an_archive_that_is_too_large_to_be_opened_is_not_counted(ground: Ground) -> None:
    """It would need its room on the disk once more."""
    ground.cluster.knobs.writer("docs", points_a_request=6)
    ground.limits = replace(FAST, count_limit_bytes=1_000)

    manifest = await ground.take(count=counting(ground))

    assert not any(shard.counted for shard in manifest.shards)


async def test_the_replica_with_the_most_operations_counts(ground: Ground) -> None:
    """Of two that are Active, one lags behind."""
    (first, second) = ground.cluster.counts("docs")[0]
    ground.cluster.replica("docs", 0, first).op_num = 9
    ground.cluster.replica("docs", 0, second).op_num = 8

    manifest = await ground.take()

    assert manifest.shards[0].archive == f"{'abc'[first]}.snapshot"


async def test_an_alias_is_refused_and_named(ground: Ground) -> None:
    """Its snapshot would be filed under a name that no collection has."""
    ground.cluster.world.aliases["current"] = "docs"

    with pytest.raises(JobRefused, match="current is an alias of docs"):
        await ground.take("current")
    assert not any("/snapshots" in line for line in ground.cluster.lines())


async def test_a_collection_that_is_not_there_is_an_error(ground: Ground) -> None:
    """And no request is sent that would add a series of its name to the server's metrics."""
    with pytest.raises(JobError, match="no collection nosuch"):
        await ground.take("nosuch")
    assert not any(line.startswith("POST") for line in ground.cluster.lines())


async def test_a_busy_optimizer_is_waited_for(ground: Ground) -> None:
    """A snapshot beside it would slow both down, and take more room."""
    replica = ground.cluster.replica("docs", 0, next(iter(ground.cluster.counts("docs")[0])))
    replica.status = "yellow"
    looks = 0

    def calm_down(peer: int, method: str, path: str) -> None:
        nonlocal looks
        looks += "/telemetry" in path
        if looks > 12:
            replica.status = "green"

    ground.cluster.knobs.on_request = calm_down

    await ground.take()

    lines = ground.cluster.lines()
    first_post = next(at for at, line in enumerate(lines) if line.startswith("POST"))
    assert sum("/telemetry" in line for line in lines[:first_post]) >= 12


async def test_an_optimizer_that_never_rests_delays_a_backup_and_no_more(ground: Ground) -> None:
    """After the longest wait it is taken all the same."""
    ground.cluster.replica("docs", 0, next(iter(ground.cluster.counts("docs")[0]))).status = "yellow"

    began = ground.clock.monotonic()
    manifest = await ground.take()

    assert ground.clock.monotonic() - began >= FAST.busy_seconds
    assert manifest.state is SetState.COMPLETE


async def test_collections_of_odd_names_do_not_meet(ground: Ground) -> None:
    """Each is stored in a folder of its own, whatever it is called."""
    for name in ("..", "a b%41", "😀"):
        ground.cluster.create(name, points(10))

    manifests = [await ground.take(name) for name in ("..", "a b%41", "😀")]

    for manifest in manifests:
        assert [one.manifest for one in await ground.shelf.sets("prod", manifest.collection)] == [manifest]
        assert manifest.points == 10
    assert all(not path.startswith((".", "/")) and "/../" not in path for path in ground.store.objects)


async def test_a_run_that_is_cancelled_leaves_nothing_behind(ground: Ground) -> None:
    """Not on the servers, not in the store, at whatever step it is."""
    steps = 0
    stop_at = 0

    def count(peer: int, method: str, path: str) -> None:
        nonlocal steps
        steps += 1
        if steps == stop_at:
            running.cancel()

    ground.cluster.knobs.on_request = count
    await ground.take()
    (first,) = await ground.sets()
    await ground.shelf.remove(first.manifest)
    total, ended = steps, 0
    for stop_at in range(1, total, 7):
        steps = 0
        running = asyncio.ensure_future(ground.take())
        await asyncio.wait([running])
        ended += running.cancelled()
        stop_at = 0

        left = await ground.shelf.contents()
        assert left.fragments == ()
        for found in left.sets:
            assert found.counts
            await ground.shelf.remove(found.manifest)
    assert ended >= total // 7 - 1
    await ground.take()
    assert await ground.is_clean()


async def test_an_incomplete_set_says_what_it_lacks(ground: Ground) -> None:
    """The error names the shard, its replicas, and where what there is was kept."""
    for peer in ground.cluster.counts("docs")[3]:
        ground.cluster.replica("docs", 3, peer).loaded = False

    with pytest.raises(
        SetIncomplete, match=r"shard 3 lies in no archive that counts: .*not loaded"
    ) as caught:
        await ground.take()

    (kept,) = await ground.sets()
    assert kept.manifest == caught.value.manifest
    assert kept.manifest.id in str(caught.value)
    assert kept.manifest.state is SetState.INCOMPLETE
    assert not kept.counts
    assert kept.manifest.points is None
