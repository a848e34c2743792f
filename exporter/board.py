"""The meeting place: what is known now, who said it, and when.

Producers put Observations in; consumers take a BoardView. Nothing here talks to
the network or to a database. Belongs to the event loop: a BoardView may go to a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.clock import Clock
from exporter.model import Observation, ProducerKey, Reading

# A reading may be three intervals old, then its series goes. One interval forgives one lost poll;
# two would still make a gap where a slow answer meets a lost one. Where a poll takes longer than its
# interval, the polls are that far apart.
EXPIRY_INTERVALS = 3

# A peer whose telemetry has failed for that long is down: what its other sources said goes with it,
# for a series that outlives its peer by ten minutes would look like life.
ANCHOR_SOURCE = "telemetry"


@dataclass(frozen=True, slots=True)
class BoardView:
    """What the Board knew at one moment. Immutable, safe to hand to a thread."""

    monotonic_seconds: float
    newest: Mapping[ProducerKey, Observation]  # good or failed
    known: Mapping[ProducerKey, Observation]  # the last one that read something, not expired
    standing: Mapping[ProducerKey, tuple[Reading, ...]]  # readings that never expire
    derived: Mapping[ProducerKey, tuple[Reading, ...]]  # what was derived from all of it, in blocks

    def blocks(self) -> Iterator[tuple[ProducerKey, tuple[Reading, ...]]]:
        """Yield every producer's readings in force; a key may come twice, known and standing."""
        for key, observation in self.known.items():
            yield key, observation.readings
        yield from self.standing.items()
        yield from self.derived.items()

    def of_cluster(self, cluster: str, source: str) -> dict[str, Observation]:
        """Return what is known of one source in one cluster, by peer."""
        return {
            key.peer: observation
            for key, observation in self.known.items()
            if key.cluster == cluster and key.source == source
        }


class Board:
    """The newest Observation of every producer, with expiry."""

    def __init__(self, *, clock: Clock, expires: bool = True) -> None:
        """`expires` is off for a single look, which may take longer than any interval."""
        self._clock = clock
        self._expires = expires
        self._newest: dict[ProducerKey, Observation] = {}
        self._good: dict[ProducerKey, Observation] = {}
        self._failing_since: dict[ProducerKey, float] = {}
        self._standing: dict[ProducerKey, tuple[Reading, ...]] = {}
        self._derived: dict[ProducerKey, tuple[Reading, ...]] = {}
        self._changed = asyncio.Event()

    def put(self, observation: Observation) -> None:
        """Replace what this producer said. A failed one keeps the last good one until it expires."""
        self._newest[observation.key] = observation
        if observation.seen is not None:
            self._good[observation.key] = observation
            self._failing_since.pop(observation.key, None)
        else:
            self._failing_since.setdefault(observation.key, observation.monotonic_seconds)
        self._changed.set()

    def post(self, key: ProducerKey, readings: Sequence[Reading]) -> None:
        """Replace this producer's standing readings: those that outlive its failures."""
        self._standing[key] = tuple(readings)
        self._changed.set()

    def derive(self, cluster: str, blocks: Mapping[str, tuple[Reading, ...]]) -> None:
        """Replace all that was derived of one cluster. No change to wake for: it came from one."""
        for key in [key for key in self._derived if key.cluster == cluster]:
            del self._derived[key]
        self._derived |= {ProducerKey(cluster, "", name): block for name, block in blocks.items()}

    def forget(self, cluster: str, peer: str | None = None) -> None:
        """Drop everything of a peer, or of a whole cluster, that is watched no more."""
        stores: tuple[dict[ProducerKey, Any], ...] = (
            self._newest, self._good, self._failing_since, self._standing, self._derived,
        )  # fmt: skip
        for store in stores:
            for key in [key for key in store if key.cluster == cluster and peer in (None, key.peer)]:
                del store[key]
        self._changed.set()

    def withdraw(self, key: ProducerKey) -> None:
        """Drop what this producer learnt and posted: another speaks in its place."""
        stores: tuple[dict[ProducerKey, Any], ...] = (
            self._newest, self._good, self._failing_since, self._standing,
        )  # fmt: skip
        for store in stores:
            store.pop(key, None)
        self._changed.set()

    def view(self) -> BoardView:
        """Return what is known now; what expired is dropped for good."""
        now = self._clock.monotonic()
        if self._expires:
            down = self._peers_down(now)
            for key, good in list(self._good.items()):
                if _is_older(good, now - good.monotonic_seconds) or (key.cluster, key.peer) in down:
                    del self._good[key]
        return BoardView(now, dict(self._newest), dict(self._good), dict(self._standing), dict(self._derived))

    def _peers_down(self, now: float) -> set[tuple[str, str]]:
        return {
            (key.cluster, key.peer)
            for key, since in self._failing_since.items()
            if key.source == ANCHOR_SOURCE
            and key not in self._good
            and _is_older(self._newest[key], now - since)
        }

    async def wait_for_change(self) -> None:
        """Return when something was put, posted or dropped since the last return."""
        await self._changed.wait()
        self._changed.clear()


def _is_older(observation: Observation, age_seconds: float) -> bool:
    pace_seconds = max(observation.interval_seconds, observation.took_seconds)
    return age_seconds > EXPIRY_INTERVALS * pace_seconds
