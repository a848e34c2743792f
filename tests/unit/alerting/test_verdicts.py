"""What is done with a notification before it is sent, and after an attempt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.alerting.outbox import Row
from exporter.alerting.verdicts import (
    Again,
    Done,
    GiveUp,
    Hold,
    Send,
    Traits,
    after_attempt,
    before_sending,
)
from exporter.alerting.words import Delivery, NotificationKind, Outcome
from tests.kit.notifications import NOW, REMINDER, RESOLVE, TRIGGER, UPDATE, notification

KEYED = Traits(drops_repeats=True, resolve_lives_seconds=7 * 86_400.0)
CHAT = Traits(drops_repeats=False, resolve_lives_seconds=3_600.0)


def row(kind: NotificationKind, *, attempts: int = 1, unknowns: int = 0) -> Row:
    return replace(Row(1, notification(kind), "a"), attempts=attempts, unknowns=unknowns, last_attempt_at=NOW)


def verdict(
    outcome: Outcome,
    *,
    kind: NotificationKind = TRIGGER,
    traits: Traits = KEYED,
    unknowns: int = 0,
    followed: bool = False,
    status: int | None = None,
    retry_after: float | None = None,
) -> Done | Again | GiveUp:
    """Return what an attempt means, with the longest pause that jitter may give."""
    return after_attempt(
        row(kind, attempts=unknowns + 1, unknowns=unknowns),
        Delivery(outcome, "why", status, retry_after),
        traits,
        now=NOW,
        followed=followed,
        uniform=lambda low, high: high,
    )


@pytest.mark.parametrize("age", [0.0, 86_400.0, 30 * 86_400.0])
def test_a_trigger_never_expires_while_it_fires(age: float) -> None:
    """A page that is a month late is still a page."""
    assert before_sending(row(TRIGGER), KEYED, now=NOW + age, fires=True) == Send()


def test_a_first_attempt_asks_nothing() -> None:
    """The engine decided just now that it is to be told."""
    assert before_sending(row(TRIGGER, attempts=0), KEYED, now=NOW, fires=False) == Send()


@pytest.mark.parametrize("kind", [TRIGGER, UPDATE])
def test_a_retry_of_what_no_longer_fires_waits_for_its_resolve_and_not_for_ever(
    kind: NotificationKind,
) -> None:
    """The resolve decides whether it is told at all."""
    assert before_sending(row(kind), KEYED, now=NOW + 30, fires=False) == Hold(NOW + 60)
    assert isinstance(before_sending(row(kind), KEYED, now=NOW + 3_601, fires=False), GiveUp)


def test_a_reminder_lives_an_hour() -> None:
    """And not at all once nothing fires."""
    assert before_sending(row(REMINDER), CHAT, now=NOW + 3_600, fires=True) == Send()
    assert isinstance(before_sending(row(REMINDER), CHAT, now=NOW + 3_601, fires=True), GiveUp)
    assert isinstance(before_sending(row(REMINDER), CHAT, now=NOW + 60, fires=False), GiveUp)


@pytest.mark.parametrize("traits", [KEYED, CHAT])
def test_a_resolve_lives_as_long_as_its_receiver_says(traits: Traits) -> None:
    """A week where an incident is open until then, an hour in a chat."""
    end = NOW + traits.resolve_lives_seconds

    assert before_sending(row(RESOLVE), traits, now=end, fires=False) == Send()
    assert isinstance(before_sending(row(RESOLVE), traits, now=end + 1, fires=False), GiveUp)


def test_what_arrived_is_done() -> None:
    """Nothing follows."""
    assert verdict(Outcome.DELIVERED) == Done()


def test_what_is_rejected_is_given_up_for_the_receivers_reason() -> None:
    """It would be rejected again; that is no expiry."""
    assert verdict(Outcome.REJECTED, status=400) == GiveUp("why", expired=False)


def test_what_is_refused_waits_with_its_receiver() -> None:
    """The message itself is due at once when the receiver is tried again."""
    assert verdict(Outcome.REFUSED, status=401) == Again(NOW)


def test_429_pauses_the_receiver_for_as_long_as_it_asks() -> None:
    """And nothing of it was taken."""
    asked = verdict(Outcome.RETRY, status=429, retry_after=120.0)

    assert asked == Again(NOW + 120.0, maybe=False, pauses_receiver=True)


@pytest.mark.parametrize(
    ("status", "maybe"),
    [(None, False), (425, False), (408, True), (500, True), (502, True), (503, True), (504, True)],
)
def test_a_server_error_may_have_been_taken_and_a_lack_of_a_connection_was_not(
    status: int | None, maybe: bool
) -> None:
    """It decides whether a resolve is owed."""
    assert verdict(Outcome.RETRY, status=status) == Again(NOW + 4.0, maybe=maybe)


@pytest.mark.parametrize(("unknowns", "pause"), [(0, 30.0), (1, 120.0), (2, 600.0)])
@pytest.mark.parametrize("traits", [KEYED, CHAT])
def test_silence_is_tried_again_after_a_while(unknowns: int, pause: float, traits: Traits) -> None:
    """It may have arrived, so the pauses are long."""
    expected = Again(NOW + pause, maybe=True, silent=True)

    assert verdict(Outcome.UNKNOWN, unknowns=unknowns, traits=traits) == expected


def test_after_four_attempts_without_an_answer_a_chat_is_left_alone() -> None:
    """Four messages may stand there by now."""
    given_up = verdict(Outcome.UNKNOWN, unknowns=3, traits=CHAT)

    assert isinstance(given_up, GiveUp)
    assert (given_up.expired, given_up.maybe) == (True, True)


def test_a_receiver_that_knows_repeats_is_tried_on_every_ten_minutes() -> None:
    """Nothing is repeated to people by it, and a page is not lost."""
    assert verdict(Outcome.UNKNOWN, unknowns=9) == Again(NOW + 600.0, maybe=True, silent=True)


def test_a_resolve_without_an_answer_does_not_hold_up_what_fires_again() -> None:
    """Where repeats are known it goes again within seconds, and four times at most; else it is left."""
    soon = verdict(Outcome.UNKNOWN, kind=RESOLVE, followed=True)

    assert soon == Again(NOW + 4.0, maybe=True, silent=True)
    assert isinstance(verdict(Outcome.UNKNOWN, kind=RESOLVE, followed=True, unknowns=3), GiveUp)
    assert isinstance(verdict(Outcome.UNKNOWN, kind=RESOLVE, followed=True, traits=CHAT), GiveUp)
