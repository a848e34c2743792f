"""What probes may cost: over any time, at once, and after a server asked for rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.observe.probes.budget import (
    ACCOUNT_SECONDS,
    COSTS_KEPT,
    FIRST_COST_SECONDS,
    LONGEST_REST_SECONDS,
    PLANNED_SHARE,
    Account,
    Budget,
    Permit,
)
from exporter.observe.probes.reasons import Skip
from exporter.observe.probes.schedule import Schedule

PEERS = ("peer0", "peer1", "peer2")
KEYS = ("a", "b", "c", "d")
ROUNDING = 1e-9

some = settings(max_examples=100, deadline=None)
ratios = st.floats(0.0001, 0.5)
costs = st.floats(0.0001, 30.0)
intervals = st.fixed_dictionaries({key: st.floats(1.0, 3_600.0) for key in KEYS})


def alike(_: str) -> str:
    """Say of every probe that it costs what the others do."""
    return "search"


def budget_for(
    wanted: dict[str, float],
    *,
    ratio: float = 0.01,
    concurrent: int = 8,
    peers: tuple[str, ...] = PEERS,
    kind_of: Callable[[str], Hashable] = alike,
) -> Budget[str]:
    """Return an account of these probes, by interval."""
    budget: Budget[str] = Budget(ratio=ratio, concurrent=concurrent, kind_of=kind_of)
    budget.keep(wanted, peers)
    return budget


def budget_of(
    *, ratio: float = 0.01, concurrent: int = 8, interval: float = 60.0, peers: tuple[str, ...] = PEERS
) -> Budget[str]:
    """Return an account of a few probes of the same interval."""
    return budget_for(dict.fromkeys(KEYS, interval), ratio=ratio, concurrent=concurrent, peers=peers)


def admitted(budget: Budget[str], key: str = "a", peer: str = "peer0", now: float = 0.0) -> Permit[str]:
    """Return a permit that must be given."""
    permit = budget.admit(key, peer, now, exact=False)
    assert isinstance(permit, Permit)
    return permit


def taught(budget: Budget[str], key: str, *answers: float | None) -> None:
    """Let a probe have these answers, in seconds, from a peer of no account; None is a failure."""
    for cost in answers:
        budget.ended(Permit(key, "gone", False, 0.0, Account(ratio=1.0, now=0.0)), cost)


def taken(budget: Budget[str], wanted: Mapping[str, float], factors: Mapping[str, float]) -> dict[str, float]:
    """Return which share of a peer's time each probe takes at its stretched interval."""
    return {
        key: budget.cost_seconds(key) / (interval * factors.get(key, 1.0)) for key, interval in wanted.items()
    }


# a step of the clock, a probe, a peer, whether it is exact, which run ends meanwhile, at what cost,
# and whether this one never was
moves = st.lists(
    st.tuples(
        st.floats(0.0, 120.0) | st.floats(0.0, 20_000.0),
        st.sampled_from(KEYS),
        st.sampled_from(PEERS),
        st.booleans(),
        st.integers(0, 9),
        st.none() | costs,
        st.booleans(),
    ),
    max_size=60,
)


@some
@given(ratios, st.integers(1, 5), moves)
def test_over_any_time_a_peer_is_asked_for_its_share_a_minutes_share_and_one_run(
    ratio: float, concurrent: int, played: list[tuple[float, str, str, bool, int, float | None, bool]]
) -> None:
    """And never for more at once than it may have under way, exact ones one by one."""
    budget = budget_of(ratio=ratio, concurrent=concurrent)
    paid: dict[str, list[tuple[float, float]]] = defaultdict(list)
    under_way: list[Permit[str]] = []
    now = 0.0
    for step, key, peer, exact, ending, cost, never in played:
        now += step
        if under_way:
            budget.ended(under_way.pop(ending % len(under_way)), cost)
        price = budget.cost_seconds(key)
        granted = budget.admit(key, peer, now, exact=exact)
        if isinstance(granted, Permit) and never:
            budget.never_was(granted)
        elif isinstance(granted, Permit):
            assert price == granted.paid_seconds
            paid[peer].append((now, price))
            under_way.append(granted)

        there = [permit for permit in under_way if permit.peer == peer]
        assert len(there) <= concurrent
        assert sum(permit.exact for permit in there) <= 1
    for spent in paid.values():
        for first in range(len(spent)):
            total = dearest = 0.0
            for at, price in spent[first:]:
                total, dearest = total + price, max(dearest, price)
                share = ratio * (at - spent[first][0] + ACCOUNT_SECONDS)
                assert total <= share + dearest + ROUNDING


@some
@given(ratios, st.integers(1, 3), intervals, st.lists(st.tuples(st.sampled_from(KEYS), costs), max_size=60))
def test_at_the_stretched_intervals_the_usual_costs_fit_what_is_planned_for_all_peers(
    ratio: float, peers: int, wanted: dict[str, float], answers: list[tuple[str, float]]
) -> None:
    """No more than nine tenths of the budget: the rest is for chance."""
    budget = budget_for(wanted, ratio=ratio, peers=PEERS[:peers])
    for key, cost in answers:
        taught(budget, key, cost)

    factors = budget.stretches(peers)
    load = sum(taken(budget, wanted, factors).values())

    allowed = ratio * PLANNED_SHARE * peers
    assert load <= allowed * (1 + ROUNDING)
    assert not factors or load == pytest.approx(allowed)


many = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.tuples(st.floats(1.0, 3_600.0), costs), min_size=1
)


@some
@given(ratios, st.integers(1, 3), many)
def test_who_is_stretched_takes_the_same_share_and_none_that_is_not_takes_more(
    ratio: float, peers: int, probes: dict[str, tuple[float, float]]
) -> None:
    """A dear probe pays for itself: no other comes less often than an equal share would let it."""
    wanted = {key: interval for key, (interval, _) in probes.items()}
    budget = budget_for(wanted, ratio=ratio)
    for key, (_, cost) in probes.items():
        taught(budget, key, cost)

    factors = budget.stretches(peers)
    shares = taken(budget, wanted, factors)
    stretched = [shares[key] for key in factors]

    assert all(factor > 1.0 for factor in factors.values())
    if stretched:
        assert stretched == pytest.approx([stretched[0]] * len(stretched), rel=ROUNDING)
        assert all(share <= stretched[0] * (1 + ROUNDING) for share in shares.values())
    assert factors or sum(shares.values()) <= ratio * PLANNED_SHARE * peers * (1 + ROUNDING)


@pytest.mark.parametrize(
    ("ratio", "alone"),
    [
        (0.03, (0.005, 0.004, 0.008, 0.002, 0.008)),
        (0.03333333333333333, (0.008, 0.004, 0.006, 0.009, 0.003)),
    ],
)
def test_costs_that_fit_but_for_rounding_stretch_nothing(ratio: float, alone: tuple[float, ...]) -> None:
    """A sum of floats depends on their order, so all may fit in one and not in another."""
    wanted = {str(number): 1.0 for number in range(len(alone))}
    budget = budget_for(wanted, ratio=ratio)
    for key, cost in zip(wanted, alone, strict=True):
        taught(budget, key, cost)

    assert all(factor < 1.0 + ROUNDING for factor in budget.stretches(1).values())


def test_cheap_probes_keep_their_intervals() -> None:
    """Four small searches a minute are nothing beside a hundredth of a peer's time."""
    assert budget_of().stretches(1) == {}


def test_dear_probes_come_less_often() -> None:
    """Four searches of a second each minute are 6.7 %; 0.9 % are planned for."""
    budget = budget_of()
    for key in KEYS:
        taught(budget, key, 1.0)

    assert budget.stretches(1) == pytest.approx(dict.fromkeys(KEYS, 4 / 60 / 0.009))


def test_more_peers_carry_more() -> None:
    """Probes go round the peers that answer, so three of them carry three times as much."""
    budget = budget_of()
    taught(budget, "a", 10.0)

    three = budget.stretches(3)

    assert budget.stretches(1) == pytest.approx({key: 3.0 * factor for key, factor in three.items()})


def test_without_a_peer_nothing_stretches_further_than_for_one() -> None:
    """There is nobody to spare yet, or nobody answers and all ask the one in turn."""
    budget = budget_of(peers=())
    cheap = budget.stretches(0)
    taught(budget, "a", 10.0)

    assert cheap == {}
    assert budget.stretches(0) == budget.stretches(1)


def by_name(key: str) -> str:
    """Say of every probe that it costs like no other."""
    return key


def test_one_dear_probe_among_cheap_ones_stretches_only_itself() -> None:
    """It takes what they leave: a hundred searches of a millisecond leave 0.73 % of a peer's time."""
    cheap = [f"cheap-{number}" for number in range(100)]
    wanted = dict.fromkeys((*cheap, "dear"), 60.0)
    budget = budget_for(wanted)
    for key in wanted:
        taught(budget, key, 4.0 if key == "dear" else 0.001)

    assert budget.stretches(1) == pytest.approx({"dear": 4.0 / (0.009 - 100 * 0.001 / 60.0) / 60.0})


# Together with a schedule, as the prober does


def runs_of(prices: Mapping[str, float], *, usable: int, seconds: float) -> Counter[str]:
    """Count how often probes of a minute, of these costs, ran through one peer in this time."""
    wanted = dict.fromkeys(prices, 60.0)
    budget = budget_for(wanted)
    for key, price in prices.items():
        taught(budget, key, price)
    schedule: Schedule[str] = Schedule()
    counts: Counter[str] = Counter()
    for turn in range(int(seconds / 5.0)):  # as often intervals are looked at
        factors = budget.stretches(usable)
        schedule.keep({key: interval * factors.get(key, 1.0) for key, interval in wanted.items()}, turn * 5.0)
        while (now := schedule.next_due_seconds() or 0.0) < (turn + 1) * 5.0:
            for due in schedule.due(now):
                granted = budget.admit(due.key, "peer0", now, exact=False)
                if isinstance(granted, Permit):
                    budget.ended(granted, prices[due.key])
                    counts[due.key] += 1
                elif granted is Skip.BUDGET:
                    schedule.try_again(due.key, now)
    return counts


@pytest.mark.parametrize(("cheap", "least"), [(100, 10), (400, 3)])
def test_cheap_probes_go_on_beside_a_dear_one(cheap: int, least: int) -> None:
    """It is longer than a full account, and is paid off from what the plan leaves beside them."""
    prices = {f"cheap-{number}": 0.001 for number in range(cheap)} | {"dear": 4.0}

    counts = runs_of(prices, usable=1, seconds=7_200.0)

    assert min(counts[key] for key in prices if key != "dear") >= 110
    assert least <= counts["dear"] <= 7_200.0 / 545.0 + 1


def test_where_two_of_three_peers_are_down_all_probes_run_equally_often() -> None:
    """The one that is left carries a third as much: all are stretched, and nobody is left out."""
    prices = {f"collection-{number}": 0.002 for number in range(400)}

    counts = runs_of(prices, usable=1, seconds=7_200.0)

    assert counts.keys() == prices.keys()
    assert min(counts.values()) >= 0.8 * max(counts.values())
    assert sum(counts.values()) * 0.002 >= 0.9 * 7_200.0 * 0.01 * PLANNED_SHARE


def test_the_account_starts_full_and_fills_at_the_ratio() -> None:
    """At half a peer's time, of searches of half a second: sixty at once, then one a second."""
    budget = budget_of(ratio=0.5, concurrent=1_000)
    taught(budget, "a", 0.5)

    at_once = 0
    while isinstance(budget.admit("a", "peer0", 0.0, exact=False), Permit):
        at_once += 1
    later = [budget.admit("a", "peer0", now, exact=False) for now in (0.99, 1.0, 1.5, 2.0)]

    assert at_once == 0.5 * ACCOUNT_SECONDS / 0.5
    assert [isinstance(one, Permit) for one in later] == [False, True, False, True]
    assert isinstance(budget.admit("a", "peer1", 2.0, exact=False), Permit)


def test_what_costs_more_than_a_full_account_goes_on_credit_one_at_a_time() -> None:
    """Else an exact search of a large collection would never go; half the income makes up for it."""
    budget = budget_for(dict.fromkeys(KEYS, 60.0), kind_of=by_name)
    taught(budget, "a", 2.0)  # 0.6 s is a full account
    taught(budget, "b", 3.0)

    budget.ended(admitted(budget), 2.0)
    waits = [budget.admit(key, "peer0", now, exact=False) for now in (1.0, 399.0) for key in ("a", "b")]
    elsewhere = budget.admit("b", "peer1", 399.0, exact=False)
    goes = budget.admit("b", "peer0", 401.0, exact=False)
    then = [budget.admit("a", "peer0", now, exact=False) for now in (401.0, 1_000.0, 1_002.0)]

    assert waits == [Skip.BUDGET] * 4
    assert isinstance(elsewhere, Permit)
    assert isinstance(goes, Permit)
    assert [isinstance(one, Permit) for one in then] == [False, False, True]


def test_while_a_run_is_paid_off_the_others_go_on_with_half_the_income() -> None:
    """The account that they share was not touched for it."""
    budget = budget_for(dict.fromkeys(KEYS, 60.0), kind_of=by_name, concurrent=1_000)
    taught(budget, "a", 2.0)
    taught(budget, "b", 0.1)
    admitted(budget)

    def runs(now: float) -> int:
        count = 0
        while isinstance(budget.admit("b", "peer0", now, exact=False), Permit):
            count += 1
        return count

    at_once, meanwhile, afterwards = runs(0.001), runs(101.0), [runs(401.0), runs(402.0), runs(452.0)]

    assert at_once in {5, 6}
    assert meanwhile == 5
    assert afterwards[0] == 6  # more than a full account is not held
    assert afterwards[1:] == [0, 5]


@pytest.mark.parametrize("cost", [0.19, 2.0])
def test_a_run_that_never_was_is_repaid(cost: float) -> None:
    """Neither its cost nor its place is lost, and nobody gets more than was there."""
    budget = budget_of(concurrent=10)
    taught(budget, "a", cost)

    for now in range(1_000):
        budget.never_was(admitted(budget, now=float(now)))
    at_once = [budget.admit("a", "peer0", 1_000.0, exact=False) for _ in range(10)]

    assert sum(isinstance(one, Permit) for one in at_once) == (1 if cost > 0.6 else 3)
    assert at_once[-1] is Skip.BUDGET


def test_a_run_that_never_was_teaches_nothing() -> None:
    """It was left out because another one could not go."""
    budget = budget_of()
    budget.never_was(admitted(budget))

    assert budget.cost_seconds("a") == FIRST_COST_SECONDS
    assert budget.stretches(3) == {}


@some
@given(st.lists(costs, max_size=30), st.integers(1, 30))
def test_a_failure_is_never_a_cost(answers: list[float], failures: int) -> None:
    """A timeout of 5 s would make us ask less just when it matters."""
    budget = budget_of()
    taught(budget, "a", *answers)
    before = (budget.cost_seconds("a"), budget.stretches(3))

    taught(budget, "a", *([None] * failures))

    assert before == (budget.cost_seconds("a"), budget.stretches(3))


@some
@given(
    fast=st.lists(st.floats(0.001, 0.1), min_size=COSTS_KEPT, max_size=COSTS_KEPT),
    slow=st.lists(st.floats(0.1, 60.0), max_size=COSTS_KEPT * 3 // 4 - 1),
)
def test_a_slow_patch_does_not_talk_us_into_asking_less(fast: list[float], slow: list[float]) -> None:
    """While under three quarters of the last answers are slow, the pace is that of the fast ones."""
    budget, at_the_slowest_of_the_fast = budget_of(interval=1.0), budget_of(interval=1.0)
    taught(budget, "a", *fast, *slow)
    taught(at_the_slowest_of_the_fast, "a", max(fast))

    assert budget.cost_seconds("a") <= max(fast)
    slowest = at_the_slowest_of_the_fast.stretches(3)
    for key, factor in budget.stretches(3).items():
        assert factor <= slowest.get(key, 1.0) * (1 + ROUNDING)


def test_a_server_that_became_slow_for_good_is_spared_after_twenty_answers() -> None:
    """Old costs are forgotten, cheap ones too."""
    budget = budget_of()
    taught(budget, "a", *([0.01] * COSTS_KEPT))
    taught(budget, "a", *([2.0] * COSTS_KEPT))

    assert budget.cost_seconds("a") == 2.0


def test_before_any_answer_a_probe_is_taken_for_a_small_search() -> None:
    """Those that always failed, too."""
    budget = budget_of()
    taught(budget, "a", None, None)

    assert {FIRST_COST_SECONDS} == {budget.cost_seconds(key) for key in KEYS}


def test_a_new_probe_is_taken_for_one_as_dear_as_the_others_of_its_kind() -> None:
    """A thousand collections must not burst in because each of them is new."""
    budget = budget_of()
    taught(budget, "a", 0.25)
    taught(budget, "b", 0.75)
    wanted = dict.fromkeys((*KEYS, "new"), 60.0)
    budget.keep(wanted, PEERS)

    factors = budget.stretches(3)

    assert budget.cost_seconds("new") == 0.25
    assert budget.cost_seconds("b") == 0.75
    assert factors.keys() == {"b"}
    assert sum(taken(budget, wanted, factors).values()) == pytest.approx(0.027)


def test_of_the_first_answer_of_a_kind_the_others_learn_at_once_and_of_more_with_the_intervals() -> None:
    """A thousand new collections would else all go at the price of a small search before the next look."""
    budget = budget_of()
    taught(budget, "a", 0.5)
    at_once = budget.cost_seconds("d")
    taught(budget, "b", 0.1)
    cheaper = budget.cost_seconds("d")
    taught(budget, "c", 0.9)
    as_before = budget.cost_seconds("d")
    budget.stretches(3)

    assert [at_once, cheaper, as_before, budget.cost_seconds("d")] == [0.5, 0.1, 0.1, 0.1]


def first_letter(key: str) -> str:
    """Tell kinds of probes by the first letter of their keys."""
    return key[0]


def test_what_an_exact_search_costs_is_no_guess_of_what_a_search_does() -> None:
    """A hundred recalls of a second would have a thousand searches of a millisecond stretched to nothing."""
    wanted = dict.fromkeys(("s1", "s2", "r1", "r2", "canary"), 60.0)
    budget = budget_for(wanted, kind_of=first_letter)
    taught(budget, "s1", 0.002)
    taught(budget, "r1", 3.0)
    budget.stretches(3)

    assert [budget.cost_seconds(key) for key in wanted] == [0.002, 0.002, 3.0, 3.0, FIRST_COST_SECONDS]


@some
@given(
    st.lists(st.tuples(st.sampled_from(["a1", "a2", "a3", "b1", "b2", "c1"]), st.none() | costs), max_size=60)
)
def test_first_costs_are_the_lower_quartile_of_those_that_are_known_of_the_kind(
    answers: list[tuple[str, float | None]],
) -> None:
    """Each probe counts once, however often it went; where none of the kind is known, a small search."""
    wanted = dict.fromkeys(("a1", "a2", "a3", "b1", "b2", "c1", "a-new", "b-new", "c-new"), 60.0)
    budget = budget_for(wanted, kind_of=first_letter)
    for key, cost in answers:
        taught(budget, key, cost)
    known = {key: budget.cost_seconds(key) for key, cost in answers if cost is not None}

    factors = budget.stretches(3)

    for key in wanted:
        alike_ones = sorted(cost for other, cost in known.items() if other[0] == key[0])
        usual = alike_ones[(len(alike_ones) - 1) // 4] if alike_ones else FIRST_COST_SECONDS
        assert budget.cost_seconds(key) == pytest.approx(known.get(key, usual))
    load, planned = sum(taken(budget, wanted, {}).values()), 0.01 * PLANNED_SHARE * 3
    assert sum(taken(budget, wanted, factors).values()) == pytest.approx(min(load, planned))


def test_costs_of_probes_that_went_are_no_guess_any_more() -> None:
    """The one dear collection was deleted."""
    budget = budget_of()
    taught(budget, "a", 30.0)
    taught(budget, "b", 0.5)
    budget.keep({"b": 60.0, "c": 60.0}, PEERS)
    budget.stretches(3)

    assert budget.cost_seconds("c") == 0.5


@pytest.mark.parametrize(
    ("asked", "rests"), [(None, 60.0), (12.0, 12.0), (0.5, 0.5), (1e9, LONGEST_REST_SECONDS)]
)
def test_after_a_429_the_probe_rests_as_long_as_the_server_asked(asked: float | None, rests: float) -> None:
    """A minute where it did not say, ten at the most; on every peer, for the limit is the collection's."""
    budget = budget_of()

    budget.rest("a", asked, 100.0)
    meanwhile = [budget.admit("a", peer, 100.0 + rests * 0.999, exact=False) for peer in PEERS]
    others = budget.admit("b", "peer0", 100.0 + rests * 0.999, exact=False)
    afterwards = budget.admit("a", "peer0", 100.0 + rests, exact=False)

    assert meanwhile == [Skip.BACKOFF] * 3
    assert isinstance(others, Permit)
    assert isinstance(afterwards, Permit)


def test_a_server_that_asks_for_no_rest_gets_none() -> None:
    """Retry-After: 0 means now."""
    budget = budget_of()
    budget.rest("a", 0.0, 100.0)

    assert isinstance(budget.admit("a", "peer0", 100.0, exact=False), Permit)


def test_what_does_not_go_costs_nothing() -> None:
    """A refused run neither pays nor takes a place."""
    budget = budget_of(concurrent=1)
    running = admitted(budget)

    refused = {budget.admit("b", "peer0", 0.0, exact=False) for _ in range(1_000)}
    budget.ended(running, 0.005)

    assert {Skip.CONCURRENCY} == refused
    assert isinstance(budget.admit("b", "peer0", 0.0, exact=False), Permit)


def test_an_exact_search_waits_for_another_and_searches_do_not() -> None:
    """One of them fills a core of the peer; ordinary searches go on beside it, and so do other peers."""
    budget = budget_of(ratio=0.5)
    exact = budget.admit("a", "peer0", 0.0, exact=True)
    assert isinstance(exact, Permit)

    second = budget.admit("b", "peer0", 0.0, exact=True)
    beside = [budget.admit("b", "peer0", 0.0, exact=False), budget.admit("b", "peer1", 0.0, exact=True)]
    budget.ended(exact, None)

    assert Skip.CONCURRENCY is second
    assert all(isinstance(one, Permit) for one in beside)
    assert isinstance(budget.admit("b", "peer0", 0.0, exact=True), Permit)


def test_a_collection_that_went_takes_its_costs_and_its_rest_with_it() -> None:
    """One that comes back under the name may be another one; a run that ends late teaches nothing."""
    budget = budget_of()
    late = admitted(budget, "b")
    taught(budget, "a", 30.0)
    budget.rest("a", 600.0, 0.0)
    budget.keep({"b": 60.0}, PEERS)
    budget.keep({"c": 60.0}, PEERS)
    budget.stretches(3)
    budget.ended(late, 30.0)

    budget.keep(dict.fromkeys(KEYS, 60.0), PEERS)

    assert [budget.cost_seconds("a"), budget.cost_seconds("b")] == [FIRST_COST_SECONDS] * 2
    assert budget.stretches(3) == {}
    assert isinstance(budget.admit("a", "peer0", 3.0, exact=False), Permit)


def test_a_run_may_end_after_its_peer_went() -> None:
    """Its answer still tells what the probe costs."""
    budget = budget_of()
    late = admitted(budget)
    budget.keep(dict.fromkeys(KEYS, 60.0), PEERS[1:])

    budget.ended(late, 0.5)

    assert budget.cost_seconds("a") == 0.5


def test_a_run_that_ends_after_its_peer_came_back_frees_no_place_of_another() -> None:
    """A name that resolves to nothing for a moment must not loosen the limit for good."""
    budget = budget_of(concurrent=1)
    before = admitted(budget)
    budget.keep(dict.fromkeys(KEYS, 60.0), ())
    budget.keep(dict.fromkeys(KEYS, 60.0), PEERS)
    admitted(budget, now=2.0)

    budget.ended(before, 0.005)

    assert Skip.CONCURRENCY is budget.admit("a", "peer0", 3.0, exact=False)


def test_an_exact_search_that_ends_after_its_peer_came_back_lets_no_second_one_go() -> None:
    """Two of them would fill two cores."""
    budget = budget_of(ratio=0.5)
    before = budget.admit("a", "peer0", 0.0, exact=True)
    assert isinstance(before, Permit)
    budget.keep(dict.fromkeys(KEYS, 60.0), ())
    budget.keep(dict.fromkeys(KEYS, 60.0), PEERS)
    assert isinstance(budget.admit("b", "peer0", 2.0, exact=True), Permit)

    budget.ended(before, 0.005)

    assert Skip.CONCURRENCY is budget.admit("c", "peer0", 3.0, exact=True)


def test_a_permit_is_handed_back_to_the_account_that_paid() -> None:
    """One a peer, and another one after the peer came back."""
    budget = budget_of()
    first, second, elsewhere = admitted(budget), admitted(budget, "b"), admitted(budget, peer="peer1")
    budget.keep(dict.fromkeys(KEYS, 60.0), PEERS[1:])
    budget.keep(dict.fromkeys(KEYS, 60.0), PEERS)
    later = admitted(budget, now=2.0)

    budget.ended(first, None)

    assert first.account is second.account
    assert len({id(one.account) for one in (first, elsewhere, later)}) == 3
    assert [one.account.under_way for one in (first, elsewhere, later)] == [1, 1, 1]
