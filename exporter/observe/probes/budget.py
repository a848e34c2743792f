"""What probes may cost a peer: a share of its time, a number at once, and rest where it asks for it.

Decisions only: no clock of its own, no sleep.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable
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
# Intervals are planned to use so much of the budget: at all of it, chance alone would often find the
# account empty, and a beat would be skipped where a slightly longer interval would have kept it.
PLANNED_SHARE = 0.9
# Weakest wish for rest where a server says 429 without saying for how long (before 1.13.3).
DEFAULT_REST_SECONDS = 60.0
# A wrong Retry-After must not blind us for a day.
LONGEST_REST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Permit(Generic[K]):
    """Leave for one run of a probe on a peer; hand it back with what the run cost."""

    key: K
    peer: str
    exact: bool
    account: Account  # the peer's at that moment: one that was dropped and came back has another


class Account:
    """One peer's: time that may be spent, and what is under way."""

    def __init__(self, *, ratio: float, now: float) -> None:
        self._ratio = ratio
        self._full_seconds = ratio * ACCOUNT_SECONDS
        self._held_seconds = self._full_seconds
        self._at = now
        self.under_way = 0
        self.exact_under_way = False

    def can_pay(self, cost_seconds: float, now: float) -> bool:
        """Whether so much may be spent now. What costs more than a full account waits until it is full."""
        self._held_seconds = min(self._full_seconds, self._held_seconds + self._ratio * (now - self._at))
        self._at = now
        return self._held_seconds >= min(cost_seconds, self._full_seconds)

    def pay(self, cost_seconds: float) -> None:
        """Spend; may leave the account below zero, and then nothing goes until it is made up for."""
        self._held_seconds -= cost_seconds


@dataclass(slots=True)
class _Known:
    """Probes of one kind whose cost is known, and what one run of each costs together."""

    probes: int = 0
    seconds: float = 0.0


class Budget(Generic[K]):
    """All probes of one cluster. `ratio` is the share of each peer's time, 0 to 1.

    Two things hold it: intervals stretch by one factor until the usual costs fit, and each peer has
    an account that a run pays for before it goes. So in any stretch of time a peer is asked for no
    more than its share of it, one minute's share, and one run.
    """

    def __init__(self, *, ratio: float, concurrent: int, kind_of: Callable[[K], Hashable]) -> None:
        """`kind_of` says which probes cost alike: those of one kind are guessed from each other."""
        self._ratio = ratio
        self._kind_of = kind_of
        self._concurrent = concurrent
        self._costs: dict[K, deque[float]] = {}
        self._intervals: dict[K, float] = {}
        self._known: dict[Hashable, _Known] = {}  # by kind
        self._unknown_rates: dict[Hashable, float] = {}  # runs a second of probes without an answer, by kind
        self._load = 0.0  # seconds of peers' time a second, at the configured intervals, of the others
        self._accounts: dict[str, Account] = {}
        self._rest_until: dict[K, float] = {}

    def keep(self, intervals: dict[K, float], peers: Collection[str], now: float) -> None:
        """Account for just these probes, at these intervals in seconds, on these peers."""
        for kept in (self._costs, self._rest_until):
            for gone in kept.keys() - intervals.keys():
                kept.pop(gone)
        self._intervals = intervals
        self._load = 0.0
        self._known, self._unknown_rates = {}, {}
        for key, interval in intervals.items():
            kind = self._kind_of(key)
            if key in self._costs:
                self._count(kind, self.cost_seconds(key), interval)
            else:
                self._unknown_rates[kind] = self._unknown_rates.get(kind, 0.0) + 1 / interval
        for gone_peer in self._accounts.keys() - set(peers):
            del self._accounts[gone_peer]
        for peer in peers:
            self._account(peer, now)

    def cost_seconds(self, key: K) -> float:
        """What one run usually costs."""
        costs = sorted(self._costs.get(key, ()))
        if costs:
            return costs[(len(costs) - 1) // 4]
        return self._usual(self._kind_of(key))

    def factor(self) -> float:
        """By how much intervals must be stretched for the usual costs to fit; 1 where they do."""
        allowed = self._ratio * PLANNED_SHARE * len(self._accounts)
        guessed = sum(self._usual(kind) * rate for kind, rate in self._unknown_rates.items())
        return max(1.0, (self._load + guessed) / allowed) if allowed else 1.0

    def admit(self, key: K, peer: str, now: float, *, exact: bool) -> Permit[K] | Skip:
        """Give leave for one run, paid for in advance, or say why not."""
        account = self._account(peer, now)
        if now < self._rest_until.get(key, now):
            return Skip.BACKOFF
        if account.under_way >= self._concurrent or (exact and account.exact_under_way):
            return Skip.CONCURRENCY
        cost = self.cost_seconds(key)
        if not account.can_pay(cost, now):
            return Skip.BUDGET
        account.pay(cost)
        account.under_way += 1
        account.exact_under_way |= exact
        return Permit(key, peer, exact, account)

    def _account(self, peer: str, now: float) -> Account:
        account = self._accounts.get(peer)
        if account is None:
            account = self._accounts[peer] = Account(ratio=self._ratio, now=now)
        return account

    def ended(self, permit: Permit[K], cost_seconds: float | None) -> None:
        """Take back a permit. `cost_seconds` is what a run that succeeded took the peer, None else."""
        permit.account.under_way -= 1
        if permit.exact:
            permit.account.exact_under_way = False
        if cost_seconds is None or permit.key not in self._intervals:
            return
        key, interval = permit.key, self._intervals[permit.key]
        kind = self._kind_of(key)
        if key in self._costs:
            self._count(kind, self.cost_seconds(key), interval, times=-1)
        else:
            self._unknown_rates[kind] -= 1 / interval
        self._costs.setdefault(key, deque(maxlen=COSTS_KEPT)).append(cost_seconds)
        self._count(kind, self.cost_seconds(key), interval)

    def _count(self, kind: Hashable, cost_seconds: float, interval: float, *, times: int = 1) -> None:
        """Count a probe whose cost is known in, or out."""
        self._load += times * cost_seconds / interval
        known = self._known.setdefault(kind, _Known())
        known.probes += times
        known.seconds += times * cost_seconds

    def _usual(self, kind: Hashable) -> float:
        """What a probe costs that has no answer yet: the mean of those of its kind that have."""
        known = self._known.get(kind)
        return known.seconds / known.probes if known is not None and known.probes else FIRST_COST_SECONDS

    def rest(self, key: K, seconds: float | None, now: float) -> None:
        """A server asked for rest, for so long if it said so: nothing of this probe goes meanwhile."""
        wanted = DEFAULT_REST_SECONDS if seconds is None else min(seconds, LONGEST_REST_SECONDS)
        self._rest_until[key] = now + wanted
