"""A store in memory that fails as told: what a bucket does on a bad day, without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from exporter.backup.storage.contract import Stored
from exporter.clock import Clock
from exporter.errors import StoreError, StoreFull, StoreMissing, StoreShort, StoreTaken

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class StoreCall:
    """One call, as the log of the store has it."""

    what: str  # the method
    path: str


class ScriptedWriting:
    """An object of the scripted store while it is written."""

    def __init__(self, store: ScriptedStore, path: str) -> None:
        self._store = store
        self._path = path
        self._data = bytearray()
        self.published = False

    async def write(self, chunk: bytes) -> None:
        await self._store.called("write", self._path)
        self._data += chunk
        self._store.check_room(len(self._data))

    async def publish(self) -> None:
        await self._store.called("publish", self._path)
        if self._path in self._store.objects:
            raise StoreTaken(f"{self._path} is there already")
        self._store.keep(self._path, bytes(self._data))
        self.published = True


class ScriptedStore:
    """Objects in memory. `fail` makes calls fail; `objects` may be read and changed by a test."""

    def __init__(self, clock: Clock, *, room_bytes: int | None = None, name: str = "memory") -> None:
        self.name = name
        self.objects: dict[str, bytes] = {}
        self.changed_at: dict[str, float] = {}
        self.calls: list[StoreCall] = []
        self.room_bytes = room_bytes
        self._clock = clock
        self._failures: list[tuple[str, str, Callable[[], StoreError], int]] = []
        self.pause_seconds = 0.0  # before every call: a slow store

    # --- what a test says --------------------------------------------------------------------------

    def fail(self, what: str, path_part: str, error: Callable[[], StoreError], *, times: int = 1) -> None:
        """Let the next calls of a method fail whose path holds a text."""
        self._failures.append((what, path_part, error, times))

    def keep(self, path: str, data: bytes) -> None:
        """Have an object."""
        self.objects[path] = data
        self.changed_at[path] = self._clock.now()

    def check_room(self, size_bytes: int) -> None:
        """Raise StoreFull where so many more bytes have no room."""
        if self.room_bytes is not None and size_bytes > self.room_bytes - self._used():
            raise StoreFull("no room is left in memory")

    async def called(self, what: str, path: str) -> None:
        """Note a call, and fail it where a test said so."""
        self.calls.append(StoreCall(what, path))
        await asyncio.sleep(self.pause_seconds)
        for number, (method, part, error, times) in enumerate(self._failures):
            if method == what and part in path:
                if times > 1:
                    self._failures[number] = (method, part, error, times - 1)
                else:
                    del self._failures[number]
                raise error()

    # --- the contract ------------------------------------------------------------------------------

    async def get(self, path: str) -> bytes:
        await self.called("get", path)
        if path not in self.objects:
            raise StoreMissing(f"there is no {path}")
        return self.objects[path]

    async def put(self, path: str, data: bytes) -> None:
        await self.called("put", path)
        self.check_room(len(data))
        self.keep(path, data)

    async def put_if_absent(self, path: str, data: bytes) -> bool:
        await self.called("put_if_absent", path)
        if path in self.objects:
            return False
        self.check_room(len(data))
        self.keep(path, data)
        return True

    @asynccontextmanager
    async def write(self, path: str) -> AsyncIterator[ScriptedWriting]:
        yield ScriptedWriting(self, path)

    @asynccontextmanager
    async def read(
        self, path: str, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        await self.called("read", path)
        if path not in self.objects:
            raise StoreMissing(f"there is no {path}")
        data = self.objects[path]
        end = len(data) if length is None else offset + length

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(offset, min(end, len(data)), CHUNK_BYTES):
                yield data[start : min(start + CHUNK_BYTES, end)]
            if end > len(data):
                raise StoreShort(f"{path} ends too early")

        yield chunks()

    async def size(self, path: str) -> int:
        await self.called("size", path)
        if path not in self.objects:
            raise StoreMissing(f"there is no {path}")
        return len(self.objects[path])

    async def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        await self.called("list", prefix)
        for path, data in tuple(self.objects.items()):
            if not prefix or path.startswith(prefix.rstrip("/") + "/"):
                yield Stored(path, len(data), self.changed_at[path])

    async def delete(self, path: str) -> None:
        await self.called("delete", path)
        self.objects.pop(path, None)

    async def free_bytes(self) -> int | None:
        return None if self.room_bytes is None else self.room_bytes - self._used()

    async def close(self) -> None:
        pass

    def _used(self) -> int:
        return sum(map(len, self.objects.values()))
