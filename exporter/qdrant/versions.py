"""What a server of which version can answer: a table, and the one function that reads it."""

from __future__ import annotations

from typing import NamedTuple


class Version(NamedTuple):
    """A server version as (major, minor, patch); pre-release suffixes are dropped."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


# First version that answers, by source. Found by reading every release from 1.9.0 to 1.19.0; those of
# 1.12.6, 1.16.3 and 1.18.3 were confirmed by recorded answers (404 with an empty body before).
# 1.16.3 has the optimizations route in another shape, without the summary we read.
FIRST_VERSION = {
    "optimizations": Version(1, 17, 0),
    "memory": Version(1, 18, 0),
    "quotas": Version(1, 19, 0),
}

# Thresholds that a collection leaves at null take the server's default, in KB of raw vectors.
# It fell from 20,000 to 10,000 with 1.15.0.
DEFAULT_INDEXING_THRESHOLD_KB_BEFORE_1_15 = 20_000
DEFAULT_INDEXING_THRESHOLD_KB = 10_000


def parse_version(text: str) -> Version | None:
    """Return the version in "1.18.3" or "1.19.0-dev", or None where there is none to read."""
    parts = text.split("-", 1)[0].split("+", 1)[0].split(".")
    if len(parts) != len(Version._fields) or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    return Version(*(int(part) for part in parts))


def supports(version: Version | None, source: str) -> bool:
    """Whether a server of this version has the source. An unreadable version is given the chance."""
    first = FIRST_VERSION.get(source)
    return first is None or version is None or version >= first


def default_indexing_threshold_kb(version: Version | None) -> int:
    """The indexing threshold, in KB, of a collection that leaves it unset."""
    if version is not None and version < (1, 15, 0):
        return DEFAULT_INDEXING_THRESHOLD_KB_BEFORE_1_15
    return DEFAULT_INDEXING_THRESHOLD_KB
