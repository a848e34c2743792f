"""The outbox: order within a key, and what need not be told any more while it waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.alerting.outbox import Outbox, Row, RowState
from tests.kit.notifications import (
    NOW,
    REMINDER,
    RESOLVE,
    TRIGGER,
    UPDATE,
    alert,
    notification,
)

HOOK = "hook-1"


def waiting(outbox: Outbox) -> list[tuple[str, int]]:
    """Return kind and episode of every open row, in order."""
    return [(row.kind.value, row.notification.episode) for row in outbox.rows()]


def take(outbox: Outbox, now: float = NOW) -> Row:
    """Begin to send the row that is due."""
    row = outbox.due(HOOK, now)
    assert row is not None
    return outbox.begin(row, now=now)


def timed_out(outbox: Outbox, row: Row, *, until: float = NOW + 30) -> None:
    outbox.again(row, now=NOW, not_before=until, reason="no answer", maybe=True, silent=True)


def test_a_trigger_that_resolves_before_it_was_sent_tells_nobody() -> None:
    """Both leave the queue, and both are kept as superseded."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))

    changed = outbox.queue(notification(RESOLVE))

    assert waiting(outbox) == []
    assert {RowState.SUPERSEDED} == {row.state for row in changed}
    assert {TRIGGER, RESOLVE} == {row.kind for row in changed}


def test_of_a_flapping_backlog_the_last_trigger_remains() -> None:
    """Trigger, resolve, trigger, and nothing was attempted."""
    outbox = Outbox()
    for kind, episode in ((TRIGGER, 1), (RESOLVE, 1), (TRIGGER, 2)):
        outbox.queue(notification(kind, episode=episode))

    assert waiting(outbox) == [("trigger", 2)]


def test_a_trigger_that_waits_takes_the_content_of_later_updates() -> None:
    """One message says all, as a trigger; what resolved meanwhile was never told."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER, firing=(alert(1),)))

    outbox.queue(
        notification(UPDATE, at=NOW + 5, firing=(alert(2), alert(3)), resolved=(alert(1, firing=False),))
    )

    (row,) = outbox.rows()
    told = row.notification
    assert (told.kind, told.firing_count, told.resolved_count, told.created_at) == (TRIGGER, 2, 0, NOW)


def test_of_several_updates_the_last_one_remains_and_tells_of_all_that_resolved() -> None:
    """A reminder that joins an update is an update."""
    outbox = Outbox()
    outbox.queue(notification(UPDATE, firing=(alert(2),), resolved=(alert(1, firing=False),)))

    outbox.queue(notification(REMINDER, at=NOW + 9, firing=(alert(2),)))

    (row,) = outbox.rows()
    assert row.kind == UPDATE
    assert [alert(1).fingerprint] == [member.fingerprint for member in row.notification.resolved]


def test_a_member_that_fires_again_is_not_told_as_resolved() -> None:
    """The update before said so, but it was never sent."""
    outbox = Outbox()
    outbox.queue(notification(UPDATE, firing=(alert(2),), resolved=(alert(1, firing=False),)))

    outbox.queue(notification(UPDATE, at=NOW + 9, firing=(alert(1), alert(2))))

    (row,) = outbox.rows()
    assert (row.notification.resolved, row.notification.resolved_count) == ((), 0)


def test_an_update_behind_a_trigger_of_unknown_fate_goes_in_its_place() -> None:
    """Under its own idempotency key: under the old one the receiver might drop the new content."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    first = take(outbox)
    timed_out(outbox, first)

    outbox.queue(notification(UPDATE, at=NOW + 5, firing=(alert(1), alert(2))))

    row = outbox.due(HOOK, NOW + 5)
    assert row is not None
    assert (row.kind, row.maybe_delivered, row.notification.firing_count) == (TRIGGER, True, 2)
    assert first.idempotency_key != row.idempotency_key


def test_a_refused_trigger_that_resolves_tells_nobody() -> None:
    """Every attempt was answered with a no, so nothing of it can have arrived."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    outbox.again(take(outbox), now=NOW, not_before=NOW + 60, reason="429")

    outbox.queue(notification(RESOLVE))

    assert waiting(outbox) == []


def test_a_trigger_of_unknown_fate_is_not_repeated_once_it_resolved() -> None:
    """The resolve goes at once, without waiting for the trigger's next attempt."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    timed_out(outbox, take(outbox))

    outbox.queue(notification(RESOLVE, at=NOW + 1))

    row = outbox.due(HOOK, NOW + 1)
    assert row is not None
    assert row.kind == RESOLVE


def test_the_resolve_of_a_trigger_of_unknown_fate_is_told_once_more_after_two_minutes() -> None:
    """The trigger may land after it. It goes once more, under another idempotency key, and then no more."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    timed_out(outbox, take(outbox))
    outbox.queue(notification(RESOLVE, at=NOW + 1))
    first = take(outbox, NOW + 1)

    outbox.delivered(first, now=NOW + 2, drops_repeats=True)

    assert outbox.due(HOOK, NOW + 121) is None
    second = take(outbox, NOW + 122)
    assert (second.kind, second.is_repeat) == (RESOLVE, True)
    assert first.idempotency_key != second.idempotency_key
    outbox.delivered(second, now=NOW + 123, drops_repeats=True)
    assert waiting(outbox) == []


def test_a_receiver_without_keys_hears_no_resolve_twice() -> None:
    """It would show it to people twice."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    timed_out(outbox, take(outbox))
    outbox.queue(notification(RESOLVE, at=NOW + 1))

    outbox.delivered(take(outbox, NOW + 1), now=NOW + 2, drops_repeats=False)

    assert waiting(outbox) == []


def test_the_repeat_of_a_resolve_is_dropped_once_a_newer_trigger_waits() -> None:
    """T1 timed out, R1 was sent, T2 comes: the repeat of R1 would close T2's incident."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER, episode=1))
    timed_out(outbox, take(outbox))
    outbox.queue(notification(RESOLVE, episode=1, at=NOW + 1))
    outbox.delivered(take(outbox, NOW + 1), now=NOW + 2, drops_repeats=True)

    outbox.queue(notification(TRIGGER, episode=2, at=NOW + 10))

    assert waiting(outbox) == [("trigger", 2)]


def test_no_repeat_is_queued_where_a_newer_trigger_already_waits() -> None:
    """R1 was being sent when T2 came."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER, episode=1))
    timed_out(outbox, take(outbox))
    outbox.queue(notification(RESOLVE, episode=1, at=NOW + 1))
    resolve = take(outbox, NOW + 1)
    outbox.queue(notification(TRIGGER, episode=2, at=NOW + 2))

    outbox.delivered(resolve, now=NOW + 3, drops_repeats=True)

    assert waiting(outbox) == [("trigger", 2)]


def test_what_is_being_sent_is_left_alone_and_judged_when_its_fate_is_known() -> None:
    """A resolve that comes meanwhile waits; a trigger that was not taken takes it along."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    row = take(outbox)
    outbox.queue(notification(RESOLVE, at=NOW + 1))
    assert waiting(outbox) == [("trigger", 1), ("resolve", 1)]

    outbox.again(row, now=NOW + 2, not_before=NOW + 4, reason="connection refused")

    assert waiting(outbox) == []


def test_the_resolve_of_a_delivered_trigger_waits_for_its_turn() -> None:
    """First in, first out within a key."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    row = take(outbox)
    outbox.queue(notification(RESOLVE, at=NOW + 1))
    assert outbox.due(HOOK, NOW + 1) is None

    outbox.delivered(row, now=NOW + 2, drops_repeats=True)

    assert take(outbox, NOW + 2).kind == RESOLVE


def test_an_update_that_waits_is_moot_once_all_resolved() -> None:
    """The trigger was delivered, so the resolve is owed."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    outbox.delivered(take(outbox), now=NOW, drops_repeats=True)
    outbox.queue(notification(UPDATE, at=NOW + 1))

    outbox.queue(notification(RESOLVE, at=NOW + 2))

    assert waiting(outbox) == [("resolve", 1)]


def test_a_resolve_that_waits_long_for_an_answer_does_not_hold_up_the_next_incident() -> None:
    """It is tried again at once, and the new trigger behind it."""
    outbox = Outbox()
    outbox.queue(notification(RESOLVE, episode=1))
    timed_out(outbox, take(outbox), until=NOW + 600)

    outbox.queue(notification(TRIGGER, episode=2, at=NOW + 5))

    row = outbox.due(HOOK, NOW + 5)
    assert row is not None
    assert row.kind == RESOLVE


def test_a_trigger_that_was_rejected_is_owed_no_resolve() -> None:
    """Nobody ever heard of it, not even after a restart in between."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    (dead,) = outbox.give_up(take(outbox), now=NOW, reason="400")

    restarted = Outbox([dead])

    assert [dead] == list(outbox.lost())
    for box in (outbox, restarted):
        box.queue(notification(RESOLVE, at=NOW + 60))
        assert waiting(box) == []
        assert list(box.lost()) == []


def test_a_trigger_given_up_without_an_answer_is_owed_a_resolve_twice() -> None:
    """It may have arrived, and late."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    outbox.give_up(take(outbox), now=NOW, reason="no answer", maybe=True)

    outbox.queue(notification(RESOLVE, at=NOW + 60))

    (row,) = outbox.rows()
    assert row.repeat_wanted


@pytest.mark.parametrize("maybe", [True, False])
def test_an_end_that_was_given_up_is_owed_with_the_next_though_its_trigger_was_never_sent(
    maybe: bool,
) -> None:
    """The service may still believe in the first incident: the second pair does not go together."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    outbox.delivered(take(outbox), now=NOW, drops_repeats=False)
    outbox.queue(notification(RESOLVE))
    first_end = take(outbox)
    outbox.queue(notification(TRIGGER, episode=2))
    outbox.give_up(first_end, now=NOW, reason="no answer", maybe=maybe)

    outbox.queue(notification(RESOLVE, episode=2))

    assert waiting(outbox) == [("resolve", 2)]
    assert not list(outbox.lost())


def test_an_end_that_was_given_up_is_owed_over_a_restart() -> None:
    """It is among the rows that are kept."""
    outbox = Outbox()
    outbox.queue(notification(RESOLVE))
    outbox.give_up(take(outbox), now=NOW, reason="no answer", maybe=True)

    again = Outbox(outbox.given_up())
    again.queue(notification(TRIGGER, episode=2))
    again.queue(notification(RESOLVE, episode=2))

    assert waiting(again) == [("resolve", 2)]


def test_what_was_given_up_is_forgotten_once_something_newer_of_the_group_arrived() -> None:
    """The receiver knows of the incident then."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    outbox.give_up(take(outbox), now=NOW, reason="400")
    outbox.queue(notification(UPDATE, at=NOW + 60))

    outbox.delivered(take(outbox, NOW + 60), now=NOW + 60, drops_repeats=True)
    outbox.queue(notification(RESOLVE, at=NOW + 90))

    assert list(outbox.lost()) == []
    assert waiting(outbox) == [("resolve", 1)]


def test_what_was_being_sent_when_the_process_ended_may_have_arrived() -> None:
    """It is sent again, marked; with a resolve behind it only that is sent, and later once more."""
    sent = replace(
        Row(1, notification(TRIGGER), "a"), state=RowState.INFLIGHT, attempts=1, last_attempt_at=NOW
    )
    alone = Outbox([sent])
    (row,) = alone.recovered()
    assert (row.state, row.maybe_delivered) == (RowState.PENDING, True)

    followed = Outbox([sent, Row(2, notification(RESOLVE, at=NOW + 5), "b")])
    followed.recovered()

    (owed,) = followed.rows()
    assert (owed.kind, owed.repeat_wanted) == (RESOLVE, True)


def test_the_worst_goes_first_and_then_the_oldest_and_no_key_waits_for_another() -> None:
    """A receiver that takes one message a second hears of the critical one first."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER, key="a", severity="info"))
    outbox.queue(notification(TRIGGER, key="b", severity="critical"))
    outbox.queue(notification(TRIGGER, key="c", severity="critical"))
    outbox.queue(notification(TRIGGER, key="d", severity="unheard of"))

    order = [take(outbox).key for _ in range(4)]

    assert order == ["b", "c", "a", "d"]
    assert outbox.due(HOOK, NOW) is None


def test_a_clock_that_was_set_back_keeps_nothing_waiting() -> None:
    """What was to wait for half an hour would wait for a day and that."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER))
    outbox.again(take(outbox), now=NOW, not_before=NOW + 1_800, reason="429")
    assert outbox.due(HOOK, NOW + 1_799) is None

    assert outbox.due(HOOK, NOW - 86_400) is not None


def test_ids_go_on_after_those_that_are_stored() -> None:
    """Finished rows count too: an id given twice would overwrite one."""
    done = replace(Row(7, notification(TRIGGER), "a"), state=RowState.DONE, finished_at=NOW)

    (row,) = Outbox([done]).queue(notification(TRIGGER))

    assert row.id == 8


def test_each_attempt_of_one_notification_has_one_idempotency_key_and_each_notification_its_own() -> None:
    """What a receiver drops by that key is a repeat and nothing else."""
    outbox, other = Outbox(), Outbox()
    (row,) = outbox.queue(notification(TRIGGER))
    timed_out(outbox, take(outbox))
    (again,) = outbox.rows()
    others = [
        *other.queue(notification(TRIGGER, key="z")),
        *other.queue(notification(TRIGGER, key="y", episode=2)),
        *other.queue(notification(TRIGGER, key="x", at=NOW + 1)),
        *other.queue(notification(RESOLVE, key="w")),
    ]

    assert row.idempotency_key == again.idempotency_key
    assert len({row.idempotency_key, *(other.idempotency_key for other in others)}) == 5


STEPS = st.lists(
    st.sampled_from(("fire", "more", "over", "deliver", "lose", "refuse", "reject", "restart")), max_size=40
)


@given(STEPS)
def test_whatever_happens_a_receiver_with_keys_ends_up_with_what_is_true(steps: list[str]) -> None:
    """After any order of events and a receiver that takes everything at the end, an incident is open
    there exactly if the group fires; and no resolve is told of an incident that cannot have been told."""
    outbox, fires, episode, now = Outbox(), False, 0, NOW
    opened: set[int] = set()  # episodes that reached the service, or may have
    is_open = is_owed = False
    rows: dict[int, Row] = {}

    def told(row: Row) -> None:
        nonlocal is_open, is_owed
        if row.kind is RESOLVE:
            # or it stands in for the end of an earlier one, which was given up
            assert row.notification.episode in opened or is_owed
        else:
            opened.add(row.notification.episode)
            is_owed = False
        is_open = row.kind is not RESOLVE

    for step in [*steps, *["deliver"] * 60]:
        now += 1.0
        changed: tuple[Row, ...] = ()
        if step in ("fire", "more", "over"):
            if step == "fire" and not fires:
                fires, episode = True, episode + 1
                changed = outbox.queue(notification(TRIGGER, at=now, episode=episode))
            elif step == "more" and fires:
                changed = outbox.queue(notification(UPDATE, at=now, episode=episode))
            elif step == "over" and fires:
                fires = False
                changed = outbox.queue(notification(RESOLVE, at=now, episode=episode))
        elif step == "restart":
            outbox = Outbox(rows[id] for id in sorted(rows))
            changed = outbox.recovered()
        else:
            due = outbox.due(HOOK, now + 1_000.0)
            if due is None:
                continue
            row = outbox.begin(due, now=now)
            if step == "deliver":
                told(row)
                changed = (row, *outbox.delivered(row, now=now, drops_repeats=True))
            elif step == "lose":
                told(row)
                changed = outbox.again(row, now=now, not_before=now, reason="", maybe=True, silent=True)
            elif step == "refuse":
                changed = outbox.again(row, now=now, not_before=now, reason="")
            else:
                is_owed = is_owed or row.kind is RESOLVE
                changed = outbox.give_up(row, now=now, reason="400")
        rows |= {row.id: row for row in changed}

    if "reject" not in steps:
        assert fires == is_open
    assert list(outbox.rows()) == []


@pytest.mark.parametrize("drops_repeats", [True, False])
def test_rows_of_one_receiver_are_told_apart_from_those_of_another(drops_repeats: bool) -> None:
    """The same key at two receivers is two queues."""
    outbox = Outbox()
    outbox.queue(notification(TRIGGER, receiver="a"))
    outbox.queue(notification(TRIGGER, receiver="b"))
    row = outbox.due("a", NOW)
    assert row is not None
    outbox.delivered(outbox.begin(row, now=NOW), now=NOW, drops_repeats=drops_repeats)

    assert [row.receiver for row in outbox.rows()] == ["b"]
    assert list(outbox.rows("a")) == []
