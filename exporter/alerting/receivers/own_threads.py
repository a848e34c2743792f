"""Threads for what blocks: a few for each receiver, shared with nobody, and not waited for at exit.

In the event loop's own pool, of few threads, a handful of servers that never end would stop everything
else that runs there, and the process could not end before they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

from exporter.alerting.words import Delivery, Outcome
from exporter.config.quantities import format_duration

T = TypeVar("T")


class OwnThreads:
    """Makes attempts, at most `limit` at once: one that is past its deadline keeps its place till it ends."""

    def __init__(self, *, limit: int) -> None:
        self._places = asyncio.Semaphore(limit)

    async def attempt(self, work: Callable[[], Delivery], *, deadline_seconds: float) -> Delivery:
        """Return what came of `work`. Raises TimeoutError where it takes longer; it then goes on.

        Where earlier attempts leave it no place before the deadline, it is not begun.
        """
        began = False
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._places.acquire()
                began = True
                return await in_own_thread(work, ended=self._places.release)
        except TimeoutError:
            if began:
                raise
            patience = format_duration(deadline_seconds)
            return Delivery(Outcome.RETRY, f"earlier attempts still hang after {patience}: not begun")


async def in_own_thread(work: Callable[[], T], *, ended: Callable[[], None] = lambda: None) -> T:
    """Do `work` in a daemon thread and return what it does; `ended` is called on the loop at its end.

    Cancelled, it leaves the thread to its fate.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        ended()
        if outcome.done():
            return  # nobody waits any more
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]  # None is of T where there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - told to whoever waits
            error = raised
        with suppress(RuntimeError):  # the loop ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    try:
        Thread(target=run, daemon=True, name="receiver").start()
    except RuntimeError:  # the system has no thread left for us
        ended()
        raise
    return await outcome
