"""Cron lines are read as cron reads them, and refused with what to write."""

from __future__ import annotations

from datetime import date

import pytest

from exporter.config.schedules import parse_cron

MONDAY, TUESDAY, WEDNESDAY, FRIDAY, SATURDAY, SUNDAY = 0, 1, 2, 4, 5, 6


@pytest.mark.parametrize(
    ("weekday", "expected"),
    [
        ("0", {SUNDAY}),
        ("7", {SUNDAY}),
        ("1", {MONDAY}),
        ("sun", {SUNDAY}),
        ("Fri", {FRIDAY}),
        ("mon-wed", {MONDAY, TUESDAY, WEDNESDAY}),
        ("5-7", {FRIDAY, SATURDAY, SUNDAY}),
        ("sat-sun", {SATURDAY, SUNDAY}),
        ("0,3", {SUNDAY, WEDNESDAY}),
        ("*/2", {SUNDAY, TUESDAY, 3, SATURDAY}),
    ],
)
def test_weekdays_have_crons_own_numbers(weekday: str, expected: set[int]) -> None:
    """0 and 7 are Sunday, whatever libraries make of them."""
    assert set(parse_cron(f"0 0 * * {weekday}").weekdays) == expected


@pytest.mark.parametrize(
    ("minute", "expected"),
    [
        ("5", (5,)),
        ("*/20", (0, 20, 40)),
        ("10/20", (10, 30, 50)),
        ("1-10/4", (1, 5, 9)),
        ("50,5,20-22", (5, 20, 21, 22, 50)),
    ],
)
def test_steps_ranges_and_lists_are_understood(minute: str, expected: tuple[int, ...]) -> None:
    """All that crontab(5) has, in ascending order."""
    assert parse_cron(f"{minute} * * * *").minutes == expected


def test_with_both_days_restricted_one_is_enough() -> None:
    """As in cron: the 13th and every Friday, not only Friday the 13th."""
    line = parse_cron("0 0 13 * fri")

    assert line.has_day(date(2026, 11, 13))  # both
    assert line.has_day(date(2026, 10, 13))  # a Tuesday
    assert line.has_day(date(2026, 10, 16))  # a Friday
    assert not line.has_day(date(2026, 10, 14))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "write five fields"),
        ("@daily", "write five fields"),
        ("0 30 2 * * *", "write five fields"),
        ("60 * * * *", "the minute is a number from 0 to 59"),
        ("0 24 * * *", "the hour is a number from 0 to 23"),
        ("0 0 0 * *", "the day of the month is a number from 1 to 31"),
        ("0 0 1 13 *", "the month is a number from 1 to 12"),
        ("0 0 * * 8", "the weekday is a number from 0 to 7"),
        ("0 0 * * mo", "the weekday is a number from 0 to 7"),
        ("0 0 * * fri-mon", "ends before it starts"),
        ("30-10 * * * *", "ends before it starts"),
        ("*/0 * * * *", "a step of 0"),
        ("*-5 * * * *", "the minute cannot be read"),
        ("-5 * * * *", "the minute cannot be read"),
        ("1, * * * *", "the minute cannot be read"),
        ("0 0 31 feb,apr *", "never due"),
    ],
)
def test_what_is_no_cron_line_is_refused_with_what_to_write(line: str, said: str) -> None:
    """The refusal names the field, and never repeats what was typed."""
    with pytest.raises(ValueError, match=said):
        parse_cron(line)


def test_the_29th_of_february_is_a_day() -> None:
    """It comes every four years, and that is often enough to be meant."""
    assert parse_cron("0 0 29 2 *").has_day(date(2028, 2, 29))
