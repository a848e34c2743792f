"""Rules written as YAML, a Board to evaluate them on, and what they find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from exporter.alerting.rules.evaluate import Evaluator, keep_histories
from exporter.alerting.rules.load import RuleSet, load_rules
from exporter.alerting.rules.presence import ClusterPresence
from exporter.alerting.words import Finding, LabelPairs
from exporter.board import Board
from exporter.config.alerting import RuleOverride
from exporter.model import CLUSTER_LABEL, Fault, FaultKind, MetricSpec, Observation, ProducerKey, Reading
from tests.kit.clock import ManualClock

CLUSTER = "shop"
INTERVAL_SECONDS = 15.0
POLLED = ("telemetry", "segments", "cluster", "healthz", "aliases", "issues", "quotas")


def rules_of(
    directory: Path,
    text: str,
    specs: Iterable[MetricSpec],
    *,
    overrides: Mapping[str, RuleOverride] | None = None,
    preset: str | None = None,
) -> RuleSet:
    """Write a file of rules, and one of a preset, and load them."""
    file = directory / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    changes = None
    if preset is not None:
        changes = directory / "preset.yaml"
        changes.write_text(preset, encoding="utf-8")
    return load_rules([file], specs=specs, overrides=overrides or {}, preset=changes)


class Ground:
    """A Board with one cluster of some peers, rules, and a clock moved by hand."""

    def __init__(self, ruleset: RuleSet, *, peers: Iterable[str] = ("a",)) -> None:
        self.clock = ManualClock()
        self.board = Board(clock=self.clock)
        self.peers = tuple(peers)
        self.collections: frozenset[str] | None = frozenset({"docs", "logs"})
        self.rule = ruleset.rules[0]
        keep_histories(self.board, ruleset.rules)
        self._evaluator = Evaluator(ruleset.rules)
        self.presence: dict[str, ClusterPresence] = {}
        self.watch()

    def watch(self) -> None:
        """Say who and what there is, after it was changed."""
        self.presence = {CLUSTER: ClusterPresence(frozenset(self.peers), self.collections)}

    def reading(self, spec: MetricSpec, value: float, **labels: str) -> Reading:
        """Return a reading; the cluster needs no word."""
        values = {CLUSTER_LABEL: CLUSTER, **labels}
        return Reading(spec, tuple(values[name] for name in spec.labels), value)

    def poll(
        self, *readings: Reading, failing: Iterable[str] = (), peers: Iterable[str] | None = None
    ) -> None:
        """Every source of every peer answers, but for those that fail; the first peer says the readings."""
        for number, peer in enumerate(self.peers if peers is None else peers):
            for source in POLLED:
                fails = source in failing or f"{peer}/{source}" in failing
                says = readings if (number, source) == (0, "telemetry") else ()
                self._put(peer, source, says, fails=fails)
        self.board.derive(CLUSTER, {"collections": ()})

    def post(self, source: str, *readings: Reading, peer: str = "", cluster: str = CLUSTER) -> None:
        """A producer of standing readings says these."""
        self.board.post(ProducerKey(cluster, peer, source), readings)

    def findings(self, *known: Mapping[str, str]) -> list[Finding]:
        """Evaluate; `known` are labels of instances beside the cluster's."""
        return self.judged([self.pairs(**labels) for labels in known])

    def judged(self, known: Iterable[LabelPairs]) -> list[Finding]:
        """Evaluate; `known` are whole label sets of instances."""
        return self._evaluator.evaluate(
            self.board.view(),
            known={self.rule.name: list(known)},
            presence=self.presence,
            now=self.clock.now(),
        )

    def finding(self, *known: Mapping[str, str]) -> Finding:
        """Evaluate, and return the one finding."""
        found = self.findings(*known)
        assert len(found) == 1, found
        return found[0]

    def pairs(self, **labels: str) -> LabelPairs:
        """Return label pairs; the cluster needs no word."""
        return tuple(sorted({CLUSTER_LABEL: CLUSTER, **labels}.items()))

    def _put(self, peer: str, source: str, readings: Iterable[Reading], *, fails: bool) -> None:
        fault = Fault(FaultKind.TIMEOUT, f"/{source}", "no answer")
        self.board.put(
            Observation(
                key=ProducerKey(CLUSTER, peer, source),
                at_seconds=self.clock.now(),
                monotonic_seconds=self.clock.monotonic(),
                took_seconds=0.01,
                interval_seconds=INTERVAL_SECONDS,
                seen=None if fails else True,
                readings=() if fails else tuple(readings),
                faults=(fault,) if fails else (),
            )
        )
