"""Whether the levels of a rule go together: sides, order and durations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from exporter.alerting.words import Level, Operator
from exporter.config.problems import KeyPath
from exporter.config.quantities import format_duration

_UPWARD = (Operator.GREATER, Operator.AT_LEAST)
_DOWNWARD = (Operator.LESS, Operator.AT_MOST)


def level_problems(op: Operator, levels: Sequence[Level]) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with levels, the worst first; paths begin below the rule."""
    for level in levels:
        if level.clear is not None and level.threshold is not None:
            wrong = _wrong_clear(op, level.threshold, level.clear)
            if wrong:
                yield ("levels", level.severity, "clear"), wrong
    for worse, milder in pairwise(levels):
        if worse.threshold is not None and milder.threshold is not None:
            wrong = _wrong_order(op, worse, milder)
            if wrong:
                yield ("levels", milder.severity, "threshold"), wrong
        if worse.for_seconds > milder.for_seconds:
            yield (
                ("levels", milder.severity, "for"),
                f"{milder.severity} fires before {worse.severity}, which would page twice: write"
                f" {format_duration(worse.for_seconds)} or more, or a shorter one at {worse.severity}",
            )


def _wrong_clear(op: Operator, threshold: float, clear: float) -> str:
    if op in _UPWARD and clear > threshold:
        return f"an alert on {op} ends below its threshold: write {threshold:g} or less"
    if op in _DOWNWARD and clear < threshold:
        return f"an alert on {op} ends above its threshold: write {threshold:g} or more"
    if op not in _UPWARD and op not in _DOWNWARD:
        return f"with {op} there is nothing between trouble and none; remove clear"
    return ""


def _wrong_order(op: Operator, worse: Level, milder: Level) -> str:
    assert worse.threshold is not None
    assert milder.threshold is not None
    if op in _UPWARD and milder.threshold > worse.threshold:
        return f"{milder.severity} begins no higher than {worse.severity}: write {worse.threshold:g} or less"
    if op in _DOWNWARD and milder.threshold < worse.threshold:
        return f"{milder.severity} begins no lower than {worse.severity}: write {worse.threshold:g} or more"
    return ""
