"""What is particular to a store in a directory: rights, links, a full disk, a kill."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.backup.storage import files
from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.local import LocalStore
from exporter.clock import SystemClock
from exporter.errors import StoreDenied, StoreError, StoreFull, StoreMissing, StoreShort
from tests.kit.small_disk import small_disk

REPOSITORY = Path(__file__).resolve().parents[4]
MEBIBYTE = 1 << 20
A_DAY = 86_400.0


def store_at(root: Path, *, exclusive: bool = True) -> LocalStore:
    """Make a store in a directory."""
    clock = SystemClock()
    return LocalStore(root, bandwidth=Bandwidth(None, clock=clock), clock=clock, exclusive=exclusive)


def files_below(root: Path) -> list[str]:
    """Return every file that lies there, visible in the store or not."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def listed(store: LocalStore) -> list[str]:
    """Return what the store shows."""
    return sorted([stored.path async for stored in store.list()])


async def test_directories_and_files_are_for_us_alone(local: LocalStore) -> None:
    """Whatever the umask lets others do: payloads are in there."""
    before = os.umask(0)
    try:
        await local.put("a/b/small", b"1")
        async with local.write("a/c/large") as writing:
            await writing.write(b"2")
            await writing.publish()
    finally:
        os.umask(before)

    root = Path(local.name)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (root, *root.rglob("*"))}
    assert modes == {"store": 0o700, "a": 0o700, "b": 0o700, "c": 0o700, "small": 0o600, "large": 0o600}


async def test_a_link_out_of_the_store_is_not_followed(tmp_path: Path, local: LocalStore) -> None:
    """Neither a directory's nor a file's: nothing outside is read, written, listed or removed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    await local.put("there", b"1")
    (Path(local.name) / "dir").symlink_to(outside)
    (Path(local.name) / "file").symlink_to(outside / "secret")

    for attempt in (
        local.get("dir/secret"),
        local.get("file"),
        local.put("dir/new", b""),
        local.size("file"),
    ):
        with pytest.raises(StoreError, match="symbolic link"):
            await attempt
    with pytest.raises(StoreError, match="symbolic link"):
        await local.delete("dir/secret")
    assert await listed(local) == ["there"]
    assert files_below(outside) == ["secret"]


async def test_putting_takes_the_place_of_a_link_and_not_of_what_it_names(
    tmp_path: Path, local: LocalStore
) -> None:
    """The file that the link names stays as it was."""
    (tmp_path / "outside").write_bytes(b"theirs")
    await local.put("there", b"1")
    (Path(local.name) / "file").symlink_to(tmp_path / "outside")

    await local.put("file", b"ours")

    assert (tmp_path / "outside").read_bytes() == b"theirs"
    assert await local.get("file") == b"ours"


async def test_the_store_itself_may_be_a_link(tmp_path: Path) -> None:
    """A person wrote that path, and may well mean another disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "backups").symlink_to(tmp_path / "disk")
    store = store_at(tmp_path / "backups")

    await store.put("a", b"1")

    assert files_below(tmp_path / "disk") == ["a"]
    await store.close()


async def test_a_mount_that_is_away_is_not_filled_below(tmp_path: Path) -> None:
    """The directory is made, but nothing above it; reading a store that is not there says so."""
    store = store_at(tmp_path / "mount" / "backups")

    with pytest.raises(StoreMissing, match="make it, or mount what it is on"):
        await store.put("a", b"1")
    with pytest.raises(StoreMissing, match="make it, or mount what it is on"):
        await listed(store)
    with pytest.raises(StoreMissing, match="make it, or mount what it is on"):
        await store.free_bytes()
    await store.delete("a")
    assert not (tmp_path / "mount").exists()
    await store.close()


async def test_left_overs_are_invisible_and_swept_after_a_day(local: LocalStore) -> None:
    """What is being written now stays; the first writing of a store sweeps."""
    await local.put("a/b/there", b"1")
    folder = Path(local.name) / "a" / "b"
    for name, age_seconds in ((".part-old", A_DAY + 60), (".part-new", 60.0)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, times=(time.time() - age_seconds,) * 2)

    assert await listed(local) == ["a/b/there"]
    assert await local.sweep() == 1
    assert files_below(folder) == [".part-new", "there"]

    os.utime(folder / ".part-new", times=(time.time() - A_DAY - 60,) * 2)
    async with local.write("a/large"):
        pass

    assert files_below(folder) == ["there"]


async def test_a_kill_in_the_middle_of_a_writing_leaves_nothing_visible(local: LocalStore) -> None:
    """kill -9 leaves a file that is swept later, and no object."""
    await local.put("there", b"1")
    command = [sys.executable, "-m", "tests.unit.backup.storage.killed_writer", local.name, "set/archive.tar"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = await asyncio.to_thread(writer.stdout.readline)
        writer.kill()

    assert said == "written\n"
    assert await listed(local) == ["there"]
    left = [name for name in files_below(Path(local.name)) if name != "there"]
    assert len(left) == 1
    assert left[0].startswith("set/.part-")


async def test_a_cancelled_writing_leaves_nothing(local: LocalStore) -> None:
    """Wherever it was: while it wrote, or while it published."""
    began = asyncio.Event()

    async def write() -> None:
        async with local.write("set/archive.tar") as writing:
            for _ in range(10_000):
                await writing.write(b"x" * MEBIBYTE)
                began.set()

    task = asyncio.create_task(write())
    await began.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert await listed(local) == []
    assert files_below(Path(local.name)) == []


async def test_a_full_disk_is_said_and_nothing_is_left_on_it(tmp_path: Path) -> None:
    """Large and small alike; what was there stays, and with room it goes on."""
    with small_disk(tmp_path / "disk") as disk:
        store = store_at(disk.path / "store")
        await store.put("there", b"old")

        with pytest.raises(StoreFull, match="no room is left"):
            await _keep(store, "set/archive.tar", 100)
        assert files_below(disk.path / "store") == ["there"]
        free_bytes = await store.free_bytes()
        assert free_bytes is not None
        assert free_bytes > 60 * MEBIBYTE

        disk.fill()
        with pytest.raises(StoreFull):
            await store.put("there", b"new" * 10_000)
        with pytest.raises(StoreFull):
            await store.put_if_absent("other", b"new" * 10_000)
        assert await store.get("there") == b"old"
        assert await store.free_bytes() == 0

        disk.empty()
        await _keep(store, "set/archive.tar", 10)
        assert await listed(store) == ["set/archive.tar", "there"]
        await store.close()


async def test_after_a_failure_nothing_is_published(tmp_path: Path) -> None:
    """One who goes on after the disk was full does not get an object with a hole."""
    with small_disk(tmp_path / "disk") as disk:
        store = store_at(disk.path / "store")

        async with store.write("archive") as writing:
            for _ in range(100):
                with suppress(StoreFull):
                    await writing.write(b"x" * MEBIBYTE)
            with pytest.raises(StoreFull):
                await writing.publish()

        assert files_below(disk.path / "store") == []
        await store.close()


async def test_a_file_system_without_hard_links_is_for_a_single_writer(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers could not be kept apart there; one can do without."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    alone = store_at(Path(local.name), exclusive=False)

    with pytest.raises(StoreError, match="single_writer: true"):
        await local.put_if_absent("a", b"1")
    assert await alone.put_if_absent("a", b"1")
    assert not await alone.put_if_absent("a", b"2")
    await _keep(alone, "b", 1)

    assert files_below(Path(local.name)) == ["a", "b"]
    assert await local.get("a") == b"1"
    await alone.close()


async def test_removing_the_last_file_removes_its_directories(local: LocalStore) -> None:
    """And not the store's own; a directory with something in it stays."""
    for path in ("a/b/c/1", "a/2"):
        await local.put(path, b"")

    await local.delete("a/b/c/1")

    assert [path.name for path in Path(local.name).rglob("*")] == ["a", "2"]
    await local.delete("a/2")
    assert list(Path(local.name).iterdir()) == []


async def test_who_removes_a_directory_does_not_stop_who_writes_into_it(local: LocalStore) -> None:
    """Two runs that come and go in one directory, two hundred times."""
    other = store_at(Path(local.name))

    async def come_and_go(store: LocalStore, name: str) -> None:
        for _ in range(200):
            assert await store.put_if_absent(f"locks/x/{name}", b"1")
            await store.delete(f"locks/x/{name}")

    await asyncio.gather(come_and_go(local, "1"), come_and_go(other, "2"))

    assert await listed(local) == []
    await other.close()


async def test_a_file_that_is_cut_while_it_is_read_is_short(local: LocalStore) -> None:
    """Half of it is no answer."""
    await _keep(local, "archive", 20)

    async with local.read("archive") as chunks:
        await anext(chunks)
        os.truncate(Path(local.name) / "archive", 9 * MEBIBYTE)

        with pytest.raises(StoreShort):
            [chunk async for chunk in chunks]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreDenied),
        (errno.EROFS, StoreDenied),
        (errno.ENOENT, StoreMissing),
        (errno.EIO, StoreError),
    ],
)
def test_what_a_disk_says_is_said_as_the_contract_does(number: int, kind: type[StoreError]) -> None:
    """With the place, for people."""
    said = files.said(OSError(number, os.strerror(number)), Path("/backups"), "a/b")

    assert type(said) is kind
    assert str(said).startswith("/backups/a/b: ")


async def _keep(store: LocalStore, path: str, mebibytes: int) -> None:
    async with store.write(path) as writing:
        for _ in range(mebibytes):
            await writing.write(b"x" * MEBIBYTE)
        await writing.publish()
