"""Apprise: what it is given, and what is said where it is not installed."""

from __future__ import annotations

import json
import sys

import pytest

from exporter.alerting.messages import message
from exporter.alerting.receivers.apprise import texts
from exporter.alerting.spoken import units
from exporter.alerting.words import Outcome
from exporter.errors import ConfigError
from tests.unit.alerting.receivers.cases import alert as made
from tests.unit.alerting.receivers.cases import attempt, notification, notifications, receiver
from tests.unit.alerting.receivers.services import Manner, Service

CASES = notifications()


async def test_title_body_and_kind_arrive() -> None:
    """By apprise's own JSON service."""
    async with Service() as service:
        delivery = await attempt(receiver("apprise", service.url))

    assert Outcome.DELIVERED is delivery.outcome
    said = json.loads(service.posted[0].body)
    assert said["title"] == "[WARNING] IndexingLag: docs: 12,345 points not indexed (limit 10,000 points)"
    assert "first step: curl" in said["message"]
    assert said["type"] == "warning"


async def test_a_url_that_no_plugin_knows_breaks_the_receiver() -> None:
    """A person must correct it."""
    delivery = await attempt(receiver("apprise", "nosuchthing://x"))

    assert Outcome.REFUSED is delivery.outcome


async def test_while_an_attempt_hangs_the_next_is_not_begun() -> None:
    """Nothing can stop the library, so threads would pile up; what was not begun is tried again freely."""
    async with Service(Manner(hangs=True)) as service:
        one = receiver("apprise", service.url, deadline_seconds=0.2)
        first, second = await attempt(one), await attempt(one)

    assert (first.outcome, second.outcome) == (Outcome.UNKNOWN, Outcome.RETRY)
    assert "still hang" in second.reason
    assert len(service.posted) == 1


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """At load, not at the first page."""
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(ConfigError, match=r"pip install 'qdrant-exporter\[apprise\]'"):
        receiver("apprise", "http://127.0.0.1:1")


@pytest.mark.parametrize("limit", [0, 140, 1_000, 4_096])
@pytest.mark.parametrize("case", CASES)
def test_both_texts_fit_what_the_service_takes(case: str, limit: int) -> None:
    """An SMS too, with the title first."""
    title, body = texts(message(*CASES[case]), body_limit=limit)

    assert units(title) + units(body) <= (limit or 30_000)
    assert title.startswith("[")


def test_no_name_calls_everybody() -> None:
    """Apprise escapes no mentions, so those of the common chats are taken apart."""
    named = made(collection="@everyone @here <!channel> <@U1> @ALL")
    title, body = texts(message(*(notification(firing=(named,)), CASES["trigger"][1])), body_limit=0)

    for mention in ("@everyone", "@here", "<!", "<@", "@ALL"):
        assert mention not in title + body
