"""What a store can do, whichever it is: the same tests judge all of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio
from obstore.store import MemoryStore

from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.contract import Store
from exporter.backup.storage.objects import ObjectStore, Roads
from exporter.clock import SystemClock
from exporter.errors import StoreMissing, StoreShort, StoreTaken
from tests.kit.scripted_store import ScriptedStore

MEBIBYTE = 1 << 20
# More than one part of an upload, and no multiple of anything.
LARGE_BYTES = 65 * MEBIBYTE + 12_345


LOCKING = ["local", "s3", "memory"]
REAL = [*LOCKING, "s3 for one"]


@pytest_asyncio.fixture(params=[*REAL, "scripted"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A new store of each kind."""
    made: Store
    match request.param:
        case "local":
            made = request.getfixturevalue("local")
        case "s3":
            made = request.getfixturevalue("s3").store()
        case "s3 for one":
            made = request.getfixturevalue("s3").store(prefix="", exclusive=False)
        case "memory":
            bucket = MemoryStore()
            made = ObjectStore(
                "memory", Roads(bucket, bucket, bucket), bandwidth=Bandwidth(None, clock=SystemClock())
            )
        case _:
            made = ScriptedStore(SystemClock())
    yield made
    await made.close()


async def paths(store: Store, prefix: str = "") -> list[str]:
    """Return what is listed, in order."""
    return sorted([stored.path async for stored in store.list(prefix)])


async def keep(store: Store, path: str, *chunks: bytes) -> None:
    """Write a large object."""
    async with store.write(path) as writing:
        for chunk in chunks:
            await writing.write(chunk)
        await writing.publish()


async def stretch(store: Store, path: str, offset: int = 0, length: int | None = None) -> bytes:
    """Read a large object or a part of it."""
    async with store.read(path, offset=offset, length=length) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_what_is_put_is_got(store: Store) -> None:
    """A small object comes back as it was, the newest in place of the older one."""
    await store.put("a/b.json", b"old")
    await store.put("a/b.json", b"new \x00\xff")

    assert await store.get("a/b.json") == b"new \x00\xff"
    assert await store.size("a/b.json") == 6


async def test_put_if_absent_keeps_the_first(store: Store) -> None:
    """The second is refused and changes nothing; after a removal the path is free."""
    first = await store.put_if_absent("locks/x/1.json", b"first")
    second = await store.put_if_absent("locks/x/1.json", b"second")

    assert (first, second) == (True, False)
    assert await store.get("locks/x/1.json") == b"first"

    await store.delete("locks/x/1.json")

    assert await store.put_if_absent("locks/x/1.json", b"third")


@pytest.mark.parametrize("store", LOCKING, indirect=True)
async def test_of_many_who_put_if_absent_at_once_one_succeeds(store: Store) -> None:
    """Twelve writers, one winner, and it is that one's object."""
    taken = await asyncio.gather(*(store.put_if_absent("locks/y", str(n).encode()) for n in range(12)))

    assert sum(taken) == 1
    assert await store.get("locks/y") == str(taken.index(True)).encode()


@pytest.mark.parametrize("path", ["nothing", "no/such/object"])
async def test_what_is_not_there_is_missing(store: Store, path: str) -> None:
    """Getting, reading and sizing say so; removing it is no error, and listing shows nothing."""
    await store.put("something", b"")

    with pytest.raises(StoreMissing):
        await store.get(path)
    with pytest.raises(StoreMissing):
        await store.size(path)
    with pytest.raises(StoreMissing):
        await stretch(store, path)
    await store.delete(path)
    assert await paths(store, path) == []


async def test_a_large_object_is_there_once_it_is_published(store: Store) -> None:
    """Written in odd chunks, it is seen by nobody before, and comes back whole and in stretches."""
    content = os.urandom(MEBIBYTE)
    await store.put("other", b"")

    async with store.write("set/archive.tar") as writing:
        await writing.write(content[:100_001])
        await writing.write(content[100_001:])
        assert await paths(store) == ["other"]
        await writing.publish()

    assert await paths(store, "set") == ["set/archive.tar"]
    assert await store.size("set/archive.tar") == MEBIBYTE
    assert await stretch(store, "set/archive.tar") == content
    assert await stretch(store, "set/archive.tar", 512, 1_000) == content[512:1_512]
    assert await stretch(store, "set/archive.tar", MEBIBYTE - 5) == content[-5:]
    assert await stretch(store, "set/archive.tar", MEBIBYTE) == b""


@pytest.mark.parametrize("store", LOCKING, indirect=True)
async def test_an_object_of_several_parts_comes_back_as_it_was(store: Store) -> None:
    """Larger than what goes in one part, and read in several chunks."""
    chunk = os.urandom(MEBIBYTE + 7)
    whole = (chunk * 66)[:LARGE_BYTES]

    await keep(store, "big", *(whole[at : at + len(chunk)] for at in range(0, LARGE_BYTES, len(chunk))))

    assert await store.size("big") == LARGE_BYTES
    assert await stretch(store, "big") == whole
    assert await stretch(store, "big", 63 * MEBIBYTE, MEBIBYTE) == whole[63 * MEBIBYTE : 64 * MEBIBYTE]


async def test_an_empty_object_can_be_written(store: Store) -> None:
    """No chunk at all is an object of no bytes."""
    await keep(store, "empty")

    assert await store.size("empty") == 0
    assert await stretch(store, "empty") == b""


@pytest.mark.parametrize("size_bytes", [10, 9 * MEBIBYTE])
async def test_of_a_writing_that_was_left_nothing_stays(store: Store, size_bytes: int) -> None:
    """Without a publishing, and with an error in the middle."""
    async with store.write("left/1") as writing:
        await writing.write(b"x" * size_bytes)
    with suppress(RuntimeError):
        async with store.write("left/2") as writing:
            await writing.write(b"x" * size_bytes)
            raise RuntimeError
    await store.put("other", b"")

    assert await paths(store) == ["other"]


@pytest.mark.parametrize("size_bytes", [10, 9 * MEBIBYTE])
async def test_a_large_object_never_takes_the_place_of_another(store: Store, size_bytes: int) -> None:
    """Publishing where there is one fails, and the first stays."""
    await store.put("set/archive.tar", b"first")

    with pytest.raises(StoreTaken):
        await keep(store, "set/archive.tar", b"x" * size_bytes)

    assert await store.get("set/archive.tar") == b"first"
    assert await paths(store) == ["set/archive.tar"]


@pytest.mark.parametrize("store", REAL, indirect=True)
async def test_an_object_that_ends_too_early_is_short(store: Store) -> None:
    """A stretch beyond the end is refused, and not cut."""
    await store.put("ten", b"0123456789")

    for offset, length in ((5, 6), (0, 11), (11, None), (11, 0)):
        with pytest.raises(StoreShort):
            await stretch(store, "ten", offset, length)


async def test_a_listing_is_by_directory_and_goes_deep(store: Store) -> None:
    """The prefix is a directory and not the beginning of a name; sizes and times come along."""
    for path in ("a/1", "a/b/2", "a/b/c/3", "ab/4", "5"):
        await store.put(path, path.encode())

    assert await paths(store) == ["5", "a/1", "a/b/2", "a/b/c/3", "ab/4"]
    assert await paths(store, "a") == ["a/1", "a/b/2", "a/b/c/3"]
    assert await paths(store, "a/b") == ["a/b/2", "a/b/c/3"]
    found = [stored async for stored in store.list("ab")]
    assert [stored.size_bytes for stored in found] == [4]
    assert abs(found[0].modified_at - SystemClock().now()) < 60


@pytest.mark.parametrize("path", ["a%41/%2e%2e", "a~b/c+d=(1)!", "...", "%", "-", "a b'*", "n" * 255])
async def test_names_with_any_harmless_character_keep_it(store: Store, path: str) -> None:
    """What a collection is called as a part of a path is listed as it was written."""
    await store.put(path, b"1")

    assert await paths(store) == [path]
    assert await store.get(path) == b"1"


@pytest.mark.parametrize("store", REAL, indirect=True)
@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "a//b", "a/", "..", "../x", "a/../../x", "a/./b", "a\0b", "a\nb", "n" * 256],
)
async def test_a_path_that_could_lead_elsewhere_is_our_mistake(store: Store, path: str) -> None:
    """Every method refuses it before anything is done."""
    for attempt in (
        store.get(path),
        store.put(path, b""),
        store.put_if_absent(path, b""),
        store.delete(path),
    ):
        with pytest.raises(ValueError, match="path"):
            await attempt
    with pytest.raises(ValueError, match="path"):
        await keep(store, path)
    with pytest.raises(ValueError, match="path"):
        await stretch(store, path)
    with pytest.raises(ValueError, match="path"):
        await store.size(path)


async def test_a_reading_can_be_left_in_the_middle(store: Store) -> None:
    """What was on its way is let go of, and the object can be read again."""
    await keep(store, "big", b"x" * (9 * MEBIBYTE))

    async with store.read("big") as chunks:
        async for chunk in chunks:
            assert chunk.startswith(b"x")
            break

    assert len(await stretch(store, "big")) == 9 * MEBIBYTE


async def test_several_objects_can_be_written_at_once(store: Store) -> None:
    """Chunks of one do not get into another."""

    async def written(name: str) -> None:
        async with store.write(name) as writing:
            for _ in range(30):
                await writing.write(name.encode() * 50_000)
                await asyncio.sleep(0)
            await writing.publish()

    await asyncio.gather(*(written(name) for name in "abcd"))

    for name in "abcd":
        assert await stretch(store, name) == name.encode() * 1_500_000
