"""Rules as a person reads them in a table."""

from __future__ import annotations

from dataclasses import replace

from exporter.alerting.words import (
    Condition,
    Level,
    Matcher,
    Operand,
    Operator,
    Otherwise,
    Reduce,
    Rule,
    Selector,
    When,
)
from exporter.catalogue import SPECS
from exporter.duty.rule_words import level_in_words, waits_in_words

NAMED = {spec.name: spec for spec in SPECS}
LAG = Selector(NAMED["qdrantx_collection_indexing_lag_points"], (Matcher("collection", "docs"),))
FAULTS = Selector(NAMED["qdrantx_source_faults_total"], reduce=Reduce.INCREASE, window_seconds=300)
DISK = Selector(NAMED["qdrantx_peer_disk_used_ratio"])
FULL = Selector(NAMED["qdrantx_forecast_full_timestamp_seconds"], reduce=Reduce.UNTIL)
UP = Selector(NAMED["qdrantx_up"])


def rule(selector: Selector, threshold: float | None, **condition: object) -> Rule:
    """A rule of one level."""
    return Rule(
        "Example",
        Condition(selector, Operator.GREATER, **condition),  # type: ignore[arg-type]
        (Level("warning", threshold, clear=None, for_seconds=90),),
    )


def words(subject: Rule) -> str:
    """Return its only level in words."""
    return level_in_words(subject, subject.levels[0])


def test_a_limit_stands_in_the_unit_of_its_metric() -> None:
    """Nobody has to know that a ratio of 0.8 is 80 %."""
    assert words(rule(LAG, 10_000)) == (
        'qdrantx_collection_indexing_lag_points{collection="docs"} > 10,000 points'
    )
    assert words(rule(DISK, 0.8)) == "qdrantx_peer_disk_used_ratio > 80 %"


def test_what_looks_back_or_at_the_clock_says_so() -> None:
    """The window is a part of the condition."""
    assert words(rule(FAULTS, 0)) == "the increase in 5m of qdrantx_source_faults_total > 0 polls"
    assert words(rule(FULL, 14_400)) == "time until qdrantx_forecast_full_timestamp_seconds > 4 h"
    assert words(rule(replace(FULL, reduce=Reduce.AGE), 60)) == (
        "time since qdrantx_forecast_full_timestamp_seconds > 1 min"
    )


def test_two_metrics_are_compared_or_divided() -> None:
    """A quotient is a bare number."""
    assert words(rule(DISK, None, than=Operand(UP, ("peer",)))) == "qdrantx_peer_disk_used_ratio > qdrantx_up"
    assert words(rule(DISK, 0.5, divided_by=Operand(UP, ("peer",)))) == (
        "qdrantx_peer_disk_used_ratio / qdrantx_up > 0.5"
    )


def test_a_second_way_and_a_second_condition_follow() -> None:
    """In the order in which a person would say it."""
    subject = replace(
        rule(DISK, 0.8),
        otherwise=Otherwise(UP, Operator.EQUAL, 0),
        when=When(LAG, ("qdrant_cluster",), Operator.EQUAL, 0, if_unknown=True),
    )

    assert words(subject) == (
        "qdrantx_peer_disk_used_ratio > 80 %, or qdrantx_up == 0,"
        ' while qdrantx_collection_indexing_lag_points{collection="docs"} == 0 points, if that is known'
    )


def test_how_long_it_waits_and_when_it_ends() -> None:
    """With `clear` an alert outlives its limit; with keep_firing_for it outlives its end."""
    subject = rule(DISK, 0.8)
    stubborn = replace(subject, keep_firing_for_seconds=600)

    assert waits_in_words(subject, subject.levels[0]) == "1m30s"
    assert waits_in_words(stubborn, replace(subject.levels[0], clear=0.78)) == "1m30s, ends at 78 %, kept 10m"
