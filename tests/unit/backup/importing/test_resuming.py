"""Imports that were ended in the middle, and what the next call makes of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from exporter.backup.content import total
from exporter.backup.importing.words import ImportOptions
from exporter.backup.restoring.plan import default_target
from exporter.backup.restoring.schema import MARK
from exporter.backup.words import RestoreState, StoredSet
from exporter.errors import JobError, JobRefused, StoreFull
from tests.kit.snapshot_cluster import points
from tests.unit.backup.importing.kit import SET_ID, Ground, ground, killed

TARGET = default_target("docs", SET_ID)
KEYS: dict[str | int, Any] = {"b": points(50), 7: points(60, start=20)}


async def made(here: Ground) -> StoredSet:
    """Have an export of a collection with custom keys, an index, strict mode and a threshold."""
    here.cluster.create(
        "docs",
        sharding_method="custom",
        replication_factor=2,
        strict_mode_config={"enabled": True, "max_query_limit": 5},
        optimizers_config={"indexing_threshold": 777},
    )
    here.cluster.create_keys("docs", KEYS)
    here.cluster.world.named("docs").add_index("n", "integer")
    return await here.exported("docs")


async def is_as_exported(here: Ground) -> None:
    """See that all of it is there, and nothing left open."""
    [record] = await here.shelf.restores()
    assert record.state is RestoreState.DONE
    found = here.cluster.world.named(TARGET)
    for key, of_key in KEYS.items():
        assert here.cluster.world.read(TARGET, here.cluster.ids[0], key) == of_key
    assert set(found.payload_schema) == {"n"}
    assert found.config["strict_mode_config"] == {"enabled": True, "max_query_limit": 5}
    assert found.config["optimizer_config"]["indexing_threshold"] == 777
    assert await here.shelf.thresholds() == []
    assert here.cluster.world.aliases == {"live": TARGET}


@pytest.mark.parametrize("version", ["1.18.3", "1.12.6"])
async def test_an_import_killed_at_any_request_is_finished_by_the_next_call(version: str) -> None:
    """After each request that writes, with nobody to hear its answer; the end is the same."""
    at, over, refused = 0, False, []
    while not over:
        at += 1
        async with ground(version=version) as here:
            kept = await made(here)

            over = not await killed(here, kept, at, switch_alias="live")
            if (await here.shelf.restores())[-1].state is not RestoreState.DONE:
                try:
                    done = await here.take(kept, switch_alias="live")
                except JobRefused as error:
                    refused.append((at, str(error)))
                    continue
                assert done.content == total([chunk.content for chunk in kept.manifest.chunks])

            await is_as_exported(here)
    assert at > 9
    # Without metadata only the record could say that the collection is ours, and it was not written yet.
    assert [number for number, _ in refused] == ([1] if version == "1.12.6" else [])


async def test_an_import_killed_at_any_write_to_the_store_is_finished_by_the_next_call() -> None:
    """Records and intents too are steps to be killed at."""
    at, over = 0, False
    while not over:
        at += 1
        async with ground() as here:
            kept = await made(here)

            over = not await _killed_at_store(here, kept, at)
            if (await here.shelf.restores())[-1:] == [] or (await here.shelf.restores())[
                -1
            ].state is not RestoreState.DONE:
                await here.take(kept, switch_alias="live")

            await is_as_exported(here)
    assert at > 6


async def _killed_at_store(here: Ground, kept: StoredSet, at: int) -> bool:
    """Kill an import as it writes to the store for the so manieth time, before that is written."""
    options = ImportOptions(switch_alias="live")
    running = asyncio.ensure_future(here.importer().import_set(kept, options))
    called, seen = here.store.called, 0

    async def counted(what: str, path: str) -> None:
        nonlocal seen
        seen += what in ("put", "delete")
        if seen == at and what in ("put", "delete"):
            running.cancel()
        await called(what, path)

    here.store.called = counted  # type: ignore[method-assign]
    try:
        await running
    except asyncio.CancelledError:
        return True
    else:
        return False
    finally:
        here.store.called = called  # type: ignore[method-assign]


async def test_chunks_that_are_there_are_not_sent_again() -> None:
    """The record says what was taken."""
    async with ground() as here:
        here.cluster.create("docs", points(120))
        kept = await here.exported("docs")
        here.cluster.knobs.fail("PUT", "/points", 403, after=2)
        with pytest.raises(JobError, match="403"):
            await here.take(kept)
        here.cluster.knobs.failures.clear()
        before = len(here.cluster.requests)

        await here.take(kept)

        sent = [seen.body["points"][0]["id"] for seen in here.cluster.requests[before:]
                if seen.method == "PUT" and "/points?" in seen.path]  # fmt: skip
        assert sent == [80]
        assert here.cluster.points(TARGET) == points(120)


async def test_a_store_that_is_full_midway_ends_it_with_how_to_go_on() -> None:
    """Not even the record of that can be written; once there is room, the same call goes on."""
    async with ground() as here:
        here.cluster.create("docs", points(90))
        kept = await here.exported("docs")

        def fill(_: int, method: str, path: str) -> None:
            if method == "PUT" and "/points" in path:
                here.store.room_bytes = 0

        here.cluster.knobs.on_request = fill
        with pytest.raises(StoreFull, match=f"into {TARGET} stopped: no room .* The same command goes on"):
            await here.take(kept)
        here.cluster.knobs.on_request, here.store.room_bytes = None, None

        await here.take(kept)

        assert here.cluster.points(TARGET) == points(90)
        assert await here.shelf.thresholds() == []


async def test_a_threshold_that_was_put_back_meanwhile_stays_so() -> None:
    """A reconciler came between two runs; what is left to be loaded is indexed as it comes."""
    async with ground() as here:
        here.cluster.create("docs", points(90), optimizers_config={"indexing_threshold": 777})
        kept = await here.exported("docs")
        here.cluster.knobs.fail("PUT", "/points", 403, after=1)
        with pytest.raises(JobError):
            await here.take(kept)
        here.cluster.knobs.failures.clear()
        [intent] = await here.shelf.thresholds()
        await here.shelf.close_thresholds(intent.id)
        here.cluster.world.named(TARGET).config["optimizer_config"]["indexing_threshold"] = 777

        done = await here.take(kept)

        assert done.thresholds == "unchanged"
        assert here.threshold(TARGET) == 777


async def test_an_import_that_was_proven_is_not_done_again() -> None:
    """Its record says so."""
    async with ground() as here:
        here.cluster.create("docs", points(5))
        kept = await here.exported("docs")
        await here.take(kept)

        with pytest.raises(JobRefused, match="was restored from this backup already"):
            await here.take(kept)


async def test_a_collection_that_somebody_else_made_in_that_moment_is_left_alone() -> None:
    """It has no mark of ours."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.exported("docs")

        def interfere(_: int, method: str, path: str) -> None:
            if method == "PUT" and path.endswith(TARGET):
                here.cluster.knobs.on_request = None
                here.cluster.create(TARGET, points(5))

        here.cluster.knobs.on_request = interfere
        with pytest.raises(JobError, match="already exists"):
            await here.take(kept)

        assert here.cluster.points(TARGET) == points(5)


async def test_a_collection_that_the_server_was_still_making_is_gone_on_with() -> None:
    """The run before was killed as it asked for it; now the server says that it exists already."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.exported("docs")
        here.cluster.knobs.fail("PUT", TARGET, times=9)
        with pytest.raises(JobError):
            await here.take(kept)
        here.cluster.knobs.failures.clear()
        [record] = await here.shelf.restores()

        def finish(_: int, method: str, path: str) -> None:
            if method == "PUT" and path.endswith(TARGET):
                here.cluster.knobs.on_request = None
                mark = {"id": record.id, "set": SET_ID, "scratch": False}
                here.cluster.create(
                    TARGET, metadata={MARK: mark}, optimizers_config={"indexing_threshold": 0}
                )

        here.cluster.knobs.on_request = finish
        done = await here.take(kept)

        assert done.record.id == record.id
        assert here.cluster.points(TARGET) == points(60)
        assert await here.shelf.thresholds() == []
