"""What of the measurements is told, from how many samples on, and until when."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import pytest

from exporter.model import Reading
from exporter.observe.probes import book
from exporter.observe.probes.book import RecallBook, RunBook, SearchBook
from exporter.observe.probes.reasons import RECALL_SKIPS, SEARCH_SKIPS, Failure, Skip
from tests.kit.derivation import series

MINUTE = 60.0
DOCS = "collection=docs,probe=search"


def name_of(reading: Reading) -> str:
    """Name a reading shortly, with the part of the histogram where it is one."""
    name, _, labels = series(reading).partition("{")
    return f"{name}{reading.spec.part}{{{labels}"


def told(readings: Iterable[Reading]) -> dict[str, float]:
    """Return values by series, each of which is there once and fits its metric."""
    found = list(readings)
    by_series = {name_of(reading): reading.value for reading in found}
    assert len(by_series) == len(found)
    return by_series


def searches(seen: SearchBook, now: float, *, interval: float = MINUTE) -> dict[str, float]:
    """Return what is told of the searches of a collection."""
    return told(seen.readings("default", "docs", interval, now))


def recalls(seen: RecallBook, now: float, *, interval: float = MINUTE) -> dict[str, float]:
    """Return what is told of the recall of a collection."""
    return told(seen.readings("default", "docs", interval, now))


def searched(times: Iterable[float], *, interval: float = MINUTE) -> tuple[SearchBook, float]:
    """Return a book of searches that took these times, and when the newest ended."""
    seen, now = SearchBook(), 0.0
    for seconds in times:
        now += interval
        seen.runs.ran(None, now)
        seen.took(seconds, seconds / 2, now)
    return seen, now


def random_times(count: int) -> list[float]:
    """Return latencies with a long tail, the same at every call."""
    chance = random.Random(count)
    return [chance.lognormvariate(-4.0, 1.0) for _ in range(count)]


def test_a_p95_needs_twenty_samples() -> None:
    """Of fewer it is their maximum and moves with every outlier."""
    nineteen, twenty = (searches(*searched(random_times(count))) for count in (19, 20))

    assert f"probe_latency_p95_seconds{{{DOCS}}}" not in nineteen
    assert f"probe_latency_p50_seconds{{{DOCS}}}" in nineteen
    assert nineteen[f"probe_window_samples{{{DOCS}}}"] == 19
    assert f"probe_latency_p95_seconds{{{DOCS}}}" in twenty
    assert twenty[f"probe_window_samples{{{DOCS}}}"] == 20


def test_a_p99_needs_a_hundred_samples() -> None:
    """Also where they took longer than the window: then it is of the last hundred."""
    short, enough = (searches(*searched(random_times(count))) for count in (99, 100))

    assert f"probe_latency_p99_seconds{{{DOCS}}}" not in short
    assert f"probe_latency_p95_seconds{{{DOCS}}}" in short
    assert f"probe_latency_p99_seconds{{{DOCS}}}" in enough


@pytest.mark.parametrize(
    ("interval", "of_p95", "of_p99"), [(1.0, 601, 601), (6.0, 101, 101), (10.0, 61, 100), (60.0, 20, 100)]
)
def test_percentiles_are_numpys_over_ten_minutes_or_the_last_samples(
    interval: float, of_p95: int, of_p99: int
) -> None:
    """Twenty for p50 and p95, a hundred for p99, where ten minutes hold fewer."""
    times = random_times(700)
    found = searches(*searched(times, interval=interval), interval=interval)

    assert found[f"probe_window_samples{{{DOCS}}}"] == of_p95
    assert np.percentile(times[-of_p95:], 50) == found[f"probe_latency_p50_seconds{{{DOCS}}}"]
    assert np.percentile(times[-of_p95:], 95) == found[f"probe_latency_p95_seconds{{{DOCS}}}"]
    assert np.percentile(times[-of_p99:], 99) == found[f"probe_latency_p99_seconds{{{DOCS}}}"]


def test_the_p95_that_pauses_recall_is_the_one_that_is_told() -> None:
    """Under twenty samples it is their median, and under five nothing pauses."""
    seen, now = searched(random_times(300))
    few = random_times(19)

    assert searches(seen, now)[f"probe_latency_p95_seconds{{{DOCS}}}"] == seen.slow_seconds(now)
    assert np.median(few) == searched(few)[0].slow_seconds(now)
    assert searched(random_times(4))[0].slow_seconds(now) is None


def test_percentiles_go_when_searches_stopped_for_three_intervals_and_counters_stay() -> None:
    """An old percentile is no statement about now; a counter that vanished would break its rate."""
    seen, now = searched(random_times(150))

    before, after = searches(seen, now + 3 * MINUTE), searches(seen, now + 3 * MINUTE + 0.001)

    gone = {name.partition("{")[0] for name in before.keys() - after.keys()}
    percentiles = {f"probe_latency_{which}_seconds" for which in ("p50", "p95", "p99")}
    assert percentiles | {"probe_window_samples"} == gone
    assert after[f"probes_total{{{DOCS}}}"] == 150
    assert after[f"probe_duration_seconds_count{{{DOCS}}}"] == 150


def test_three_intervals_are_those_in_force() -> None:
    """Where the budget made a search a quarter of an hour, half an hour of silence is nothing odd."""
    seen, now = searched(random_times(150))

    assert f"probe_latency_p95_seconds{{{DOCS}}}" in searches(seen, now + 30 * MINUTE, interval=15 * MINUTE)


def test_a_book_without_a_search_tells_its_counters_at_zero_and_no_percentile() -> None:
    """A series that begins at its first failure hides that failure from a rate."""
    found = searches(SearchBook(), 0.0)

    assert {name: value for name, value in found.items() if value} == {
        f"probe_interval_seconds{{{DOCS}}}": MINUTE
    }
    assert not [name for name in found if "latency" in name or "_window_" in name or "_error_" in name]


def test_every_reason_is_there_from_the_start() -> None:
    """Of failures and of skips, each probe its own."""
    search, recall = searches(SearchBook(), 0.0), recalls(RecallBook(window_seconds=3_600.0), 0.0)

    for found, probe, skips in ((search, "search", SEARCH_SKIPS), (recall, "recall", RECALL_SKIPS)):
        labels = f"collection=docs,probe={probe}"
        zeros = {name for name, value in found.items() if value == 0}
        assert {f"probe_failures_total{{{labels},reason={reason}}}" for reason in Failure} <= zeros
        assert {name for name in found if name.startswith("probes_skipped_total")} == {
            f"probes_skipped_total{{{labels},reason={reason}}}" for reason in skips
        }
    assert set(RECALL_SKIPS) == set(Skip)


def test_runs_failures_and_skips_are_counted_apart() -> None:
    """What did not run is in no error ratio."""
    runs = RunBook(probe="search", skips=SEARCH_SKIPS)
    for second in range(8):
        runs.ran(Failure.SERVER_ERROR if second % 4 == 0 else None, float(second))
    runs.skipped(Skip.LATE, 3)
    runs.skipped(Skip.BUDGET)

    found = told(runs.readings("default", "docs", MINUTE, 8.0))

    assert found[f"probes_total{{{DOCS}}}"] == 8
    assert found[f"probe_failures_total{{{DOCS},reason=server_error}}"] == 2
    assert found[f"probes_skipped_total{{{DOCS},reason=late}}"] == 3
    assert found[f"probes_skipped_total{{{DOCS},reason=budget}}"] == 1
    assert found[f"probe_error_ratio{{{DOCS}}}"] == 0.25


def test_an_error_ratio_needs_five_probes_in_ten_minutes() -> None:
    """One failure of four would be a quarter; one of an hour ago is no news."""
    runs = RunBook(probe="search", skips=SEARCH_SKIPS)
    ratios = []
    for now in (0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0):
        runs.ran(Failure.TIMEOUT if now < 300.0 else None, now)
        ratios.append(told(runs.readings("default", "docs", MINUTE, now)).get(f"probe_error_ratio{{{DOCS}}}"))

    afterwards = told(runs.readings("default", "docs", MINUTE, 1_000.0))

    assert ratios == [None, None, None, None, 3 / 5, 3 / 6, 3 / 7, 2 / 7]
    assert f"probe_error_ratio{{{DOCS}}}" not in afterwards


def test_a_timeout_counts_with_the_time_waited_and_tells_no_time_of_the_server() -> None:
    """Left out, it would make the slowest searches vanish from the very percentiles they belong in."""
    seen, now = searched([0.004] * 19)
    seen.runs.ran(Failure.TIMEOUT, now)
    seen.took(5.0, None, now)

    found = searches(seen, now)

    assert found[f"probe_failures_total{{{DOCS},reason=timeout}}"] == 1
    assert found[f"probe_latency_p95_seconds{{{DOCS}}}"] == np.percentile([0.004] * 19 + [5.0], 95)
    assert found[f"probe_duration_seconds_bucket{{{DOCS},le=2.5}}"] == 19
    assert found[f"probe_duration_seconds_bucket{{{DOCS},le=5}}"] == 20
    assert found[f"probe_duration_seconds_sum{{{DOCS}}}"] == pytest.approx(19 * 0.004 + 5.0)
    assert found[f"probe_server_seconds_count{{{DOCS}}}"] == 19


def test_a_collection_costs_at_most_sixty_series_a_probe() -> None:
    """A thousand collections with both are then 120,000, which Prometheus takes easily."""
    seen, now = searched(random_times(200))
    recall = RecallBook(window_seconds=3_600.0)
    recall.plans = {"": "hnsw"}
    for _ in range(50):
        recall.runs.ran(None, now)
        recall.compared("", 10, 9, now)

    counts = {"search": len(searches(seen, now)), "recall": len(recalls(recall, now))}

    assert counts == {"search": 57, "recall": 24}
    assert max(counts.values()) <= 60


def compared(
    counts: Iterable[tuple[int, int]], *, interval: float, window_seconds: float = 3_600.0
) -> tuple[RecallBook, float]:
    """Return a book of queries with so many points expected and matched, and when the newest ended."""
    seen, now = RecallBook(window_seconds=window_seconds), 0.0
    for expected, matched in counts:
        now += interval
        seen.compared("title", expected, matched, now)
    return seen, now


def random_counts(count: int) -> list[tuple[int, int]]:
    """Return points expected and matched of so many queries, the same at every call."""
    chance = random.Random(count)
    return [(expected, chance.randint(0, expected)) for expected in chance.choices(range(1, 11), k=count)]


def ratio_of(counts: list[tuple[int, int]]) -> float:
    """Return the recall over these queries: of all points, not the mean of queries."""
    return sum(matched for _, matched in counts) / sum(expected for expected, _ in counts)


def test_a_recall_ratio_needs_thirty_queries() -> None:
    """Counters are there from the first."""
    counts = random_counts(30)
    short, enough = (recalls(*compared(counts[:queries], interval=MINUTE)) for queries in (29, 30))

    assert "recall_ratio{collection=docs,vector=title}" not in short
    assert short["recall_window_queries{collection=docs,vector=title}"] == 29
    assert short["recall_expected_total{collection=docs,vector=title}"] == sum(one for one, _ in counts[:29])
    assert enough["recall_ratio{collection=docs,vector=title}"] == ratio_of(counts)


@pytest.mark.parametrize(("interval", "queries"), [(10.0, 361), (60.0, 61), (300.0, 50)])
def test_a_recall_ratio_is_of_the_window_or_of_the_last_fifty_queries(interval: float, queries: int) -> None:
    """An hour holds 361 at ten seconds and 13 at five minutes: then it is of fifty all the same."""
    counts = random_counts(400)
    found = recalls(*compared(counts, interval=interval), interval=interval)

    assert found["recall_window_queries{collection=docs,vector=title}"] == queries
    assert found["recall_ratio{collection=docs,vector=title}"] == ratio_of(counts[-queries:])
    assert found["recall_matched_total{collection=docs,vector=title}"] == sum(one for _, one in counts)


def test_recall_goes_when_its_queries_stopped_and_vectors_that_take_turns_are_waited_for() -> None:
    """Of two vectors each is compared every other time."""
    seen, now = compared([(10, 9)] * 60, interval=MINUTE)
    seen.compared("body", 10, 10, now)
    seen.plans = {"title": "hnsw", "body": "scan"}

    before, after = recalls(seen, now + 6 * MINUTE), recalls(seen, now + 6 * MINUTE + 0.001)

    gone = before.keys() - after.keys()
    assert gone == {
        "recall_ratio{collection=docs,vector=title}",
        "recall_window_queries{collection=docs,vector=title}",
        "recall_window_queries{collection=docs,vector=body}",
        "recall_plan{collection=docs,vector=title,plan=hnsw}",
        "recall_plan{collection=docs,vector=body,plan=scan}",
    }
    assert after["recall_expected_total{collection=docs,vector=body}"] == 10


def test_only_the_plan_in_force_is_told() -> None:
    """A plan that is no more would stand beside the new one as true as that."""
    seen, now = compared([(10, 9)], interval=MINUTE)
    seen.plans = {"title": "unknown"}
    seen.plans = {"title": "hnsw"}

    plans = [name for name in recalls(seen, now) if name.startswith("recall_plan")]

    assert plans == ["recall_plan{collection=docs,vector=title,plan=hnsw}"]


def test_buckets_ascend_and_end_beyond_any_usual_deadline() -> None:
    """A bound that is out of order would count into the wrong bucket."""
    assert tuple(sorted(set(book.BOUNDS_SECONDS))) == book.BOUNDS_SECONDS
    assert book.BOUNDS_SECONDS[0] <= 0.001
    assert book.BOUNDS_SECONDS[-1] >= 5.0
