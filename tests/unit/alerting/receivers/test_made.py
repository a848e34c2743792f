"""Receivers from their settings, and when two are the same."""

from __future__ import annotations

from typing import Any

import pytest

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
    """By name, with an id that begins with it and tells nothing of a secret."""
    made = make(settings(kind))

    assert made.name == "ops"
    assert made.id == receiver_id(settings(kind))
    assert made.id.startswith("ops-")
    assert len(made.id) == len("ops-") + 10
    assert (kind == "alertmanager") is hasattr(made, "tell")


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


def test_ids_of_one_address_differ_by_name_and_kind() -> None:
    """Two receivers of one channel are two; so are a webhook and a Slack hook of one URL."""
    ids = {
        receiver_id(settings("slack")),
        receiver_id(settings("webhook")),
        receiver_id(settings("slack", "b")),
    }

    assert len(ids) == 3
