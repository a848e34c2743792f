"""A thread for one file: what blocks on its disk is done there, in order.

A thread of its own, because a disk that hangs must not take those of everybody else with it; one thread,
because a file that was cancelled is closed after what was under way in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class DiskThread:
    """Begins with the first work. `close` it."""

    def __init__(self, workers: int = 1) -> None:
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="store")

    def post(self, work: Callable[[], T]) -> Future[T]:
        """Do it some time, and do not wait."""
        return self._threads.submit(work)

    async def do(self, work: Callable[[], T]) -> T:
        """Do it and wait. Cancelled, the work goes on, and what comes later still comes later."""
        return await asyncio.shield(asyncio.wrap_future(self.post(work)))

    def close(self) -> None:
        """Take no more work. What is under way ends without us."""
        self._threads.shutdown(wait=False)
