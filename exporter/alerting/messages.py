"""What a notification says to people, before any receiver's form: enough to act on at 3 a.m.

Pure. No markup and no escaping here; every text is free of control characters, and of
characters that turn the order of others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.alerting.receivers.contract import Sending
from exporter.alerting.rules.shipped import is_address
from exporter.alerting.spoken import clipped, duration, lines, moment, one_line, value_with_limit
from exporter.alerting.words import (
    ALERTNAME,
    SEVERITY,
    Alert,
    AlertState,
    LabelPairs,
    Notification,
    NotificationKind,
)
from exporter.model import CLUSTER_LABEL

MAX_SHOWN = 20  # alerts a message tells one by one; beyond that nobody reads
LATE_SECONDS = 60.0  # before that a delay is the usual wait for a group

# From the whole to its part: how a person looks for the place.
_PLACES = (CLUSTER_LABEL, "peer", "collection", "shard")

_COLOURS = {"critical": "#d7263d", "error": "#f46036", "warning": "#f2b134", "info": "#3a86c8"}
_COLOUR_OF_OTHERS = "#7a7a7a"
_COLOUR_RESOLVED = "#2e9e5b"

_STATUS = {
    NotificationKind.TRIGGER: "firing",
    NotificationKind.UPDATE: "changed",
    NotificationKind.REMINDER: "still firing",
    NotificationKind.RESOLVE: "resolved",
}

DRILL = "DRILL: nothing is wrong, this only shows that messages arrive"
REPEAT = "may be a repeat: an earlier attempt got no answer"
UNSAVED = "the exporter cannot write its state directory: after a restart it may tell this again"


@dataclass(frozen=True, slots=True)
class Line:
    """One alert as people read it."""

    fingerprint: str
    summary: str
    where: str  # "cluster prod, peer qdrant-0, collection docs"
    value: str  # with its limit: "12,345 points, limit 10,000 points"; "" where there is no number
    since: str  # "2026-11-26 02:34:25 UTC (12 min)"
    marks: tuple[str, ...] = ()  # what else to know of it: flapping, undecided
    changes: tuple[str, ...] = ()  # what changed shortly before it fired
    description: str = ""  # may have several lines, like `action`
    action: str = ""  # the first safe step, as a command
    runbook: str = ""  # its name
    runbook_url: str = ""
    ended: str = ""  # "recovered after 12 min", "the collection is gone"; "" while it fires

    @property
    def headline(self) -> str:
        """The summary, and that it is over where it is."""
        return f"resolved: {self.summary}" if self.ended else self.summary

    @property
    def brief(self) -> str:
        """All that a message says of it where there is no room for more."""
        return f"{self.headline} ({self.ended or self.where})"

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Return what to show in rows, name and text. Where it ended, only the place and the end."""
        rows = [("where", self.where)]
        if self.ended:
            rows += [("ended", self.ended), ("began", self.since)]
        else:
            rows += [("value", self.value), ("since", self.since)]
            rows += [("changed", change) for change in self.changes]
            rows += [("note", mark) for mark in self.marks]
        return tuple((name, text) for name, text in rows if text)


@dataclass(frozen=True, slots=True)
class Message:
    """One notification as people read it."""

    title: str  # on one line; what a phone shows
    status: str  # firing, changed, still firing, resolved
    severity: str
    colour: str  # "#rrggbb" of the level, or of resolved
    key: str
    notes: tuple[str, ...] = ()  # drill, repeat, delay, unsaved
    firing: tuple[Line, ...] = ()
    firing_more: int = 0  # beyond those shown
    resolved: tuple[Line, ...] = ()
    resolved_more: int = 0
    home_url: str = ""

    def ending(self) -> tuple[str, ...]:
        """Return what is left to say below the alerts."""
        firing = f"and {self.firing_more} more that fire" if self.firing_more else ""
        resolved = f"and {self.resolved_more} more that resolved" if self.resolved_more else ""
        return tuple(filter(None, (firing, resolved)))


def message(notification: Notification, sending: Sending) -> Message:
    """Return what a notification says at the moment of `sending`."""
    firing = notification.firing[:MAX_SHOWN]
    resolved = notification.resolved[: MAX_SHOWN - len(firing)]
    severity = one_line(notification.severity)
    is_over = notification.kind is NotificationKind.RESOLVE
    colour = _COLOUR_RESOLVED if is_over else _COLOURS.get(severity, _COLOUR_OF_OTHERS)
    return Message(
        title=_title(notification),
        status=_STATUS[notification.kind],
        severity=severity,
        colour=colour,
        key=notification.key,
        notes=_notes(notification, sending),
        firing=tuple(_line(alert, sending) for alert in firing),
        firing_more=max(notification.firing_count, len(notification.firing)) - len(firing),
        resolved=tuple(_line(alert, sending) for alert in resolved),
        resolved_more=max(notification.resolved_count, len(notification.resolved)) - len(resolved),
        home_url=f"{sending.external_url}/" if sending.external_url else "",
    )


def place(labels: LabelPairs) -> str:
    """Return labels as the place that they name: "cluster prod, peer qdrant-0, collection docs"."""
    known = dict(labels)
    order = [name for name in _PLACES if name in known]
    order += sorted(known.keys() - {*_PLACES, ALERTNAME, SEVERITY})
    words = ((name if name != CLUSTER_LABEL else "cluster", known[name]) for name in order if known[name])
    return ", ".join(f"{one_line(name)} {one_line(value)}" for name, value in words)


def runbook_url(alert: Alert, external_url: str) -> str:
    """Return where the alert's runbook is, somebody's own page or shown by us; "" where that is not known."""
    if is_address(alert.runbook):
        return alert.runbook
    return f"{external_url}/runbooks/{alert.runbook}" if external_url and alert.runbook else ""


def plain(said: Message, *, limit: int, with_title: bool = True) -> str:
    """Return a message as text of at most `limit` UTF-16 units, its title first.

    What is too long loses the details of its last alerts first: each keeps its summary and place.
    """
    top = [said.title, *said.notes] if with_title else [*said.notes]
    foot = [*said.ending(), said.home_url] if said.home_url else [*said.ending()]
    told = [*said.firing, *said.resolved]
    for detailed in range(len(told), -1, -1):
        blocks = [plain_line(line) for line in told[:detailed]]
        blocks += [line.brief for line in told[detailed:]]
        text = "\n\n".join(filter(None, ["\n".join(top), *blocks, "\n".join(foot)]))
        if clipped(text, limit) == text:
            return text
    return clipped(text, limit)


def plain_line(line: Line) -> str:
    """Return one alert as text of several lines."""
    rows = [line.headline, *(f"{name}: {text}" for name, text in line.facts())]
    if not line.ended:
        rows += [line.description] if line.description else []
        rows += [f"first step: {line.action}"] if line.action else []
        rows += [f"runbook: {line.runbook_url or line.runbook}"] if line.runbook else []
    return "\n".join(rows)


def _title(notification: Notification) -> str:
    severity = one_line(notification.severity).upper() or "ALERT"
    mark = {
        NotificationKind.TRIGGER: f"[{severity}]",
        NotificationKind.UPDATE: f"[{severity}, changed]",
        NotificationKind.REMINDER: f"[{severity}, still firing]",
        NotificationKind.RESOLVE: "[RESOLVED]",
    }[notification.kind]
    drill = "[DRILL] " if notification.drill else ""
    return f"{drill}{mark} {_subject(notification)}"


def _subject(notification: Notification) -> str:
    """Say what it is about: of one alert its summary, of several their rules, number and cluster."""
    told = notification.firing or notification.resolved
    firing_count = max(notification.firing_count, len(notification.firing))
    resolved_count = max(notification.resolved_count, len(notification.resolved))
    rules = _rules(told) or dict(notification.group_labels).get(ALERTNAME, "alerts")
    if len(told) == 1 and firing_count <= 1 and (firing_count == 1 or resolved_count == 1):
        alert = told[0]
        says = place(alert.labels) if notification.kind is NotificationKind.RESOLVE else _summary(alert)
        more = f", {resolved_count} resolved" if firing_count and resolved_count else ""
        return f"{rules}: {says}{more}"
    counts = [f"{firing_count} firing"] if firing_count else []
    counts += [f"{resolved_count} resolved"] if resolved_count else []
    clusters = {alert.label(CLUSTER_LABEL) for alert in told} - {""}
    on = f" on {one_line(clusters.pop())}" if len(clusters) == 1 else ""
    return f"{rules}: {', '.join(counts) or 'no alert'}{on}"


def _rules(alerts: Iterable[Alert]) -> str:
    names = sorted({one_line(alert.label(ALERTNAME) or alert.rule) for alert in alerts})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more rules" if len(names) > 3 else "")


def _notes(notification: Notification, sending: Sending) -> tuple[str, ...]:
    late_seconds = sending.now - notification.created_at
    delayed = (
        f"delayed {late_seconds // 60:.0f} min: meant for {moment(notification.created_at)}"
        if late_seconds >= LATE_SECONDS
        else ""
    )
    notes = (
        DRILL if notification.drill else "",
        REPEAT if sending.maybe_repeat else "",
        delayed,
        UNSAVED if sending.unsaved else "",
    )
    return tuple(filter(None, notes))


def _line(alert: Alert, sending: Sending) -> Line:
    annotations = dict(alert.annotations)
    return Line(
        fingerprint=alert.fingerprint,
        summary=_summary(alert),
        where=place(alert.labels),
        value=value_with_limit(alert.value, alert.limit, alert.unit),
        since=_since(alert, sending.now),
        marks=_marks(alert),
        changes=tuple(one_line(change) for change in alert.changes),
        description=lines(annotations.get("description", "")),
        action=lines(annotations.get("action", "")),
        runbook=alert.runbook,
        runbook_url=runbook_url(alert, sending.external_url),
        ended=_ended(alert),
    )


def _summary(alert: Alert) -> str:
    summary = one_line(dict(alert.annotations).get("summary", ""))
    return summary or f"{one_line(alert.rule)}: {place(alert.labels)}"


def _since(alert: Alert, now: float) -> str:
    began = moment(alert.active_since)
    if alert.state is AlertState.RESOLVED:
        return began
    return f"{began} ({duration(max(0.0, now - alert.active_since))})"


def _marks(alert: Alert) -> tuple[str, ...]:
    undecided = (
        f"nothing new is known since {moment(alert.undecided_since)}: shown as it was then"
        if alert.undecided_since is not None
        else ""
    )
    flapping = "it comes and goes: held until it has been good for a while" if alert.flapping else ""
    return tuple(filter(None, (undecided, flapping)))


def _ended(alert: Alert) -> str:
    if alert.state is not AlertState.RESOLVED:
        return ""
    reason = one_line(alert.end_reason) or "recovered"
    if alert.resolved_at is None:
        return reason
    lasted = duration(max(0.0, alert.resolved_at - alert.active_since))
    return f"{reason} after {lasted}" if reason == "recovered" else f"{reason}, after {lasted}"
