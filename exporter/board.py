"""The meeting place: what is known now, who said it, and when.

Producers put Observations in; consumers take a BoardView. Of a metric that somebody asked
for a short history is kept too. Nothing here talks to the network or to a database.
Belongs to the event loop: a BoardView may go to a thread.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporter.clock import Clock
from exporter.model import MetricSpec, Observation, ProducerKey, Reading

# A reading may be three intervals old, then its series goes. One interval forgives one lost poll;
# two would still make a gap where a slow answer meets a lost one. Where a poll takes longer than its
# interval, the polls are that far apart.
EXPIRY_INTERVALS = 3

# A peer whose telemetry has failed for that long is down: what its other sources said goes with it,
# for a series that outlives its peer by ten minutes would look like life.
ANCHOR_SOURCE = "telemetry"


Labels = tuple[str, ...]
Where = Callable[[Labels], bool]  # which series; hashable and equal to its like, so that it adds up once
_Series = tuple[MetricSpec, Labels]


@dataclass(frozen=True, slots=True)
class History:
    """What one series was: a sample a step of the clock, oldest first, the newest always among them."""

    seconds: Sequence[float]  # of the monotonic clock
    values: Sequence[float]
    zeros: tuple[float, float] | None = None  # from when to when it was seen at 0 before its first sample

    @property
    def span_seconds(self) -> float:
        """Time between the oldest and the newest sample."""
        return self.seconds[-1] - self.seconds[0]


class Kept(NamedTuple):
    """How the history of one metric is kept."""

    since_seconds: float  # of the monotonic clock: when it was first asked for
    step_seconds: float


@dataclass(frozen=True, slots=True)
class BoardView:
    """What the Board knew at one moment. Immutable, safe to hand to a thread."""

    monotonic_seconds: float
    newest: Mapping[ProducerKey, Observation]  # good or failed
    known: Mapping[ProducerKey, Observation]  # the last one that read something, not expired
    standing: Mapping[ProducerKey, tuple[Reading, ...]]  # readings that never expire
    derived: Mapping[ProducerKey, tuple[Reading, ...]]  # what was derived from all of it, in blocks
    histories: Mapping[MetricSpec, Mapping[Labels, History]]  # of what `keep` asked for; a series may be gone
    kept: Mapping[MetricSpec, Kept]
    derived_at: Mapping[str, float]  # by cluster: the moment of the view it was derived from

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


class Subscription:
    """One consumer's news of the Board: each hears of every change."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Wake whoever waits, or the next who does."""
        self._changed.set()

    async def wait(self) -> None:
        """Return when something was put, posted or dropped since the last return."""
        await self._changed.wait()
        self._changed.clear()


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
        self._derived_at: dict[str, float] = {}
        self._histories = _Histories()
        self._subscriptions: list[Subscription] = []
        self.revision = 0  # counts the changes that consumers are told of

    def subscribe(self) -> Subscription:
        """Return news of all that changes from now on, for one consumer that lives as long as we do."""
        subscription = Subscription()
        self._subscriptions.append(subscription)
        return subscription

    def keep(
        self,
        spec: MetricSpec,
        *,
        seconds: float,
        step_seconds: float,
        zeros: bool = True,
        where: Where | None = None,
    ) -> None:
        """Remember what the series of `spec` were over the last `seconds`, a sample a step.

        Asked again, the longest time, the finest step and the wish for zeros win, and what either
        wants by `where` is kept. Without `zeros` a series begins with a value that is not 0 and goes when
        0 is all it holds: at thousands of series that are nearly always 0 this is what makes them cheap.
        Its history then says in `zeros` how long it had been 0, as far as that was seen.
        """
        wanted = frozenset() if where is None else frozenset((where,))
        self._histories.keep(spec, _Wish(seconds, step_seconds, zeros, wanted), self._clock.monotonic())

    def put(self, observation: Observation) -> None:
        """Replace what this producer said. A failed one keeps the last good one until it expires."""
        self._newest[observation.key] = observation
        if observation.seen is not None:
            self._good[observation.key] = observation
            self._failing_since.pop(observation.key, None)
            self._histories.take(observation.key, observation.readings, observation.monotonic_seconds)
        else:
            self._failing_since.setdefault(observation.key, observation.monotonic_seconds)
        self._tell()

    def post(self, key: ProducerKey, readings: Sequence[Reading], *, wakes: bool = True) -> None:
        """Replace this producer's standing readings: those that outlive its failures.

        Without `wakes` nobody is told: what comes many times a second waits for the next page.
        """
        self._standing[key] = tuple(readings)
        self._histories.take(key, self._standing[key], self._clock.monotonic())
        if wakes:
            self._tell()

    def derive(
        self,
        cluster: str,
        blocks: Mapping[str, tuple[Reading, ...]],
        *,
        at_seconds: float | None = None,
    ) -> None:
        """Replace all that was derived of one cluster. No change to wake for: it came from one.

        `at_seconds`: the moment of the view it was derived from, on the monotonic clock; None: now.
        """
        self._derived_at[cluster] = self._clock.monotonic() if at_seconds is None else at_seconds
        for key in [key for key in self._derived if key.cluster == cluster]:
            del self._derived[key]
        made = {ProducerKey(cluster, "", name): block for name, block in blocks.items()}
        self._derived |= made
        for key, block in made.items():
            self._histories.take(key, block, self._clock.monotonic())

    def forget(self, cluster: str, peer: str | None = None) -> None:
        """Drop everything of a peer, or of a whole cluster, that is watched no more."""
        stores: tuple[dict[ProducerKey, Any], ...] = (
            self._newest, self._good, self._failing_since, self._standing, self._derived,
        )  # fmt: skip
        for store in stores:
            for key in [key for key in store if key.cluster == cluster and peer in (None, key.peer)]:
                del store[key]
        if peer is None:
            self._derived_at.pop(cluster, None)
        self._histories.forget(cluster, peer)
        self._tell()

    def withdraw(self, key: ProducerKey) -> None:
        """Drop what this producer learnt and posted: another speaks in its place."""
        stores: tuple[dict[ProducerKey, Any], ...] = (
            self._newest, self._good, self._failing_since, self._standing,
        )  # fmt: skip
        for store in stores:
            store.pop(key, None)
        self._histories.withdraw(key)
        self._tell()

    def view(self) -> BoardView:
        """Return what is known now; what expired is dropped for good."""
        now = self._clock.monotonic()
        if self._expires:
            down = self._peers_down(now)
            for key, good in list(self._good.items()):
                if _is_older(good, now - good.monotonic_seconds) or (key.cluster, key.peer) in down:
                    del self._good[key]
        return BoardView(
            now,
            dict(self._newest),
            dict(self._good),
            dict(self._standing),
            dict(self._derived),
            self._histories.view(now),
            self._histories.kept(),
            dict(self._derived_at),
        )

    def _peers_down(self, now: float) -> set[tuple[str, str]]:
        return {
            (key.cluster, key.peer)
            for key, since in self._failing_since.items()
            if key.source == ANCHOR_SOURCE
            and key not in self._good
            and _is_older(self._newest[key], now - since)
        }

    def _tell(self) -> None:
        self.revision += 1
        for subscription in self._subscriptions:
            subscription.tell()


def _is_older(observation: Observation, age_seconds: float) -> bool:
    pace_seconds = max(observation.interval_seconds, observation.took_seconds)
    return age_seconds > EXPIRY_INTERVALS * pace_seconds


@dataclass(frozen=True, slots=True)
class _Wish:
    seconds: float
    step_seconds: float
    zeros: bool
    where: frozenset[Where]  # one of these must hold; none: every series

    def widened(self, other: _Wish) -> _Wish:
        """Return what serves both."""
        return _Wish(
            max(self.seconds, other.seconds),
            min(self.step_seconds, other.step_seconds),
            self.zeros or other.zeros,
            self.where | other.where if self.where and other.where else frozenset(),
        )

    def wants(self, labels: Labels) -> bool:
        """Whether this series is kept."""
        return not self.where or any(where(labels) for where in self.where)


class _Samples:
    """The kept samples of one series: 16 bytes each, in two arrays."""

    __slots__ = ("key", "seconds", "values", "zeros")

    def __init__(self, key: ProducerKey, zeros: tuple[float, float] | None) -> None:
        self.key = key  # who said the newest
        self.zeros = zeros
        self.seconds = array("d")
        self.values = array("d")

    def take(self, value: float, now_seconds: float, wish: _Wish) -> None:
        """Take a value in, in place of one of the same step; what left the window goes."""
        step = wish.step_seconds
        if self.seconds and self.seconds[-1] // step == now_seconds // step:
            self.seconds[-1], self.values[-1] = now_seconds, value
            return
        self.seconds.append(now_seconds)
        self.values.append(value)
        while self.seconds[0] < now_seconds - wish.seconds:
            del self.seconds[0], self.values[0]


class _Heard(NamedTuple):
    """What a producer said last: thousands of blocks are the same tuple again, and not searched again."""

    readings: tuple[Reading, ...] | None  # None: to be searched, whatever is said next
    kept: tuple[Reading, ...]  # those among them that are kept
    since_seconds: float  # when it was first heard
    at_seconds: float

    def zeros_of(self, wishes: Mapping[MetricSpec, _Wish]) -> set[_Series]:
        """Return the series that it said are 0 and that have no history while they are."""
        return {
            (reading.spec, reading.labels)
            for reading in self.kept
            if reading.value == 0 and not wishes[reading.spec].zeros
        }


class _Histories:
    """The samples of every series whose metric somebody asked to keep."""

    def __init__(self) -> None:
        self._wishes: dict[MetricSpec, _Wish] = {}
        self._kept: dict[MetricSpec, Kept] = {}
        self._samples: dict[_Series, _Samples] = {}
        self._heard: dict[ProducerKey, _Heard] = {}

    def keep(self, spec: MetricSpec, wish: _Wish, now_seconds: float) -> None:
        before = self._wishes.get(spec, wish)
        wider = self._wishes[spec] = before.widened(wish)
        since = self._kept[spec].since_seconds if spec in self._kept else now_seconds
        if self._kept.get(spec) is None or wider != before:
            self._heard = {key: heard._replace(readings=None) for key, heard in self._heard.items()}
        self._kept[spec] = Kept(since if wider == before else now_seconds, wider.step_seconds)

    def kept(self) -> dict[MetricSpec, Kept]:
        return dict(self._kept)

    def take(self, key: ProducerKey, readings: tuple[Reading, ...], now_seconds: float) -> None:
        """Take a sample of each reading that is kept. A value that is the same is a sample too."""
        before = self._heard.get(key)
        if before is None or before.readings is not readings:
            kept = tuple(reading for reading in readings if self._is_kept(reading))
        else:
            kept = before.kept
        since = now_seconds if before is None else before.since_seconds
        self._heard[key] = _Heard(readings, kept, since, now_seconds)
        zeros: set[_Series] | None = None
        for reading in kept:
            wish = self._wishes[reading.spec]
            series = (reading.spec, reading.labels)
            samples = self._samples.get(series)
            if samples is None:
                if reading.value == 0 and not wish.zeros:
                    continue
                if zeros is None:
                    zeros = set() if before is None else before.zeros_of(self._wishes)
                seen = self._seen_at_zero(series, before) if before is not None and series in zeros else None
                samples = self._samples[series] = _Samples(key, seen)
            samples.key = key
            samples.take(reading.value, now_seconds, wish)
            if reading.value == 0 and not wish.zeros and not any(samples.values):
                del self._samples[series]

    def _is_kept(self, reading: Reading) -> bool:
        wish = self._wishes.get(reading.spec)
        return wish is not None and wish.wants(reading.labels)

    def _seen_at_zero(self, series: _Series, before: _Heard) -> tuple[float, float]:
        """Return from when to when it was 0: since its producer spoke, as far as histories go back."""
        first = max(before.since_seconds, self._kept[series[0]].since_seconds)
        return first, before.at_seconds

    def forget(self, cluster: str, peer: str | None) -> None:
        """Drop what a peer said, or all of a cluster."""
        for key in [key for key in self._heard if key.cluster == cluster and peer in (None, key.peer)]:
            del self._heard[key]
        self._drop(
            series
            for series, samples in self._samples.items()
            if samples.key.cluster == cluster and peer in (None, samples.key.peer)
        )

    def withdraw(self, key: ProducerKey) -> None:
        """Drop what this producer said last."""
        self._heard.pop(key, None)
        self._drop(series for series, samples in self._samples.items() if samples.key == key)

    def view(self, now_seconds: float) -> dict[MetricSpec, dict[Labels, History]]:
        """Return copies. A series that was not heard of for its whole window is dropped for good."""
        longest = max((wish.seconds for wish in self._wishes.values()), default=0.0)
        for key in [key for key, heard in self._heard.items() if heard.at_seconds < now_seconds - longest]:
            del self._heard[key]
        self._drop(
            (spec, labels)
            for (spec, labels), samples in self._samples.items()
            if samples.seconds[-1] < now_seconds - self._wishes[spec].seconds
        )
        histories: dict[MetricSpec, dict[Labels, History]] = {spec: {} for spec in self._wishes}
        for (spec, labels), samples in self._samples.items():
            histories[spec][labels] = History(samples.seconds[:], samples.values[:], samples.zeros)
        return histories

    def _drop(self, gone: Iterable[_Series]) -> None:
        for series in list(gone):
            del self._samples[series]
