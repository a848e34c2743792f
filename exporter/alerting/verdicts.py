"""What to do with a notification: before it is sent, and after an attempt. Pure; Unix seconds."""

from __future__ import annotations

from typing import NamedTuple

from exporter.alerting.backoff import (
    UNKNOWN_SECONDS,
    Uniform,
    full_jitter,
    pause_after_refusal,
    pause_after_silence,
)
from exporter.alerting.outbox import Row
from exporter.alerting.receivers.answers import TOO_MANY
from exporter.alerting.words import Delivery, NotificationKind, Outcome

REMINDER_LIVES_SECONDS = 3_600.0
# A retry of what stopped firing waits for its resolve, which decides whether it is still told.
HOLD_SECONDS = 30.0
HELD_SECONDS = 3_600.0


class Traits(NamedTuple):
    """What of a receiver matters for retries; see receivers/contract.py."""

    drops_repeats: bool
    resolve_lives_seconds: float


class Send(NamedTuple):
    """Send it now."""


class Hold(NamedTuple):
    """Look at it again at this time."""

    until: float


class GiveUp(NamedTuple):
    """Nobody is to hear it any more."""

    reason: str
    expired: bool = True  # by its age, or by too many attempts without an answer
    maybe: bool = False  # it may have arrived


class Done(NamedTuple):
    """It arrived."""


class Again(NamedTuple):
    """Try it again from this time on."""

    not_before: float
    maybe: bool = False  # it may have arrived
    silent: bool = False  # there was no answer
    pauses_receiver: bool = False  # nothing else goes there before that time either


def before_sending(row: Row, traits: Traits, *, now: float, fires: bool) -> Send | Hold | GiveUp:
    """Return whether to send a row that is due. `fires`: something of its group fires now."""
    age_seconds = now - row.notification.created_at
    if row.kind is NotificationKind.RESOLVE:
        return GiveUp("too old to tell") if age_seconds > traits.resolve_lives_seconds else Send()
    if row.kind is NotificationKind.REMINDER and age_seconds > REMINDER_LIVES_SECONDS:
        return GiveUp("too old to tell")
    if row.attempts == 0 or fires:
        return Send()
    if row.kind is NotificationKind.REMINDER or now - (row.last_attempt_at or now) > HELD_SECONDS:
        return GiveUp("nothing of it fires any more")
    return Hold(now + HOLD_SECONDS)


def after_attempt(
    row: Row, delivery: Delivery, traits: Traits, *, now: float, followed: bool, uniform: Uniform
) -> Done | Again | GiveUp:
    """Return what an attempt means for its row. `followed`: something of the same key waits behind it."""
    if delivery.outcome is Outcome.DELIVERED:
        return Done()
    if delivery.outcome is Outcome.REJECTED:
        return GiveUp(delivery.reason, expired=False)
    if delivery.outcome is Outcome.REFUSED:
        return Again(now)  # the receiver as a whole waits
    if delivery.outcome is Outcome.UNKNOWN:
        return _after_silence(row, traits, now=now, followed=followed, uniform=uniform)
    pause_seconds = pause_after_refusal(row.attempts, delivery.retry_after_seconds, uniform)
    status = delivery.status or 0
    # A gateway's 502 tells nothing of the service behind it. To take it for "not arrived" could leave
    # an incident open for ever; to take it for "maybe" costs one resolve that nobody missed.
    maybe = status >= 500 or status == 408
    # Too many: that concerns the receiver, not the message.
    return Again(now + pause_seconds, maybe=maybe, pauses_receiver=status == TOO_MANY)


def _after_silence(
    row: Row, traits: Traits, *, now: float, followed: bool, uniform: Uniform
) -> Again | GiveUp:
    unknowns = row.unknowns + 1
    pause_seconds = pause_after_silence(unknowns)
    is_resolve_in_the_way = followed and row.kind is NotificationKind.RESOLVE
    if pause_seconds is None and (is_resolve_in_the_way or not traits.drops_repeats):
        return GiveUp(f"no answer to {unknowns} attempts", maybe=True)
    if is_resolve_in_the_way and not traits.drops_repeats:
        return GiveUp("no answer, and what fires again says more", maybe=True)
    if is_resolve_in_the_way:
        pause_seconds = full_jitter(row.attempts, uniform)
    # Where the service knows a repeat by its key, going on costs nothing and giving up a page.
    return Again(
        now + (UNKNOWN_SECONDS[-1] if pause_seconds is None else pause_seconds), maybe=True, silent=True
    )
