"""Windows in the calendar in which a route tells nothing new. Fields and their meaning as in Alertmanager."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from exporter.config.alerting import MuteTimeSettings, TimeWindow
from exporter.config.time_windows import (
    Range,
    parse_clock,
    parse_days_of_month,
    parse_months,
    parse_weekdays,
    parse_years,
    time_zone,
)


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the calendar. An empty field fits every time; of a written one, any item must fit."""

    zone: ZoneInfo
    minutes: tuple[Range, ...] = ()  # since midnight; the end does not belong to it
    weekdays: frozenset[int] = frozenset()  # Monday is 0
    days: tuple[Range, ...] = ()  # of the month; -1 is the last
    months: frozenset[int] = frozenset()  # January is 1
    years: tuple[Range, ...] = ()

    def holds(self, now: float) -> bool:
        """Whether a Unix time lies in it."""
        at = datetime.fromtimestamp(now, self.zone)
        minute = at.hour * 60 + at.minute
        return (
            (not self.minutes or any(start <= minute < end for start, end in self.minutes))
            and (not self.weekdays or at.weekday() in self.weekdays)
            and (not self.months or at.month in self.months)
            and (not self.years or any(first <= at.year <= last for first, last in self.years))
            and (not self.days or any(_in_days(at, first, last) for first, last in self.days))
        )


@dataclass(frozen=True, slots=True)
class MuteTime:
    """Windows under a name that routes call."""

    name: str
    windows: tuple[Window, ...]

    def is_muted(self, now: float) -> bool:
        """Whether a Unix time lies in one of the windows."""
        return any(window.holds(now) for window in self.windows)


def mute_time(settings: MuteTimeSettings) -> MuteTime:
    """Make a mute time of what a person wrote.

    Raises ValueError saying what to write; settings that were loaded from a file are checked already.
    """
    return MuteTime(settings.name, tuple(_window(window) for window in settings.windows))


def _window(written: TimeWindow) -> Window:
    return Window(
        zone=time_zone(written.location),
        minutes=tuple((parse_clock(each.start), parse_clock(each.end)) for each in written.times),
        weekdays=frozenset(day for text in written.weekdays for day in parse_weekdays(text)),
        days=tuple(parse_days_of_month(text) for text in written.days_of_month),
        months=frozenset(month for text in written.months for month in parse_months(text)),
        years=tuple(parse_years(text) for text in written.years),
    )


def _in_days(at: datetime, first: int, last: int) -> bool:
    """Whether a day of the month lies in a range whose ends may count from the month's end.

    What lies outside this month is cut off: "29:31" fits no day of a February with 28.
    """
    length = calendar.monthrange(at.year, at.month)[1]
    start = first if first > 0 else length + first + 1
    end = last if last > 0 else length + last + 1
    return start <= at.day <= end
