"""Receivers made from their settings, and the identity of each."""

from __future__ import annotations

import hashlib

from exporter.alerting.receivers.alertmanager import Alertmanager
from exporter.alerting.receivers.apprise import INSTALL, Apprise, is_installed
from exporter.alerting.receivers.contract import Receiver
from exporter.alerting.receivers.email import Email
from exporter.alerting.receivers.pagerduty import PagerDuty
from exporter.alerting.receivers.slack import Slack
from exporter.alerting.receivers.webhook import Webhook
from exporter.config.alerting import ReceiverSettings
from exporter.config.receiver_address import address_of
from exporter.errors import ConfigError, Problem

_HASH_DIGITS = 16  # of the hash in an id: receivers of one kind must differ


def make(settings: ReceiverSettings) -> Receiver | Alertmanager:
    """Return the one receiver that the settings describe. It connects to nothing yet.

    Alertmanager is the one that is told the whole state again and again; all others are told news.
    Raises ConfigError where the receiver needs a package that is not installed.
    """
    name, id = settings.name, receiver_id(settings)
    if settings.slack is not None:
        return Slack(id=id, name=name, settings=settings.slack)
    if settings.pagerduty is not None:
        return PagerDuty(id=id, name=name, settings=settings.pagerduty)
    if settings.webhook is not None:
        return Webhook(id=id, name=name, settings=settings.webhook)
    if settings.alertmanager is not None:
        return Alertmanager(id=id, name=name, settings=settings.alertmanager)
    if settings.email is not None:
        return Email(id=id, name=name, settings=settings.email)
    assert settings.apprise is not None  # `receiver_id` refuses a receiver of no kind
    if not is_installed():
        raise ConfigError([Problem("", None, f"alerting.receivers.{name}.apprise", INSTALL)])
    return Apprise(id=id, name=name, settings=settings.apprise)


def receiver_id(settings: ReceiverSettings) -> str:
    """Return a receiver's identity: its kind, and a hash of where its messages end up.

    Another address is another receiver: what the old one heard is resolved there first. Another
    name is the same one: what it heard goes on. Were a renamed one another, the old one's resolve
    and the new one's trigger would go to one place under one key, in no order, and the resolve
    that comes last closes an incident that goes on.
    """
    kind, *place = address_of(settings)
    digest = hashlib.sha256("\0".join((kind, *place)).encode()).hexdigest()
    return f"{kind}-{digest[:_HASH_DIGITS]}"
