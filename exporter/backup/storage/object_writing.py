"""A large object of a bucket while it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

import obstore
from obstore.exceptions import BaseError

from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.refusals import said
from exporter.errors import StoreError, StoreTaken
from exporter.logs import get_logger

log = get_logger()

HAND_OVER_BYTES = 8 << 20  # and up to so many, the object goes in one request
# S3 takes 10,000 parts: so an object has up to 625 GiB. Two are on their way while one is filled: 192 MiB.
PART_BYTES = 64 << 20
PARTS_AT_ONCE = 2
MAX_OBJECT_BYTES = 10_000 * PART_BYTES
# Taking parts back is one small request; a store that hangs may not hold a stop up.
ABORT_SECONDS = 10.0


class Creating(Protocol):
    """What of the store is needed here."""

    name: str

    async def create(self, path: str, data: bytes) -> bool:
        """Put where there is none; False where there is one. Its bytes are paid for."""

    async def is_there(self, path: str) -> bool:
        """Whether there is an object of this path."""


class ObjectWriting:
    """Belongs to one `async with ObjectStore.write`."""

    def __init__(self, store: Creating, road: Any, path: str, *, bandwidth: Bandwidth) -> None:
        self._store = store
        self._road = road
        self._path = path
        self._bandwidth = bandwidth
        self._chunks: list[bytes] = []
        self._chunk_bytes = 0
        self._written_bytes = 0
        self._upload: Any = None  # obstore's writer, once the object is larger than what goes at once
        self._failure: StoreError | None = None
        self._is_over = False

    async def write(self, chunk: bytes) -> None:
        """Append. The store's error may show at a later call."""
        self._go_on()
        await self._bandwidth.take(len(chunk))
        self._chunks.append(chunk)
        self._chunk_bytes += len(chunk)
        if self._chunk_bytes > HAND_OVER_BYTES:
            await self._hand_over()

    async def publish(self) -> None:
        """Make it visible under its path."""
        self._go_on()
        if self._upload is None:
            if not await self._store.create(self._path, b"".join(self._chunks)):
                raise self._taken()
            self._is_over = True
            return
        await self._hand_over()
        if await self._store.is_there(self._path):
            raise self._taken()
        self._is_over = True  # it takes the parts back by itself where it fails
        await self._asked(self._upload.close())

    async def close(self) -> None:
        """Take back what was not published. Cancelled, that goes on for some seconds."""
        if self._upload is None or self._is_over:
            return
        self._is_over = True
        await asyncio.shield(self._aborted())

    async def _hand_over(self) -> None:
        chunk = b"".join(self._chunks)
        self._chunks, self._chunk_bytes = [], 0
        self._written_bytes += len(chunk)
        if self._written_bytes > MAX_OBJECT_BYTES:
            raise StoreError(
                f"{self._store.name}/{self._path}: more than {MAX_OBJECT_BYTES >> 30} GiB"
                " do not go into one object of a bucket; keep it in a directory"
            )
        if self._upload is None:
            self._upload = obstore.open_writer_async(
                self._road, self._path, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )
        await self._asked(self._upload.write(chunk))

    async def _asked(self, answer: Awaitable[object]) -> None:
        # Cut off in the middle, obstore would forget the upload and leave its parts: it goes on behind us,
        # and what comes next waits for it.
        try:
            await asyncio.shield(answer)
        except (BaseError, OSError) as error:
            self._failure = said(error, self._store.name, self._path)
            raise self._failure from None

    def _go_on(self) -> None:
        """Nothing is written past a gap."""
        if self._failure is not None:
            raise self._failure

    async def _aborted(self) -> None:
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                await self._upload.__aexit__(StoreError, None, None)
        except TimeoutError:  # is an OSError too
            log.warning("upload.left", path=self._path, error="no answer in time")
        except (BaseError, OSError) as error:
            log.warning("upload.left", path=self._path, error=str(said(error, self._store.name, self._path)))

    def _taken(self) -> StoreTaken:
        return StoreTaken(f"{self._store.name}/{self._path}: there is an object of this name already")
