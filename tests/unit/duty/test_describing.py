"""Alerts in words: of now where it can be, and never at the cost of a page."""

from __future__ import annotations

import asyncio

import pytest

from exporter.alerting.words import Condition, Finding, Level, Operator, Rule, Selector
from exporter.board import Board
from exporter.clock import SystemClock
from exporter.duty.describing import Describing
from exporter.duty.recent_changes import RecentChanges
from exporter.model import Kind, MetricSpec
from exporter.observe.fleet import Fleet
from tests.kit.notifications import alert

METRIC = MetricSpec("m", Kind.GAUGE, "what", "1 or 0", "source", ("peer",))
LEVEL = Level("critical", 0.0)


def describing() -> Describing:
    fleet = Fleet(board=Board(clock=SystemClock()), clock=SystemClock(), off_loop=asyncio.to_thread)
    return Describing(fleet=fleet, changes=RecentChanges())


def finding(*annotations: tuple[str, str]) -> Finding:
    rule = Rule(
        "PeerDown",
        Condition(Selector(METRIC), Operator.EQUAL),
        (LEVEL,),
        annotations=annotations,
        runbook="P",
    )
    return Finding(rule, LEVEL, (("peer", "a"),), True, value=0.0, limit=0.0)


def test_an_alert_is_put_into_the_words_of_its_rule() -> None:
    """With what is known of it now."""
    found = finding(("summary", "{peer} is down"))

    described = describing().described(alert(), found.rule, LEVEL, found)

    assert described.annotations == (("summary", "10.0.0.1:6333 is down"),)
    assert described.runbook == "P"


def test_words_that_fail_cost_no_page_and_are_logged_once_a_rule(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One group that cannot be described would hold up all that are decided after it."""
    words, found = describing(), finding(("summary", None))  # type: ignore[arg-type]  # as a bug would

    described = [words.described(alert(number), found.rule, LEVEL, found) for number in (1, 2, 3)]

    assert described == [alert(1), alert(2), alert(3)]
    assert capsys.readouterr().out.count("alert.undescribed") == 1
