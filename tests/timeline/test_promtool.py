"""The proof: our engine and Prometheus fire alike at every step, for every rule of the shipped pack.

What differs by design is tested as a difference: `clear`, the flap guard (switched off here), a series
that is gone, a source that is lost for longer than the hold of the export, or while an alert is pending.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exporter.alerting.rules.load import RuleSet, load_rules
from exporter.alerting.rules.shipped import shipped_rules
from exporter.alerting.words import WINDOWED, Reduce, Rule
from exporter.catalogue import SPECS
from tests.timeline.differential import ABSENT, Rehearsal, Segment, Timeline, differences
from tests.timeline.tapes import STEP_SECONDS, roles_of

PACK: RuleSet = load_rules(shipped_rules(), specs=SPECS, overrides={})
MOST_STEPS = 300  # of a timeline that is made up

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


@pytest.mark.parametrize("rule", PACK.rules, ids=lambda rule: rule.name)
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
