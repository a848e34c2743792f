"""Receivers from their settings, and when two are the same."""

from __future__ import annotations

import re
from typing import Any

import pytest

from exporter.alerting.receivers.alertmanager import Alertmanager
from exporter.alerting.receivers.made import make, receiver_id
from exporter.config.alerting import ReceiverSettings

URL = "https://hooks.example/services/T0/B0/"
KEY = "0123456789abcdef0123456789abcdef"
SETTINGS: dict[str, dict[str, Any]] = {
    "slack": {"url": f"{URL}x"},
    "pagerduty": {"routing_key": KEY},
    "webhook": {"url": f"{URL}x"},
    "alertmanager": {"urls": ["http://am-0:9093", "http://am-1:9093"]},
    "email": {"host": "mail.example", "from": "w@example.org", "to": ["o@example.org"]},
    "apprise": {"url": "json://127.0.0.1/x"},
}


def settings(kind: str, name: str = "ops", **more: Any) -> ReceiverSettings:
    """Return the settings of a receiver as they are written, some of them changed."""
    return ReceiverSettings.model_validate({"name": name, kind: {**SETTINGS[kind], **more}})


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_kind_can_be_made(kind: str) -> None:
    """By name, with an id that begins with its kind and tells nothing of a secret."""
    made = make(settings(kind))

    assert made.name == "ops"
    assert made.id == receiver_id(settings(kind))
    assert re.fullmatch(f"{kind}-[0-9a-f]{{16}}", made.id)
    assert isinstance(made, Alertmanager) is hasattr(made, "tell") is (kind == "alertmanager")


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("slack", {"url": f"{URL}y"}),
        ("pagerduty", {"routing_key": KEY[::-1]}),
        ("webhook", {"url": f"{URL}y"}),
        ("alertmanager", {"urls": ["http://am-2:9093"]}),
        ("email", {"to": ["p@example.org"]}),
        ("apprise", {"url": "json://127.0.0.1/y"}),
    ],
)
def test_another_address_is_another_receiver(kind: str, more: dict[str, Any]) -> None:
    """What the old one heard must be resolved where it was heard."""
    assert receiver_id(settings(kind)) != receiver_id(settings(kind, **more))


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("slack", {"deadline": "20s"}),
        ("webhook", {"bearer_token": "another"}),
        ("webhook", {"signing_secret": "another"}),
        ("alertmanager", {"urls": ["http://am-1:9093", "http://am-0:9093"]}),
        ("email", {"username": "u", "password": "another"}),
    ],
)
def test_a_renewed_password_or_another_deadline_is_the_same_receiver(kind: str, more: dict[str, Any]) -> None:
    """Nobody else hears it, so nobody is told twice."""
    assert receiver_id(settings(kind)) == receiver_id(settings(kind, **more))


@pytest.mark.parametrize("kind", SETTINGS)
def test_another_name_is_the_same_receiver(kind: str) -> None:
    """What it heard goes on: else an end and a beginning would meet there under one key."""
    assert receiver_id(settings(kind)) == receiver_id(settings(kind, "pager"))


def test_a_webhook_and_a_slack_hook_of_one_url_are_two() -> None:
    """They tell the same place in different words."""
    assert receiver_id(settings("slack")) != receiver_id(settings("webhook"))
