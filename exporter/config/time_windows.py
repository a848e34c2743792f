"""Parts of the calendar as people write them: "22:00", "saturday:sunday", "1:7", "-1", "6:8".

The fields are Alertmanager's; ranges of weekdays and months may also run over the end, "friday:monday".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from zoneinfo import ZoneInfo

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
MINUTES_A_DAY = 24 * 60

Range = tuple[int, int]  # both ends included

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_YEARS = (1970, 9999)  # what a time stamp can be


def parse_clock(text: str) -> int:
    """Return minutes since midnight of "00:00" to "24:00". Raises ValueError saying what to write."""
    if text == "24:00":
        return MINUTES_A_DAY
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError('write a time of day in quotes, "00:00" to "24:00"')
    return int(match[1]) * 60 + int(match[2])


def parse_weekdays(text: str) -> tuple[int, ...]:
    """Return weekdays, Monday is 0, of "monday" or "saturday:sunday". Raises ValueError."""
    start, end = _ends(text, _weekday)
    return _around(start, end, 7)


def parse_months(text: str) -> tuple[int, ...]:
    """Return months, January is 1, of "december", "12" or "november:february". Raises ValueError."""
    start, end = _ends(text, _month)
    return tuple(number + 1 for number in _around(start - 1, end - 1, 12))


def parse_days_of_month(text: str) -> Range:
    """Return first and last day of "1", "1:7" or "-3:-1"; -1 is the month's last. Raises ValueError."""
    start, end = _ends(text, _day)
    if (start < 0 and end > 0) or ((start < 0) == (end < 0) and start > end):
        raise ValueError('the first day comes before the last: write "1:7", "25:-1" or "-3:-1"')
    return start, end


def parse_years(text: str) -> Range:
    """Return first and last year of "2027" or "2027:2029". Raises ValueError saying what to write."""
    start, end = _ends(text, _year)
    if start > end:
        raise ValueError('the first year comes before the last: write "2027:2029"')
    return start, end


def time_zone(name: str) -> ZoneInfo:
    """Return a time zone of the IANA database. Raises ValueError saying what to write."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found; a path; a directory of the database
        raise ValueError(
            "there is no such time zone on this machine; write UTC or a name such as Europe/Berlin"
        ) from None


def _ends(text: str, read: Callable[[str], int]) -> Range:
    first, colon, last = text.partition(":")
    start = read(first.strip().lower())
    return start, read(last.strip().lower()) if colon else start


def _around(start: int, end: int, size: int) -> tuple[int, ...]:
    return tuple((start + step) % size for step in range((end - start) % size + 1))


def _weekday(word: str) -> int:
    if word not in WEEKDAYS:
        raise ValueError('write a weekday in English, "monday", or two, "saturday:sunday"')
    return WEEKDAYS.index(word)


def _month(word: str) -> int:
    if word in MONTHS:
        return MONTHS.index(word) + 1
    return _number(word, 1, 12, 'write a month, "december" or "12", or two, "6:8"')


def _day(word: str) -> int:
    number = _number(word, -31, 31, 'write a day of the month in quotes, "1", "-1" for the last, or "1:7"')
    if number == 0:
        raise ValueError("no month has a day 0; the first is 1, the last is -1")
    return number


def _year(word: str) -> int:
    return _number(word, *_YEARS, 'write a year in quotes, "2027", or two, "2027:2029"')


def _number(word: str, lowest: int, highest: int, advice: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,4}", word) or not lowest <= int(word) <= highest:
        raise ValueError(advice)
    return int(word)
