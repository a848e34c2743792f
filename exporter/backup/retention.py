"""Which sets of one collection are kept, and why. Pure.

The rules are restic's: the newest few, and the newest of each of the newest few hours, days, ISO weeks,
months and years that have a set at all, by the calendar of a time zone. A set that any rule keeps is kept.
Only sets that may be relied on take a place: complete, their hashes right, no failed proof.
Snapshots and exports are decided on apart: a weekly export serves other ends than the snapshot of last
night, which must not crowd it out.

Beside the rules:

    the newest good set of each kind is never deleted;
    while a rule has places left, the oldest good set stays, so that the history grows as long as it may;
    a complete set that may not be relied on takes no place. It stays while no newer one is good, and for a
    week for people to look at, since a proof can fail for reasons of its own;
    an accepted set stays as long as an older one does: what came before it is no measure for later ones;
    an incomplete set goes after a day;
    a set from the future stays and takes no place: a clock was wrong then or is now, and until time has
    caught up, what is made meanwhile would seem to be older and go at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from exporter.backup.words import SetKind, SetState, StoredSet
from exporter.config.backup import RetentionSettings
from exporter.config.quantities import format_duration

INCOMPLETE_SECONDS = 86_400.0  # long enough to look at what a failed night left
DOUBTED_SECONDS = 7 * 86_400.0  # somebody looks within a week, or nobody does
CLOCKS_APART_SECONDS = 300.0  # between two hosts; more is a clock that is wrong

NEWEST_GOOD = "newest good"
NO_RULE = "no rule keeps it"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a set is kept, and all that speaks for it, or why it goes."""

    set_id: str
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    """Keep the newest set of each of the newest `places` spans of time."""

    name: str
    places: int
    span: Callable[[datetime], str]  # what is equal within a span and differs between any two


def decide(
    sets: Iterable[StoredSet], policy: RetentionSettings, now: float, zone: tzinfo = UTC
) -> tuple[Decision, ...]:
    """Decide on each set of one collection, newest first, by when they were finished.

    `now` is Unix seconds.
    """
    ordered = sorted(sets, key=_finished, reverse=True)
    decided: dict[str, Decision] = {}
    for kind in SetKind:
        alike = [one for one in ordered if one.manifest.kind is kind]
        decided |= {one.set_id: one for one in _decided_alike(alike, policy, now, zone)}
    return tuple(_with_the_accepted(ordered, [decided[one.manifest.id] for one in ordered]))


def _decided_alike(
    ordered: Sequence[StoredSet], policy: RetentionSettings, now: float, zone: tzinfo
) -> Iterable[Decision]:
    """Decide on sets of one kind, as if there were no others."""
    good = [one for one in ordered if one.counts and not is_of_the_future(one, now)]
    kept = _kept_by_rules(good, policy, now, zone)
    if good:
        kept[good[0].manifest.id].insert(0, NEWEST_GOOD)
    return [_decision(one, good, kept, now) for one in ordered]


def _kept_by_rules(
    good: Sequence[StoredSet], policy: RetentionSettings, now: float, zone: tzinfo
) -> dict[str, list[str]]:
    """Return the reasons that rules have to keep each set, by its id."""
    kept: dict[str, list[str]] = {one.manifest.id: [] for one in good}
    for place, one in enumerate(good[: policy.last], start=1):
        kept[one.manifest.id].append(f"last {place} of {policy.last}")
    for rule in _calendar(policy):
        for set_id, reason in _kept_by(rule, good, zone):
            kept[set_id].append(reason)
    for one in good:
        if policy.within_seconds and now - one.manifest.ended_at <= policy.within_seconds:
            kept[one.manifest.id].append(f"within {format_duration(policy.within_seconds)}")
    return kept


def _calendar(policy: RetentionSettings) -> tuple[_Rule, ...]:
    return (
        # the offset tells the two hours apart that bear one name when summer time ends
        _Rule("hourly", policy.hourly, lambda at: f"{at:%Y-%m-%d %H:00 %z}"),
        _Rule("daily", policy.daily, lambda at: f"{at:%Y-%m-%d}"),
        _Rule("weekly", policy.weekly, lambda at: f"{at:%G-W%V}"),
        _Rule("monthly", policy.monthly, lambda at: f"{at:%Y-%m}"),
        _Rule("yearly", policy.yearly, lambda at: f"{at:%Y}"),
    )


def _kept_by(rule: _Rule, good: Sequence[StoredSet], zone: tzinfo) -> Iterable[tuple[str, str]]:
    """Yield what one rule of the calendar keeps, newest first."""
    taken = 0
    before = None
    for place, one in enumerate(good):
        if taken == rule.places:
            return
        span = rule.span(datetime.fromtimestamp(one.manifest.ended_at, zone))
        if span != before:
            taken, before = taken + 1, span
            yield one.manifest.id, f"{rule.name} {taken} of {rule.places} ({span})"
        elif place == len(good) - 1:
            yield one.manifest.id, f"the oldest, while {rule.name} has room"


def _decision(one: StoredSet, good: Sequence[StoredSet], kept: dict[str, list[str]], now: float) -> Decision:
    manifest = one.manifest
    if manifest.state is SetState.INCOMPLETE:
        fresh = now - manifest.ended_at < INCOMPLETE_SECONDS
        reason = "incomplete, kept for a day" if fresh else "incomplete, and older than a day"
        return Decision(manifest.id, fresh, (reason,))
    if one.counts and is_of_the_future(one, now):
        return Decision(manifest.id, True, ("from the future: a clock was wrong then, or is now",))
    if one.counts:
        reasons = kept[manifest.id]
        return Decision(manifest.id, bool(reasons), tuple(reasons) or (NO_RULE,))
    what = "a proof of it failed" if one.is_bad else "its hashes were never proven"
    if not good or _finished(one) > _finished(good[0]):
        return Decision(manifest.id, True, (f"{what}; no newer one is good",))
    if now - _doubted_since(one) < DOUBTED_SECONDS:
        return Decision(manifest.id, True, (f"{what}; kept for a week, to be looked at",))
    return Decision(manifest.id, False, (f"{what}, and a newer one is good",))


def is_of_the_future(one: StoredSet, now: float) -> bool:
    """A clock was wrong when it was finished, or is now: it says nothing of how old others are."""
    return one.manifest.ended_at > now + CLOCKS_APART_SECONDS


def _doubted_since(one: StoredSet) -> float:
    failed = [proof.at for proof in one.proofs if not proof.good]
    return max(failed) if one.is_bad else one.manifest.ended_at


def _with_the_accepted(ordered: Sequence[StoredSet], decisions: Sequence[Decision]) -> Iterable[Decision]:
    """Keep the newest accepted set while an older complete one is kept: guard.py begins to compare at it."""
    older_kept = False
    wanted = None
    for one, decision in zip(reversed(ordered), reversed(decisions), strict=True):
        if one.manifest.state is SetState.INCOMPLETE:
            continue
        if one.accepted and older_kept:
            wanted = one.manifest.id
        older_kept = older_kept or decision.keep
    for decision in decisions:
        if decision.set_id == wanted and not decision.keep:
            yield Decision(decision.set_id, True, ("accepted, and older ones are kept",))
        else:
            yield decision


def _finished(one: StoredSet) -> tuple[float, str]:
    return one.manifest.ended_at, one.manifest.id
