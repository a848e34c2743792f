"""When jobs are due: cron as people know it, by the clock on the wall, also where it leaps."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.jobs import ScheduleSettings
from exporter.jobs.schedule import fires_between, longest_gap_seconds, next_fires, previous_fire

HOUR = 3_600.0
DAY = 24 * HOUR


def cron(line: str, zone: str = "UTC") -> ScheduleSettings:
    return ScheduleSettings(cron=line, timezone=zone)


def at(text: str) -> float:
    """Read "2027-03-28 01:15 Europe/Berlin" as Unix seconds."""
    day, clock, zone = text.split()
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=ZoneInfo(zone)).timestamp()


def fires(schedule: ScheduleSettings, after: str, number: int) -> list[str]:
    """Return the next times as the clock on the wall shows them, with its offset from UTC."""
    zone = ZoneInfo(schedule.timezone)
    moments = next_fires(schedule, at(after), number)
    return [datetime.fromtimestamp(moment, zone).strftime("%m-%d %H:%M%z") for moment in moments]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("30 2 * * *", ["10-13 02:30", "10-14 02:30", "10-15 02:30"]),
        ("0 */8 * * *", ["10-12 16:00", "10-13 00:00", "10-13 08:00"]),
        ("0 3 * * 0", ["10-18 03:00", "10-25 03:00", "11-01 03:00"]),
        ("0 3 * * 7", ["10-18 03:00", "10-25 03:00", "11-01 03:00"]),
        ("0 3 1 * *", ["11-01 03:00", "12-01 03:00", "01-01 03:00"]),
        ("0 0 31 * *", ["10-31 00:00", "12-31 00:00", "01-31 00:00"]),
        ("0 0 13 * fri", ["10-13 00:00", "10-16 00:00", "10-23 00:00"]),
        ("0 0 29 2 *", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
    ],
)
def test_a_cron_line_is_due_when_cron_would_be(line: str, expected: list[str]) -> None:
    """From a Monday noon, the 12th of October 2026."""
    assert fires(cron(line), "2026-10-12 12:00 UTC", 3) == [f"{moment}+0000" for moment in expected]


def test_what_is_due_now_is_not_due_next() -> None:
    """Each next time is later than the one that it is asked for."""
    now = at("2026-10-12 02:30 UTC")

    assert next_fires(cron("30 2 * * *"), now, 1) == (now + DAY,)
    assert previous_fire(cron("30 2 * * *"), now) == now
    assert previous_fire(cron("30 2 * * *"), now - 1) == now - DAY


def test_where_the_clock_leaps_forward_it_is_due_once_at_the_next_time_there_is() -> None:
    """On that night there is no 02:30 in Berlin; a backup is wanted all the same."""
    assert fires(cron("30 2 * * *", "Europe/Berlin"), "2027-03-27 12:00 Europe/Berlin", 2) == [
        "03-28 03:00+0200",
        "03-29 02:30+0200",
    ]
    assert fires(cron("0,30 2,3 * * *", "Europe/Berlin"), "2027-03-28 00:00 Europe/Berlin", 3) == [
        "03-28 03:00+0200",
        "03-28 03:30+0200",
        "03-29 02:00+0200",
    ]


def test_where_the_clock_is_set_back_it_is_due_once_the_first_time() -> None:
    """On that night there are two 02:30 in Berlin; one backup is enough."""
    assert fires(cron("30 2 * * *", "Europe/Berlin"), "2027-10-31 00:00 Europe/Berlin", 2) == [
        "10-31 02:30+0200",
        "11-01 02:30+0100",
    ]


def test_a_line_for_every_hour_is_due_in_the_hour_that_comes_twice_too() -> None:
    """It names no hour, so no hour comes twice: else there would be two hours without a backup."""
    assert fires(cron("30 * * * *", "Europe/Berlin"), "2027-10-31 01:45 Europe/Berlin", 3) == [
        "10-31 02:30+0200",
        "10-31 02:30+0100",
        "10-31 03:30+0100",
    ]


def test_a_leap_of_half_an_hour_and_one_of_a_whole_day_are_leaps_too() -> None:
    """Lord Howe does the one, Samoa did the other: its 30th of December 2011 never was."""
    assert fires(cron("15 2 * * *", "Australia/Lord_Howe"), "2026-10-03 12:00 Australia/Lord_Howe", 1) == [
        "10-04 02:30+1100"
    ]
    assert fires(cron("0 12 30 * *", "Pacific/Apia"), "2011-12-29 12:00 Pacific/Apia", 2) == [
        "12-31 00:00+1400",
        "01-30 12:00+1400",
    ]


def test_an_interval_is_counted_from_midnight_of_1970() -> None:
    """Neither a restart nor a late run moves it, and people can tell when it will be."""
    every = ScheduleSettings(every_seconds=6 * HOUR)

    assert fires(every, "2026-10-12 13:37 UTC", 3) == [
        "10-12 18:00+0000",
        "10-13 00:00+0000",
        "10-13 06:00+0000",
    ]
    assert previous_fire(every, at("2026-10-12 13:37 UTC")) == at("2026-10-12 12:00 UTC")
    assert previous_fire(every, at("2026-10-12 12:00 UTC")) == at("2026-10-12 12:00 UTC")


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("30 2 * * *", DAY),
        ("0 */6 * * *", 6 * HOUR),
        ("0 2,4 * * *", 22 * HOUR),
        ("0 3 * * 0", 7 * DAY),
        ("0 3 * * mon-fri", 3 * DAY),
        ("0 3 1 * *", 31 * DAY),
        ("*/10 * * * *", 600.0),
        ("0 0 29 2 *", 1_461 * DAY),
    ],
)
def test_the_longest_gap_is_how_old_a_backup_becomes_when_all_is_well(line: str, seconds: float) -> None:
    """It is what a backup may be old by default."""
    assert longest_gap_seconds(cron(line)) == seconds


def test_fires_between_two_moments_are_counted_up_to_a_limit() -> None:
    """The first moment is not among them, the last may be."""
    start = at("2026-10-12 12:00 UTC")

    assert fires_between(cron("0 * * * *"), start, start + 3 * HOUR, 10) == tuple(
        start + hours * HOUR for hours in (1, 2, 3)
    )
    assert len(fires_between(cron("* * * * *"), start, start + DAY, 10)) == 10


LINES = st.sampled_from(
    [
        "30 2 * * *",
        "*/7 */3 * * *",
        "15 0 1,15 * *",
        "0 2 * * 0",
        "59 23 31 12 *",
        "10 1-3 * * *",
        "*/20 * * * *",
    ]
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
MOMENTS = st.integers(
    int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2040, 1, 1, tzinfo=UTC).timestamp())
)


@settings(max_examples=60, deadline=None)
@given(line=LINES, zone=ZONES, moment=MOMENTS)
def test_next_and_previous_agree_wherever_they_are_asked(line: str, zone: str, moment: int) -> None:
    """Ascending, none left out: the previous of each is itself, and between two there is none."""
    schedule = cron(line, zone)

    times = next_fires(schedule, moment, 6)

    assert list(times) == sorted(set(times))
    assert times[0] > moment
    assert previous_fire(schedule, times[0] - 0.5) != times[0]
    for sooner, later in pairwise(times):
        assert previous_fire(schedule, sooner) == sooner
        assert previous_fire(schedule, later - 0.5) == sooner
