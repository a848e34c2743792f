"""When a job is due: pure, from its schedule and the time.

A cron line means the clock on the wall of its time zone. Where that clock leaps forward, what falls into
the gap is due once, at the first time that there is again; where it is set back, what comes twice is due
the first time, save with a line for every hour, which has no hour that could come twice. An interval is
counted from 1970-01-01 in UTC, so that neither a restart nor a late run moves it.

Times are Unix seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from exporter.config.jobs import ScheduleSettings
from exporter.config.schedules import CronLine, parse_cron
from exporter.config.time_windows import time_zone

_DAY = timedelta(days=1)
# The 29th of February may be eight years away, and may have to be a certain weekday: 40 years.
_DAYS_AHEAD = 41 * 366
# The days over which gaps are measured: two leap days, and every weekday with every day of a month.
_GAPS_FROM, _GAPS_DAYS = date(2024, 1, 1), 12 * 366


def next_fires(settings: ScheduleSettings, after: float, number: int) -> tuple[float, ...]:
    """Return the next so many times at which a job is due, each later than `after`."""
    return tuple(islice(_fires(settings, after), number))


def fires_between(settings: ScheduleSettings, after: float, until: float, limit: int) -> tuple[float, ...]:
    """Return the times at which it was due in (after, until]; of more than `limit` the first so many."""
    found = []
    for at in islice(_fires(settings, after), limit):
        if at > until:
            break
        found.append(at)
    return tuple(found)


def previous_fire(settings: ScheduleSettings, at: float) -> float | None:
    """Return the newest time, not later than `at`, at which it was due; None: never within 40 years."""
    if settings.every_seconds is not None:
        return at // settings.every_seconds * settings.every_seconds
    line, zone = _cron(settings)
    day = _local_day(at, zone) + _DAY  # what the day before left out may lie in this one
    for _ in range(_DAYS_AHEAD):
        times = _times_of(line, zone, day)
        index = bisect_right(times, at)
        if index:
            return times[index - 1]
        day -= _DAY
    return None


def longest_gap_seconds(settings: ScheduleSettings) -> float:
    """Return the longest time between two runs that the schedule has, by the clock on the wall.

    That is how old a backup of it becomes when all is well. Clocks that are set back make it an hour more.
    """
    if settings.every_seconds is not None:
        return settings.every_seconds
    line, _ = _cron(settings)
    minutes = [hour * 60 + minute for hour in line.hours for minute in line.minutes]
    days = [n for n in range(_GAPS_DAYS) if line.has_day(_GAPS_FROM + timedelta(days=n))]
    within_a_day = max((later - sooner for sooner, later in pairwise(minutes)), default=0)
    between_days = max(
        ((later - sooner) * 1440 + minutes[0] - minutes[-1] for sooner, later in pairwise(days)),
        default=_GAPS_DAYS * 1440,
    )
    return max(within_a_day, between_days) * 60.0


def _fires(settings: ScheduleSettings, after: float) -> Iterator[float]:
    if settings.every_seconds is not None:
        at = after
        while True:
            at = (at // settings.every_seconds + 1) * settings.every_seconds
            yield at
    line, zone = _cron(settings)
    day = _local_day(after, zone) - _DAY
    last = after
    for _ in range(_DAYS_AHEAD):
        times = _times_of(line, zone, day)
        for at in times[bisect_right(times, last) :]:
            last = at
            yield at
        day += _DAY


def _cron(settings: ScheduleSettings) -> tuple[CronLine, ZoneInfo]:
    assert settings.cron is not None, "a schedule has a cron line or an interval"
    return parse_cron(settings.cron), time_zone(settings.timezone)


def _local_day(at: float, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(at, zone).date()


def _times_of(line: CronLine, zone: ZoneInfo, day: date) -> list[float]:
    """Return the moments, ascending, at which a line is due on a day of the wall clock."""
    if not line.has_day(day):
        return []
    moments: set[float] = set()
    for hour in line.hours:
        for minute in line.minutes:
            wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
            if not _exists(wall):
                wall = _next_existing(wall)
            moments.add(wall.timestamp())
            if line.every_hour:
                # the same moment again, save where the clock is set back
                moments.add(wall.replace(fold=1).timestamp())
    return sorted(moments)


def _exists(wall: datetime) -> bool:
    there_and_back = wall.astimezone(UTC).astimezone(wall.tzinfo)
    return there_and_back.replace(tzinfo=None, fold=0) == wall.replace(tzinfo=None, fold=0)


def _next_existing(wall: datetime) -> datetime:
    # a gap is an hour, half an hour on Lord Howe, once a whole day on Samoa
    while not _exists(wall):
        wall += timedelta(minutes=1)
    return wall
