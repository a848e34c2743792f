"""How long a notification waits for its next attempt."""

from __future__ import annotations

import random

import pytest

from exporter.alerting.backoff import full_jitter, pause_after_refusal, pause_after_silence


def highest(low: float, high: float) -> float:
    return high


def lowest(low: float, high: float) -> float:
    return low


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 4.0), (2, 8.0), (3, 16.0), (7, 256.0), (8, 300.0), (10_000, 300.0)]
)
def test_the_longest_pause_doubles_up_to_five_minutes(attempts: int, seconds: float) -> None:
    """However many attempts there were, the exponent overflows nothing."""
    assert full_jitter(attempts, highest) == seconds
    assert full_jitter(attempts, lowest) == 0.0


def test_pauses_are_spread_over_the_whole_range() -> None:
    """What failed together must not come back together."""
    uniform = random.Random(7).uniform

    pauses = [full_jitter(8, uniform) for _ in range(1_000)]

    assert min(pauses) < 15.0
    assert max(pauses) > 285.0
    assert 130.0 < sum(pauses) / 1_000 < 170.0


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 4.0), (1.0, 4.0), (60.0, 60.0), (3_600.0, 3_600.0), (86_400.0, 3_600.0)]
)
def test_retry_after_is_a_floor_of_an_hour_at_most(asked: float | None, seconds: float) -> None:
    """A service that asks for a day does not silence us for a day."""
    assert pause_after_refusal(1, asked, highest) == seconds


def test_silence_is_answered_three_times_and_then_no_more() -> None:
    """After 30 seconds, 2 minutes and 10 minutes."""
    assert [pause_after_silence(unknowns) for unknowns in (1, 2, 3, 4)] == [30.0, 120.0, 600.0, None]
