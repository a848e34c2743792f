"""Durations and sizes: what is read, what is shown again, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.quantities import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15.0), ("5m", 300.0), ("1h30m", 5400.0), ("250ms", 0.25), ("2d", 172_800.0), ("0s", 0.0)],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    """The attributes of the settings are plain seconds."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "15", "1.5s", "30m1h", "s", "-5s", "1h 30m", "5M", "١s", "9" * 5000 + "s"]
)
def test_a_duration_without_a_clear_unit_is_refused(text: str) -> None:
    """A bare number would leave it open whether it is seconds or minutes."""
    with pytest.raises(ValueError, match="write a duration with its unit, for example 30s, 5m or 1h30m"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_every_duration_survives_being_shown_and_read_again(milliseconds: int) -> None:
    """GET /config shows durations as a file would have them."""
    assert milliseconds / 1000 == parse_duration(format_duration(milliseconds / 1000))


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("64MiB", 67_108_864), ("1GB", 10**9), ("10 KiB", 10_240), ("7B", 7), ("2TiB", 2 << 40)],
)
def test_a_size_is_read_as_bytes(text: str, size_bytes: int) -> None:
    """Units with an i count in 1024, those without in 1000."""
    assert size_bytes == parse_size(text)


@pytest.mark.parametrize("text", ["", "64", "64M", "1.5GiB", "-1B", "1iB", "MiB", "64mib"])
def test_a_size_without_a_clear_unit_is_refused(text: str) -> None:
    """64M would leave it open whether it counts in 1000 or 1024."""
    with pytest.raises(ValueError, match="write a size with its unit, for example 64MiB or 1GB"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=10**12 - 1))
def test_every_size_survives_being_shown_and_read_again(size_bytes: int) -> None:
    """Nothing is rounded when a size is shown."""
    assert size_bytes == parse_size(format_size(size_bytes))
