"""Shards opened by Qdrant's engine, out of archives of real servers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.backup.archive.engine import (
    FOLDER_PREFIX,
    Engine,
    EngineCannot,
    OpenedShard,
    engine_available,
    engine_reads,
)
from exporter.backup.archive.shard_tar import shard_tar, shard_tar_size
from exporter.backup.archive.walk import BadArchive, shards_of
from exporter.clock import SystemClock
from tests.unit.backup.archive.tars import in_chunks, real_archive, walked

pytest.importorskip("qdrant_edge")
VERSION = "1.18.3"


async def opened(
    folder: Path, archive: bytes, shard: int, *, version: str = VERSION, deep: bool = True
) -> OpenedShard:
    """Open a shard of an archive."""
    (held,) = (one for one in shards_of(walked(archive).members) if one.shard == shard)
    stretch = archive[held.offset : held.offset + held.length]
    tar = shard_tar(in_chunks(stretch, 10_000), shard)
    engine = Engine(clock=SystemClock(), folder=folder)
    return await engine.open(tar, size_bytes=shard_tar_size(held.length), version=version, deep=deep)


def children() -> set[int]:
    """Return the processes that this one started and that are not gone."""
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii")
    return {int(one) for one in listed.split()}


async def child() -> int:
    """Wait for a process to be started."""
    before = children()
    async with asyncio.timeout(10):
        while not children() - before:
            await asyncio.sleep(0)
    (started,) = children() - before
    return started


async def test_a_shard_of_a_cluster_is_opened(tmp_path: Path) -> None:
    """Its points are counted and read, and searches for some of them find them."""
    shard = await opened(tmp_path, real_archive("one_shard_of_three"), 4)

    assert shard.points == 145
    assert shard.content is not None
    assert shard.searched.queries == 20
    assert shard.searched.problem is None


async def test_two_replicas_of_a_shard_have_the_same_content(tmp_path: Path) -> None:
    """Though they lie in other segments, in archives of other peers."""
    one = await opened(tmp_path, real_archive("three_shards_of_three"), 2)
    other = await opened(tmp_path, real_archive("two_shards_of_three"), 2)

    assert one.content == other.content
    assert one.points == other.points == 300


async def test_a_shard_may_only_be_counted(tmp_path: Path) -> None:
    """Reading all of it takes long where there is much."""
    shard = await opened(tmp_path, real_archive("one_shard_of_three"), 4, deep=False)

    assert shard == OpenedShard(145)


async def test_an_empty_shard_is_opened(tmp_path: Path) -> None:
    """Nothing was ever written to it: no points is what must be found."""
    shard = await opened(tmp_path, real_archive("two_empty_shards"), 1)

    assert shard.points == 0
    assert shard.searched.queries == 0


async def test_what_the_engine_should_open_and_does_not_is_a_bad_archive(tmp_path: Path) -> None:
    """The frame of the archive is whole, a segment in it is not."""
    archive = bytearray(real_archive("one_shard_of_three"))
    member = next(one for one in walked(bytes(archive)).members if one.name.startswith("4/segments/"))
    archive[member.data_offset : member.data_offset + 512] = b"\xff" * 512

    with pytest.raises(BadArchive, match="the engine does not open it"):
        await opened(tmp_path, bytes(archive), 4)

    assert list(tmp_path.iterdir()) == []


async def test_what_a_newer_server_wrote_may_only_be_new(tmp_path: Path) -> None:
    """The engine is older than the archive: that it cannot open it is no word against it."""
    archive = bytearray(real_archive("one_shard_of_three"))
    member = next(one for one in walked(bytes(archive)).members if one.name.startswith("4/segments/"))
    archive[member.data_offset : member.data_offset + 512] = b"\xff" * 512

    with pytest.raises(EngineCannot, match="the engine does not open it"):
        await opened(tmp_path, bytes(archive), 4, version="1.99.0")


@pytest.mark.parametrize("version", ["1.12.6", "1.15.9", "unknown"])
async def test_an_archive_that_is_too_old_is_not_tried(tmp_path: Path, version: str) -> None:
    """It was seen to fail."""
    assert not engine_reads(version)
    with pytest.raises(EngineCannot, match="opens archives from"):
        await opened(tmp_path, real_archive("one_shard_of_three"), 4, version=version)


async def test_without_the_engine_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)

    assert not engine_available()
    with pytest.raises(EngineCannot, match="qdrant-exporter\\[edge\\]"):
        await opened(tmp_path, real_archive("one_shard_of_three"), 4)


async def test_without_room_to_unpack_nothing_is_begun(tmp_path: Path) -> None:
    """The disk may be the one that Qdrant's data lies on."""
    engine = Engine(clock=SystemClock(), folder=tmp_path)

    with pytest.raises(EngineCannot, match="bytes free"):
        await engine.open(in_chunks(b"", 1), size_bytes=1 << 60, version=VERSION)

    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Somebody wrote it into a configuration."""
    engine = Engine(clock=SystemClock(), folder=tmp_path / "none")

    with pytest.raises(EngineCannot, match="none cannot be used"):
        await engine.open(in_chunks(b"", 1), size_bytes=1, version=VERSION)


async def test_an_engine_that_is_killed_says_nothing_of_the_archive(tmp_path: Path) -> None:
    """The kernel ends it first where memory is short."""
    opening = asyncio.create_task(opened(tmp_path, real_archive("one_shard_of_three"), 4))

    os.kill(await child(), signal.SIGKILL)

    with pytest.raises(EngineCannot, match="killed; for want of memory, perhaps"):
        await opening
    assert list(tmp_path.iterdir()) == []


async def test_an_opening_that_is_given_up_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    """A run is cancelled where the daemon stops."""
    opening = asyncio.create_task(opened(tmp_path, real_archive("one_shard_of_three"), 4))
    started = await child()

    opening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await opening
    assert started not in children()
    assert list(tmp_path.iterdir()) == []


async def test_a_tar_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    """What reading the store raises goes to who asked."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise BadArchive("cut off")

    with pytest.raises(BadArchive, match="cut off"):
        await Engine(clock=SystemClock(), folder=tmp_path).open(broken(), size_bytes=9, version=VERSION)

    assert list(tmp_path.iterdir()) == []


async def test_what_a_killed_program_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    """Its owner's lock went with it; a young folder may not have its lock yet."""
    old = time.time() - 3_600
    for name in ("left", "held", "young"):
        (tmp_path / f"{FOLDER_PREFIX}{name}").mkdir()
    for name in ("left", "held"):
        os.utime(tmp_path / f"{FOLDER_PREFIX}{name}", (old, old))
    with (tmp_path / f"{FOLDER_PREFIX}held" / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(tmp_path / f"{FOLDER_PREFIX}held", (old, old))

        await opened(tmp_path, real_archive("one_shard_of_three"), 4, deep=False)

    assert {one.name for one in tmp_path.iterdir()} == {f"{FOLDER_PREFIX}held", f"{FOLDER_PREFIX}young"}
