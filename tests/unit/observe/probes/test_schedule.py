"""When probes are due: the beat of each, whatever happens between two looks at the clock."""

from __future__ import annotations

import math
import pickle
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.observe.probes.schedule import Due, Schedule

START = 1_000.0
ROUNDING = 1e-6  # seconds: beats are sums of floats

seconds = st.floats(1.0, 3_600.0)
names = st.text("abcdef", min_size=1, max_size=3)
intervals = st.dictionaries(names, seconds, min_size=1, max_size=8)
steps = st.lists(st.floats(0.0, 2_000.0), max_size=40)
some = settings(max_examples=100, deadline=None)


def scheduled(wanted: Mapping[str, float], now: float = START) -> Schedule[str]:
    """Return a schedule of these keys, by interval in seconds."""
    schedule: Schedule[str] = Schedule()
    schedule.keep(wanted, now)
    return schedule


def stretch(schedule: Schedule[str], wanted: Mapping[str, float], factor: float, now: float) -> None:
    """Bring all intervals to so many times what is wanted."""
    schedule.keep({key: interval * factor for key, interval in wanted.items()}, now)


def first_due(key: str, interval: float) -> float:
    """Return when a key scheduled at START is due first."""
    due = scheduled({key: interval}).next_due_seconds()
    assert due is not None
    return due


def beats_until(now: float, first: float, interval: float) -> int:
    """Count the beats of a key from its first to now."""
    return math.floor((now - first) / interval) + 1 if now >= first else 0


def on_beat(now: float, first: float, interval: float) -> bool:
    """Whether a moment is one of a key's beats."""
    beats = (now - first) / interval
    return abs(beats - round(beats)) * interval < ROUNDING


def starts_until(schedule: Schedule[str], end: float) -> list[tuple[float, Due[str]]]:
    """Return when what starts, where somebody looks at each moment that the schedule names."""
    starts: list[tuple[float, Due[str]]] = []
    while (now := schedule.next_due_seconds()) is not None and now <= end:
        starts += [(now, due) for due in schedule.due(now)]
    return starts


@some
@given(intervals, steps)
def test_no_beat_comes_early_is_lost_or_counts_twice(wanted: dict[str, float], looks: list[float]) -> None:
    """However long nobody looks: starts and missed ones together are the beats that passed."""
    schedule = scheduled(wanted)
    counted = dict.fromkeys(wanted, 0)
    now = START
    for step in looks:
        now += step
        for due in schedule.due(now):
            counted[due.key] += 1 + due.missed

        for key, interval in wanted.items():
            first = first_due(key, interval)
            least = beats_until(now - ROUNDING, first, interval)
            most = beats_until(now + ROUNDING, first, interval)
            assert least <= counted[key] <= most


@some
@given(intervals, st.floats(0.0, 100_000.0))
def test_after_a_stall_each_probe_goes_once_and_the_next_interval_is_as_spread_as_ever(
    wanted: dict[str, float], stall: float
) -> None:
    """What was missed is told, not made up for: then come one start a key and interval, on the old beat."""
    schedule = scheduled(wanted)
    awake = START + stall

    made_up = [due.key for due in schedule.due(awake)]
    longest = max(wanted.values())
    later = starts_until(schedule, awake + longest)

    assert len(set(made_up)) == len(made_up)
    for key, interval in wanted.items():
        starts = [now for now, due in later if due.key == key]
        assert all(on_beat(now, first_due(key, interval), interval) for now in starts)
        gaps = [after - before for before, after in pairwise(starts)]
        assert all(abs(gap - interval) < ROUNDING for gap in gaps)
        assert sum(1 for now in starts if now <= awake + interval - ROUNDING) <= 1
    assert all(due.missed == 0 for _, due in later)


@some
@given(seconds, st.lists(st.floats(0.0, 0.999), min_size=1, max_size=30))
def test_the_beat_does_not_depend_on_how_long_a_probe_takes(interval: float, shares: list[float]) -> None:
    """A closed loop, in which the next start waits for the end of the probe, would drift."""
    schedule = scheduled({"docs": interval})
    first = first_due("docs", interval)

    starts = []
    for share in shares:  # nobody looks while the probe takes this share of its interval
        due_at = schedule.next_due_seconds()
        assert due_at is not None
        starts.append(due_at)
        assert schedule.due(due_at) == [Due("docs", 0)]
        assert schedule.due(due_at + share * interval) == []

    expected = [first + beat * interval for beat in range(len(shares))]
    assert starts == pytest.approx(expected, abs=ROUNDING)


@some
@given(intervals)
def test_nothing_is_due_before_the_moment_that_the_schedule_names(wanted: dict[str, float]) -> None:
    """Who sleeps until then misses nothing and wakes for something."""
    schedule = scheduled(wanted)

    for _ in range(20):
        moment = schedule.next_due_seconds()
        assert moment is not None
        assert schedule.due(math.nextafter(moment, 0.0)) == []
        assert schedule.due(moment)


def test_what_is_due_comes_earliest_first() -> None:
    """After a stall the one that waits longest goes first, as the budget may not let all go."""
    wanted = {f"collection-{number}": 60.0 for number in range(50)}
    schedule = scheduled(wanted)

    found = [due.key for due in schedule.due(START + 60.0)]

    assert sorted(wanted, key=lambda key: first_due(key, 60.0)) == found


def test_intervals_stretch_from_the_next_beat_on() -> None:
    """The beat that is set stays where the change is small; the next comes at the interval then in force."""
    schedule = scheduled({"docs": 60.0})
    first = first_due("docs", 60.0)

    schedule.keep({"docs": 72.0}, START)
    stretched = [now for now, _ in starts_until(schedule, first + 200.0)]
    schedule.keep({"docs": 66.0}, first + 200.0)
    relaxed = [now for now, _ in starts_until(schedule, first + 350.0)]

    assert stretched == pytest.approx([first, first + 72.0, first + 144.0])
    assert relaxed == pytest.approx([first + 216.0, first + 282.0, first + 348.0])


def test_a_jump_of_the_factor_does_not_leave_all_beats_together() -> None:
    """Five hundred beats of a minute become beats of twelve, and no tenth of those has over a fifth."""
    wanted = {f"collection-{number}": 60.0 for number in range(500)}
    schedule = scheduled(wanted)
    list(starts_until(schedule, START + 300.0))

    stretch(schedule, wanted, 12.0, START + 300.0)
    starts = [now for now, _ in starts_until(schedule, START + 300.0 + 2 * 720.0)]
    second = [now for now in starts if now >= START + 300.0 + 720.0]
    tenths = Counter(int((now - START - 1_020.0) // 72.0) for now in second)

    assert len(second) == 500
    assert max(tenths.values()) <= 100


@pytest.mark.parametrize("rises", [80.0, 100.0, 240.0, 700.0])
@pytest.mark.parametrize("late", [1.0, 30.0, 59.0])
def test_where_an_interval_rises_a_beat_is_put_off_once(rises: float, late: float) -> None:
    """To its place in the new interval from now on, or what came together before would come so again."""
    schedule = scheduled({"docs": 60.0})
    began = first_due("docs", 60.0)
    schedule.due(began)
    now = began + late
    put_off = max(began + 60.0, now + first_due("docs", rises) - START)

    schedule.keep({"docs": rises}, now)
    once = schedule.next_due_seconds()
    schedule.keep({"docs": 10 * rises}, now + 0.5)
    twice = schedule.next_due_seconds()
    schedule.keep({"docs": rises}, now + 0.5)
    starts = [at for at, _ in starts_until(schedule, put_off + 1.5 * rises)]

    assert once == pytest.approx(put_off)
    assert once == twice
    assert starts == pytest.approx([put_off, put_off + rises])


def test_a_beat_is_put_off_again_after_it_came() -> None:
    """Once a beat: costs may go on rising."""
    schedule = scheduled({"docs": 60.0})
    now = first_due("docs", 60.0)
    for interval in (100.0, 200.0, 400.0):
        schedule.due(now)
        put_off = max(schedule.next_due_seconds() or 0.0, now + first_due("docs", interval) - START)
        schedule.keep({"docs": interval}, now)

        assert schedule.next_due_seconds() == pytest.approx(put_off)
        now = put_off + ROUNDING


@some
@given(seconds)
def test_the_interval_in_force_is_the_one_that_was_asked_for(interval: float) -> None:
    """From the first start on, and the first comes within one."""
    schedule = scheduled({"docs": interval})

    starts = [now for now, _ in starts_until(schedule, START + 5 * interval)]

    assert interval == schedule.interval_seconds("docs")
    assert starts[0] <= START + interval
    assert [interval] * (len(starts) - 1) == pytest.approx(
        [after - before for before, after in pairwise(starts)]
    )


@some
@given(st.dictionaries(names, st.tuples(seconds, seconds), min_size=1, max_size=8), st.floats(0.0, 10_000.0))
def test_each_interval_changes_as_if_it_were_alone(
    changes: dict[str, tuple[float, float]], later: float
) -> None:
    """No collection pays for another: one that is stretched moves no beat but its own."""
    together = scheduled({key: before for key, (before, _) in changes.items()})
    starts_until(together, START + later)
    together.keep({key: after for key, (_, after) in changes.items()}, START + later)
    started = starts_until(together, START + later + 3_600.0)

    for key, (before, after) in changes.items():
        alone = scheduled({key: before})
        starts_until(alone, START + later)
        alone.keep({key: after}, START + later)
        assert after == together.interval_seconds(key)
        assert starts_until(alone, START + later + 3_600.0) == [one for one in started if one[1].key == key]


@some
@given(seconds, st.floats(0.801, 1.249), st.floats(0.0, 1.0))
def test_a_small_change_of_an_interval_holds_from_the_next_beat_on(
    interval: float, change: float, share: float
) -> None:
    """It neither makes up nor skips a beat that is set."""
    schedule = scheduled({"docs": interval})
    first = first_due("docs", interval)
    changed = interval * change

    schedule.keep({"docs": changed}, START + share * (first - START))

    assert [first, first + changed, first + 2 * changed] == pytest.approx(
        [now for now, _ in starts_until(schedule, first + 2.5 * changed)]
    )


def test_another_interval_is_followed_at_once_where_it_is_much_shorter() -> None:
    """A change of strict mode does not wait for what is left of the old interval."""
    schedule = scheduled({"docs": 3_600.0})
    first = START + 1.0 + first_due("docs", 10.0) - START

    schedule.keep({"docs": 10.0}, START + 1.0)

    assert [first, first + 10.0, first + 20.0] == pytest.approx(
        [now for now, _ in starts_until(schedule, first + 25.0)]
    )


# Trying again: a probe that found its place taken


@some
@given(seconds, st.floats(0.0, 0.999))
def test_a_probe_that_found_its_place_taken_comes_again_soon_and_keeps_to_that_beat(
    interval: float, late: float
) -> None:
    """After a tenth of its interval, or at its beat where that is sooner; it is told so."""
    schedule = scheduled({"docs": interval})
    beat = first_due("docs", interval)
    now = beat + late * interval
    assert schedule.due(now) == [Due("docs", 0)]

    schedule.try_again("docs", now)
    again = min(beat + interval, now + 0.1 * interval)
    starts = starts_until(schedule, again + 2.5 * interval)

    assert [at for at, _ in starts] == pytest.approx([again, again + interval, again + 2 * interval])
    sooner = again < beat + interval
    assert [due for _, due in starts] == [Due("docs", 0, again=sooner), Due("docs", 0), Due("docs", 0)]


@some
@given(intervals, st.lists(st.booleans(), max_size=60))
def test_who_tries_again_moves_no_beat_of_another_and_comes_no_two_times_for_one(
    wanted: dict[str, float], taken: list[bool]
) -> None:
    """Those that found a place keep their beat, whoever did not."""
    schedule = scheduled(wanted)
    expected = {key: (first_due(key, interval), False) for key, interval in wanted.items()}
    for place, is_taken in enumerate(taken):
        now = schedule.next_due_seconds()
        assert now is not None
        for due in schedule.due(now):
            at, again = expected[due.key]
            assert now == pytest.approx(at, abs=ROUNDING)
            assert due == Due(due.key, 0, again)
            interval = wanted[due.key]
            tries = is_taken and len(due.key) % 2 == place % 2
            if tries:
                schedule.try_again(due.key, now)
            expected[due.key] = (now + interval * (0.1 if tries else 1.0), tries)


@some
@given(seconds, st.floats(0.01, 100.0))
def test_one_that_comes_again_follows_its_interval_like_any_other(interval: float, factor: float) -> None:
    """A large rise puts it off, a fall draws it in no more than it is, and it is still told."""
    schedule = scheduled({"docs": interval})
    now = first_due("docs", interval)
    schedule.due(now)
    schedule.try_again("docs", now)
    again = now + 0.1 * interval
    place = now + first_due("docs", interval * factor) - START

    stretch(schedule, {"docs": interval}, factor, now)
    moved = schedule.next_due_seconds()

    assert moved is not None
    if factor < 0.799:
        assert moved == pytest.approx(min(again, max(place, now + factor * interval)))
    elif factor > 1.251:
        assert moved == pytest.approx(max(again, place))
    assert [due.again for due in schedule.due(moved)] == [True]


def test_a_probe_that_never_finds_a_place_comes_ten_times_an_interval_and_leaves_nothing_behind() -> None:
    """A budget may be spent for hours."""
    schedule = scheduled({"docs": 60.0, "wiki": 60.0})
    counts: Counter[str] = Counter()
    sizes = []
    for minute in range(1, 201):
        while (now := schedule.next_due_seconds() or START) <= START + 60.0 * minute:
            for due in schedule.due(now):
                counts[due.key] += 1
                if due.key == "docs":
                    schedule.try_again("docs", now)
        sizes.append(len(pickle.dumps(schedule)))

    assert counts["docs"] == pytest.approx(2_000, abs=11)
    assert counts["wiki"] == 200
    assert sizes[-1] < 1.1 * max(sizes[10:20])


@some
@given(intervals, st.floats(0.0, 1_000.0))
def test_a_probe_that_was_to_come_again_and_was_dropped_does_not(
    wanted: dict[str, float], away: float
) -> None:
    """And where it comes back it is a new one."""
    schedule = scheduled(wanted)
    key, interval = min(wanted.items())
    now = first_due(key, interval)
    schedule.due(now)
    schedule.try_again(key, now)

    schedule.keep({}, now)
    nothing = schedule.due(now + away)
    schedule.keep({key: interval}, now + away)
    starts = starts_until(schedule, now + away + interval)

    assert nothing == []
    assert starts
    assert not any(due.again for _, due in starts)


@some
@given(intervals, st.sets(names, max_size=4), st.floats(0.0, 10_000.0))
def test_a_probe_that_was_dropped_is_never_due_and_the_others_keep_their_beat(
    wanted: dict[str, float], dropped: set[str], later: float
) -> None:
    """Collections go at any time, also with a beat set."""
    left = {key: interval for key, interval in wanted.items() if key not in dropped}
    schedule, undisturbed = scheduled(wanted), scheduled(left)

    schedule.keep(left, START + later)

    assert undisturbed.next_due_seconds() == schedule.next_due_seconds()
    assert undisturbed.due(START + later) == schedule.due(START + later)
    assert {key: key in left for key in wanted} == {key: key in schedule for key in wanted}


@some
@given(seconds, st.floats(0.0, 10_000.0))
def test_a_probe_that_comes_back_is_due_within_one_interval_and_once(interval: float, away: float) -> None:
    """Its old beat is forgotten, whatever of it is still set."""
    schedule = scheduled({"docs": interval})
    schedule.keep({}, START + away)
    schedule.keep({"docs": interval}, START + away)

    starts = [now for now, _ in starts_until(schedule, START + away + interval)]

    assert starts
    assert START + away <= starts[0]
    assert all(after - before > interval - ROUNDING for before, after in pairwise(starts))


def test_an_empty_schedule_names_no_moment() -> None:
    """Nothing was added yet, or all has gone."""
    schedule = scheduled({"docs": 60.0})
    schedule.keep({}, START)

    assert Schedule[str]().next_due_seconds() is None
    assert "docs" not in schedule
    assert schedule.next_due_seconds() is None
    assert schedule.due(START + 1_000.0) == []


@pytest.mark.parametrize("name", ["collection-{}", "{}", "tenant_{:08}_documents", "größe {}"])
@pytest.mark.parametrize("probe", ["search", "recall"])
def test_a_thousand_probes_spread_over_the_interval(name: str, probe: str) -> None:
    """No tenth of the minute holds more than 15 % of them, however alike their names are."""
    schedule: Schedule[tuple[str, str]] = Schedule()
    keys = [(name.format(number), probe) for number in range(1_000)]
    schedule.keep(dict.fromkeys(keys, 60.0), START)

    tenths = [len(schedule.due(START + 6.0 * (tenth + 1))) for tenth in range(10)]

    assert sum(tenths) == 1_000
    assert max(tenths) <= 150


def test_a_probe_keeps_its_place_in_the_interval_over_restarts() -> None:
    """The spread comes from the name: a restart does not bunch what was spread."""
    wanted = {f"collection-{number}": 60.0 for number in range(20)}

    places = [
        [(now - began, due.key) for now, due in starts_until(scheduled(wanted, began), began + 60.0)]
        for began in (0.0, 4_096.0)
    ]

    assert places[0] == [(pytest.approx(place), key) for place, key in places[1]]


# Drawing in: what the schedule does where all intervals fall by one factor

minutes = st.dictionaries(names, st.floats(30.0, 600.0), min_size=1, max_size=8)
high_factors = st.floats(2.0, 100.0)
falls = st.floats(0.01, 0.79)  # to so much of the factor before
cycles = st.floats(0.0, 3.0)  # of the longest interval in force, how many pass until it falls


def stretched(wanted: Mapping[str, float], factor: float) -> Schedule[str]:
    """Return a schedule of these keys whose intervals were this long from its start."""
    return scheduled({key: interval * factor for key, interval in wanted.items()})


def last_starts(schedule: Schedule[str], end: float) -> dict[str, float]:
    """Let everything go that is due until then; return when each key went last."""
    return {due.key: now for now, due in starts_until(schedule, end)}


def next_starts(schedule: Schedule[str], end: float) -> dict[str, float]:
    """Let everything go that is due until then; return when each key went first."""
    return {due.key: now for now, due in reversed(starts_until(schedule, end))}


def fullest(starts: list[float], width: float) -> int:
    """Count the most starts in any stretch of time so wide."""
    return max(bisect_left(starts, start + width) - place for place, start in enumerate(starts))


@pytest.mark.parametrize("late", [1.0, 59.0, 61.0, 300.0, 541.0, 599.0])
def test_where_the_factor_falls_a_beat_is_drawn_in(late: float) -> None:
    """To its place in the new interval from now on, not within it of the beat before, and never later."""
    schedule = stretched({"docs": 60.0}, 10.0)
    began = schedule.next_due_seconds()
    assert began is not None
    schedule.due(began)
    place = first_due("docs", 60.0) - START

    schedule.keep({"docs": 60.0}, began + late)
    starts = [now for now, _ in starts_until(schedule, began + 700.0)]

    drawn_in = min(began + 600.0, max(began + late + place, began + 60.0))
    assert starts == pytest.approx([drawn_in + 60.0 * beat for beat in range(len(starts))])


@some
@given(minutes, high_factors, falls, cycles)
def test_after_a_fall_nothing_waits_out_a_beat_of_the_long_intervals(
    wanted: dict[str, float], high: float, fall: float, cycle: float
) -> None:
    """All go within one new interval, not within it of their beat before, and none later than it would."""
    schedule, undisturbed = stretched(wanted, high), stretched(wanted, high)
    falls_at = START + cycle * high * max(wanted.values())
    before = last_starts(schedule, falls_at)
    last_starts(undisturbed, falls_at)

    stretch(schedule, wanted, high * fall, falls_at)
    news = {key: schedule.interval_seconds(key) for key in wanted}
    after = next_starts(schedule, falls_at + max(news.values()) + ROUNDING)
    unless = next_starts(undisturbed, falls_at + max(wanted.values()) * high + ROUNDING)

    assert after.keys() == wanted.keys()
    for key, start in after.items():
        assert falls_at < start <= falls_at + news[key] + ROUNDING
        assert start >= before.get(key, -math.inf) + news[key] - ROUNDING
        assert start <= unless[key] + ROUNDING


@some
@given(minutes, st.lists(st.tuples(st.floats(0.5, 100.0), st.floats(0.0, 600.0)), max_size=40))
def test_whatever_the_factor_does_each_start_is_an_interval_in_force_from_the_one_before(
    wanted: dict[str, float], played: list[tuple[float, float]]
) -> None:
    """Not earlier than the shortest in force since then; not later than the first, and the longest once."""
    schedule = stretched(wanted, 1.0)
    went: dict[str, float] = {}
    shortest: dict[str, float] = {}
    first: dict[str, float] = {}
    longest: dict[str, float] = {}
    now = START
    for factor, step in played:
        stretch(schedule, wanted, factor, now)
        in_force = {key: schedule.interval_seconds(key) for key in wanted}
        shortest |= {key: min(seconds, in_force[key]) for key, seconds in shortest.items()}
        longest |= {key: max(seconds, in_force[key]) for key, seconds in longest.items()}
        now += step
        for at, due in starts_until(schedule, now):
            key = due.key
            if key in went:
                assert shortest[key] - ROUNDING <= at - went[key] <= first[key] + longest[key] + ROUNDING
            went[key], shortest[key], first[key] = at, in_force[key], in_force[key]
            longest[key] = in_force[key]


@pytest.mark.parametrize(
    ("least", "most", "fair"),
    [(0.01, 0.33, 100), (0.33, 0.79, 125)],  # in a small fall more beats stay where they were
)
@some
@given(low=st.floats(1.0, 10.0), share=st.floats(0.0, 1.0), cycle=cycles)
def test_what_is_drawn_in_comes_spread_over_the_new_interval(
    least: float, most: float, fair: int, low: float, share: float, cycle: float
) -> None:
    """Of five hundred no tenth of it holds more than a fifth, or a quarter, and none goes twice in it."""
    wanted = {f"collection-{number}": 60.0 for number in range(500)}
    high = low / (least + share * (most - least))
    schedule = stretched(wanted, high)
    falls_at = START + cycle * high * 60.0
    before = last_starts(schedule, falls_at)

    stretch(schedule, wanted, low, falls_at)
    interval = schedule.interval_seconds("collection-0")
    starts = starts_until(schedule, falls_at + 2.5 * interval)

    assert fullest([now for now, _ in starts], interval / 10) <= fair
    assert {due.key for now, due in starts if now <= falls_at + interval + ROUNDING} == wanted.keys()
    for now, due in starts:
        assert now - before.get(due.key, -math.inf) >= interval - ROUNDING
        before[due.key] = now


@some
@given(minutes, st.floats(1.25, 100.0), st.lists(st.floats(0.801, 1.249), max_size=20), cycles)
def test_a_factor_that_wobbles_within_a_fifth_moves_no_beat_that_is_set(
    wanted: dict[str, float], high: float, wobbles: list[float], cycle: float
) -> None:
    """Costs are never quite the same."""
    schedule, undisturbed = stretched(wanted, high), stretched(wanted, high)
    now = START + cycle * high * max(wanted.values())
    starts_until(schedule, now)
    starts_until(undisturbed, now)

    for wobble in (*wobbles, 1.0):
        stretch(schedule, wanted, high * wobble, now)

    end = now + 2 * high * max(wanted.values())
    assert starts_until(undisturbed, end) == starts_until(schedule, end)


@some
@given(minutes, st.lists(st.tuples(st.floats(8.01, 10.0), st.floats(0.0, 3_000.0)), max_size=20))
def test_while_the_factor_wobbles_each_beat_comes_when_it_was_set_for(
    wanted: dict[str, float], played: list[tuple[float, float]]
) -> None:
    """One interval after the beat before, as long as it was then."""
    schedule = stretched(wanted, 10.0)
    expected = {key: first_due(key, 10.0 * interval) for key, interval in wanted.items()}
    now = START
    for factor, step in played:
        stretch(schedule, wanted, factor, now)
        now += step
        for at, due in starts_until(schedule, now):
            assert at == pytest.approx(expected[due.key], abs=ROUNDING)
            expected[due.key] = at + wanted[due.key] * factor


def test_a_slow_decline_is_drawn_in_once_it_has_come_far_enough() -> None:
    """Many small steps are a large one: what counts is the longest interval that a beat was set for."""
    schedule = stretched({"docs": 60.0}, 100.0)
    began = schedule.next_due_seconds()
    assert began is not None
    schedule.due(began)

    factor, now = 100.0, began
    while factor > 1.0:
        factor, now = factor * 0.98, now + 1.0
        stretch(schedule, {"docs": 60.0}, factor, now)
    due_seconds = schedule.next_due_seconds()

    assert due_seconds is not None
    assert due_seconds <= now + 60.0 / 0.8


def test_a_key_that_never_went_is_drawn_in_too() -> None:
    """It came while intervals were long, and has no beat before that would hold it back."""
    schedule = stretched({"docs": 60.0}, 100.0)

    schedule.keep({"docs": 60.0}, START + 1.0)

    assert pytest.approx(first_due("docs", 60.0) + 1.0) == schedule.next_due_seconds()


def test_a_factor_that_rises_and_falls_ten_thousand_times_leaves_nothing_behind() -> None:
    """Every key goes on in its interval, and no beat that was drawn in is held, or comes, twice."""
    wanted = {f"collection-{number}": 60.0 for number in range(50)}
    schedule = scheduled(wanted)
    went: dict[str, float] = {}
    counts: Counter[str] = Counter()
    sizes = []
    now = START
    for turn in range(10_000):
        stretch(schedule, wanted, 1.0 + 999.0 * (turn % 2 == 0), now)
        now += 7.0
        for at, due in starts_until(schedule, now):
            assert at - went.get(due.key, -math.inf) >= 60.0 - ROUNDING
            assert due.missed == 0
            went[due.key] = at
            counts[due.key] += 1
        if turn in (99, 9_999):
            sizes.append(len(pickle.dumps(schedule)))

    # a beat is put off once, and drawn in 7 s later to an interval from then at most
    assert all(70_000 / 140 - 1 <= counts[key] <= 70_000 / 60 + 1 for key in wanted)
    assert sizes[1] < 1.1 * sizes[0]
