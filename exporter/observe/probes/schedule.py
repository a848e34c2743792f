"""When each probe is due. Decisions only: no clock of its own, no sleep."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


# Intervals that change by less than a fifth change by the costs' own noise, and hold from the next beat on.
SMALL_CHANGE = 0.8
# Of an interval: soon, and often enough elsewhere in it to meet a gap.
TRIED_AGAIN_AFTER = 0.1


@dataclass(frozen=True, slots=True)
class Due(Generic[K]):
    """A probe whose moment has come; `missed` moments before it passed while nobody looked.

    `again`: it is tried again because it found its place taken.
    """

    key: K
    missed: int
    again: bool = False


@dataclass(slots=True)
class _Entry:
    interval_seconds: float
    set_for_seconds: float  # the interval that the beat was set for
    began_seconds: float  # the beat before
    due_seconds: float
    was_put_off: bool = False  # since the beat before
    again: bool = False


class Schedule(Generic[K]):
    """A beat for each probe, kept whatever the probes themselves do.

    This is what keeps out coordinated omission: a moment is set by the one before it and the
    interval, never by the end of the probe. A server that stalls meets the next probes on time, each
    on a connection of its own, and the wait of each is measured; a closed loop would send one,
    wait with it, and count one slow answer where users had hundreds. What the ceiling on concurrent
    searches keeps from going meanwhile is counted as skipped: that much a long stall is understated.

    Beats start spread over the interval by a hash of the key, so that a thousand probes of a minute
    are seventeen a second. After a stall of ours the moments that passed are not made up for: the
    probe goes once, or they would come bunched, and then keeps to its old beat.
    """

    def __init__(self) -> None:
        self._entries: dict[K, _Entry] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._pushed = 0  # breaks ties, for keys need not compare

    def keep(self, intervals: Mapping[K, float], now: float) -> None:
        """Schedule just these, at these intervals in seconds.

        Small changes of an interval hold from the next beat on. After a large one the beat is set anew:
        else nothing would run for what is left of a long interval that is over, or all would come
        together in the corner of a long one where the short one was. A beat that is drawn in is never
        closer to the one before than an interval; one is put off once, by an interval at most.
        """
        for key in self._entries.keys() - intervals.keys():
            del self._entries[key]
        for key, interval in intervals.items():
            entry = self._entries.get(key)
            if entry is None:
                first = now + _spread(key) * interval
                self._entries[key] = _Entry(interval, interval, float("-inf"), first)
            else:
                entry.interval_seconds = interval
                self._set_anew(key, entry, now)
        self._heap = [
            (entry.due_seconds, number, key) for number, (key, entry) in enumerate(self._entries.items())
        ]
        self._pushed = len(self._heap)
        heapq.heapify(self._heap)

    def _set_anew(self, key: K, entry: _Entry, now: float) -> None:
        """Move the beat of a probe whose interval is far from the one that it was set for."""
        interval = entry.interval_seconds
        anew = now + _spread(key) * interval
        if interval < SMALL_CHANGE * entry.set_for_seconds:
            entry.due_seconds = min(entry.due_seconds, max(anew, entry.began_seconds + interval))
            entry.set_for_seconds = interval
        elif interval > entry.set_for_seconds / SMALL_CHANGE and not entry.was_put_off:
            entry.due_seconds = max(entry.due_seconds, anew)
            entry.set_for_seconds = interval
            entry.was_put_off = True

    def try_again(self, key: K, now: float) -> None:
        """Give a probe that found its place taken another beat, soon: at its own it might always be so."""
        entry = self._entries[key]
        soon = now + TRIED_AGAIN_AFTER * entry.interval_seconds
        if soon < entry.due_seconds:
            entry.due_seconds = soon
            entry.again = True
            self._push(key, entry)

    def __contains__(self, key: K) -> bool:
        """Whether a probe is scheduled."""
        return key in self._entries

    def interval_seconds(self, key: K) -> float:
        """The interval in force."""
        return self._entries[key].interval_seconds

    def due(self, now: float) -> list[Due[K]]:
        """Return what is due, earliest first, and set the next moment of each."""
        found: list[Due[K]] = []
        while self._heap and self._heap[0][0] <= now:
            due_seconds, _, key = heapq.heappop(self._heap)
            entry = self._entries.get(key)
            if entry is None or entry.due_seconds != due_seconds:
                continue  # dropped meanwhile
            interval = entry.interval_seconds
            missed = int((now - due_seconds) // interval)
            entry.began_seconds = due_seconds + missed * interval
            again = entry.again
            entry.was_put_off = entry.again = False
            entry.set_for_seconds = interval
            entry.due_seconds = due_seconds + (missed + 1) * interval
            if entry.due_seconds <= now:  # the sum was rounded down onto now itself
                entry.due_seconds += interval
            self._push(key, entry)
            found.append(Due(key, missed, again))
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
