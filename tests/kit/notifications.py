"""Alerts, groups and notifications, made short."""

from __future__ import annotations

from exporter.alerting.words import (
    Alert,
    AlertState,
    Changes,
    Group,
    LabelPairs,
    Notification,
    NotificationKind,
)

NOW = 1_800_000_000.0  # where tests/kit/clock.py begins
TRIGGER, UPDATE = NotificationKind.TRIGGER, NotificationKind.UPDATE
REMINDER, RESOLVE = NotificationKind.REMINDER, NotificationKind.RESOLVE

CRITICAL: LabelPairs = (("alertname", "PeerDown"), ("qdrant_cluster", "shop"), ("severity", "critical"))


def alert(number: int = 1, *, firing: bool = True, fired_at: float = NOW) -> Alert:
    """Return one of as many alerts as there are numbers."""
    return Alert(
        fingerprint=f"{number:016x}",
        rule="PeerDown",
        labels=(*CRITICAL[:1], ("peer", f"10.0.0.{number}:6333"), *CRITICAL[1:]),
        state=AlertState.FIRING if firing else AlertState.RESOLVED,
        active_since=fired_at,
        evaluated_at=fired_at,
        fired_at=fired_at,
        resolved_at=None if firing else fired_at + 60.0,
        episode=1,
    )


def notification(
    kind: NotificationKind,
    *,
    receiver: str = "hook-1",
    key: str = "k",
    at: float = NOW,
    episode: int = 1,
    severity: str = "critical",
    firing: tuple[Alert, ...] | None = None,
    resolved: tuple[Alert, ...] = (),
) -> Notification:
    """Return what a receiver is told of a group; one alert fires where it is not a resolve."""
    if firing is None:
        firing = () if kind is RESOLVE else (alert(),)
    if kind is RESOLVE and not resolved:
        resolved = (alert(firing=False),)
    return Notification(
        receiver=receiver,
        key=key,
        kind=kind,
        group_labels=(("alertname", "PeerDown"), ("qdrant_cluster", "shop")),
        severity=severity,
        created_at=at,
        episode=episode,
        firing=firing,
        firing_count=len(firing),
        resolved=resolved,
        resolved_count=len(resolved),
    )


def group(
    *heard: Alert, receiver: str = "hook-1", key: str = "k", severity: str = "critical", episode: int = 1
) -> Group:
    """Return a group of which these alerts were told."""
    return Group(
        receiver=receiver,
        key=key,
        labels=(("alertname", "PeerDown"), ("qdrant_cluster", "shop")),
        severity=severity,
        heard=tuple(alert.fingerprint for alert in heard),
        notified_at=NOW,
        episode=episode,
    )


def fires(*, receiver: str = "hook-1", key: str = "k", at: float = NOW, episode: int = 1) -> Changes:
    """Return the step in which an alert begins to fire and a receiver is told."""
    told = notification(TRIGGER, receiver=receiver, key=key, at=at, episode=episode)
    heard = group(alert(), receiver=receiver, key=key, episode=episode)
    return Changes(at, alerts=(alert(),), groups=(heard,), notifications=(told,))


def resolves(*, receiver: str = "hook-1", key: str = "k", at: float = NOW, episode: int = 1) -> Changes:
    """Return the step in which it is over and the receiver is told."""
    told = notification(RESOLVE, receiver=receiver, key=key, at=at, episode=episode)
    left = group(receiver=receiver, key=key, episode=episode)
    return Changes(at, alerts=(alert(firing=False),), groups=(left,), notifications=(told,))
