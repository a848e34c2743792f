"""Telling a load balancer from a restart, by the ids that a door shows over time."""

from __future__ import annotations

import pytest

from exporter.observe.roster.identity import ALTERNATION_REMEMBERED_SECONDS, History, Sighting, follow


def history_of(*sightings: tuple[int | None, str | None]) -> History:
    history = History()
    for seen in sightings:
        history = follow(history, Sighting(*seen), 1000.0)
    return history


@pytest.mark.parametrize(
    "sightings",
    [
        pytest.param([(1, "p"), (2, "q"), (1, "p")], id="a peer and its process return"),
        pytest.param([(1, None), (2, None), (1, None)], id="a peer returns, processes unknown"),
        pytest.param([(1, "p"), (2, "p")], id="the peer changes within one process"),
        pytest.param([(1, "p"), (2, None), (2, "p")], id="the same, told in two steps"),
        pytest.param([(1, "p"), (2, "q"), (1, "q")], id="the two calls of a poll met different servers"),
        pytest.param([(None, "p"), (None, "q"), (None, "p")], id="two standalone servers in turn"),
        pytest.param([(1, "p"), (2, "q"), (3, "r"), (4, "s"), (1, "p")], id="four servers, round robin"),
    ],
)
def test_a_door_behind_which_servers_alternate_is_a_load_balancer(
    sightings: list[tuple[int | None, str | None]],
) -> None:
    """Ids that come back belong to servers that live side by side."""
    assert history_of(*sightings).alternates(1000.0)


@pytest.mark.parametrize(
    "sightings",
    [
        pytest.param([(1, "p"), (1, "p"), (1, "p")], id="steady"),
        pytest.param([(1, "p"), (1, "q"), (1, "r")], id="restarts"),
        pytest.param([(1, "p"), (2, "q"), (2, "q")], id="storage wiped"),
        pytest.param([(1, "p"), (1, None), (2, None), (2, "q")], id="wiped, the process known later"),
        pytest.param([(1, "p"), (1, "q"), (2, None), (2, "q")], id="wiped, the new process met first"),
        pytest.param([(1, "p"), (2, "q"), (1, None), (1, "r")], id="wiped and put back from a copy"),
        pytest.param([(1, "p"), (1, None), (1, "p")], id="telemetry failed once"),
        pytest.param([(1, None), (None, None), (1, None)], id="cluster mode switched off and on"),
        pytest.param([(None, "p"), (None, None), (None, "q")], id="a standalone server restarts"),
    ],
)
def test_restarts_and_wiped_storages_are_no_load_balancer(
    sightings: list[tuple[int | None, str | None]],
) -> None:
    """A server that comes back has a new process id, and an old one never returns."""
    assert not history_of(*sightings).alternates(1000.0)


def test_a_load_balancer_is_said_for_an_hour_after_it_showed_itself() -> None:
    """With kept connections the other server shows only now and then."""
    history = history_of((1, "p"), (2, "q"), (1, "p"), (1, "p"))

    assert history.alternates(1000.0 + ALTERNATION_REMEMBERED_SECONDS)
    assert not history.alternates(1001.0 + ALTERNATION_REMEMBERED_SECONDS)


def test_a_door_that_changes_for_ever_keeps_a_bounded_past() -> None:
    """A server that restarts a thousand times does not grow in memory."""
    history = history_of(*((1, f"process-{number}") for number in range(1000)))

    assert len(history.sightings) <= 24
    assert not history.alternates(1000.0)
