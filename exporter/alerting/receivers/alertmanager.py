"""Alertmanager's POST /api/v2/alerts: every member is told the whole state again and again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from exporter.alerting.grouping import ASSERT_RESOLVED_SECONDS
from exporter.alerting.receivers.answers import Answer, delivery_of
from exporter.alerting.receivers.contract import Sending
from exporter.alerting.receivers.posting import SECRET_PART_CHARACTERS, Poster
from exporter.alerting.receivers.wire import annotations_of, began_at, rfc3339, sendable_labels
from exporter.alerting.words import ALERTNAME, SEVERITY, Alert, AlertState, Delivery, Outcome
from exporter.config.addresses import authority_of
from exporter.config.alerting import AlertmanagerSettings

INTERVAL_SECONDS = 60.0  # Prometheus' own resend delay
# An alert that we stop to tell ends by itself after four rounds, as those of Prometheus do.
LIVES_SECONDS = 4 * INTERVAL_SECONDS
BATCH = 256  # as Prometheus sends at most in one request
# A bad alert makes the whole request fail, and its good alerts may be stored or not.
_ONE_IS_BAD = frozenset({400, 422})

# Best first: what to say of several requests as one.
_ORDER = (Outcome.DELIVERED, Outcome.RETRY, Outcome.UNKNOWN, Outcome.REFUSED, Outcome.REJECTED)

_ALERTS_PATH = "/api/v2/alerts"
NAMED_ALERTS = 3  # in one line of the log


class _Telling(NamedTuple):
    """An alert, and how it is told."""

    alert: Alert
    body: dict[str, Any]


class _Post(NamedTuple):
    """One request and what became of it."""

    batch: Sequence[_Telling]
    delivery: Delivery

    def fingerprints(self) -> Iterator[str]:
        return (telling.alert.fingerprint for telling in self.batch)


class _Told(NamedTuple):
    """What one member said."""

    member: str
    delivery: Delivery
    taken: frozenset[str]  # fingerprints
    rejected: frozenset[str]


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
        """Tell every member at once; without alerts, ask whether they take anything from us.

        Delivered when each alert was taken by a member, and `reason` names the members that did not
        take all. Rejected when what lacks was rejected by every member that judged it.
        """
        bodies = ((alert, alert_body(alert, sending)) for alert in alerts)
        told = [_Telling(alert, body) for alert, body in bodies if body is not None]
        needless = frozenset(alert.fingerprint for alert in alerts) - _fingerprints(told)
        if alerts and not told:
            return Delivery(Outcome.DELIVERED, taken=needless)
        members = await asyncio.gather(*(self._tell_member(url, told, sending) for url in self._urls))
        delivery = _joined(members, told)
        return replace(delivery, taken=delivery.taken | needless)

    async def close(self) -> None:
        """Let connections go."""
        await self._poster.close()

    async def _tell_member(self, url: str, told: list[_Telling], sending: Sending) -> _Told:
        """Tell one member all alerts, batch by batch, until it takes no more for now."""
        posts: list[_Post] = []
        for start in range(0, max(len(told), 1), BATCH):
            posts += await self._tell_batch(url, told[start : start + BATCH], sending)
            if posts[-1].delivery.outcome not in (Outcome.DELIVERED, Outcome.REJECTED):
                break
        return _of_member(authority_of(url), posts)

    async def _tell_batch(self, url: str, batch: Sequence[_Telling], sending: Sending) -> list[_Post]:
        """Post a batch; where it is rejected, each alert by itself, so that only the bad one is lost."""
        delivery = await self._post(url, batch, sending)
        if delivery.status not in _ONE_IS_BAD or len(batch) <= 1:
            return [_Post(batch, delivery)]
        posts: list[_Post] = []
        for telling in batch:
            posts.append(_Post([telling], await self._post(url, [telling], sending)))
            if posts[-1].delivery.outcome not in (Outcome.DELIVERED, Outcome.REJECTED):
                break
        return posts

    async def _post(self, url: str, batch: Sequence[_Telling], sending: Sending) -> Delivery:
        body = msgspec.json.encode([telling.body for telling in batch])
        answer = await self._poster.post(url + _ALERTS_PATH, body)
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
        if sending.now - alert.resolved_at > ASSERT_RESOLVED_SECONDS:
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


def _of_member(member: str, posts: Sequence[_Post]) -> _Told:
    """Return one member's answers as one: the trouble if any passes, else what most of them say."""
    by_outcome = {
        outcome: [post for post in posts if post.delivery.outcome is outcome] for outcome in Outcome
    }
    taken, rejected = (
        frozenset(each for post in by_outcome[outcome] for each in post.fingerprints())
        for outcome in (Outcome.DELIVERED, Outcome.REJECTED)
    )
    delivery = posts[-1].delivery
    if rejected and delivery.outcome in (Outcome.DELIVERED, Outcome.REJECTED):
        deliveries = [post.delivery for post in by_outcome[Outcome.REJECTED]]
        reason = Counter(each.reason for each in deliveries).most_common(1)[0][0]
        outcome = Outcome.DELIVERED if taken else Outcome.REJECTED
        delivery = Delivery(outcome, f"{len(rejected)} alerts not taken: {reason}", deliveries[0].status)
    return _Told(member, delivery, taken, rejected)


def _joined(members: Sequence[_Told], told: Sequence[_Telling]) -> Delivery:
    taken = frozenset(each for member in members for each in member.taken)
    lacking = [telling.alert for telling in told if telling.alert.fingerprint not in taken]
    rejected = frozenset(each for member in members for each in member.rejected)
    troubles = [f"{member.member}: {member.delivery.reason}" for member in members if member.delivery.reason]
    if lacking and rejected.issuperset(alert.fingerprint for alert in lacking):
        troubles = [f"not taken by any member: {_named(lacking)}", *troubles]
        status = next(member.delivery.status for member in members if member.rejected)
        return Delivery(Outcome.REJECTED, "; ".join(troubles), status, taken=taken)
    best = min((member.delivery for member in members), key=lambda each: _ORDER.index(each.outcome))
    outcome = Outcome.DELIVERED if told and not lacking else best.outcome
    waits = [each.delivery.retry_after_seconds or 0.0 for each in members]
    longest = max(waits) if any(waits) and outcome is Outcome.RETRY else None
    return Delivery(outcome, "; ".join(troubles), best.status, longest, taken)


def _named(alerts: Sequence[Alert]) -> str:
    """Name alerts for a line of the log, in so many words as a person looks for."""
    names = []
    for alert in alerts[:NAMED_ALERTS]:
        values = [value for name, value in alert.labels if name not in (ALERTNAME, SEVERITY)]
        names.append(f"{alert.rule} ({', '.join((*values, alert.severity))})")
    return ", ".join(names) + (f" and {len(alerts) - NAMED_ALERTS} more" if alerts[NAMED_ALERTS:] else "")


def _fingerprints(told: Sequence[_Telling]) -> frozenset[str]:
    return frozenset(telling.alert.fingerprint for telling in told)
