"""Who answers behind one door, over time: one server, restarted or not, or several in turn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

Id = TypeVar("Id", int, str)

# Enough to meet the same server again behind a balancer over a dozen; a door of one server has one or two.
SIGHTINGS_KEPT = 24
# A balancer that keeps connections shows another server only when one breaks: say it for a while.
ALTERNATION_REMEMBERED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """Who answered a poll. The process id is new at each start of a server; None: not known."""

    peer_id: int | None
    process_id: str | None


@dataclass(frozen=True, slots=True)
class History:
    """The last servers met behind one door, each change once, oldest first."""

    sightings: tuple[Sighting, ...] = ()
    alternated_seconds: float | None = None  # monotonic

    def alternates(self, now: float) -> bool:
        """Several servers answer behind this door: it is a load balancer."""
        at = self.alternated_seconds
        return at is not None and now - at <= ALTERNATION_REMEMBERED_SECONDS


def follow(history: History, seen: Sighting, now: float) -> History:
    """Return the history with one more sighting.

    A restart brings a new process id, a wiped storage a new peer id as well, and neither comes
    back. So a door alternates when an earlier process answers again, when an earlier peer answers
    again without a new process, or when the peer id changed and the process did not.
    """
    if (
        _process_returns(history, seen)
        or _peer_returns(history, seen)
        or _peer_changed_in_one_process(history, seen)
    ):
        history = replace(history, alternated_seconds=now)
    if history.sightings and history.sightings[-1] == seen:
        return history
    return replace(history, sightings=(*history.sightings, seen)[-SIGHTINGS_KEPT:])


def _process_returns(history: History, seen: Sighting) -> bool:
    processes = _changes(sighting.process_id for sighting in history.sightings)
    return seen.process_id in processes[:-1] and seen.process_id != processes[-1]


def _peer_returns(history: History, seen: Sighting) -> bool:
    peers = _changes(sighting.peer_id for sighting in history.sightings)
    came_back = seen.peer_id in peers[:-1] and seen.peer_id != peers[-1]
    known_processes = {sighting.process_id for sighting in history.sightings}
    # A storage that was wiped and put back from a copy returns too, but in a new process.
    return came_back and (seen.process_id is None or seen.process_id in known_processes)


def _peer_changed_in_one_process(history: History, seen: Sighting) -> bool:
    # Only when it holds for two polls: around a restart the two ids may come from two moments.
    if seen.process_id is None or seen.peer_id is None or history.sightings[-1:] != (seen,):
        return False
    return any(
        earlier.process_id == seen.process_id and earlier.peer_id not in (None, seen.peer_id)
        for earlier in history.sightings
    )


def _changes(ids: Iterable[Id | None]) -> list[Id]:
    changes: list[Id] = []
    for one in ids:
        if one is not None and (not changes or changes[-1] != one):
            changes.append(one)
    return changes
