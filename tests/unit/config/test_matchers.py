"""Matchers as text, and what is no matcher."""

from __future__ import annotations

import pytest

from exporter.config.matchers import parse_matcher


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('severity="critical"', ("severity", "critical", False, False)),
        ("severity=critical", ("severity", "critical", False, False)),
        (' peer != "a b" ', ("peer", "a b", False, True)),
        ('collection=~"tmp_.*|x"', ("collection", "tmp_.*|x", True, False)),
        (r'collection!~"a\"b\\d\n\."', ("collection", 'a"b\\d\n\\.', True, True)),
        ('team=""', ("team", "", False, False)),
        ("team=", ("team", "", False, False)),
        ('a="{b},c=d"', ("a", "{b},c=d", False, False)),
    ],
)
def test_a_matcher_is_read_as_alertmanager_reads_it(text: str, expected: tuple[object, ...]) -> None:
    """Quotes may be left out, escapes are known inside them."""
    assert parse_matcher(text) == expected


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("severity", "write a matcher such as"),
        ('="x"', "write a matcher such as"),
        ('{a="b"}', "write a matcher such as"),
        ("1a=b", "write a matcher such as"),
        ("a=b,c=d", "put the value in double quotes"),
        ('a="b', "the double quotes of the value do not match"),
        ('a="b"c"', "the double quotes of the value do not match"),
        ('a="b\\"', "the double quotes of the value do not match"),
        ('a=b"', "put the value in double quotes"),
        ('a=~"(x"', "behind =~: this is not a regular expression"),
        ("a=" + "x" * 1_000, "at most 1000 characters"),
    ],
)
def test_what_is_no_matcher_is_refused_with_what_to_write(text: str, advice: str) -> None:
    """A matcher that means something else than was meant would page the wrong people."""
    with pytest.raises(ValueError, match=advice):
        parse_matcher(text)
