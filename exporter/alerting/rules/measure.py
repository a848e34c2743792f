"""The values that conditions compare, at one moment: reduced, divided, joined and brought together."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from exporter.alerting.rules.meaning import alert_labels, is_aggregated
from exporter.alerting.rules.reduce import of_zeros, reduced, samples_of
from exporter.alerting.rules.series import SeriesIndex, projector
from exporter.alerting.words import WINDOWED, Condition, Operand, Reduce, Selector
from exporter.board import BoardView, Labels
from exporter.model import MetricSpec

Values = Mapping[Labels, float]


class Measures:
    """Values of one view of the Board. What several rules ask for is worked out once."""

    def __init__(self, *, index: SeriesIndex, view: BoardView, now: float) -> None:
        self._index = index
        self._view = view
        self._now = now
        self._reduced: dict[Selector, Values] = {}
        self._highest: dict[tuple[Selector, tuple[str, ...]], Values] = {}

    def of(self, selector: Selector) -> Values:
        """Return the reduced value of each series, by its labels in the metric's order; no NaN of a window.

        Of a reduction over a window there are values of series too that are not in force any more.
        """
        if selector not in self._reduced:
            self._reduced[selector] = self._reduce(selector)
        return self._reduced[selector]

    def of_condition(self, condition: Condition) -> Values:
        """Return the value for each label set that an alert of the condition could have."""
        selector = condition.selector
        values = self.of(selector)
        if condition.divided_by is not None:
            values = self._divided(values, selector.spec, condition.divided_by)
        if not is_aggregated(condition):
            return values
        return highest(values, selector.spec, alert_labels(condition))

    def joined(self, operand: Selector, on: tuple[str, ...]) -> Values:
        """Return the highest value of what shares the labels, by these."""
        key = (operand, on)
        if key not in self._highest:
            self._highest[key] = highest(self.of(operand), operand.spec, on)
        return self._highest[key]

    def in_force(self, selector: Selector, kept: tuple[str, ...]) -> Collection[Labels]:
        """Return the label sets, only these labels kept, of which a series is in force."""
        values = self._index.of(selector).values
        if kept == selector.spec.labels:
            return values.keys()
        return highest(values, selector.spec, kept).keys()

    def is_short(self, selector: Selector) -> bool:
        """Whether the history of a metric does not reach back over the window since we started."""
        if selector.reduce not in WINDOWED:
            return False
        kept = self._view.kept.get(selector.spec)
        return kept is None or self._view.monotonic_seconds - selector.window_seconds < kept.since_seconds

    def _reduce(self, selector: Selector) -> Values:
        in_force = self._index.of(selector).values
        if selector.reduce is Reduce.LAST:
            return in_force
        if selector.reduce is Reduce.AGE:
            return {labels: self._now - value for labels, value in in_force.items()}
        if selector.reduce is Reduce.UNTIL:
            return {labels: value - self._now for labels, value in in_force.items()}
        return self._over_window(selector, in_force)

    def _over_window(self, selector: Selector, in_force: Values) -> Values:
        spec, how, window = selector.spec, selector.reduce, selector.window_seconds
        kept, end = self._view.kept.get(spec), self._view.monotonic_seconds
        if kept is None:
            return {}
        histories = self._view.histories.get(spec, {})
        idle = of_zeros(how) if selector.min_samples == 1 else None
        values = (
            {}
            if idle is None
            else {
                labels: idle for labels, value in in_force.items() if value == 0 and labels not in histories
            }
        )
        wanted = self._index.of(selector).filter
        for labels, history in histories.items():
            if wanted is not None and not wanted(labels):
                continue
            if how is Reduce.RATIO_TO_MAX and labels not in in_force:
                continue
            samples = samples_of(history, end=end, window=window, step=kept.step_seconds)
            value = reduced(how, samples, end=end, window=window, least=selector.min_samples)
            if value is not None:
                values[labels] = value
        return values

    def _divided(self, values: Values, spec: MetricSpec, by: Operand) -> Values:
        divisors = self.joined(by.selector, by.on)
        pick = projector(by.on, spec.labels)
        return {
            labels: divided(value, divisors[key])
            for labels, value in values.items()
            if (key := pick(labels)) in divisors
        }


def highest(values: Values, spec: MetricSpec, kept: tuple[str, ...]) -> Values:
    """Return the highest of the values that fall together when only these labels are kept."""
    pick = projector(kept, spec.labels)
    found: dict[Labels, float] = {}
    for labels, value in values.items():
        key = pick(labels)
        before = found.get(key)
        # NaN is lower than anything, as in Prometheus
        if before is None or value > before or math.isnan(before):
            found[key] = value
    return found


def divided(value: float, divisor: float) -> float:
    """Divide as floats do by themselves: by 0 comes infinity, of 0 NaN."""
    if divisor != 0:
        return value / divisor
    return math.nan if value == 0 or math.isnan(value) else math.copysign(math.inf, value)
