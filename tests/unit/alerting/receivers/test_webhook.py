"""The webhook's body beside a real Alertmanager's, and its headers."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.alerting.receivers.webhook import Webhook, webhook_body
from exporter.alerting.words import Outcome
from exporter.config.alerting import WebhookSettings
from exporter.config.secret import Secret
from tests.unit.alerting.receivers.cases import (
    BEARER,
    SIGNING,
    alert,
    attempt,
    labels_of,
    notification,
    notifications,
    receiver,
    resolved,
    sending,
)
from tests.unit.alerting.receivers.services import Service

SEEN = json.loads((Path(__file__).parent / "alertmanager_0_25_webhook.json").read_text(encoding="utf-8"))
CASES = notifications()


@pytest.mark.parametrize("case", CASES)
def test_the_body_has_the_keys_of_alertmanagers_and_one_of_ours(case: str) -> None:
    """Whatever reads Alertmanager's webhook reads ours; all labels and annotations are text."""
    body = webhook_body(*CASES[case], receiver="ops")

    assert {*SEEN["message"], "qdrantx"} == body.keys()
    for told in body["alerts"]:
        assert set(SEEN["alert"]) == told.keys()
        assert all(isinstance(text, str) for text in (told["labels"] | told["annotations"]).values())
    assert body["version"] == "4"


def test_the_small_things_are_as_alertmanager_writes_them() -> None:
    """No end is Go's zero time, and the receiver's name is quoted as for a regular expression."""
    labels = tuple(sorted(SEEN["labels"].items()))
    member = replace(alert(severity="critical"), labels=labels, fingerprint=SEEN["fingerprint"])
    what = replace(notification(firing=(member,)), group_labels=labels_of(alertname="A"), severity="critical")
    body = webhook_body(what, sending(), receiver="team.x")

    assert SEEN["receiver named team.x"] == body["receiver"]
    assert SEEN["endsAt of a firing alert"] == body["alerts"][0]["endsAt"]
    assert SEEN["groupKey"] == body["groupKey"]
    assert SEEN["labels"] == body["alerts"][0]["labels"] == body["commonLabels"]


def test_what_resolved_beside_what_fires_says_so_itself() -> None:
    """The message fires while anything does; common is what both have."""
    what = notification(firing=(alert(),), ended=(resolved(alert(collection="old")),))
    body = webhook_body(what, sending(), receiver="ops")

    assert body["status"] == "firing"
    assert [told["status"] for told in body["alerts"]] == ["firing", "resolved"]
    assert body["alerts"][1]["endsAt"] == "2027-01-15T07:59:00.000Z"
    assert "collection" not in body["commonLabels"]
    assert body["commonLabels"]["qdrant_cluster"] == "prod"


def test_groups_that_differ_in_level_alone_have_different_keys() -> None:
    """Receivers open and close by `groupKey`, and our groups are by level always."""
    keys = {
        webhook_body(notification(firing=(alert(severity=level),)), sending(), receiver="ops")["groupKey"]
        for level in ("critical", "warning")
    }

    assert len(keys) == 2


def test_what_is_not_told_one_by_one_is_counted() -> None:
    """Twenty are told; `truncatedAlerts` has the rest."""
    body = webhook_body(*CASES["update_25"], receiver="ops")

    assert (len(body["alerts"]), body["truncatedAlerts"]) == (21, 5)
    assert (body["qdrantx"]["firing"], body["qdrantx"]["resolved"]) == (25, 1)


def test_a_drill_shows_as_one_to_consumers_that_know_nothing_of_ours() -> None:
    """In the summary, where a person reads it."""
    body = webhook_body(*CASES["drill"], receiver="ops")

    assert body["alerts"][0]["annotations"]["summary"].startswith("DRILL")
    assert body["qdrantx"]["drill"] is True


async def test_each_attempt_says_which_it_is_and_is_signed() -> None:
    """The same Idempotency-Key for each; the signature is over the timestamp, a dot and the body."""
    async with Service() as service:
        told = receiver("webhook", service.url)
        for number in (1, 2):
            delivery = await attempt(told, how=sending(attempt=number))
            assert Outcome.DELIVERED is delivery.outcome
        await told.close()

    first, second = service.posted
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert (first.headers["qdrantx-attempt"], second.headers["qdrantx-attempt"]) == ("1", "2")
    assert f"Bearer {BEARER}" == first.headers["authorization"]
    signed = first.headers["qdrantx-timestamp"].encode() + b"." + first.body
    expected = hmac.new(SIGNING.encode(), signed, hashlib.sha256).hexdigest()
    assert f"sha256={expected}" == first.headers["qdrantx-signature"]


def test_an_endpoint_drops_repeats_only_where_the_configuration_says_so() -> None:
    """Most know no Idempotency-Key, and one that acts twice pages twice."""
    unsaid = WebhookSettings(url=Secret("https://bot.example.com"))
    said = WebhookSettings(url=Secret("https://bot.example.com"), idempotent=True)

    one, other = (Webhook(id="bot-1", name="bot", settings=each) for each in (unsaid, said))

    assert (one.drops_repeats, other.drops_repeats) == (False, True)
