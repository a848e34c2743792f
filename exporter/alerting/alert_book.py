"""Every alert that is known, by its fingerprint and by the series it is about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from exporter.alerting.lifecycle import is_active
from exporter.alerting.words import Alert, AlertState, LabelPairs


class AlertBook:
    """Alerts and the labels of their series. Each level of a rule has its own."""

    def __init__(self) -> None:
        self._alerts: dict[str, Alert] = {}
        self._series: dict[str, LabelPairs] = {}
        self._firing: dict[str, None] = {}  # in the order in which they began
        self._found: dict[tuple[str, str], dict[LabelPairs, str]] = defaultdict(dict)

    def find(self, rule: str, severity: str, series: LabelPairs) -> Alert | None:
        """Return the alert of a rule's level on a series."""
        of_level = self._found.get((rule, severity))
        fingerprint = of_level.get(series) if of_level else None
        return None if fingerprint is None else self._alerts[fingerprint]

    def get(self, fingerprint: str) -> Alert | None:
        """Return an alert."""
        return self._alerts.get(fingerprint)

    def series(self, fingerprint: str) -> LabelPairs:
        """Return the labels of its series, as findings have them."""
        return self._series[fingerprint]

    def put(self, alert: Alert, series: LabelPairs) -> None:
        """Keep an alert, in place of the one before. A new one is found by its series."""
        fingerprint = alert.fingerprint
        if fingerprint not in self._alerts:
            self._found[alert.rule, alert.severity].setdefault(series, fingerprint)
        self._alerts[fingerprint] = alert
        self._series[fingerprint] = series
        if alert.state is AlertState.FIRING:
            self._firing.setdefault(fingerprint)
        else:
            self._firing.pop(fingerprint, None)

    def bind(self, fingerprint: str) -> None:
        """Let an alert, and no other, be found by its series."""
        alert = self._alerts[fingerprint]
        self._found[alert.rule, alert.severity][self._series[fingerprint]] = fingerprint

    def unbind(self, fingerprint: str) -> None:
        """Let an alert not be found by its series: the rule gives the series other labels now."""
        alert = self._alerts[fingerprint]
        of_level = self._found[alert.rule, alert.severity]
        if of_level.get(self._series[fingerprint]) == fingerprint:
            del of_level[self._series[fingerprint]]

    def drop(self, fingerprint: str) -> None:
        """Forget an alert."""
        self.unbind(fingerprint)
        del self._alerts[fingerprint]
        del self._series[fingerprint]
        self._firing.pop(fingerprint, None)

    def alerts(self) -> tuple[Alert, ...]:
        """Return all of them."""
        return tuple(self._alerts.values())

    def firing(self) -> Iterator[Alert]:
        """Yield those that fire, the first to begin first."""
        return (self._alerts[fingerprint] for fingerprint in self._firing)

    def fires(self, fingerprint: str) -> bool:
        """Whether it is known and fires."""
        return fingerprint in self._firing

    def active_series(self) -> dict[str, list[LabelPairs]]:
        """Return the series with a pending or firing alert, by rule, each once."""
        found: dict[str, dict[LabelPairs, None]] = defaultdict(dict)
        for fingerprint, alert in self._alerts.items():
            if is_active(alert):
                found[alert.rule].setdefault(self._series[fingerprint])
        return {rule: list(series) for rule, series in found.items()}
