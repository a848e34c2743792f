"""When a group is told: first, again, once more, and that it is over. Decides; tells nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from exporter.alerting.routing import REPEAT_INTERVAL_SECONDS, ResolvedRoute
from exporter.alerting.words import Alert, AlertState, Group, NotificationKind

MAX_MEMBERS = 20  # of a notification, each of firing and resolved; nobody reads more of them

# A group that ended is remembered for its count of episodes.
REMEMBERED_SECONDS = 86_400.0

# Alertmanager forgets a resolved alert by itself; Prometheus repeats an end for so long, too.
ASSERT_RESOLVED_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a group waits for company, between updates, and until it repeats itself, in seconds."""

    wait: float
    interval: float
    repeat: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What is true of a group's alerts now, by fingerprint.

    `eligible`: firing, and nothing holds them back. `firing`: these, and those heard that fire.
    `done`: heard and no longer firing; an alert that is not known any more is missing here.
    """

    eligible: Mapping[str, Alert]
    firing: Mapping[str, Alert]
    done: Mapping[str, Alert]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a group becomes, what is told, and when to ask again. A group of None is forgotten."""

    group: Group | None
    told: NotificationKind | None = None
    due_at: float | None = None


def pace_of(routes: Iterable[ResolvedRoute], severity: str) -> Pace:
    """Return the pace of a group that several routes lead to: the shortest of each time."""
    found = list(routes)
    if not found:  # nothing leads there any more: all that is left to tell is the end, and at once
        return Pace(wait=0.0, interval=0.0, repeat=REPEAT_INTERVAL_SECONDS)
    return Pace(
        wait=min(route.wait_seconds(severity) for route in found),
        interval=min(route.group_interval_seconds for route in found),
        repeat=min(route.repeat_interval_seconds for route in found),
    )


def decide(group: Group, standing: Standing, pace: Pace, *, now: float, reminds: bool) -> Decision:
    """Decide for a receiver that is told once of each change."""
    group = _not_ahead(group, now)
    if not group.heard:
        decision = _unheard(group, standing, pace, now)
    else:
        decision = _heard(group, standing, pace, now, reminds)
    if decision.told is None or decision.group is None:
        return decision
    left = {} if decision.told is NotificationKind.RESOLVE else standing.firing
    after = replace(decision.group, heard=tuple(sorted(left)), first_active_at=None, notified_at=now)
    then = decide(after, replace(standing, done={}), pace, now=now, reminds=reminds)
    return Decision(after, decision.told, then.due_at)


def keep_telling(group: Group, standing: Standing, *, now: float) -> Decision:
    """Decide for a receiver that is told the whole state again and again: `heard` is what it is told."""
    recent = {
        fingerprint: alert.resolved_at + ASSERT_RESOLVED_SECONDS
        for fingerprint, alert in standing.done.items()
        if alert.resolved_at is not None and now < alert.resolved_at + ASSERT_RESOLVED_SECONDS
    }
    heard = tuple(sorted((*standing.firing, *recent)))
    if not heard:
        return Decision(None)
    group = group if heard == group.heard else replace(group, heard=heard)
    return Decision(group, due_at=min(recent.values(), default=None))


def after_jump(group: Group, seconds: float) -> Group:
    """Return a group as it is when the clock was put on by so long: nobody waited for that time."""
    first, notified = group.first_active_at, group.notified_at
    return replace(
        group,
        first_active_at=None if first is None else first + seconds,
        notified_at=None if notified is None else notified + seconds,
    )


def farewell(group: Group) -> Decision:
    """Decide for a receiver that is no longer configured: what it heard is over for it."""
    told = NotificationKind.RESOLVE if group.heard and group.episode else None
    return Decision(None, told)


def taken_back(alert: Alert, *, now: float) -> Alert:
    """Return an alert as a receiver that leaves is told of it."""
    if alert.state is not AlertState.FIRING:
        return alert
    reason = "this receiver is no longer configured"
    return replace(alert, state=AlertState.RESOLVED, resolved_at=now, end_reason=reason)


def _unheard(group: Group, standing: Standing, pace: Pace, now: float) -> Decision:
    if not standing.eligible:
        if group.notified_at is None or now >= group.notified_at + REMEMBERED_SECONDS:
            return Decision(None)
        group = group if group.first_active_at is None else replace(group, first_active_at=None)
        return Decision(group, due_at=(group.notified_at or now) + REMEMBERED_SECONDS)
    first = now if group.first_active_at is None else group.first_active_at
    if now < first + pace.wait:
        return Decision(_with_first(group, first), due_at=first + pace.wait)
    return Decision(replace(group, episode=group.episode + 1), NotificationKind.TRIGGER)


def _heard(group: Group, standing: Standing, pace: Pace, now: float, reminds: bool) -> Decision:
    new = standing.eligible.keys() - set(group.heard)
    next_update = (now if group.notified_at is None else group.notified_at) + pace.interval
    if not standing.firing:
        kind, at = NotificationKind.RESOLVE, next_update
    elif new:
        kind, at = NotificationKind.UPDATE, next_update if pace.wait else now
    elif not standing.eligible:
        # What still fires is silenced, muted or inhibited. An update would ring there again, so
        # what is done waits for the end.
        return Decision(group)
    elif any(fingerprint not in standing.firing for fingerprint in group.heard):
        kind, at = NotificationKind.UPDATE, next_update
    elif reminds:
        kind, at = NotificationKind.REMINDER, next_update - pace.interval + pace.repeat
    else:
        return Decision(group)
    return Decision(group, due_at=at) if now < at else Decision(group, kind)


def _with_first(group: Group, first: float) -> Group:
    return group if group.first_active_at == first else replace(group, first_active_at=first)


def _not_ahead(group: Group, now: float) -> Group:
    """Bring times that lie ahead of us back to now: the clock was set back."""
    first, notified = group.first_active_at, group.notified_at
    if (first or 0.0) <= now and (notified or 0.0) <= now:
        return group
    return replace(
        group,
        first_active_at=None if first is None else min(first, now),
        notified_at=None if notified is None else min(notified, now),
    )
