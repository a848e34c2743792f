"""Reductions over a window: what Prometheus says of the same samples."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.alerting.rules.reduce import Samples, increase, of_zeros, reduced, samples_of
from exporter.alerting.words import WINDOWED, Reduce
from exporter.board import History

WINDOW = 300.0
STEP = 15.0
NOW = 1_000.0


def history(*values: float, until: float = NOW, zeros: tuple[float, float] | None = None) -> History:
    """Sample values a step apart, the newest last."""
    seconds = [until - STEP * back for back in range(len(values) - 1, -1, -1)]
    return History(seconds, list(values), zeros)


def over(how: Reduce, one: History, *, least: int = 1) -> float | None:
    """Reduce a history over the window that ends now."""
    samples = samples_of(one, end=NOW, window=WINDOW, step=STEP)
    return reduced(how, samples, end=NOW, window=WINDOW, least=least)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Reduce.MIN, 1.0),
        (Reduce.MAX, 8.0),
        (Reduce.AVG, 4.0),
        (Reduce.CHANGES, 3.0),
        (Reduce.RATIO_TO_MAX, 0.25),
    ],
)
def test_a_window_is_reduced_to_one_value(how: Reduce, expected: float) -> None:
    """Each in its own way."""
    assert over(how, history(1.0, 8.0, 8.0, 1.0, 2.0)) == pytest.approx(expected)


def test_a_window_holds_what_is_after_its_beginning() -> None:
    """A sample right on the edge is of the window before, as in Prometheus 3."""
    on_the_edge = History([NOW - WINDOW, NOW], [9.0, 1.0])
    inside = History([NOW - WINDOW + 0.001, NOW], [9.0, 1.0])

    assert over(Reduce.MAX, on_the_edge) == 1.0
    assert over(Reduce.MAX, inside) == 9.0


def test_too_few_samples_say_nothing() -> None:
    """An increase needs two, whatever is asked for; everything else one, or what is asked for."""
    assert over(Reduce.MAX, history(until=NOW)) is None
    assert over(Reduce.INCREASE, history(5.0)) is None
    assert over(Reduce.MAX, history(5.0)) == 5.0
    assert over(Reduce.MAX, history(5.0, 5.0), least=3) is None
    assert over(Reduce.MAX, history(5.0, 5.0, 5.0), least=3) == 5.0


def test_what_is_no_number_is_nothing() -> None:
    """Nothing can be compared with it."""
    assert over(Reduce.MAX, history(math.nan)) is None
    assert over(Reduce.RATIO_TO_MAX, history(0.0, 0.0)) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # 20 samples 15 s apart, the first 15 s after the window's beginning, the last at its end
        ([100.0 + count for count in range(20)], 19 * 300 / 285),
        # from 0: the counter was not there before its first sample
        ([float(count) for count in range(20)], 19.0),
        # a restart in between: 9 before it, 10 after
        ([*(50.0 + one for one in range(10)), *(1.0 + one for one in range(10))], (9 + 10) * 300 / 285),
        # two samples only, far from the window's beginning: half a distance more
        ([100.0, 101.0], 22.5 / 15),
        # nothing happened
        ([7.0] * 20, 0.0),
    ],
)  # fmt: skip
def test_an_increase_is_drawn_out_to_the_edges_of_the_window(values: list[float], expected: float) -> None:
    """The figures are those of Prometheus' own algorithm, worked out by hand."""
    assert over(Reduce.INCREASE, history(*values)) == pytest.approx(expected)


def test_a_counter_that_ended_long_ago_is_drawn_out_by_half_a_distance() -> None:
    """Its last sample is too far from the end to think that it goes on."""
    values = [100.0 + count for count in range(6)]
    ended = history(*values, until=NOW - 100.0)

    assert over(Reduce.INCREASE, ended) == pytest.approx(5 * (75 + 7.5 + 7.5) / 75)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
    st.integers(1, 19),
    st.sampled_from(sorted(WINDOWED)),
)
def test_zeros_that_were_not_kept_count_as_if_they_had_been(
    grown: list[int], zeros: int, how: Reduce
) -> None:
    """The Board may leave out the time at 0 without changing what any rule says."""
    values = [1.0, *accumulate(grown, initial=2)]
    values = [float(value) for value in values]
    whole = history(*([0.0] * zeros), *values)
    first = len(whole.seconds) - len(values)
    cut = History(whole.seconds[first:], whole.values[first:], (whole.seconds[0], whole.seconds[first - 1]))

    assert over(how, cut) == pytest.approx(over(how, whole))


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=20))
def test_an_increase_is_never_less_than_what_was_seen_nor_drawn_out_by_more_than_the_window(
    steps: list[float],
) -> None:
    """Extrapolation adds; it takes nothing away and invents no more than the window has room for."""
    values = [1e10, *(1e10 + total for total in accumulate(steps))]
    samples = samples_of(history(*values), end=NOW, window=WINDOW, step=STEP)
    seen = samples.values[-1] - samples.values[0]
    span = samples.seconds[-1] - samples.seconds[0]

    found = increase(samples, start=NOW - WINDOW, end=NOW)

    assert seen - 1e-3 <= found <= seen * WINDOW / span + 1e-3


def test_a_series_that_was_only_ever_0_is_0_and_no_ratio() -> None:
    """It has no history, which is what makes it cheap."""
    assert {of_zeros(how) for how in WINDOWED - {Reduce.RATIO_TO_MAX}} == {0.0}
    assert of_zeros(Reduce.RATIO_TO_MAX) is None


def test_samples_newer_than_the_end_are_not_in_the_window() -> None:
    """A view is of one moment."""
    assert samples_of(History([990.0, 1_010.0], [1.0, 2.0]), end=NOW, window=WINDOW, step=STEP) == Samples(
        [990.0], [1.0]
    )
