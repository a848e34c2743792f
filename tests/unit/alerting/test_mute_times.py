"""Windows in the calendar: which moments lie in them, and in which time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from exporter.alerting.mute_times import MuteTime, mute_time
from exporter.config.alerting import MuteTimeSettings


def windows(*written: dict[str, Any]) -> MuteTime:
    """Return a mute time of windows as a person writes them."""
    return mute_time(MuteTimeSettings.model_validate({"name": "quiet", "windows": list(written)}))


def holds(mute: MuteTime, text: str) -> bool:
    """Whether "2027-01-15 22:00" of UTC lies in it."""
    return mute.is_muted(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2027-01-15 21:59", False),
        ("2027-01-15 22:00", True),
        ("2027-01-15 23:59", True),
        ("2027-01-16 00:00", True),
        ("2027-01-16 05:59", True),
        ("2027-01-16 06:00", False),
    ],
)
def test_a_night_is_two_ranges_whose_end_is_not_in_them(at: str, expected: bool) -> None:
    """To 24:00, and from 00:00."""
    night = windows({"times": [{"start": "22:00", "end": "24:00"}, {"start": "00:00", "end": "06:00"}]})

    assert holds(night, at) is expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2027-01-15 12:00", False),  # a Friday
        ("2027-01-16 00:00", True),
        ("2027-01-17 23:59", True),
        ("2027-01-18 00:00", False),
    ],
)
def test_weekdays_are_those_of_the_calendar(at: str, expected: bool) -> None:
    """A range may run over Sunday."""
    assert holds(windows({"weekdays": ["saturday:sunday"]}), at) is expected


@pytest.mark.parametrize(
    ("days", "at", "expected"),
    [
        ("1", "2027-01-01 00:00", True),
        ("1", "2027-01-02 00:00", False),
        ("-1", "2027-01-31 12:00", True),
        ("-1", "2027-02-28 12:00", True),
        ("-1", "2028-02-28 12:00", False),  # a leap year
        ("-1", "2028-02-29 12:00", True),
        ("-3:-1", "2027-04-28 12:00", True),
        ("-3:-1", "2027-04-27 12:00", False),
        ("29:31", "2027-02-28 12:00", False),
        ("28:31", "2027-02-28 12:00", True),
        ("15:-1", "2027-02-14 12:00", False),
        ("15:-1", "2027-02-15 12:00", True),
        ("-31:-1", "2027-02-01 12:00", True),
    ],
)
def test_days_of_the_month_count_from_either_end(days: str, at: str, expected: bool) -> None:
    """The last day is -1, whichever it is."""
    assert holds(windows({"days_of_month": [days]}), at) is expected


@pytest.mark.parametrize("months", ["december", "12", "November:February", "11:2"])
def test_months_go_by_name_or_number_and_over_the_year(months: str) -> None:
    """December is in each of these, July in none."""
    mute = windows({"months": [months]})

    assert holds(mute, "2027-12-24 12:00")
    assert not holds(mute, "2027-07-24 12:00")


def test_years_are_a_range_with_both_ends() -> None:
    """From the first moment of the first to the last of the last."""
    mute = windows({"years": ["2027:2028"]})

    assert [holds(mute, f"{year}-06-01 12:00") for year in (2026, 2027, 2028, 2029)] == [
        False, True, True, False,
    ]  # fmt: skip


def test_everything_that_is_written_must_fit() -> None:
    """A window is the part that its fields have in common."""
    mute = windows({"weekdays": ["friday"], "times": [{"start": "08:00", "end": "09:00"}]})

    assert holds(mute, "2027-01-15 08:30")
    assert not holds(mute, "2027-01-15 09:30")
    assert not holds(mute, "2027-01-16 08:30")


def test_one_window_of_several_is_enough() -> None:
    """They are alternatives."""
    mute = windows({"weekdays": ["monday"]}, {"days_of_month": ["15"]})

    assert holds(mute, "2027-01-15 12:00")
    assert holds(mute, "2027-01-18 12:00")
    assert not holds(mute, "2027-01-16 12:00")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2027-01-15 20:59", False),  # 21:59 in Berlin
        ("2027-01-15 21:00", True),
        ("2027-07-15 19:59", False),  # 21:59 in Berlin, in summer
        ("2027-07-15 20:00", True),
    ],
)
def test_a_window_goes_by_the_clocks_of_its_place(at: str, expected: bool) -> None:
    """Also where they are put forward in summer."""
    mute = windows({"times": [{"start": "22:00", "end": "24:00"}], "location": "Europe/Berlin"})

    assert holds(mute, at) is expected


def test_the_weekday_is_that_of_the_place() -> None:
    """On Friday evening in London it is Saturday in Tokyo."""
    mute = windows({"weekdays": ["saturday"], "location": "Asia/Tokyo"})

    assert holds(mute, "2027-01-15 15:00")
    assert not holds(mute, "2027-01-15 14:59")
