"""Backups against three scripted peers and a store, when things go wrong."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.backup.shelf import Shelf
from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.local import LocalStore
from exporter.backup.taking import SetIncomplete
from exporter.backup.words import SetState
from exporter.errors import JobDenied, JobError, StoreDenied, StoreError, StoreFull
from tests.kit.small_disk import small_disk
from tests.kit.snapshot_cluster import SnapshotAnswer, SnapshotCluster, points
from tests.unit.backup.ground import FAST, Ground, ground_of

SNAPSHOT = r"/snapshots/docs-.*snapshot"
CREATE = r"/collections/docs/snapshots\?wait=true$"


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    """Three peers, and a collection of six shards with two replicas each and 600 points."""
    async with ground_of(SnapshotCluster()) as made:
        made.cluster.create("docs", points(600), shard_number=6, replication_factor=2)
        yield made


def posts(ground: Ground, peer: int | None = None) -> int:
    """Count the requests for a snapshot."""
    return sum(line.startswith("POST") for line in ground.cluster.lines(peer))


async def only_incomplete(ground: Ground) -> bool:
    """No set in the store is taken for a whole one."""
    return all(found.manifest.state is SetState.INCOMPLETE for found in await ground.sets())


# --- the peers -------------------------------------------------------------------------------------


async def test_a_peer_that_is_down_degrades_a_set_whose_shards_others_hold(ground: Ground) -> None:
    """With two replicas of each shard, two peers of three hold all."""
    await ground.cluster.kill(2)

    manifest = await ground.take()

    assert manifest.state is SetState.DEGRADED
    assert any("no answer of peer" in problem and "c: " in problem for problem in manifest.problems)
    assert [archive.peer for archive in manifest.archives] == ["a", "b"]
    assert ground.points(manifest) == ground.cluster.points("docs")
    assert (await ground.sets())[0].counts


async def test_while_a_peer_is_down_settings_and_indexes_come_out_of_an_archive(ground: Ground) -> None:
    """The one call that says them asks all peers, and fails then."""
    world = ground.cluster.world.named("docs")
    world.payload_schema["n"] = {"data_type": "integer", "points": 600}
    whole = await ground.take()
    await ground.cluster.kill(2)
    ground.cluster.knobs.fail("GET", r"/collections/docs$", 500, times=1_000)

    manifest = await ground.take()

    assert manifest.config == whole.config
    assert set(manifest.payload_schema) == {"n"}
    assert manifest.payload_schema["n"]["data_type"] == "integer"


async def test_a_peer_that_is_lost_midway_does_not_stop_what_others_hold(ground: Ground) -> None:
    """It died while it was asked for its snapshot: the set is degraded, and its intent stays open."""

    async def die(peer: int, method: str, path: str) -> None:
        if peer == 1 and method == "POST":
            await ground.cluster.kill(1)

    ground.cluster.knobs.on_request = die

    manifest = await ground.take()

    assert manifest.state is SetState.DEGRADED
    assert any(problem.startswith("no archive of b: ") for problem in manifest.problems)
    assert ground.points(manifest) == ground.cluster.points("docs")
    (intent,) = await ground.shelf.intents()
    assert [part.peer for part in intent.peers] == ["b"]

    ground.cluster.knobs.on_request = None
    await ground.cluster.revive(1)
    await ground.take()
    assert await ground.is_clean()


async def test_a_peer_that_alone_holds_a_shard_makes_the_set_incomplete() -> None:
    """What there is is kept, and the outcome is a failure that names the shard."""
    async with ground_of(SnapshotCluster()) as ground:
        ground.cluster.create("docs", points(600), shard_number=6, replication_factor=1)
        await ground.cluster.kill(0)

        with pytest.raises(
            SetIncomplete, match="lies in no archive that counts: a replica on peer"
        ) as caught:
            await ground.take()

        assert {archive.peer for archive in caught.value.manifest.archives} == {"b", "c"}
        assert await only_incomplete(ground)
        assert len(await ground.sets()) == 1


async def test_no_peer_at_all_is_an_error_without_a_set(ground: Ground) -> None:
    """There is nothing to keep; the error says why of each."""
    for peer in (0, 1, 2):
        await ground.cluster.kill(peer)

    with pytest.raises(JobError, match=r"no peer answers.*a: .*b: .*c: "):
        await ground.take()
    assert await ground.sets() == []


async def test_a_frozen_peer_costs_its_deadline_and_no_more(ground: Ground) -> None:
    """It takes connections and answers nothing: missing, like one that is down, by the first call."""
    ground.limits = replace(FAST, hello_seconds=0.2)
    ground.cluster.freeze(2)

    manifest = await ground.take()

    assert manifest.state is SetState.DEGRADED


async def test_a_shard_that_did_not_load_is_never_the_one_that_counts(ground: Ground) -> None:
    """It says green, Active and no points; the other replica is archived."""
    dummy, good = ground.cluster.counts("docs")[0]
    whole = ground.cluster.points("docs")
    ground.cluster.replica("docs", 0, dummy).loaded = False

    manifest = await ground.take()

    assert manifest.shards[0].archive == f"{'abc'[good]}.snapshot"
    assert ground.points(manifest) == whole


async def test_a_replica_that_is_dead_is_never_the_one_that_counts(ground: Ground) -> None:
    """Writes passed it by."""
    dead, good = ground.cluster.counts("docs")[0]
    ground.cluster.replica("docs", 0, dead).state = "Dead"

    manifest = await ground.take()

    assert manifest.shards[0].archive == f"{'abc'[good]}.snapshot"
    assert manifest.state is SetState.COMPLETE


async def test_a_replica_that_was_dead_in_the_moment_of_its_snapshot_does_not_count(ground: Ground) -> None:
    """Before and after it is Active: only the archive itself tells."""
    dead, good = ground.cluster.counts("docs")[0]
    replica = ground.cluster.replica("docs", 0, dead)
    replica.op_num = 1_000  # else the other one would count anyway

    def fall(peer: int, method: str, path: str) -> None:
        replica.state = "Dead" if peer == dead and method == "POST" else "Active"

    ground.cluster.knobs.on_request = fall

    manifest = await ground.take()

    assert manifest.shards[0].archive == f"{'abc'[good]}.snapshot"


# --- what moves ------------------------------------------------------------------------------------


async def test_a_shard_that_moves_between_two_snapshots_makes_a_second_try(ground: Ground) -> None:
    """The first set is kept as incomplete, the second is whole."""
    moved = False

    def move(peer: int, method: str, path: str) -> None:
        nonlocal moved
        if peer == 1 and method == "POST" and not moved:
            moved = True
            (old, _), new = ground.cluster.counts("docs")[0], 3 - sum(ground.cluster.counts("docs")[0])
            ground.cluster.move_shard("docs", 0, old, new)

    ground.cluster.knobs.on_request = move

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert ground.points(manifest) == ground.cluster.points("docs")
    newest, first = await ground.sets()
    assert newest.manifest == manifest
    assert first.manifest.state is SetState.INCOMPLETE
    assert any("shard 0 moved" in problem for problem in first.manifest.problems)
    assert await ground.is_clean()


async def test_shards_that_never_rest_fail_after_the_second_try(ground: Ground) -> None:
    """Whoever moves shards all night must stop for a backup, and learns it."""

    def move(peer: int, method: str, path: str) -> None:
        if peer == 1 and method == "POST":
            on = tuple(ground.cluster.counts("docs")[0])
            ground.cluster.move_shard("docs", 0, on[0], 3 - sum(on))

    ground.cluster.knobs.on_request = move

    with pytest.raises(SetIncomplete, match="shard 0 moved to another peer meanwhile"):
        await ground.take()
    assert len(await ground.sets()) == 2
    assert await only_incomplete(ground)


async def test_a_collection_made_anew_under_its_name_makes_a_second_try(ground: Ground) -> None:
    """The archives of the first are of two collections; the second set is all of the new one."""
    again = False

    def recreate(peer: int, method: str, path: str) -> None:
        nonlocal again
        if peer == 1 and method == "POST" and not again:
            again = True
            ground.cluster.recreate("docs", points(50, start=5_000))

    ground.cluster.knobs.on_request = recreate

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert ground.points(manifest) == ground.cluster.points("docs")
    first = (await ground.sets())[1].manifest
    assert any("its uuid changed" in problem for problem in first.problems)


async def test_a_collection_made_anew_on_a_server_without_uuids_is_seen_by_its_operations() -> None:
    """One node tells no uuid, but its operations begin again."""
    async with ground_of(SnapshotCluster(standalone=True)) as ground:
        ground.cluster.create("docs", points(100))
        ground.cluster.replica("docs", 0, 0).op_num = 100
        again = False

        def recreate(peer: int, method: str, path: str) -> None:
            nonlocal again
            if method == "DELETE" and not again:
                again = True
                ground.cluster.recreate("docs", points(5))

        ground.cluster.knobs.on_request = recreate

        manifest = await ground.take()

        assert manifest.points == 5
        first = (await ground.sets())[1].manifest
        assert any("counted anew" in problem for problem in first.problems)


async def test_a_collection_deleted_midway_is_a_failure(ground: Ground) -> None:
    """What was stored is incomplete, and the second try finds nothing to back up."""

    def delete(peer: int, method: str, path: str) -> None:
        if peer == 2 and method == "POST":
            ground.cluster.world.delete("docs")

    ground.cluster.knobs.on_request = delete

    with pytest.raises(JobError, match="no collection docs"):
        await ground.take()
    assert await only_incomplete(ground)


@pytest.mark.parametrize("change", ["alias", "key"])
async def test_aliases_and_keys_that_change_meanwhile_make_a_second_try(ground: Ground, change: str) -> None:
    """The manifest would say what was never true at one moment."""
    ground.cluster.create("keyed", sharding_method="custom", shard_number=1, replication_factor=2)
    ground.cluster.create_keys("keyed", {"de": points(30)})
    changed = False

    def alter(peer: int, method: str, path: str) -> None:
        nonlocal changed
        if method == "DELETE" and not changed:
            changed = True
            if change == "alias":
                ground.cluster.world.aliases["current"] = "keyed"
            else:
                ground.cluster.create_keys("keyed", {"en": points(20)})

    ground.cluster.knobs.on_request = alter

    manifest = await ground.take("keyed")

    assert manifest.state is SetState.COMPLETE
    assert manifest.aliases == (("current",) if change == "alias" else ())
    assert [key.key for key in manifest.keys] == (["de"] if change == "alias" else ["de", "en"])
    assert (await ground.sets())[1].manifest.state is SetState.INCOMPLETE


# --- the request for a snapshot --------------------------------------------------------------------


@pytest.mark.parametrize("answer", [SnapshotAnswer.TIMEOUT, SnapshotAnswer.SILENCE, SnapshotAnswer.ERROR])
async def test_a_request_without_a_good_answer_is_looked_for_and_not_repeated(
    ground: Ground, answer: SnapshotAnswer
) -> None:
    """The server goes on with it: a second one would double its work and its disk."""
    ground.limits = replace(FAST, create_seconds=0.4)
    ground.cluster.knobs.snapshot_answer = answer
    ground.cluster.knobs.snapshot_answers = 1
    ground.cluster.knobs.snapshot_seconds = 0.15

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert [posts(ground, peer) for peer in (0, 1, 2)] == [1, 1, 1]
    assert ground.points(manifest) == ground.cluster.points("docs")
    assert await ground.is_clean()


async def test_a_server_that_cannot_take_a_snapshot_is_believed_after_some_looks(ground: Ground) -> None:
    """Nothing runs and nothing new lies there: its reason stands in the manifest."""
    ground.cluster.knobs.fail("POST", CREATE, 500, peer=0, text="Service internal error: disk full")

    manifest = await ground.take()

    assert manifest.state is SetState.DEGRADED
    assert any("no archive of a: " in problem and "disk full" in problem for problem in manifest.problems)
    assert posts(ground, 0) == 1


@pytest.mark.parametrize("status", [500, 408, 403])
async def test_a_snapshot_that_a_person_takes_after_ours_failed_is_left_alone(
    ground: Ground, status: int
) -> None:
    """Who is told of the failure at night takes one by hand, minutes later: it is not ours."""
    ground.cluster.knobs.fail("POST", CREATE, status, times=3)
    with pytest.raises(JobError):
        await ground.take()
    theirs = ground.foreign(0, after_seconds=60)
    ground.cluster.lay_snapshot(0, "docs", theirs)

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert ground.cluster.snapshots("docs") == [[theirs], [], []]
    assert await ground.shelf.intents() == []


async def test_a_key_without_the_right_to_take_snapshots_fails_with_its_name(ground: Ground) -> None:
    """403: no look will change that. The error is of the kind that says so."""
    ground.cluster.knobs.fail("POST", CREATE, 403, times=3, text="Forbidden")

    with pytest.raises(JobDenied, match=r"no peer gave a snapshot of docs: a: .*403"):
        await ground.take()
    assert posts(ground) == 3
    assert await ground.sets() == []
    assert await ground.is_clean()
    assert (await ground.shelf.contents()).fragments == ()


async def test_a_key_that_may_not_even_look_fails_with_its_name(ground: Ground) -> None:
    """401 of every peer is no outage."""
    ground.cluster.knobs.api_key = "another"

    with pytest.raises(JobDenied, match=r"no peer answers, .* a: .*401"):
        await ground.take()


async def test_settings_that_nobody_says_are_no_set(ground: Ground) -> None:
    """Without an archive there is nothing that has them."""
    ground.cluster.create("keyed", sharding_method="custom")
    ground.cluster.knobs.fail("GET", r"/collections/keyed$", 500, times=1_000)

    with pytest.raises(JobError, match="no peer says the settings of keyed"):
        await ground.take("keyed")
    assert await ground.sets() == []


async def test_a_rate_limit_is_waited_for_as_told(ground: Ground) -> None:
    """429 did nothing, so the same request goes out again."""
    ground.cluster.knobs.fail("POST", CREATE, 429, peer=0, headers={"Retry-After": "0.05"})
    ground.cluster.knobs.fail("GET", r"/cluster$", 429, peer=1, headers={"Retry-After": "0.05"})
    ground.cluster.knobs.fail("GET", SNAPSHOT, 429, peer=1, headers={"Retry-After": "0.05"})
    ground.cluster.knobs.fail("DELETE", SNAPSHOT, 429, peer=2, headers={"Retry-After": "0.05"})

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert [posts(ground, peer) for peer in (0, 1, 2)] == [2, 1, 1]
    assert await ground.is_clean()


async def test_a_foreign_snapshot_beside_ours_is_left_alone(ground: Ground) -> None:
    """The server named ours; the other one lies there as before."""
    foreign = f"docs-{ground.cluster.ids[0]}-2026-01-01-00-00-00.snapshot"

    def appear(peer: int, method: str, path: str) -> None:
        if peer == 0 and method == "POST":
            ground.cluster.lay_snapshot(0, "docs", foreign)

    ground.cluster.knobs.on_request = appear

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert ground.cluster.snapshots("docs") == [[foreign], [], []]


async def test_two_new_snapshots_after_a_timeout_are_nobody_s(ground: Ground) -> None:
    """Nobody can say which is ours: none is taken, none is deleted, and the set lacks that peer."""
    ground.cluster.knobs.snapshot_answer = SnapshotAnswer.TIMEOUT
    ground.cluster.knobs.snapshot_answers = 1
    ground.cluster.knobs.snapshot_seconds = 0.1
    foreign = ground.foreign(0, after_seconds=60)

    def appear(peer: int, method: str, path: str) -> None:
        if peer == 0 and method == "POST":
            ground.cluster.lay_snapshot(0, "docs", foreign)

    ground.cluster.knobs.on_request = appear

    manifest = await ground.take()

    assert manifest.state is SetState.DEGRADED
    assert any("nobody can say which is ours" in problem for problem in manifest.problems)
    assert len(ground.cluster.snapshots("docs")[0]) == 2
    assert await ground.shelf.intents() == []


async def test_an_uploaded_file_is_never_taken_for_a_snapshot_of_ours(ground: Ground) -> None:
    """After a timeout one file is new, but the server did not name it."""
    ground.cluster.knobs.fail("POST", CREATE, 504, peer=0)

    def appear(peer: int, method: str, path: str) -> None:
        if peer == 0 and method == "POST":
            ground.cluster.lay_snapshot(0, "docs", "upload.snapshot")

    ground.cluster.knobs.on_request = appear

    manifest = await ground.take()

    assert manifest.state is SetState.DEGRADED
    assert ground.cluster.snapshots("docs")[0] == ["upload.snapshot"]


async def test_a_snapshot_with_the_name_of_one_that_was_there_is_not_ours(ground: Ground) -> None:
    """Two of one second have one name: deleting ours would delete somebody's."""
    ground.cluster.knobs.names_collide = True
    ground.cluster.knobs.now = lambda: 1_800_000_000.0
    theirs = f"docs-{ground.cluster.ids[0]}-2027-01-15-08-00-00.snapshot"
    ground.cluster.lay_snapshot(0, "docs", theirs)

    manifest = await ground.take()

    assert manifest.state is SetState.DEGRADED
    assert ground.cluster.snapshots("docs") == [[theirs], [], []]


async def test_a_snapshot_of_the_same_second_as_somebody_s_is_left_and_another_taken(ground: Ground) -> None:
    """Both are told the same name, and one file lies there: whose, nobody can say (seen on 1.18.3)."""
    ground.cluster.knobs.names_collide = True
    seconds = [1_800_000_000.0]
    ground.cluster.knobs.now = lambda: seconds[0]
    shared = f"docs-{ground.cluster.ids[0]}-2027-01-15-08-00-00.snapshot"

    async def also(peer: int, method: str, path: str) -> None:
        if peer == 0 and method == "POST" and seconds[0] == 1_800_000_000.0:
            await ground.cluster.take_snapshot(ground.cluster.peers[0], "docs", wait=True)
        elif shared in ground.cluster.snapshots("docs")[0]:
            seconds[0] = 1_800_000_001.0

    ground.cluster.knobs.on_request = also

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert posts(ground, 0) == 2
    assert ground.cluster.snapshots("docs") == [[shared], [], []]
    assert await ground.shelf.intents() == []


async def test_a_snapshot_that_somebody_takes_beside_ours_is_left_and_ours_is_known(ground: Ground) -> None:
    """It lies there by its own name, so ours is nobody else's."""
    theirs: list[str] = []

    async def also(peer: int, method: str, path: str) -> None:
        if peer == 0 and method == "POST" and not theirs:
            made = await ground.cluster.take_snapshot(ground.cluster.peers[0], "docs", wait=True)
            assert made is not None
            theirs.append(made["name"])

    ground.cluster.knobs.on_request = also

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert posts(ground, 0) == 1
    assert ground.cluster.snapshots("docs") == [theirs, [], []]


async def test_a_snapshot_that_somebody_takes_is_waited_for(ground: Ground) -> None:
    """It would be new beside ours, and two at once on a peer are too many."""
    ground.cluster.peers[0].running["docs"] = 1
    looks = 0

    def end(peer: int, method: str, path: str) -> None:
        nonlocal looks
        looks += "/telemetry" in path
        if looks > 9:
            ground.cluster.peers[0].running["docs"] = 0

    ground.cluster.knobs.on_request = end

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert looks > 9


async def test_a_server_copy_that_cannot_be_deleted_keeps_the_intent_open(ground: Ground) -> None:
    """The set is whole; the next run clears up."""
    ground.cluster.knobs.fail("DELETE", SNAPSHOT, 500, times=2, peer=1)

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    (intent,) = await ground.shelf.intents()
    assert [(part.peer, part.name) for part in intent.peers] == [("b", manifest.archives[1].snapshot)]
    assert len(ground.cluster.snapshots("docs")[1]) == 1

    await ground.take()
    assert await ground.is_clean()


# --- the download ----------------------------------------------------------------------------------


async def test_a_checksum_that_is_wrong_twice_costs_the_peer(ground: Ground) -> None:
    """The server's disk lost a bit: what came is not what the server hashed."""

    def rot(peer: int, method: str, path: str) -> None:
        if peer == 0 and method == "GET" and path.startswith("/collections/docs/snapshots/"):
            (name,) = ground.cluster.snapshots("docs")[0]
            ground.cluster.corrupt_snapshot(0, "docs", name, 5_000)
            ground.cluster.knobs.on_request = None

    ground.cluster.knobs.on_request = rot

    manifest = await ground.take()

    assert manifest.state is SetState.DEGRADED
    assert any("SHA-256" in problem for problem in manifest.problems)
    assert {archive.peer for archive in manifest.archives} == {"b", "c"}
    assert not [path for path in ground.store.objects if path.endswith("/a.snapshot")]
    assert await ground.is_clean()


async def test_a_byte_that_flips_on_its_way_is_found_and_fetched_again(ground: Ground) -> None:
    """One bad download is no bad backup."""
    ground.cluster.knobs.corrupt_download(4_000)

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert ground.points(manifest) == ground.cluster.points("docs")


async def test_a_server_that_names_no_checksum_is_believed_by_ours(ground: Ground) -> None:
    """S3 behind the server: the manifest says that the hash is only what came."""
    ground.cluster.knobs.checksums = False

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
    assert not any(archive.checksum_from_server for archive in manifest.archives)


# --- the store -------------------------------------------------------------------------------------


async def test_a_store_without_room_is_told_before_a_snapshot_is_taken(ground: Ground) -> None:
    """By the size of the last set: a server's disk is not filled for nothing."""
    first = await ground.take()
    asked = posts(ground)
    ground.store.room_bytes = first.size_bytes + 10_000

    with pytest.raises(StoreFull, match=r"has \d+ bytes left.*needs \d+"):
        await ground.take()
    assert posts(ground) == asked
    assert len(await ground.sets()) == 1


async def test_a_store_that_is_full_midway_keeps_nothing_of_the_set(ground: Ground) -> None:
    """No half archive, no fragment, no copy on a server; an older set is untouched."""
    old = await ground.take()
    free = old.size_bytes * 3 // 2
    ground.store.room_bytes = free + sum(map(len, ground.store.objects.values()))
    ground.cluster.knobs.padding_bytes = 100_000

    with pytest.raises(StoreFull):
        await ground.take()

    assert [found.manifest for found in await ground.sets()] == [old]
    assert (await ground.shelf.contents()).fragments == ()
    assert await ground.is_clean()


async def test_a_disk_that_fills_up_during_a_download_keeps_nothing_of_the_set(
    tmp_path: Path, ground: Ground
) -> None:
    """A real one, filled by somebody else after we looked at its room."""
    with small_disk(tmp_path / "disk") as disk:
        store = LocalStore(disk.path, bandwidth=Bandwidth(None, clock=ground.clock), clock=ground.clock)
        ground.shelf = Shelf(store, ground.clock)
        ground.cluster.knobs.padding_bytes = 1_000_000

        def fill(peer: int, method: str, path: str) -> None:
            if peer == 1 and method == "GET" and re.search(SNAPSHOT, path):
                disk.fill()

        ground.cluster.knobs.on_request = fill

        with pytest.raises(StoreFull):
            await ground.take()

        contents = await ground.shelf.contents()
        assert contents.sets == ()
        assert contents.fragments == ()
        disk.empty()
        ground.cluster.knobs.on_request = None
        await ground.take()
        assert await ground.is_clean()
        await store.close()


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("write", "b.snapshot"),
        ("publish", "b.snapshot"),
        ("put", "intents/"),
        ("put", "proof-2"),
        ("put_if_absent", "manifest.json"),
        ("list", "prod/docs"),
    ],
)
async def test_a_store_that_refuses_ends_the_backup_without_a_set(
    ground: Ground, what: str, path: str
) -> None:
    """403 or 500, at any step: the run fails with the store's own error, and cleans up."""
    ground.store.fail(what, path, lambda: StoreDenied("memory: 403, the key may not write"))

    with pytest.raises(StoreDenied, match="403"):
        await ground.take()

    contents = await ground.shelf.contents()
    assert contents.sets == ()
    assert contents.fragments == ()
    assert await ground.is_clean()


async def test_a_store_that_fails_for_good_leaves_the_intent_for_the_next_run(ground: Ground) -> None:
    """It cannot even be cleaned up; nothing in it looks like a set."""
    ground.store.fail("publish", "b.snapshot", lambda: StoreError("memory: 500"))
    ground.store.fail("list", "prod/docs/", lambda: StoreError("memory: 500"))
    ground.cluster.knobs.fail("DELETE", SNAPSHOT, 500, times=2, peer=1)

    with pytest.raises(StoreError, match="500"):
        await ground.take()

    contents = await ground.shelf.contents()
    assert contents.sets == ()
    assert len(contents.fragments) == 1
    assert [part.peer for intent in await ground.shelf.intents() for part in intent.peers] == ["b"]
    await ground.take()
    assert len(await ground.sets()) == 1
    assert await ground.is_clean()


async def test_a_manifest_whose_put_was_answered_too_late_is_still_the_set(ground: Ground) -> None:
    """A put that was sent twice finds itself there: the same bytes are no other set."""
    put = ground.store.put_if_absent

    async def twice(path: str, data: bytes) -> bool:
        await put(path, data)
        return await put(path, data)

    ground.store.put_if_absent = twice  # type: ignore[method-assign]

    manifest = await ground.take()

    assert (await ground.sets())[0].manifest == manifest


async def test_a_manifest_that_arrives_behind_its_cancellation_keeps_its_archives(ground: Ground) -> None:
    """A thread or a bucket does not hear of it: what is cleaned up meanwhile must not be half of a set."""
    put = ground.store.put_if_absent

    async def late(path: str, data: bytes) -> bool:
        running.cancel()
        return await asyncio.shield(later(path, data))

    async def later(path: str, data: bytes) -> bool:
        for _ in range(200):  # turns of the loop, in which a clean-up would be over
            await asyncio.sleep(0)
        return await put(path, data)

    ground.store.put_if_absent = late  # type: ignore[method-assign]
    running = asyncio.ensure_future(ground.take())

    await asyncio.wait([running])

    assert running.cancelled()
    (found,) = await ground.sets()
    assert found.counts
    assert ground.points(found.manifest) == ground.cluster.points("docs")


@pytest.mark.parametrize("returns", [False, True])
async def test_a_store_that_is_taken_away_midway_holds_no_set_without_its_archives(
    ground: Ground, tmp_path: Path, returns: bool
) -> None:
    """As when a disk is unmounted: what came later would lie elsewhere. `returns`: in an empty directory."""
    (tmp_path / "store").mkdir()
    store = LocalStore(tmp_path / "store", bandwidth=Bandwidth(None, clock=ground.clock), clock=ground.clock)
    ground.store, ground.shelf = store, Shelf(store, ground.clock)  # type: ignore[assignment]

    def take_away(peer: int, method: str, path: str) -> None:
        if peer == 2 and method == "POST" and path.endswith("/snapshots?wait=true"):
            (tmp_path / "store").rename(tmp_path / "elsewhere")
            if returns:
                (tmp_path / "store").mkdir()

    ground.cluster.knobs.on_request = take_away

    with pytest.raises(StoreError, match="emptied, or taken away" if returns else "mount what it is on"):
        await ground.take()
    (tmp_path / "store").mkdir(exist_ok=True)
    assert await ground.shelf.sets() == []
    assert [name for names in ground.cluster.snapshots("docs") for name in names] == []
    await store.close()


async def test_an_intent_that_cannot_be_closed_does_no_harm_to_the_set(ground: Ground) -> None:
    """The set is there; the next run finds nothing on the servers and closes it."""
    ground.store.fail("delete", "intents/", lambda: StoreError("memory: 500"))

    manifest = await ground.take()

    assert (await ground.sets())[0].manifest == manifest
    assert len(await ground.shelf.intents()) == 1
    await ground.take()
    assert await ground.is_clean()


async def test_a_slow_store_is_only_slow(ground: Ground) -> None:
    """No deadline of ours counts the store's time."""
    ground.store.pause_seconds = 0.02
    ground.limits = replace(FAST, stall_seconds=0.1)

    manifest = await ground.take()

    assert manifest.state is SetState.COMPLETE
