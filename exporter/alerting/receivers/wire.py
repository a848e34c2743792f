"""What the JSON of Alertmanager's world has in common: moments, labels and annotations of an alert."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from exporter.alerting.messages import runbook_url
from exporter.alerting.words import Alert

# What Alertmanager writes for "no end known": Go's zero time.
ZERO_TIME = "0001-01-01T00:00:00Z"

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def rfc3339(unix_seconds: float) -> str:
    """Return a moment in UTC, to the millisecond: "2026-11-26T02:34:25.000Z"."""
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def began_at(alert: Alert) -> float:
    """Return when an alert began to fire, as Prometheus tells it: after its `for`."""
    return alert.active_since if alert.fired_at is None else alert.fired_at


def sendable_labels(alert: Alert) -> dict[str, str]:
    """Return the labels as any Alertmanager takes them: names of the classic form, no empty value.

    Alertmanager refuses a whole batch for one name that it does not like.
    """
    labels: dict[str, str] = {}
    for name, value in alert.labels:
        if value:
            labels.setdefault(sendable_name(name), sendable_text(value))
    return labels


def sendable_name(name: str) -> str:
    """Return a label's name with an underscore for each character that has no place in one."""
    if _LABEL_NAME.fullmatch(name):
        return name
    spelt = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return spelt if _LABEL_NAME.fullmatch(spelt) else f"_{spelt}"


def sendable_text(text: str) -> str:
    """Return a text without what UTF-8 has no bytes for: half a surrogate pair out of odd JSON."""
    return text.encode("utf-8", "replace").decode("utf-8")


def annotations_of(alert: Alert, external_url: str) -> dict[str, str]:
    """Return the annotations, and the runbook's address under the name that most templates look for."""
    annotations = {sendable_name(name): sendable_text(text) for name, text in alert.annotations if text}
    url = runbook_url(alert, external_url)
    if url:
        annotations.setdefault("runbook_url", url)
    return annotations
