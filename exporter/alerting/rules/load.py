"""From files of rules, a preset and overrides to the rules in force, or to all that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from exporter.alerting.inhibition import NEVER_INHIBITED, Pair
from exporter.alerting.rules.building import RuleBuilder, label_problem, near
from exporter.alerting.rules.limits import level_problems
from exporter.alerting.rules.meaning import alert_labels
from exporter.alerting.rules.shipped import shipped_runbooks
from exporter.alerting.words import ALERTNAME, SEVERITY, Rule
from exporter.config.alerting import InhibitSettings, RuleOverride
from exporter.config.document import Document, read_document
from exporter.config.fields import Section
from exporter.config.problems import WRITE_KEYS, KeyPath, ProblemList
from exporter.config.quantities import format_duration
from exporter.config.rules_file import PresetFile, RulesFile, RuleWritten, shape_problems, shaped
from exporter.config.written import Written
from exporter.errors import ConfigError
from exporter.model import MetricSpec

# Every rule is evaluated at least so often: ages and moments become true while nothing is learnt, and the
# fast sources are polled that often too. A source must fire before what it explains pages.
EVALUATION_SECONDS = 15.0

IN_THE_CONFIGURATION: KeyPath = ("alerting",)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules in force and what explains what."""

    rules: tuple[Rule, ...]
    inhibits: tuple[Pair, ...] = ()


def load_rules(
    files: Sequence[Path],
    *,
    specs: Iterable[MetricSpec],
    overrides: Mapping[str, RuleOverride],
    preset: Path | None = None,
    inhibits: Sequence[InhibitSettings] = (),
) -> RuleSet:
    """Return the rules of the files, changed by the preset and then by the overrides.

    A later file's rule replaces an earlier one of the same name. `specs` is the catalogue.
    `overrides` and `inhibits` are those of the configuration. Raises ConfigError with every problem.
    """
    loading = _Loading({spec.name: spec for spec in specs})
    for file in files:
        loading.read(file)
    if preset is not None:
        loading.change_by_preset(preset)
    loading.change(overrides, loading.configuration, (*IN_THE_CONFIGURATION, "rules"))
    for index, inhibit in enumerate(inhibits):
        path = (*IN_THE_CONFIGURATION, "inhibit", index)
        loading.inhibits.append((inhibit, loading.configuration, path))
    return loading.finished()


class _Loading:
    """One loading: what was found so far, and what is wrong with it."""

    def __init__(self, specs: Mapping[str, MetricSpec]) -> None:
        self._specs = specs
        self._runbooks = shipped_runbooks()
        self._rules: dict[str, Rule | None] = {}  # None: it is wrong, and so no reason to call it unknown
        self._off: set[str] = set()
        self.inhibits: list[tuple[InhibitSettings, ProblemList, KeyPath]] = []
        self.configuration = ProblemList(origins={})
        self._problems: list[ProblemList] = []

    def read(self, file: Path) -> None:
        """Take in a file of rules."""
        document, written = self._document(file, RulesFile)
        tree: dict[str, Any] = document.tree if isinstance(document.tree, dict) else {}
        builder = RuleBuilder(specs=self._specs, runbooks=self._runbooks, problems=document.problems)
        seen: dict[str, int] = {}
        rules = tree.get("rules")
        for index, one in enumerate(rules if isinstance(rules, list) else ()):
            path: KeyPath = ("rules", index)
            name = one.get("name") if isinstance(one, dict) else None
            if isinstance(name, str) and seen.setdefault(name, index) != index:
                document.problems.add((*path, "name"), f"this file has a rule {name} already; rename one")
            shape = shaped(RuleWritten, one, written)
            line = document.origins[path].line
            rule = None if shape is None else builder.build(shape, path, f"{file}:{line}")
            if shape is None:
                builder.check_metrics(one, path)
            if isinstance(name, str):
                self._rules[name] = rule
        pairs = tree.get("inhibit")
        for index, one in enumerate(pairs if isinstance(pairs, list) else ()):
            pair = shaped(InhibitSettings, one, written)
            if pair is not None:
                self.inhibits.append((pair, document.problems, ("inhibit", index)))

    def change_by_preset(self, file: Path) -> None:
        """Take in a file of changes."""
        document, written = self._document(file, PresetFile)
        preset = shaped(PresetFile, document.tree, written)
        if preset is not None:
            self.change(preset.rules, document.problems, ("rules",))

    def change(self, overrides: Mapping[str, RuleOverride], problems: ProblemList, path: KeyPath) -> None:
        """Change rules by name; what does not go together is a problem at `path`."""
        for name, override in overrides.items():
            if name not in self._rules:
                problems.add((*path, name), f"there is no such rule; {near(name, self._rules)}")
                continue
            rule = self._rules[name]
            if rule is None:
                continue
            for below, message in _override_problems(rule, override):
                problems.add((*path, name, *below), message)
            changed = self._rules[name] = _overridden(rule, override)
            self._off.discard(name)
            if not override.enabled:
                self._off.add(name)
            for below, message in level_problems(changed.condition.op, changed.levels):
                problems.add((*path, name, *below), message)

    def finished(self) -> RuleSet:
        """Return the rules in force. Raises ConfigError with every problem."""
        pairs = []
        for inhibit, problems, path in self.inhibits:
            for below, message in self._inhibit_problems(inhibit):
                problems.add((*path, *below), message)
            pairs.append(Pair(inhibit.source, inhibit.target, inhibit.equal, inhibit.past_seconds))
        told = [problem for found in (*self._problems, self.configuration) for problem in found.told()]
        if told:
            raise ConfigError(told)
        rules = tuple(
            rule for name, rule in self._rules.items() if rule is not None and name not in self._off
        )
        names = {rule.name for rule in rules}
        kept = [pair for pair in pairs if pair.source in names and pair.target in names]
        return RuleSet(rules, tuple(dict.fromkeys(kept)))

    def _document(self, file: Path, root: type[Section]) -> tuple[Document, Written]:
        """Read a file and note what is wrong with its shape."""
        document = read_document(file)
        self._problems.append(document.problems)
        written = Written(file.absolute().parent)
        if document.broken or document.tree is None:
            document.tree = {}
        if not isinstance(document.tree, dict):
            document.problems.add((), WRITE_KEYS)
            return document, written
        for path, message in shape_problems(root, document.tree, written):
            document.problems.add_consequence(path, message)
        return document, written

    def _inhibit_problems(self, pair: InhibitSettings) -> Iterator[tuple[KeyPath, str]]:
        for side, name in (("source", pair.source), ("target", pair.target)):
            if name not in self._rules:
                yield (side,), f"there is no rule {name}; {near(name, self._rules)}"
        if pair.target in NEVER_INHIBITED:
            yield ("target",), f"{pair.target} is always told: nothing explains it away; remove the pair"
        if pair.source == pair.target:
            yield ("target",), "a rule cannot inhibit itself; its worse level inhibits the milder one anyway"
        source, target = self._rules.get(pair.source), self._rules.get(pair.target)
        if source is None or target is None or source is target or {source.name, target.name} & self._off:
            return
        for name in pair.equal:
            for rule in (source, target):
                if name not in labels_of_alert(rule):
                    yield ("equal",), f"alerts of {rule.name} have no label {name}; remove it"
        longest = max(level.for_seconds for level in source.levels)
        shortest = min(level.for_seconds for level in target.levels)
        if shortest < longest + EVALUATION_SECONDS:
            yield (
                ("target",),
                f"{target.name} may fire before {source.name}: its for ({format_duration(shortest)}) must be"
                f" {format_duration(longest + EVALUATION_SECONDS)} or more, or that of {source.name} shorter",
            )


def labels_of_alert(rule: Rule) -> tuple[str, ...]:
    """Return the names of all labels that an alert of this rule has."""
    return (*alert_labels(rule.condition), ALERTNAME, SEVERITY, *dict(rule.labels))


def _override_problems(rule: Rule, override: RuleOverride) -> Iterator[tuple[KeyPath, str]]:
    known = [level.severity for level in rule.levels]
    for severity, level in override.levels.items():
        if severity not in known:
            yield ("levels", severity), f"{rule.name} has no such level; {near(severity, known)}"
        elif rule.condition.than is not None and (level.threshold, level.clear) != (None, None):
            yield ("levels", severity), f"{rule.name} compares two metrics and has no threshold"
    for name in override.labels:
        if problem := label_problem(rule.condition, name):
            yield ("labels", name), problem


def _overridden(rule: Rule, override: RuleOverride) -> Rule:
    levels = []
    for level in rule.levels:
        change = override.levels.get(level.severity)  # type: ignore[call-overload]  # a plain str
        if change is not None:
            wanted = {"threshold": change.threshold, "clear": change.clear, "for_seconds": change.for_seconds}
            level = replace(level, **{key: value for key, value in wanted.items() if value is not None})
        levels.append(level)
    hold = override.keep_firing_for_seconds
    return replace(
        rule,
        levels=tuple(levels),
        keep_firing_for_seconds=rule.keep_firing_for_seconds if hold is None else hold,
        labels=tuple(sorted({**dict(rule.labels), **override.labels}.items())),
    )
