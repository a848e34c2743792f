"""A body that does as it is told, for tests of what runs bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from exporter.config.jobs import JobSettings
from exporter.jobs.words import Outcome, Part

Doing = Callable[[str], Awaitable[Part]]


async def does_it(collection: str) -> Part:
    """Succeed."""
    return Part(collection, Outcome.OK)


class ToldBody:
    """Works on these collections, doing to each what `do` does."""

    def __init__(self, *collections: str, do: Doing = does_it, refuses: Exception | None = None) -> None:
        self.collections = collections
        self.do = do
        self.refuses = refuses
        self.done: list[str] = []
        self.closed = 0
        self.frees = False
        self.turn: AbstractAsyncContextManager[object] = nullcontext()
        self.frees_bytes: Callable[[], int] = lambda: 0  # when it is told to make room

    async def make_room(self, cluster: str) -> int:
        return self.frees_bytes()

    @asynccontextmanager
    async def opened(self, job: JobSettings, cluster: str) -> AsyncIterator[ToldChore]:
        if self.refuses is not None:
            raise self.refuses
        try:
            yield ToldChore(self)
        finally:
            self.closed += 1


class ToldChore:
    """One run of it."""

    def __init__(self, body: ToldBody) -> None:
        self.collections = body.collections
        self._body = body

    def turn(self) -> AbstractAsyncContextManager[object]:
        return self._body.turn

    async def do(self, collection: str) -> Part:
        part = await self._body.do(collection)
        self._body.done.append(collection)
        return part


class Hanging:
    """Work that does not end by itself, and tells when it has begun."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = False

    async def __call__(self, collection: str) -> Part:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return Part(collection, Outcome.OK)
