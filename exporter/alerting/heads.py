"""Which key of one receiver is due, by the first row of each. Pure; cheap with ten thousand keys."""

from __future__ import annotations

import heapq
from typing import NamedTuple

from exporter.alerting.backoff import RETRY_AFTER_CAP_SECONDS

SWEEP_FROM = 64  # entries of a heap; below that what is outdated costs nothing


class Head(NamedTuple):
    """What of the first row of a key decides when it is sent."""

    not_before: float  # Unix seconds
    severity_rank: int
    id: int  # of the row


class Heads:
    """The keys whose first row waits for its turn: worst severity first of what is due, then the oldest."""

    def __init__(self) -> None:
        self._heads: dict[str, Head] = {}
        self._times = _KeyHeap()  # all of them
        # Each is either early and late at once, the same keys from both ends, or ready.
        self._early = _KeyHeap()
        self._late = _KeyHeap()
        self._ready = _KeyHeap()

    def put(self, key: str, head: Head | None) -> None:
        """Take the first row of a key in, instead of the one before; None where nothing of it waits."""
        if self._heads.get(key) == head:
            return
        if head is None:
            del self._heads[key]
            for heap in (self._times, self._early, self._late, self._ready):
                heap.put(key, None)
            return
        self._heads[key] = head
        self._times.put(key, (head.not_before, head.id))
        self._wait(key, head)

    def due(self, now: float) -> str | None:
        """Return the key whose row is to be sent next."""
        for heap in (self._early, self._late):
            while (key := heap.first()) is not None and _is_due(self._heads[key], now):
                self._take_up(key)
        while (key := self._ready.first()) is not None and not _is_due(self._heads[key], now):
            self._wait(key, self._heads[key])  # it was due by a clock that was set since
        return key

    def due_at(self) -> float | None:
        """Return when the first is due, in Unix seconds."""
        key = self._times.first()
        return None if key is None else self._heads[key].not_before

    def _wait(self, key: str, head: Head) -> None:
        self._early.put(key, (head.not_before, head.id))
        self._late.put(key, (-head.not_before, head.id))
        self._ready.put(key, None)

    def _take_up(self, key: str) -> None:
        head = self._heads[key]
        self._early.put(key, None)
        self._late.put(key, None)
        self._ready.put(key, (head.severity_rank, head.id))


def _is_due(head: Head, now: float) -> bool:
    # Nothing waits longer than Retry-After may ask: what seems to, the clock was set back since.
    return not 0.0 < head.not_before - now <= RETRY_AFTER_CAP_SECONDS


class _KeyHeap:
    """A heap that keeps outdated entries, knows them when they come up, and sweeps when they are many."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[float, int], str]] = []
        self._order: dict[str, tuple[float, int]] = {}

    def put(self, key: str, order: tuple[float, int] | None) -> None:
        """Let a key stand here in the order instead of where it stood; None: nowhere."""
        if order is None:
            self._order.pop(key, None)
        elif self._order.get(key) != order:
            self._order[key] = order
            heapq.heappush(self._heap, (order, key))
        if len(self._heap) > SWEEP_FROM + 2 * len(self._order):
            self._heap = [(order, key) for key, order in self._order.items()]
            heapq.heapify(self._heap)

    def first(self) -> str | None:
        """Return the first key."""
        while self._heap:
            order, key = self._heap[0]
            if self._order.get(key) == order:
                return key
            heapq.heappop(self._heap)
        return None
