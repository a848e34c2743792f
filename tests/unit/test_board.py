"""The meeting place: what it keeps, for how long, and what goes with a peer that is down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from exporter.board import Board, History, Kept, Labels
from exporter.model import Fault, FaultKind, Kind, MetricSpec, Observation, ProducerKey, Reading
from tests.kit.clock import ManualClock

SPEC = MetricSpec("qdrantx_test", Kind.GAUGE, "Something", "1", "GET /telemetry", ("qdrant_cluster",))
OTHER_SPEC = MetricSpec("qdrantx_other", Kind.GAUGE, "Something", "1", "GET /telemetry", ("qdrant_cluster",))
FAULT = Fault(FaultKind.TIMEOUT, "/telemetry", "no answer")


class Ground:
    """A Board under a clock moved by hand."""

    def __init__(self, *, expires: bool = True) -> None:
        self.clock = ManualClock()
        self.board = Board(clock=self.clock, expires=expires)

    def put(
        self,
        source: str,
        value: float | None,
        *,
        peer: str = "a",
        interval: float = 10.0,
        cluster: str = "shop",
        took: float = 0.1,
    ) -> None:
        """Put what a source read; None: its poll failed."""
        self.board.put(
            Observation(
                key=ProducerKey(cluster, peer, source),
                at_seconds=self.clock.now(),
                monotonic_seconds=self.clock.monotonic(),
                took_seconds=took,
                interval_seconds=interval,
                seen=value,
                readings=() if value is None else (Reading(SPEC, (cluster,), value),),
                faults=() if value is not None else (FAULT,),
            )
        )

    def told(self) -> dict[tuple[str, str], float]:
        """Return what the Board tells now, by peer and source."""
        return {
            (key.peer, key.source): readings[0].value
            for key, readings in self.board.view().blocks()
            if readings
        }

    def history(self, cluster: str = "shop") -> list[tuple[float, float]]:
        """Return the kept samples, the clock's start at 0; none where there is no history."""
        kept = self.board.view().histories.get(SPEC, {}).get((cluster,))
        return [] if kept is None else samples_of(kept)


def samples_of(history: History) -> list[tuple[float, float]]:
    """Pair seconds, from the start of the clock, and values."""
    start = ManualClock().monotonic()
    return [(at - start, value) for at, value in zip(history.seconds, history.values, strict=True)]


class Searched(tuple[Reading, ...]):
    """A block that counts how often it is searched."""

    searches = 0

    def __iter__(self) -> Iterator[Any]:
        self.searches += 1
        return super().__iter__()


@dataclass(frozen=True)
class IsCluster:
    """Wants the series of one cluster."""

    name: str

    def __call__(self, labels: Labels) -> bool:
        return labels == (self.name,)


@pytest.fixture
def ground() -> Ground:
    return Ground()


def test_a_reading_is_told_until_it_is_three_of_its_intervals_old(ground: Ground) -> None:
    """A slow source's reading lives longer than a fast one's."""
    ground.put("cluster", 1.0, interval=10.0)
    ground.put("memory", 2.0, interval=100.0)

    ground.clock.advance(30.0)
    assert ground.told() == {("a", "cluster"): 1.0, ("a", "memory"): 2.0}
    ground.clock.advance(0.1)
    assert ground.told() == {("a", "memory"): 2.0}
    ground.clock.advance(270.0)
    assert ground.told() == {}


def test_a_failed_poll_keeps_the_last_good_reading_until_that_expires(ground: Ground) -> None:
    """One lost poll makes no gap; failing on does not make old news younger."""
    ground.put("cluster", 1.0)
    for _ in range(3):
        ground.clock.advance(10.0)
        ground.put("cluster", None)
    assert ground.told() == {("a", "cluster"): 1.0}
    assert ground.board.view().newest[ProducerKey("shop", "a", "cluster")].faults == (FAULT,)

    ground.clock.advance(10.0)
    ground.put("cluster", None)

    assert ground.told() == {}


def test_a_reading_that_expired_does_not_come_back(ground: Ground) -> None:
    """Also not when the interval of the source is stretched afterwards."""
    ground.put("cluster", 1.0, interval=10.0)
    ground.clock.advance(31.0)
    ground.told()
    ground.put("cluster", None, interval=600.0)

    assert ground.told() == {}


def test_a_peer_whose_telemetry_failed_for_three_intervals_loses_what_its_slow_sources_said(
    ground: Ground,
) -> None:
    """A series that outlives its peer by minutes would look like life. Other peers are not touched."""
    ground.put("memory", 2.0, interval=600.0)
    ground.put("memory", 3.0, peer="b", interval=600.0)
    ground.put("telemetry", 1.0)
    for _ in range(4):
        ground.clock.advance(10.0)
        ground.put("telemetry", None)
    assert ground.told() == {("a", "memory"): 2.0, ("b", "memory"): 3.0}

    ground.clock.advance(0.1)

    assert ground.told() == {("b", "memory"): 3.0}


def test_a_peer_that_never_answered_telemetry_is_down_after_three_intervals(ground: Ground) -> None:
    """What a cheap source says of it goes then too."""
    ground.put("healthz", 1.0, interval=600.0)
    ground.put("telemetry", None)
    ground.clock.advance(30.0)
    assert ground.told() == {("a", "healthz"): 1.0}

    ground.clock.advance(0.1)

    assert ground.told() == {}


def test_a_peer_that_answers_again_tells_nothing_from_before_it_was_down(ground: Ground) -> None:
    """It may have been started anew meanwhile: its slow sources are told from their next poll on."""
    ground.put("memory", 2.0, interval=600.0)
    ground.put("telemetry", None)
    ground.clock.advance(31.0)
    assert ground.told() == {}

    ground.put("telemetry", 1.0)
    assert ground.told() == {("a", "telemetry"): 1.0}
    ground.put("memory", 3.0, interval=600.0)
    assert ground.told() == {("a", "telemetry"): 1.0, ("a", "memory"): 3.0}


def test_a_poll_that_takes_longer_than_its_interval_sets_the_pace(ground: Ground) -> None:
    """The next answer cannot come sooner, so its reading is not too old before that."""
    ground.put("memory", 1.0, interval=10.0, took=40.0)

    ground.clock.advance(120.0)
    assert ground.told() == {("a", "memory"): 1.0}
    ground.clock.advance(0.1)
    assert ground.told() == {}


def test_one_look_keeps_what_it_read_however_long_it_takes() -> None:
    """Nothing is polled again that could replace it."""
    ground = Ground(expires=False)
    ground.put("cluster", 1.0)
    ground.clock.advance(10_000.0)

    assert ground.told() == {("a", "cluster"): 1.0}


def test_what_a_producer_said_is_withdrawn_without_touching_the_others(ground: Ground) -> None:
    """Another peer speaks for the cluster now."""
    for source in ("aliases", "telemetry"):
        ground.put(source, 1.0)
        ground.board.post(ProducerKey("shop", "a", source), (Reading(SPEC, ("shop",), 1.0),))

    ground.board.withdraw(ProducerKey("shop", "a", "aliases"))

    assert {key.source for key, _ in ground.board.view().blocks()} == {"telemetry"}


def test_standing_readings_outlive_the_failures_they_tell_of(ground: Ground) -> None:
    """qdrantx_up is one of them."""
    ground.put("telemetry", None)
    ground.board.post(ProducerKey("shop", "a", "record:peer"), (Reading(SPEC, ("shop",), 0.0),))
    ground.clock.advance(10_000.0)

    assert ground.told() == {("a", "record:peer"): 0.0}


def test_forgetting_a_peer_drops_all_of_it_and_nothing_else(ground: Ground) -> None:
    """Of a peer with the same label in another cluster nothing is dropped."""
    for cluster, peer in (("shop", "a"), ("shop", "b"), ("archive", "a")):
        ground.put("telemetry", 1.0, cluster=cluster, peer=peer)
        ground.board.post(ProducerKey(cluster, peer, "record:peer"), (Reading(SPEC, (cluster,), 1.0),))
    ground.put("cluster", None, peer="a")

    ground.board.forget("shop", "a")

    view = ground.board.view()
    assert {(key.cluster, key.peer) for key, _ in view.blocks()} == {("shop", "b"), ("archive", "a")}
    assert ProducerKey("shop", "a", "cluster") not in view.newest


def test_forgetting_a_cluster_drops_what_was_derived_of_it_too(ground: Ground) -> None:
    """Nobody would ever replace it."""
    ground.put("telemetry", 1.0)
    ground.board.derive("shop", {"cluster": (Reading(SPEC, ("shop",), 1.0),)})
    ground.board.derive("archive", {"cluster": (Reading(SPEC, ("archive",), 1.0),)})

    ground.board.forget("shop")

    assert [key.cluster for key, _ in ground.board.view().blocks()] == ["archive"]


def test_what_is_derived_replaces_all_that_was_derived_before(ground: Ground) -> None:
    """A collection that vanished takes its block with it."""
    ground.board.derive("shop", {"collection:docs": (Reading(SPEC, ("shop",), 1.0),), "cluster": ()})

    ground.board.derive("shop", {"cluster": ()})

    assert [key.source for key, _ in ground.board.view().blocks()] == ["cluster"]


def test_a_view_does_not_change_after_it_was_taken(ground: Ground) -> None:
    """It may be read in a thread while polls go on."""
    ground.put("telemetry", 1.0)
    ground.board.derive("shop", {"cluster": (Reading(SPEC, ("shop",), 1.0),)})
    ground.board.post(ProducerKey("shop", "a", "record:peer"), (Reading(SPEC, ("shop",), 1.0),))
    view = ground.board.view()
    before = list(view.blocks())

    ground.put("telemetry", 2.0)
    ground.put("cluster", 3.0)
    ground.board.derive("shop", {})
    ground.board.forget("shop")

    assert list(view.blocks()) == before


async def test_a_waiter_wakes_for_what_is_put_posted_or_forgotten_and_not_for_what_is_derived(
    ground: Ground,
) -> None:
    """What is derived comes from a change: to wake for it would never end."""
    key = ProducerKey("shop", "a", "record:peer")
    news = ground.board.subscribe()
    for change in (
        lambda: ground.put("telemetry", 1.0),
        lambda: ground.board.post(key, ()),
        lambda: ground.board.forget("shop"),
    ):
        change()
        await asyncio.wait_for(news.wait(), 20.0)

    ground.board.derive("shop", {"cluster": ()})

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(news.wait(), 0.05)


async def test_every_subscriber_hears_of_every_change(ground: Ground) -> None:
    """One that was quick to listen takes nothing from the other."""
    page, alerts = ground.board.subscribe(), ground.board.subscribe()
    ground.put("telemetry", 1.0)

    await asyncio.wait_for(page.wait(), 1.0)
    await asyncio.wait_for(alerts.wait(), 1.0)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(page.wait(), 0.05)


def test_nothing_is_kept_of_a_metric_that_nobody_asked_for(ground: Ground) -> None:
    """Histories cost memory."""
    ground.board.keep(OTHER_SPEC, seconds=60, step_seconds=10)

    ground.put("telemetry", 1.0)

    assert ground.board.view().histories == {OTHER_SPEC: {}}


def test_what_is_put_posted_and_derived_goes_into_the_history_with_its_time(ground: Ground) -> None:
    """From when it was asked for on, whoever says it."""
    ground.put("telemetry", 9.0)
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    ground.put("telemetry", 1.0)
    ground.clock.advance(10)
    ground.board.post(ProducerKey("shop", "a", "record:peer"), (Reading(SPEC, ("shop",), 2.0),))
    ground.clock.advance(10)
    ground.board.derive("shop", {"cluster": (Reading(SPEC, ("shop",), 3.0),)})

    assert ground.history() == [(0, 1), (10, 2), (20, 3)]


def test_a_failed_poll_leaves_no_sample(ground: Ground) -> None:
    """What is not known is a gap, and no repetition of the last value."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    ground.put("telemetry", 1.0)
    ground.clock.advance(10)
    ground.put("telemetry", None)
    ground.clock.advance(10)
    ground.put("telemetry", 2.0)

    assert ground.history() == [(0, 1), (20, 2)]


def test_a_step_holds_one_sample_the_newest(ground: Ground) -> None:
    """However often something is said, and the last value is always the one in force."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    for second in range(25):
        ground.put("telemetry", float(second))
        ground.clock.advance(1)

    assert ground.history() == [(9, 9), (19, 19), (24, 24)]


def test_a_history_is_no_longer_than_its_window(ground: Ground) -> None:
    """A year of samples takes the memory of one window."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    for second in range(0, 10_000, 5):
        ground.put("telemetry", float(second))
        ground.clock.advance(5)

    history = ground.history()
    assert history[-1] == (9_995, 9_995)
    assert [at for at, _ in history] == [9_935, 9_945, 9_955, 9_965, 9_975, 9_985, 9_995]


def test_the_widest_wish_wins(ground: Ground) -> None:
    """Two who ask for one metric share one history that serves both."""
    for _ in range(2):
        ground.board.keep(SPEC, seconds=20, step_seconds=5, zeros=False)
        ground.board.keep(SPEC, seconds=40, step_seconds=20)
    for _ in range(20):
        ground.put("telemetry", 0.0)
        ground.clock.advance(5)

    assert [at for at, _ in ground.history()] == [55, 60, 65, 70, 75, 80, 85, 90, 95]


def test_an_unchanged_block_is_not_searched_again_and_its_values_are_samples_all_the_same(
    ground: Ground,
) -> None:
    """Thousands of collections are idle, and what stands still must be seen to."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    asked = Searched((Reading(OTHER_SPEC, ("shop",), 7.0), Reading(SPEC, ("shop",), 1.0)))
    unasked = Searched((Reading(OTHER_SPEC, ("shop",), 8.0),))
    for _ in range(3):
        ground.board.derive("shop", {"collection:docs": asked, "collection:logs": unasked})
        ground.clock.advance(10)

    assert ground.history() == [(0, 1), (10, 1), (20, 1)]
    assert (asked.searches, unasked.searches) == (1, 1)


def test_a_wish_that_comes_later_finds_its_metric_in_unchanged_blocks(ground: Ground) -> None:
    """A rule that is loaded later must not wait for a change."""
    block = (Reading(SPEC, ("shop",), 1.0),)
    ground.board.derive("shop", {"cluster": block})
    ground.board.keep(SPEC, seconds=60, step_seconds=10)

    ground.board.derive("shop", {"cluster": block})

    assert ground.history() == [(0, 1)]


def test_a_series_that_was_never_other_than_zero_is_not_kept_where_zeros_say_nothing(ground: Ground) -> None:
    """It begins with its first other value, and is gone once zeros are all it holds."""
    ground.board.keep(SPEC, seconds=20, step_seconds=10, zeros=False)
    ground.put("telemetry", 0.0)
    assert ground.history() == []
    for value in (5.0, 0.0, 0.0):
        ground.clock.advance(10)
        ground.put("telemetry", value)
    assert ground.history() == [(10, 5), (20, 0), (30, 0)]

    ground.clock.advance(10)
    ground.put("telemetry", 0.0)

    assert ground.history() == []


def test_a_series_that_is_not_heard_of_for_its_window_is_forgotten(ground: Ground) -> None:
    """A collection that was dropped must not be remembered for ever."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    ground.board.derive("shop", {"collection:docs": (Reading(SPEC, ("shop",), 1.0),)})
    ground.board.derive("shop", {})
    ground.clock.advance(60)
    assert ground.history() == [(0, 1)]

    ground.clock.advance(0.1)

    assert ground.history() == []


@pytest.mark.parametrize("peer", ["a", None])
def test_histories_are_forgotten_with_their_peer_and_cluster(ground: Ground, peer: str | None) -> None:
    """A peer that comes back under the same name may be another machine."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    for cluster in ("shop", "archive"):
        ground.put("telemetry", 1.0, cluster=cluster)

    ground.board.forget("shop", peer)

    assert (ground.history("shop"), ground.history("archive")) == ([], [(0, 1)])


def test_what_was_derived_of_a_cluster_keeps_its_history_when_one_peer_goes(ground: Ground) -> None:
    """It is true of the cluster, which is still there, and goes with that."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    block = (Reading(SPEC, ("shop",), 1.0),)
    ground.board.derive("shop", {"cluster": block})
    ground.board.forget("shop", "a")
    assert ground.history() == [(0, 1)]

    ground.board.forget("shop")

    assert ground.history() == []


def test_a_withdrawn_producer_takes_its_history_with_it(ground: Ground) -> None:
    """Another peer speaks in its place, and what that says is no continuation."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    ground.put("aliases", 1.0)
    ground.board.withdraw(ProducerKey("shop", "b", "aliases"))
    assert ground.history() == [(0, 1)]

    ground.board.withdraw(ProducerKey("shop", "a", "aliases"))

    assert ground.history() == []


def test_the_histories_of_a_view_do_not_change_after_it_was_taken(ground: Ground) -> None:
    """They are read in a thread while polls go on."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    ground.put("telemetry", 1.0)
    history = ground.board.view().histories[SPEC]["shop",]

    ground.put("telemetry", 2.0)
    ground.clock.advance(10)
    ground.put("telemetry", 3.0)
    ground.board.forget("shop")

    assert samples_of(history) == [(0, 1)]


def test_a_history_without_zeros_says_from_when_to_when_the_series_was_0(ground: Ground) -> None:
    """What begins at 5 after an hour at 0 grew by 5; what appears with 5 may have been there for ever."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10, zeros=False)
    for value in (0.0, 0.0, 0.0, 5.0):
        ground.put("telemetry", value)
        ground.clock.advance(10)
    ground.put("telemetry", 7.0, cluster="archive")

    histories = ground.board.view().histories[SPEC]
    start = ManualClock().monotonic()
    assert histories["shop",].zeros == (start, start + 20)
    assert histories["archive",].zeros is None


def test_zeros_are_remembered_over_a_source_that_fails_until_it_expires(ground: Ground) -> None:
    """What went wrong while nobody could look is an increase all the same."""
    ground.board.keep(SPEC, seconds=600, step_seconds=10, zeros=False)
    ground.put("telemetry", 0.0)
    for _ in range(5):
        ground.clock.advance(10)
        ground.put("telemetry", None)
        ground.board.view()
    ground.put("telemetry", 3.0)

    start = ManualClock().monotonic()
    assert ground.board.view().histories[SPEC]["shop",].zeros == (start, start)


def test_zeros_of_a_block_that_is_derived_anew_are_remembered_too(ground: Ground) -> None:
    """Counters of a collection change in blocks that are replaced whole."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10, zeros=False)
    idle = (Reading(SPEC, ("shop",), 0.0),)
    for _ in range(3):
        ground.board.derive("shop", {"collection:docs": idle})
        ground.clock.advance(10)
    ground.board.derive("shop", {"collection:docs": (Reading(SPEC, ("shop",), 1.0),)})

    start = ManualClock().monotonic()
    assert ground.board.view().histories[SPEC]["shop",].zeros == (start, start + 20)


def test_only_wanted_series_are_kept_and_the_wishes_of_two_add_up(ground: Ground) -> None:
    """A rule on failures needs no history of what went well."""
    ground.board.keep(SPEC, seconds=60, step_seconds=10, where=IsCluster("shop"))
    ground.board.keep(SPEC, seconds=60, step_seconds=10, where=IsCluster("archive"))
    for cluster in ("shop", "archive", "test"):
        ground.put("telemetry", 1.0, cluster=cluster)
    assert ground.board.view().histories[SPEC].keys() == {("shop",), ("archive",)}

    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    ground.put("telemetry", 1.0, cluster="test")

    assert ("test",) in ground.board.view().histories[SPEC]


def test_a_view_says_since_when_a_history_is_kept_as_wide_as_now(ground: Ground) -> None:
    """Before that, what is not in it may still have been."""
    start = ground.clock.monotonic()
    ground.board.keep(SPEC, seconds=60, step_seconds=10)
    ground.clock.advance(5)
    ground.board.keep(SPEC, seconds=30, step_seconds=20)
    assert ground.board.view().kept == {SPEC: Kept(start, 10)}

    ground.board.keep(SPEC, seconds=600, step_seconds=10)

    assert ground.board.view().kept == {SPEC: Kept(start + 5, 10)}


def test_a_view_says_from_which_moment_a_cluster_was_derived(ground: Ground) -> None:
    """What was heard since is not in it yet; of a cluster that was dropped nothing is said."""
    start = ground.clock.monotonic()
    ground.clock.advance(10)
    ground.board.derive("shop", {}, at_seconds=start)
    ground.board.derive("archive", {})
    assert ground.board.view().derived_at == {"shop": start, "archive": start + 10}

    ground.board.forget("shop")

    assert ground.board.view().derived_at == {"archive": start + 10}
