"""Numbers, durations, moments and names as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.alerting.spoken import (
    clipped,
    duration,
    lines,
    moment,
    number,
    one_line,
    quantity,
    units,
    value_with_limit,
)


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (12_345.0, "points", "12,345 points"),
        (0.0, "points", "0 points"),
        (-3.0, "operations", "-3 operations"),
        (0.9132, "ratio 0-1", "91.32 %"),
        (0.8, "ratio 0-1", "80 %"),
        (0.00004, "ratio 0-1", "0.004 %"),
        (1_610_612_736.0, "bytes", "1.5 GiB"),
        (512.0, "bytes", "512 B"),
        (0.25, "seconds", "250 ms"),
        (90.0, "seconds", "1 min 30 s"),
        (1_800_000_000.0, "seconds, Unix time", "2027-01-15 08:00:00 UTC"),
        (1.0, "1 or 0", "1"),
        (2.0, "1", "2"),
        (7.0, "", "7"),
        (math.nan, "points", "unknown"),
        (math.inf, "seconds", "unknown"),
    ],
)
def test_a_value_is_said_in_its_unit(value: float, unit: str, said: str) -> None:
    """By the unit that the catalogue gives the metric."""
    assert said == quantity(value, unit)


def test_a_value_stands_beside_its_limit_where_there_is_one() -> None:
    """The same in messages and on the terminal."""
    assert value_with_limit(12_345, 10_000, "points") == "12,345 points, limit 10,000 points"
    assert value_with_limit(0.912, None, "ratio 0-1") == "91.2 %"
    assert value_with_limit(None, 10, "points") == ""


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (1_234_567.0, "1,234,567"), (1.5, "1.5"), (12.3456, "12.35"), (0.05, "0.05"),
     (0.0123456, "0.01235"), (1234.5678, "1,235"), (-0.5, "-0.5"), (1e-9, "0")],
)  # fmt: skip
def test_a_number_has_the_digits_that_count(value: float, said: str) -> None:
    """Four of them, and thousands apart."""
    assert said == number(value)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "0 s"), (0.0042, "4.2 ms"), (1.5, "1.5 s"), (59.6, "1 min"), (3_600.0, "1 h"),
     (3_725.0, "1 h 2 min"), (90_000.0, "1 d 1 h"), (86_405.0, "1 d"),
     (-90.0, "-1 min 30 s"), (864_000.0, "10 d")],
)  # fmt: skip
def test_a_duration_has_its_two_largest_units(seconds: float, said: str) -> None:
    """More of them nobody reads."""
    assert said == duration(seconds)


def test_a_moment_beyond_the_calendar_is_still_said() -> None:
    """A wrong clock must not keep a page from going out."""
    assert moment(1e18).startswith("Unix time")
    assert moment(0.0) == "1970-01-01 00:00:00 UTC"


@given(st.floats(), st.sampled_from(["points", "seconds", "bytes", "ratio 0-1", "seconds, Unix time", ""]))
def test_every_value_can_be_said(value: float, unit: str) -> None:
    """No number there is keeps a message from being made."""
    assert quantity(value, unit).isprintable()


@given(st.text())
def test_one_line_is_one_line_and_printable(text: str) -> None:
    """Whatever a name has in it."""
    assert one_line(text).isprintable()
    assert all(line.isprintable() for line in lines(text).split("\n"))


@given(st.text(), st.integers(1, 50))
def test_a_clipped_text_fits_and_is_a_beginning(text: str, limit: int) -> None:
    """Counted as the strictest service counts, without half a character."""
    said = clipped(text, limit)

    assert units(said) <= limit
    assert said == text or text.startswith(said.removesuffix("…"))
