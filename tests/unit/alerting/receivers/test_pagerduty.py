"""PagerDuty's documented limits, its keys, and what its refusals mean."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from exporter.alerting.receivers.pagerduty import EVENT_BYTES, pagerduty_body
from exporter.alerting.words import NotificationKind, Outcome
from tests.unit.alerting.receivers.cases import (
    KEY,
    ROUTING_KEY,
    alert,
    attempt,
    notification,
    notifications,
    receiver,
    sending,
)
from tests.unit.alerting.receivers.services import Manner, Service

LONG = tuple(
    alert(
        collection=f"{number:02}" + "🔥" * 60,
        annotations=(("summary", "s" * 5_000), ("description", "🔥" * 50_000), ("action", "a" * 50_000)),
        changes=("🔥" * 9_000,) * 9,
    )
    for number in range(25)
)
CASES = {**notifications(), "long": (notification(firing=LONG, ended=LONG), sending())}

TOP_LEVEL = {"routing_key", "event_action", "dedup_key", "payload", "client", "client_url", "links"}
PAYLOAD = {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"}


@pytest.mark.parametrize("case", CASES)
def test_an_event_is_within_the_documented_limits(case: str) -> None:
    """Known keys only, summary 1,024, dedup_key 255, 512 KB, a severity that it knows, a source."""
    body = pagerduty_body(*CASES[case], routing_key=ROUTING_KEY)
    event = json.loads(body)

    assert len(body) <= EVENT_BYTES
    assert event.keys() <= TOP_LEVEL
    assert len(event["routing_key"]) == 32
    assert event["dedup_key"] == KEY
    assert len(event["dedup_key"]) <= 255
    if event["event_action"] == "trigger":
        payload = event["payload"]
        assert payload.keys() <= PAYLOAD
        assert 0 < len(payload["summary"]) <= 1_024
        assert payload["source"]
        assert payload["severity"] in {"critical", "error", "warning", "info"}
        assert isinstance(payload["custom_details"], dict)
        assert all(link["href"].startswith("https://") and link["text"] for link in event["links"])


def test_a_resolve_is_the_key_and_nothing_to_go_wrong() -> None:
    """PagerDuty needs no more, and no more can be refused."""
    event = json.loads(pagerduty_body(*CASES["resolve"], routing_key=ROUTING_KEY))

    assert event == {"routing_key": ROUTING_KEY, "dedup_key": KEY, "event_action": "resolve"}


@pytest.mark.parametrize(
    "kind", [NotificationKind.TRIGGER, NotificationKind.UPDATE, NotificationKind.REMINDER]
)
def test_all_that_fires_is_a_trigger_of_the_same_key(kind: NotificationKind) -> None:
    """An update of an open incident goes into its log, under the key of its trigger."""
    what = replace(CASES["trigger"][0], kind=kind)
    event = json.loads(pagerduty_body(what, sending(), routing_key=ROUTING_KEY))

    assert (event["event_action"], event["dedup_key"]) == ("trigger", KEY)


def test_the_details_name_the_first_twenty_and_count_all() -> None:
    """One incident a group, with its members inside."""
    event = json.loads(pagerduty_body(*CASES["update_25"], routing_key=ROUTING_KEY))
    details = event["payload"]["custom_details"]

    assert details["firing"] == 25
    assert len(details["alerts"]) == 20
    assert "tenant_00" in details["alerts"][0]
    assert details["first step"].startswith("curl ")


def test_too_long_details_go_before_the_event_does() -> None:
    """What happened and where is left of each."""
    event = json.loads(pagerduty_body(*CASES["long"], routing_key=ROUTING_KEY))

    assert len(event["payload"]["custom_details"]["alerts"]) == 20
    assert event["payload"]["custom_details"]["firing"] == 25


def test_a_level_of_the_users_own_is_an_error_there() -> None:
    """PagerDuty refuses levels that it does not know."""
    event = json.loads(
        pagerduty_body(notification(firing=(alert(severity="page"),)), sending(), routing_key=ROUTING_KEY)
    )

    assert event["payload"]["severity"] == "error"


async def test_it_posts_to_the_events_path_of_the_configured_host() -> None:
    """Accounts of other regions have another host and the same path."""
    async with Service(Manner(status=202, body=b'{"status":"success"}')) as service:
        told = receiver("pagerduty", service.url)
        delivery = await attempt(told)
        await told.close()

    assert (delivery.outcome, delivery.status) == (Outcome.DELIVERED, 202)
    assert service.posted[0].path == "/v2/enqueue"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"status":"invalid event","errors":["\'routing_key\' has wrong length"]}', Outcome.REFUSED),
        (b'{"status":"invalid key","message":"Invalid routing key"}', Outcome.REFUSED),
        (b'{"status":"invalid event","errors":["\'payload.summary\' is too long"]}', Outcome.REJECTED),
        (b"", Outcome.REJECTED),
    ],
)
async def test_a_refused_event_is_given_up_but_a_refused_key_breaks_the_receiver(
    body: bytes, outcome: Outcome
) -> None:
    """The body of a 400 says which; the reason repeats it."""
    async with Service(Manner(status=400, body=body)) as service:
        told = receiver("pagerduty", service.url)
        delivery = await attempt(told)
        await told.close()

    assert outcome is delivery.outcome
    assert delivery.reason.startswith("400")


async def test_a_limit_without_a_time_is_half_of_the_minute_that_it_is_over() -> None:
    """PagerDuty promises no Retry-After."""
    async with Service(Manner(status=429)) as service:
        told = receiver("pagerduty", service.url)
        delivery = await attempt(told)
        await told.close()

    assert (delivery.outcome, delivery.retry_after_seconds) == (Outcome.RETRY, 30.0)
