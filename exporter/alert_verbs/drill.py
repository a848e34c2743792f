"""`alerts test`: a drill through one receiver, from its beginning to its end, with nobody's alert in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from exporter.alerting.identity import fingerprint, group_key
from exporter.alerting.receivers.alertmanager import Alertmanager
from exporter.alerting.receivers.contract import Receiver, Sending
from exporter.alerting.receivers.made import make
from exporter.alerting.words import (
    ALERTNAME,
    SEVERITY,
    Alert,
    AlertState,
    Delivery,
    LabelPairs,
    Notification,
    NotificationKind,
    Outcome,
)
from exporter.clock import Clock
from exporter.config.alerting import ReceiverSettings
from exporter.config.quantities import format_duration
from exporter.config.settings import Settings
from exporter.errors import ConfigError, Problem
from exporter.model import CLUSTER_LABEL

EXIT_GOOD = 0
EXIT_FAILED = 1

DRILL_RULE = "Drill"
SUMMARY = "Drill: nothing is wrong, this only shows that alerts arrive here"

Say = Callable[[str], None]


async def drill(
    settings: Settings, name: str, *, severity: str, hold_seconds: float, say: Say, clock: Clock
) -> int:
    """Send a trigger and then its resolve, each once; say what the service answered, return the exit code.

    Raises ConfigError where no receiver has this name.
    """
    receiver = make(_chosen(settings, name))
    alert = _alert(settings, severity, clock.now())
    external_url = settings.web.external_url or ""
    try:
        began = await _tell(receiver, alert, clock.now(), external_url)
        say(f"{name}: the drill begins: {in_words(began)}")
        if began.outcome not in (Outcome.DELIVERED, Outcome.UNKNOWN):
            return EXIT_FAILED
        if hold_seconds:
            say(f"{name}: held for {format_duration(hold_seconds)}")
            await asyncio.sleep(hold_seconds)
        over = replace(
            alert,
            state=AlertState.RESOLVED,
            resolved_at=clock.now(),
            evaluated_at=clock.now(),
            end_reason="the drill is over",
        )
        ended = await _tell(receiver, over, clock.now(), external_url)
        say(f"{name}: the drill ends: {in_words(ended)}")
    finally:
        await receiver.close()
    if isinstance(receiver, Alertmanager) and not hold_seconds:
        say("Alertmanager tells nobody of what ends within its group_wait; give --hold 1m for that")
    both = (began.outcome, ended.outcome)
    return EXIT_GOOD if both == (Outcome.DELIVERED, Outcome.DELIVERED) else EXIT_FAILED


def in_words(delivery: Delivery) -> str:
    """Return what became of an attempt, for a person: "delivered (200)"."""
    what = {
        Outcome.DELIVERED: "delivered",
        Outcome.UNKNOWN: "no answer came in time, it may have arrived",
        Outcome.RETRY: "not taken now; a daemon would try again",
        Outcome.REJECTED: "refused: this message would never be taken",
        Outcome.REFUSED: "refused: the receiver takes nothing from us; look at its key and address",
    }[delivery.outcome]
    status = f" ({delivery.status})" if delivery.status is not None else ""
    return f"{what}{status}" + (f": {delivery.reason}" if delivery.reason else "")


def _chosen(settings: Settings, name: str) -> ReceiverSettings:
    receivers = {receiver.name: receiver for receiver in settings.alerting.receivers}
    if name in receivers:
        return receivers[name]
    known = f"known are: {', '.join(receivers)}" if receivers else "none is configured"
    raise ConfigError([Problem("", None, "RECEIVER", f"there is no receiver {name}; {known}")])


def _alert(settings: Settings, severity: str, now: float) -> Alert:
    labels = (
        (ALERTNAME, DRILL_RULE),
        ("drill", "true"),
        (CLUSTER_LABEL, settings.clusters[0].name),
        (SEVERITY, severity),
    )
    return Alert(
        fingerprint=fingerprint(labels),
        rule=DRILL_RULE,
        labels=labels,
        state=AlertState.FIRING,
        active_since=now,
        evaluated_at=now,
        fired_at=now,
        annotations=(("summary", SUMMARY), ("description", "Sent by `qdrant-exporter alerts test`.")),
        episode=1,
    )


async def _tell(receiver: Receiver | Alertmanager, alert: Alert, now: float, external_url: str) -> Delivery:
    sending = Sending(now=now, external_url=external_url, idempotency_key=str(uuid4()))
    if isinstance(receiver, Alertmanager):
        return await receiver.tell([alert], sending)
    return await receiver.deliver(_notification(receiver, alert, now), sending)


def _notification(receiver: Receiver, alert: Alert, now: float) -> Notification:
    group: LabelPairs = tuple(
        (name, value) for name, value in alert.labels if name in (ALERTNAME, CLUSTER_LABEL)
    )
    fires = alert.state is AlertState.FIRING
    return Notification(
        receiver=receiver.id,
        key=group_key((*group, ("drill", "true")), alert.severity),
        kind=NotificationKind.TRIGGER if fires else NotificationKind.RESOLVE,
        group_labels=group,
        severity=alert.severity,
        created_at=now,
        episode=1,
        firing=(alert,) if fires else (),
        firing_count=int(fires),
        resolved=() if fires else (alert,),
        resolved_count=int(not fires),
        drill=True,
    )
