"""Every group of every receiver: who is in it, what it heard, and what it is told next."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exporter.alerting import grouping
from exporter.alerting.alert_book import AlertBook
from exporter.alerting.grouping import MAX_MEMBERS, Decision, Pace, Standing
from exporter.alerting.holding import Holding
from exporter.alerting.lifecycle import as_resolved
from exporter.alerting.membership import GroupId, Membership
from exporter.alerting.setup import ReceiverFacts, Setup
from exporter.alerting.timers import Timers
from exporter.alerting.words import Alert, AlertState, Group, Notification


class GroupBook:
    """Groups, and the ones to decide about: those that something happened to, and those that are due."""

    def __init__(self, *, alerts: AlertBook, setup: Setup, holding: Holding) -> None:
        self._alerts = alerts
        self._groups: dict[GroupId, Group] = {}
        self._timers: Timers[GroupId] = Timers()
        self._due: dict[GroupId, None] = {}
        self._touched: dict[GroupId, None] = {}
        self._told: list[Notification] = []
        self.arrange(setup, holding)

    def arrange(self, setup: Setup, holding: Holding) -> None:
        """Go on by another setup. Alerts must enter again."""
        self._holding = holding
        self._receivers: Mapping[str, ReceiverFacts] = {each.id: each for each in setup.receivers}
        self._membership = Membership(
            routing=setup.routing, receiver_ids={each.name: each.id for each in setup.receivers}
        )
        for place, group in self._groups.items():
            self._membership.hears(place, (), group.heard)
        self.decide_all_again()

    def restore(self, group: Group) -> None:
        """Take up a group that was stored."""
        place = (group.receiver, group.key)
        self._groups[place] = group
        self._membership.hears(place, (), group.heard)
        self._due.setdefault(place)

    def enter(self, alert: Alert) -> None:
        """Let an alert that fires, or fired, take its places."""
        self._membership.enter(alert, fires=alert.state is AlertState.FIRING)
        self.decide_again(alert.fingerprint)

    def leave(self, fingerprint: str) -> None:
        """Let an alert that no longer fires go. Its places stay, for whoever heard of it."""
        self._membership.leave(fingerprint)
        self.decide_again(fingerprint)

    def forget(self, fingerprint: str) -> None:
        """Forget an alert that is not known any more."""
        self._membership.forget(fingerprint)

    def is_heard(self, fingerprint: str) -> bool:
        """Whether somebody is still to be told of this alert's end."""
        return self._membership.is_heard(fingerprint)

    def decide_again(self, fingerprint: str) -> None:
        """Let every group that an alert is something to be decided about in the next step."""
        self._due |= dict.fromkeys(self._membership.groups_of(fingerprint))

    def decide_all_again(self) -> None:
        """Let every group be decided about in the next step."""
        self._due |= dict.fromkeys(self._groups)

    def move_on(self, seconds: float) -> None:
        """Let nothing be due by time that did not pass: the clock was put on by so long."""
        for place, group in self._groups.items():
            self._groups[place] = grouping.after_jump(group, seconds)
            self._touched.setdefault(place)
            self._timers.set(place, None)
        self.decide_all_again()

    def next_due(self, now: float) -> float | None:
        """Return when a group is due, `now` at the earliest."""
        return now if self._due else self._timers.next()

    def decide(self, now: float, describe: Callable[[Alert], Alert]) -> tuple[Notification, ...]:
        """Decide about all groups that are due; return what is told, in order.

        `describe` brings what people read of a firing alert up to date. Where it raises, nothing
        is lost: what was decided is returned by the next call, and the rest is decided then.
        """
        self._due |= dict.fromkeys(self._timers.pop(now))
        while self._due:
            place = next(iter(self._due))
            self._decide(place, now, describe)
            del self._due[place]
        told, self._told = tuple(self._told), []
        return told

    def groups(self) -> tuple[Group, ...]:
        """Return every group, also those that are over, for a day."""
        return tuple(self._groups.values())

    def is_muted(self, fingerprint: str) -> bool:
        """Whether a mute time keeps an alert that fires from every group it belongs to."""
        places = self._membership.places(fingerprint)
        return bool(places) and all(self._holding.is_muted(routes) for routes in places.values())

    def heard_by(self, receiver_id: str) -> set[str]:
        """Return the alerts that a receiver has heard of."""
        return {
            fingerprint
            for (receiver, _), group in self._groups.items()
            if receiver == receiver_id
            for fingerprint in group.heard
        }

    def changes(self) -> tuple[tuple[Group, ...], tuple[GroupId, ...]]:
        """Return the groups that changed since the last call, and those that were dropped."""
        found = [(place, self._groups.get(place)) for place in self._touched]
        self._touched = {}
        changed = tuple(group for _, group in found if group is not None)
        return changed, tuple(place for place, group in found if group is None)

    def _decide(self, place: GroupId, now: float, describe: Callable[[Alert], Alert]) -> None:
        members = self._members(place)
        group = self._groups.get(place)
        if group is None:
            if not members:
                return
            group = self._membership.new_group(place, next(iter(members.values())))
        standing = self._standing(place, group, members)
        decision = self._decision(place, group, standing, now)
        if decision.told is not None:
            self._told.append(_notification(group, decision, standing, now, describe))
        self._put(place, decision)

    def _decision(self, place: GroupId, group: Group, standing: Standing, now: float) -> Decision:
        receiver = self._receivers.get(group.receiver)
        if receiver is None:
            return grouping.farewell(group)
        if receiver.level_triggered:
            return grouping.keep_telling(group, standing, now=now)
        pace = self._pace(place, group, standing)
        return grouping.decide(group, standing, pace, now=now, reminds=receiver.wants_reminders)

    def _members(self, place: GroupId) -> dict[str, Alert]:
        found = ((each, self._alerts.get(each)) for each in self._membership.members(place))
        return {fingerprint: alert for fingerprint, alert in found if alert is not None}

    def _standing(self, place: GroupId, group: Group, members: Mapping[str, Alert]) -> Standing:
        eligible = {
            fingerprint: alert
            for fingerprint, alert in members.items()
            if not self._holding.reason(fingerprint)
            and not self._holding.is_muted(self._membership.routes(fingerprint, place))
        }
        firing, done = dict(eligible), {}
        for fingerprint in group.heard:
            alert = self._alerts.get(fingerprint)
            if alert is not None and alert.state is AlertState.FIRING:
                firing[fingerprint] = alert
            elif alert is not None:
                done[fingerprint] = as_resolved(alert)
        return Standing(eligible, firing, done)

    def _pace(self, place: GroupId, group: Group, standing: Standing) -> Pace:
        fingerprints = standing.eligible.keys() | set(group.heard)
        routes = {route for each in fingerprints for route in self._membership.routes(each, place)}
        return grouping.pace_of(routes, group.severity)

    def _put(self, place: GroupId, decision: Decision) -> None:
        old, new = self._groups.get(place), decision.group
        if new is None:
            self._groups.pop(place, None)
        else:
            self._groups[place] = new
        self._timers.set(place, decision.due_at)
        if new is not old:
            self._touched.setdefault(place)
            self._membership.hears(place, old.heard if old else (), new.heard if new else ())


def _notification(
    group: Group, decision: Decision, standing: Standing, now: float, describe: Callable[[Alert], Alert]
) -> Notification:
    """Put together what is told about a group; `group` is as it was before the decision."""
    assert decision.told is not None
    leaves = decision.group is None  # its receiver does: what fires is told as over
    firing = [] if leaves else sorted(standing.firing.values(), key=oldest_first)
    over = [grouping.taken_back(alert, now=now) for alert in standing.firing.values()] if leaves else []
    resolved = sorted(
        (*standing.done.values(), *(alert for alert in over if alert.fingerprint in group.heard)),
        key=oldest_first,
    )
    still = {alert.fingerprint for alert in firing}
    return Notification(
        receiver=group.receiver,
        key=group.key,
        kind=decision.told,
        group_labels=group.labels,
        severity=group.severity,
        created_at=now,
        episode=(decision.group or group).episode,
        firing=tuple(describe(alert) for alert in firing[:MAX_MEMBERS]),
        firing_count=len(firing),
        resolved=tuple(resolved[:MAX_MEMBERS]),
        resolved_count=len(set(group.heard) - still),
    )


def oldest_first(alert: Alert) -> tuple[float, str]:
    """Order alerts by when they began to fire."""
    return alert.fired_at or 0.0, alert.fingerprint
