"""One rule's word on each label set: its parts are judged alone and then brought together.

Three-valued, as Kleene's logic: what is undecided stays so unless the other part decides alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from exporter.alerting.rules.absence import Absence
from exporter.alerting.rules.meaning import IN_FORCE, alert_labels, unit_compared, unit_of
from exporter.alerting.rules.measure import Measures, Values
from exporter.alerting.rules.presence import THE_SERIES_IS_GONE
from exporter.alerting.rules.series import projector
from exporter.alerting.words import (
    WINDOWED,
    Finding,
    LabelPairs,
    Level,
    OnMissing,
    Operator,
    Otherwise,
    Rule,
    Selector,
    When,
)
from exporter.board import Labels

_IN_ORDER = frozenset({Operator.GREATER, Operator.AT_LEAST, Operator.LESS, Operator.AT_MOST})


class Verdict(NamedTuple):
    """What a part of a rule says of one label set at one level."""

    holds: bool | None
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    gone: str = ""  # holds is False then
    partial: bool = False
    excused: bool = False


UNDECIDED = Verdict(None)


class Judge:
    """One rule, with what does not change from one evaluation to the next."""

    def __init__(self, rule: Rule) -> None:
        self.name = rule.name
        self._rule = rule
        self._condition = condition = rule.condition
        self._selector = condition.selector
        self._names = alert_labels(condition)
        self._unit = unit_compared(condition)
        self._sorted = sorted(enumerate(self._names), key=lambda entry: entry[1])
        self._than_key = None if condition.than is None else projector(condition.than.on, self._names)
        self._when_key = None if rule.when is None else projector(rule.when.on, self._names)
        self._thresholds = _decisive(rule)

    def findings(
        self, measures: Measures, absence: Absence, known: Collection[LabelPairs]
    ) -> Iterator[Finding]:
        """Yield what is true, and whatever is to be said of what is known, at every level."""
        look = _Look(self._rule, measures, absence)
        known_labels = {self._labels(pairs) for pairs in known}
        for labels in dict.fromkeys((*self._possible(look), *known_labels)):
            is_known = labels in known_labels
            pairs = tuple((name, labels[position]) for position, name in self._sorted)
            for level in self._rule.levels:
                verdict = self._verdict(look, labels, level)
                if is_known:
                    verdict = self._where_missing(verdict)
                if is_known or verdict.holds:
                    holds, value, limit, unit, gone, partial, excused = verdict
                    yield Finding(self._rule, level, pairs, holds, value, limit, gone, partial, unit, excused)

    def _labels(self, pairs: LabelPairs) -> Labels:
        """Return the values of an instance's labels; one stored by an older rule may lack some."""
        labels = dict(pairs)
        return tuple(labels.get(name, "") for name in self._names)

    def _possible(self, look: _Look) -> Iterator[Labels]:
        """Yield the label sets of which some level may be true."""
        compare = self._condition.op.compare
        if self._than_key is not None:
            for labels, value in look.values.items():
                limit = look.limits.get(self._than_key(labels))
                if limit is not None and compare(value, limit):
                    yield labels
        for threshold in self._thresholds:
            yield from [labels for labels, value in look.values.items() if compare(value, threshold)]
        otherwise = self._rule.otherwise
        if otherwise is not None:
            for labels, value in look.other_values.items():
                if otherwise.op.holds(value, otherwise.threshold):
                    yield labels

    def _verdict(self, look: _Look, labels: Labels, level: Level) -> Verdict:
        verdict = self._main(look, labels, level)
        if self._rule.otherwise is not None and not verdict.holds:
            verdict = _either(verdict, self._other(look, labels, self._rule.otherwise))
        # false by its value, it may still be trouble to an alert that ends only beyond `clear`
        is_over = verdict.holds is False and (level.clear is None or verdict.value is None)
        if self._rule.when is None or is_over:
            return verdict
        condition = self._when(look, labels, self._rule.when)
        if condition.holds is False:
            return verdict._replace(holds=False, partial=condition.partial, excused=not condition.partial)
        if verdict.holds is False:
            return verdict
        return verdict if condition.holds else verdict._replace(holds=None)

    def _where_missing(self, verdict: Verdict) -> Verdict:
        """Apply `on_missing` to what is known."""
        wanted = self._rule.on_missing
        if wanted is OnMissing.RESOLVE and verdict.holds is None:
            return verdict._replace(holds=False)
        may_fire = verdict.holds is None or verdict.gone == THE_SERIES_IS_GONE
        if wanted is OnMissing.FIRE and may_fire:
            return verdict._replace(holds=True, gone="")
        return verdict

    def _main(self, look: _Look, labels: Labels, level: Level) -> Verdict:
        value = look.values.get(labels)
        if value is None:
            return self._without_value(look, labels)
        limit = level.threshold
        if self._than_key is not None and self._condition.than is not None:
            key = self._than_key(labels)
            limit = look.limits.get(key)
            if limit is None:
                than = self._condition.than
                return look.decided(than.selector, than.on, key)._replace(value=value, unit=self._unit)
        assert limit is not None  # the loader takes no rule without
        if math.isnan(value) or math.isnan(limit):
            return UNDECIDED
        verdict = _compared(self._condition.op, value, limit, self._unit, look.is_short)
        return look.unless_gone(self._selector, self._names, labels, verdict)

    def _without_value(self, look: _Look, labels: Labels) -> Verdict:
        divided_by = self._condition.divided_by
        if labels in look.in_force:
            if divided_by is not None:
                key = tuple(
                    labels[self._names.index(name)] if name in self._names else "" for name in divided_by.on
                )
                return look.decided(divided_by.selector, divided_by.on, key)
            # too few samples: what began a moment ago has not happened for a while yet
            return Verdict(False, partial=look.is_short)
        return look.missing(self._selector, self._names, labels)

    def _other(self, look: _Look, labels: Labels, otherwise: Otherwise) -> Verdict:
        value = look.other_values.get(labels)
        if value is None or math.isnan(value):
            return look.missing(otherwise.selector, self._names, labels)
        short = look.measures.is_short(otherwise.selector)
        return _compared(otherwise.op, value, otherwise.threshold, unit_of(otherwise.selector), short)

    def _when(self, look: _Look, labels: Labels, when: When) -> Verdict:
        assert self._when_key is not None
        key = self._when_key(labels)
        value = look.when_values.get(key)
        if value is None or math.isnan(value):
            return Verdict(True) if when.if_unknown else look.decided(when.selector, when.on, key)
        return _compared(when.op, value, when.threshold, "", look.measures.is_short(when.selector))


class _Look:
    """What one evaluation of one rule looks at."""

    def __init__(self, rule: Rule, measures: Measures, absence: Absence) -> None:
        self.measures = measures
        self._absence = absence
        self._condition = condition = rule.condition
        self._names = alert_labels(condition)
        self.values: Values = measures.of_condition(condition)
        self.is_short = measures.is_short(condition.selector)
        than, when, otherwise = condition.than, rule.when, rule.otherwise
        self.limits: Values = {} if than is None else measures.joined(than.selector, than.on)
        self.when_values: Values = {} if when is None else measures.joined(when.selector, when.on)
        self.other_values: Values = (
            {} if otherwise is None else measures.joined(otherwise.selector, self._names)
        )
        self._in_force: Collection[Labels] | None = None

    @property
    def in_force(self) -> Collection[Labels]:
        """The label sets of which a series of the rule's own metric is in force."""
        if self._in_force is None:
            self._in_force = self.measures.in_force(self._condition.selector, self._names)
        return self._in_force

    def unless_gone(
        self, selector: Selector, names: Iterable[str], labels: Labels, verdict: Verdict
    ) -> Verdict:
        """Return the verdict, unless it comes from samples of a series that is not in force any more.

        Then it counts where it is true; false only means that no more samples come.
        """
        if selector.reduce not in WINDOWED or labels in self.in_force:
            return verdict
        missing = self.missing(selector, names, labels)
        return verdict if verdict.holds and not missing.gone else missing

    def missing(self, selector: Selector, names: Iterable[str], labels: Labels) -> Verdict:
        """Judge a label set of which no series is there."""
        if selector.spec.name in IN_FORCE and self._has_sibling(selector, tuple(names), labels):
            return Verdict(False)
        reason = self._absence.reason(selector, dict(zip(names, labels, strict=True)))
        return Verdict(False, gone=reason) if reason else UNDECIDED

    def decided(self, selector: Selector, names: Iterable[str], labels: Labels) -> Verdict:
        """Judge the lack of another metric's series: false where it is known that there is none."""
        return self.missing(selector, names, labels)._replace(gone="")

    def _has_sibling(self, selector: Selector, names: tuple[str, ...], labels: Labels) -> bool:
        """Whether another value is in force of the label of which only one ever is."""
        return labels in self.measures.in_force(Selector(selector.spec), names)


def _compared(operator: Operator, value: float, limit: float, unit: str, is_short: bool) -> Verdict:
    holds = operator.holds(value, limit)
    return Verdict(holds, value, limit, unit, partial=is_short and not holds)


def _either(one: Verdict, other: Verdict) -> Verdict:
    """Bring together what does not hold, or is undecided, with what is trouble by itself."""
    if other.holds:
        return other
    if one.holds is None or other.holds is None:
        return UNDECIDED
    gone = one.gone if other.gone else ""
    return one._replace(gone=gone, partial=one.partial or other.partial)


def _decisive(rule: Rule) -> tuple[float, ...]:
    """Return the thresholds of which one must hold if any level's does: of an order, the mildest."""
    thresholds = [level.threshold for level in rule.levels if level.threshold is not None]
    if rule.condition.op in _IN_ORDER:
        thresholds = thresholds[-1:]
    return tuple(dict.fromkeys(thresholds))
