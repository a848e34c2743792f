"""One alert's life: pending, firing, resolved. Times and transitions are Prometheus', and then some.

What Prometheus has not: a finding that is undecided freezes all timers, `clear`, reasons of an
end, and the flap guard.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.alerting.identity import fingerprint, labels_of
from exporter.alerting.words import Alert, AlertState, Finding, LabelPairs, Level, Operator, Rule

RECOVERED = "recovered"

# An alert that turned so often in an hour ends only after so long without trouble. Turns that this
# prevents count too, or the guard would lapse while it is needed.
TURNS_OF_FLAPPING = 4
TURNS_COUNT_SECONDS = 3_600.0
MAX_TURNS = 10  # kept of one alert; more say nothing more
FLAPPING_HOLD_SECONDS = 900.0

KEEP_RESOLVED_SECONDS = 3_600.0  # its turns count so long
MAX_OUTAGE_SECONDS = 3_600.0  # of ours; what was pending before a longer one begins anew


def advance(alert: Alert | None, finding: Finding, now: float) -> Alert | None:
    """Return what a finding at a Unix time makes of an alert; the same one where it says nothing new.

    None: there is no such alert, or it has been over for an hour.
    """
    if finding.gone:
        return _gone(alert, finding.gone, now)
    if finding.verdict is None or (finding.partial and not finding.verdict and is_active(alert)):
        return _undecided(alert, now)
    if alert is not None:
        alert = _thawed(alert, now)
    if finding.verdict or _held_by_clear(alert, finding):
        return _true(alert, finding, now)
    return _false(alert, finding, now)


def is_active(alert: Alert | None) -> bool:
    """Whether it is pending or fires."""
    return alert is not None and alert.state is not AlertState.RESOLVED


def after_restart(alert: Alert, *, evaluated_at: float, now: float) -> Alert | None:
    """Return a stored alert as it is when the daemon starts; None: it has been too long.

    The time since the last evaluation counts as undecided, until something is decided: it is
    in no `for` and no keep_firing_for.
    """
    if not is_active(alert):
        return _unless_old(alert, now)
    if alert.state is AlertState.PENDING and now - evaluated_at > MAX_OUTAGE_SECONDS:
        return _dropped(alert, now)
    if alert.undecided_since is not None:
        return alert
    return replace(alert, undecided_since=min(max(evaluated_at, alert.active_since), now))


def after_jump(alert: Alert, seconds: float) -> Alert:
    """Return an alert as it is when the clock was put on by so long: it did not last for that time.

    Of one that is undecided the time since then does not count anyway.
    """
    if not is_active(alert):
        return alert
    turns = tuple(at + seconds for at in alert.turns)
    if alert.undecided_since is not None:
        return replace(alert, turns=turns)
    recovering = alert.recovering_since
    return replace(
        alert,
        active_since=alert.active_since + seconds,
        recovering_since=None if recovering is None else recovering + seconds,
        turns=turns,
    )


def end(alert: Alert, reason: str, now: float) -> Alert | None:
    """Return an alert that cannot go on: resolved for this reason where it fires, else dropped."""
    if alert.state is AlertState.FIRING:
        return _resolved(_turned(alert, now), reason, now)
    if alert.state is AlertState.PENDING:
        return _dropped(alert, now)
    return _unless_old(alert, now)


def as_resolved(alert: Alert) -> Alert:
    """Return an alert as of its last end, though it may be pending again."""
    return alert if alert.state is AlertState.RESOLVED else replace(alert, state=AlertState.RESOLVED)


def _gone(alert: Alert | None, reason: str, now: float) -> Alert | None:
    return None if alert is None else end(alert, reason, now)


def _undecided(alert: Alert | None, now: float) -> Alert | None:
    if alert is None or alert.state is AlertState.RESOLVED:
        return _unless_old(alert, now)
    if alert.undecided_since is not None:
        return alert
    return replace(alert, undecided_since=now, evaluated_at=now)


def _thawed(alert: Alert, now: float) -> Alert:
    """Move the timers on by the time in which nothing was decided. No time lies ahead of us."""
    if alert.state is AlertState.RESOLVED:
        return alert
    since, recovering = alert.active_since, alert.recovering_since
    frozen = 0.0 if alert.undecided_since is None else max(0.0, now - alert.undecided_since)
    if frozen == 0.0 and alert.undecided_since is None and since <= now and (recovering or 0.0) <= now:
        return alert
    return replace(
        alert,
        active_since=min(since + frozen, now),
        recovering_since=None if recovering is None else min(recovering + frozen, now),
        undecided_since=None,
    )


def _held_by_clear(alert: Alert | None, finding: Finding) -> bool:
    """Whether a value that is no longer beyond the threshold is not on the safe side of `clear` yet.

    Not where it does not count, by `when`.
    """
    if alert is None or alert.state is not AlertState.FIRING or finding.excused:
        return False
    clear, threshold, value = finding.level.clear, finding.level.threshold, finding.value
    if clear is None or threshold is None or value is None:
        return False
    op: Operator = finding.rule.condition.op
    return op.holds(value, clear) and not op.holds(value, threshold)


def _true(alert: Alert | None, finding: Finding, now: float) -> Alert:
    if alert is None:
        alert = _new(finding.rule, finding.level, finding.labels, now)
    elif alert.state is AlertState.RESOLVED:
        alert = replace(alert, state=AlertState.PENDING, active_since=now)
    elif alert.flapping and alert.recovering_since is not None:
        alert = _turned(alert, now)
    alert = _evaluated(alert, finding, now, recovering_since=None)
    if alert.state is AlertState.PENDING and now - alert.active_since >= finding.level.for_seconds:
        return _fires(alert, now)
    return _settled(alert, now)


def _new(rule: Rule, level: Level, series: LabelPairs, now: float) -> Alert:
    labels = labels_of(rule, level, series)
    return Alert(
        fingerprint=fingerprint(labels),
        rule=rule.name,
        labels=labels,
        state=AlertState.PENDING,
        active_since=now,
        evaluated_at=now,
        runbook=rule.runbook,
    )


def _fires(alert: Alert, now: float) -> Alert:
    return replace(
        _turned(alert, now),
        state=AlertState.FIRING,
        fired_at=now,
        resolved_at=None,
        end_reason="",
        episode=alert.episode + 1,
    )


def _false(alert: Alert | None, finding: Finding, now: float) -> Alert | None:
    if alert is None or alert.state is AlertState.RESOLVED:
        return _unless_old(alert, now)
    if alert.state is AlertState.PENDING:
        return _dropped(alert, now)
    alert = _settled(alert, now)
    if alert.flapping and alert.recovering_since is None:
        alert = _turned(alert, now)
    since = now if alert.recovering_since is None else alert.recovering_since
    hold = max(finding.rule.keep_firing_for_seconds, FLAPPING_HOLD_SECONDS if alert.flapping else 0.0)
    alert = _evaluated(alert, finding, now, recovering_since=since)
    return _resolved(_turned(alert, now), RECOVERED, now) if now - since >= hold else alert


def _evaluated(alert: Alert, finding: Finding, now: float, *, recovering_since: float | None) -> Alert:
    """Take over what was compared; a finding without a value leaves the last one."""
    said = alert if finding.value is None else finding
    unit = finding.unit or alert.unit
    return replace(
        alert,
        value=said.value,
        limit=said.limit,
        unit=unit,
        evaluated_at=now,
        recovering_since=recovering_since,
    )


def _resolved(alert: Alert, reason: str, now: float) -> Alert:
    return replace(
        alert,
        state=AlertState.RESOLVED,
        resolved_at=now,
        recovering_since=None,
        undecided_since=None,
        end_reason=reason,
        evaluated_at=now,
    )


def _dropped(alert: Alert, now: float) -> Alert | None:
    """Return what is left of one that never fired: the memory of its last end, if there was one."""
    if alert.resolved_at is None:
        return None
    return _unless_old(replace(alert, state=AlertState.RESOLVED, undecided_since=None), now)


def _unless_old(alert: Alert | None, now: float) -> Alert | None:
    if alert is None or alert.resolved_at is None or now - alert.resolved_at >= KEEP_RESOLVED_SECONDS:
        return None
    return alert


def _turned(alert: Alert, now: float) -> Alert:
    return _with_turns(alert, (*_recent(alert.turns, now), now)[-MAX_TURNS:])


def _settled(alert: Alert, now: float) -> Alert:
    """Forget turns that are over an hour old, and with them that it flaps."""
    turns = _recent(alert.turns, now)
    return alert if len(turns) == len(alert.turns) else _with_turns(alert, turns)


def _with_turns(alert: Alert, turns: tuple[float, ...]) -> Alert:
    return replace(alert, turns=turns, flapping=len(turns) >= TURNS_OF_FLAPPING)


def _recent(turns: tuple[float, ...], now: float) -> tuple[float, ...]:
    return tuple(at for at in turns if now - at < TURNS_COUNT_SECONDS)
