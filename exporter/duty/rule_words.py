"""Rules in words: what each level of a rule asks, for tables, lists and documents."""

from __future__ import annotations

from exporter.alerting.rules.meaning import unit_compared, unit_of
from exporter.alerting.spoken import quantity
from exporter.alerting.words import (
    WINDOWED,
    Condition,
    Level,
    Operand,
    Otherwise,
    Reduce,
    Rule,
    Selector,
    When,
)
from exporter.config.quantities import format_duration

_FUNCTIONS = {
    Reduce.MIN: "the lowest",
    Reduce.MAX: "the highest",
    Reduce.AVG: "the average",
    Reduce.INCREASE: "the increase",
    Reduce.CHANGES: "the changes",
    Reduce.RATIO_TO_MAX: "the last over the highest",
}


def level_in_words(rule: Rule, level: Level) -> str:
    """Return what a level asks: "the increase in 5m of qdrantx_x{kind="auth"} > 0 faults"."""
    condition = rule.condition
    text = f"{_value(condition)} {condition.op.value} {_limit(condition, level)}"
    if rule.otherwise is not None:
        text += f", or {_compared(rule.otherwise)}"
    if rule.when is not None:
        text += f", while {_compared(rule.when)}"
        text += ", if that is known" if rule.when.if_unknown else ""
    return text


def waits_in_words(rule: Rule, level: Level) -> str:
    """Return how long a level waits to fire, and what it takes to end."""
    parts = [format_duration(level.for_seconds)]
    if level.clear is not None:
        parts.append(f"ends at {quantity(level.clear, unit_compared(rule.condition))}")
    if rule.keep_firing_for_seconds:
        parts.append(f"kept {format_duration(rule.keep_firing_for_seconds)}")
    return ", ".join(parts)


def _value(condition: Condition) -> str:
    value = _selected(condition.selector)
    return value if condition.divided_by is None else f"{value} / {_operand(condition.divided_by)}"


def _limit(condition: Condition, level: Level) -> str:
    if condition.than is not None:
        return _operand(condition.than)
    assert level.threshold is not None  # the loader lets no other level through
    return quantity(level.threshold, unit_compared(condition))


def _compared(part: Otherwise | When) -> str:
    limit = quantity(part.threshold, unit_of(part.selector))
    return f"{_selected(part.selector)} {part.op.value} {limit}"


def _operand(operand: Operand) -> str:
    return _selected(operand.selector)


def _selected(selector: Selector) -> str:
    labels = ", ".join(map(str, selector.match))
    series = selector.spec.series_name + (f"{{{labels}}}" if labels else "")
    if selector.reduce in WINDOWED:
        return f"{_FUNCTIONS[selector.reduce]} in {format_duration(selector.window_seconds)} of {series}"
    if selector.reduce is Reduce.AGE:
        return f"time since {series}"
    if selector.reduce is Reduce.UNTIL:
        return f"time until {series}"
    return series
