"""How often each source of a peer may ask: the configured interval, stretched where it costs too much."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

# Up and the statuses of shards stand on these two: a minute is the longest they may be blind for.
ANCHORS = frozenset({"cluster", "telemetry"})
ANCHOR_LONGEST_SECONDS = 60.0

# Everything else still has to look now and then, however dear: four times an hour shows a trend.
LONGEST_SECONDS = 900.0

# The cost of a source is the lower quartile of so many answers: a pile-up on the server makes most
# answers slow for a while and must not talk us into asking less about the very trouble.
COSTS_KEPT = 20


class Pacer:
    """Intervals of one peer's sources, so that together they stay within a share of wall time."""

    def __init__(self, *, base_seconds: Mapping[str, float], budget_ratio: float) -> None:
        self._base_seconds = base_seconds
        self._budget_ratio = budget_ratio
        self._costs: dict[str, deque[float]] = {}

    def spent(self, source: str, seconds: float) -> None:
        """Take in the server's time for one successful answer; a failure is never a cost."""
        self._costs.setdefault(source, deque(maxlen=COSTS_KEPT)).append(seconds)

    def cost_seconds(self, source: str) -> float:
        """The lower quartile of the last answers; 0 before the first."""
        costs = sorted(self._costs.get(source, ()))
        return costs[(len(costs) - 1) // 4] if costs else 0.0

    def interval_seconds(self, source: str) -> float:
        """The interval in force. All sources stretch by one factor, the anchors not past a minute."""
        longest = self._longest_seconds(source)
        return max(self._base_seconds[source], min(longest, self._base_seconds[source] * self._factor()))

    def _longest_seconds(self, source: str) -> float:
        return ANCHOR_LONGEST_SECONDS if source in ANCHORS else LONGEST_SECONDS

    def _factor(self) -> float:
        """The smallest stretch with which the shares fit the budget, what hit its longest set apart."""
        shares = {source: self.cost_seconds(source) / base for source, base in self._base_seconds.items()}
        budget = self._budget_ratio
        factor = 1.0
        while shares:
            factor = max(1.0, sum(shares.values()) / budget) if budget > 0 else float("inf")
            stuck = [
                source
                for source in shares
                if self._base_seconds[source] * factor > self._longest_seconds(source)
            ]
            if not stuck:
                return factor
            for source in stuck:
                budget -= self.cost_seconds(source) / max(
                    self._longest_seconds(source), self._base_seconds[source]
                )
                del shares[source]
        return factor
