"""Regular expressions that people write: RE2, as in Prometheus and Alertmanager.

Python's own tries the ways in which an expression may match one after the other, and `(a+)+$` has more
of them for a name of 255 letters than there is time. RE2 takes as long as the name is, and refuses
what Prometheus would refuse too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import re2  # type: ignore[import-untyped]

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # it would write to stderr by itself
_OPTIONS.dot_nl = True  # as Prometheus has it


def check_expression(pattern: str) -> None:
    """Refuse what is no regular expression by a ValueError that says why."""
    try:
        _compiled(pattern)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"this is not a regular expression that Prometheus knows (RE2): {text}") from None


def matches_whole(pattern: str, text: str) -> bool:
    """Whether an expression that was checked matches all of a text."""
    return _compiled(pattern).fullmatch(text) is not None


@cache
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern, _OPTIONS)
