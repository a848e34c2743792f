"""What the rules say of one view of the Board: true, false, undecided or gone. Called in a thread."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.alerting.rules.absence import Absence
from exporter.alerting.rules.judge import Judge
from exporter.alerting.rules.meaning import IN_FORCE, selectors_of
from exporter.alerting.rules.measure import Measures
from exporter.alerting.rules.presence import ClusterPresence
from exporter.alerting.rules.series import LabelFilter, SeriesIndex, label_filter
from exporter.alerting.words import WINDOWED, Finding, LabelPairs, Reduce, Rule, Selector
from exporter.board import Board, BoardView
from exporter.model import MetricSpec

# A sample each at the most often that anything is evaluated for its own sake.
HISTORY_STEP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A history that rules look back over."""

    spec: MetricSpec
    seconds: float
    zeros: bool  # whether one of nothing but 0 says anything
    where: LabelFilter | None


def wanted_histories(rules: Sequence[Rule]) -> Iterator[Wanted]:
    """Yield what the Board has to keep for these rules."""
    for rule in rules:
        for selector in selectors_of(rule):
            if selector.reduce in WINDOWED:
                where = label_filter(selector.spec, selector.match)
                yield Wanted(selector.spec, selector.window_seconds, _is_zero_news(rule, selector), where)


def keep_histories(board: Board, rules: Sequence[Rule]) -> None:
    """Ask the Board for the histories that the rules look back over."""
    for wanted in wanted_histories(rules):
        board.keep(
            wanted.spec,
            seconds=wanted.seconds,
            step_seconds=HISTORY_STEP_SECONDS,
            zeros=wanted.zeros,
            where=wanted.where,
        )


def _is_zero_news(rule: Rule, selector: Selector) -> bool:
    """Whether it matters of a series that is lost that it was 0 all the time before."""
    if selector.reduce is Reduce.RATIO_TO_MAX:
        return False  # 0 of 0 is no number
    condition = rule.condition
    if selector is condition.selector and condition.divided_by is None and condition.than is None:
        thresholds = (level.threshold for level in rule.levels)
        return any(one is not None and condition.op.holds(0.0, one) for one in thresholds)
    if rule.otherwise is not None and selector is rule.otherwise.selector:
        return rule.otherwise.op.holds(0.0, rule.otherwise.threshold)
    return True


class Evaluator:
    """Evaluates a set of rules again and again, remembering only what the Board said last."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._judges = [Judge(rule) for rule in rules]
        selectors = [selector for rule in rules for selector in selectors_of(rule)]
        # to see that another value of a label is in force now
        whole = [Selector(one.spec) for one in selectors if one.spec.name in IN_FORCE]
        self._index = SeriesIndex((*selectors, *whole))

    def evaluate(
        self,
        view: BoardView,
        *,
        known: Mapping[str, Collection[LabelPairs]],
        presence: Mapping[str, ClusterPresence],
        now: float,
    ) -> list[Finding]:
        """Return a finding for all that is true, and for each known instance at every level of its rule.

        `known`: by rule, the series labels of what is pending or fires. `now`: Unix seconds.
        """
        self._index.refresh(view)
        absence = Absence(view=view, presence=presence, speakers=self._index.speakers)
        measures = Measures(index=self._index, view=view, now=now)
        return [
            finding
            for judge in self._judges
            for finding in judge.findings(measures, absence, known.get(judge.name, ()))
        ]
