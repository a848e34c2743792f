"""What the parts of a rule mean together: the labels of its alerts and the unit of its numbers."""

from __future__ import annotations

from exporter.alerting.words import Condition, Reduce, Rule, Selector

# Metrics that show only the value in force of this label: the series of the others are not there. When
# it changes, the alert goes on, so an alert does not carry it.
IN_FORCE = {"qdrantx_replica_state": "state", "qdrantx_replica_status": "status"}

UNIX_TIME = "seconds, Unix time"


def alert_labels(condition: Condition) -> tuple[str, ...]:
    """Return the names of the labels that an alert has from its series, in the metric's order."""
    if condition.by is not None:
        return condition.by
    spec = condition.selector.spec
    return tuple(name for name in spec.labels if name != IN_FORCE.get(spec.name))


def is_aggregated(condition: Condition) -> bool:
    """Whether several series may fall together into one alert."""
    return set(alert_labels(condition)) != set(condition.selector.spec.labels)


def unit_of(selector: Selector) -> str:
    """Return the unit of the one value that a selector makes of a series; "" for a bare number."""
    if selector.reduce in (Reduce.AGE, Reduce.UNTIL):
        return "seconds"
    if selector.reduce is Reduce.RATIO_TO_MAX:
        return "ratio 0-1"
    return "" if selector.reduce is Reduce.CHANGES else selector.spec.unit


def unit_compared(condition: Condition) -> str:
    """Return the unit of a condition's value and limit; "" where one number is divided by another."""
    return "" if condition.divided_by is not None else unit_of(condition.selector)


def selectors_of(rule: Rule) -> tuple[Selector, ...]:
    """Return every selector of a rule, its own first."""
    condition = rule.condition
    operands = (condition.divided_by, condition.than)
    return (
        condition.selector,
        *(operand.selector for operand in operands if operand is not None),
        *(part.selector for part in (rule.otherwise, rule.when) if part is not None),
    )
