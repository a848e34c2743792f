"""When a disk, a memory or a queue is forecast to be full or empty, and when nothing is said."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.board import Board, History
from exporter.model import MetricSpec, Observation, ProducerKey, Reading
from exporter.observe.derived.collections import QUEUE
from exporter.observe.derived.forecast import (
    DRAINED,
    MOST_SAMPLES,
    RESOURCES,
    Forecaster,
    keep_histories,
    pairwise_slopes,
    picks,
    seconds_until,
)
from exporter.observe.sources.disk import FREE, USED
from exporter.observe.sources.telemetry import USED_MEMORY
from tests.kit.clock import ManualClock
from tests.kit.derivation import series, single

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR
WINDOW = 6 * HOUR
DISK = RESOURCES[0][2]
DISK_FULL = "forecast_full_timestamp_seconds{peer=a,resource=disk}"
MEMORY_FULL = "forecast_full_timestamp_seconds{peer=a,resource=memory}"
DOCS_DRAIN = "forecast_queue_drain_seconds{collection=docs}"


def history(value: Callable[[float], float], *, seconds: float = WINDOW, step: float = MINUTE) -> History:
    """Sample a function of time, each step."""
    times = [at * step for at in range(int(seconds / step) + 1)]
    return History(times, [value(at) for at in times])


def tooth(at: float, period: float, phase: float = 0.0) -> float:
    """A sawtooth that rises from 0 to 1 and drops."""
    return (at / period + phase) % 1.0


class Ground:
    """A Board whose clock is moved by hand, with the histories and the forecasts of one cluster."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.board = Board(clock=self.clock)
        keep_histories(self.board)
        self.forecaster = Forecaster(cluster="default")

    def tell(
        self, source: str, spec: MetricSpec | None, value: float, *, interval: float = MINUTE, peer: str = "a"
    ) -> None:
        """A source of a peer answers with this number, or without any."""
        labels = ("default", peer)
        self.board.put(
            Observation(
                key=ProducerKey("default", peer, source),
                at_seconds=self.clock.now(),
                monotonic_seconds=self.clock.monotonic(),
                took_seconds=0.01,
                interval_seconds=interval,
                seen=True,
                readings=() if spec is None else (Reading(spec, labels, value),),
            )
        )

    def tell_over(
        self,
        seconds: float,
        source: str,
        spec: MetricSpec,
        value: Callable[[float], float],
        *,
        step: float = MINUTE,
    ) -> None:
        """It answers once a step, for so long; the clock stands at the last answer then."""
        for count in range(int(seconds / step) + 1):
            self.clock.advance(step if count else 0.0)
            self.tell(source, spec, value(count * step), interval=step)

    def queue(self, lengths: list[float], *, collection: str = "docs", step: float = 15.0) -> None:
        """The collection's queue is derived to be so long, once a step, and forecast from."""
        for length in lengths:
            self.clock.advance(step)
            self.forecaster.block(self.board.view())
            block = (Reading(QUEUE, ("default", collection), length),)
            self.board.derive("default", {f"collection:{collection}": block})

    def told(self) -> dict[str, float]:
        """Return the forecasts in force, by short name."""
        return {series(one): one.value for one in self.forecaster.block(self.board.view())}


@pytest.fixture
def ground() -> Ground:
    return Ground()


samples = st.lists(
    st.tuples(st.integers(1, 1_000), st.integers(-(10**9), 10**9)), min_size=2, max_size=MOST_SAMPLES
)


def history_of(pairs: list[tuple[int, int]], *, start: int = 0) -> History:
    """Make a history of gaps and values; whole numbers, so that a shift in time is exact."""
    times = [start]
    for gap, _ in pairs[1:]:
        times.append(times[-1] + gap)
    return History([float(at) for at in times], [float(value) for _, value in pairs])


@given(samples)
def test_the_slope_is_the_median_of_the_slopes_between_all_pairs(pairs: list[tuple[int, int]]) -> None:
    """As written down the long way."""
    kept = history_of(pairs)
    slopes = []
    for later in range(len(pairs)):
        for earlier in range(later):
            rise = kept.values[later] - kept.values[earlier]
            slopes.append(rise / (kept.seconds[later] - kept.seconds[earlier]))
    slopes.sort()
    middle = len(slopes) // 2
    expected = slopes[middle] if len(slopes) % 2 else (slopes[middle - 1] + slopes[middle]) / 2

    assert median(pairwise_slopes(kept)) == expected


@given(samples, st.integers(0, 10**9))
def test_the_slope_does_not_depend_on_when_it_was(pairs: list[tuple[int, int]], shift: int) -> None:
    """The monotonic clock begins anywhere."""
    assert pairwise_slopes(history_of(pairs, start=shift)) == pairwise_slopes(history_of(pairs))


@given(st.integers(1, 2_000))
def test_a_long_history_is_thinned_evenly_and_a_short_one_left_as_it_is(samples: int) -> None:
    """Pairs grow with the square of the samples."""
    positions = picks(samples)

    if samples <= MOST_SAMPLES:
        assert positions == list(range(samples))
    assert MOST_SAMPLES / 2 <= len(positions) <= MOST_SAMPLES or samples < MOST_SAMPLES
    gaps = [later - one for one, later in pairwise([-1, *positions, samples])]
    assert min(gaps[1:-1], default=1) >= 1
    assert max(gaps) < 2 * samples / len(positions) + 1


@given(
    teeth=st.floats(2, 120),
    phase=st.floats(0, 1),
    height=st.floats(1e3, 1e11),
    noise=st.floats(0, 0.2),
    rising=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_a_sawtooth_of_two_teeth_or_more_is_no_trend(
    teeth: float, phase: float, height: float, noise: float, rising: bool, seed: int
) -> None:
    """Optimizers and the WAL take space and give it back, slowly in one direction and fast in the other.

    Teeth of at least three samples: what is shorter no sampling can tell from a long tooth.
    """
    dice = random.Random(seed)

    def free_bytes(at: float) -> float:
        level = tooth(at, WINDOW / teeth, phase) + noise * dice.random()
        return 5 * height + height * (level if rising else -level)

    assert seconds_until(history(free_bytes), DISK) is None


@given(
    teeth=st.floats(6, 60),
    phase=st.floats(0, 1),
    growth=st.floats(3, 20),
    rising=st.booleans(),
    noise=st.floats(0, 0.1),
    seed=st.integers(0, 2**32),
)
def test_growth_under_a_sawtooth_a_third_as_high_is_told_within_a_fifth(
    teeth: float, phase: float, growth: float, rising: bool, noise: float, seed: int
) -> None:
    """The teeth lie upon it and hide it from two points, not from the median."""
    dice = random.Random(seed)

    def free_bytes(at: float) -> float:
        level = tooth(at, WINDOW / teeth, phase) + noise * dice.random()
        return 1e9 * (10 * growth - growth * at / WINDOW + (level if rising else -level))

    kept = history(free_bytes)

    seconds = seconds_until(kept, DISK)

    assert seconds is not None
    assert kept.values[-1] / seconds == pytest.approx(1e9 * growth / WINDOW, rel=0.2)


@given(seed=st.integers(0, 2**32), minutes=st.integers(30, 360))
def test_noise_alone_is_no_trend(seed: int, minutes: int) -> None:
    """Also not in the shortest history of which anything is said."""
    dice = random.Random(seed)

    assert seconds_until(history(lambda _: dice.gauss(100, 5), seconds=minutes * MINUTE), DISK) is None


@pytest.mark.parametrize("hours", [0.5, 3, 5.5])
def test_one_step_is_no_trend(hours: float) -> None:
    """A backup that was restored took a tenth of the disk, and takes no more."""
    kept = history(lambda at: 9e10 if at > hours * HOUR else 1e11)

    assert seconds_until(kept, DISK) is None


def test_freed_space_moves_the_moment_away_then_silences_it_until_growth_shows_again() -> None:
    """After a vacuum nobody can say at first whether it was a tooth or an end."""

    def freed(minutes: float) -> float | None:
        freed_at = WINDOW - minutes * MINUTE
        kept = history(lambda at: 2e11 - 1e6 * at + (1e11 if at > freed_at else 0.0))
        return seconds_until(kept, DISK)

    assert freed(0) == pytest.approx((2e11 - 1e6 * WINDOW) / 1e6)
    assert freed(10) == pytest.approx((3e11 - 1e6 * WINDOW) / 1e6, rel=0.05)
    assert [freed(60), freed(180), freed(300)] == [None, None, None]
    assert freed(350) == pytest.approx((3e11 - 1e6 * WINDOW) / 1e6, rel=0.05)


@pytest.mark.parametrize(("days", "told"), [(29, True), (31, False)])
def test_a_moment_beyond_thirty_days_is_not_told(days: int, told: bool) -> None:
    """Six hours say nothing of the next month."""
    kept = history(lambda at: 1e6 * (days * DAY + WINDOW - at))

    assert (seconds_until(kept, DISK) is not None) == told


@pytest.mark.parametrize(("hours", "told"), [(59, True), (61, False)])
def test_half_an_hour_of_history_says_nothing_beyond_two_and_a_half_days(hours: int, told: bool) -> None:
    """The shorter the history, the nearer what can be said from it."""
    kept = history(lambda at: 1e6 * (hours * HOUR + 1800 - at), seconds=1800)

    assert (seconds_until(kept, DISK) is not None) == told


def test_a_disk_that_fills_is_told_with_its_moment(ground: Ground) -> None:
    """Free bytes of statvfs that fall to 0, as Unix time."""
    ground.tell_over(HOUR, "disk", FREE, lambda at: 1e11 - 1e7 * at)

    remaining_seconds = 1e4 - HOUR
    assert ground.told() == {DISK_FULL: pytest.approx(ground.clock.now() + remaining_seconds)}


def test_without_free_bytes_the_used_share_tells_the_disk(ground: Ground) -> None:
    """The server's own figure: whole percent, every ten minutes."""
    ground.tell_over(5 * HOUR, "quotas", USED, lambda at: round(50 + 4 * at / HOUR) / 100, step=600.0)

    (moment,) = ground.told().values()
    assert moment == pytest.approx(ground.clock.now() + 0.3 / 0.04 * HOUR, rel=0.1 * HOUR / 1.8e9)


def test_memory_that_fills_is_told_with_its_moment(ground: Ground) -> None:
    """Its used share reaches 1."""
    ground.tell_over(HOUR, "telemetry", USED_MEMORY, lambda at: 0.5 + 0.1 * at / HOUR, step=15.0)

    assert ground.told() == {MEMORY_FULL: pytest.approx(ground.clock.now() + 4 * HOUR)}


@pytest.mark.parametrize(
    "free_bytes", [lambda _: 1e11, lambda at: 1e11 + 1e6 * at, lambda at: 1e11 + 1e10 * tooth(at, 1000)]
)
def test_a_disk_without_a_trend_to_full_is_not_forecast(
    ground: Ground, free_bytes: Callable[[float], float]
) -> None:
    """One that rests, that empties, or that goes up and down."""
    ground.tell_over(2 * HOUR, "disk", FREE, free_bytes)

    assert ground.told() == {}


def test_a_full_disk_is_not_forecast_to_be_full(ground: Ground) -> None:
    """It is; what tells that is the number itself."""
    ground.tell_over(HOUR, "disk", FREE, lambda at: 3600.0 - at)

    assert ground.told() == {}


def test_nothing_is_told_of_a_history_under_half_an_hour(ground: Ground) -> None:
    """The first minutes after a start are no trend."""
    ground.tell_over(29 * MINUTE, "disk", FREE, lambda at: 1e11 - 1e7 * at)
    assert ground.told() == {}

    ground.clock.advance(MINUTE)
    ground.tell("disk", FREE, 1e11 - 1e7 * 30 * MINUTE)

    assert list(ground.told()) == [DISK_FULL]


def test_few_answers_are_no_trend_however_far_apart(ground: Ground) -> None:
    """Nine of the server's own figures, ten minutes apart, are eighty minutes of history."""
    ground.tell_over(80 * MINUTE, "quotas", USED, lambda at: 0.5 + 0.1 * at / HOUR, step=600.0)
    assert ground.told() == {}

    ground.clock.advance(600)
    ground.tell("quotas", USED, 0.65, interval=600)

    assert list(ground.told()) == [DISK_FULL]


def test_the_forecast_goes_with_the_peer_whose_number_it_is_of(ground: Ground) -> None:
    """Three polls late the number is gone, and its history alone says nothing."""
    ground.tell_over(HOUR, "disk", FREE, lambda at: 1e11 - 1e7 * at)
    ground.clock.advance(180)
    assert list(ground.told()) == [DISK_FULL]

    ground.clock.advance(0.1)

    assert ground.told() == {}


def test_an_answer_without_the_number_ends_the_forecast(ground: Ground) -> None:
    """The source answers, and what it told before is no news."""
    ground.tell_over(HOUR, "telemetry", USED_MEMORY, lambda at: 0.5 + 0.1 * at / HOUR)
    ground.clock.advance(MINUTE)

    ground.tell("telemetry", None, 0.0)

    assert ground.told() == {}


def test_a_peer_with_two_sources_for_its_disk_has_one_forecast(ground: Ground) -> None:
    """Its storage path was configured a moment ago: free bytes come first, and have no history yet."""
    ground.tell_over(2 * HOUR, "quotas", USED, lambda at: 0.5 + 0.1 * at / HOUR)
    assert list(ground.told()) == [DISK_FULL]

    ground.clock.advance(MINUTE)
    ground.tell("quotas", USED, 0.71)
    ground.tell("disk", FREE, 1e11)

    assert ground.told() == {}


def test_a_queue_that_drains_is_told_with_the_time_it_takes(ground: Ground) -> None:
    """Ten a second, four hundred left."""
    ground.queue([1000, 850, 700, 550, 400])

    assert ground.told() == {DOCS_DRAIN: pytest.approx(40)}


@pytest.mark.parametrize(
    "lengths",
    [
        [1000, 850, 700, 550],
        [600, 450, 300, 150, 0],
        [100, 200, 300, 400, 500],
        [500, 500, 500, 500, 500],
        [900, 600, 300, 900, 600, 300, 900, 600, 300, 900],
        [0, 0, 0, 0, 0, 0],
    ],
    ids=["few", "empty", "growing", "resting", "sawtooth", "idle"],
)
def test_a_queue_of_which_nothing_can_be_said_is_not_forecast(ground: Ground, lengths: list[float]) -> None:
    """Too few samples, empty already, growing, at rest, up and down, or never used."""
    ground.queue(lengths)

    assert ground.told() == {}


def test_a_queue_forgets_what_was_ten_minutes_ago(ground: Ground) -> None:
    """It grew for an hour and drains for ten minutes."""
    ground.queue([100.0 * count for count in range(240)])
    assert ground.told() == {}

    ground.queue([24_000.0 - 300 * count for count in range(41)])

    assert ground.told() == {DOCS_DRAIN: pytest.approx(12_000 / 20)}


def test_the_forecast_of_a_queue_goes_with_its_collection(ground: Ground) -> None:
    """At the next look after it was not derived any more."""
    ground.queue([1000, 850, 700, 550, 400])
    ground.clock.advance(1)
    assert list(ground.told()) == [DOCS_DRAIN]

    ground.clock.advance(1)
    ground.board.derive("default", {})

    assert ground.told() == {}


def test_queues_that_are_never_used_have_no_history(ground: Ground) -> None:
    """At 5,000 collections they would be 5 MB for nothing."""
    blocks = {f"collection:{name}": (Reading(QUEUE, ("default", name), 0.0),) for name in "abc"}
    ground.board.derive("default", blocks)

    assert ground.board.view().histories[DRAINED.number] == {}


def test_a_forecast_stays_the_same_within_a_step_of_its_history(ground: Ground) -> None:
    """Pages are printed several times a second, and what did not change costs nothing there."""
    ground.tell_over(HOUR, "telemetry", USED_MEMORY, lambda at: 0.5 + 0.1 * at / HOUR, step=15.0)
    before = ground.forecaster.block(ground.board.view())

    ground.clock.advance(1)
    ground.tell("telemetry", USED_MEMORY, 0.9)
    within = ground.forecaster.block(ground.board.view())
    ground.clock.advance(60)
    ground.tell("telemetry", USED_MEMORY, 0.91)
    after = ground.forecaster.block(ground.board.view())

    assert within is before
    assert after[0].value < before[0].value


def test_another_clusters_histories_are_not_forecast_from(ground: Ground) -> None:
    """The same peer and collection names are in use there."""
    ground.tell_over(HOUR, "disk", FREE, lambda at: 1e11 - 1e7 * at)
    ground.queue([1000, 850, 700, 550, 400])

    assert Forecaster(cluster="other").block(ground.board.view()) == ()


def test_forecasts_are_derived_with_everything_else() -> None:
    """In a block of their own."""
    deployment = single("v1.18.3/single/green")
    keep_histories(deployment.board)
    for length in (1000.0, 850.0, 700.0, 550.0, 400.0, 250.0):
        deployment.clock.advance(15)
        deployment.recorded("qdrant:6333", "v1.18.3/single/green")
        derived = deployment.derive()
        queue = (Reading(QUEUE, ("default", "docs"), length),)
        deployment.board.derive("default", {**derived.blocks, "collection:docs": queue})

    assert [series(one) for one in deployment.derive().blocks["forecast"]] == [DOCS_DRAIN]
