"""The meeting place: what is known now, who said it, and when.

Producers put Observations in; consumers take a BoardView. Nothing here talks to
the network or to a database. Belongs to the event loop: a BoardView may go to a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.model import Observation, ProducerKey, Reading

# A reading may be three intervals old, then its series goes: DESIGN decision 1. One interval
# forgives one lost poll, two would still make a gap where a slow answer meets a lost one.
EXPIRY_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class BoardView:
    """What the Board knew at one moment. Immutable, safe to hand to a thread."""

    monotonic_seconds: float
    newest: Mapping[ProducerKey, Observation]  # good or failed
    known: Mapping[ProducerKey, Observation]  # the last one that read something, not expired
    standing: Mapping[ProducerKey, tuple[Reading, ...]]  # readings that never expire

    def blocks(self) -> Iterator[tuple[ProducerKey, tuple[Reading, ...]]]:
        """Yield every producer's readings in force; a key may come twice, known and standing."""
        for key, observation in self.known.items():
            yield key, observation.readings
        yield from self.standing.items()

    def of_cluster(self, cluster: str, source: str) -> dict[str, Observation]:
        """Return what is known of one source in one cluster, by peer."""
        return {
            key.peer: observation
            for key, observation in self.known.items()
            if key.cluster == cluster and key.source == source
        }


class Board:
    """The newest Observation of every producer, with expiry."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._newest: dict[ProducerKey, Observation] = {}
        self._good: dict[ProducerKey, Observation] = {}
        self._standing: dict[ProducerKey, tuple[Reading, ...]] = {}
        self._changed = asyncio.Event()

    def put(self, observation: Observation) -> None:
        """Replace what this producer said. A failed one keeps the last good one until it expires."""
        self._newest[observation.key] = observation
        if observation.seen is not None:
            self._good[observation.key] = observation
        self._changed.set()

    def post(self, key: ProducerKey, readings: Sequence[Reading]) -> None:
        """Replace this producer's standing readings: those that outlive its failures."""
        self._standing[key] = tuple(readings)
        self._changed.set()

    def withdraw(self, key: ProducerKey) -> None:
        """Drop what this producer learnt; its standing readings stay."""
        if self._good.pop(key, None) is not None:
            self._changed.set()

    def forget(self, wanted: Callable[[ProducerKey], bool]) -> None:
        """Drop everything of the producers that `wanted` names: a peer or a cluster that is gone."""
        for store in (self._newest, self._good, self._standing):
            for key in [key for key in store if wanted(key)]:
                del store[key]  # type: ignore[attr-defined]  # three dicts, one loop
        self._changed.set()

    def view(self) -> BoardView:
        """Return what is known now; what expired is dropped for good."""
        now = self._clock.monotonic()
        for key in [
            key
            for key, good in self._good.items()
            if now - good.monotonic_seconds > EXPIRY_INTERVALS * good.interval_seconds
        ]:
            del self._good[key]
        return BoardView(now, dict(self._newest), dict(self._good), dict(self._standing))

    async def wait_for_change(self) -> None:
        """Return when something was put, posted or dropped since the last return."""
        await self._changed.wait()
        self._changed.clear()
