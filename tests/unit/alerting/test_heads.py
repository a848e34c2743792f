"""Which row is due: as looking at all of them would tell, and what that costs in a storm."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from exporter.alerting.backoff import RETRY_AFTER_CAP_SECONDS
from exporter.alerting.heads import Head, Heads
from exporter.alerting.outbox import Outbox, Row, RowState
from exporter.alerting.words import NotificationKind, severity_rank
from tests.kit.calls import calls_of
from tests.kit.notifications import NOW, REMINDER, RESOLVE, TRIGGER, UPDATE, notification

RECEIVERS = ("hook-1", "mail-1")
SEVERITIES = {"a": "info", "b": "critical", "c": "critical", "d": "warning", "e": "unheard of"}
# Forth, back, and back by more than anything may wait.
TIMES = (0.0, 1.0, 30.0, 120.0, 3_600.0, 3_601.0, -1.0, -60.0, -4_000.0)
KINDS = (TRIGGER, UPDATE, REMINDER, RESOLVE)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("queue", "queue", "begin", "begin", "deliver", "again", "give up", "hold", "restart")
        ),
        st.sampled_from(RECEIVERS),
        st.sampled_from(tuple(SEVERITIES)),
        st.sampled_from(KINDS),
        st.sampled_from(TIMES),  # by which the clock is moved
        st.sampled_from(TIMES),  # that it waits from then
    ),
    max_size=60,
)


@dataclass
class Storm:
    """An outbox, what it stored, and what is being sent."""

    outbox: Outbox = field(default_factory=Outbox)
    stored: dict[int, Row] = field(default_factory=dict)
    now: float = NOW

    def step(self, what: str, receiver: str, key: str, kind: NotificationKind, wait: float) -> None:
        """Do one thing, where it can be done."""
        changed: tuple[Row, ...] = ()
        sending = [row for row in self.outbox.rows(receiver) if row.state is RowState.INFLIGHT]
        waiting = heads_of(self.outbox, receiver)
        if what == "queue":
            told = notification(kind, receiver=receiver, key=key, at=self.now, severity=SEVERITIES[key])
            changed = self.outbox.queue(told)
        elif what == "restart":
            self.outbox = Outbox(self.stored[id] for id in sorted(self.stored))
            changed = self.outbox.recovered()
        elif what == "hold" and waiting:
            self.outbox.hold(waiting[0], until=self.now + wait)
        elif what == "begin" and (due := self.outbox.due(receiver, self.now)) is not None:
            changed = (self.outbox.begin(due, now=self.now),)
        elif what == "deliver" and sending:
            changed = self.outbox.delivered(sending[0], now=self.now, drops_repeats=True)
        elif what == "again" and sending:
            changed = self.outbox.again(
                sending[0], now=self.now, not_before=self.now + wait, reason="", maybe=True, silent=True
            )
        elif what == "give up" and sending:
            changed = self.outbox.give_up(sending[0], now=self.now, reason="400")
        self.stored |= {row.id: row for row in changed}


def heads_of(outbox: Outbox, receiver: str) -> list[Row]:
    """Return the first row of every key, of those that wait."""
    first: dict[str, Row] = {}
    for row in outbox.rows(receiver):
        first.setdefault(row.key, row)
    return [row for row in first.values() if row.state is RowState.PENDING]


def due_by_looking(outbox: Outbox, receiver: str, now: float) -> Row | None:
    """Return what is due by looking at every row."""
    ready = [
        row for row in heads_of(outbox, receiver) if not 0.0 < row.not_before - now <= RETRY_AFTER_CAP_SECONDS
    ]
    return min(ready, key=lambda row: (severity_rank(row.notification.severity), row.id), default=None)


@given(STEPS)
def test_what_is_due_is_what_looking_at_every_row_would_tell(
    steps: list[tuple[str, str, str, NotificationKind, float, float]],
) -> None:
    """After any order of events, and by a clock that goes forth and back."""
    storm = Storm()
    for what, receiver, key, kind, moved, wait in steps:
        storm.now += moved
        storm.step(what, receiver, key, kind, wait)
        outbox = storm.outbox
        for each in RECEIVERS:
            times = [row.not_before for row in heads_of(outbox, each)]
            assert outbox.due_at(each) == min(times, default=None)
            for now in (storm.now, storm.now + wait, storm.now - 3_500.0, storm.now - 5_000.0):
                assert outbox.due(each, now) == due_by_looking(outbox, each, now)
        assert outbox.receivers() == {row.receiver for row in outbox.rows()}


def delivered_one_by_one(groups: int) -> None:
    """Queue so many groups, then deliver them."""
    outbox = Outbox()
    for number in range(groups):
        outbox.queue(notification(TRIGGER, key=f"k{number}", severity=("critical", "info")[number % 2]))
    while (row := outbox.due("hook-1", NOW)) is not None:
        outbox.due_at("hook-1")
        outbox.delivered(outbox.begin(row, now=NOW), now=NOW, drops_repeats=True)


def test_what_waits_longer_than_anything_may_is_due_beside_what_waits_rightly() -> None:
    """The clock was set back after it was put off; then the time came nearer all the same."""
    heads = Heads()
    heads.put("rightly", Head(NOW + 60.0, 0, 1))
    heads.put("too long", Head(NOW + RETRY_AFTER_CAP_SECONDS + 10.0, 0, 2))

    assert heads.due(NOW) == "too long"
    assert heads.due(NOW + 10.0) is None
    assert heads.due(NOW + 60.0) == "rightly"


def test_ten_times_the_groups_cost_ten_times_as_much_to_deliver() -> None:
    """Looking at all of them for each of them would cost a hundred times as much."""
    few = calls_of(lambda: delivered_one_by_one(50))
    many = calls_of(lambda: delivered_one_by_one(500))

    assert many < 12 * few


def test_a_receiver_that_is_down_for_weeks_costs_no_memory() -> None:
    """Each attempt puts its key elsewhere in the order; where it stood is swept out."""
    heads = Heads()
    heads.put("first", Head(NOW, 0, 1))
    heads.put("last", Head(2 * NOW, 0, 2))
    tracemalloc.start()
    try:
        for attempt in range(20_000):
            heads.put("down", Head(NOW + attempt, 0, 3))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert grown < 200_000
