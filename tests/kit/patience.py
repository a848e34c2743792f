"""Time that stands still while there is something to do, for tests of what waits and what is in time.

With the machine's time a deadline that a test can wait for is one that a busy machine misses. Here it
passes only while the loop is idle, and then at once: no work is too slow, and no wait is long.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager

# The kernel carries a byte over the loopback at once, save when it is very busy.
IDLE_SECONDS = 0.02
# What a turn of the loop takes: who sleeps for less than a float can tell must not sleep for ever.
TURN_SECONDS = 1e-9


class LoopClock:
    """The clock that the running loop goes by: the machine's, or within `patient` the one that waits."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@contextmanager
def patient(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let a loop's time pass only while nothing is ready and no byte is on its way.

    Servers and clients must share the loop, and none may work in threads or in other processes: for
    those it would not wait.
    """
    assert isinstance(loop, asyncio.SelectorEventLoop)
    selector: selectors.BaseSelector = loop._selector  # type: ignore[attr-defined]
    select, at_seconds = selector.select, loop.time()

    def select_patiently(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        nonlocal at_seconds
        at_seconds += TURN_SECONDS
        if timeout is None or timeout <= 0:
            return select(timeout)
        ready = select(min(timeout, IDLE_SECONDS))
        if not ready:
            at_seconds += timeout
        return ready

    loop.time = lambda: at_seconds  # type: ignore[method-assign]
    selector.select = select_patiently  # type: ignore[method-assign]
    try:
        yield
    finally:
        del loop.time, selector.select  # type: ignore[misc]
