"""`alerts`: what fires, what is about to, and what ended, as the daemon last stored it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.alert_verbs.stored_state import is_in_use, opened
from exporter.alerting import stored
from exporter.alerting.messages import place
from exporter.alerting.receivers.wire import rfc3339
from exporter.alerting.silencing import active, silenced_by
from exporter.alerting.spoken import duration, moment, value_with_limit
from exporter.alerting.words import Alert, Ended, Silence
from exporter.clock import Clock
from exporter.duty.status import alerts_document, worst_first
from exporter.printable import printable

SEVERITY_STYLES = {"critical": "bold red", "error": "red", "warning": "yellow", "info": "cyan"}


class Output(StrEnum):
    """How the result is shown."""

    TABLE = "table"
    JSON = "json"


def show_alerts(directory: Path, output: Output, console: Console, *, clock: Clock, history: int) -> None:
    """Show firing and pending alerts, and the newest `history` that ended. Raises StateError."""
    with opened(directory, clock=clock) as store:
        alerts, ended = stored.alerts(store), stored.history(store, limit=history) if history else ()
        held_back = _held_back(alerts, stored.silences(store), clock.now())
        evaluated_at = store.evaluated_at()
    if output is Output.JSON:
        document = alerts_document(alerts, held_back)
        if history:
            document["data"]["history"] = [_ended(one) for one in ended]
        console.out(json.dumps(document, indent=2), highlight=False)
        return
    _show_in_force(worst_first(alerts), held_back, console, now=clock.now())
    if history:
        _show_history(ended, console)
    if not is_in_use(directory):
        as_of = "never" if evaluated_at is None else moment(evaluated_at)
        console.print(Text(f"No daemon runs on {directory}; rules were last evaluated: {as_of}", "yellow"))


def _held_back(alerts: Iterable[Alert], silences: Sequence[Silence], now: float) -> dict[str, str]:
    in_force = active(silences, now)
    by = {alert.fingerprint: silenced_by(dict(alert.labels), in_force) for alert in alerts}
    return {fingerprint: f"silenced by {id[:8]}" for fingerprint, id in by.items() if id is not None}


def _show_in_force(
    alerts: Sequence[Alert], held_back: Mapping[str, str], console: Console, *, now: float
) -> None:
    if not alerts:
        console.print("Nothing fires, and nothing is about to.")
        return
    table = Table("state", "severity", "alert", "where", "value", "for", "note")
    for alert in alerts:
        table.add_row(
            Text(alert.state.value),
            Text(alert.severity, SEVERITY_STYLES.get(alert.severity, "")),
            Text(alert.rule),
            Text(place(alert.labels)),
            Text(value_with_limit(alert.value, alert.limit, alert.unit)),
            Text(duration(max(0.0, now - alert.active_since))),
            Text(", ".join(_notes(alert, held_back.get(alert.fingerprint, "")))),
        )
    console.print(table)


def _notes(alert: Alert, held_back: str) -> list[str]:
    notes = [held_back] if held_back else []
    notes += ["flapping"] if alert.flapping else []
    notes += ["cannot be decided now"] if alert.undecided_since is not None else []
    return notes


def _show_history(ended: Sequence[Ended], console: Console) -> None:
    if not ended:
        console.print("No alert has ended yet.")
        return
    table = Table("ended", "alert", "where", "fired for", "why")
    for one in ended:
        table.add_row(
            Text(moment(one.resolved_at)),
            Text(one.rule),
            Text(place(one.labels)),
            Text(duration(max(0.0, one.resolved_at - one.fired_at))),
            Text(printable(one.reason)),
        )
    console.print(table)


def _ended(one: Ended) -> dict[str, Any]:
    return {
        "labels": dict(one.labels),
        "fingerprint": one.fingerprint,
        "firedAt": rfc3339(one.fired_at),
        "resolvedAt": rfc3339(one.resolved_at),
        "reason": one.reason,
        "value": one.value,
    }
