"""How many bytes a second go to and from a store, both ways together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from exporter.clock import Clock

# What was not used is kept for so long: a store that was idle answers the next small object at once.
KEPT_SECONDS = 1.0


class Bandwidth:
    """A budget that all who use a store share. Without a limit it costs nothing."""

    def __init__(
        self,
        bytes_per_second: float | None,
        *,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._paid_until = 0.0  # monotonic seconds: what was taken so far takes until then

    async def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may go."""
        wait_seconds = self.reserve(size_bytes)
        if wait_seconds > 0:
            await self._sleep(wait_seconds)

    def reserve(self, size_bytes: int) -> float:
        """Take so many bytes out of the budget, and return the seconds to wait for them.

        More than a second's worth is let through late rather than never.
        """
        if self._bytes_per_second is None:
            return 0.0
        now = self._clock.monotonic()
        begins_at = max(self._paid_until, now - KEPT_SECONDS)
        self._paid_until = begins_at + size_bytes / self._bytes_per_second
        return max(0.0, self._paid_until - now)
