"""One rule and its readings through our engine and through `promtool test rules`.

What Prometheus is given is what stands on the Board, as our page would show it: scraped ten
seconds before each evaluation, with the mark of staleness where a series went.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from exporter.alerting.identity import series_of
from exporter.alerting.lifecycle import advance
from exporter.alerting.rules.evaluate import Evaluator, keep_histories
from exporter.alerting.rules.load import RuleSet
from exporter.alerting.rules.meaning import IN_FORCE, alert_labels
from exporter.alerting.rules.presence import ClusterPresence
from exporter.alerting.rules.prometheus import export
from exporter.alerting.words import Alert, AlertState, Finding, LabelPairs, Rule
from exporter.board import Board
from exporter.model import (
    CLUSTER_LABEL,
    OURS,
    PROBED,
    Fault,
    FaultKind,
    MetricSpec,
    Observation,
    ProducerKey,
    Reading,
)
from tests.kit.clock import ManualClock
from tests.timeline.tapes import SCRAPED_BEFORE_SECONDS, STEP_SECONDS, Role, Tape, label_sets, roles_of

POLLED = ("telemetry", "segments", "cluster", "healthz", "aliases", "optimizations", "quotas")
PEER = "one"
ABSENT = -1  # in place of a target: every source answers, and the series is not there
LEAD_SECONDS = 2 * 86_400.0  # that we ran before, so that no window reaches back over our start
PROMETHEUS_STEP_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Segment:
    """For so many steps each role has its target; with `lost` nothing can be polled."""

    steps: int
    targets: tuple[int, ...]
    lost: bool = False


ALL_IS_WELL = Segment(1, (0,))
Timeline = Sequence[Segment]


@dataclass
class Told:
    """What one rehearsal brought."""

    firing: list[set[tuple[str, LabelPairs]]] = field(default_factory=list)  # by step: severity and labels
    pages: list[dict[tuple[MetricSpec, tuple[str, ...]], float]] = field(default_factory=list)


class Rehearsal:
    """Plays timelines, each in a cluster of its own, against one rule."""

    def __init__(self, rule: Rule, timelines: Sequence[Timeline], *, flap_guard: bool = False) -> None:
        """`flap_guard`: Prometheus has none, so it is off unless it is what is looked at."""
        self._rule = rule
        self._flap_guard = flap_guard
        self._clock = ManualClock(now=-LEAD_SECONDS)
        self._board = Board(clock=self._clock)
        keep_histories(self._board, [rule])
        self._clock.advance(LEAD_SECONDS - SCRAPED_BEFORE_SECONDS)
        self._evaluator = Evaluator([rule])
        self._alerts: dict[tuple[str, LabelPairs], Alert] = {}
        self._players = [_Player(rule, f"t{number}", line) for number, line in enumerate(timelines)]
        self._presence = {
            player.cluster: ClusterPresence(frozenset({PEER}), frozenset({"one", "two"}))
            for player in self._players
        }

    def play(self) -> Told:
        """Return what fired at each step, and what a scrape showed before it."""
        told = Told()
        for step in range(1 + max(player.steps for player in self._players)):
            if step:  # Prometheus has no time before its first evaluation
                for player in self._players:
                    player.tell(self._board, self._clock, step)
            view = self._board.view()
            told.pages.append(
                {(one.spec, one.labels): one.value for _, block in view.blocks() for one in block}
            )
            self._clock.advance(SCRAPED_BEFORE_SECONDS)
            self._evaluate()
            told.firing.append(
                {key for key, alert in self._alerts.items() if alert.state is AlertState.FIRING}
            )
            self._clock.advance(STEP_SECONDS - SCRAPED_BEFORE_SECONDS)
        return told

    def _evaluate(self) -> None:
        known = [
            series_of(self._rule, alert.labels)
            for alert in self._alerts.values()
            if alert.state is not AlertState.RESOLVED
        ]
        findings = self._evaluator.evaluate(
            self._board.view(),
            known={self._rule.name: known},
            presence=self._presence,
            now=self._clock.now(),
        )
        for finding in findings:
            self._advance(finding)

    def _advance(self, finding: Finding) -> None:
        labels = tuple(pair for pair in finding.labels if pair[1])
        key = (finding.level.severity, labels)
        alert = advance(self._alerts.get(key), finding, self._clock.now())
        if alert is None:
            self._alerts.pop(key, None)
        else:
            self._alerts[key] = alert if self._flap_guard else replace(alert, turns=(), flapping=False)


class _Player:
    """What one cluster tells."""

    def __init__(self, rule: Rule, cluster: str, timeline: Timeline) -> None:
        self.cluster = cluster
        self._at: list[tuple[Segment, bool]] = [
            (segment, number == 0) for segment in timeline for number in range(segment.steps)
        ]
        kept = alert_labels(rule.condition)
        self._series: list[tuple[int, Role, tuple[str, ...], Tape]] = []
        seen: set[tuple[MetricSpec, tuple[str, ...]]] = set()
        for number, role in enumerate(roles_of(rule)):
            for labels in label_sets(role.selector, kept, cluster):
                if (role.selector.spec, labels) not in seen:  # two selectors may read one metric
                    seen.add((role.selector.spec, labels))
                    self._series.append((number, role, labels, Tape(role)))

    @property
    def steps(self) -> int:
        """How long it lasts."""
        return len(self._at)

    def tell(self, board: Board, clock: ManualClock, step: int) -> None:
        """Put on the Board what is told at a step, from 1 on; once all was told, that all is well."""
        segment, begins = self._at[step - 1] if step <= len(self._at) else (ALL_IS_WELL, False)
        polled, standing = [], []
        for reading in self._readings(segment, step, begins=begins):
            ours = reading.spec.source in (OURS, PROBED)
            (standing if ours else polled).append(reading)
        for source in POLLED:
            board.put(self._observation(source, clock, polled if source == POLLED[0] else (), segment.lost))
        board.derive(self.cluster, {"collections": ()})
        board.post(ProducerKey(self.cluster, "", ""), [one for one in standing if _is_of_cluster(one)])
        board.post(ProducerKey("", "", self.cluster), [one for one in standing if not _is_of_cluster(one)])

    def _readings(self, segment: Segment, step: int, *, begins: bool) -> Iterable[Reading]:
        for number, role, labels, tape in self._series:
            target = segment.targets[number % len(segment.targets)]
            raw = tape.raw(max(target, 0), step, begins=begins)
            if target == ABSENT:
                continue
            spec = role.selector.spec
            if spec.name in IN_FORCE:
                position = spec.labels.index(IN_FORCE[spec.name])
                names = _values_in_force(role, labels, position)
                labels = (*labels[:position], names[target % len(names)], *labels[position + 1 :])
                raw = 1.0
            yield Reading(spec, labels, raw)

    def _observation(
        self, source: str, clock: ManualClock, readings: Iterable[Reading], lost: bool
    ) -> Observation:
        fault = Fault(FaultKind.TIMEOUT, f"/{source}", "no answer")
        return Observation(
            key=ProducerKey(self.cluster, PEER, source),
            at_seconds=clock.now(),
            monotonic_seconds=clock.monotonic(),
            took_seconds=0.01,
            interval_seconds=STEP_SECONDS,
            seen=None if lost else True,
            readings=() if lost else tuple(readings),
            faults=(fault,) if lost else (),
        )


def _is_of_cluster(reading: Reading) -> bool:
    return CLUSTER_LABEL in reading.spec.labels


def _values_in_force(role: Role, labels: tuple[str, ...], position: int) -> tuple[str, ...]:
    """Return a value that is no trouble, then those that are."""
    matcher = next(one for one in role.selector.match if one.name == role.selector.spec.labels[position])
    parts = [part for part in matcher.value.replace(".*", "").split("|") if matcher.matches(part)]
    return ("Active", *parts)


# --- Prometheus ------------------------------------------------------------------------------------


def differences(rule: Rule, told: Told, directory: Path, *, holds_gaps: bool = False) -> str:
    """Return what promtool says is different at any step; "" where all fires alike."""
    rules = directory / "rules.yaml"
    rules.write_text(_without_annotations(rule, holds_gaps=holds_gaps), encoding="utf-8")
    tests = {
        "rule_files": [rules.name],
        "evaluation_interval": f"{STEP_SECONDS:.0f}s",
        "tests": [
            {
                "interval": f"{PROMETHEUS_STEP_SECONDS}s",
                "input_series": list(_input_series(told)),
                "alert_rule_test": [
                    {
                        "eval_time": f"{step * STEP_SECONDS:.0f}s",
                        "alertname": rule.name,
                        "exp_alerts": [
                            {"exp_labels": {**dict(labels), **dict(rule.labels), "severity": severity}}
                            for severity, labels in firing
                        ],
                    }
                    for step, firing in enumerate(told.firing)
                ],
            }
        ],
    }
    file = directory / "test.yaml"
    file.write_text(json.dumps(tests), encoding="utf-8")  # JSON is YAML
    ran = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False, cwd=directory
    )
    return "" if ran.returncode == 0 else f"{ran.stdout}{ran.stderr}"


def _without_annotations(rule: Rule, *, holds_gaps: bool) -> str:
    texts = export(RuleSet((replace(rule, source="pack.yaml:1"),)), holds_gaps=holds_gaps)
    tree: Any = yaml.safe_load(texts["pack.yaml"])
    for group in tree["groups"]:
        for one in group["rules"]:
            del one["annotations"]
    return json.dumps(tree)


def _input_series(told: Told) -> Iterable[Mapping[str, str]]:
    series = {key for page in told.pages for key in page}
    for spec, labels in sorted(series, key=lambda key: (key[0].name, key[1])):
        inside = ",".join(
            f"{name}={json.dumps(value)}" for name, value in zip(spec.labels, labels, strict=True)
        )
        # The page of a step was scraped ten seconds before its evaluation; that of the first is not seen.
        values = []
        was_there = False
        for page in told.pages:
            value = page.get((spec, labels))
            if value is None:
                values.append("stale" if was_there else "_")
            else:
                values.append(repr(value))
            was_there = value is not None
        yield {"series": f"{spec.series_name}{{{inside}}}", "values": "_ " + " _ _ ".join(values[1:])}
