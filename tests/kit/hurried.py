"""`python -m tests.kit.hurried SPEED ARGUMENT...`: the real command, for whom more seconds pass than for us.

For what waits for seconds before it believes that a server is quiet. The wall clock is everybody's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from selectors import DefaultSelector
from typing import Any

from exporter.cli import main as command


class HurriedLoop(asyncio.SelectorEventLoop):
    """A loop for which more seconds pass than for others."""

    def __init__(self, speed: float) -> None:
        super().__init__(_HurriedSelector(speed))

    def time(self) -> float:
        return time.monotonic()  # in a hurry too


class _HurriedSelector(DefaultSelector):
    def __init__(self, speed: float) -> None:
        self._speed = speed
        super().__init__()

    def select(self, timeout: float | None = None) -> Any:
        return super().select(None if timeout is None else timeout / self._speed)


class HurriedPolicy(asyncio.DefaultEventLoopPolicy):
    """Makes such loops."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        super().__init__()

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return HurriedLoop(self._speed)


def hurry(speed: float) -> None:
    """Let the monotonic clock of this process, and the event loops that it makes, run faster from now on."""
    ticking = time.monotonic
    time.monotonic = lambda: ticking() * speed
    asyncio.set_event_loop_policy(HurriedPolicy(speed))


if __name__ == "__main__":
    hurry(float(sys.argv.pop(1)))
    command()
