"""From the samples of one series to the one value that a rule compares. Pure.

A window of w seconds at the moment t holds the samples after t - w up to t, as in Prometheus 3.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from exporter.alerting.words import Reduce
from exporter.board import History

# As Prometheus does: a window whose edge is farther from the next sample than this many usual distances
# between samples is taken for one in which the series began or ended, half a distance beyond that sample.
FARTHEST_EDGE = 1.1


class Samples(NamedTuple):
    """What is known of one series within a window, oldest first."""

    seconds: Sequence[float]
    values: Sequence[float]


def samples_of(history: History, *, end: float, window: float, step: float) -> Samples:
    """Return the samples of a window that ends at `end`, of the clock that the history has.

    The time that a history says was spent at 0 before its first sample counts as one sample a `step`.
    """
    start = end - window
    first = bisect_right(history.seconds, start)
    last = bisect_right(history.seconds, end)
    seconds, values = history.seconds[first:last], history.values[first:last]
    zeros = _moments_at_zero(history, start, step)
    if not zeros:
        return Samples(seconds, values)
    return Samples([*zeros, *seconds], [*(0.0 for _ in zeros), *values])


def reduced(how: Reduce, samples: Samples, *, end: float, window: float, least: int = 1) -> float | None:
    """Return what a reduction over a window says; None without enough samples or where it is no number.

    `least` samples must be there: two for an increase, whatever is asked for.
    """
    values = samples.values
    if len(values) < max(least, 2 if how is Reduce.INCREASE else 1):
        return None
    if how is Reduce.INCREASE:
        value = increase(samples, start=end - window, end=end)
    elif how is Reduce.CHANGES:
        value = float(sum(1 for before, after in pairwise(values) if before != after))
    elif how is Reduce.RATIO_TO_MAX:
        highest = max(values)
        value = values[-1] / highest if highest else math.nan
    elif how is Reduce.AVG:
        value = math.fsum(values) / len(values)
    else:
        value = min(values) if how is Reduce.MIN else max(values)
    return None if math.isnan(value) else value


def of_zeros(how: Reduce) -> float | None:
    """Return what a reduction says of a series that has only ever been 0."""
    return None if how is Reduce.RATIO_TO_MAX else 0.0


def increase(samples: Samples, *, start: float, end: float) -> float:
    """Return by how much a counter grew in a window, drawn out to the window's edges as Prometheus does.

    A value below the one before it is a restart, after which the counter began at 0. The counter is
    not drawn out to before it was 0. Needs two samples.
    """
    seconds, values = samples
    grown = values[-1] - values[0]
    for earlier, later in pairwise(values):
        if later < earlier:
            grown += earlier
    seen = seconds[-1] - seconds[0]
    distance = seen / (len(values) - 1)
    before = _to_edge(seconds[0] - start, distance)
    if grown > 0 and values[0] >= 0:
        before = min(before, seen * (values[0] / grown))
    after = _to_edge(end - seconds[-1], distance)
    return grown * ((seen + before + after) / seen)


def _to_edge(gap: float, distance: float) -> float:
    return gap if gap < FARTHEST_EDGE * distance else distance / 2


def _moments_at_zero(history: History, start: float, step: float) -> list[float]:
    """Return the moments, a step apart, at which a series is known to have been 0 before its history."""
    if history.zeros is None or history.zeros[1] <= start:
        return []
    since, until = history.zeros
    count = int((until - since) / step) + 1
    moments = [until - back * step for back in range(count) if until - back * step > start]
    return moments[::-1]
