"""Durations and sizes as people write them: "15s", "1h30m", "64MiB". Always with a unit.

No pydantic here; `fields.py` makes field types of these.
"""

from __future__ import annotations

import re

MILLISECONDS_PER_UNIT = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

# Binary before decimal: 64MiB is also 67108864B, and people want the short one back.
BYTES_PER_UNIT = {
    "TiB": 1 << 40,
    "GiB": 1 << 30,
    "MiB": 1 << 20,
    "KiB": 1 << 10,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "KB": 10**3,
    "B": 1,
}

WRITE_A_DURATION = "write a duration with its unit, for example 30s, 5m or 1h30m"
WRITE_A_SIZE = "write a size with its unit, for example 64MiB or 1GB"

# Twelve digits: 10^12 days still fit a float of seconds, and no number is slow to parse.
_DURATION = re.compile(
    r"(?:([0-9]{1,12})d)?(?:([0-9]{1,12})h)?(?:([0-9]{1,12})m)?(?:([0-9]{1,12})s)?(?:([0-9]{1,12})ms)?"
)
_SIZE = re.compile(r"([0-9]{1,12}) ?([KMGT]?i?B)")


def parse_duration(text: str) -> float:
    """Return seconds. Units d, h, m, s, ms, largest first, each at most once.

    Raises ValueError saying what to write; the message does not repeat the text.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise ValueError(WRITE_A_DURATION)
    counts = zip(match.groups(), MILLISECONDS_PER_UNIT.values(), strict=True)
    return sum(int(count) * milliseconds for count, milliseconds in counts if count) / 1000


def format_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads as these seconds, to the millisecond."""
    rest = round(seconds * 1000)
    if rest == 0:
        return "0s"
    text = ""
    for unit, milliseconds in MILLISECONDS_PER_UNIT.items():
        count, rest = divmod(rest, milliseconds)
        if count:
            text += f"{count}{unit}"
    return text


def parse_size(text: str) -> int:
    """Return bytes. KiB, MiB, GiB, TiB are powers of 1024; KB, MB, GB, TB of 1000.

    Raises ValueError saying what to write; the message does not repeat the text.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2] not in BYTES_PER_UNIT:
        raise ValueError(WRITE_A_SIZE)
    return int(match[1]) * BYTES_PER_UNIT[match[2]]


def format_size(size_bytes: int) -> str:
    """Return the size in the largest unit that divides it, so that nothing is rounded."""
    for unit, unit_bytes in BYTES_PER_UNIT.items():
        if size_bytes and size_bytes % unit_bytes == 0:
            return f"{size_bytes // unit_bytes}{unit}"
    return "0B"
