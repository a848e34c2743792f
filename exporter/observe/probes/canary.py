"""The write canary: a point of our own written through each peer, looked for on all, deleted, and seen gone.

It lives in a collection of its own; in a cluster that has custom sharding and one key a peer, placed
there, so that each peer's own writing is measured. Points carry the instance that wrote them and when:
a daemon removes its own left-overs, and anybody's that are older than an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from exporter.clock import Clock
from exporter.errors import (
    BadPayload,
    SourceAuth,
    SourceError,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
)
from exporter.observe.probes.canary_book import CanaryBook, Phase
from exporter.observe.probes.canary_collection import CanaryCollection, CanaryPeer, StepError
from exporter.observe.probes.reasons import Failure, reason_of
from exporter.qdrant import canary
from exporter.qdrant.asked import Asked
from exporter.qdrant.lanes import Timed

# Points of a daemon that died are nobody's; an hour is as long as the longest interval.
LEFT_OVER_SECONDS = 3_600.0
# Looked for again after so long, twice as long each time: at first fine, when it should be there, then
# with few requests where it takes long.
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.25
# For taking the point away where this daemon is stopped in a round: it must not hold the stop up.
LAST_SECONDS = 1.0
# Points under way at once: each is looked for three times on every peer, and six requests are within the
# usual ceiling of eight.
POINTS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Look:
    """One way to see a point."""

    phase: Phase
    ask: Callable[[str, str | None], Asked]
    saw: Callable[[bytes], bool]


LOOKS = (
    Look(Phase.RETRIEVE, canary.retrieve, canary.saw_retrieved),
    Look(Phase.SEARCH, canary.search, canary.saw_found),
    Look(Phase.COUNT, canary.count, canary.saw_counted),
)


@dataclass(slots=True)
class Round:
    """What one round came to: seconds of answers by peer, and the steps that failed, by peer at fault."""

    cost_seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[tuple[str, Phase], str] = field(default_factory=dict)
    asked_to_rest: bool = False  # by a 429
    rest_seconds: float | None = None  # for so long, where it said so


class Canary:
    """Rounds of the canary in one cluster. `instance` marks the points of this daemon."""

    def __init__(self, *, instance: str, deadline_seconds: float, clock: Clock) -> None:
        self.book = CanaryBook()
        self.collection = CanaryCollection()
        self._instance = instance
        self._deadline_seconds = deadline_seconds
        self._clock = clock

    async def round(self, peers: Sequence[CanaryPeer], listed: frozenset[int]) -> Round:
        """Run one round through these peers. `listed`: see CanaryCollection.prepare."""
        made = Round()
        self.book.rounds += 1
        try:
            await self.collection.prepare(peers, listed)
        except StepError as error:
            made.failures[peers[0].label, Phase.PREPARE] = str(error)
        else:
            at_once = asyncio.Semaphore(POINTS_AT_ONCE)
            async with asyncio.TaskGroup() as points:
                for peer in peers:
                    point = _Point(str(uuid4()), peer, peers, made)
                    points.create_task(self._follow(point, at_once))
        if not any(peer.lanes.closed for peer in peers):  # else what failed was ended by us
            for label, phase in made.failures:
                self.book.failed(label, phase)
        return made

    async def _follow(self, point: _Point, at_once: asyncio.Semaphore) -> None:
        """Follow one point from its writing to its end; where we are stopped meanwhile, delete it first."""
        async with at_once:
            try:
                await self._live(point)
            except asyncio.CancelledError:
                gone = canary.delete_point(point.id, point.writer.key)
                lanes = point.writer.lanes
                await lanes.call(gone.request, endpoint=gone.endpoint, deadline_seconds=LAST_SECONDS)
                raise

    async def _live(self, point: _Point) -> None:
        """Write one point, see it everywhere, delete it, see it gone."""
        await self._warm(point)
        started = self._clock.monotonic()
        stamp = {"instance": self._instance, "written_at": self._clock.now()}
        written = await self._send(point, canary.upsert(point.id, stamp, point.writer.key))
        if written.failure is None:
            self.book.took(point.writer.label, Phase.WRITE, written.took_seconds)
            await asyncio.gather(*(self._until(point, (look,), look.phase, started) for look in LOOKS))
        else:
            self._failed(point, point.writer, Phase.WRITE, written.failure)
        deleted_at = self._clock.monotonic()
        deleted = await self._send(point, canary.delete_point(point.id, point.writer.key))
        if deleted.failure is not None:
            self._failed(point, point.writer, Phase.GONE, deleted.failure)
        elif written.failure is None:
            await self._until(point, LOOKS, Phase.GONE, deleted_at)

    async def _warm(self, point: _Point) -> None:
        """Open as many connections as the looks will need, and remove what lies about."""
        key = point.writer.key
        before = self._clock.now() - LEFT_OVER_SECONDS
        nobody = str(uuid4())
        await asyncio.gather(
            self._send(point, canary.delete_left_overs(self._instance, before, key)),
            *(self._look(point, peer, look.ask(nobody, key)) for peer in point.peers for look in LOOKS),
        )

    async def _until(self, point: _Point, looks: Sequence[Look], phase: Phase, started: float) -> None:
        """Wait until every peer shows the point, or for GONE none does, and book how long that took."""
        seconds = await asyncio.gather(
            *(self._until_one(point, peer, look, phase, started) for peer in point.peers for look in looks)
        )
        done = [one for one in seconds if one is not None]
        if len(done) == len(seconds):
            self.book.took(point.writer.label, phase, max(done))

    async def _until_one(
        self, point: _Point, peer: CanaryPeer, look: Look, phase: Phase, started: float
    ) -> float | None:
        """Return when one peer showed it one way, in seconds; None where that never was."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            timed = await self._look(point, peer, look.ask(point.id, point.writer.key))
            waited = self._clock.monotonic() - started
            failure = timed.failure
            if failure is None and waited <= self._deadline_seconds:
                try:
                    if look.saw(timed.body) is (phase is not Phase.GONE):
                        return waited
                except BadPayload as error:
                    failure = error
            if _is_final(failure) or waited + pause > self._deadline_seconds:
                self._failed(point, peer, phase, failure)
                return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _failed(self, point: _Point, peer: CanaryPeer, phase: Phase, failure: SourceError | None) -> None:
        """Note a failed step, once a round: of the peer that was silent, else of the one written through."""
        silent = isinstance(failure, SourceTimeout | SourceUnreachable)
        at_fault = peer if silent else point.writer
        reason = str(failure) if failure is not None else f"not so on {peer.label} by the deadline"
        point.round.failures.setdefault((at_fault.label, phase), reason)
        if isinstance(failure, SourceRefused):
            self.collection.doubt()  # it or the key is gone, perhaps
            if reason_of(failure) is Failure.RATE_LIMITED:
                point.round.asked_to_rest = True
                point.round.rest_seconds = failure.retry_after_seconds

    async def _send(self, point: _Point, what: Asked) -> Timed:
        return await self._look(point, point.writer, what)

    async def _look(self, point: _Point, peer: CanaryPeer, what: Asked) -> Timed:
        timed = await peer.lanes.call(
            what.request, endpoint=what.endpoint, deadline_seconds=self._deadline_seconds
        )
        if timed.failure is None:
            costs = point.round.cost_seconds
            costs[peer.label] = costs.get(peer.label, 0.0) + timed.took_seconds
        return timed


def _is_final(failure: SourceError | None) -> bool:
    """Whether asking again would only be a nuisance: no key makes itself valid, and a limit wants rest."""
    if failure is None:
        return False
    return isinstance(failure, SourceAuth) or reason_of(failure) is Failure.RATE_LIMITED


@dataclass(frozen=True, slots=True)
class _Point:
    """One point of a round: through whom it is written, and who is to show it."""

    id: str
    writer: CanaryPeer
    peers: Sequence[CanaryPeer]
    round: Round
