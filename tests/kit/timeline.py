"""An engine under a clock moved by hand: what is true of the world goes in, what was told comes out.

What each step changed goes into a store as the ledger keeps it, and a restart begins from that
store alone; after every step the two are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from exporter.alerting import silencing
from exporter.alerting.engine import Engine, ReceiverFacts, Setup
from exporter.alerting.inhibition import Pair
from exporter.alerting.mute_times import MuteTime
from exporter.alerting.routing import RoutingTree
from exporter.alerting.words import (
    Alert,
    AlertState,
    Changes,
    Condition,
    Ended,
    Finding,
    Group,
    LabelPairs,
    Level,
    Notification,
    Operator,
    Rule,
    Selector,
    Silence,
)
from exporter.config.alerting import RouteSettings
from exporter.model import Kind, MetricSpec

START = 1_800_000_000.0  # a Friday, 08:00 UTC
INTERVAL = 15.0  # every rule is evaluated at least so often

SPEC = MetricSpec(
    "qdrantx_trouble", Kind.GAUGE, "Trouble", "1", "GET /telemetry", ("qdrant_cluster", "peer", "collection")
)
OPS = ReceiverFacts("ops-1", "ops")
CHAT = ReceiverFacts("chat-1", "chat")
PAGER = ReceiverFacts("pager-1", "pager", wants_reminders=False)
ALERTMANAGER = ReceiverFacts("am-1", "am", level_triggered=True)

World = dict[tuple[str, str, LabelPairs], Finding]


def a_rule(
    name: str,
    *levels: Level,
    keep_firing_for: float = 0.0,
    labels: LabelPairs = (),
    op: Operator = Operator.GREATER,
) -> Rule:
    """Return a rule; without levels it has one, critical, that fires at once."""
    return Rule(
        name=name,
        condition=Condition(Selector(SPEC), op),
        levels=levels or (critical(),),
        keep_firing_for_seconds=keep_firing_for,
        labels=labels,
    )


def critical(for_seconds: float = 0.0, threshold: float = 10.0, clear: float | None = None) -> Level:
    """Return the worst level."""
    return Level("critical", threshold, clear, for_seconds)


def warning(for_seconds: float = 0.0, threshold: float = 5.0, clear: float | None = None) -> Level:
    """Return a milder level."""
    return Level("warning", threshold, clear, for_seconds)


def pairs(labels: Mapping[str, str]) -> LabelPairs:
    """Return labels as alerts have them."""
    return tuple(sorted(labels.items()))


def described(alert: Alert, rule: Rule, level: Level, finding: Finding) -> Alert:
    """Write what people would read."""
    return replace(alert, annotations=(("summary", f"{rule.name} at {finding.value}"),))


class Store:
    """What the disk holds: every value is written and read as JSON."""

    def __init__(self) -> None:
        self.alerts: dict[str, bytes] = {}
        self.groups: dict[tuple[str, str], bytes] = {}
        self.evaluated_at = 0.0
        self.ended: list[Ended] = []

    def commit(self, changes: Changes) -> None:
        """Keep what a step changed."""
        self.evaluated_at = changes.evaluated_at
        self.ended += changes.ended
        for alert in changes.alerts:
            self.alerts[alert.fingerprint] = msgspec.json.encode(alert)
        for fingerprint in changes.alerts_dropped:
            self.alerts.pop(fingerprint, None)
        for group in changes.groups:
            self.groups[group.receiver, group.key] = msgspec.json.encode(group)
        for place in changes.groups_dropped:
            self.groups.pop(place, None)

    def read_alerts(self) -> list[Alert]:
        """Return the alerts as a start reads them."""
        return [msgspec.json.decode(text, type=Alert) for text in self.alerts.values()]

    def read_groups(self) -> list[Group]:
        """Return the groups as a start reads them."""
        return [msgspec.json.decode(text, type=Group) for text in self.groups.values()]


class Timeline:
    """A world, an engine, and everything that was told. Times are seconds since the start."""

    def __init__(
        self,
        *rules: Rule,
        route: Mapping[str, object] | None = None,
        receivers: Sequence[ReceiverFacts] = (OPS,),
        inhibits: Sequence[Pair] = (),
        mute_times: Sequence[MuteTime] = (),
    ) -> None:
        self.rules = rules
        self.route = route
        self.receivers = tuple(receivers)
        self.inhibits = tuple(inhibits)
        self.mute_times = tuple(mute_times)
        self.blind: dict[str, str] = {}
        self.silences: list[Silence] = []
        self.world: World = {}
        self.now = START
        self.put_on = 0.0  # by how much the clock is ahead of the time that passed
        self.store = Store()
        self.notifications: list[Notification] = []
        self.engine = Engine(setup=self.setup())

    @property
    def at(self) -> float:
        """Seconds since the start."""
        return self.now - START

    def setup(self) -> Setup:
        """Return the setup of what is configured now."""
        route = None if self.route is None else RouteSettings.model_validate(self.route)
        names = [receiver.name for receiver in self.receivers]
        return Setup(
            rules=self.rules,
            routing=RoutingTree(written=route, receivers=names),
            receivers=self.receivers,
            inhibits=self.inhibits,
            mute_times=self.mute_times,
            blind=self.blind,
        )

    def reload(self) -> None:
        """Take up what is configured now."""
        self.engine.reconfigure(self.setup(), self.now)

    def set(
        self,
        name: str,
        verdict: bool | None,
        *,
        level: str | None = None,
        value: float | None = None,
        gone: str = "",
        partial: bool = False,
        **labels: str,
    ) -> None:
        """Say what every evaluation finds of a rule's series from now on, at one level or at all."""
        rule = next(rule for rule in self.rules if rule.name == name)
        series = pairs({"qdrant_cluster": "shop", **labels})
        for each in rule.levels:
            if level in (None, each.severity):
                finding = Finding(rule, each, series, verdict, value, each.threshold, gone, partial)
                self.world[name, each.severity, series] = finding

    def silence(self, *matchers: str, seconds: float = 3_600.0) -> Silence:
        """Begin a silence."""
        silence = Silence(
            f"s{len(self.silences)}",
            silencing.matchers(matchers),
            "ada",
            "works",
            self.now,
            self.now + seconds,
            self.now,
        )
        self.silences.append(silence)
        return silence

    def evaluate(self, *, findings: Iterable[Finding] | None = None) -> list[Notification]:
        """Make one step now, with all that is true of the world, or just these findings."""
        found = self._found() if findings is None else list(findings)
        changes = self.engine.step(
            found,
            self.now,
            silences=tuple(self.silences),
            describe=described,
            monotonic_seconds=self.now - self.put_on,
        )
        self.store.commit(changes)
        self._compare()
        self.notifications += changes.notifications
        return list(changes.notifications)

    def run(self, seconds: float) -> list[str]:
        """Let time pass: evaluate every 15 s, and step when something is due. Return what was told."""
        first = len(self.notifications)
        end = self.now + seconds
        next_evaluation = self.now
        while True:
            due = self.engine.due_at()
            at = next_evaluation if due is None else min(next_evaluation, max(due, self.now))
            if at > end:
                break
            self.now = at
            if at == next_evaluation:
                self.evaluate()
                next_evaluation += INTERVAL
            else:
                self.evaluate(findings=())
        self.now = end
        return [self.tell(notification) for notification in self.notifications[first:]]

    def put_clock_on(self, seconds: float) -> None:
        """Let the clock say that so much time passed, which did not."""
        self.now += seconds
        self.put_on += seconds

    def restart(self, *, down: float = 0.0) -> None:
        """Lose everything but the store, and begin again after so long."""
        self.now += down
        self.engine = Engine(setup=self.setup())
        self.engine.restore(
            self.store.read_alerts(),
            self.store.read_groups(),
            evaluated_at=self.store.evaluated_at,
            now=self.now,
        )

    def tell(self, notification: Notification) -> str:
        """Return a notification in short: "30 ops trigger PeerDown/critical +2 -0"."""
        name = dict(notification.group_labels).get("alertname", "*")
        return (
            f"{notification.created_at - START:g} {notification.receiver.split('-')[0]} {notification.kind}"
            f" {name}/{notification.severity} +{notification.firing_count} -{notification.resolved_count}"
        )

    def state(self, name: str, level: str = "critical", **labels: str) -> AlertState | None:
        """Return the state of an alert; None: there is none."""
        alert = self.alert(name, level, **labels)
        return None if alert is None else alert.state

    def alert(self, name: str, level: str = "critical", **labels: str) -> Alert | None:
        """Return the alert of a rule and level whose labels have these among them."""
        for alert in self.engine.alerts():
            wanted = set(pairs(labels))
            if alert.rule == name and alert.severity == level and wanted <= set(alert.labels):
                return alert
        return None

    def _found(self) -> list[Finding]:
        """Return what an evaluation finds: all that is true, and the rest only of what is known."""
        sees = {rule.name for rule in self.rules} - self.blind.keys()
        known = {name: set(series) for name, series in self.engine.known().items()}
        return [
            finding
            for (name, _, series), finding in self.world.items()
            if name in sees and (finding.verdict or _named(series) in known.get(name, ()))
        ]

    def _compare(self) -> None:
        """Fail where the store is not what the engine holds."""
        stored = {alert.fingerprint: _stored(alert) for alert in self.store.read_alerts()}
        assert stored == {alert.fingerprint: _stored(alert) for alert in self.engine.alerts()}
        groups = {(group.receiver, group.key): group for group in self.engine.groups()}
        assert groups == {(group.receiver, group.key): group for group in self.store.read_groups()}


def _named(series: LabelPairs) -> LabelPairs:
    """Return labels without the empty ones, as alerts have them."""
    return tuple(pair for pair in series if pair[1])


def _stored(alert: Alert) -> Alert:
    """Return an alert without what changes with every evaluation and is not stored each time."""
    return replace(alert, value=None, limit=None, evaluated_at=0.0)
