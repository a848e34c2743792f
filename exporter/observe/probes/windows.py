"""Values of the recent past, kept compactly, and exact percentiles of them."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence


class Window:
    """Rows of numbers of the last `seconds`, or the last `least` rows where those are more."""

    __slots__ = ("_columns", "_least", "_seconds", "_times")

    def __init__(self, *, seconds: float, least: int, columns: int) -> None:
        self._seconds = seconds
        self._least = least
        self._times = array("d")
        self._columns = tuple(array("d") for _ in range(columns))

    def add(self, now: float, *row: float) -> None:
        """Add a row and drop what is too old; `now` never goes back."""
        self._times.append(now)
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        gone = len(self._times) - self.count(now)
        if gone:
            del self._times[:gone]
            for column in self._columns:
                del column[:gone]

    def count(self, now: float, least: int | None = None) -> int:
        """How many rows count now; `least`, at most that of the window, in its place."""
        held = len(self._times)
        recent = held - bisect_left(self._times, now - self._seconds)
        return max(recent, min(held, self._least if least is None else least))

    def column(self, now: float, number: int = 0, least: int | None = None) -> Sequence[float]:
        """One number of each row that counts now, oldest first."""
        column = self._columns[number]
        return column[len(column) - self.count(now, least) :]

    def newest_seconds(self) -> float | None:
        """When the newest row was added."""
        return self._times[-1] if self._times else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of a sorted, filled sequence lies, interpolated linearly.

    The definition is that of numpy's default, and so is the arithmetic, to the last bit.
    """
    position = share * (len(ordered) - 1)
    below = int(position)
    if below >= len(ordered) - 1:
        return ordered[-1]
    low, high, part = ordered[below], ordered[below + 1], position - below
    if part < 0.5:
        return low + (high - low) * part
    return high - (high - low) * (1 - part)
