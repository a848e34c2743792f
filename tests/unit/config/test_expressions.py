"""Regular expressions: Prometheus' own kind, which no name can keep busy."""

from __future__ import annotations

import time

import pytest

from exporter.config.expressions import check_expression, matches_whole

LONGEST_LABEL = 255  # bytes of a collection's name


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("tmp_.*", "tmp_a", True),
        ("tmp_.*", "my_tmp_a", False),  # the whole value must match
        ("(?i)TMP", "tmp", True),
        ("a|b", "b", True),
        (".*", "two\nlines", True),
        ("", "", True),
        ("größe-[0-9]+", "größe-12", True),
    ],
)
def test_an_expression_matches_as_in_prometheus(pattern: str, text: str, expected: bool) -> None:
    """Anchored at both ends, and a dot stands for a line break too."""
    check_expression(pattern)

    assert matches_whole(pattern, text) is expected


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)*b", ".*.*.*.*.*x", "(.*,)*x"])
def test_no_name_keeps_an_expression_busy(pattern: str) -> None:
    """Python's own would try for years what these may match."""
    began = time.process_time()

    assert not matches_whole(pattern, "a" * (LONGEST_LABEL - 1) + "!")

    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "(?=x)", r"(a)\1", "a{1001}"])
def test_what_prometheus_does_not_know_is_refused(pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    """With what is wrong with it, and without a word of RE2's own on stderr."""
    with pytest.raises(ValueError, match="not a regular expression that Prometheus knows"):
        check_expression(pattern)

    assert capfd.readouterr().err == ""
