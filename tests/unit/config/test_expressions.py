"""Expressions that are taken, and those that a long name could keep busy for ever."""

from __future__ import annotations

import re
import time

import pytest

from exporter.config.expressions import LONGEST_LABEL, check_expression

HARMLESS = (
    "", "docs", "tmp_.*", "(?i)tmp.*", ".*-(dev|test)", "(a|b).*", ".*a.*b.*", "(foo|bar)+", "(.*_)?tmp",
    r"(\d{1,3}\.){3}\d{1,3}", "qdrant-[0-9]+", "[^/]+/.*", "|".join(f"x{number}.*" for number in range(40)),
    "()*", "a|b|a|b", "(a.b|a.c)*", "(?=x)x*", "(?>a+)b", "a++b", "(a)?(?(1)b|c)", "x{3}",
)  # fmt: skip
ENDLESS = (
    "(a+)+$", "(a*)*b", "(a|aa)*b", "(|a)+b", "(a?){50}b", "a?" * 40 + "a" * 40, ".*.*.*.*.*x", "(.*,)*x",
    "(a{1,30}){1,30}b", "((a)|a)*b", "(x(a+))*y", "(?:a+?)+b", "(?=(a+)+b)a", "(?>(a+)+b)",
    "(a)?(?(1)(a+)+b|c)",
)  # fmt: skip


@pytest.mark.parametrize("pattern", HARMLESS)
def test_an_expression_that_soon_fails_is_taken(pattern: str) -> None:
    """Whatever the name is."""
    check_expression(pattern)

    began = time.process_time()
    for name in ("a" * LONGEST_LABEL, "ab" * (LONGEST_LABEL // 2), "-" * LONGEST_LABEL, "x1" * 100):
        re.fullmatch(pattern, name)
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("pattern", ENDLESS)
def test_an_expression_that_could_take_for_ever_is_refused(pattern: str) -> None:
    """One collection with such a name would freeze everything."""
    with pytest.raises(ValueError, match="this could take for ever on a long name"):
        check_expression(pattern)


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "a{2,1}", "(" * 3_000 + ")" * 3_000])
def test_what_is_no_expression_is_refused(pattern: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(ValueError, match="this is not a regular expression"):
        check_expression(pattern)
