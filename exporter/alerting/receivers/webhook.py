"""Any HTTP endpoint, told as Alertmanager's webhook version 4 would; what more we know is in `qdrantx`."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from exporter.alerting.messages import DRILL, Message, message
from exporter.alerting.receivers.answers import delivery_of
from exporter.alerting.receivers.contract import Sending
from exporter.alerting.receivers.posting import JSON_HEADERS, Poster, secrets_of_url
from exporter.alerting.receivers.wire import (
    ZERO_TIME,
    annotations_of,
    began_at,
    rfc3339,
    sendable_labels,
)
from exporter.alerting.words import SEVERITY, Alert, AlertState, Delivery, Notification
from exporter.config.alerting import WebhookSettings
from exporter.model import CLUSTER_LABEL

VERSION = "4"
# A chat's resolve is worth little the day after, but a program may keep an incident open for it.
RESOLVE_LIVES_SECONDS = 7 * 86_400.0

# What Go's regexp.QuoteMeta escapes. Alertmanager writes the receiver's name so quoted.
_QUOTED = re.compile(r"([\\.+*?()|\[\]{}^$])")


class Webhook:
    """One endpoint. It may know a repeat by its `Idempotency-Key`, the same for every attempt."""

    wants_reminders = True
    resolve_lives_seconds = RESOLVE_LIVES_SECONDS

    def __init__(self, *, id: str, name: str, settings: WebhookSettings) -> None:
        self.id = id
        self.name = name
        self.drops_repeats = settings.idempotent
        self._url = settings.url.reveal()
        self._signing_secret = settings.signing_secret
        bearer = settings.bearer_token.reveal() if settings.bearer_token else None
        password = settings.password.reveal() if settings.password else ""
        signing = [settings.signing_secret.reveal()] if settings.signing_secret else []
        self._poster = Poster(
            deadline_seconds=settings.deadline_seconds,
            secrets=[*secrets_of_url(self._url), *([bearer] if bearer else []), *signing],
            headers={"Authorization": f"Bearer {bearer}"} if bearer else {},
            auth=(settings.username or "", password) if settings.username or password else None,
        )

    async def deliver(self, notification: Notification, sending: Sending) -> Delivery:
        """Send once; any 2xx means that it was taken."""
        body = msgspec.json.encode(webhook_body(notification, sending, receiver=self.name))
        answer = await self._poster.post(self._url, body, headers=self._headers(body, sending))
        return delivery_of(answer, now=sending.now, shown=self._poster.shown)

    async def close(self) -> None:
        """Let connections go."""
        await self._poster.close()

    def _headers(self, body: bytes, sending: Sending) -> Mapping[str, str]:
        timestamp = str(int(sending.now))
        headers = {**JSON_HEADERS, "Qdrantx-Attempt": str(sending.attempt), "Qdrantx-Timestamp": timestamp}
        if sending.idempotency_key:
            headers["Idempotency-Key"] = sending.idempotency_key
        if self._signing_secret is not None:
            secret = self._signing_secret.reveal().encode()
            digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            headers["Qdrantx-Signature"] = f"sha256={digest}"
        return headers


def webhook_body(notification: Notification, sending: Sending, *, receiver: str) -> dict[str, Any]:
    """Return the body: Alertmanager's keys, and `qdrantx` with what has no place in them."""
    said = message(notification, sending)
    alerts = [
        _alert(alert, sending, drill=notification.drill)
        for alert in (*notification.firing, *notification.resolved)
    ]
    group = _group_labels(notification)
    counted = notification.firing_count + notification.resolved_count
    return {
        "receiver": _QUOTED.sub(r"\\\1", receiver),
        "status": "firing" if notification.firing else "resolved",
        "alerts": alerts,
        "groupLabels": group,
        "commonLabels": _common(alert["labels"] for alert in alerts),
        "commonAnnotations": _common(alert["annotations"] for alert in alerts),
        "externalURL": sending.external_url,
        "version": VERSION,
        "groupKey": _group_key(group),
        "truncatedAlerts": max(0, counted - len(alerts)),
        "qdrantx": _ours(notification, sending, said),
    }


def _alert(alert: Alert, sending: Sending, *, drill: bool) -> dict[str, Any]:
    ended = alert.resolved_at if alert.state is AlertState.RESOLVED else None
    annotations = annotations_of(alert, sending.external_url)
    if drill:  # for consumers that read no key of ours
        annotations["summary"] = f"{DRILL}. {annotations.get('summary', '')}".rstrip()
    return {
        "status": "firing" if alert.state is not AlertState.RESOLVED else "resolved",
        "labels": sendable_labels(alert),
        "annotations": annotations,
        "startsAt": rfc3339(began_at(alert)),
        "endsAt": ZERO_TIME if ended is None else rfc3339(ended),
        "generatorURL": f"{sending.external_url}/" if sending.external_url else "",
        "fingerprint": alert.fingerprint,
    }


def _ours(notification: Notification, sending: Sending, said: Message) -> dict[str, Any]:
    told = (*notification.firing, *notification.resolved)
    return {
        "key": notification.key,
        "kind": notification.kind,
        "severity": notification.severity,
        "episode": notification.episode,
        "createdAt": rfc3339(notification.created_at),
        "attempt": sending.attempt,
        "maybeRepeat": sending.maybe_repeat,
        "drill": notification.drill,
        "firing": notification.firing_count,
        "resolved": notification.resolved_count,
        "title": said.title,
        "notes": said.notes,
        "alerts": {alert.fingerprint: _of_alert(alert) for alert in told},
    }


def _of_alert(alert: Alert) -> dict[str, Any]:
    return {
        "value": alert.value,
        "limit": alert.limit,
        "unit": alert.unit,
        "changes": alert.changes,
        "endReason": alert.end_reason,
        "flapping": alert.flapping,
        "undecided": alert.undecided_since is not None,
    }


def _group_labels(notification: Notification) -> dict[str, str]:
    """Return what the alerts have in common by grouping: the level always, and the cluster.

    Receivers tell groups apart by `groupKey`, so nothing that ours depends on may be missing.
    """
    labels = dict(notification.group_labels)
    told = notification.firing or notification.resolved
    cluster = told[0].label(CLUSTER_LABEL) if told else ""
    if cluster:
        labels.setdefault(CLUSTER_LABEL, cluster)
    labels.setdefault(SEVERITY, notification.severity)
    return dict(sorted(labels.items()))


def _group_key(labels: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{name}={_go_quoted(value)}" for name, value in labels.items())
    return f"{{}}:{{{pairs}}}"


def _go_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _common(sets: Any) -> dict[str, str]:
    """Return the pairs that every one of the dictionaries has."""
    every = [set(pairs.items()) for pairs in sets]
    return dict(sorted(set.intersection(*every))) if every else {}
