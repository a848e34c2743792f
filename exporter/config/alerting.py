"""The settings of alerting: whom to tell, about what, and when not.

A bound or a default has its reason beside it. What concerns several sections is in `alerting_checks.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from exporter.config.alerting_fields import (
    AppriseUrl,
    Clock,
    DaysOfMonth,
    HeaderName,
    HeaderValue,
    LabelName,
    Location,
    MailAddress,
    MailHost,
    MatcherText,
    Months,
    ReceiverName,
    RoutingKey,
    RuleLabelName,
    RuleName,
    SecretUrl,
    Severity,
    Weekdays,
    Years,
    at_least_one,
)
from exporter.config.fields import Count, ExistingFile, ExternalUrl, Number, Seconds, Section, Text, within
from exporter.config.matchers import checked_label_name
from exporter.config.quantities import format_duration
from exporter.config.secret import Secret
from exporter.config.time_windows import parse_clock

_DAY = 86_400.0
EVERY_LABEL = "..."  # group_by: a group for every alert

RECEIVER_KINDS = ("slack", "pagerduty", "webhook", "alertmanager", "email", "apprise")

_Deadline = Annotated[
    Seconds, within(1, 60, show=format_duration, reason="a receiver that takes longer is retried instead")
]
_Hold = Annotated[
    Seconds, within(0, 7 * _DAY, show=format_duration, reason="what lasts a week is no news any more")
]


class _Authenticated(Section):
    """A bearer token, or a user with a password, or neither."""

    bearer_token: Secret | None = None
    username: Text | None = None
    password: Secret | None = None

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together: write both or neither")
        if self.bearer_token is not None and self.password is not None:
            raise ValueError("bearer_token and password are both written; one is sent, remove the other")
        return self


class WebhookSettings(_Authenticated):
    """Any HTTP endpoint, told in the shape of Alertmanager's webhook, version 4.

    `idempotent` says that it drops a message whose Idempotency-Key it knows. Then one that got no answer
    is sent until there is an answer, and its resolve may be sent twice. Else it is sent four times
    within 13 minutes, and says that it may be a repeat: most endpoints would page somebody each time.
    """

    url: SecretUrl  # a secret whole: many carry a token in the path
    idempotent: bool = False
    signing_secret: Secret | None = None  # HMAC-SHA256 over "timestamp.body"
    deadline_seconds: _Deadline = Field(
        default=10.0, validation_alias="deadline", serialization_alias="deadline"
    )


class SlackSettings(Section):
    """A Slack incoming webhook."""

    url: SecretUrl
    deadline_seconds: _Deadline = Field(
        default=10.0, validation_alias="deadline", serialization_alias="deadline"
    )


class PagerDutySettings(Section):
    """PagerDuty's Events API v2."""

    routing_key: RoutingKey
    url: ExternalUrl = "https://events.pagerduty.com"  # accounts in the EU have another host
    deadline_seconds: _Deadline = Field(
        default=10.0, validation_alias="deadline", serialization_alias="deadline"
    )


class AlertmanagerSettings(_Authenticated):
    """Every member of one Alertmanager cluster, never through a balancer."""

    urls: Annotated[tuple[ExternalUrl, ...], at_least_one("the URL of a member")]
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    deadline_seconds: _Deadline = Field(
        default=10.0, validation_alias="deadline", serialization_alias="deadline"
    )


class EmailSettings(Section):
    """Mail over SMTP."""

    host: MailHost
    port: Annotated[Count, within(1, 65_535, reason="it is a TCP port")] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: Text | None = None
    password: Secret | None = None
    sender: MailAddress = Field(validation_alias="from", serialization_alias="from")
    recipients: Annotated[tuple[MailAddress, ...], at_least_one("a mail address")] = Field(
        validation_alias="to", serialization_alias="to"
    )
    deadline_seconds: _Deadline = Field(
        default=30.0, validation_alias="deadline", serialization_alias="deadline"
    )

    @model_validator(mode="after")
    def _user_with_password(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together: write both or neither")
        return self


class AppriseSettings(Section):
    """Everything else, by an apprise URL. Needs the extra `apprise`."""

    url: AppriseUrl
    deadline_seconds: _Deadline = Field(
        default=30.0, validation_alias="deadline", serialization_alias="deadline"
    )


class ReceiverSettings(Section):
    """One place that people read: a name and exactly one kind."""

    name: ReceiverName
    slack: SlackSettings | None = None
    pagerduty: PagerDutySettings | None = None
    webhook: WebhookSettings | None = None
    alertmanager: AlertmanagerSettings | None = None
    email: EmailSettings | None = None
    apprise: AppriseSettings | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in RECEIVER_KINDS if getattr(self, kind) is not None]
        if not kinds:
            raise ValueError(f"the receiver has no kind; write one of {', '.join(RECEIVER_KINDS)}")
        if len(kinds) > 1:
            raise ValueError(
                f"a receiver has one kind and this one has {' and '.join(kinds)}; make a receiver of each"
            )
        return self


def _possible_grouping(labels: tuple[str, ...]) -> tuple[str, ...]:
    if EVERY_LABEL in labels and len(labels) > 1:
        raise ValueError(f'"{EVERY_LABEL}" means every label; write it alone')
    for label in labels:
        if label != EVERY_LABEL:
            checked_label_name(label)
    return labels


class RouteSettings(Section):
    """One node of the routing tree. What it leaves out it has from the node above."""

    receiver: Text | None = None
    match: tuple[MatcherText, ...] = ()  # 'severity="critical"', 'collection=~"tmp_.*"', as in Alertmanager
    continue_: bool = Field(default=False, validation_alias="continue", serialization_alias="continue")
    # root: [qdrant_cluster, alertname]; ["..."]: every label
    group_by: Annotated[tuple[Text, ...], AfterValidator(_possible_grouping)] | None = None
    # root: none, which means 0s for critical and 30s for the rest
    group_wait_seconds: (
        Annotated[
            Seconds,
            within(0, 3_600, show=format_duration, reason="who is told an hour later is told too late"),
        ]
        | None
    ) = Field(default=None, validation_alias="group_wait", serialization_alias="group_wait")
    # root: 5m
    group_interval_seconds: (
        Annotated[
            Seconds, within(1, _DAY, show=format_duration, reason="it is the pause between two updates")
        ]
        | None
    ) = Field(default=None, validation_alias="group_interval", serialization_alias="group_interval")
    # root: 4h
    repeat_interval_seconds: (
        Annotated[
            Seconds,
            within(1, 30 * _DAY, show=format_duration, reason="what is not said again in a month is lost"),
        ]
        | None
    ) = Field(default=None, validation_alias="repeat_interval", serialization_alias="repeat_interval")
    mute: tuple[Text, ...] = ()  # names of mute_times
    routes: tuple[RouteSettings, ...] = ()


class ClockRange(Section):
    """From one time of day to another, "22:00" to "24:00"; over midnight takes two."""

    start: Clock
    end: Clock

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if parse_clock(self.start) >= parse_clock(self.end):
            raise ValueError(
                "the end is not after the start; over midnight write two: to 24:00, and from 00:00"
            )
        return self


class TimeWindow(Section):
    """A part of the calendar; every key that is written must fit. Fields as in Alertmanager."""

    times: tuple[ClockRange, ...] = ()
    weekdays: tuple[Weekdays, ...] = ()  # "monday", "saturday:sunday"
    days_of_month: tuple[DaysOfMonth, ...] = ()  # "1", "-1", "1:7"
    months: tuple[Months, ...] = ()  # "december", "6:8"
    years: tuple[Years, ...] = ()
    location: Location = "UTC"  # an IANA time zone

    @model_validator(mode="after")
    def _not_always(self) -> Self:
        if not (self.times or self.weekdays or self.days_of_month or self.months or self.years):
            raise ValueError("the window never ends; write times, weekdays, days_of_month, months or years")
        return self


class MuteTimeSettings(Section):
    """Named windows in which a route tells nothing new."""

    name: Text
    windows: Annotated[tuple[TimeWindow, ...], at_least_one("a window")]


class InhibitSettings(Section):
    """While `source` fires, alerts of `target` with the same `equal` labels tell nothing new."""

    source: RuleName
    target: RuleName
    equal: Annotated[tuple[LabelName, ...], at_least_one("a label that both have, qdrant_cluster at least")]
    # A cause ends before its consequences do; a target that looks back over ten minutes needs them too.
    past_seconds: Annotated[
        Seconds, within(0, 3_300, show=format_duration, reason="an alert that ended is known for an hour")
    ] = Field(default=300.0, validation_alias="past", serialization_alias="past")


class LevelOverride(Section):
    """What is changed of one level of a rule."""

    threshold: Number | None = None
    clear: Number | None = None
    for_seconds: _Hold | None = Field(default=None, validation_alias="for", serialization_alias="for")


class RuleOverride(Section):
    """What is changed of one rule, by its name."""

    enabled: bool = True
    levels: dict[Severity, LevelOverride] = Field(default_factory=dict)
    keep_firing_for_seconds: _Hold | None = Field(
        default=None, validation_alias="keep_firing_for", serialization_alias="keep_firing_for"
    )
    labels: dict[RuleLabelName, str] = Field(default_factory=dict)


class HeartbeatSettings(Section):
    """A dead man's switch: called while all is well with us; whoever listens pages when it stops."""

    url: SecretUrl
    method: Literal["GET", "POST"] = "GET"
    interval_seconds: Annotated[
        Seconds, within(15, 3_600, show=format_duration, reason="services take five pings a minute at most")
    ] = Field(default=60.0, validation_alias="interval", serialization_alias="interval")


class AlertingSettings(Section):
    """Alerting is on where there is a receiver."""

    preset: Literal["default", "guide"] = "default"
    rule_files: tuple[ExistingFile, ...] = ()  # beside the shipped pack; the same name replaces its rule
    rules: dict[RuleName, RuleOverride] = Field(default_factory=dict)
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
            for kind in RECEIVER_KINDS:
                found += _secrets_of(getattr(receiver, kind))
        if self.heartbeat is not None:
            found.append(self.heartbeat.url)
        return tuple(found)


def _secrets_of(section: Section | None) -> list[Secret]:
    values: list[Any] = (
        [] if section is None else [getattr(section, name) for name in type(section).model_fields]
    )
    return [value for value in values if isinstance(value, Secret)]
