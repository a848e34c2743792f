"""Parts of the calendar as text, and what is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.config.time_windows import (
    parse_clock,
    parse_days_of_month,
    parse_months,
    parse_weekdays,
    parse_years,
    time_zone,
)


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (parse_clock, "00:00", 0),
        (parse_clock, "06:30", 390),
        (parse_clock, "24:00", 1_440),
        (parse_weekdays, "monday", (0,)),
        (parse_weekdays, "Saturday : Sunday", (5, 6)),
        (parse_weekdays, "friday:monday", (4, 5, 6, 0)),
        (parse_months, "december", (12,)),
        (parse_months, "6:august", (6, 7, 8)),
        (parse_months, "november:february", (11, 12, 1, 2)),
        (parse_days_of_month, "1", (1, 1)),
        (parse_days_of_month, "-1", (-1, -1)),
        (parse_days_of_month, "25:-1", (25, -1)),
        (parse_days_of_month, "-3:-1", (-3, -1)),
        (parse_years, "2027", (2027, 2027)),
        (parse_years, "2027:2029", (2027, 2029)),
    ],
)
def test_a_part_of_the_calendar_is_read(read: Callable[[str], object], text: str, expected: object) -> None:
    """Numbers count as people count: the first of a month is 1; Monday is 0 as in Python."""
    assert read(text) == expected


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (parse_clock, "24:01"), (parse_clock, "6:30"), (parse_clock, "12:60"), (parse_clock, ""),
        (parse_weekdays, "mon"), (parse_weekdays, "monday:"), (parse_weekdays, "monday-friday"),
        (parse_months, "0"), (parse_months, "13"), (parse_months, "dec"),
        (parse_days_of_month, "0"), (parse_days_of_month, "32"), (parse_days_of_month, "7:1"),
        (parse_days_of_month, "-1:-3"), (parse_days_of_month, "-1:5"), (parse_days_of_month, "1:2:3"),
        (parse_years, "27"), (parse_years, "2029:2027"), (parse_years, "year"),
        (time_zone, "Mars"), (time_zone, "../etc/passwd"), (time_zone, "Europe"), (time_zone, ""),
    ],
)  # fmt: skip
def test_what_is_no_part_of_the_calendar_is_refused(read: Callable[[str], object], text: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValueError, match=r"write|comes before|no month"):
        read(text)
