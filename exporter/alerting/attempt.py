"""One attempt to deliver: it ends in time, and a bug in a receiver is an outcome like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from exporter.alerting.words import Delivery, Outcome

# Receivers have deadlines of a minute at most; whatever gets past them must not hold a place for ever.
STUCK_SECONDS = 120.0
# Who waits for a moment looks at the clock so often: it may have been set.
LOOK_SECONDS = 1.0


async def attempt(deliver: Callable[[], Awaitable[Delivery]]) -> Delivery:
    """Return what became of an attempt. Raises nothing but its own cancellation."""
    try:
        async with asyncio.timeout(STUCK_SECONDS):
            return await deliver()
    except TimeoutError:
        return Delivery(Outcome.UNKNOWN, f"no answer within {STUCK_SECONDS:.0f} s")
    except Exception as error:  # noqa: BLE001 - a bug in one receiver must not end the others
        # Its text may hold a URL, which is a secret of most receivers.
        return Delivery(Outcome.RETRY, f"a bug in this program: {type(error).__name__}")
