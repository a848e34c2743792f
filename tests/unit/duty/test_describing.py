"""Alerts in words: of now where it can be, and never at the cost of a page."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from exporter.alerting.words import Condition, Finding, Level, Operator, Rule, Selector
from exporter.backup.telling import BackupNote
from exporter.board import Board
from exporter.clock import SystemClock
from exporter.duty.describing import Describing, NewestBackup, nothing_known
from exporter.duty.recent_changes import RecentChanges
from exporter.model import Kind, MetricSpec
from exporter.observe.fleet import Fleet
from tests.kit.notifications import alert

METRIC = MetricSpec("m", Kind.GAUGE, "what", "1 or 0", "source", ("peer",))
LEVEL = Level("critical", 0.0)


NOTE = BackupNote("the newest good backup is ID", "qdrant-exporter backup restore ID --into docs")


def describing(newest_backup: NewestBackup = nothing_known) -> Describing:
    fleet = Fleet(board=Board(clock=SystemClock()), clock=SystemClock(), off_loop=asyncio.to_thread)
    return Describing(fleet=fleet, changes=RecentChanges(), newest_backup=newest_backup)


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


MISSING = ("description", "It was deleted; {backup}."), ("action", "curl {url}\n{restore}")


def test_an_alert_on_a_collection_names_its_newest_good_backup_and_how_to_restore_it() -> None:
    """Whoever is woken has both on the page."""
    asked = []

    def newest(cluster: str, collection: str) -> BackupNote:
        asked.append((cluster, collection))
        return NOTE

    found = finding(*MISSING)
    missing = replace(alert(), labels=(("collection", "docs"), ("qdrant_cluster", "prod")))
    described = describing(newest).described(missing, found.rule, LEVEL, found)

    assert asked == [("prod", "docs")]
    assert dict(described.annotations) == {
        "description": "It was deleted; the newest good backup is ID.",
        "action": "curl \nqdrant-exporter backup restore ID --into docs",
    }


def test_where_no_good_backup_is_known_the_alert_says_so() -> None:
    """Also where there is no store at all."""
    found = finding(*MISSING)

    described = describing().described(alert(), found.rule, LEVEL, found)

    assert dict(described.annotations) == {
        "description": "It was deleted; no good backup is known here.",
        "action": "curl \n",
    }
