"""When a group is told what: one receiver, one key, and a few alerts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from exporter.alerting.grouping import (
    Decision,
    Pace,
    Standing,
    decide,
    farewell,
    keep_telling,
    pace_of,
    taken_back,
)
from exporter.alerting.routing import ResolvedRoute
from exporter.alerting.words import Alert, AlertState, Group, NotificationKind

T = 10_000.0
PACE = Pace(wait=30.0, interval=300.0, repeat=3_600.0)
AT_ONCE = replace(PACE, wait=0.0)
QUIET = Group("ops-1", "key", (("alertname", "PeerDown"),), "warning")
TRIGGER, UPDATE = NotificationKind.TRIGGER, NotificationKind.UPDATE
REMINDER, RESOLVE = NotificationKind.REMINDER, NotificationKind.RESOLVE


def heard(*fingerprints: str, at: float = T) -> Group:
    """Return a group that was told of these."""
    return replace(QUIET, heard=fingerprints, notified_at=at, episode=1)


def an_alert(fingerprint: str, resolved_at: float | None = None) -> Alert:
    """Return an alert that fires, or was resolved then."""
    state = AlertState.FIRING if resolved_at is None else AlertState.RESOLVED
    return Alert(fingerprint, "PeerDown", (), state, T, T, fired_at=T, resolved_at=resolved_at)


def standing(eligible: str = "", held: str = "", done: str = "", *, resolved_at: float = T) -> Standing:
    """Return alerts by their letters: to be told, fire but held back, no longer firing."""

    def alerts(letters: Iterable[str]) -> dict[str, Alert]:
        return {letter: an_alert(letter) for letter in letters}

    over = {letter: an_alert(letter, resolved_at) for letter in done}
    return Standing(alerts(eligible), alerts(eligible + held), over)


def decided(
    group: Group, now_is: Standing, *, after: float, pace: Pace = PACE, reminds: bool = True
) -> Decision:
    """Decide so many seconds after T."""
    return decide(group, now_is, pace, now=T + after, reminds=reminds)


def test_a_first_alert_waits_for_company() -> None:
    """30 seconds from when it could be told."""
    waiting = decided(QUIET, standing("a"), after=0)

    assert waiting == Decision(replace(QUIET, first_active_at=T), None, T + 30)
    assert waiting.group is not None
    told = decided(waiting.group, standing("ab"), after=30)
    assert told.told is TRIGGER
    assert told.group == replace(QUIET, heard=("a", "b"), notified_at=T + 30, episode=1)


def test_a_group_that_waits_for_nobody_is_told_at_once() -> None:
    """And reminded of after repeat_interval."""
    assert decided(QUIET, standing("a"), after=0, pace=AT_ONCE) == Decision(heard("a"), TRIGGER, T + 3_600)


def test_what_ends_within_the_wait_is_told_to_nobody() -> None:
    """The wait begins anew with the next alert."""
    waiting = replace(QUIET, first_active_at=T)

    assert decided(waiting, standing(), after=10) == Decision(None)


def test_what_joins_is_told_after_group_interval() -> None:
    """From the last notification."""
    before = decided(heard("a"), standing("ab"), after=299)
    after = decided(heard("a"), standing("ab"), after=300)

    assert (before.told, before.due_at) == (None, T + 300)
    assert (after.told, after.group) == (UPDATE, heard("a", "b", at=T + 300))


def test_what_joins_a_group_that_waits_for_nobody_is_told_at_once() -> None:
    """Another critical alert is no less urgent."""
    assert decided(heard("a"), standing("ab"), after=1, pace=AT_ONCE).told is UPDATE


def test_what_ends_while_others_fire_is_told_after_group_interval() -> None:
    """As an update."""
    before = decided(heard("a", "b"), standing("a", done="b"), after=299, pace=AT_ONCE)
    after = decided(heard("a", "b"), standing("a", done="b"), after=300, pace=AT_ONCE)

    assert (before.told, before.due_at) == (None, T + 300)
    assert (after.told, after.group) == (UPDATE, heard("a", at=T + 300))


def test_the_end_of_all_is_told_after_group_interval() -> None:
    """And the group is remembered for a day, to go on counting its episodes."""
    before = decided(heard("a"), standing(done="a"), after=299)
    after = decided(heard("a"), standing(done="a"), after=300)

    assert (before.told, before.due_at) == (None, T + 300)
    assert after == Decision(heard(at=T + 300), RESOLVE, T + 300 + 86_400)


def test_an_alert_that_is_not_known_any_more_is_over() -> None:
    """Heard, and neither firing nor among those that ended."""
    assert decided(heard("a"), standing(), after=300).told is RESOLVE


def test_a_group_that_fires_again_before_its_end_is_told_is_not_over() -> None:
    """With another alert it is an update, with the same there is nothing to tell."""
    same = decided(heard("a"), standing("a"), after=300)
    another = decided(heard("a"), standing("b", done="a"), after=300)

    assert same.told is None
    assert (another.told, another.group) == (UPDATE, heard("b", at=T + 300))


def test_the_next_incident_is_another_episode() -> None:
    """Within the day in which the group is remembered."""
    told = decided(heard(), standing("a"), after=1_000, pace=AT_ONCE)

    assert told.told is TRIGGER
    assert told.group is not None
    assert told.group.episode == 2


def test_a_group_is_forgotten_a_day_after_its_end() -> None:
    """Not before."""
    assert decided(heard(), standing(), after=86_399).group == heard()
    assert decided(heard(), standing(), after=86_400) == Decision(None)


def test_a_reminder_comes_after_repeat_interval() -> None:
    """And again after as long."""
    before = decided(heard("a"), standing("a"), after=3_599)
    after = decided(heard("a"), standing("a"), after=3_600)

    assert (before.told, before.due_at) == (None, T + 3_600)
    assert after == Decision(heard("a", at=T + 3_600), REMINDER, T + 7_200)


def test_a_receiver_that_only_logs_reminders_gets_none() -> None:
    """PagerDuty's incident is open anyway."""
    assert decided(heard("a"), standing("a"), after=86_400, reminds=False) == Decision(heard("a"))


def test_what_is_held_back_begins_nothing() -> None:
    """Silenced, muted or inhibited."""
    assert decided(QUIET, standing(), after=100) == Decision(None)


def test_a_group_that_is_held_back_whole_is_not_told_of_joining_ends_and_reminders() -> None:
    """An update would ring where somebody just made it quiet."""
    assert decided(heard("a", "b"), standing(held="a", done="b"), after=10_000) == Decision(heard("a", "b"))


def test_what_is_held_back_is_told_when_it_ends() -> None:
    """Whoever heard it must hear its end."""
    assert decided(heard("a"), standing(done="a"), after=300).told is RESOLVE


def test_what_fires_unheard_does_not_keep_the_end_back() -> None:
    """Nobody knows of what is silenced from its start."""
    one_held = Standing(eligible={}, firing={}, done={"a": an_alert("a", T)})

    assert decided(heard("a"), one_held, after=300).told is RESOLVE


@pytest.mark.parametrize("group", [replace(QUIET, first_active_at=T + 86_400), heard("a", at=T + 86_400)])
def test_a_clock_set_back_delays_nothing_for_long(group: Group) -> None:
    """Times that lie ahead count as now."""
    decision = decided(group, standing("ab"), after=0)

    assert decision.due_at is not None
    assert decision.due_at <= T + 300


def test_the_pace_of_a_group_is_the_shortest_of_the_routes_to_it() -> None:
    """Each time by itself."""
    first = ResolvedRoute("ops", (), 10.0, 600.0, 3_600.0)
    second = ResolvedRoute("ops", (), None, 60.0, 7_200.0)

    assert pace_of([first, second], "warning") == Pace(10.0, 60.0, 3_600.0)
    assert pace_of([second], "critical").wait == 0.0


def test_a_group_that_no_route_leads_to_any_more_ends_as_soon_as_its_alerts_do() -> None:
    """A reload changed the route or group_by: no interval is configured for it any more."""
    pace = pace_of([], "warning")

    assert decide(heard("a"), standing(done="a"), pace, now=T + 1, reminds=True).told is RESOLVE
    assert decide(heard("a", "b"), standing(held="b", done="a"), pace, now=T + 1, reminds=True).told is None


def test_a_receiver_that_leaves_is_told_that_all_is_over() -> None:
    """If it heard anything, and by this daemon's notifications."""
    assert farewell(heard("a")) == Decision(None, RESOLVE)
    assert farewell(heard()) == Decision(None)
    assert farewell(replace(QUIET, heard=("a",))) == Decision(None)


def test_a_receiver_that_leaves_is_told_why_an_alert_is_over_for_it() -> None:
    """It still fires, but not there."""
    back = taken_back(an_alert("a"), now=T + 5)

    assert (back.state, back.resolved_at) == (AlertState.RESOLVED, T + 5)
    assert back.end_reason == "this receiver is no longer configured"
    assert taken_back(an_alert("a", T), now=T + 5) == an_alert("a", T)


def test_a_receiver_of_the_whole_state_is_told_at_once_and_of_ends_for_a_quarter_of_an_hour() -> None:
    """It has a pace of its own."""
    first = keep_telling(QUIET, standing("a"), now=T)
    ended = keep_telling(replace(QUIET, heard=("a",)), standing(done="a"), now=T + 899)
    over = keep_telling(replace(QUIET, heard=("a",)), standing(done="a"), now=T + 900)

    assert first == Decision(replace(QUIET, heard=("a",)), None, None)
    assert ended == Decision(replace(QUIET, heard=("a",)), None, T + 900)
    assert over == Decision(None)


def test_a_receiver_of_the_whole_state_goes_on_being_told_of_what_is_held_back_later() -> None:
    """Silence there is its own affair; what it never heard it is not told."""
    told = replace(QUIET, heard=("a",))

    assert keep_telling(told, standing(held="a"), now=T).group == told
    assert keep_telling(QUIET, Standing({}, {}, {}), now=T) == Decision(None)
