"""What is due next: one time per key, cheap to move and to ask."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Timers(Generic[Key]):
    """A heap that keeps outdated entries and knows them when they come up."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._due: dict[Key, tuple[float, int]] = {}
        self._count = 0  # decides between equal times: keys need no order

    def set(self, key: Key, at: float | None) -> None:
        """Let a key be due at this Unix time instead of any earlier or later one; None: never."""
        if at is None:
            self._due.pop(key, None)
            return
        current = self._due.get(key)
        if current is None or current[0] != at:
            self._count += 1
            self._due[key] = (at, self._count)
            heapq.heappush(self._heap, (at, self._count, key))

    def next(self) -> float | None:
        """Return when the first is due."""
        while self._heap:
            at, number, key = self._heap[0]
            if self._due.get(key) == (at, number):
                return at
            heapq.heappop(self._heap)
        return None

    def pop(self, now: float) -> list[Key]:
        """Return the keys that are due, the earliest first, and forget their times."""
        due = []
        while (at := self.next()) is not None and at <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._due[key]
            due.append(key)
        return due
