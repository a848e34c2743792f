"""Windows against a list that forgets nothing, percentiles against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.observe.probes.windows import Window, percentile

some = settings(max_examples=200, deadline=None)
# Differences of larger ones are infinite, for numpy as well.
values = st.floats(-1e150, 1e150) | st.floats(0.0001, 60.0)


@some
@given(st.lists(values, min_size=1, max_size=300))
@pytest.mark.parametrize("percent", [50, 95, 99])
def test_a_percentile_is_numpys_to_the_last_bit(percent: int, sample: list[float]) -> None:
    """The one definition that everybody can check: linear interpolation between the two nearest."""
    assert float(np.percentile(sample, percent)) == percentile(sorted(sample), percent / 100)


@some
@given(st.lists(values, min_size=1, max_size=50), st.floats(0.0, 1.0))
def test_any_share_is_numpys_quantile(sample: list[float], share: float) -> None:
    """Also at both ends and just beside them."""
    assert float(np.quantile(sample, share)) == percentile(sorted(sample), share)


# pauses between rows; rows come at once, at the very edge of the window, and after it
pauses = st.lists(st.sampled_from([0.0, 0.5, 10.0, 600.0]) | st.floats(0.0, 1_000.0), max_size=60)


@some
@given(st.sampled_from([10.0, 600.0]), st.integers(0, 20), pauses, st.floats(0.0, 2_000.0))
def test_a_window_holds_its_time_or_its_least_rows_where_those_are_more(
    seconds: float, least: int, waits: list[float], silence: float
) -> None:
    """At every moment, for its own least and for any smaller one, and in every column."""
    window = Window(seconds=seconds, least=least, columns=2)
    rows: list[tuple[float, float, float]] = []
    now = 1_000.0

    def agrees(least: int | None, wanted: int) -> None:
        recent = sum(1 for at, _, _ in rows if at >= now - seconds)
        expected = rows[len(rows) - max(recent, min(len(rows), wanted)) :]
        assert len(expected) == window.count(now, least)
        assert [row[1] for row in expected] == list(window.column(now, least=least))
        assert [row[2] for row in expected] == list(window.column(now, 1, least=least))

    for number, wait in enumerate(waits):
        now += wait
        window.add(now, number, -0.5 * number)
        rows.append((now, number, -0.5 * number))
        agrees(None, least)
        agrees(least // 2, least // 2)
    now += silence

    agrees(None, least)
    agrees(0, 0)
    assert (rows[-1][0] if rows else None) == window.newest_seconds()


def test_a_window_does_not_grow_with_what_left_it() -> None:
    """A day of a search each second holds ten minutes of them."""
    window = Window(seconds=600.0, least=100, columns=1)
    for second in range(86_400):
        window.add(float(second), 0.01)

    assert 601 == window.count(86_399.0) == window.count(86_399.0, 601)
    assert len(window.column(86_399.0, least=10_000)) == 601


def test_a_row_has_as_many_numbers_as_the_window_has_columns() -> None:
    """A shorter one would shift the columns against each other."""
    window = Window(seconds=600.0, least=0, columns=2)

    with pytest.raises(ValueError, match="argument"):
        window.add(1.0, 2.0)
