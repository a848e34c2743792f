"""Restores that were ended in the middle, and what the next call makes of them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from exporter.backup.restoring.plan import default_target
from exporter.backup.restoring.schema import MARK
from exporter.backup.restoring.target import RestoreLimits
from exporter.backup.words import RestoreState
from exporter.errors import JobError, JobRefused, StoreError, StoreFull, StoreShort
from tests.kit.snapshot_cluster import points
from tests.unit.backup.restoring.kit import SET_ID, Ground, ground, killed

TARGET = default_target("docs", SET_ID)
CUSTOM: dict[str, Any] = {"sharding_method": "custom", "shard_number": 1, "replication_factor": 2}
KEYS: dict[str | int, Any] = {"gone": points(3), "b": points(40), 7: points(60, start=100)}


async def made(here: Ground, **options: Any) -> None:
    """Have a collection with custom keys, a gap among their ids, an index and an alias."""
    here.cluster.create("docs", **CUSTOM, strict_mode_config={"enabled": True, "max_query_limit": 5})
    here.cluster.create_keys("docs", KEYS)
    here.cluster.world.delete_key("docs", "gone")
    here.cluster.world.named("docs").payload_schema = {"n": {"data_type": "integer", "points": 100}}


@pytest.mark.parametrize("version", ["1.18.3", "1.12.6"])
async def test_a_restore_killed_at_any_request_is_finished_by_the_next_call(version: str) -> None:
    """After each request that writes, with nobody to hear its answer; the end is the same."""
    at, over, refused = 0, False, []
    while not over:
        at += 1
        async with ground(version=version) as here:
            await made(here)
            kept = await here.stored("docs")

            over = not await killed(here, kept, at, switch_alias="live")
            if (await here.shelf.restores())[-1].state is not RestoreState.DONE:
                try:
                    await here.restore(kept, switch_alias="live")
                except JobRefused as error:
                    refused.append((at, str(error)))
                    continue
            [record] = await here.shelf.restores()

            assert record.state is RestoreState.DONE
            assert here.cluster.points(TARGET) == points(40) | points(60, start=100)
            assert here.cluster.states(TARGET) == {"Active"}
            assert here.cluster.world.named(TARGET).keys == {"b": [2], 7: [3]}
            assert here.cluster.world.aliases == {"live": TARGET}
            assert set(here.cluster.world.named(TARGET).payload_schema) == {"n"}
    assert at > 9
    # Without metadata only the record could say that the collection is ours, and it was not written yet.
    assert [number for number, _ in refused] == ([1] if version == "1.12.6" else [])


async def test_a_store_that_is_full_midway_ends_it_with_how_to_go_on() -> None:
    """Not even the record of that can be written; once there is room, the same call goes on."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=2)
        kept = await here.stored("docs")

        def fill(_: int, method: str, path: str) -> None:
            if "/shards/0/snapshots/upload" in path:
                here.store.room_bytes = 0

        here.cluster.knobs.on_request = fill
        with pytest.raises(StoreFull, match=f"into {TARGET} stopped: no room .* The same command goes on"):
            await here.restore(kept)
        here.cluster.knobs.on_request, here.store.room_bytes = None, None

        await here.restore(kept)

        assert here.cluster.points(TARGET) == points(60)


async def test_a_collection_that_the_server_was_still_making_is_gone_on_with() -> None:
    """The run before was killed as it asked for it; now the server says that it exists already."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        here.cluster.knobs.fail("PUT", TARGET, times=9)
        with pytest.raises(JobError):
            await here.restore(kept)
        here.cluster.knobs.failures.clear()
        [record] = await here.shelf.restores()

        def finish(_: int, method: str, path: str) -> None:
            if method == "PUT" and path.endswith(TARGET):
                here.cluster.knobs.on_request = None
                mark = {"id": record.id, "set": SET_ID, "scratch": False}
                here.cluster.create(TARGET, metadata={MARK: mark})

        here.cluster.knobs.on_request = finish
        done = await here.restore(kept)

        assert done.record.id == record.id
        assert here.cluster.points(TARGET) == points(60)


async def test_a_collection_that_somebody_else_made_in_that_moment_is_left_alone() -> None:
    """It has no mark of ours."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")

        def interfere(_: int, method: str, path: str) -> None:
            if method == "PUT" and path.endswith(TARGET):
                here.cluster.knobs.on_request = None
                here.cluster.create(TARGET, points(5))

        here.cluster.knobs.on_request = interfere
        with pytest.raises(JobError, match="already exists"):
            await here.restore(kept)

        assert here.cluster.points(TARGET) == points(5)


async def test_shards_that_are_there_are_not_sent_again() -> None:
    """The record says what was taken, and the points that it is there still."""
    async with ground() as here:
        here.cluster.create("docs", points(600), shard_number=6, replication_factor=2)
        kept = await here.stored("docs")
        here.cluster.knobs.fail("POST", "/shards/4/snapshots/upload")
        with pytest.raises(JobError):
            await here.restore(kept)
        before = len(here.cluster.requests)

        await here.restore(kept)

        uploads = [line for line in here.cluster.lines()[before:] if "/snapshots/upload" in line]
        assert [line.split("/")[4] for line in uploads] == ["4", "5"]
        assert here.cluster.points(TARGET) == points(600)


async def test_a_shard_that_was_lost_since_is_sent_again() -> None:
    """The record says that it was taken, and its replicas are empty."""
    async with ground() as here:
        here.cluster.create("docs", points(600), shard_number=6, replication_factor=2)
        kept = await here.stored("docs")
        here.cluster.knobs.fail("POST", "/shards/4/snapshots/upload")
        with pytest.raises(JobError):
            await here.restore(kept)
        for peer in here.cluster.world.named(TARGET).shards[1].replicas.values():
            peer.points = {}

        await here.restore(kept)

        assert here.cluster.points(TARGET) == points(600)


async def test_a_peer_that_dies_midway_ends_the_restore_and_its_return_lets_it_go_on() -> None:
    """Its replicas could not be compared; when it is back they are filled, and the rest is sent."""
    async with ground() as here:
        here.cluster.create("docs", points(600), shard_number=6, replication_factor=2)
        kept = await here.stored("docs")

        here.limits = RestoreLimits(moving=20.0)

        async def die(peer: int, method: str, path: str) -> None:
            if "/shards/2/snapshots/upload" in path:
                here.cluster.knobs.on_request = None
                await here.cluster.kill(2 if peer != 2 else 1)

        here.cluster.knobs.on_request = die
        with pytest.raises(JobError, match=r"does not answer|cannot connect"):
            await here.restore(kept)
        with pytest.raises(JobRefused, match="does not answer"):
            await here.restore(kept)
        for peer in (1, 2):
            if here.cluster.ids[peer] not in here.cluster.world.alive:
                await here.cluster.revive(peer)
        done = await here.restore(kept)

        assert here.cluster.points(TARGET) == points(600)
        assert len(done.replicas) == 12


async def test_an_archive_that_ends_too_early_in_the_store_ends_the_restore() -> None:
    """The store says so in the middle of an upload, and what was begun stays to be gone on with."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=2)
        kept = await here.stored("docs")
        # the second reading: the first is for the hash
        here.store.fail("read", "a.snapshot", lambda: StoreShort("a.snapshot ends too early"), times=1)

        with pytest.raises(StoreShort, match="ends too early"):
            await here.restore(kept, check_hashes=False)
        await here.restore(kept)

        assert here.cluster.points(TARGET) == points(60)


async def test_a_store_that_fails_keeps_its_kind_of_error() -> None:
    """Who calls tells a full store from a refusal by it."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=2)
        kept = await here.stored("docs")
        here.store.fail("put", "restores/", lambda: StoreError("the store is away"))

        with pytest.raises(StoreError, match="the store is away"):
            await here.restore(kept)

        assert TARGET not in here.cluster.world.collections


async def test_a_target_of_another_set_is_not_gone_on_with() -> None:
    """Its mark names the other set."""
    async with ground() as here:
        here.cluster.create(
            "docs", points(60), metadata={MARK: {"id": "x", "set": "another", "scratch": False}}
        )
        kept = await here.stored("docs")

        with pytest.raises(JobRefused, match="was made by a restore of backup another"):
            await here.restore(kept, target="docs", into=True)


async def test_a_target_whose_record_another_store_has_is_not_gone_on_with() -> None:
    """The mark alone does not say what is there already."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=2)
        kept = await here.stored("docs")
        here.cluster.knobs.fail("POST", "/shards/1/snapshots/upload")
        with pytest.raises(JobError):
            await here.restore(kept)
        [record] = await here.shelf.restores()
        await here.shelf.remove_restore(record.id)

        with pytest.raises(JobRefused, match="of which this store has no record"):
            await here.restore(kept)


async def test_without_metadata_a_collection_of_a_name_that_people_use_is_never_gone_on_with() -> None:
    """They may have given the restore up, deleted it, and filled one of that name anew."""
    async with ground(version="1.15.4") as here:
        here.cluster.create("docs", points(60), shard_number=2)
        kept = await here.stored("docs")
        here.cluster.world.collections.clear()
        here.cluster.knobs.fail("POST", "/shards/1/snapshots/upload")
        with pytest.raises(JobError, match="stopped"):
            await here.restore(kept, target="docs", into=True)
        here.cluster.world.collections.clear()
        here.cluster.create("docs", points(7), shard_number=2)

        with pytest.raises(JobRefused, match="nothing that exists is written to"):
            await here.restore(kept, target="docs", into=True)

        assert here.cluster.points("docs") == points(7)


async def test_without_metadata_a_collection_of_the_same_name_elsewhere_is_not_taken_for_ours() -> None:
    """The record names the servers that have the target; these are others."""
    async with ground(version="1.12.6") as here:
        here.cluster.create("docs", points(60), shard_number=2)
        kept = await here.stored("docs")
        here.cluster.create("target", points(5), shard_number=2)
        record = await failed(here, kept)
        await here.shelf.save_restore(replace(record, target="target", peers=(1, 2, 3)))

        with pytest.raises(JobRefused, match="the collection target exists, with 5 points"):
            await here.restore(kept, target="target")

        assert here.cluster.points("target") == points(5)


async def test_a_second_restore_of_the_same_set_wants_another_name() -> None:
    """What was proven once is a collection like any other."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        await here.restore(kept)

        with pytest.raises(JobRefused, match="was restored from this backup already"):
            await here.restore(kept)
        await here.restore(kept, target="again")

        assert here.cluster.points("again") == points(60)


async def test_a_mark_that_was_left_on_a_proven_target_goes_with_the_next_call() -> None:
    """It was killed before its last request."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        here.cluster.knobs.fail("PATCH", TARGET, status=400)
        await here.restore(kept)
        assert MARK in here.cluster.world.named(TARGET).config["metadata"]

        with pytest.raises(JobRefused, match="was restored from this backup already"):
            await here.restore(kept)

        assert MARK not in here.cluster.world.named(TARGET).config["metadata"]


async def failed(here: Ground, kept: Any) -> Any:
    """Leave a restore in the middle, and return its record."""
    here.cluster.knobs.fail("POST", "/shards/1/snapshots/upload")
    with pytest.raises(JobError):
        await here.restore(kept)
    [record] = await here.shelf.restores()
    return record


@pytest.mark.parametrize("times", [1, 9])
async def test_shard_keys_left_half_made_are_made_anew_once(times: int) -> None:
    """A peer that makes a key's shards is killed after the first: no server goes on with it, ever."""
    async with ground() as here:
        here.cluster.create("docs", **CUSTOM)
        here.cluster.create_keys("docs", {"gone": {}, "b": points(40)}, shards_number=2)
        here.cluster.world.delete_key("docs", "gone")
        kept = await here.stored("docs")
        left = times

        def lose_one(*_: object) -> None:
            nonlocal left
            found = here.cluster.world.collections.get(TARGET)
            if left and found is not None and 2 in found.shards and 4 not in found.shards:
                del found.shards[2]
                left -= 1

        here.cluster.knobs.on_request = lose_one

        with pytest.raises(JobError, match="does not finish the shard keys") if times > 1 else nullcontext():
            await here.restore(kept)

        assert left in (0, 7)
        if times == 1:
            assert here.cluster.world.named(TARGET).keys == {"b": [3, 4]}
            assert here.cluster.points(TARGET) == points(40)
