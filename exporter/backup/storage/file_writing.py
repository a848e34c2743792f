"""A large file of the local store while it is written.

The disk keeps pace: what was written is brought there every few MiB and let go of from memory, so that a
backup neither ends in minutes of waiting nor pushes out what a Qdrant beside it keeps in the page cache.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.disk_thread import DiskThread
from exporter.backup.storage.files import forget, place, said, write_all
from exporter.errors import StoreTaken

T = TypeVar("T")

WRITE_BYTES = 1 << 20  # a thread's turn costs 0.1 ms
AHEAD_BYTES = 32 << 20  # given to the thread and not written: as much as one flush takes
FLUSH_BYTES = 32 << 20


class FileWriting:
    """Belongs to one `async with LocalStore.write`. Everything on the disk happens in `thread`."""

    def __init__(
        self,
        *,
        root: Path,
        path: str,
        thread: DiskThread,
        bandwidth: Bandwidth,
        exclusive: bool,
        opened: tuple[int, str, int],
    ) -> None:
        """`opened` is the directory, the name while it is written, and the file."""
        self._root = root
        self._path = path
        self._thread = thread
        self._bandwidth = bandwidth
        self._exclusive = exclusive
        self._folder, self._unfinished, self._file = opened
        self._chunks: list[bytes] = []
        self._chunk_bytes = 0
        self._ahead: deque[tuple[Future[None], int]] = deque()
        self._ahead_bytes = 0
        self._flushed_bytes = 0  # these two belong to the thread
        self._written_bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Append. A disk's error may show at a later call."""
        await self._bandwidth.take(len(chunk))
        self._chunks.append(chunk)
        self._chunk_bytes += len(chunk)
        if self._chunk_bytes >= WRITE_BYTES:
            self._hand_over()
        while self._ahead_bytes > AHEAD_BYTES:
            await self._wait_for_oldest()

    async def publish(self) -> None:
        """Make it durable, and visible under its path."""
        self._hand_over()
        while self._ahead:
            await self._wait_for_oldest()
        if not await self._done(self._finish):
            raise StoreTaken(f"{self._root}/{self._path}: there is a file of this name already")

    def _hand_over(self) -> None:
        if not self._chunks:
            return
        chunks, size_bytes = self._chunks, self._chunk_bytes
        self._chunks, self._chunk_bytes = [], 0
        self._ahead.append((self._thread.post(lambda: self._write(chunks)), size_bytes))
        self._ahead_bytes += size_bytes

    async def _wait_for_oldest(self) -> None:
        future, size_bytes = self._ahead[0]
        try:
            # It stays the oldest where it failed: a later call must not get past the gap.
            await asyncio.shield(asyncio.wrap_future(future))
        except OSError as error:
            raise said(error, self._root, self._path) from error
        self._ahead.popleft()
        self._ahead_bytes -= size_bytes

    async def _done(self, work: Callable[[], T]) -> T:
        try:
            return await self._thread.do(work)
        except OSError as error:
            raise said(error, self._root, self._path) from error

    # --- in the thread --------------------------------------------------------------------------------

    def _write(self, chunks: list[bytes]) -> None:
        self._written_bytes += write_all(self._file, chunks)
        if self._written_bytes - self._flushed_bytes >= FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        os.fsync(self._file)
        forget(self._file, self._flushed_bytes, 0)
        self._flushed_bytes = self._written_bytes

    def _finish(self) -> bool:
        os.fsync(self._file)
        forget(self._file, 0, 0)
        return place(self._folder, self._unfinished, self._path.rpartition("/")[2], exclusive=self._exclusive)
