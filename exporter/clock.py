"""Time, injected: the only door to the clocks."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the house asks of time."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
