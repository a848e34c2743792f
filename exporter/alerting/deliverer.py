"""Notifications out of the ledger to their receivers: each receiver by itself, each key in order.

What to do with each is decided in `verdicts.py`; here it is done.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from exporter.alerting.attempt import LOOK_SECONDS, attempt
from exporter.alerting.backoff import Uniform
from exporter.alerting.ledger import Ledger
from exporter.alerting.outbox import Outbox, Row
from exporter.alerting.receivers.contract import Receiver, Sending
from exporter.alerting.records import EXPIRED, ReceiverRecord
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
from exporter.alerting.words import Delivery, Outcome
from exporter.clock import Clock
from exporter.logs import get_logger
from exporter.model import Reading

log = get_logger()

KEYS_AT_ONCE = 4  # enough that one slow answer delays no other page, few enough to be polite
# What is being sent when the process is killed is sent again: to people, one message at most.
KEYS_AT_ONCE_WITHOUT_REPEATS = 1
PROBE_SECONDS = 900.0  # of a receiver that refuses us: keys get mended
DRAIN_LOOK_SECONDS = 0.05


class Deliverer:
    """One courier a receiver. Receivers may come and go while it runs."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        receivers: Mapping[str, Receiver],
        owed: Mapping[str, Receiver],
        clock: Clock,
        external_url: str = "",
        uniform: Uniform = random.uniform,
    ) -> None:
        """Both by id: `receivers` are configured, those `owed` a message left the configuration."""
        self._ledger = ledger
        self._clock = clock
        self._external_url = external_url
        self._uniform = uniform
        self._records: dict[str, ReceiverRecord] = {}
        self._couriers: dict[str, _Courier] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.reconfigure(receivers, owed)

    async def run(self) -> None:
        """Deliver until cancelled. What is being sent then counts as maybe delivered at the next start."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for courier in self._couriers.values():
                tasks.create_task(courier.run())
            while True:
                await self._ledger.wait_for_rows()
                self.wake()

    def wake(self) -> None:
        """Let every courier look now, rather than within a second."""
        for courier in self._couriers.values():
            courier.wake()

    def reconfigure(self, receivers: Mapping[str, Receiver], owed: Mapping[str, Receiver]) -> None:
        """Deliver to these from now on, by id. One that refused us is tried at once.

        A receiver that is gone, or that comes as a new object, finishes what it is sending and is closed.
        """
        self._configured = frozenset(receivers)
        wanted = {**owed, **receivers}
        for id, courier in list(self._couriers.items()):
            if wanted.get(id) is courier.receiver:
                courier.hope()
            else:
                self._let_go(id)
        for id, receiver in wanted.items():
            if id not in self._couriers:
                self._add(receiver)
        self._forget_records()

    def release(self, ids: Iterable[str]) -> None:
        """Close these: they left the configuration, and are owed nothing any more."""
        for id in ids:
            if id in self._couriers and id not in self._configured:
                self._let_go(id)
        self._forget_records()

    async def drain(self, seconds: float = 10.0) -> None:
        """Return when nothing is due or being sent any more, at the latest after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(courier.is_busy() for courier in self._couriers.values()):
                    self.wake()
                    await asyncio.sleep(DRAIN_LOOK_SECONDS)

    def readings(self) -> Iterator[Reading]:
        """Yield how deliveries went and what waits, by receiver; of one that left, while something waits."""
        outbox = self._ledger.outbox
        for name, record in self._records.items():
            couriers = [courier for courier in self._couriers.values() if courier.receiver.name == name]
            ids = [courier.receiver.id for courier in couriers]
            waiting = [row.notification.created_at for id in ids for row in outbox.rows(id)]
            lost = [row.notification.created_at for id in ids for row in outbox.lost(id)]
            # Two of one name: the one whose key was changed is owed its resolves; only the new one counts.
            configured = [courier for courier in couriers if courier.receiver.id in self._configured]
            if configured or waiting:
                up = not any(courier.is_refused for courier in configured) if configured else None
                yield from record.readings(name, up=up, waiting=waiting, lost=lost)

    def _let_go(self, id: str) -> None:
        self._couriers.pop(id).retire()

    def _forget_records(self) -> None:
        for name in self._records.keys() - {each.receiver.name for each in self._couriers.values()}:
            del self._records[name]

    def _add(self, receiver: Receiver) -> None:
        courier = _Courier(
            receiver=receiver,
            record=self._records.setdefault(receiver.name, ReceiverRecord()),
            ledger=self._ledger,
            clock=self._clock,
            uniform=self._uniform,
            external_url=self._external_url,
        )
        self._couriers[receiver.id] = courier
        if self._tasks is not None:
            self._tasks.create_task(courier.run())


class _Courier:
    """Everything for one receiver."""

    def __init__(
        self,
        *,
        receiver: Receiver,
        record: ReceiverRecord,
        ledger: Ledger,
        clock: Clock,
        uniform: Uniform,
        external_url: str,
    ) -> None:
        self.receiver = receiver
        self._record = record
        self._ledger = ledger
        self._clock = clock
        self._uniform = uniform
        self._external_url = external_url
        self._traits = Traits(receiver.drops_repeats, receiver.resolve_lives_seconds)
        self._changed = asyncio.Event()
        self._retired = False
        # In monotonic seconds, for they outlive no restart.
        self._paused_until = 0.0
        self._probe_at: float | None = None  # set while it refuses us
        self._sending: set[asyncio.Task[None]] = set()
        self._waiting_for_answer: set[asyncio.Task[None]] = set()  # of those
        self._failure = ""
        self._partly: set[str] = set()  # what the log knows of why not everybody got it

    @property
    def is_refused(self) -> bool:
        """Whether the receiver takes nothing from us until a person mends something."""
        return self._probe_at is not None

    def is_busy(self) -> bool:
        """Whether something is being sent, or would be now."""
        due = self._ledger.outbox.due(self.receiver.id, self._clock.now())
        return bool(self._sending) or (due is not None and self._may_send())

    def wake(self) -> None:
        """Look now."""
        self._changed.set()

    def hope(self) -> None:
        """Try a receiver that refused us now: somebody may have mended it."""
        if self.is_refused:
            self._probe_at = self._clock.monotonic()
        self.wake()

    def retire(self) -> None:
        """Take nothing up any more."""
        self._retired = True
        self.wake()

    async def run(self) -> None:
        """Deliver until retired or cancelled, then close the receiver."""
        try:
            while self._sending or not self._retired:
                await self._fill()
                await self._wait()
        finally:
            # What has its answer stores it: only what waits for one is unsure.
            for task in self._waiting_for_answer:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            await self.receiver.close()

    async def _fill(self) -> None:
        while self._may_send():
            probes = self.is_refused
            row = await self._ledger.take(self.receiver.id, self._decide)
            if row is None:
                return
            if probes:
                self._probe_at = self._clock.monotonic() + PROBE_SECONDS
            task = asyncio.create_task(self._send(row))
            self._sending.add(task)
            self._waiting_for_answer.add(task)
            task.add_done_callback(self._sent)

    def _may_send(self) -> bool:
        now = self._clock.monotonic()
        if self._retired or now < self._paused_until:
            return False
        if self._probe_at is not None:
            return not self._sending and now >= self._probe_at
        at_once = KEYS_AT_ONCE if self._traits.drops_repeats else KEYS_AT_ONCE_WITHOUT_REPEATS
        return len(self._sending) < at_once

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._waiting_for_answer.discard(task)
        self.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivery.broke", receiver=self.receiver.name, exc_info=error)

    async def _wait(self) -> None:
        due_at = self._ledger.outbox.due_at(self.receiver.id)
        now = self._clock.now()
        seconds = min(LOOK_SECONDS, due_at - now) if due_at is not None and due_at > now else LOOK_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    def _decide(self, row: Row) -> Send | Hold | GiveUp:
        fires = self._ledger.fires(row.receiver, row.key)
        step = before_sending(row, self._traits, now=self._clock.now(), fires=fires)
        if isinstance(step, GiveUp):
            self._count_given_up(row, step)
        return step

    async def _send(self, row: Row) -> None:
        task = asyncio.current_task()
        assert task is not None
        began = self._clock.monotonic()
        delivery = await self._attempt(row)
        self._waiting_for_answer.discard(task)
        self._record.outcomes[delivery.outcome] += 1
        self._tell_of(row, delivery, self._clock.monotonic() - began)
        await self._ledger.settle(lambda outbox: self._booked(outbox, row, delivery))

    async def _attempt(self, row: Row) -> Delivery:
        sending = Sending(
            now=self._clock.now(),
            attempt=row.attempts,
            maybe_repeat=row.maybe_delivered,
            external_url=self._external_url,
            unsaved=self._ledger.unsaved,
            idempotency_key=row.idempotency_key,
        )
        return await attempt(lambda: self.receiver.deliver(row.notification, sending))

    def _booked(self, outbox: Outbox, row: Row, delivery: Delivery) -> tuple[Row, ...]:
        """Tell the outbox what became of an attempt. The ledger lets nothing be queued meanwhile."""
        now = self._clock.now()
        verdict = after_attempt(
            row,
            delivery,
            self._traits,
            now=now,
            followed=outbox.is_followed(row),
            uniform=self._uniform,
        )
        self._note(delivery, verdict, now)
        if isinstance(verdict, Done):
            return outbox.delivered(row, now=now, drops_repeats=self._traits.drops_repeats)
        if isinstance(verdict, GiveUp):
            self._count_given_up(row, verdict)
            return outbox.give_up(row, now=now, reason=verdict.reason, maybe=verdict.maybe)
        return outbox.again(
            row,
            now=now,
            not_before=verdict.not_before,
            reason=delivery.reason,
            maybe=verdict.maybe,
            silent=verdict.silent,
        )

    def _note(self, delivery: Delivery, verdict: Done | Again | GiveUp, now: float) -> None:
        """Note what an attempt means for the receiver as a whole."""
        monotonic = self._clock.monotonic()
        if delivery.outcome is not Outcome.REFUSED:
            self._probe_at = None
        elif self._probe_at is None:
            self._probe_at = monotonic + PROBE_SECONDS
        if isinstance(verdict, Again) and verdict.pauses_receiver:
            self._paused_until = max(self._paused_until, monotonic + verdict.not_before - now)

    def _count_given_up(self, row: Row, step: GiveUp) -> None:
        if step.expired:
            self._record.outcomes[EXPIRED] += 1
        log.error(
            "notification.given_up",
            receiver=self.receiver.name,
            group=row.key,
            kind=row.kind.value,
            attempt=row.attempts,
            reason=step.reason,
        )

    def _tell_of(self, row: Row, delivery: Delivery, took_seconds: float) -> None:
        fields = {
            "receiver": self.receiver.name,
            "group": row.key,
            "kind": row.kind.value,
            "attempt": row.attempts,
            "took_seconds": round(took_seconds, 3),
        }
        if delivery.outcome is Outcome.DELIVERED:
            self._failure = ""
            log.info("notification.delivered", **fields)
            self._tell_of_part(delivery.reason)
            return
        fields |= {"outcome": delivery.outcome.value, "reason": delivery.reason}
        if delivery.reason == self._failure:  # one outage is one line, however many wait
            log.debug("delivery.failed", **fields)
        elif delivery.outcome is Outcome.REFUSED:
            log.error("delivery.refused", **fields)
        else:
            log.warning("delivery.failed", **fields)
        self._failure = delivery.reason

    def _tell_of_part(self, reason: str) -> None:
        """Say each reason why not everybody behind the receiver got it once, until one goes to all."""
        if not reason:
            self._partly.clear()
        elif reason not in self._partly:
            self._partly.add(reason)
            log.warning("notification.delivered_in_part", receiver=self.receiver.name, reason=reason)
