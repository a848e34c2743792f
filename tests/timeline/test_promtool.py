"""The proof: our engine and Prometheus fire alike at every step, for every rule of the shipped pack.

What differs by design is tested as a difference: `clear`, the flap guard, a series that is gone, and a
source that is lost, which Prometheus takes for a recovery; the hold of the export bridges ten minutes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exporter.alerting.rules.load import RuleSet, load_rules
from exporter.alerting.rules.meaning import alert_labels
from exporter.alerting.rules.shipped import shipped_rules
from exporter.alerting.words import WINDOWED, Reduce, Rule
from exporter.catalogue import SPECS
from exporter.model import OURS, PROBED
from tests.kit.judging import rules_of
from tests.timeline.differential import ABSENT, Rehearsal, Segment, Timeline, Told, differences
from tests.timeline.tapes import STEP_SECONDS, roles_of
from tests.unit.alerting.rules import metrics

PACK: RuleSet = load_rules(shipped_rules(), specs=SPECS, overrides={})
MOST_STEPS = 300  # of a timeline that is made up

# What the language has and the pack does not use, or not yet.
OTHERS = """\
rules:
  - name: Average
    metric: lag
    reduce: {fn: avg, over: 5m, min_samples: 4}
    op: ">"
    levels: {critical: {threshold: 50, for: 1m}, warning: {threshold: 10, for: 2m}}
    annotations: {summary: x}
  - name: Highest
    metric: lag
    reduce: {fn: max, over: 2m}
    op: ">="
    levels: {warning: {threshold: 10, for: 1m}}
    keep_firing_for: 3m
    annotations: {summary: x}
  - name: Quotient
    metric: full_at
    reduce: age
    divided_by: {metric: size, on: [peer, qdrant_cluster]}
    op: ">"
    or: {metric: up, op: "==", threshold: 0}
    levels: {critical: {threshold: 2, for: 1m}, warning: {threshold: 1, for: 1m}}
    annotations: {summary: x}
  - name: OtherOfMany
    metric: lag
    op: "!="
    or: {metric: shards, op: ">", threshold: 3}
    when:
      metric: queue
      reduce: {fn: min, over: 1m}
      on: [collection, qdrant_cluster]
      op: "<="
      threshold: 2
    levels: {info: {threshold: 7, for: 45s}}
    annotations: {summary: x}
"""

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def as_prometheus_has_it(rule: Rule) -> Rule:
    """Return the rule without what Prometheus cannot say."""
    return replace(rule, levels=tuple(replace(level, clear=None) for level in rule.levels))


def steps_of(rule: Rule) -> int:
    """Return how many steps its longest `for` takes, and its window before that."""
    longest = max(level.for_seconds for level in rule.levels)
    return int((longest + rule.condition.selector.window_seconds) / STEP_SECONDS)


def scripted(rule: Rule) -> Timeline:
    """Return a timeline that visits each target too briefly, then long enough, going back in between."""
    roles = roles_of(rule)
    hold = steps_of(rule)
    line = [Segment(3, (0,) * len(roles))]
    for target in range(1, max(len(role.targets) for role in roles)):
        for steps in (max(1, hold), hold + 3) if target < 3 else (hold + 3,):
            line += [Segment(steps, (target, *(0,) * (len(roles) - 1))), Segment(2, (0,) * len(roles))]
        line.append(Segment(2, (target,) * len(roles)))
    return line


@st.composite
def made_up(draw: st.DrawFn, rule: Rule) -> Timeline:
    """Make up a timeline whose parts are about as long as the rule's `for`, with series that come and go."""
    roles, hold = roles_of(rule), steps_of(rule)
    own = rule.condition.selector
    lines: list[Segment] = []
    for _ in range(draw(st.integers(3, 8))):
        steps = draw(st.sampled_from((1, 2, max(1, hold - 1), hold, hold + 1, hold + 5)))
        # a window goes on over samples of a series that is gone; see below
        lowest = 0 if own.reduce in WINDOWED else ABSENT
        targets = [draw(st.integers(lowest, len(roles[0].targets) - 1))]
        targets += [draw(st.integers(ABSENT, len(role.targets) - 1)) for role in roles[1:]]
        if own.reduce is Reduce.RATIO_TO_MAX:
            targets = [abs(target) for target in targets]
        lines.append(Segment(max(1, steps), tuple(targets)))
    kept, total = [], 0
    for segment in lines:
        total += segment.steps
        if total > MOST_STEPS and kept:
            break
        kept.append(segment)
    return kept


def told_differently(rule: Rule, timelines: Sequence[Timeline], directory: Path) -> str:
    """Return how our engine and Prometheus differ."""
    rule = as_prometheus_has_it(rule)
    return differences(rule, Rehearsal(rule, timelines).play(), directory)


def other_rules() -> tuple[Rule, ...]:
    """Load the rules that are not of the pack."""
    with TemporaryDirectory() as directory:
        return rules_of(Path(directory), OTHERS, metrics.SPECS).rules


@pytest.mark.parametrize("rule", [*PACK.rules, *other_rules()], ids=lambda rule: rule.name)
def test_a_rule_fires_and_resolves_as_prometheus_would(rule: Rule, tmp_path: Path) -> None:
    """Over the threshold and back, too briefly and long enough, level by level, and values made up."""

    @given(st.lists(made_up(rule), min_size=3, max_size=3))
    @settings(
        max_examples=2, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate,),
    )  # fmt: skip
    def made_up_ones(timelines: list[Timeline]) -> None:
        assert told_differently(rule, timelines, tmp_path) == ""

    plain = as_prometheus_has_it(rule)
    told = Rehearsal(plain, [scripted(rule)]).play()
    fired = {severity for firing in told.firing for severity, _ in firing}

    assert differences(plain, told, tmp_path) == ""
    assert fired == {level.severity for level in rule.levels}, "a script that never fires proves nothing"
    made_up_ones()


def rule_named(name: str) -> Rule:
    """Return a rule of the pack."""
    return next(rule for rule in PACK.rules if rule.name == name)


def fires_in(told: Told) -> list[int]:
    """Return the steps at which something of ours fires."""
    return [step for step, firing in enumerate(told.firing) if firing]


def firing_at(told: Told, steps: range) -> Told:
    """Return what was told, as if the alert fired at these steps and no others."""
    ever = set().union(*told.firing)
    firing = [ever if step in steps else set() for step in range(len(told.firing))]
    return Told(firing, told.pages)


CAN_BE_LOST = [
    rule
    for rule in PACK.rules
    if not {"peer", "shard"}.isdisjoint(alert_labels(rule.condition))
    and rule.condition.selector.spec.source not in (OURS, PROBED)
    and rule.condition.selector.reduce not in WINDOWED
    and rule.when is None
]


@pytest.mark.parametrize("rule", CAN_BE_LOST, ids=lambda rule: rule.name)
def test_the_hold_of_the_export_bridges_a_source_that_is_lost_for_nine_minutes(
    rule: Rule, tmp_path: Path
) -> None:
    """Ours is undecided meanwhile and fires on; so does Prometheus with its ten minutes."""
    plain = as_prometheus_has_it(rule)
    roles, hold = roles_of(plain), steps_of(plain)
    worst = next(
        target
        for target in range(len(roles[0].targets) - 1, 0, -1)
        if Rehearsal(plain, [[Segment(hold + 3, (target,))]]).play().firing[-1]
    )
    there = Segment(hold + 3, (worst,))
    told = Rehearsal(plain, [[there, Segment(36, (worst,), lost=True), there]]).play()

    assert fires_in(told)[-1] == len(told.firing) - 1
    assert len(fires_in(told)) >= 36 + hold
    assert differences(plain, told, tmp_path, holds_gaps=True) == ""


def test_clear_holds_an_alert_that_prometheus_resolves(tmp_path: Path) -> None:
    """Between clear and threshold ours fires on; beyond clear it ends."""
    rule = rule_named("IndexingLag")
    roles = roles_of(rule)
    level = rule.levels[0]
    assert level.clear is not None
    assert level.threshold is not None
    over, between, safe = (roles[0].targets.index(value) for value in (10_001.0, 10_000.0, 0.0))
    line = [Segment(70, (over,)), Segment(10, (between,)), Segment(5, (safe,))]
    told = Rehearsal(rule, [line]).play()

    assert fires_in(told) == list(range(61, 81))
    assert differences(rule, firing_at(told, range(61, 71)), tmp_path) == ""


def test_a_source_lost_for_longer_than_the_hold_ends_the_alert_of_prometheus_alone(tmp_path: Path) -> None:
    """Nothing has recovered: nobody can say. Ours is undecided for as long as that lasts."""
    rule = as_prometheus_has_it(rule_named("DiskUsed"))
    rule = replace(rule, levels=rule.levels[1:])
    full = roles_of(rule)[0].targets.index(0.801)
    line = [Segment(30, (full,)), Segment(60, (full,), lost=True)]
    told = Rehearsal(rule, [line]).play()

    assert fires_in(told) == list(range(21, 91))
    # three intervals until the page loses it, and ten minutes that Prometheus holds it
    assert differences(rule, firing_at(told, range(21, 34 + 40)), tmp_path, holds_gaps=True) == ""


def test_a_source_lost_while_an_alert_is_pending_freezes_ours_and_starts_that_of_prometheus_anew(
    tmp_path: Path,
) -> None:
    """The time in which nobody could look is in no `for` of ours."""
    rule = as_prometheus_has_it(rule_named("DiskUsed"))
    rule = replace(rule, levels=rule.levels[1:])
    full = roles_of(rule)[0].targets.index(0.801)
    line = [Segment(10, (full,)), Segment(10, (full,), lost=True), Segment(30, (full,))]
    told = Rehearsal(rule, [line]).play()

    # 20 steps after the first, and the 8 at which what was known had expired
    assert fires_in(told) == list(range(29, 51))
    assert differences(rule, firing_at(told, range(41, 51)), tmp_path) == ""


def test_what_is_gone_ends_ours_at_once_and_that_of_the_export_after_its_hold(tmp_path: Path) -> None:
    """Every source answers without it: it is no gap."""
    rule = as_prometheus_has_it(rule_named("ShardNotLoaded"))
    broken = roles_of(rule)[0].targets.index(0.0)
    line = [Segment(10, (broken,)), Segment(60, (ABSENT,))]
    told = Rehearsal(rule, [line]).play()

    assert fires_in(told) == list(range(5, 11))
    assert differences(rule, firing_at(told, range(5, 11 + 40)), tmp_path, holds_gaps=True) == ""


def test_the_hold_of_the_export_delays_its_recoveries_by_ten_minutes(tmp_path: Path) -> None:
    """Prometheus cannot tell a recovery from a gap; that is the price of the hold."""
    rule = as_prometheus_has_it(rule_named("ShardNotLoaded"))
    broken, well = (roles_of(rule)[0].targets.index(value) for value in (0.0, 1.0))
    told = Rehearsal(rule, [[Segment(10, (broken,)), Segment(60, (well,))]]).play()

    assert fires_in(told) == list(range(5, 11))
    assert differences(rule, firing_at(told, range(5, 11 + 40)), tmp_path, holds_gaps=True) == ""


def test_the_flap_guard_holds_what_prometheus_lets_come_and_go(tmp_path: Path) -> None:
    """After four turns within the hour ours ends only after a quarter of an hour without trouble."""
    rule = rule_named("ReceiverRefuses")
    refusing, well = (roles_of(rule)[0].targets.index(value) for value in (0.0, 1.0))
    turn = [Segment(2, (refusing,)), Segment(2, (well,))]
    told = Rehearsal(rule, [[*turn, *turn, *turn]], flap_guard=True).play()

    assert fires_in(told) == [1, 2, 5, 6, *range(9, 14 - 1)]
    theirs = [firing if step in (1, 2, 5, 6, 9, 10) else set() for step, firing in enumerate(told.firing)]
    assert differences(rule, Told(theirs, told.pages), tmp_path) == ""
