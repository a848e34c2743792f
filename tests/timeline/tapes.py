"""Raw values for the metrics of a rule, such that what the rule reduces them to meets its thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.alerting.words import Matcher, Operator, Reduce, Rule, Selector
from exporter.model import CLUSTER_LABEL

STEP_SECONDS = 15.0
SCRAPED_BEFORE_SECONDS = 10.0  # so that no sample lies on the edge of a window
ODD = 1.0131


@dataclass(frozen=True, slots=True)
class Role:
    """A selector of a rule, and the reduced values that it should come to, the first one harmless."""

    selector: Selector
    targets: tuple[float, ...]


def roles_of(rule: Rule) -> tuple[Role, ...]:
    """Return the rule's selectors, its own first."""
    condition = rule.condition
    selector, op = condition.selector, condition.op
    if condition.than is not None:
        limits = (2.0, 1.0, 3.0)
        safe = 4.0 if op in (Operator.LESS, Operator.AT_MOST) else 0.0
        roles = [Role(selector, (safe, 1.0, 2.0, 3.0)), Role(condition.than.selector, limits)]
    else:
        thresholds = [level.threshold for level in reversed(rule.levels) if level.threshold is not None]
        roles = [Role(selector, _around(thresholds, op))]
    if condition.divided_by is not None:
        roles.append(Role(condition.divided_by.selector, (1.0, 1.0, 2.0)))
    for part in (rule.otherwise, rule.when):
        if part is not None:
            harmless = rule.otherwise is part
            roles.append(Role(part.selector, _around([part.threshold], part.op, safe=harmless)))
    return tuple(roles)


def _around(thresholds: list[float], op: Operator, *, safe: bool = True) -> tuple[float, ...]:
    """Return values beside, on and beyond each threshold; the first is on the safe side, or on the other."""
    values: list[float] = []
    for threshold in thresholds:
        gap = 1.0 if threshold.is_integer() else 0.001
        values += [threshold - gap, threshold, threshold + gap]
    values += [0.0, 2 * thresholds[-1] + 1]
    first = next(value for value in values if op.holds(value, thresholds[0]) is not safe)
    return (first, *(value for value in dict.fromkeys(values) if value != first))


def label_sets(selector: Selector, kept: tuple[str, ...], cluster: str) -> list[tuple[str, ...]]:
    """Return series of a selector, two where labels that nobody keeps tell them apart, one else."""
    spec = selector.spec
    choices = []
    for name in spec.labels:
        values = list(_values(selector.match, name))
        if name in (CLUSTER_LABEL, "receiver"):
            values = [cluster]
        choices.append(values if name not in kept else values[:1])
    first = tuple(values[0] for values in choices)
    second = tuple(values[-1] for values in choices)
    return [first] if first == second else [first, second]


def _values(match: tuple[Matcher, ...], name: str) -> Iterator[str]:
    matchers = [matcher for matcher in match if matcher.name == name]
    candidates = [part for matcher in matchers for part in matcher.value.replace(".*", "").split("|")]
    found = [
        value for value in (*candidates, "one", "two") if all(matcher.matches(value) for matcher in matchers)
    ]
    yield from dict.fromkeys(found)


class Tape:
    """The raw value of one series, step by step."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._count = 0.0
        self._toggle = 0.0
        self._has_begun = False

    def raw(self, target: int, step: int, *, begins: bool) -> float:
        """Return what the series is at a step, when it should come to a target. `begins`: it just did."""
        selector, targets = self._role.selector, self._role.targets
        value = targets[target % len(targets)]
        if selector.reduce is Reduce.AGE:
            return step * STEP_SECONDS - value
        if selector.reduce is Reduce.UNTIL:
            return step * STEP_SECONDS + value
        if selector.reduce is Reduce.RATIO_TO_MAX:
            return 10_000.0 * min(value, 1.0) + 1_000.0
        if selector.reduce is Reduce.CHANGES:
            self._toggle += float(target > 0 and step % (7 * target) == 0)
            return self._toggle
        if selector.reduce is Reduce.INCREASE:
            return self._counted(target, value, begins=begins)
        if selector.reduce is Reduce.AVG:
            return value * ODD  # Prometheus 2 and 3 round a mean differently, which shows on a threshold
        return value

    def _counted(self, target: int, value: float, *, begins: bool) -> float:
        """Count: in a burst, or a little over what comes to the value within the window, or from 1 anew."""
        if not self._has_begun:  # counters begin at 0, and are on the page from the start
            self._has_begun = True
            return 0.0
        window_steps = self._role.selector.window_seconds / STEP_SECONDS
        if target % 5 == 4 and begins:
            self._count = 1.0
        elif target % 2 and begins:
            self._count += value
        elif target % 2 == 0:
            self._count += round(1.3 * value / window_steps, 3)
        return self._count
