"""When a disk or memory will be full and an update queue empty, from short histories on the Board.

A slope is the median of the slopes between all pairs of samples (Theil and Sen): a step, an outlier
or the teeth that optimizers and the WAL make leave it nearly as it is, where a line through two
points would follow them. What has no clear trend is not forecast: absent is the answer then.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import ceil, sqrt
from statistics import median
from typing import NamedTuple

from exporter.board import Board, BoardView, History
from exporter.model import CLUSTER_LABEL, Kind, MetricSpec, Reading
from exporter.observe.derived.collections import QUEUE
from exporter.observe.sources.contract import PEER_LABELS
from exporter.observe.sources.disk import FREE, USED
from exporter.observe.sources.telemetry import USED_MEMORY

# 60 samples are 1,770 pairs, 0.2 ms: more would not move their median.
MOST_SAMPLES = 60

# Teeth of about the length of every nth sample would show as one long, slow tooth. The squares of the
# counting numbers times this one fall on the unit interval as if by chance, and the same at every look.
SCATTER = (sqrt(5) - 1) / 2

# The share of all pairs whose slope must point to the level. It is a half where there is only noise. A
# stationary sawtooth of n whole teeth has at most 1/2 + 1/(2n), the pairs within one tooth being all
# alike: 0.75 for two. Above 0.8 lies growth that over the window makes one and a half times the height
# of the teeth upon it, or five times the deviation of noise. A tooth that fills nine tenths of the
# window is growth as far as anybody can see.
CLEAR_SHARE = 0.8

# As far as a trend is drawn out, in lengths of the history it was seen in: 30 days after the whole six
# hours, 60 hours after the first half. A load that lasted six hours says nothing of the next month,
# when people will have come and gone; whoever plans for that has Prometheus.
FARTHEST_SPANS = 120


class Outlook(NamedTuple):
    """A number with a history, and the level whose moment is asked for."""

    number: MetricSpec
    level: float
    window_seconds: float
    step_seconds: float
    fewest_samples: int
    shortest_seconds: float  # of history: less says nothing
    zeros: bool = True  # whether a history of nothing but 0 is worth its memory


def _full(number: MetricSpec, level: float) -> Outlook:
    """Six hours hold several runs of any optimizer. The server's own figure comes every ten minutes."""
    return Outlook(number, level, 6 * 3600.0, 60.0, fewest_samples=10, shortest_seconds=1800.0)


# By the source that says the number, and by resource. Of the disk a peer's source is the one or the other.
# Whole percent, as the server counts, make steps: a rise through fewer than five of them is not clear.
RESOURCES = (
    ("disk", "disk", _full(FREE, 0.0)),
    ("quotas", "disk", _full(USED, 1.0)),
    ("telemetry", "memory", _full(USED_MEMORY, 1.0)),
)
# Nearly all queues are empty nearly always.
DRAINED = Outlook(QUEUE, 0.0, 600.0, 15.0, fewest_samples=5, shortest_seconds=0.0, zeros=False)

FULL = MetricSpec(
    "qdrantx_forecast_full_timestamp_seconds",
    Kind.GAUGE,
    "When the disk or memory of the peer is full if it goes on as in the last 6 hours (median slope); absent "
    "without a clear trend to full, under 30 minutes of history, and where it lies further ahead than 120 "
    "times that history: 30 days once it is six hours long",
    "seconds, Unix time",
    "statvfs of storage_path, else GET /quotas (1.19); GET /telemetry?details_level=3",
    (*PEER_LABELS, "resource"),
)
DRAIN = MetricSpec(
    "qdrantx_forecast_queue_drain_seconds",
    Kind.GAUGE,
    "Time until the update queue is empty if it goes on as in the last 10 minutes (median slope), since "
    "1.17; absent where it is empty or does not clearly shrink",
    "seconds",
    "GET /telemetry?details_level=3",
    (CLUSTER_LABEL, "collection"),
)
SPECS = (FULL, DRAIN)


def keep_histories(board: Board) -> None:
    """Ask the Board for the histories that forecasts are made of."""
    for outlook in (*(outlook for _, _, outlook in RESOURCES), DRAINED):
        board.keep(
            outlook.number,
            seconds=outlook.window_seconds,
            step_seconds=outlook.step_seconds,
            zeros=outlook.zeros,
        )


def seconds_until(history: History, outlook: Outlook) -> float | None:
    """Return the seconds from the newest sample until the number is at the level.

    None where that cannot be said: it is there already, the history is too short, the trend is not
    clearly towards the level, or the moment is too far away. Space that a restart or a vacuum frees is a
    step in the history: the median slope hardly feels it and counts from the newest value, so the moment
    moves away at once by what was freed. Once the part after the step is a tenth of the window the trend
    is not clear any more, for teeth begin like that. It is clear again when the part before the step has
    nearly left the window; growth of two and a half times the step stays clear all the while.
    """
    if len(history.seconds) < outlook.fewest_samples or history.span_seconds < outlook.shortest_seconds:
        return None
    remaining = outlook.level - history.values[-1]
    slopes = pairwise_slopes(history)
    towards = sum(1 for slope in slopes if slope * remaining > 0)
    if towards <= CLEAR_SHARE * len(slopes):
        return None
    seconds = remaining / median(slopes)
    return seconds if seconds < FARTHEST_SPANS * history.span_seconds else None


def pairwise_slopes(history: History) -> list[float]:
    """Return the slopes, a second, between all pairs of at most MOST_SAMPLES samples."""
    picked = [
        (history.seconds[position], history.values[position]) for position in picks(len(history.seconds))
    ]
    return [(later[1] - one[1]) / (later[0] - one[0]) for one, later in combinations(picked, 2)]


def picks(samples: int) -> list[int]:
    """Return the positions of at most MOST_SAMPLES among so many: one of each few neighbours, scattered."""
    size = ceil(samples / MOST_SAMPLES)
    firsts = range(0, samples, size)
    scattered = (first + int(count * count * SCATTER % 1 * size) for count, first in enumerate(firsts))
    return [min(position, samples - 1) for position in scattered]


class _Asked(NamedTuple):
    """One forecast to make: of which series, from what, and what to add to the seconds that come out."""

    spec: MetricSpec
    labels: tuple[str, ...]
    history: History
    outlook: Outlook
    from_seconds: float


class Forecaster:
    """The forecasts of one cluster. Each is worked out once a step of its history and kept until the next."""

    def __init__(self, *, cluster: str) -> None:
        self._cluster = cluster
        self._said: dict[tuple[MetricSpec, tuple[str, ...]], tuple[float, Reading | None]] = {}
        self._block: tuple[Reading, ...] = ()
        self._looked_at_seconds = 0.0

    def block(self, board: BoardView) -> tuple[Reading, ...]:
        """Return what can be forecast now; the same tuple as before where that is the same."""
        said = {}
        for asked in (*self._of_queues(board), *self._of_peers(board)):
            series = (asked.spec, asked.labels)
            if series in said:  # a peer's storage path was configured a moment ago: both sources are known
                continue
            step = asked.history.seconds[-1] // asked.outlook.step_seconds
            before = self._said.get(series)
            said[series] = before if before is not None and before[0] == step else (step, _reading(asked))
        self._said = said
        self._looked_at_seconds = board.monotonic_seconds
        block = tuple(reading for _, reading in said.values() if reading is not None)
        if block != self._block:
            self._block = block
        return self._block

    def _of_peers(self, board: BoardView) -> Iterator[_Asked]:
        for source, resource, outlook in RESOURCES:
            histories = board.histories.get(outlook.number, {})
            for peer, observation in board.of_cluster(self._cluster, source).items():
                history = histories.get((self._cluster, peer))
                if history is None or history.seconds[-1] != observation.monotonic_seconds:
                    continue  # this source told it once, and not in its newest answer
                labels = (self._cluster, peer, resource)
                yield _Asked(FULL, labels, history, outlook, observation.at_seconds)

    def _of_queues(self, board: BoardView) -> Iterator[_Asked]:
        for labels, history in board.histories.get(DRAINED.number, {}).items():
            # what was not derived again after the last look is not known any more
            if labels[0] == self._cluster and history.seconds[-1] >= self._looked_at_seconds:
                yield _Asked(DRAIN, labels, history, DRAINED, 0.0)


def _reading(asked: _Asked) -> Reading | None:
    seconds = seconds_until(asked.history, asked.outlook)
    return None if seconds is None else Reading(asked.spec, asked.labels, asked.from_seconds + seconds)
