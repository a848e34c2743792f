"""Matchers as people write them: severity="critical", collection=~"tmp_.*", peer!="a", team!~"x|y".

The syntax is Alertmanager's. A matcher is one condition on one label; an absent label has the value "".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from exporter.config.expressions import check_expression

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
WRITE_A_MATCHER = (
    'write a matcher such as severity="critical", collection=~"tmp_.*", peer!="a" or team!~"x|y"'
)

# A longer one is a list of names, which belongs into a label.
MAX_MATCHER_CHARACTERS = 1_000

_PARTS = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\n])')


class WrittenMatcher(NamedTuple):
    """The parts of a matcher, in the order of alerting's own `Matcher`."""

    name: str
    value: str
    regex: bool  # the whole value must match
    negative: bool


def parse_matcher(text: str) -> WrittenMatcher:
    """Return the parts of one matcher. Quotes may be left out; inside them \\", \\\\ and \\n are known.

    Raises ValueError saying what to write.
    """
    if len(text) > MAX_MATCHER_CHARACTERS:
        raise ValueError(f"a matcher has at most {MAX_MATCHER_CHARACTERS} characters")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise ValueError(WRITE_A_MATCHER)
    name, sign, written = parts.groups()
    value = _unquoted(written)
    regex = sign in ("=~", "!~")
    if regex:
        try:
            check_expression(value)
        except ValueError as error:
            raise ValueError(f"behind {sign}: {error}") from None
    return WrittenMatcher(name, value, regex, sign in ("!=", "!~"))


def checked_matcher(text: str) -> str:
    """Return a matcher as written. Raises ValueError saying what to write."""
    parse_matcher(text)
    return text


def checked_label_name(name: str) -> str:
    """Return the name of a label. Raises ValueError saying what one is."""
    if not LABEL_NAME.fullmatch(name):
        raise ValueError("a label's name has letters, digits and underscores and starts with no digit")
    return name


def _unquoted(written: str) -> str:
    if written.startswith('"'):
        if not _QUOTED.fullmatch(written):
            raise ValueError('the double quotes of the value do not match; one inside is written \\"')
        return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], written[1:-1])
    if any(character in written for character in '"{},'):
        raise ValueError(f"put the value in double quotes; {WRITE_A_MATCHER}")
    return written
