"""Receivers that are told the whole state again and again: told at once of a change, and in any case in time.

There is no queue: what one attempt did not tell, the next one does. While a source fails, alerts go on
being told as they stand, so that the other side does not take silence for an end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from exporter.alerting.backoff import RETRY_AFTER_CAP_SECONDS, Uniform, full_jitter
from exporter.alerting.receivers.contract import Asserter, Sending
from exporter.alerting.records import ReceiverRecord
from exporter.alerting.words import Alert, Delivery, Outcome
from exporter.clock import Clock
from exporter.logs import get_logger
from exporter.model import Reading

log = get_logger()

LOOK_SECONDS = 1.0
STUCK_SECONDS = 120.0  # as in deliverer.py

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

    def reconfigure(self, asserters: Mapping[str, Asserter], *, external_url: str = "") -> None:
        """Tell these from now on, by id; those that are gone, or come as new objects, are closed."""
        self._external_url = external_url
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

    def told_at(self) -> Mapping[str, float | None]:
        """Return by asserter id since when, in Unix seconds, all it should know was taken; None: never."""
        return {id: voice.told_at for id, voice in self._voices.items()}

    def readings(self) -> Iterator[Reading]:
        """Yield how telling went, by asserter."""
        for voice in self._voices.values():
            name = voice.asserter.name
            yield from self._records[name].readings(name, up=not voice.is_refused)

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
        self.told_at: float | None = None
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
        self._failure = ""

    def wake(self) -> None:
        """Tell now."""
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
        delivery = await self._attempt(sending)
        self._record.outcomes[delivery.outcome] += 1
        self.is_refused = delivery.outcome is Outcome.REFUSED
        self._asked_seconds = min(delivery.retry_after_seconds or 0.0, RETRY_AFTER_CAP_SECONDS)
        if delivery.outcome is Outcome.DELIVERED:
            if self._failures:
                log.info("assertion.recovered", receiver=self.asserter.name, after=self._failures)
            self.told_at, self._failures, self._failure = sending.now, 0, ""
            return
        self._failures += 1
        if delivery.reason != self._failure:  # one outage is one line
            tell = log.error if self.is_refused else log.warning
            tell("assertion.failed", receiver=self.asserter.name, reason=delivery.reason)
        self._failure = delivery.reason

    async def _attempt(self, sending: Sending) -> Delivery:
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                return await self.asserter.tell(self._alerts(self.asserter), sending)
        except TimeoutError:
            return Delivery(Outcome.UNKNOWN, f"no answer within {STUCK_SECONDS:.0f} s")
        except Exception as error:  # noqa: BLE001 - a bug in one receiver must not end the others
            return Delivery(Outcome.RETRY, f"a bug in this program: {type(error).__name__}")

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
            await self._sleep(max(seconds, self._asked_seconds) - waited, wakes=waited >= self._asked_seconds)

    async def _sleep(self, seconds: float, *, wakes: bool) -> None:
        event = self._changed if wakes else self._ended
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, LOOK_SECONDS)):
                await event.wait()
