"""Threads for what blocks: bounded, and in nobody's way."""

from __future__ import annotations

import asyncio
import threading

import pytest

from exporter.alerting.receivers.own_threads import OwnThreads, in_own_thread
from exporter.alerting.words import Delivery, Outcome


def delivered() -> Delivery:
    """Succeed at once."""
    return Delivery(Outcome.DELIVERED)


async def test_an_attempt_that_hangs_keeps_its_place_until_it_ends() -> None:
    """Past its deadline the next one is not begun, so that no threads pile up; then all is well again."""
    threads, go_on = OwnThreads(limit=1), threading.Event()

    def hangs() -> Delivery:
        go_on.wait()
        return delivered()

    try:
        with pytest.raises(TimeoutError):
            await threads.attempt(hangs, deadline_seconds=0.02)
        refused = await threads.attempt(delivered, deadline_seconds=0.02)
    finally:
        go_on.set()

    assert (refused.outcome, "still hang" in refused.reason) == (Outcome.RETRY, True)
    assert Outcome.DELIVERED is (await threads.attempt(delivered, deadline_seconds=5.0)).outcome


async def test_a_short_wait_for_a_place_is_no_failure() -> None:
    """A burst of pages goes out one after the other."""
    threads = OwnThreads(limit=1)

    got = await asyncio.gather(*(threads.attempt(delivered, deadline_seconds=5.0) for _ in range(5)))

    assert [delivered()] * 5 == got


async def test_nobody_waits_for_such_a_thread_at_exit() -> None:
    """It is a daemon, and not of the event loop's pool."""
    thread = await in_own_thread(threading.current_thread)

    assert thread.daemon
    assert not thread.name.startswith("asyncio")


async def test_what_breaks_in_the_thread_breaks_for_whoever_waits() -> None:
    """And the place is free again."""
    threads = OwnThreads(limit=1)

    def breaks() -> Delivery:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await threads.attempt(breaks, deadline_seconds=5.0)
    assert delivered() == await threads.attempt(delivered, deadline_seconds=5.0)
