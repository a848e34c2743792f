"""Where a receiver's messages end up: that, and not its name, says whether two are the same."""

from __future__ import annotations

from exporter.config.alerting import ReceiverSettings

Address = tuple[str, ...]  # the kind, and then what is of that kind only; holds secrets


def address_of(settings: ReceiverSettings) -> Address:
    """Return the kind of a receiver and where its messages end up.

    A token or password that is merely renewed changes nobody's mailbox, so it is not in.
    Raises ValueError for a receiver of no kind.
    """
    if settings.slack is not None:
        return "slack", settings.slack.url.reveal()
    if settings.pagerduty is not None:
        return "pagerduty", settings.pagerduty.routing_key.reveal()
    if settings.webhook is not None:
        return "webhook", settings.webhook.url.reveal()
    if settings.alertmanager is not None:
        return "alertmanager", *sorted(settings.alertmanager.urls)
    if settings.email is not None:
        return "email", settings.email.host, *sorted(settings.email.recipients)
    if settings.apprise is not None:
        return "apprise", settings.apprise.url.reveal()
    raise ValueError(f"the receiver {settings.name} is of no kind")  # the settings' own checks refuse it
