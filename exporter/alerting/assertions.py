"""Which alerts a receiver of the whole state took, and since when it lacks the others. Pure; Unix seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

from exporter.alerting.words import Alert


class Untold(NamedTuple):
    """An alert that is to be told, and since when nobody took it."""

    alert: Alert
    since: float


class Assertions:
    """The alerts of one receiver that is told the whole state."""

    def __init__(self) -> None:
        self._taken: dict[str, _Turn] = {}
        self._untold: dict[str, Untold] = {}

    @property
    def taken(self) -> Set[str]:
        """The alerts that were taken at least once since they began to fire, or ended."""
        return self._taken.keys()

    @property
    def untold(self) -> Mapping[str, Untold]:
        """The alerts that were not taken when they last should have been."""
        return self._untold

    def see(self, alerts: Iterable[Alert], now: float) -> None:
        """Note what is to be told now. What was to be told and is no more, lacks no more."""
        turns = {alert.fingerprint: _turn(alert) for alert in alerts}
        self._taken = {each: turn for each, turn in self._taken.items() if turns.get(each) == turn}
        before, self._untold = self._untold, {}
        for alert in alerts:
            each = alert.fingerprint
            if each in before or each not in self._taken:
                self._untold[each] = Untold(alert, before[each].since if each in before else now)

    def settle(self, alerts: Iterable[Alert], taken: Set[str], now: float) -> None:
        """Note which of the alerts that were told at a moment somebody took."""
        for alert in alerts:
            each = alert.fingerprint
            if each in taken:
                self._taken[each] = _turn(alert)
                self._untold.pop(each, None)
            else:
                self._untold.setdefault(each, Untold(alert, now))


_Turn = tuple[float | None, float | None]  # when it began to fire, and when it ended


def _turn(alert: Alert) -> _Turn:
    return alert.fired_at, alert.resolved_at
