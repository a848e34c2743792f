"""The meeting place: what is known now, who said it, and when.

Producers put Observations in; consumers take a BoardView. Nothing here talks to
the network or to a database. Belongs to the event loop: a BoardView may go to a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
    derived: Mapping[ProducerKey, tuple[Reading, ...]]  # what was derived from all of it, in blocks

    def blocks(self) -> Iterator[tuple[ProducerKey, tuple[Reading, ...]]]:
        """Yield every producer's readings in force; a key may come twice, known and standing."""
        for key, observation in self.known.items():
            yield key, observation.readings
        yield from self.standing.items()
        yield from self.derived.items()

    def without_peers(self, down: Collection[tuple[str, str]]) -> BoardView:
        """Leave out what the given (cluster, peer) learnt; standing and derived readings stay."""
        known = {key: seen for key, seen in self.known.items() if (key.cluster, key.peer) not in down}
        return replace(self, known=known)

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
        self._derived: dict[ProducerKey, tuple[Reading, ...]] = {}
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

    def derive(self, cluster: str, blocks: Mapping[str, tuple[Reading, ...]]) -> None:
        """Replace all that was derived of one cluster. No change to wake for: it came from one."""
        for key in [key for key in self._derived if key.cluster == cluster]:
            del self._derived[key]
        self._derived |= {ProducerKey(cluster, "", name): block for name, block in blocks.items()}

    def forget(self, wanted: Callable[[ProducerKey], bool]) -> None:
        """Drop everything of the producers that `wanted` names: a peer or a cluster that is gone."""
        for store in (self._newest, self._good, self._standing, self._derived):
            for key in [key for key in store if wanted(key)]:
                del store[key]
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
        return BoardView(now, dict(self._newest), dict(self._good), dict(self._standing), dict(self._derived))

    async def wait_for_change(self) -> None:
        """Return when something was put, posted or dropped since the last return."""
        await self._changed.wait()
        self._changed.clear()
