"""What a store can do. `local.py` and `objects.py` do it; one set of tests judges both.

Paths are relative, with "/" between their parts, of the characters that `layout.py` makes: no part is
"", "." or "..". Secrets never stand in `name`, nor in a message of an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """An object of the store."""

    path: str
    size_bytes: int
    modified_at: float  # Unix seconds, by the store's clock


class Writing(Protocol):
    """An object being written: nobody sees it before `publish`."""

    async def write(self, chunk: bytes) -> None:
        """Append. Raises StoreError."""

    async def publish(self) -> None:
        """Make it durable and visible under its path, in one step. Raises StoreError, StoreTaken where an
        object has that path already."""


class Store(Protocol):
    """Objects by path. Every method raises StoreError or one of its kinds, else only CancelledError."""

    name: str  # for people: /var/backups, s3://bucket/prefix

    async def get(self, path: str) -> bytes:
        """Return a small object whole, 64 MiB at most. Raises StoreMissing."""

    async def put(self, path: str, data: bytes) -> None:
        """Store a small object, whole and durable, in place of one that is there."""

    async def put_if_absent(self, path: str, data: bytes) -> bool:
        """Store a small object; False, and nothing done, where there is one. Atomic among all writers."""

    def write(self, path: str) -> AbstractAsyncContextManager[Writing]:
        """Write a large object. Left without `publish`, nothing of it stays."""

    def read(
        self, path: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Read a large object, or a stretch of it, in chunks of up to some MiB. Raises StoreMissing, and
        StoreShort where it ends before offset + length."""

    async def size(self, path: str) -> int:
        """Bytes of an object. Raises StoreMissing."""

    def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        """Yield every object whose path begins with the directory `prefix`, at any depth, in no order."""

    async def delete(self, path: str) -> None:
        """Remove an object; one that is not there is no error."""

    async def free_bytes(self) -> int | None:
        """Room that is left; None where it has no bound that anybody knows."""

    async def close(self) -> None:
        """Let go of connections."""
