"""How far intervals stretch when a server's answers cost much."""

from __future__ import annotations

import pytest

from exporter.observe.pacing import LONGEST_SECONDS, Pacer

BASE = {"telemetry": 15.0, "cluster": 15.0, "segments": 60.0, "memory": 600.0}


def test_cheap_sources_keep_their_intervals() -> None:
    """100 ms in 15 s and 110 ms in 60 s are 0.85 % together."""
    pacer = Pacer(base_seconds=BASE, budget_ratio=0.01)
    pacer.spent("telemetry", 0.100)
    pacer.spent("segments", 0.110)

    assert {source: pacer.interval_seconds(source) for source in BASE} == BASE


def test_dear_sources_stretch_together_until_they_fit() -> None:
    """One factor for all: 2 % asked for, 1 % given, so each comes half as often."""
    pacer = Pacer(base_seconds=BASE, budget_ratio=0.01)
    pacer.spent("telemetry", 0.15)
    pacer.spent("segments", 0.6)

    assert pytest.approx(pacer.interval_seconds("telemetry")) == 30
    assert pytest.approx(pacer.interval_seconds("segments")) == 120


def test_the_anchors_never_stretch_beyond_a_minute_and_the_others_pay() -> None:
    """Without telemetry nobody knows whether the peer is up."""
    pacer = Pacer(base_seconds=BASE, budget_ratio=0.01)
    pacer.spent("telemetry", 3.0)
    pacer.spent("memory", 2.0)

    assert pacer.interval_seconds("telemetry") == 60
    assert pacer.interval_seconds("memory") == LONGEST_SECONDS


def test_a_pile_up_of_slow_answers_does_not_talk_us_into_asking_less() -> None:
    """The lower quartile counts: most of the last answers may be slow and the pace stays."""
    pacer = Pacer(base_seconds=BASE, budget_ratio=0.01)
    for seconds in [0.05] * 6 + [9.0] * 14:
        pacer.spent("telemetry", seconds)

    assert pacer.cost_seconds("telemetry") == 0.05
    assert pacer.interval_seconds("telemetry") == 15


def test_old_costs_are_forgotten() -> None:
    """After twenty cheap answers a dear past no longer stretches."""
    pacer = Pacer(base_seconds=BASE, budget_ratio=0.01)
    pacer.spent("telemetry", 5.0)
    for _ in range(20):
        pacer.spent("telemetry", 0.01)

    assert pacer.cost_seconds("telemetry") == 0.01


def test_a_configured_interval_longer_than_the_longest_stays_as_configured() -> None:
    """Somebody who polls once an hour means it."""
    pacer = Pacer(base_seconds={"telemetry": 120.0, "memory": 3_600.0}, budget_ratio=0.01)
    pacer.spent("memory", 100.0)
    pacer.spent("telemetry", 100.0)

    assert pacer.interval_seconds("telemetry") == 120
    assert pacer.interval_seconds("memory") == 3_600


def test_the_share_that_is_left_goes_to_those_that_can_still_stretch() -> None:
    """Telemetry takes 0.5 % at its minute; segments get the other half of the budget."""
    pacer = Pacer(base_seconds={"telemetry": 15.0, "segments": 60.0}, budget_ratio=0.01)
    pacer.spent("telemetry", 0.3)
    pacer.spent("segments", 3.0)

    assert pacer.interval_seconds("telemetry") == 60
    assert pytest.approx(pacer.interval_seconds("segments")) == 600
