"""`alerts`: what fires, what is about to, and what ended, as it was stored."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from exporter.alert_verbs import silences
from exporter.alert_verbs.alerts import Output, show_alerts
from exporter.alerting.words import AlertState
from exporter.errors import StateError
from exporter.state import DATABASE_NAME, StateLock
from tests.kit.clock import ManualClock
from tests.unit.alert_verbs.stored_alerts import alert, ended, store

CLOCK = ManualClock()
NOW = CLOCK.now()


def shown(directory: Path, output: Output = Output.TABLE, *, history: int = 0) -> str:
    """Return what the verb prints."""
    written = io.StringIO()
    show_alerts(directory, output, Console(file=written, width=400), clock=CLOCK, history=history)
    return written.getvalue()


def test_firing_alerts_stand_before_pending_ones_and_ended_ones_are_left_out(tmp_path: Path) -> None:
    """With where, since when, and what is to be known of each."""
    pending = alert("b", NOW, state=AlertState.PENDING, fired_at=None, value=None)
    flapping = alert("a", NOW, flapping=True, undecided_since=NOW - 10)
    over = alert("c", NOW, state=AlertState.RESOLVED, resolved_at=NOW)
    store(tmp_path, clock=CLOCK, alerts=[pending, flapping, over])

    rows = [line.split("│") for line in shown(tmp_path).splitlines() if "PeerDown" in line]

    assert [[cell.strip() for cell in row[1:-1]] for row in rows] == [
        ["firing", "critical", "PeerDown", "cluster prod, peer a", "0, limit 0", "12 min",
         "flapping, cannot be decided now"],
        ["pending", "critical", "PeerDown", "cluster prod, peer b", "", "12 min", ""],
    ]  # fmt: skip


def test_where_nothing_fires_it_says_so(tmp_path: Path) -> None:
    """No empty table."""
    store(tmp_path, clock=CLOCK)

    assert shown(tmp_path).startswith("Nothing fires, and nothing is about to.\n")


def test_without_a_daemon_it_says_how_old_that_is(tmp_path: Path) -> None:
    """What was stored a week ago is no news; beside a running daemon it is."""
    store(tmp_path, clock=CLOCK, alerts=[alert("a", NOW)])

    alone = shown(tmp_path)
    with StateLock(directory=tmp_path):
        beside = shown(tmp_path)

    assert f"No daemon runs on {tmp_path}; rules were last evaluated: 2027-01-15 08:00:00 UTC" in alone
    assert "No daemon" not in beside


def test_a_silenced_alert_says_by_which_silence(tmp_path: Path) -> None:
    """Else one wonders why nobody was told."""
    store(tmp_path, clock=CLOCK, alerts=[alert("a", NOW), alert("b", NOW)])
    silences.add(tmp_path, ["peer=a"], lasts="1h", author="me", comment="swap", clock=CLOCK)

    rows = [line for line in shown(tmp_path).splitlines() if "PeerDown" in line]

    assert ["silenced by " in row for row in rows] == ["peer a" in row for row in rows]


def test_history_shows_the_newest_that_ended_with_how_long_and_why(tmp_path: Path) -> None:
    """Newest first, as many as are asked for."""
    store(
        tmp_path,
        clock=CLOCK,
        history=[ended("a", NOW - 60), ended("b", NOW, "the peer is not watched any more")],
    )

    rows = [line for line in shown(tmp_path, history=5).splitlines() if "PeerDown" in line]

    assert len(rows) == 2
    assert "peer b" in rows[0]
    assert "5 min" in rows[0]
    assert "the peer is not watched any more" in rows[0]
    assert len([line for line in shown(tmp_path, history=1).splitlines() if "PeerDown" in line]) == 1


def test_as_json_it_is_what_the_api_shows_and_the_history(tmp_path: Path) -> None:
    """One shape for both."""
    store(tmp_path, clock=CLOCK, alerts=[alert("a", NOW)], history=[ended("b", NOW)])

    document: dict[str, Any] = json.loads(shown(tmp_path, Output.JSON, history=1))

    assert document["status"] == "success"
    assert [one["labels"]["peer"] for one in document["data"]["alerts"]] == ["a"]
    assert [one["reason"] for one in document["data"]["history"]] == ["recovered"]


def test_a_daemon_that_writes_at_that_moment_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody looks at alerts as often as in an incident, when much is written."""
    store(tmp_path, clock=CLOCK, alerts=[alert("a", NOW)])
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as writing:
        writing.execute("BEGIN IMMEDIATE")

        text = shown(tmp_path)

    assert "peer a" in text
    assert "rules were last evaluated: 2027-01-15 08:00:00 UTC" in text


def test_a_directory_without_a_daemons_state_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Opening it would make a database that belongs to whoever typed the verb."""
    with pytest.raises(StateError, match=r"give the --state\.dir of the daemon"):
        shown(tmp_path)

    assert list(tmp_path.iterdir()) == []
