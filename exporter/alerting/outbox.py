"""What is still to be told, to whom, and in which order. Pure: no clock, no disk, no network.

First in, first out per receiver and key; keys do not wait for each other. What need not be told any
more is superseded while it waits. Every function returns the rows it changed, for the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from exporter.alerting.grouping import MAX_MEMBERS
from exporter.alerting.heads import Head, Heads
from exporter.alerting.words import Notification, NotificationKind, severity_rank

# PagerDuty takes events in without order: a trigger that timed out may land after its resolve.
REPEAT_RESOLVE_SECONDS = 120.0


class RowState(StrEnum):
    """Where a notification is on its way."""

    PENDING = "pending"
    INFLIGHT = "inflight"  # being sent; found so at a start, it may have arrived
    DONE = "done"
    DEAD = "dead"  # given up
    SUPERSEDED = "superseded"  # need not be told any more


OPEN = frozenset({RowState.PENDING, RowState.INFLIGHT})


@dataclass(frozen=True, slots=True)
class Row:
    """One notification on its way to one receiver. Replaced whole. JSON-able by msgspec."""

    id: int  # in order of queueing
    notification: Notification
    idempotency_key: str
    state: RowState = RowState.PENDING
    not_before: float = 0.0  # Unix seconds
    attempts: int = 0
    unknowns: int = 0  # attempts without an answer
    maybe_delivered: bool = False
    last_attempt_at: float | None = None
    finished_at: float | None = None
    reason: str = ""  # of the last failure, or of its end
    repeat_wanted: bool = False  # a resolve whose trigger may land late
    is_repeat: bool = False  # it is that second resolve

    @property
    def receiver(self) -> str:
        """The receiver's id."""
        return self.notification.receiver

    @property
    def key(self) -> str:
        """The key of the group."""
        return self.notification.key

    @property
    def kind(self) -> NotificationKind:
        """Why somebody is told."""
        return self.notification.kind

    @property
    def is_untried(self) -> bool:
        """Whether it waits for its first attempt."""
        return self.state is RowState.PENDING and self.attempts == 0


class Outbox:
    """The rows that are open, in memory."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        """`rows` are in order of id, finished ones too: they tell what is owed no resolve."""
        self._queues: dict[str, dict[str, list[Row]]] = {}
        self._heads: dict[str, Heads] = {}  # of the same receivers
        self._given_up: dict[tuple[str, str], Row] = {}  # and nothing of the group arrived since
        self._next_id = 1
        for row in rows:
            self._next_id = row.id + 1
            if row.state in OPEN:
                self._append(row)
            else:
                self._remember(row)

    # --- reading -----------------------------------------------------------------------------------

    def rows(self, receiver: str | None = None) -> Iterator[Row]:
        """Yield every open row, of one receiver or of all."""
        for name in tuple(self._queues) if receiver is None else (receiver,):
            for queue in self._queues.get(name, {}).values():
                yield from queue

    def lost(self, receiver: str | None = None) -> Iterator[Row]:
        """Yield what was given up of groups that nothing was told about since, and that did not resolve."""
        for row in self._given_up.values():
            if receiver in (None, row.receiver) and row.kind is not NotificationKind.RESOLVE:
                yield row

    def given_up(self) -> Iterator[Row]:
        """Yield all that was given up and still matters: what is lost, and ends maybe nobody heard."""
        yield from self._given_up.values()

    def due(self, receiver: str, now: float) -> Row | None:
        """Return the row to send next to a receiver: worst severity first, then the oldest."""
        heads = self._heads.get(receiver)
        key = None if heads is None else heads.due(now)
        return None if key is None else self._queues[receiver][key][0]

    def due_at(self, receiver: str) -> float | None:
        """Return when the next row is due, in Unix seconds; None when none waits for that."""
        heads = self._heads.get(receiver)
        return None if heads is None else heads.due_at()

    def receivers(self) -> frozenset[str]:
        """Return the ids of all receivers that something waits for."""
        return frozenset(self._queues)

    def is_followed(self, row: Row) -> bool:
        """Whether something waits behind a row that is being sent."""
        return len(self._queues[row.receiver][row.key]) > 1

    # --- changing ----------------------------------------------------------------------------------

    def queue(self, notification: Notification) -> tuple[Row, ...]:
        """Take a notification in, and out what it makes needless."""
        row = self._new(notification)
        queue = self._queues.get(row.receiver, {}).get(row.key)
        if queue and queue[-1].kind is NotificationKind.RESOLVE and queue[-1].unknowns:
            # It waits long for want of an answer; what fires now must not wait with it.
            self._put(replace(queue[-1], not_before=0.0))
        self._append(row)
        changed = self._collapsed(row.receiver, row.key, notification.created_at)
        return changed if any(other.id == row.id for other in changed) else (*changed, row)

    def begin(self, row: Row, *, now: float) -> Row:
        """Mark a row as being sent."""
        sent = replace(row, state=RowState.INFLIGHT, attempts=row.attempts + 1, last_attempt_at=now)
        self._put(sent)
        return sent

    def hold(self, row: Row, *, until: float) -> None:
        """Let a row wait without an attempt."""
        self._put(replace(row, not_before=until))

    def delivered(self, row: Row, *, now: float, drops_repeats: bool) -> tuple[Row, ...]:
        """Take a row off; a resolve whose trigger may land late is queued once more."""
        done = replace(row, state=RowState.DONE, finished_at=now, reason="")
        followed = self._take_off(done)
        if followed or not (row.repeat_wanted and drops_repeats):
            return (done,)
        again = replace(
            self._new(row.notification, again=True), not_before=now + REPEAT_RESOLVE_SECONDS, is_repeat=True
        )
        self._append(again)
        return (done, again)

    def again(
        self,
        row: Row,
        *,
        now: float,
        not_before: float,
        reason: str,
        maybe: bool = False,
        silent: bool = False,
    ) -> tuple[Row, ...]:
        """Put a row back; what waits behind it by now decides what is still told.

        `maybe`: it may have arrived; `silent`: there was no answer at all.
        """
        back = replace(
            row,
            state=RowState.PENDING,
            not_before=not_before,
            reason=reason,
            maybe_delivered=row.maybe_delivered or maybe,
            unknowns=row.unknowns + silent,
        )
        self._put(back)
        return self._collapsed(row.receiver, row.key, now) or (back,)

    def give_up(self, row: Row, *, now: float, reason: str, maybe: bool = False) -> tuple[Row, ...]:
        """Take a row off for good. A resolve that waits for a trigger which was never taken goes too."""
        maybe = maybe or row.maybe_delivered
        dead = replace(row, state=RowState.DEAD, finished_at=now, reason=reason, maybe_delivered=maybe)
        followed = self._take_off(dead)
        return (dead, *(self._collapsed(row.receiver, row.key, now) if followed else ()))

    def recovered(self) -> tuple[Row, ...]:
        """Take back what was being sent when the process ended: it may have arrived."""
        changed: list[Row] = []
        for row in [row for row in self.rows() if row.state is RowState.INFLIGHT]:
            now = row.last_attempt_at or 0.0
            changed += self.again(row, now=now, not_before=0.0, reason="stopped while sending", maybe=True)
        return tuple(changed)

    def _new(self, notification: Notification, *, again: bool = False) -> Row:
        row = Row(self._next_id, notification, _idempotency_key(notification, again))
        self._next_id += 1
        return row

    def _append(self, row: Row) -> None:
        self._queues.setdefault(row.receiver, {}).setdefault(row.key, []).append(row)
        self._changed(row.receiver, row.key)

    def _put(self, row: Row) -> None:
        queue = self._queues[row.receiver][row.key]
        queue[[other.id for other in queue].index(row.id)] = row
        self._changed(row.receiver, row.key)

    def _take_off(self, finished: Row) -> bool:
        """Remove the first row of a queue; say whether something waits behind it."""
        queue = self._queues[finished.receiver][finished.key]
        queue.pop(0)
        self._remember(finished)
        self._changed(finished.receiver, finished.key)
        return bool(queue)

    def _remember(self, finished: Row) -> None:
        place, is_end = (finished.receiver, finished.key), finished.kind is NotificationKind.RESOLVE
        if finished.state is RowState.DEAD and is_end:
            self._given_up[place] = finished
        elif finished.state is RowState.DONE or is_end:
            self._given_up.pop(place, None)
        elif finished.state is RowState.DEAD and finished.kind is not NotificationKind.REMINDER:
            before = self._given_up.get(place)
            if before is None:
                self._given_up[place] = finished
            elif before.kind is NotificationKind.RESOLVE:  # what it should have ended may still be open there
                self._given_up[place] = replace(finished, maybe_delivered=True)

    def _collapsed(self, receiver: str, key: str, now: float) -> tuple[Row, ...]:
        """Take out of a queue what need not be told; return the rows that changed."""
        before = self._queues[receiver][key]
        kept, gone = collapse(before, given_up=self._given_up.get((receiver, key)), now=now)
        self._queues[receiver][key] = kept
        self._changed(receiver, key)
        for row in gone:
            self._remember(row)
        unchanged = {id(row) for row in before}
        return (*gone, *(row for row in kept if id(row) not in unchanged))

    def _changed(self, receiver: str, key: str) -> None:
        """Note what is first in a queue by now, and let it go where it is empty."""
        queue = self._queues[receiver][key]
        first = queue[0] if queue and queue[0].state is RowState.PENDING else None
        heads = self._heads.setdefault(receiver, Heads())
        heads.put(key, None if first is None else _head(first))
        if not queue:
            del self._queues[receiver][key]
        if not self._queues[receiver]:
            del self._queues[receiver], self._heads[receiver]


def _head(row: Row) -> Head:
    return Head(row.not_before, severity_rank(row.notification.severity), row.id)


def collapse(queue: Sequence[Row], *, given_up: Row | None, now: float) -> tuple[list[Row], list[Row]]:
    """Return what of a queue is still to be told, and what is superseded. Pure.

    `given_up` is what was given up of the group before; a resolve is owed for it if it may have arrived, or
    if it was a resolve itself: what it should have ended may still be open there.
    """
    kept: list[Row] = []
    gone: list[Row] = []
    for row in queue:
        last = kept[-1] if kept else None
        if row.kind is NotificationKind.RESOLVE and row.is_untried and not row.is_repeat:
            kept, ended, owed = _ended(kept, row, given_up, now)
            gone += ended
            kept += [owed] if owed is not None else []
        elif last is None or last.state is not RowState.PENDING or not row.is_untried:
            kept.append(row)
        elif last.kind is not NotificationKind.RESOLVE:
            kept[-1], old = _absorbed(last, row, now)
            gone.append(old)
        else:
            if last.is_repeat:  # it would end the incident that begins
                gone.append(_superseded(kept.pop(), "a newer trigger of the key came", now))
            kept.append(row)
    return kept, gone


def _ended(
    kept: list[Row], resolve: Row, given_up: Row | None, now: float
) -> tuple[list[Row], list[Row], Row | None]:
    """Return what stays before a resolve, what it ended while it waited, and the resolve if it is owed."""
    resolves = [at for at, row in enumerate(kept) if row.kind is NotificationKind.RESOLVE]
    since = resolves[-1] + 1 if resolves else 0
    told = kept[since:]
    staying = [row for row in told if row.state is RowState.INFLIGHT]
    ended = [_superseded(row, "it resolved first", now) for row in told if row not in staying]
    if staying:
        return [*kept[:since], *staying], ended, resolve
    before = [*told, *([given_up] if given_up is not None and not resolves else [])]
    maybe = any(row.maybe_delivered or row.kind is NotificationKind.RESOLVE for row in before)
    if not maybe and any(row.kind is NotificationKind.TRIGGER for row in before):
        return kept[:since], [*ended, _superseded(resolve, "its trigger was never taken", now)], None
    owed = replace(resolve, repeat_wanted=True) if maybe and not resolve.repeat_wanted else resolve
    return kept[:since], ended, owed


def _absorbed(last: Row, row: Row, now: float) -> tuple[Row, Row]:
    """Join two rows that say what fires: the newest content goes, the other is superseded.

    What may have arrived cannot change its content under the same idempotency key: then the newer row
    goes, and takes over that a resolve is owed twice.
    """
    content = _joined(last, row.notification)
    if last.maybe_delivered:
        newer = replace(row, notification=content, maybe_delivered=True)
        return newer, _superseded(last, "a newer one came", now)
    return replace(last, notification=content), _superseded(row, "told with the one before", now)


def _joined(last: Row, newer: Notification) -> Notification:
    older, kinds = last.notification, {last.kind, newer.kind}
    kind = next(kind for kind in NotificationKind if kind in kinds)  # trigger, update, reminder
    created_at = newer.created_at if older.kind is NotificationKind.REMINDER else older.created_at
    if kind is NotificationKind.TRIGGER and not last.maybe_delivered:
        # Nobody heard of what resolved meanwhile.
        return replace(newer, kind=kind, created_at=created_at, resolved=(), resolved_count=0)
    named = {alert.fingerprint for alert in (*newer.firing, *newer.resolved)}
    carried = tuple(alert for alert in older.resolved if alert.fingerprint not in named)
    unnamed = older.resolved_count - len(older.resolved)
    return replace(
        newer,
        kind=kind,
        created_at=created_at,
        resolved=(*carried, *newer.resolved)[:MAX_MEMBERS],
        resolved_count=newer.resolved_count + len(carried) + unnamed,
    )


def _superseded(row: Row, reason: str, now: float) -> Row:
    return replace(row, state=RowState.SUPERSEDED, finished_at=now, reason=reason)


def _idempotency_key(notification: Notification, again: bool) -> str:
    """Name a notification the same over every attempt, and over restarts that lost its row."""
    parts = (
        notification.receiver,
        notification.key,
        notification.kind.value,
        str(notification.episode),
        repr(notification.created_at),
        "again" if again else "",  # a receiver that knows the first one would drop it
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
