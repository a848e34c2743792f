"""Numbers, durations, moments and names as a person reads them in a message."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from exporter.printable import printable

_BYTES = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_SECONDS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
# Units of the catalogue that say how a number is meant and are no word to put behind it.
_NO_WORD = frozenset({"", "1", "1 or 0"})


def quantity(value: float, unit: str) -> str:
    """Return a value with its unit as the catalogue names it: "1.5 GiB", "91.2 %", "12,345 points"."""
    if not math.isfinite(value):
        return "unknown"
    if unit.startswith("seconds, Unix time"):
        return moment(value)
    if unit == "seconds":
        return duration(value)
    if unit == "bytes":
        return _size(value)
    if unit.startswith("ratio"):
        return f"{number(value * 100)} %"
    return number(value) if unit in _NO_WORD else f"{number(value)} {unit}"


def value_with_limit(value: float | None, limit: float | None, unit: str) -> str:
    """Return a value beside its limit: "12,345 points, limit 10,000 points"; "" where there is no value."""
    if value is None:
        return ""
    return quantity(value, unit) + ("" if limit is None else f", limit {quantity(limit, unit)}")


def number(value: float) -> str:
    """Return a number with thousands separated; a fraction to four digits that count, at most four places."""
    if not math.isfinite(value):
        return "unknown"
    if value == round(value):
        return f"{value:,.0f}"
    places = max(0, 3 - math.floor(math.log10(abs(value)))) if abs(value) >= 0.001 else 6
    text = f"{value:,.{min(places, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: "12 min 5 s", "3 h", "250 ms"."""
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    if 0 < seconds < 10 and seconds != round(seconds):
        return f"{sign}{number(seconds * 1000)} ms" if seconds < 1 else f"{sign}{number(seconds)} s"
    rest, parts = round(seconds), []
    for word, size in _SECONDS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {word}")
        elif parts:
            break  # "1 d 5 s" says less than "1 d"
        if len(parts) == 2:
            break
    return sign + (" ".join(parts) or "0 s")


def moment(unix_seconds: float) -> str:
    """Return a moment to the second: "2026-11-26 02:34:25 UTC"."""
    try:
        return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"Unix time {number(unix_seconds)}"


def one_line(text: str) -> str:
    """Return a text on one line: what would break it, or turn the order of its letters, is spelt out."""
    return printable(" ".join(text.splitlines()) if "\n" in text or "\r" in text else text)


def lines(text: str) -> str:
    """Return a text of several lines, each as `one_line` leaves it, without empty ones at its ends."""
    return "\n".join(printable(line) for line in text.strip().splitlines())


def clipped(text: str, limit: int) -> str:
    """Return at most `limit` UTF-16 units of a text, which is how services count at the strictest."""
    if units(text) <= limit:
        return text
    kept, used = [], 1  # of the mark
    for character in text:
        used += units(character)
        if used > limit:
            break
        kept.append(character)
    return "".join(kept) + "…"


def units(text: str) -> int:
    """Return how many UTF-16 units a text has: two for what lies beyond the basic plane."""
    return len(text) + sum(character > "\uffff" for character in text)


def _size(value: float) -> str:
    for word, size in _BYTES:
        if abs(value) >= size:
            return f"{number(value / size)} {word}"
    return f"{number(value)} B"
