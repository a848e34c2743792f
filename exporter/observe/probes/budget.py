"""What probes may cost a peer: a share of its time, a number at once, and rest where it asks for it.

Decisions only: no clock of its own, no sleep.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from exporter.observe.probes.reasons import Skip

K = TypeVar("K", bound=Hashable)

# The cost of a probe is the lower quartile of its last successful answers: a server that is slow for a
# while must not talk us into asking less about the very trouble. A failure is never a cost.
COSTS_KEPT = 20
# Before any answer: a small search. Then a probe without one costs what others of its kind do.
FIRST_COST_SECONDS = 0.001
# What a peer's account may hold: the budget of so long. A minute is the usual interval, so probes that
# happen to come together still go, and no burst is longer than a minute's share.
ACCOUNT_SECONDS = 60.0
# Of a peer's income, what at least pays for a run that was dearer than a full account, until that is made
# up for: else it would be owed for ever where the others take all that is planned.
LEAST_PAID_OFF = 0.1
PAID_OFF_UNPLANNED = 0.5  # before there is a plan, and while all of it fits
# Intervals are planned to use so much of the budget: at all of it, chance alone would often find the
# account empty, and a beat would be skipped where a slightly longer interval would have kept it.
PLANNED_SHARE = 0.9
# Rest where a server says 429 without saying for how long (before 1.13.3).
DEFAULT_REST_SECONDS = 60.0
# A wrong Retry-After must not blind us for a day.
LONGEST_REST_SECONDS = 600.0


class Account:
    """One peer's: time that may be spent, and what is under way."""

    def __init__(self, *, ratio: float, now: float) -> None:
        self._ratio = ratio
        self._full_seconds = ratio * ACCOUNT_SECONDS
        self._held_seconds = self._full_seconds
        self._owed_seconds = 0.0  # for a run dearer than a full account
        self._at = now
        self.under_way = 0
        self.exact_under_way = False

    def can_pay(self, cost_seconds: float, now: float, paid_off_share: float) -> bool:
        """Whether so much may be spent now. What exceeds a full account goes on credit, one at a time.

        `paid_off_share` of the income since the last question went to what is owed.
        """
        self._earn(now, paid_off_share)
        if cost_seconds > self._full_seconds:
            return self._owed_seconds <= 0.0
        return self._held_seconds >= cost_seconds

    def pay(self, cost_seconds: float) -> None:
        """Spend."""
        if cost_seconds > self._full_seconds:
            self._owed_seconds += cost_seconds
        else:
            self._held_seconds -= cost_seconds

    def repay(self, cost_seconds: float) -> None:
        """Take back what was paid for a run that never was."""
        if cost_seconds > self._full_seconds:
            self._owed_seconds = max(0.0, self._owed_seconds - cost_seconds)
        else:
            self._held_seconds = min(self._full_seconds, self._held_seconds + cost_seconds)

    def _earn(self, now: float, paid_off_share: float) -> None:
        income = self._ratio * (now - self._at)
        self._at = now
        paid_off = min(self._owed_seconds, income * paid_off_share)
        self._owed_seconds -= paid_off
        self._held_seconds = min(self._full_seconds, self._held_seconds + income - paid_off)


@dataclass(frozen=True, slots=True)
class Permit(Generic[K]):
    """Leave for one run of a probe on a peer; hand it back when the run has ended, or never was."""

    key: K
    peer: str
    exact: bool
    paid_seconds: float
    account: Account  # the peer's at that moment: one that was dropped and came back has another


class Budget(Generic[K]):
    """All probes of one cluster. `ratio` is the share of each peer's time, 0 to 1.

    Two things hold it. Intervals are stretched until the usual costs fit, and as fairly as can be: each
    probe may take an equal share of the time, and only those that want more are stretched to it. And each
    peer has an account that a run pays for, at its usual cost, before it goes: so in any stretch of
    time a peer is asked for no more than its share of it, one minute's share, and one run.
    """

    def __init__(self, *, ratio: float, concurrent: int, kind_of: Callable[[K], Hashable]) -> None:
        """`kind_of` says which probes cost alike: those of one kind are guessed from each other."""
        self._ratio = ratio
        self._kind_of = kind_of
        self._concurrent = concurrent
        self._answers: dict[K, deque[float]] = {}
        self._costs: dict[K, float] = {}  # the lower quartile of these
        self._intervals: Mapping[K, float] = {}
        self._usual: dict[Hashable, float] = {}  # the lower quartile of costs by kind
        self._accounts: dict[str, Account] = {}
        self._paid_off_share = PAID_OFF_UNPLANNED
        self._rest_until: dict[K, float] = {}

    def keep(self, intervals: Mapping[K, float], peers: Collection[str]) -> None:
        """Account for just these probes, which one peer or another is to run so often, in seconds."""
        for gone in self._answers.keys() - intervals.keys():
            del self._answers[gone]
            self._costs.pop(gone, None)
        for rested in self._rest_until.keys() - intervals.keys():
            del self._rest_until[rested]
        self._intervals = intervals
        for gone_peer in self._accounts.keys() - set(peers):
            del self._accounts[gone_peer]

    def cost_seconds(self, key: K) -> float:
        """What one run usually costs."""
        known = self._costs.get(key)
        return self._usual.get(self._kind_of(key), FIRST_COST_SECONDS) if known is None else known

    def stretches(self, peers: int) -> dict[K, float]:
        """Return by how much which intervals must be stretched for the usual costs to fit so many peers.

        Probes that take no more than an equal share are not in it; the others are all brought to the
        same share, the largest that fits.
        """
        self._learn_kinds()
        wanted = {key: self.cost_seconds(key) / interval for key, interval in self._intervals.items()}
        left, sharing = self._ratio * PLANNED_SHARE * max(1, peers), len(wanted)
        if sum(wanted.values()) <= left:
            return {}
        for share in sorted(wanted.values()):
            if share * sharing > left:
                break
            left, sharing = left - share, sharing - 1
        if not sharing:  # all fits, but for rounding
            return {}
        equal = left / sharing
        self._part_with_the_dear(wanted, equal, peers)
        return {key: share / equal for key, share in wanted.items() if share > equal}

    def _part_with_the_dear(self, wanted: Mapping[K, float], equal: float, peers: int) -> None:
        """Let what one run on credit cost be paid from what the plan leaves beside all the others."""
        full = self._ratio * ACCOUNT_SECONDS
        others = sum(min(share, equal) for key, share in wanted.items() if self.cost_seconds(key) <= full)
        left_share = 1 - others / (self._ratio * max(1, peers))
        self._paid_off_share = max(LEAST_PAID_OFF, left_share)

    def admit(self, key: K, peer: str, now: float, *, exact: bool) -> Permit[K] | Skip:
        """Give leave for one run, paid for in advance, or say why not."""
        account = self._accounts.get(peer)
        if account is None:
            account = self._accounts[peer] = Account(ratio=self._ratio, now=now)
        if now < self._rest_until.get(key, now):
            return Skip.BACKOFF
        if account.under_way >= self._concurrent or (exact and account.exact_under_way):
            return Skip.CONCURRENCY
        cost = self.cost_seconds(key)
        if not account.can_pay(cost, now, self._paid_off_share):
            return Skip.BUDGET
        account.pay(cost)
        account.under_way += 1
        account.exact_under_way |= exact
        return Permit(key, peer, exact, cost, account)

    def ended(self, permit: Permit[K], cost_seconds: float | None) -> None:
        """Take back a permit. `cost_seconds` is what a run that succeeded took the peer, None else."""
        permit.account.under_way -= 1
        if permit.exact:
            permit.account.exact_under_way = False
        if cost_seconds is None or permit.key not in self._intervals:
            return
        answers = self._answers.setdefault(permit.key, deque(maxlen=COSTS_KEPT))
        answers.append(cost_seconds)
        self._costs[permit.key] = sorted(answers)[(len(answers) - 1) // 4]
        # of the first of its kind the others learn at once, before intervals are looked at again
        kind = self._kind_of(permit.key)
        self._usual[kind] = min(cost_seconds, self._usual.get(kind, cost_seconds))

    def never_was(self, permit: Permit[K]) -> None:
        """Take back a permit that was not used, and what was paid for it."""
        self.ended(permit, None)
        permit.account.repay(permit.paid_seconds)

    def rest(self, key: K, seconds: float | None, now: float) -> None:
        """A server asked for rest, for so long if it said so: nothing of this probe goes meanwhile."""
        wanted = DEFAULT_REST_SECONDS if seconds is None else min(seconds, LONGEST_REST_SECONDS)
        self._rest_until[key] = now + wanted

    def _learn_kinds(self) -> None:
        known: dict[Hashable, list[float]] = {}
        for key, cost in self._costs.items():
            known.setdefault(self._kind_of(key), []).append(cost)
        # the lower quartile: one dear collection must not make all that are not known yet look dear
        self._usual = {kind: sorted(costs)[(len(costs) - 1) // 4] for kind, costs in known.items()}
