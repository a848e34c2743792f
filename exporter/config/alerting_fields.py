"""Field types of the alerting settings. As in `fields.py`, no refusal repeats the value."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator

from exporter.config.addresses import is_host
from exporter.config.fields import Text, short_name
from exporter.config.matchers import checked_label_name, checked_matcher
from exporter.config.secret import Secret
from exporter.config.time_windows import (
    parse_clock,
    parse_days_of_month,
    parse_months,
    parse_weekdays,
    parse_years,
    time_zone,
)

_RULE_NAME = re.compile(r"[A-Z][A-Za-z0-9]{0,99}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
# No line breaks, which would begin another header of the mail, and none of the signs of a list.
_MAIL_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"@\\]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_APPRISE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.+")
# Events API v2: "The GUID of one of your Events API V2 integrations", 32 characters.
_ROUTING_KEY = re.compile(r"[A-Za-z0-9]{32}")

# What an alert gets from its rule and level.
_OURS = ("alertname", "severity")
# What httpx and the authentication of the settings write themselves.
_NEVER_AS_HEADER = ("authorization", "content-length", "content-type", "host", "transfer-encoding")

Severity = Literal["critical", "error", "warning", "info"]


def _rule_name(text: str) -> str:
    if not _RULE_NAME.fullmatch(text):
        raise ValueError("a rule's name is one word of letters and digits such as IndexingLag")
    return text


def _rule_label_name(name: str) -> str:
    if name in _OURS:
        raise ValueError(f"the label {name} comes from the rule itself; choose another name")
    return checked_label_name(name)


def _secret_url(secret: Secret) -> Secret:
    """Refuse what is no http URL; nothing of it may be said."""
    try:
        parts = urlsplit(secret.reveal())
        port = parts.port
    except ValueError:
        raise ValueError("this is not a URL; write one that starts with https:// or http://") from None
    if parts.scheme not in ("http", "https") or not is_host(parts.hostname or "") or port == 0:
        raise ValueError("write a URL with a host that starts with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user or password does not belong in a URL; write username: and password:")
    if parts.fragment:
        raise ValueError("what stands behind the # of a URL is never sent; remove it")
    return secret


def _apprise_url(secret: Secret) -> Secret:
    if not _APPRISE_URL.fullmatch(secret.reveal()):
        raise ValueError("write an apprise URL such as ntfy://topic")
    return secret


def _routing_key(secret: Secret) -> Secret:
    if not _ROUTING_KEY.fullmatch(secret.reveal()):
        raise ValueError(
            "this is no key of PagerDuty's Events API v2: it has 32 letters and digits"
            " and stands at the service under Integrations"
        )
    return secret


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("a header's name has letters, digits and hyphens")
    if name.lower() in _NEVER_AS_HEADER:
        raise ValueError(
            "this header is written by us; for authentication write bearer_token:, or username: and password:"
        )
    return name


def _header_value(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError("a header is one line of visible ASCII characters")
    return text


def _mail_address(text: str) -> str:
    if not _MAIL_ADDRESS.fullmatch(text) or not text.isascii():
        raise ValueError("write one mail address such as oncall@example.com and nothing else")
    return text


def _mail_host(text: str) -> str:
    if not is_host(text):
        raise ValueError("write the host of the mail server alone, such as smtp.example.com; port: is a key")
    return text


def _checked(read: Callable[[str], object]) -> AfterValidator:
    """Make a check that keeps the text as written."""

    def check(text: str) -> str:
        read(text)
        return text

    return AfterValidator(check)


# It becomes the label `receiver` and a word on the command line.
ReceiverName = Annotated[str, short_name("a receiver")]
RuleName = Annotated[str, AfterValidator(_rule_name)]
LabelName = Annotated[str, AfterValidator(checked_label_name)]
RuleLabelName = Annotated[str, AfterValidator(_rule_label_name)]
MatcherText = Annotated[str, AfterValidator(checked_matcher)]
SecretUrl = Annotated[Secret, AfterValidator(_secret_url)]
AppriseUrl = Annotated[Secret, AfterValidator(_apprise_url)]
RoutingKey = Annotated[Secret, AfterValidator(_routing_key)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
MailHost = Annotated[Text, AfterValidator(_mail_host)]
Clock = Annotated[str, _checked(parse_clock)]
Weekdays = Annotated[str, _checked(parse_weekdays)]
DaysOfMonth = Annotated[str, _checked(parse_days_of_month)]
Months = Annotated[str, _checked(parse_months)]
Years = Annotated[str, _checked(parse_years)]
Location = Annotated[str, _checked(time_zone)]


def at_least_one(what: str) -> AfterValidator:
    """Make a check that a list has an item and none twice; `what` names an item for people."""

    def check(items: tuple[Any, ...]) -> tuple[Any, ...]:
        if not items:
            raise ValueError(f"the list is empty; write {what}")
        if len(set(items)) < len(items):
            raise ValueError(f"{what} is written twice; remove one")
        return items

    return AfterValidator(check)
