"""Receivers made from their settings, and the identity of each."""

from __future__ import annotations

import hashlib

from exporter.alerting.receivers.alertmanager import Alertmanager
from exporter.alerting.receivers.apprise import INSTALL, Apprise, is_installed
from exporter.alerting.receivers.contract import Asserter, Receiver
from exporter.alerting.receivers.email import Email
from exporter.alerting.receivers.pagerduty import PagerDuty
from exporter.alerting.receivers.slack import Slack
from exporter.alerting.receivers.webhook import Webhook
from exporter.config.alerting import ReceiverSettings
from exporter.errors import ConfigError, Problem

_HASH_DIGITS = 10  # of the hash in an id: only receivers of one name must differ


def make(settings: ReceiverSettings) -> Receiver | Asserter:
    """Return the one receiver that the settings describe. It connects to nothing yet.

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
    return _apprise(id, settings)


def _apprise(id: str, settings: ReceiverSettings) -> Receiver:
    if settings.apprise is None:  # the configuration's checks refuse a receiver of no kind
        raise ValueError(f"the receiver {settings.name} is of no kind")
    if not is_installed():
        raise ConfigError([Problem("", None, f"alerting.receivers.{settings.name}.apprise", INSTALL)])
    return Apprise(id=id, name=settings.name, settings=settings.apprise)


def receiver_id(settings: ReceiverSettings) -> str:
    """Return a receiver's identity: its name, and a hash of what decides who hears it.

    Whoever changes that makes another receiver: what the old one heard is resolved there
    first. A token or password that is merely renewed changes nobody's mailbox, so it is not in.
    """
    kind, address = _address(settings)
    digest = hashlib.sha256("\0".join((kind, *address)).encode()).hexdigest()
    return f"{settings.name}-{digest[:_HASH_DIGITS]}"


def _address(settings: ReceiverSettings) -> tuple[str, tuple[str, ...]]:
    """Return the kind and where its messages end up."""
    if settings.slack is not None:
        return "slack", (settings.slack.url.reveal(),)
    if settings.pagerduty is not None:
        return "pagerduty", (settings.pagerduty.routing_key.reveal(),)
    if settings.webhook is not None:
        return "webhook", (settings.webhook.url.reveal(),)
    if settings.alertmanager is not None:
        return "alertmanager", tuple(sorted(settings.alertmanager.urls))
    if settings.email is not None:
        return "email", (settings.email.host, *sorted(settings.email.recipients))
    if settings.apprise is not None:
        return "apprise", (settings.apprise.url.reveal(),)
    return "", ()
