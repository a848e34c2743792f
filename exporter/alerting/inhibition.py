"""What need not be told because something worse, which explains it, fires."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from exporter.alerting.timers import Timers
from exporter.alerting.words import Alert, AlertState, LabelPairs, Rule

# What these say is never the mere consequence of something else that pages.
NEVER_INHIBITED = frozenset({"QuorumLost", "ConsensusStopped", "ShardUnavailable", "CollectionMissing"})

# A cause ends before its consequences do: collections of a peer that came back are red for minutes.
PAST_ITS_END_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Pair:
    """While `source` fires, alerts of `target` with the same `equal` labels are not told."""

    source: str  # a rule's name
    target: str
    equal: tuple[str, ...]
    past_seconds: float = PAST_ITS_END_SECONDS  # longer where the target looks back further than that


# What a source shares with its targets: ("pair", its index, values of the equal labels), or
# ("level", severity, rule, labels of the series).
_Bond = tuple[str, int | str, str, tuple[str, ...] | LabelPairs]


class Inhibitor:
    """Which alerts fire, or did until recently, that inhibit others."""

    def __init__(self, *, pairs: Iterable[Pair], rules: Iterable[Rule]) -> None:
        self._by_source: dict[str, list[tuple[int, Pair]]] = defaultdict(list)
        self._by_target: dict[str, list[tuple[int, Pair]]] = defaultdict(list)
        for index, pair in enumerate(pairs):
            if pair.target not in NEVER_INHIBITED:
                self._by_source[pair.source].append((index, pair))
                self._by_target[pair.target].append((index, pair))
        self._levels = {rule.name: tuple(level.severity for level in rule.levels) for rule in rules}
        self._sources: dict[_Bond, dict[str, float]] = defaultdict(dict)  # fingerprint to its end
        self._ends: Timers[tuple[_Bond, str]] = Timers()

    def note(self, alert: Alert, series: LabelPairs) -> bool:
        """Note what an alert that fires, or fired, does to others. Whether it can do anything."""
        bonds = list(self._bonds_as_source(alert, series))
        for bond, past_seconds in bonds:
            until = _until(alert, past_seconds)
            self._sources[bond][alert.fingerprint] = until
            self._ends.set((bond, alert.fingerprint), until if until < math.inf else None)
        return bool(bonds)

    def expire(self, now: float) -> bool:
        """Forget those that ended long enough ago. Whether there were any."""
        due = self._ends.pop(now)
        for bond, fingerprint in due:
            of_bond = self._sources[bond]
            del of_bond[fingerprint]
            if not of_bond:
                del self._sources[bond]
        return bool(due)

    def move_on(self, seconds: float) -> None:
        """Let what ended inhibit for as much longer: the clock was put on by so long."""
        for bond, of_bond in self._sources.items():
            for fingerprint, until in of_bond.items():
                if until < math.inf:
                    of_bond[fingerprint] = until + seconds
                    self._ends.set((bond, fingerprint), until + seconds)

    def next_end(self) -> float | None:
        """Return when the next one stops to inhibit."""
        return self._ends.next()

    def inhibits(self, alert: Alert, series: LabelPairs) -> bool:
        """Whether another alert explains this one; as of the last `expire`."""
        return any(
            any(fingerprint != alert.fingerprint for fingerprint in self._sources.get(bond, ()))
            for bond in self._bonds_as_target(alert, series)
        )

    def _bonds_as_source(self, alert: Alert, series: LabelPairs) -> Iterator[tuple[_Bond, float]]:
        """Yield each bond, and for how many seconds past the alert's end it holds."""
        levels = self._levels.get(alert.rule, ())
        if len(levels) > 1 and alert.severity != levels[-1]:
            yield ("level", alert.severity, alert.rule, series), PAST_ITS_END_SECONDS
        yield from _pair_bonds(self._by_source.get(alert.rule, ()), alert)

    def _bonds_as_target(self, alert: Alert, series: LabelPairs) -> Iterator[_Bond]:
        if alert.rule in NEVER_INHIBITED:
            return
        severity = alert.severity
        for worse in self._levels.get(alert.rule, ()):
            if worse == severity:
                break
            yield "level", worse, alert.rule, series
        for bond, _ in _pair_bonds(self._by_target.get(alert.rule, ()), alert):
            yield bond


def _pair_bonds(pairs: Iterable[tuple[int, Pair]], alert: Alert) -> Iterator[tuple[_Bond, float]]:
    labels: Mapping[str, str] | None = None
    for index, pair in pairs:
        labels = labels or dict(alert.labels)
        values = tuple(labels.get(name, "") for name in pair.equal)
        if any(values):  # alerts that have none of the labels have nothing in common
            yield ("pair", index, "", values), pair.past_seconds


def _until(alert: Alert, past_seconds: float) -> float:
    if alert.state is AlertState.FIRING:
        return math.inf
    return (alert.resolved_at or 0.0) + past_seconds
