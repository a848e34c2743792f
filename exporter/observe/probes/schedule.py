"""When each probe is due. Decisions only: no clock of its own, no sleep."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Due(Generic[K]):
    """A probe whose moment has come; `missed` moments before it passed while nobody looked."""

    key: K
    missed: int


@dataclass(slots=True)
class _Entry:
    interval_seconds: float
    began_seconds: float  # the beat before
    due_seconds: float
    was_put_off: bool = False  # since the beat before


# Of an interval: soon, and often enough elsewhere in it to meet a gap.
TRIED_AGAIN_AFTER = 0.1

# Intervals that change by less than a fifth change by the costs' own noise; looking at every beat takes
# a millisecond a thousand.
SMALL_CHANGE = 0.8


class Schedule(Generic[K]):
    """A beat for each probe, kept whatever the probes themselves do.

    This is what keeps out coordinated omission: a moment is set by the one before it and the
    interval, never by the end of the probe. A server that stalls meets the next probes on time, each
    on a connection of its own, and the wait of each is measured; a closed loop would send one,
    wait with it, and count one slow answer where users had hundreds.

    Beats start spread over the interval by a hash of the key, so that a thousand probes of a minute
    are seventeen a second. After a stall of ours the moments that passed are not made up for: the
    probe goes once, or they would come bunched, and then keeps to its old beat.
    """

    def __init__(self) -> None:
        self._entries: dict[K, _Entry] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._pushed = 0  # breaks ties, for keys need not compare
        self._factor = 1.0
        self._spread_for = 1.0  # the factor at which beats were spread last

    def keep(self, intervals: Mapping[K, float], now: float) -> None:
        """Schedule just these, at these intervals in seconds."""
        for key in self._entries.keys() - intervals.keys():
            del self._entries[key]
        for key, interval in intervals.items():
            entry = self._entries.get(key)
            if entry is None:
                first = now + _spread(key) * interval * self._factor
                entry = self._entries[key] = _Entry(interval, float("-inf"), first)
                self._push(key, entry)
            entry.interval_seconds = interval

    def stretch(self, factor: float, now: float) -> None:
        """Make every interval so many times as long, at least once.

        Small changes hold from each one's next beat on. After a large one the beats are spread anew:
        else nothing would run for what is left of a long interval that is over, or all would come
        together in the corner of a long one where the short one was. A beat that is drawn in is never
        closer to the one before than an interval; one is put off once, by an interval at most.
        """
        self._factor = max(1.0, factor)
        if SMALL_CHANGE <= self._factor / self._spread_for <= 1 / SMALL_CHANGE:
            return
        put_off = self._factor > self._spread_for
        self._spread_for = self._factor
        for key, entry in self._entries.items():
            interval = self.interval_seconds(key)
            anew = now + _spread(key) * interval
            if put_off and not entry.was_put_off:
                entry.due_seconds = max(entry.due_seconds, anew)
                entry.was_put_off = True
            elif not put_off:
                entry.due_seconds = min(entry.due_seconds, max(anew, entry.began_seconds + interval))
        self._heap.clear()
        for key, entry in self._entries.items():
            self._push(key, entry)

    def try_again(self, key: K, now: float) -> None:
        """Give a probe that found its place taken another beat, soon: at its own it might always be so."""
        entry = self._entries[key]
        entry.due_seconds = min(entry.due_seconds, now + TRIED_AGAIN_AFTER * self.interval_seconds(key))
        self._push(key, entry)

    def __contains__(self, key: K) -> bool:
        """Whether a probe is scheduled."""
        return key in self._entries

    def interval_seconds(self, key: K) -> float:
        """The interval in force."""
        return self._entries[key].interval_seconds * self._factor

    def due(self, now: float) -> list[Due[K]]:
        """Return what is due, earliest first, and set the next moment of each."""
        found: list[Due[K]] = []
        while self._heap and self._heap[0][0] <= now:
            due_seconds, _, key = heapq.heappop(self._heap)
            entry = self._entries.get(key)
            if entry is None or entry.due_seconds != due_seconds:
                continue  # dropped meanwhile
            interval = self.interval_seconds(key)
            missed = int((now - due_seconds) // interval)
            entry.began_seconds = due_seconds + missed * interval
            entry.was_put_off = False
            entry.due_seconds = due_seconds + (missed + 1) * interval
            if entry.due_seconds <= now:  # the sum was rounded down onto now itself
                entry.due_seconds += interval
            self._push(key, entry)
            found.append(Due(key, missed))
        return found

    def next_due_seconds(self) -> float | None:
        """When the next one is due; None where nothing is scheduled."""
        while self._heap:
            due_seconds, _, key = self._heap[0]
            entry = self._entries.get(key)
            if entry is not None and entry.due_seconds == due_seconds:
                return due_seconds
            heapq.heappop(self._heap)
        return None

    def _push(self, key: K, entry: _Entry) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (entry.due_seconds, self._pushed, key))


def _spread(key: Hashable) -> float:
    """A share of the interval, from 0 to 1, the same for a key at every start."""
    return zlib.crc32(repr(key).encode(errors="replace")) / 2**32
