"""Alertmanager's POST /api/v2/alerts: every member is told the whole state again and again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from exporter.alerting.receivers.answers import Answer, delivery_of
from exporter.alerting.receivers.contract import Sending
from exporter.alerting.receivers.posting import SECRET_PART_CHARACTERS, Poster
from exporter.alerting.receivers.wire import annotations_of, began_at, rfc3339, sendable_labels
from exporter.alerting.words import Alert, AlertState, Delivery, Outcome
from exporter.config.addresses import authority_of
from exporter.config.alerting import AlertmanagerSettings

INTERVAL_SECONDS = 60.0  # Prometheus' own resend delay
# An alert that we stop to tell ends by itself after four rounds, as those of Prometheus do.
LIVES_SECONDS = 4 * INTERVAL_SECONDS
# Told again for so long, in case a member was down when it resolved; as Prometheus does.
RESOLVED_SECONDS = 15 * 60.0
BATCH = 256  # as Prometheus sends at most in one request
# A bad alert makes the whole request fail, and its good alerts may be stored or not.
_ONE_IS_BAD = frozenset({400, 422})

# Best first: what to say of several requests as one.
_ORDER = (Outcome.DELIVERED, Outcome.RETRY, Outcome.UNKNOWN, Outcome.REFUSED, Outcome.REJECTED)

_ALERTS_PATH = "/api/v2/alerts"


class _Told(NamedTuple):
    """What one member said."""

    member: str
    delivery: Delivery


class Alertmanager:
    """Every member of one Alertmanager cluster: they agree among themselves on what we tell each."""

    interval_seconds = INTERVAL_SECONDS

    def __init__(self, *, id: str, name: str, settings: AlertmanagerSettings) -> None:
        self.id = id
        self.name = name
        self._urls = settings.urls
        bearer = settings.bearer_token.reveal() if settings.bearer_token else None
        password = settings.password.reveal() if settings.password else ""
        long_headers = (value for value in settings.headers.values() if len(value) >= SECRET_PART_CHARACTERS)
        self._poster = Poster(
            deadline_seconds=settings.deadline_seconds,
            secrets=[*([bearer] if bearer else []), *long_headers],
            headers={**settings.headers, **({"Authorization": f"Bearer {bearer}"} if bearer else {})},
            auth=(settings.username or "", password) if settings.username or password else None,
        )

    async def tell(self, alerts: Sequence[Alert], sending: Sending) -> Delivery:
        """Tell every member at once. Delivered when one member took it; `reason` names those that did not."""
        told = [body for alert in alerts if (body := alert_body(alert, sending)) is not None]
        if not told:
            return Delivery(Outcome.DELIVERED)
        return _joined(await asyncio.gather(*(self._tell_member(url, told, sending) for url in self._urls)))

    async def close(self) -> None:
        """Let connections go."""
        await self._poster.close()

    async def _tell_member(self, url: str, told: list[dict[str, Any]], sending: Sending) -> _Told:
        """Tell one member all alerts, batch by batch, until it takes no more for now."""
        deliveries: list[Delivery] = []
        for start in range(0, len(told), BATCH):
            deliveries += await self._tell_batch(url, told[start : start + BATCH], sending)
            if deliveries[-1].outcome not in (Outcome.DELIVERED, Outcome.REJECTED):
                break
        return _Told(authority_of(url), _of_member(deliveries))

    async def _tell_batch(self, url: str, batch: list[dict[str, Any]], sending: Sending) -> list[Delivery]:
        """Post a batch; where it is rejected, each alert by itself, so that only the bad one is lost."""
        delivery = await self._post(url, batch, sending)
        if delivery.status not in _ONE_IS_BAD or len(batch) == 1:
            return [delivery]
        deliveries: list[Delivery] = []
        for body in batch:
            deliveries.append(await self._post(url, [body], sending))
            if deliveries[-1].outcome not in (Outcome.DELIVERED, Outcome.REJECTED):
                break
        return deliveries

    async def _post(self, url: str, batch: list[dict[str, Any]], sending: Sending) -> Delivery:
        answer = await self._poster.post(url + _ALERTS_PATH, msgspec.json.encode(batch))
        outcome = None
        if isinstance(answer, Answer) and answer.status in _ONE_IS_BAD:
            outcome = Outcome.REJECTED
        return delivery_of(answer, now=sending.now, shown=self._poster.shown, outcome=outcome)


def alert_body(alert: Alert, sending: Sending) -> dict[str, Any] | None:
    """Return an alert as Alertmanager takes it; None where it has nothing to be told of it.

    One that fires ends in the future, one that resolved in the past, never before it began.
    """
    labels = sendable_labels(alert)
    if not labels:
        return None
    if alert.state is AlertState.FIRING:
        ends_at = sending.now + LIVES_SECONDS
    elif alert.state is AlertState.RESOLVED and alert.resolved_at is not None:
        if sending.now - alert.resolved_at > RESOLVED_SECONDS:
            return None
        ends_at = max(alert.resolved_at, began_at(alert))
    else:
        return None
    body = {
        "labels": labels,
        "annotations": annotations_of(alert, sending.external_url),
        "startsAt": rfc3339(began_at(alert)),
        "endsAt": rfc3339(ends_at),
    }
    return body | ({"generatorURL": f"{sending.external_url}/"} if sending.external_url else {})


def _of_member(deliveries: list[Delivery]) -> Delivery:
    """Return one member's deliveries as one: the trouble if any passes, else what most of them say."""
    last = deliveries[-1]
    if last.outcome not in (Outcome.DELIVERED, Outcome.REJECTED):
        return last
    rejected = [delivery for delivery in deliveries if delivery.outcome is Outcome.REJECTED]
    if not rejected:
        return Delivery(Outcome.DELIVERED, status=last.status)
    reasons = Counter(delivery.reason for delivery in rejected)
    reason = f"{len(rejected)} alerts not taken: {reasons.most_common(1)[0][0]}"
    outcome = Outcome.DELIVERED if len(rejected) < len(deliveries) else Outcome.REJECTED
    return Delivery(outcome, reason, rejected[0].status)


def _joined(told: Sequence[_Told]) -> Delivery:
    best = min((member.delivery for member in told), key=lambda delivery: _ORDER.index(delivery.outcome))
    troubles = [f"{member}: {delivery.reason}" for member, delivery in told if delivery.reason]
    waits = [delivery.retry_after_seconds for _, delivery in told if delivery.retry_after_seconds is not None]
    longest = max(waits) if waits and best.outcome is Outcome.RETRY else None
    return Delivery(best.outcome, "; ".join(troubles), best.status, longest)
