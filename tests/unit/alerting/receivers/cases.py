"""Notifications that every receiver must be able to tell, and the receivers themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from exporter.alerting.identity import fingerprint
from exporter.alerting.receivers.contract import Asserter, Receiver, Sending
from exporter.alerting.receivers.made import make
from exporter.alerting.words import (
    Alert,
    AlertState,
    Delivery,
    LabelPairs,
    Notification,
    NotificationKind,
)
from exporter.config.alerting import (
    AlertmanagerSettings,
    AppriseSettings,
    EmailSettings,
    PagerDutySettings,
    ReceiverSettings,
    SlackSettings,
    WebhookSettings,
)
from exporter.config.secret import Secret

NOW = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
EXTERNAL_URL = "https://watch.example"
KEY = "qdrantx-" + "5ca1ab1e" * 5

HOSTILE = {
    "mention": "<!channel> <@U123> @everyone",
    "markup": "*bold* _it_ `code` ```block``` <b>tag</b> &amp; [a](http://x)",
    "quotes": 'it\'s "quoted" \\ {braces} {{twice}}',
    "four_bytes": "𝔻𝕠𝕔𝕤 🔥🧨",
    "right_to_left": "مجموعة \u202egnp.exe",
    "newlines": "one\ntwo\r\nSubject: three\x00\x1b[31m",
    "long": "x" * 255,
    "long_four_bytes": "🔥" * 63,
}


def alert(
    *, collection: str = "docs", rule: str = "IndexingLag", severity: str = "warning", **changed: Any
) -> Alert:
    """Return an alert that has fired for ten minutes."""
    labels = labels_of(
        qdrant_cluster="prod", collection=collection, alertname=rule, severity=severity, team="search"
    )
    made = Alert(
        fingerprint=fingerprint(labels),
        rule=rule,
        labels=labels,
        state=AlertState.FIRING,
        active_since=NOW - 1_500,
        evaluated_at=NOW,
        fired_at=NOW - 600,
        value=12_345.0,
        limit=10_000.0,
        unit="points",
        annotations=(
            ("action", f'curl -sS -H "api-key: $QDRANT_API_KEY" http://q-0:6333/collections/{collection}'),
            ("description", "Searches over these points are slow until they are indexed."),
            ("summary", f"{collection}: 12,345 points not indexed (limit 10,000 points)"),
        ),
        runbook=rule,
        changes=("version 1.17.1 -> 1.18.3, 8 min before",),
        episode=1,
    )
    return replace(made, **changed)


def labels_of(**labels: str) -> LabelPairs:
    """Return labels as alerts have them."""
    return tuple(sorted(labels.items()))


def resolved(member: Alert, *, reason: str = "recovered") -> Alert:
    """Return an alert that ended a minute ago."""
    return replace(member, state=AlertState.RESOLVED, resolved_at=NOW - 60, end_reason=reason)


def notification(
    kind: NotificationKind = NotificationKind.TRIGGER,
    *,
    firing: tuple[Alert, ...] = (),
    ended: tuple[Alert, ...] = (),
    **changed: Any,
) -> Notification:
    """Return a notification of these alerts; the first twenty are told one by one."""
    first = (*firing, *ended)[0]
    made = Notification(
        receiver="ops-0123456789",
        key=KEY,
        kind=kind,
        group_labels=labels_of(qdrant_cluster="prod", alertname=first.rule),
        severity=first.severity,
        created_at=NOW - 5,
        episode=3,
        firing=firing[:20],
        firing_count=len(firing),
        resolved=ended[:20],
        resolved_count=len(ended),
    )
    return replace(made, **changed)


def sending(**changed: Any) -> Sending:
    """Return what a first attempt is told."""
    made = Sending(now=NOW, external_url=EXTERNAL_URL, idempotency_key="0190c1f0-0000-7000-8000-000000000001")
    return replace(made, **changed)


def notifications() -> Mapping[str, tuple[Notification, Sending]]:
    """Return every case by name."""
    many = tuple(alert(collection=f"tenant_{number:02}") for number in range(25))
    disk = alert(
        rule="DiskUsed", severity="critical", value=0.9132, limit=0.9, unit="ratio 0-1", flapping=True,
        undecided_since=NOW - 90,
    )  # fmt: skip
    cases = {
        "trigger": (notification(firing=(alert(),)), sending()),
        "critical": (notification(firing=(disk,)), sending(external_url="")),
        "update_25": (
            notification(NotificationKind.UPDATE, firing=many, ended=(resolved(alert()),)),
            sending(),
        ),
        "reminder": (notification(NotificationKind.REMINDER, firing=many[:2]), sending()),
        "resolve": (notification(NotificationKind.RESOLVE, ended=(resolved(alert()),)), sending()),
        "gone": (
            notification(
                NotificationKind.RESOLVE,
                ended=(
                    resolved(alert(), reason="the collection is gone"),
                    resolved(alert(collection="old"), reason="the rule was removed"),
                ),
            ),
            sending(),
        ),
        "drill": (notification(firing=(alert(),), drill=True), sending()),
        "late_repeat_unsaved": (
            notification(firing=(alert(),), created_at=NOW - 725),
            sending(attempt=3, maybe_repeat=True, unsaved=True),
        ),
    }
    hostile = {
        f"hostile_{name}": (notification(firing=(alert(collection=text),)), sending())
        for name, text in HOSTILE.items()
    }
    return cases | hostile


SLACK_SECRET = "/services/T00SECRET/B00SECRET/xoxsecretxoxsecret"
WEBHOOK_SECRET = "/hook/Zm9vYmFyYmF6cXV4?token=abcdef0123456789"
ROUTING_KEY = "R0UT1NGKEY0123456789abcdefABCDEF"
BEARER = "bearer-8f7e6d5c4b3a2918"
SIGNING = "signing-1a2b3c4d5e6f7a8b"
PASSWORD = "password-99887766aabb"
SECRETS = (SLACK_SECRET, WEBHOOK_SECRET, ROUTING_KEY, BEARER, SIGNING, PASSWORD)

HTTP_KINDS = ("slack", "pagerduty", "webhook", "alertmanager")


def receiver(kind: str, url: str, *, deadline_seconds: float = 5.0, port: int = 0) -> Receiver | Asserter:
    """Return a receiver of a kind whose service is at `url`, or for email at `port`.

    The settings are made without their checks: tests have shorter deadlines than people may write.
    """
    deadline = {"deadline_seconds": deadline_seconds}
    sections: dict[str, Any] = {
        "slack": lambda: SlackSettings.model_construct(url=Secret(url + SLACK_SECRET), **deadline),
        "webhook": lambda: WebhookSettings.model_construct(
            url=Secret(url + WEBHOOK_SECRET), bearer_token=Secret(BEARER), signing_secret=Secret(SIGNING),
            **deadline,
        ),
        "pagerduty": lambda: PagerDutySettings.model_construct(
            url=url, routing_key=Secret(ROUTING_KEY), **deadline
        ),
        "alertmanager": lambda: AlertmanagerSettings.model_construct(
            urls=(url,), username="us", password=Secret(PASSWORD), **deadline
        ),
        "email": lambda: EmailSettings.model_construct(
            host="127.0.0.1", port=port, tls="none", username="us", password=Secret(PASSWORD),
            sender="Qdrant watch <watch@example.org>", recipients=("ops@example.org", "dba@example.org"),
            **deadline,
        ),
        "apprise": lambda: AppriseSettings.model_construct(
            url=Secret(f"{url.replace('http', 'json', 1)}{SLACK_SECRET}"), **deadline
        ),
    }  # fmt: skip
    return make(ReceiverSettings.model_construct(name="ops", **{kind: sections[kind]()}))


async def attempt(
    told: Receiver | Asserter, what: Notification | None = None, how: Sending | None = None
) -> Delivery:
    """Tell a receiver of any kind one alert, and return what came of it."""
    what, how = what or notification(firing=(alert(),)), how or sending()
    if hasattr(told, "tell"):
        return await told.tell((*what.firing, *what.resolved), how)
    assert hasattr(told, "deliver")
    return await told.deliver(what, how)
