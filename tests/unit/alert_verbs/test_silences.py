"""`silence add`, `silence list` and `silence expire`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from exporter.alert_verbs.alerts import Output
from exporter.alert_verbs.silences import add, expire, show
from exporter.errors import ConfigError, StateError
from exporter.state import StateLock
from tests.kit.clock import ManualClock
from tests.unit.alert_verbs.stored_alerts import alert, store


def shown(
    directory: Path, clock: ManualClock, output: Output = Output.TABLE, *, also_over: bool = False
) -> str:
    """Return what `silence list` prints."""
    written = io.StringIO()
    show(directory, output, Console(file=written, width=400), clock=clock, also_over=also_over)
    return written.getvalue()


def added(directory: Path, clock: ManualClock, *matchers: str, lasts: str = "2h") -> str:
    """Add a silence and return its id."""
    lines = add(directory, matchers, lasts=lasts, author="ann", comment="new disk", clock=clock)
    return lines[0].split()[1]


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock()


@pytest.fixture
def directory(tmp_path: Path, clock: ManualClock) -> Path:
    """A daemon's state with two alerts that fire."""
    store(tmp_path, clock=clock, alerts=[alert("a", clock.now()), alert("b", clock.now())])
    return tmp_path


def test_a_silence_says_until_when_and_what_it_holds_back_now(directory: Path, clock: ManualClock) -> None:
    """A matcher that matches nothing shows at once."""
    lines = add(
        directory,
        ['peer="a"', "alertname=~Peer.*"],
        lasts="2h",
        author="ann",
        comment="new disk",
        clock=clock,
    )

    assert lines[0].endswith('until 2027-01-15 10:00:00 UTC: peer="a", alertname=~"Peer.*"')
    assert lines[1].startswith("1 of 2 firing alerts match it")
    assert lines[2] == f"no daemon runs on {directory}; the next one keeps to it"


def test_beside_a_daemon_nothing_is_said_of_the_next_one(directory: Path, clock: ManualClock) -> None:
    """It sees the silence within a second."""
    with StateLock(directory=directory):
        lines = add(directory, ["peer=a"], lasts="2h", author="ann", comment="x", clock=clock)

    assert len(lines) == 2


def test_silences_are_listed_until_they_end(directory: Path, clock: ManualClock) -> None:
    """Those that are over on demand: who silenced what last week?"""
    short, long = added(directory, clock, "peer=a", lasts="1h"), added(directory, clock, "peer=b", lasts="2h")
    clock.advance(3_600)

    now, all_of_them = shown(directory, clock), shown(directory, clock, also_over=True)

    assert short not in now
    assert long in now
    assert all(text in now for text in ("active", 'peer="b"', "2027-01-15 10:00:00 UTC", "ann", "new disk"))
    assert short in all_of_them
    assert "expired" in all_of_them


def test_as_json_they_have_the_shape_of_alertmanager(directory: Path, clock: ManualClock) -> None:
    """For programs that read its API."""
    added(directory, clock, 'peer!~"a|b"', "qdrant_cluster=prod")

    (silence,) = json.loads(shown(directory, clock, Output.JSON))

    assert silence["matchers"] == [
        {"name": "peer", "value": "a|b", "isRegex": True, "isEqual": False},
        {"name": "qdrant_cluster", "value": "prod", "isRegex": False, "isEqual": True},
    ]
    assert silence["status"] == {"state": "active"}
    assert (silence["createdBy"], silence["endsAt"]) == ("ann", "2027-01-15T10:00:00.000Z")


def test_where_nothing_is_silenced_it_says_so(directory: Path, clock: ManualClock) -> None:
    """No empty table."""
    assert shown(directory, clock) == "Nothing is silenced.\n"


def test_a_silence_ends_by_the_beginning_of_its_id(directory: Path, clock: ManualClock) -> None:
    """Nobody types a whole UUID."""
    silence = added(directory, clock, "peer=a")

    assert expire(directory, silence[:8], clock=clock) == f"silence {silence} is over"
    assert shown(directory, clock) == "Nothing is silenced.\n"


def test_an_id_that_no_running_silence_has_is_refused_with_those_that_run(
    directory: Path, clock: ManualClock
) -> None:
    """Also when it ended already."""
    first, second = added(directory, clock, "peer=a"), added(directory, clock, "peer=b")
    expire(directory, first, clock=clock)

    with pytest.raises(StateError, match=f"has the id {first}; running are: {second}"):
        expire(directory, first, clock=clock)
    with pytest.raises(StateError, match="running are"):
        expire(directory, "zzz", clock=clock)


@pytest.mark.parametrize(
    ("matchers", "lasts", "comment", "told"),
    [
        (["peer"], "2h", "x", ["MATCHER: write a matcher such as"]),
        (["peer=~.*"], "2h", "x", ["MATCHER: this would silence every alert"]),
        (["peer=a"], "2", "x", ["--for: write a duration with its unit"]),
        (["peer=a"], "10s", "x", ["--for: write 1m to 90d"]),
        (["peer=a"], "100d", "x", ["--for: write 1m to 90d"]),
        (["peer"], "0s", " ", ["MATCHER: ", "--comment: is empty", "--for: "]),
    ],
)
def test_what_is_wrong_with_a_silence_is_told_at_once_and_nothing_is_stored(
    directory: Path, clock: ManualClock, matchers: list[str], lasts: str, comment: str, told: list[str]
) -> None:
    """Never for ever, never of everything, never without a reason."""
    with pytest.raises(ConfigError) as caught:
        add(directory, matchers, lasts=lasts, author="ann", comment=comment, clock=clock)

    lines = str(caught.value).splitlines()
    assert len(lines) == len(told)
    assert all(line.startswith(start) for line, start in zip(lines, told, strict=True))
    assert shown(directory, clock, also_over=True) == "Nothing is silenced.\n"
