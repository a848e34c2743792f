"""One alert from its first true evaluation to the hour after its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.alerting.lifecycle import advance, after_restart
from exporter.alerting.words import Alert, AlertState, Finding, Operator, Rule
from tests.kit.timeline import a_rule, critical, pairs

SERIES = pairs({"qdrant_cluster": "shop", "peer": "a"})
PENDING, FIRING, RESOLVED = AlertState.PENDING, AlertState.FIRING, AlertState.RESOLVED
STEP = 15.0


class Life:
    """One alert, advanced every 15 s unless a test says when."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.now = 1_000_000.0
        self.alert: Alert | None = None

    def find(
        self,
        verdict: bool | None,
        *,
        times: int = 1,
        value: float | None = None,
        gone: str = "",
        partial: bool = False,
        excused: bool = False,
    ) -> AlertState | None:
        """Find the same so many times; return the state after the last."""
        for _ in range(times):
            finding = Finding(
                self.rule, self.rule.levels[0], SERIES, verdict, value, 10.0,
                gone=gone, partial=partial, excused=excused,
            )  # fmt: skip
            self.alert = advance(self.alert, finding, self.now)
            self.now += STEP
        return self.state

    @property
    def state(self) -> AlertState | None:
        """The state now; None: no alert."""
        return None if self.alert is None else self.alert.state

    @property
    def known(self) -> Alert:
        """The alert, which must be there."""
        assert self.alert is not None
        return self.alert


def life(
    *,
    for_seconds: float = 0.0,
    keep: float = 0.0,
    clear: float | None = None,
    op: Operator = Operator.GREATER,
) -> Life:
    """Return an alert's life before it began."""
    return Life(a_rule("PeerDown", critical(for_seconds, clear=clear), keep_firing_for=keep, op=op))


def firing(*, keep: float = 0.0, clear: float | None = None, for_seconds: float = 0.0) -> Life:
    """Return one that fires, 15 s after it began to."""
    one = life(for_seconds=for_seconds, keep=keep, clear=clear)
    one.find(True, times=int(for_seconds // STEP) + 1)
    assert one.state is FIRING
    return one


def test_what_is_not_true_is_no_alert() -> None:
    """False, undecided and gone make nothing out of nothing."""
    assert life().find(False) is None
    assert life().find(None) is None
    assert life().find(False, gone="the collection is gone") is None


def test_without_a_hold_time_it_fires_at_once() -> None:
    """The evaluation that finds it is the one that fires."""
    one = life()

    assert one.find(True, value=12.0) is FIRING
    assert (one.known.fired_at, one.known.value, one.known.episode) == (1_000_000.0, 12.0, 1)


def test_it_fires_in_the_evaluation_in_which_the_hold_time_is_over() -> None:
    """As in Prometheus: not one later."""
    one = life(for_seconds=60.0)

    assert one.find(True, times=4) is PENDING
    assert one.find(True) is FIRING
    assert one.known.active_since == 1_000_000.0


def test_one_false_evaluation_begins_the_hold_time_anew() -> None:
    """Pending alerts are dropped, as in Prometheus."""
    one = life(for_seconds=60.0)
    one.find(True, times=4)

    assert one.find(False) is None
    assert one.find(True, times=4) is PENDING
    assert one.find(True) is FIRING


def test_without_keep_firing_for_it_resolves_at_once() -> None:
    """The reason of such an end is that it recovered."""
    one = firing()

    assert one.find(False, value=3.0) is RESOLVED
    assert (one.known.end_reason, one.known.resolved_at, one.known.value) == (
        "recovered",
        one.now - STEP,
        3.0,
    )


def test_keep_firing_for_runs_from_the_first_false_evaluation() -> None:
    """It resolves in the evaluation in which that time is over."""
    one = firing(keep=60.0)

    assert one.find(False, times=4) is FIRING
    assert one.find(False) is RESOLVED


def test_keep_firing_for_begins_anew_when_it_is_true_again() -> None:
    """Only a whole time without trouble ends it."""
    one = firing(keep=60.0)
    one.find(False, times=4)
    one.find(True)

    assert one.find(False, times=4) is FIRING
    assert one.find(False) is RESOLVED


def test_undecided_moves_the_hold_time_on() -> None:
    """Only time in which it was known to be true counts."""
    one = life(for_seconds=60.0)
    one.find(True, times=3)
    one.find(None, times=10)

    assert one.find(True) is PENDING
    assert one.find(True) is FIRING


def test_undecided_moves_keep_firing_for_on() -> None:
    """Only time in which it was known to be over counts."""
    one = firing(keep=60.0)
    one.find(False, times=3)
    one.find(None, times=10)

    assert one.find(False) is FIRING
    assert one.find(False) is RESOLVED


def test_undecided_says_since_when() -> None:
    """And no longer when something is decided."""
    one = firing()
    one.find(None, times=3)

    assert one.known.undecided_since == 1_000_000.0 + STEP
    one.find(True)
    assert one.known.undecided_since is None


@pytest.mark.parametrize("state", [PENDING, FIRING])
def test_undecided_ends_nothing(state: AlertState) -> None:
    """Not after a day either."""
    one = firing() if state is FIRING else life(for_seconds=60.0)
    one.find(True)

    assert one.find(None, times=6_000) is state


def test_a_value_that_is_not_clear_yet_goes_on_firing() -> None:
    """Between threshold 10 and clear 7 it stays; at 7 it ends."""
    one = firing(clear=7.0)

    assert one.find(False, value=9.0, times=100) is FIRING
    assert one.find(False, value=7.0) is RESOLVED


def test_clear_makes_no_alert_of_a_value_that_never_crossed_the_threshold() -> None:
    """It is for what fires; pending is dropped below the threshold."""
    one = life(for_seconds=60.0, clear=7.0)
    one.find(True)

    assert one.find(False, value=9.0) is None


def test_clear_stops_keep_firing_for_as_truth_does() -> None:
    """A value that is not clear is trouble."""
    one = firing(keep=60.0, clear=7.0)
    one.find(False, value=1.0, times=4)
    one.find(False, value=9.0)

    assert one.find(False, value=1.0, times=4) is FIRING
    assert one.find(False, value=1.0) is RESOLVED


def test_a_value_beyond_the_threshold_that_is_no_trouble_ends_despite_clear() -> None:
    """The rule's `when` no longer holds; hysteresis has no say in that."""
    assert firing(clear=7.0).find(False, value=12.0) is RESOLVED


def test_a_value_that_does_not_count_ends_though_it_is_not_clear_yet() -> None:
    """The rule's `when` does not hold any more."""
    one = firing(clear=7.0)
    assert one.find(False, value=8.0) is FIRING

    assert one.find(False, value=8.0, excused=True) is RESOLVED


def test_clear_of_a_rule_that_fires_below_is_above() -> None:
    """The safe side is the other side of the comparison."""
    one = Life(a_rule("RecallLow", replace(critical(), threshold=0.95, clear=0.97), op=Operator.LESS))
    one.find(True, value=0.9)

    assert one.find(False, value=0.96) is FIRING
    assert one.find(False, value=0.97) is RESOLVED


def test_a_history_that_is_too_short_ends_nothing() -> None:
    """False by a window that began before we did counts as undecided for an alert, else as false."""
    one = firing()

    assert one.find(False, partial=True, times=5) is FIRING
    assert life().find(False, partial=True) is None
    assert one.find(False) is RESOLVED


def test_what_is_gone_ends_at_once_with_its_reason() -> None:
    """Neither keep_firing_for nor the flap guard waits for what will never come back."""
    one = firing(keep=600.0)

    assert one.find(False, gone="the collection is gone") is RESOLVED
    assert one.known.end_reason == "the collection is gone"


def test_what_is_gone_while_pending_is_dropped() -> None:
    """Nobody knew of it."""
    one = life(for_seconds=60.0)
    one.find(True)

    assert one.find(False, gone="the collection is gone") is None


def test_a_longer_hold_time_does_not_demote_what_fires() -> None:
    """In Prometheus it would; the page has been sent."""
    one = firing(for_seconds=60.0)
    one.rule = a_rule("PeerDown", critical(3_600.0))

    assert one.find(True) is FIRING


def test_a_resolved_alert_is_kept_for_an_hour() -> None:
    """For its turns, and for Alertmanager."""
    one = firing()
    one.find(False)

    assert one.find(False, times=239) is RESOLVED
    assert one.find(False) is None


def test_a_pending_alert_remembers_that_it_was_resolved_lately() -> None:
    """When it is dropped it is again what it was."""
    one = Life(a_rule("PeerDown", critical()))
    one.find(True)
    one.find(False)
    resolved_at = one.known.resolved_at
    one.rule = a_rule("PeerDown", critical(60.0))

    assert one.find(True) is PENDING
    assert one.find(False) is RESOLVED
    assert one.known.resolved_at == resolved_at


def test_a_firing_is_an_episode() -> None:
    """Counted over the ends between them."""
    one = firing()
    one.find(False)
    one.find(True)

    assert one.known.episode == 2
    assert (one.known.resolved_at, one.known.end_reason) == (None, "")


def test_what_turned_four_times_in_an_hour_ends_after_a_quarter_of_an_hour() -> None:
    """The third firing within the hour goes on until there was no trouble for 15 minutes."""
    one = life()
    for _ in range(2):
        one.find(True)
        one.find(False)
    one.find(True)

    assert one.known.flapping
    assert one.find(False, times=60) is FIRING
    assert one.find(False) is RESOLVED


def test_it_flaps_no_longer_when_its_turns_are_an_hour_old() -> None:
    """Then it ends as others do."""
    one = life()
    for _ in range(2):
        one.find(True)
        one.find(False)
    one.find(True, times=241)

    assert not one.known.flapping
    assert one.find(False) is RESOLVED


def test_a_clock_set_back_delays_nothing_for_long() -> None:
    """Times that lie ahead count as now."""
    one = life(for_seconds=60.0)
    one.find(True, times=2)
    one.now -= 86_400.0

    assert one.find(True, times=4) is PENDING
    assert one.find(True) is FIRING


def test_a_restart_stops_the_hold_time_while_nothing_is_known() -> None:
    """Neither the time down nor that until the first poll counts."""
    one = life(for_seconds=60.0)
    one.find(True, times=3)
    evaluated_at = one.now - STEP
    one.now += 600.0
    one.alert = after_restart(one.known, evaluated_at=evaluated_at, now=one.now)
    one.find(None, times=4)

    assert one.find(True, times=2) is PENDING
    assert one.find(True) is FIRING


def test_what_was_pending_is_dropped_after_an_hour_down() -> None:
    """What is true now begins anew."""
    one = life(for_seconds=60.0)
    one.find(True)
    now = one.now + 3_601.0

    assert after_restart(one.known, evaluated_at=one.now, now=now) is None


def test_what_fires_goes_on_firing_after_any_time_down() -> None:
    """Its end must be told, so it is not forgotten."""
    one = firing()

    restored = after_restart(one.known, evaluated_at=one.now, now=one.now + 864_000.0)

    assert restored is not None
    assert restored.state is FIRING


def test_a_restart_in_an_undecided_time_prolongs_it() -> None:
    """It is undecided since before."""
    one = firing()
    one.find(None)

    restored = after_restart(one.known, evaluated_at=one.now, now=one.now + 60.0)

    assert restored is not None
    assert restored.undecided_since == one.known.undecided_since
