"""Cron lines as people write them: "30 2 * * *", "0 */6 * * mon-fri".

Five fields as in crontab(5): minute, hour, day of the month, month, weekday. Weekdays are cron's own, 0
and 7 are Sunday. Where both days are restricted one of them is enough, as there. When such a line is due
is in `jobs/schedule.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated

from pydantic import AfterValidator

WRITE_A_CRON_LINE = (
    'write five fields in quotes, minute, hour, day, month and weekday: "30 2 * * *" is every night at 02:30'
)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ITEM = re.compile(r"(\*|[a-z0-9]{1,3})(?:-([a-z0-9]{1,3}))?(?:/([0-9]{1,2}))?")

_A_LEAP_YEAR = 2028  # has every day that any year has


@dataclass(frozen=True, slots=True)
class CronLine:
    """A cron line, read. Weekdays are Python's here: Monday is 0."""

    minutes: tuple[int, ...]  # ascending
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool  # both kinds of day are restricted: one that matches is enough

    @property
    def every_hour(self) -> bool:
        """It knows no hour that is its own."""
        return len(self.hours) == 24

    def has_day(self, day: date) -> bool:
        """It is due on this day."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.weekday() in self.weekdays
        return by_day or by_weekday if self.either_day else by_day and by_weekday


@dataclass(frozen=True, slots=True)
class _Field:
    what: str
    lowest: int
    highest: int
    names: Mapping[str, int]


_FIELDS = (
    _Field("the minute", 0, 59, {}),
    _Field("the hour", 0, 23, {}),
    _Field("the day of the month", 1, 31, {}),
    _Field("the month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    _Field("the weekday", 0, 7, {name: number for number, name in enumerate(_WEEKDAYS)}),
)


def parse_cron(text: str) -> CronLine:
    """Return a cron line, read. Raises ValueError saying what to write; it does not repeat the text."""
    words = text.lower().split()
    if len(words) != len(_FIELDS):
        raise ValueError(WRITE_A_CRON_LINE)
    minutes, hours, days, months, weekdays = (
        _numbers(word, field) for word, field in zip(words, _FIELDS, strict=True)
    )
    line = CronLine(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset((number - 1) % 7 for number in weekdays),
        # as cron does it: a field that begins with a star restricts nothing, even "*/2"
        either_day=not words[2].startswith("*") and not words[4].startswith("*"),
    )
    first = date(_A_LEAP_YEAR, 1, 1)
    # 28 years on, every day of the year has been every weekday
    if not any(line.has_day(first + timedelta(days=number)) for number in range(28 * 366)):
        raise ValueError("no month has such a day: this is never due")
    return line


def _numbers(word: str, field: _Field) -> set[int]:
    numbers: set[int] = set()
    for item in word.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{field.what} cannot be read; {WRITE_A_CRON_LINE}")
        numbers |= _range(match[1], match[2], match[3], field)
    return numbers


def _range(first: str, last: str | None, step: str | None, field: _Field) -> set[int]:
    if first == "*":
        if last is not None:
            raise ValueError(f"{field.what} cannot be read; {WRITE_A_CRON_LINE}")
        start, end = field.lowest, field.highest
    else:
        start = _number(first, field)
        # "10/20" is "10-59/20"
        unwritten = start if step is None else field.highest
        end = unwritten if last is None else _number(last, field)
    if end < start and field.names and end == 0:  # "sat-sun"
        end = field.highest
    if end < start:
        raise ValueError(f"{field.what} has a range that ends before it starts; write two, with a comma")
    width = 1 if step is None else int(step)
    if width == 0:
        raise ValueError(f"{field.what} has a step of 0")
    # A star is a whole week, in which Sunday is there once: "*/2" must not also count it as the 7.
    stop = end if first != "*" or field.highest != 7 else 6
    return set(range(start, stop + 1, width))


def _number(word: str, field: _Field) -> int:
    number = field.names.get(word, int(word) if word.isdigit() else -1)
    if not field.lowest <= number <= field.highest:
        raise ValueError(f"{field.what} is a number from {field.lowest} to {field.highest}")
    return number


def _checked(text: str) -> str:
    parse_cron(text)
    return text


CronText = Annotated[str, AfterValidator(_checked)]
