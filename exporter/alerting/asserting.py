"""Receivers that are told the whole state again and again: told at once of a change, and in any case in time.

There is no queue: what one attempt did not tell, the next one does. While a source fails, alerts go on
being told as they stand, so that the other side does not take silence for an end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from exporter.alerting.assertions import Assertions
from exporter.alerting.attempt import LOOK_SECONDS, attempt
from exporter.alerting.backoff import RETRY_AFTER_CAP_SECONDS, Uniform, full_jitter
from exporter.alerting.receivers.contract import Asserter, Sending
from exporter.alerting.records import ReceiverRecord
from exporter.alerting.words import Alert, Delivery, Outcome
from exporter.clock import Clock
from exporter.logs import get_logger
from exporter.model import Reading

log = get_logger()

TellingNow = Callable[[Asserter], Sequence[Alert]]  # what this one is to be told


class Asserting:
    """One voice for each asserter; a slow one delays none."""

    def __init__(
        self,
        *,
        asserters: Mapping[str, Asserter],
        alerts: TellingNow,
        clock: Clock,
        external_url: str = "",
        unsaved: Callable[[], bool],
        uniform: Uniform = random.uniform,
    ) -> None:
        """`alerts` returns what fires, and what resolved within the last 15 minutes, for an asserter."""
        self._alerts = alerts
        self._clock = clock
        self._external_url = external_url
        self._unsaved = unsaved
        self._uniform = uniform
        self._records: dict[str, ReceiverRecord] = {}
        self._voices: dict[str, _Voice] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._changed = asyncio.Event()
        for asserter in asserters.values():
            self._add(asserter)

    async def run(self) -> None:
        """Tell until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for voice in self._voices.values():
                tasks.create_task(voice.run())
            # A group without asserters must wait for the first to come.
            await asyncio.Event().wait()

    def wake(self) -> None:
        """Something changed: tell it now."""
        for voice in self._voices.values():
            voice.wake()

    def reconfigure(self, asserters: Mapping[str, Asserter]) -> None:
        """Tell these from now on, by id; those that are gone, or come as new objects, are closed."""
        for id, voice in list(self._voices.items()):
            if asserters.get(id) is voice.asserter:
                voice.wake()
            else:
                voice.retire()
                del self._voices[id]
        for asserter in asserters.values():
            if asserter.id not in self._voices:
                self._add(asserter)
        for name in self._records.keys() - {asserter.name for asserter in asserters.values()}:
            del self._records[name]

    def assertions(self) -> tuple[Assertions, ...]:
        """Return of every asserter what it took and what it lacks."""
        return tuple(voice.assertions for voice in self._voices.values())

    def readings(self) -> Iterator[Reading]:
        """Yield how telling went and what lacks, by asserter."""
        for voice in self._voices.values():
            name = voice.asserter.name
            waiting = [each.since for each in voice.assertions.untold.values()]
            yield from self._records[name].readings(name, up=not voice.is_refused, waiting=waiting)

    def _add(self, asserter: Asserter) -> None:
        voice = _Voice(
            asserter=asserter,
            record=self._records.setdefault(asserter.name, ReceiverRecord()),
            alerts=self._alerts,
            clock=self._clock,
            sending=self._sending,
            uniform=self._uniform,
        )
        self._voices[asserter.id] = voice
        if self._tasks is not None:
            self._tasks.create_task(voice.run())

    def _sending(self) -> Sending:
        return Sending(now=self._clock.now(), external_url=self._external_url, unsaved=self._unsaved())


class _Voice:
    """Everything for one asserter."""

    def __init__(
        self,
        *,
        asserter: Asserter,
        record: ReceiverRecord,
        alerts: TellingNow,
        clock: Clock,
        sending: Callable[[], Sending],
        uniform: Uniform,
    ) -> None:
        self.asserter = asserter
        self.assertions = Assertions()
        self.is_refused = False
        self._record = record
        self._alerts = alerts
        self._clock = clock
        self._sending = sending
        self._uniform = uniform
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._retired = False
        self._asked_seconds = 0.0  # by Retry-After: not before that, whatever changes
        self._failures = 0
        self._said: set[str] = set()  # what the log knows of the trouble that there is
        self._unseen = True
        self._telling: Sequence[Alert] = ()

    def wake(self) -> None:
        """Tell now."""
        self._unseen = True
        self._changed.set()

    def retire(self) -> None:
        """Tell nothing any more."""
        self._retired = True
        self._ended.set()
        self.wake()

    async def run(self) -> None:
        """Tell until retired or cancelled, then close."""
        try:
            while not self._retired:
                await self._tell()
                await self._wait()
        finally:
            await self.asserter.close()

    async def _tell(self) -> None:
        self._changed.clear()  # a change from here on is told by the next attempt
        sending = self._sending()
        alerts = self._see()
        if not alerts and not self.is_refused:
            self._failures, self._asked_seconds = 0, 0.0
            return  # nobody was asked, which is no success
        delivery = await attempt(lambda: self.asserter.tell(alerts, sending))
        self.assertions.settle(alerts, delivery.taken, sending.now)
        self._record.outcomes[delivery.outcome] += 1
        self.is_refused = delivery.outcome is Outcome.REFUSED
        self._asked_seconds = min(delivery.retry_after_seconds or 0.0, RETRY_AFTER_CAP_SECONDS)
        # What is rejected will be rejected again: there is no hurry.
        arrived = delivery.outcome in (Outcome.DELIVERED, Outcome.REJECTED)
        self._failures = 0 if arrived else self._failures + 1
        self._tell_of(delivery)

    def _see(self) -> Sequence[Alert]:
        """Look at what is to be told now; where that breaks, at what was to be told before."""
        self._unseen = False
        try:
            self._telling = self._alerts(self.asserter)
        except Exception:  # the boundary: a bug there must not end who tells
            log.exception("assertion.broke", receiver=self.asserter.name)
        self.assertions.see(self._telling, self._clock.now())
        return self._telling

    def _tell_of(self, delivery: Delivery) -> None:
        """Say each trouble once, until all of it is over."""
        if not delivery.reason:
            if self._said:
                log.info("assertion.recovered", receiver=self.asserter.name)
            self._said.clear()
        elif delivery.reason not in self._said:
            self._said.add(delivery.reason)
            fields = {"receiver": self.asserter.name, "reason": delivery.reason}
            if delivery.outcome is Outcome.DELIVERED:
                log.warning("assertion.taken_in_part", **fields)
            elif delivery.outcome in (Outcome.REFUSED, Outcome.REJECTED):
                log.error("assertion.failed", outcome=delivery.outcome.value, **fields)
            else:
                log.warning("assertion.failed", outcome=delivery.outcome.value, **fields)

    async def _wait(self) -> None:
        """Wait for a change or the interval; after a failure less long, and longer each time it fails."""
        seconds = self.asserter.interval_seconds
        if self._failures:
            seconds = min(seconds, full_jitter(self._failures, self._uniform))
        began = self._clock.monotonic()
        while not self._retired:
            waited = self._clock.monotonic() - began
            due = self._changed.is_set() or waited >= seconds
            if due and waited >= self._asked_seconds:
                return
            if self._unseen:
                self._see()  # what may not be told yet is untold from now on
            await self._sleep(max(seconds, self._asked_seconds) - waited, wakes=waited >= self._asked_seconds)

    async def _sleep(self, seconds: float, *, wakes: bool) -> None:
        event = self._changed if wakes else self._ended
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, LOOK_SECONDS)):
                await event.wait()
