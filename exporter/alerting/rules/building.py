"""From one rule as it was written to a Rule, or to all that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches

from exporter.alerting.rules import template
from exporter.alerting.rules.limits import level_problems
from exporter.alerting.rules.meaning import IN_FORCE, UNIX_TIME, alert_labels
from exporter.alerting.rules.shipped import is_address
from exporter.alerting.words import (
    ALERTNAME,
    SEVERITIES,
    SEVERITY,
    WINDOWED,
    Condition,
    Level,
    Matcher,
    OnMissing,
    Operand,
    Operator,
    Otherwise,
    Reduce,
    Rule,
    Selector,
    When,
)
from exporter.config.expressions import check_expression
from exporter.config.problems import KeyPath, ProblemList
from exporter.config.rules_file import MatchWritten, OperandWritten, RuleWritten, SelectorWritten
from exporter.model import Kind, MetricSpec

MOST_NAMES_TOLD = 20  # more would bury what is wrong


def label_problem(condition: Condition, name: str) -> str:
    """Say why a rule cannot have a label of this name; "" where it can."""
    if name in alert_labels(condition):
        return "the alert has this label from its series; choose another"
    if name in condition.selector.spec.labels:
        return "the metric has this label, which the rule leaves out; choose another"
    return ""


def near(name: str, known: Iterable[str]) -> str:
    """Say which known name was meant, or which there are."""
    names = sorted(known)
    found = get_close_matches(name, names, n=1, cutoff=0.75)
    if found:
        return f"did you mean {found[0]}?"
    if len(names) > MOST_NAMES_TOLD:
        return f"none of the {len(names)} known is like it"
    return f"known here: {', '.join(names)}" if names else "none is known here"


class RuleBuilder:
    """Builds the rules of one file; what is wrong goes to the file's problems."""

    def __init__(
        self, *, specs: Mapping[str, MetricSpec], runbooks: Collection[str], problems: ProblemList
    ) -> None:
        """Take the catalogue, the names of the shipped runbooks, and where problems go."""
        self._specs = specs
        self._runbooks = runbooks
        self._problems = problems
        self._wrong = False

    def build(self, written: RuleWritten, path: KeyPath, source: str) -> Rule | None:
        """Return the rule, or None when a problem was noted."""
        self._wrong = False
        selector = self._selector(written, path)
        if selector is None:
            return None
        condition = self._condition(written, selector, path)
        levels = self._levels(written, path)
        labels = alert_labels(condition)
        rule = Rule(
            name=written.name,
            condition=condition,
            levels=levels,
            otherwise=self._otherwise(written, labels, path),
            when=self._when(written, labels, path),
            keep_firing_for_seconds=written.keep_firing_for_seconds,
            on_missing=OnMissing(written.on_missing),
            labels=tuple(sorted(written.labels.items())),
            annotations=tuple(written.annotations.items()),
            runbook=self._runbook(written, path),
            source=source,
        )
        for below, message in level_problems(condition.op, levels):
            self._note((*path, *below), message)
        self._check_names(rule, labels, path)
        return None if self._wrong else rule

    def check_metrics(self, tree: object, path: KeyPath) -> None:
        """Look for unknown metrics in a rule of the wrong shape, so that they are told too."""
        if not isinstance(tree, dict):
            return
        for key, value in tree.items():
            if key == "metric" and isinstance(value, str):
                self._spec(value, (*path, key))
            self.check_metrics(value, (*path, key))

    def _spec(self, name: str, path: KeyPath) -> MetricSpec | None:
        spec = self._specs.get(name)
        if spec is None:
            self._note(path, f"there is no such metric; {near(name, self._specs)}")
        return spec

    def _note(self, path: KeyPath, message: str) -> None:
        self._wrong = True
        self._problems.add(path, message)

    # --- selectors -------------------------------------------------------------------------------

    def _selector(self, written: SelectorWritten, path: KeyPath) -> Selector | None:
        spec = self._spec(written.metric, (*path, "metric"))
        if spec is None:
            return None
        if spec.kind is Kind.HISTOGRAM:
            self._note((*path, "metric"), "this is a histogram; a rule compares metrics with one value")
            return None
        matchers = tuple(
            matcher
            for name, match in written.match.items()
            if (matcher := self._matcher(spec, name, match, (*path, "match", name))) is not None
        )
        reduce = Reduce(written.reduce.fn)
        self._check_reduce(written, reduce, spec, (*path, "reduce"))
        return Selector(
            spec, matchers, reduce, written.reduce.over_seconds or 0.0, written.reduce.min_samples
        )

    def _matcher(self, spec: MetricSpec, name: str, match: MatchWritten, path: KeyPath) -> Matcher | None:
        if name not in spec.labels:
            self._note(path, f"{spec.name} has no such label; {near(name, spec.labels)}")
            return None
        if match.equal is not None:
            if len(match.equal) == 1:
                return Matcher(name, match.equal[0])
            return Matcher(name, "|".join(map(re.escape, match.equal)), regex=True)
        if match.not_ is not None:
            return Matcher(name, match.not_, negative=True)
        pattern = match.regex or match.not_regex or ""
        below = (*path, "regex" if match.regex is not None else "not_regex")
        try:
            check_expression(pattern)
        except ValueError as error:
            self._note(below, str(error))
        return Matcher(name, pattern, regex=True, negative=match.not_regex is not None)

    def _check_reduce(
        self, written: SelectorWritten, reduce: Reduce, spec: MetricSpec, path: KeyPath
    ) -> None:
        has_window = written.reduce.over_seconds is not None
        if reduce in WINDOWED and not has_window:
            self._note(
                path, f"{reduce} looks back: write the window, for example {{fn: {reduce}, over: 15m}}"
            )
        if reduce not in WINDOWED and has_window:
            self._note((*path, "over"), f"{reduce} has no window; remove it, or choose min, max or avg")
        if reduce not in WINDOWED and written.reduce.min_samples != 1:
            self._note(
                (*path, "min_samples"), f"{reduce} is one sample; remove it, or choose min, max or avg"
            )
        if reduce is Reduce.INCREASE and spec.kind is not Kind.COUNTER:
            self._note(path, f"{spec.name} is no counter and has no increase; choose min, max or changes")
        if reduce in (Reduce.AGE, Reduce.UNTIL) and spec.unit != UNIX_TIME:
            self._note(path, f"{spec.name} is no moment ({spec.unit}), so it has no {reduce}")

    # --- parts of a rule -------------------------------------------------------------------------

    def _condition(self, written: RuleWritten, selector: Selector, path: KeyPath) -> Condition:
        spec = selector.spec
        kept = tuple(name for name in spec.labels if name != IN_FORCE.get(spec.name))
        for name in written.by or ():
            if name == IN_FORCE.get(spec.name):
                self._note((*path, "by"), f"{spec.name} shows only the {name} in force, so an alert has none")
            elif name not in kept:
                self._note((*path, "by"), f"{spec.name} has no label {name}; {near(name, kept)}")
        by = None if written.by is None else tuple(name for name in kept if name in written.by)
        condition = Condition(selector, Operator(written.op), by)
        series_labels = spec.labels
        divided_by = self._operand(written.divided_by, series_labels, (*path, "divided_by"))
        than = self._operand(written.than, alert_labels(condition), (*path, "than"))
        return Condition(selector, Operator(written.op), by, divided_by, than)

    def _operand(
        self, written: OperandWritten | None, labels: tuple[str, ...], path: KeyPath
    ) -> Operand | None:
        if written is None:
            return None
        selector = self._selector(written, path)
        if selector is None:
            return None
        self._check_join(written.on, labels, selector.spec, (*path, "on"))
        return Operand(selector, written.on)

    def _check_join(
        self, on: tuple[str, ...], labels: tuple[str, ...], spec: MetricSpec, path: KeyPath
    ) -> None:
        for name in on:
            if name not in spec.labels:
                self._note(path, f"{spec.name} has no label {name}; {near(name, spec.labels)}")
            elif name not in labels:
                self._note(path, f"the rule's own side has no label {name}; {near(name, labels)}")

    def _otherwise(self, written: RuleWritten, labels: tuple[str, ...], path: KeyPath) -> Otherwise | None:
        if written.or_ is None:
            return None
        selector = self._selector(written.or_, (*path, "or"))
        if selector is None:
            return None
        missing = [name for name in labels if name not in selector.spec.labels]
        if missing:
            self._note(
                (*path, "or", "metric"),
                f"{selector.spec.name} has no label {', '.join(missing)}, which the rule's alerts have;"
                " leave it out with by, or choose another metric",
            )
        return Otherwise(selector, Operator(written.or_.op), written.or_.threshold)

    def _when(self, written: RuleWritten, labels: tuple[str, ...], path: KeyPath) -> When | None:
        if written.when is None:
            return None
        when = written.when
        selector = self._selector(when, (*path, "when"))
        if selector is None:
            return None
        self._check_join(when.on, labels, selector.spec, (*path, "when", "on"))
        return When(selector, when.on, Operator(when.op), when.threshold, when.if_unknown)

    def _levels(self, written: RuleWritten, path: KeyPath) -> tuple[Level, ...]:
        if not written.levels:
            self._note((*path, "levels"), "there is no level; write at least one, such as warning:")
        for severity, level in written.levels.items():
            below = (*path, "levels", severity)
            if written.than is None and level.threshold is None:
                self._note(below, "has no threshold; write one, or compare with another metric by than:")
            if written.than is not None and level.threshold is not None:
                self._note((*below, "threshold"), "the rule compares with another metric (than); remove it")
            if written.than is not None and level.clear is not None:
                self._note((*below, "clear"), "the rule compares with another metric (than); remove it")
        return tuple(
            Level(severity, level.threshold, level.clear, level.for_seconds)
            for severity in SEVERITIES
            for level in (written.levels.get(severity),)  # type: ignore[call-overload]  # a plain str
            if level is not None
        )

    def _runbook(self, written: RuleWritten, path: KeyPath) -> str:
        """Return where the runbook is: a link that leads nowhere is worse at night than none."""
        wanted = written.runbook
        if wanted is None:
            return written.name if written.name in self._runbooks else ""
        if not is_address(wanted) and wanted not in self._runbooks:
            self._note(
                (*path, "runbook"),
                f"no such runbook is shipped ({near(wanted, self._runbooks)});"
                " name one that is, or write the http(s) URL of yours",
            )
        return wanted

    def _check_names(self, rule: Rule, labels: tuple[str, ...], path: KeyPath) -> None:
        own = dict(rule.labels)
        for name in own:
            if problem := label_problem(rule.condition, name):
                self._note((*path, "labels", name), problem)
        if "summary" not in dict(rule.annotations):
            self._note((*path, "annotations"), "has no summary; write what is wrong in one line")
        known = (*labels, ALERTNAME, SEVERITY, *own)
        has_eta = rule.condition.selector.reduce is Reduce.UNTIL
        for name, text in rule.annotations:
            try:
                template.check(text, known, has_eta=has_eta)
            except ValueError as error:
                self._note((*path, "annotations", name), str(error))
