"""The words of alerting: rule, finding, alert, group, notification, delivery.

Data only: no I/O, no clock. Times are Unix seconds, durations are seconds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from exporter.config.expressions import matches_whole
from exporter.model import MetricSpec

ALERTNAME = "alertname"
SEVERITY = "severity"

SEVERITIES = ("critical", "error", "warning", "info")  # the worst first

LabelPairs = tuple[tuple[str, str], ...]  # sorted by name, each name once


def severity_rank(severity: str) -> int:
    """Return 0 for the worst severity; what is none comes last."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


# --- rules ---------------------------------------------------------------------------------------


class Reduce(StrEnum):
    """How the samples of one series become the one value that is compared."""

    LAST = "last"
    MIN = "min"  # this one and the next five look back over `window`
    MAX = "max"
    AVG = "avg"
    INCREASE = "increase"  # of a counter, extrapolated to the window's edges as Prometheus does
    CHANGES = "changes"
    RATIO_TO_MAX = "ratio_to_max"  # the last value over the highest of the window
    AGE = "age"  # now - value
    UNTIL = "until"  # value - now


WINDOWED = frozenset(
    {Reduce.MIN, Reduce.MAX, Reduce.AVG, Reduce.INCREASE, Reduce.CHANGES, Reduce.RATIO_TO_MAX}
)


class Operator(StrEnum):
    """How a value and its limit are compared; true means trouble."""

    GREATER = ">"
    AT_LEAST = ">="
    LESS = "<"
    AT_MOST = "<="
    EQUAL = "=="
    NOT_EQUAL = "!="

    def holds(self, value: float, limit: float) -> bool:
        """Whether `value <operator> limit`. NaN holds for `!=` only, as in Prometheus."""
        return bool(_COMPARE[self.value](value, limit))

    @property
    def compare(self) -> Callable[[float, float], bool]:
        """The comparison itself, for those who make many."""
        return _COMPARE[self.value]


_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


class OnMissing(StrEnum):
    """What an alert does while its series cannot be decided."""

    HOLD = "hold"
    RESOLVE = "resolve"
    FIRE = "fire"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label, as in Alertmanager: a label that is absent has the value ""."""

    name: str
    value: str
    regex: bool = False  # the whole value must match
    negative: bool = False

    def matches(self, text: str) -> bool:
        """Whether a label of this value satisfies the matcher."""
        hit = matches_whole(self.value, text) if self.regex else text == self.value
        return hit is not self.negative

    def __str__(self) -> str:
        sign = {(False, False): "=", (False, True): "!=", (True, False): "=~", (True, True): "!~"}
        quoted = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{sign[self.regex, self.negative]}"{quoted}"'


def all_match(matchers: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    """Whether the labels satisfy every matcher."""
    return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)


@dataclass(frozen=True, slots=True)
class Selector:
    """One number per series: which series of which metric, and how each is reduced."""

    spec: MetricSpec
    match: tuple[Matcher, ...] = ()
    reduce: Reduce = Reduce.LAST
    window_seconds: float = 0.0  # of WINDOWED reductions
    min_samples: int = 1  # in the window, below which nothing is said


@dataclass(frozen=True, slots=True)
class Operand:
    """A second metric, joined on named labels: what the first is divided by or compared with."""

    selector: Selector
    on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """A value per label set, and its comparison. Exactly one of `than` and the levels' thresholds."""

    selector: Selector
    op: Operator
    by: tuple[str, ...] | None = None  # labels that the alert keeps; the highest of what falls together
    divided_by: Operand | None = None
    than: Operand | None = None


@dataclass(frozen=True, slots=True)
class When:
    """A second condition that must hold too, on the labels it is joined by."""

    selector: Selector
    on: tuple[str, ...]
    op: Operator
    threshold: float
    if_unknown: bool = False  # whether the lack of such a series counts as holding


@dataclass(frozen=True, slots=True)
class Otherwise:
    """A condition on another metric that is trouble by itself; its labels are those of the rule's."""

    selector: Selector
    op: Operator
    threshold: float


@dataclass(frozen=True, slots=True)
class Level:
    """One severity of a rule. With `clear`, an alert that fires ends only beyond it."""

    severity: str
    threshold: float | None  # None where the rule compares two metrics
    clear: float | None = None
    for_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `levels` are in order of severity, the worst first."""

    name: str
    condition: Condition
    levels: tuple[Level, ...]
    otherwise: Otherwise | None = None  # the `or:` of the file
    when: When | None = None
    keep_firing_for_seconds: float = 0.0
    on_missing: OnMissing = OnMissing.HOLD
    labels: LabelPairs = ()
    annotations: tuple[tuple[str, str], ...] = ()  # name and template; see rules/template.py
    runbook: str = ""  # file name in alerts/runbooks without .md, or an http(s) URL
    source: str = ""  # "file:line", for people


class Finding(NamedTuple):
    """What one evaluation says of one level of one rule for one label set."""

    rule: Rule
    level: Level
    labels: LabelPairs  # of the series; without alertname, severity and the rule's own
    verdict: bool | None  # None: undecided, a source failed or a series expired
    value: float | None = None
    limit: float | None = None
    gone: str = ""  # why the series is gone for good: "the collection is gone", …; verdict is False then
    partial: bool = False  # False by a history that does not cover its window since we started
    unit: str = ""  # of value and limit, as a MetricSpec says it
    excused: bool = False  # false whatever the value is: `when` does not hold


# --- alerts --------------------------------------------------------------------------------------


class AlertState(StrEnum):
    """Where an alert is in its life."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"  # kept for an hour, for the flap guard and for Alertmanager


@dataclass(frozen=True, slots=True)
class Alert:
    """One level of one rule for one label set. Replaced whole. JSON-able by msgspec."""

    fingerprint: str  # of `labels`, as Alertmanager computes it: 16 hexadecimal digits
    rule: str
    labels: LabelPairs  # with alertname, severity and the rule's own
    state: AlertState
    active_since: float  # first true evaluation, moved on by the time nothing could be decided
    evaluated_at: float
    fired_at: float | None = None
    resolved_at: float | None = None
    recovering_since: float | None = None  # firing, and false since then: keep_firing_for runs
    undecided_since: float | None = None
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    annotations: tuple[tuple[str, str], ...] = ()  # rendered: summary, description, action, …
    runbook: str = ""
    changes: tuple[str, ...] = ()  # what changed shortly before it fired, for people
    end_reason: str = ""  # of a resolved one: "recovered", "the collection is gone", "the rule was removed"
    episode: int = 0  # counts its firings
    turns: tuple[float, ...] = ()  # when it began to fire or resolved, in the last hour
    flapping: bool = False

    def label(self, name: str) -> str:
        """The value of a label; "" where it has none."""
        return dict(self.labels).get(name, "")

    @property
    def severity(self) -> str:
        """The level's name."""
        return self.label(SEVERITY)


# --- notifications -------------------------------------------------------------------------------


class NotificationKind(StrEnum):
    """Why somebody is told."""

    TRIGGER = "trigger"  # nothing of the group had been told
    UPDATE = "update"  # alerts joined or left a group that goes on firing
    REMINDER = "reminder"  # nothing changed for repeat_interval
    RESOLVE = "resolve"  # nothing of the group fires any more


@dataclass(frozen=True, slots=True)
class Notification:
    """What one receiver is told about one group at one moment; rendered when it is sent.

    JSON-able by msgspec. `key` is the same over restarts, daemons, routes and episodes:
    it depends on the cluster, the group's labels and the level only.
    """

    receiver: str  # its id, see receivers/contract.py
    key: str
    kind: NotificationKind
    group_labels: LabelPairs
    severity: str
    created_at: float
    episode: int  # counts the group's incidents, from trigger to resolve
    firing: tuple[Alert, ...] = ()  # at most MAX_MEMBERS, oldest first
    firing_count: int = 0
    resolved: tuple[Alert, ...] = ()  # since the last notification
    resolved_count: int = 0
    drill: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """What was decided for one receiver about alerts that belong together. Replaced whole, JSON-able.

    `heard`: fingerprints that a notification put into the outbox said are firing.
    """

    receiver: str
    key: str
    labels: LabelPairs
    severity: str
    heard: tuple[str, ...] = ()
    first_active_at: float | None = None  # group_wait runs from here
    notified_at: float | None = None
    episode: int = 0


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that match are not told until it ends."""

    id: str
    matchers: tuple[Matcher, ...]
    author: str
    comment: str
    starts_at: float
    ends_at: float
    created_at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """One line of the alert history."""

    fingerprint: str
    rule: str
    labels: LabelPairs
    fired_at: float
    resolved_at: float
    reason: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What one step of the engine changed: stored in one transaction, or not at all."""

    evaluated_at: float
    alerts: tuple[Alert, ...] = ()  # new or replaced
    alerts_dropped: tuple[str, ...] = ()  # fingerprints
    groups: tuple[Group, ...] = ()
    groups_dropped: tuple[tuple[str, str], ...] = ()  # receiver id, key
    notifications: tuple[Notification, ...] = ()  # to be queued, in this order
    ended: tuple[Ended, ...] = ()


# --- delivery ------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """What became of one attempt to deliver."""

    DELIVERED = "delivered"
    UNKNOWN = "unknown"  # the answer did not come in time: it may have arrived
    RETRY = "retry"  # not taken now: 5xx, 408, 425, 429, no connection
    REJECTED = "rejected"  # this message will never be taken: other 4xx
    REFUSED = "refused"  # the receiver takes nothing from us: 401, 403, 404, 410


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt, as data. `reason` is for people and holds no secret."""

    outcome: Outcome
    reason: str = ""
    status: int | None = None
    retry_after_seconds: float | None = None
    taken: frozenset[str] = frozenset()  # where the whole state is told: the alerts that somebody took


# --- what is known beside the Board ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleSight:
    """Whether a rule can see what it is about."""

    rule: str
    blind: str = ""  # why not, and what to switch on; "" when it sees
    metrics: tuple[str, ...] = field(default_factory=tuple)
