"""PagerDuty by its Events API v2: one incident a group and level, opened and closed by the same key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from exporter.alerting.messages import Line, Message, message, place, plain_line
from exporter.alerting.receivers.answers import TOO_MANY, Answer, delivery_of
from exporter.alerting.receivers.contract import Sending
from exporter.alerting.receivers.posting import Poster
from exporter.alerting.receivers.wire import began_at, rfc3339
from exporter.alerting.spoken import clipped, one_line
from exporter.alerting.words import SEVERITIES, Alert, Delivery, Notification, NotificationKind, Outcome
from exporter.config.alerting import PagerDutySettings
from exporter.model import CLUSTER_LABEL

# Limits of https://developer.pagerduty.com/docs/send-alert-event
SUMMARY_CHARACTERS = 1_024
EVENT_BYTES = 512_000  # documented: 512 KB
SEVERITY_OF_OTHERS = "error"  # a level of the user's own making: it pages, and cries no wolf

# No limit is documented for these. A line of a rule's action may be long; a name has 255 bytes.
LINE_CHARACTERS = 8_000
SHORT_CHARACTERS = 400
NAME_CHARACTERS = 255

# It promises no Retry-After; its limit is over a sliding minute, so half of one is soon enough.
WAIT_AFTER_429_SECONDS = 30.0
RESOLVE_LIVES_SECONDS = 7 * 86_400.0  # an incident that nobody closes stays open until a person does

_EVENTS_PATH = "/v2/enqueue"


class PagerDuty:
    """One integration key. A trigger of a key that is open only adds to its log."""

    drops_repeats = True
    wants_reminders = False
    resolve_lives_seconds = RESOLVE_LIVES_SECONDS

    def __init__(self, *, id: str, name: str, settings: PagerDutySettings) -> None:
        self.id = id
        self.name = name
        self._routing_key = settings.routing_key
        self._url = settings.url + _EVENTS_PATH
        secret = settings.routing_key.reveal()
        self._poster = Poster(deadline_seconds=settings.deadline_seconds, secrets=[secret])

    async def deliver(self, notification: Notification, sending: Sending) -> Delivery:
        """Send one event. It is taken, not yet processed, when PagerDuty says 202."""
        body = pagerduty_body(notification, sending, routing_key=self._routing_key.reveal())
        answer = await self._poster.post(self._url, body)
        if not isinstance(answer, Answer):
            return delivery_of(answer, now=sending.now, shown=self._poster.shown)
        if answer.status == TOO_MANY and not answer.retry_after:
            answer = answer._replace(retry_after=f"{WAIT_AFTER_429_SECONDS:.0f}")
        refused = answer.status == 400 and _is_about_the_key(answer)
        return delivery_of(
            answer, now=sending.now, shown=self._poster.shown, outcome=Outcome.REFUSED if refused else None
        )

    async def close(self) -> None:
        """Let connections go."""
        await self._poster.close()


def _is_about_the_key(answer: Answer) -> bool:
    words = answer.body.lower()
    return b"routing_key" in words or b"routing key" in words


def pagerduty_body(notification: Notification, sending: Sending, *, routing_key: str) -> bytes:
    """Return the event as JSON, within PagerDuty's size: details go before the event does."""
    event: dict[str, Any] = {"routing_key": routing_key, "dedup_key": notification.key}
    if notification.kind is NotificationKind.RESOLVE:
        return msgspec.json.encode(event | {"event_action": "resolve"})
    said = message(notification, replace(sending, maybe_repeat=False))  # it drops repeats by their key
    event |= {"event_action": "trigger", "client": "qdrant-exporter", "payload": _payload(notification, said)}
    if said.home_url:
        event["client_url"] = said.home_url
    event["links"] = _links(said)
    for details in (_details(notification, said), _short_details(notification, said)):
        event["payload"]["custom_details"] = details
        body = msgspec.json.encode(event)
        if len(body) <= EVENT_BYTES:
            return body
    event["payload"]["custom_details"] = {"note": "the details are too long for PagerDuty"}
    return msgspec.json.encode(event)


def _payload(notification: Notification, said: Message) -> dict[str, Any]:
    firing = notification.firing
    severity = notification.severity if notification.severity in SEVERITIES else SEVERITY_OF_OTHERS
    cluster = _only(firing, CLUSTER_LABEL)
    peer, collection = _only(firing, "peer"), _only(firing, "collection")
    payload: dict[str, Any] = {
        "summary": clipped(said.title, SUMMARY_CHARACTERS),
        "source": clipped(peer or cluster or "qdrant-exporter", NAME_CHARACTERS),
        "severity": severity,
        "timestamp": rfc3339(min(map(began_at, firing), default=notification.created_at)),
    }
    named = (("component", collection), ("group", cluster), ("class", _only(firing, "alertname")))
    return payload | {name: clipped(value, NAME_CHARACTERS) for name, value in named if value}


def _only(alerts: tuple[Alert, ...], name: str) -> str:
    """Return the value of a label that all the alerts have in common; "" where there is none."""
    values = {alert.label(name) for alert in alerts}
    return one_line(values.pop()) if len(values) == 1 else ""


def _links(said: Message) -> list[dict[str, str]]:
    """Return each runbook once, then our own page."""
    books = {line.runbook_url: f"runbook {line.runbook}" for line in said.firing if line.runbook_url}
    links = [{"href": url, "text": text} for url, text in books.items()]
    return links + ([{"href": said.home_url, "text": "what is known now"}] if said.home_url else [])


def _details(notification: Notification, said: Message) -> dict[str, Any]:
    first_step = next((line.action for line in said.firing if line.action), "")
    return {
        **({"first step": clipped(first_step, LINE_CHARACTERS)} if first_step else {}),
        **_counts(notification, said),
        "alerts": [clipped(plain_line(line), LINE_CHARACTERS) for line in said.firing],
        **({"ended": [_short(line) for line in said.resolved]} if said.resolved else {}),
    }


def _short_details(notification: Notification, said: Message) -> dict[str, Any]:
    return {**_counts(notification, said), "alerts": [_short(line) for line in said.firing]}


def _counts(notification: Notification, said: Message) -> dict[str, Any]:
    notes = {"notes": "; ".join(said.notes)} if said.notes else {}
    where = clipped(place(notification.group_labels), SHORT_CHARACTERS)
    return {
        **notes,
        **({"group": where} if where else {}),
        "firing": max(notification.firing_count, len(said.firing)),
    }


def _short(line: Line) -> str:
    return clipped(line.brief, SHORT_CHARACTERS)
