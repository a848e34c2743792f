"""A store in a directory.

What is written has a name of its own until it is whole and on the disk; then it gets its path by a hard
link, which fails where there is one already, whoever else writes. Directories and files are for us alone
(0700, 0600). No symbolic link below the store's own directory is followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.contract import Stored, Writing
from exporter.backup.storage.disk_thread import DiskThread
from exporter.backup.storage.file_writing import FileWriting
from exporter.backup.storage.files import (
    folder_of,
    forget,
    new_file,
    old_file,
    place,
    replace,
    said,
    unfinished_name,
    unlink,
    write_all,
)
from exporter.backup.storage.paths import UNFINISHED, checked_stretch, parts_of, parts_of_prefix
from exporter.clock import Clock
from exporter.errors import StoreError, StoreMissing, StoreShort

T = TypeVar("T")

MAX_SMALL_BYTES = 64 << 20  # of the contract
CHUNK_BYTES = 4 << 20
# For small objects: a few at once, as when all manifests are read.
WORKERS = 4
# Nobody writes a file and lets it rest for so long: a run that was killed left it.
LEFT_OVER_SECONDS = 86_400.0
# Another run may take an empty directory away between our making it and our first file in it.
TRIES = 3


class LocalStore:
    """The contract's Store in a directory, which is made at the first writing."""

    def __init__(self, root: Path, *, bandwidth: Bandwidth, clock: Clock, exclusive: bool = True) -> None:
        """`exclusive`: other writers may be there too, so that put-if-absent must be able to tell."""
        self.name = str(root)
        self._root = root
        self._bandwidth = bandwidth
        self._clock = clock
        self._exclusive = exclusive
        self._threads = DiskThread(WORKERS)
        self._swept_at: float | None = None  # monotonic seconds
        self._was_there = False  # a directory that vanishes while it is used is not made anew

    async def get(self, path: str) -> bytes:
        """Return a small object whole."""
        data = await self._done(path, partial(self._get, parts_of(path)))
        await self._bandwidth.take(len(data))
        return data

    async def put(self, path: str, data: bytes) -> None:
        """Store a small object in place of one that is there."""
        await self._bandwidth.take(len(data))
        await self._done(path, partial(self._put, parts_of(path), data, replacing=True))

    async def put_if_absent(self, path: str, data: bytes) -> bool:
        """Store a small object; False where there is one."""
        await self._bandwidth.take(len(data))
        return await self._done(path, partial(self._put, parts_of(path), data, replacing=False))

    @asynccontextmanager
    async def write(self, path: str) -> AsyncGenerator[Writing, None]:
        """Write a large object."""
        parts = parts_of(path)
        await self._sweep_now_and_then()
        thread = DiskThread()
        try:
            opened = thread.post(partial(self._begin, parts))
            try:
                await self._done(path, opened.result, thread)
                yield FileWriting(
                    root=self._root,
                    path=path,
                    thread=thread,
                    bandwidth=self._bandwidth,
                    exclusive=self._exclusive,
                    opened=opened.result(),
                )
            finally:
                await thread.do(partial(_end_writing, opened))
        finally:
            thread.close()

    @asynccontextmanager
    async def read(
        self, path: str, *, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Read a large object, or a stretch of it."""
        parts = parts_of(path)
        checked_stretch(offset, length)
        thread = DiskThread()
        opened = thread.post(partial(self._open, parts))
        try:
            file, size_bytes = await self._done(path, opened.result, thread)
            end = size_bytes if length is None else offset + length
            if max(offset, end) > size_bytes:
                raise StoreShort(f"{self.name}/{path}: has {size_bytes} bytes, and {end} were expected")
            async with aclosing(self._chunks(path, thread, file, range(offset, end, CHUNK_BYTES))) as chunks:
                yield chunks
        finally:
            thread.post(partial(_end_reading, opened))
            thread.close()

    async def size(self, path: str) -> int:
        """Bytes of an object."""
        return await self._done(path, partial(self._size, parts_of(path)))

    async def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        """Yield every object below a directory."""
        for stored in await self._done(prefix, partial(self._list, parts_of_prefix(prefix))):
            yield stored

    async def delete(self, path: str) -> None:
        """Remove an object, and the directories that are empty then."""
        await self._done(path, partial(self._delete, parts_of(path)))

    async def free_bytes(self) -> int | None:
        """Room that is left for us on the file system; a quota is not seen."""
        return await self._done("", self._free_bytes)

    async def sweep(self) -> int:
        """Remove what killed runs left half written more than a day ago; return how many files."""
        return await self._done("", partial(self._sweep, self._clock.now() - LEFT_OVER_SECONDS))

    async def close(self) -> None:
        """Let go of the threads."""
        self._threads.close()

    async def _done(self, path: str, work: Callable[[], T], thread: DiskThread | None = None) -> T:
        try:
            return await (thread or self._threads).do(work)
        except OSError as error:
            raise said(error, self._root, path) from error

    async def _sweep_now_and_then(self) -> None:
        """Before the first writing and once a day: whoever writes also cleans up."""
        now = self._clock.monotonic()
        if self._swept_at is None or now - self._swept_at >= LEFT_OVER_SECONDS:
            self._swept_at = now
            with suppress(StoreError):  # of a store that is not there yet; else the writing says it
                await self.sweep()

    async def _chunks(
        self, path: str, thread: DiskThread, file: int, starts: range
    ) -> AsyncGenerator[bytes, None]:
        """Yield chunk after chunk, the next one being read meanwhile."""
        end = starts.stop
        coming = thread.post(partial(_read, file, starts.start, end))
        for start in starts:
            chunk = await self._done(path, coming.result, thread)
            if len(chunk) < min(CHUNK_BYTES, end - start):
                raise StoreShort(f"{self.name}/{path}: ends at {start + len(chunk)} of {end} bytes")
            if start + len(chunk) < end:
                coming = thread.post(partial(_read, file, start + len(chunk), end))
            await self._bandwidth.take(len(chunk))
            yield chunk

    # --- in a thread ----------------------------------------------------------------------------------

    def _get(self, parts: tuple[str, ...]) -> bytes:
        file, size_bytes = self._open(parts)
        try:
            if size_bytes > MAX_SMALL_BYTES:
                raise StoreError(f"{self.name}/{'/'.join(parts)}: is larger than {MAX_SMALL_BYTES} bytes")
            return _read(file, 0, size_bytes, size_bytes)
        finally:
            os.close(file)

    def _put(self, parts: tuple[str, ...], data: bytes, *, replacing: bool) -> bool:
        folder, unfinished, file = self._begin(parts)
        try:
            write_all(file, [data])
            os.fsync(file)
            if not replacing:
                return place(folder, unfinished, parts[-1], exclusive=self._exclusive)
            replace(folder, unfinished, parts[-1])
            return True
        finally:
            unlink(folder, unfinished)
            os.close(file)
            os.close(folder)

    def _begin(self, parts: tuple[str, ...]) -> tuple[int, str, int]:
        """Open a directory, and a new file in it under a name of its own."""
        for attempt in range(1, TRIES + 1):
            try:
                with folder_of(self._root, parts[:-1], make=True, make_root=not self._was_there) as folder:
                    self._was_there = True
                    unfinished = unfinished_name()
                    file = new_file(folder, unfinished)
                    return os.dup(folder), unfinished, file
            except FileNotFoundError:
                if attempt == TRIES:
                    raise
        raise AssertionError

    def _open(self, parts: tuple[str, ...]) -> tuple[int, int]:
        """Open a file for reading, and return it with its size."""
        with folder_of(self._root, parts[:-1]) as folder:
            file = old_file(folder, parts[-1])
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            raise StoreError(f"{self.name}/{'/'.join(parts)}: is no file")
        return file, status.st_size

    def _size(self, parts: tuple[str, ...]) -> int:
        file, size_bytes = self._open(parts)
        os.close(file)
        return size_bytes

    def _list(self, parts: tuple[str, ...]) -> Sequence[Stored]:
        return [
            Stored("/".join((*parts, *below)), status.st_size, status.st_mtime)
            for below, status in self._files(parts)
            if not below[-1].startswith(UNFINISHED)
        ]

    def _files(self, parts: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], os.stat_result]]:
        """Yield every file below a directory by its path from there. What vanishes meanwhile is left out."""
        with suppress(FileNotFoundError), folder_of(self._root, parts) as top:
            for folder, _, names, number in os.fwalk(".", dir_fd=top, onerror=_unless_gone):
                for name in names:
                    with suppress(FileNotFoundError):
                        status = os.stat(name, dir_fd=number, follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            yield (*Path(folder).parts, name), status

    def _delete(self, parts: tuple[str, ...]) -> None:
        with suppress(FileNotFoundError, StoreMissing), folder_of(self._root, parts[:-1]) as folder:
            if unlink(folder, parts[-1]):
                os.fsync(folder)
        for depth in range(len(parts) - 1, 0, -1):
            try:
                with folder_of(self._root, parts[: depth - 1]) as folder:
                    os.rmdir(parts[depth - 1], dir_fd=folder)
            except (OSError, StoreMissing):  # not empty, most of the time
                return

    def _sweep(self, older_than: float) -> int:
        left = [
            below
            for below, status in self._files(())
            if below[-1].startswith(UNFINISHED) and status.st_mtime < older_than
        ]
        for below in left:
            self._delete(below)
        return len(left)

    def _free_bytes(self) -> int:
        with folder_of(self._root, ()) as folder:
            status = os.fstatvfs(folder)
        return status.f_bavail * status.f_frsize


def _read(file: int, start: int, end: int, most: int = CHUNK_BYTES) -> bytes:
    """Read up to `most` bytes, fewer at the end of the file, and let the page cache forget them."""
    wanted = min(most, end - start)
    chunks: list[bytes] = []
    got = 0
    while got < wanted and (chunk := os.pread(file, wanted - got, start + got)):
        chunks.append(chunk)
        got += len(chunk)
    forget(file, start, wanted)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _end_reading(opened: Future[tuple[int, int]]) -> None:
    if opened.exception() is None:
        os.close(opened.result()[0])


def _end_writing(opened: Future[tuple[int, str, int]]) -> None:
    """Close what was opened, and remove the file where it was not published."""
    if opened.exception() is not None:
        return
    folder, unfinished, file = opened.result()
    # A second failure says nothing new, and a leftover is swept.
    with suppress(OSError):
        unlink(folder, unfinished)
    for number in (file, folder):
        with suppress(OSError):
            os.close(number)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
