"""`alerts test`: a drill through a real receiver, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from exporter.alert_verbs.drill import drill
from exporter.clock import SystemClock
from exporter.config.alerting import (
    AlertingSettings,
    AlertmanagerSettings,
    ReceiverSettings,
    SlackSettings,
    WebhookSettings,
)
from exporter.config.clusters import ClusterSettings
from exporter.config.secret import Secret
from exporter.config.settings import Settings
from exporter.errors import ConfigError
from tests.unit.alerting.receivers.services import Manner, Service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service that takes everything."""
    async with Service() as service:
        yield service


def settings_of(receiver: ReceiverSettings) -> Settings:
    """Settings with one receiver."""
    return Settings(
        clusters=(ClusterSettings(name="prod"),), alerting=AlertingSettings(receivers=(receiver,))
    )


def webhook_to(service: Service) -> Settings:
    """Settings with a webhook to this service."""
    url = Secret(f"{service.url}/s3cret")
    return settings_of(ReceiverSettings(name="bot", webhook=WebhookSettings(url=url)))


async def drilled(
    settings: Settings, name: str = "bot", *, hold_seconds: float = 0.0
) -> tuple[int, list[str]]:
    """Run a drill and return exit code and what it said."""
    said: list[str] = []
    code = await drill(
        settings, name, severity="critical", hold_seconds=hold_seconds, say=said.append, clock=SystemClock()
    )
    return code, said


async def test_a_drill_begins_and_ends_and_is_labelled_as_one(service: Service) -> None:
    """Trigger and resolve of one key; a person sees that nothing is wrong."""
    code, said = await drilled(webhook_to(service))

    began, ended = (json.loads(posted.body) for posted in service.posted)
    assert (began["status"], ended["status"]) == ("firing", "resolved")
    assert began["groupKey"] == ended["groupKey"]
    labels = began["alerts"][0]["labels"]
    assert labels == {"alertname": "Drill", "drill": "true", "qdrant_cluster": "prod", "severity": "critical"}
    assert "nothing is wrong" in json.dumps(began)
    assert said == ["bot: the drill begins: delivered (200)", "bot: the drill ends: delivered (200)"]
    assert code == 0


async def test_slack_is_told_in_its_own_shape(service: Service) -> None:
    """The same way as every alert goes."""
    url = Secret(f"{service.url}/hook")
    settings = settings_of(ReceiverSettings(name="ops", slack=SlackSettings(url=url)))

    code, _ = await drilled(settings, "ops")

    assert code == 0
    assert [posted.path for posted in service.posted] == ["/hook", "/hook"]
    assert "DRILL" in json.loads(service.posted[0].body)["text"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "not taken now; a daemon would try again (500)"),
        (400, "refused: this message would never be taken (400)"),
        (404, "refused: the receiver takes nothing from us; look at its key and address (404)"),
    ],
)
async def test_a_service_that_says_no_fails_the_drill_with_its_answer(
    service: Service, status: int, words: str
) -> None:
    """It is not told that something ended which it never took; no secret is in what is said."""
    service.manner = Manner(status=status, body=b"no such hook")

    code, said = await drilled(webhook_to(service))

    assert code == 1
    assert len(service.posted) == 1
    assert said[0].startswith(f"bot: the drill begins: {words}")
    assert "s3cret" not in said[0]


async def test_alertmanager_gets_the_alert_and_its_end_and_the_word_of_its_group_wait(
    service: Service,
) -> None:
    """It tells nobody of what ends that soon."""
    settings = settings_of(
        ReceiverSettings(name="am", alertmanager=AlertmanagerSettings(urls=(service.url,)))
    )

    code, said = await drilled(settings, "am")

    began, ended = (json.loads(posted.body)[0] for posted in service.posted)
    assert code == 0
    assert began["labels"]["alertname"] == "Drill"
    assert began["endsAt"] > ended["endsAt"]
    assert "give --hold 1m" in said[-1]


async def test_a_drill_may_be_held(service: Service) -> None:
    """Long enough for whoever waits for company."""
    code, said = await drilled(webhook_to(service), hold_seconds=0.01)

    assert code == 0
    assert said[1] == "bot: held for 10ms"


async def test_an_unknown_receiver_is_refused_with_those_there_are(service: Service) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match="RECEIVER: there is no receiver bto; known are: bot"):
        await drilled(webhook_to(service), "bto")

    assert service.posted == []
