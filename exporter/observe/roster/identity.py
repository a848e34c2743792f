"""Who answers behind one door, over time: one server, restarted or not, or several in turn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile
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


Sightings = tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class History:
    """The last servers met behind one door, each change once, oldest first."""

    sightings: Sightings = ()
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
    earlier = history.sightings
    if earlier and earlier[-1].peer_id == seen.peer_id:
        if seen.process_id in (None, earlier[-1].process_id):
            return history
        if earlier[-1].process_id is None:
            earlier = earlier[:-1]  # the same sighting, now with its process
    if (
        _process_returns(earlier, seen)
        or _peer_returns(earlier, seen)
        or _peer_changed_in_one_process(earlier, seen)
    ):
        history = replace(history, alternated_seconds=now)
    return replace(history, sightings=(*earlier, seen)[-SIGHTINGS_KEPT:])


def _process_returns(earlier: Sightings, seen: Sighting) -> bool:
    processes = _changes(sighting.process_id for sighting in earlier)
    return seen.process_id in processes[:-1] and seen.process_id != processes[-1]


def _peer_returns(earlier: Sightings, seen: Sighting) -> bool:
    peers = _changes(sighting.peer_id for sighting in earlier)
    if seen.peer_id not in peers[:-1] or seen.peer_id == peers[-1]:
        return False
    processes = {sighting.process_id for sighting in earlier} - {None}
    # A storage that was wiped and put back from a copy returns too, but in a new process: where
    # processes can be told at all, wait for this one's.
    return not processes if seen.process_id is None else seen.process_id in processes


def _peer_changed_in_one_process(earlier: Sightings, seen: Sighting) -> bool:
    if not earlier or seen.process_id is None or seen.peer_id is None:
        return False
    before = earlier[-1].peer_id
    stay = takewhile(lambda sighting: sighting.peer_id == before, reversed(earlier))
    # Alone, because the two ids come from two calls: after a restart between them the new
    # process is met beside the old peer id, as the second process of that peer.
    return before not in (None, seen.peer_id) and {one.process_id for one in stay} == {seen.process_id}


def _changes(ids: Iterable[Id | None]) -> list[Id]:
    changes: list[Id] = []
    for one in ids:
        if one is not None and (not changes or changes[-1] != one):
            changes.append(one)
    return changes
