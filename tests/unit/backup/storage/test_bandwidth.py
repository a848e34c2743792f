"""How many bytes a second go to and from a store."""

from __future__ import annotations

from exporter.backup.storage.bandwidth import Bandwidth
from tests.kit.clock import ManualClock

MEBIBYTE = 1 << 20


def test_more_than_a_second_has_is_waited_for() -> None:
    """A second's worth goes at once; the rest as fast as the limit says, however large the chunks."""
    budget = Bandwidth(MEBIBYTE, clock=ManualClock())

    waits = [budget.reserve(MEBIBYTE), budget.reserve(MEBIBYTE), budget.reserve(8 * MEBIBYTE)]

    assert waits == [0.0, 1.0, 9.0]


def test_what_was_not_used_is_kept_for_a_second_only() -> None:
    """An hour of rest does not let an hour's bytes through at once."""
    clock = ManualClock()
    budget = Bandwidth(MEBIBYTE, clock=clock)
    budget.reserve(MEBIBYTE)

    clock.advance(3_600.0)

    assert budget.reserve(MEBIBYTE) == 0.0
    assert budget.reserve(MEBIBYTE) == 1.0


def test_all_who_share_it_share_its_bytes() -> None:
    """What goes in and what goes out come from one budget, whoever takes it."""
    clock = ManualClock()
    budget = Bandwidth(100.0, clock=clock)

    for _ in range(5):
        budget.reserve(50)
        budget.reserve(50)

    assert budget.reserve(100) == 5.0


async def test_without_a_limit_nobody_waits() -> None:
    """Any number of bytes goes at once."""
    budget = Bandwidth(None, clock=ManualClock(), sleep=_never)

    await budget.take(1 << 50)


async def test_taking_waits_as_long_as_was_said() -> None:
    """The wait is that of the reservation, and none where there is room."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    budget = Bandwidth(10.0, clock=ManualClock(), sleep=sleep)

    await budget.take(10)
    await budget.take(5)

    assert slept == [0.5]


async def _never(seconds: float) -> None:
    raise AssertionError(seconds)
