"""The settings of alerting: whom to tell, about what, and when not.

A bound or a default has its reason beside it. What concerns several keys is in `checks.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from exporter.config.fields import AnyPath, Count, ExternalUrl, Seconds, Section, Text, within
from exporter.config.quantities import format_duration
from exporter.config.secret import Secret

_DAY = 86_400.0

_Deadline = Annotated[
    Seconds, within(1, 60, show=format_duration, reason="a receiver that takes longer is retried instead")
]


class WebhookSettings(Section):
    """Any HTTP endpoint, told in the shape of Alertmanager's webhook, version 4."""

    url: Secret  # a secret whole: many carry a token in the path
    bearer_token: Secret | None = None
    username: Text | None = None
    password: Secret | None = None
    signing_secret: Secret | None = None  # HMAC-SHA256 over "timestamp.body"
    deadline_seconds: _Deadline = Field(
        default=10.0, validation_alias="deadline", serialization_alias="deadline"
    )


class SlackSettings(Section):
    """A Slack incoming webhook."""

    url: Secret
    deadline_seconds: _Deadline = Field(
        default=10.0, validation_alias="deadline", serialization_alias="deadline"
    )


class PagerDutySettings(Section):
    """PagerDuty's Events API v2."""

    routing_key: Secret
    url: ExternalUrl = "https://events.pagerduty.com"  # accounts in the EU have another host
    deadline_seconds: _Deadline = Field(
        default=10.0, validation_alias="deadline", serialization_alias="deadline"
    )


class AlertmanagerSettings(Section):
    """Every member of one Alertmanager cluster, never through a balancer."""

    urls: tuple[ExternalUrl, ...]
    bearer_token: Secret | None = None
    username: Text | None = None
    password: Secret | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    deadline_seconds: _Deadline = Field(
        default=10.0, validation_alias="deadline", serialization_alias="deadline"
    )


class EmailSettings(Section):
    """Mail over SMTP."""

    host: Text
    port: Annotated[Count, within(1, 65_535, reason="it is a TCP port")] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: Text | None = None
    password: Secret | None = None
    sender: Text = Field(validation_alias="from", serialization_alias="from")
    recipients: tuple[Text, ...] = Field(validation_alias="to", serialization_alias="to")
    deadline_seconds: _Deadline = Field(
        default=30.0, validation_alias="deadline", serialization_alias="deadline"
    )


class AppriseSettings(Section):
    """Everything else, by an apprise URL. Needs the extra `apprise`."""

    url: Secret
    deadline_seconds: _Deadline = Field(
        default=30.0, validation_alias="deadline", serialization_alias="deadline"
    )


class ReceiverSettings(Section):
    """One place that people read: a name and exactly one kind."""

    name: Text
    slack: SlackSettings | None = None
    pagerduty: PagerDutySettings | None = None
    webhook: WebhookSettings | None = None
    alertmanager: AlertmanagerSettings | None = None
    email: EmailSettings | None = None
    apprise: AppriseSettings | None = None


class RouteSettings(Section):
    """One node of the routing tree. What it leaves out it has from the node above."""

    receiver: Text | None = None
    match: tuple[Text, ...] = ()  # 'severity="critical"', 'collection=~"tmp_.*"', as in Alertmanager
    continue_: bool = Field(default=False, validation_alias="continue", serialization_alias="continue")
    group_by: tuple[Text, ...] | None = None  # root: [qdrant_cluster, alertname]; ["..."]: every label
    group_wait_seconds: Seconds | None = Field(
        default=None, validation_alias="group_wait", serialization_alias="group_wait"
    )  # root: none, which means 0s for critical and 30s for the rest
    group_interval_seconds: Seconds | None = Field(
        default=None, validation_alias="group_interval", serialization_alias="group_interval"
    )  # root: 5m
    repeat_interval_seconds: Seconds | None = Field(
        default=None, validation_alias="repeat_interval", serialization_alias="repeat_interval"
    )  # root: 4h
    mute: tuple[Text, ...] = ()  # names of mute_times
    routes: tuple[RouteSettings, ...] = ()


class ClockRange(Section):
    """From one time of day to another, "22:00" to "24:00"; over midnight takes two."""

    start: Text
    end: Text


class TimeWindow(Section):
    """A part of the calendar; every key that is written must fit. Fields as in Alertmanager."""

    times: tuple[ClockRange, ...] = ()
    weekdays: tuple[Text, ...] = ()  # "monday", "saturday:sunday"
    days_of_month: tuple[Text, ...] = ()  # "1", "-1", "1:7"
    months: tuple[Text, ...] = ()  # "december", "6:8"
    years: tuple[Text, ...] = ()
    location: Text = "UTC"  # an IANA time zone


class MuteTimeSettings(Section):
    """Named windows in which a route tells nothing new."""

    name: Text
    windows: tuple[TimeWindow, ...]


class InhibitSettings(Section):
    """While `source` fires, alerts of `target` with the same `equal` labels tell nothing new."""

    source: Text
    target: Text
    equal: tuple[Text, ...]


class LevelOverride(Section):
    """What is changed of one level of a rule."""

    threshold: float | None = None
    clear: float | None = None
    for_seconds: Seconds | None = Field(default=None, validation_alias="for", serialization_alias="for")


class RuleOverride(Section):
    """What is changed of one rule, by its name."""

    enabled: bool = True
    levels: dict[str, LevelOverride] = Field(default_factory=dict)
    keep_firing_for_seconds: Seconds | None = Field(
        default=None, validation_alias="keep_firing_for", serialization_alias="keep_firing_for"
    )
    labels: dict[str, str] = Field(default_factory=dict)


class HeartbeatSettings(Section):
    """A dead man's switch: called while all is well with us; whoever listens pages when it stops."""

    url: Secret
    method: Literal["GET", "POST"] = "GET"
    interval_seconds: Annotated[
        Seconds, within(15, 3_600, show=format_duration, reason="services take five pings a minute at most")
    ] = Field(default=60.0, validation_alias="interval", serialization_alias="interval")


class AlertingSettings(Section):
    """Alerting is on where there is a receiver."""

    preset: Literal["default", "guide"] = "default"
    rule_files: tuple[AnyPath, ...] = ()  # beside the shipped pack; a rule of the same name replaces its
    rules: dict[str, RuleOverride] = Field(default_factory=dict)
    receivers: tuple[ReceiverSettings, ...] = ()
    route: RouteSettings | None = None  # None: everything to the only receiver
    mute_times: tuple[MuteTimeSettings, ...] = ()
    inhibit: tuple[InhibitSettings, ...] = ()  # beside the pack's own
    heartbeat: HeartbeatSettings | None = None

    @property
    def enabled(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.receivers)

    def secrets(self) -> tuple[Secret, ...]:
        """Every secret, for the log to know what it must never show."""
        found: list[Secret] = []
        for receiver in self.receivers:
            for name in ("slack", "pagerduty", "webhook", "alertmanager", "email", "apprise"):
                found += _secrets_of(getattr(receiver, name))
        if self.heartbeat is not None:
            found.append(self.heartbeat.url)
        return tuple(found)


def _secrets_of(section: Section | None) -> list[Secret]:
    values: list[Any] = (
        [] if section is None else [getattr(section, name) for name in type(section).model_fields]
    )
    return [value for value in values if isinstance(value, Secret)]
