"""What is decided and what is still to be told: in memory, and on disk before anybody is told.

Memory is the truth and SQLite its log. Each step is one transaction; whoever delivers gets only what
is stored, so that a crash repeats a message at worst and never forgets one. A disk that says no does
not stop a page: then it goes on in memory, says so, and writes all of it anew when the disk is back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporter.alerting.hearing import Hearing
from exporter.alerting.membership import GroupId
from exporter.alerting.outbox import Outbox, Row
from exporter.alerting.stored import decode_all, encode, silences, stored_row
from exporter.alerting.verdicts import GiveUp, Hold, Send
from exporter.alerting.words import Alert, AlertState, Changes, Ended, Group, Silence
from exporter.clock import Clock
from exporter.errors import StateError, StateFull
from exporter.logs import get_logger
from exporter.state import AlertingBatch, AlertingStore, Reserve, StoredAlerting
from exporter.state.alerting import HISTORY_ROWS

log = get_logger()

LOOK_SECONDS = 1.0  # for silences: a person who typed one waits for it
SAVE_AGAIN_SECONDS = 30.0
# A restart counts the time since the last evaluation as not watched; that to five seconds is exact
# enough, and spares the disk a write each time that an evaluation changes nothing.
EVALUATED_SECONDS = 5.0

TAKEN_AWAY = (
    "the state directory was taken away: nothing is stored until a restart, which may repeat pages; "
    "another run may be working on the one in its place"
)


@dataclass(frozen=True, slots=True)
class Restored:
    """What was known when the last process ended."""

    alerts: tuple[Alert, ...] = ()
    groups: tuple[Group, ...] = ()
    silences: tuple[Silence, ...] = ()
    evaluated_at: float | None = None


Decide = Callable[[Row], Send | Hold | GiveUp]


class Ledger:
    """Alerts, groups and the outbox. One task at a time changes them; each change is stored, then told."""

    def __init__(self, *, store: AlertingStore | None, clock: Clock) -> None:
        """Without a store all of it lives in memory, by somebody's choice."""
        self._store = store
        self._reserve = None if store is None else Reserve(store.directory)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._queued = asyncio.Event()
        self._alerts: dict[str, Alert] = {}
        self._groups: dict[GroupId, Group] = {}
        self._hearing = Hearing()
        self._outbox = Outbox()
        self._settings: dict[str, bytes] = {}  # of receivers that are configured or owed a message, by id
        self._configured: frozenset[str] = frozenset()
        self._owed_stored: dict[str, bytes] = {}
        self._evaluated_at: float | None = None
        self._evaluation_stored_at: float | None = None
        self._ended: deque[Ended] = deque(maxlen=HISTORY_ROWS)  # not stored yet
        self._silences: tuple[Silence, ...] = ()
        self._version: int | None = None
        self._unsaved = False
        self._taken_away = False
        self._reserve_missing = False
        self._look_failed = ""
        self._save_again_at = 0.0

    # --- what is known -----------------------------------------------------------------------------

    @property
    def unsaved(self) -> bool:
        """Whether the state directory cannot be written: a restart may repeat pages and forget resolves."""
        return self._unsaved

    @property
    def silences(self) -> tuple[Silence, ...]:
        """Every silence, ended ones too."""
        return self._silences

    @property
    def outbox(self) -> Outbox:
        """The notifications that are not delivered. To be read only."""
        return self._outbox

    @property
    def groups(self) -> Mapping[GroupId, Group]:
        """What each receiver heard. To be read only."""
        return self._groups

    def fires(self, receiver: str, key: str) -> bool:
        """Whether anything that a receiver heard of a group fires now."""
        group = self._groups.get((receiver, key))
        alerts = (self._alerts.get(fingerprint) for fingerprint in (group.heard if group else ()))
        return any(alert is not None and alert.state is AlertState.FIRING for alert in alerts)

    def owed_and_gone(self) -> Mapping[str, bytes]:
        """Return the settings of receivers that left the configuration and are owed a message, by id."""
        return {id: settings for id, settings in self._owed().items() if id not in self._configured}

    async def wait_for_rows(self) -> None:
        """Return when something was queued or put back since the last return."""
        await self._queued.wait()
        self._queued.clear()

    # --- beginning ---------------------------------------------------------------------------------

    async def load(self, configured: Mapping[str, bytes]) -> Restored:
        """Take up what the last process left. Raises StateError: then nothing can be kept from the start.

        `configured` are the settings of the receivers in the configuration, by id; see `configure`.
        """
        if self._store is None or self._reserve is None:
            await self.configure(configured)
            return Restored()
        stored = await self._store.in_thread(self._store.load)
        self._restore(stored)
        self._take_settings(configured)
        changed = self._outbox.recovered()
        # Written in any case: what cannot be written is found now, while somebody looks on.
        evaluated_at = self._clock.now() if stored.evaluated_at is None else stored.evaluated_at
        await self._write_with_reserve(lambda: self._batch(rows=changed, evaluated_at=evaluated_at))
        self._stored()
        self._reserve_missing = not await self._store.in_thread(self._reserve.make)
        await self._read_silences(self._store)
        log.info(
            "alerting.restored",
            alerts=len(self._alerts),
            groups=len(self._groups),
            notifications=sum(1 for _ in self._outbox.rows()),
        )
        return Restored(
            tuple(self._alerts.values()), tuple(self._groups.values()), self._silences, stored.evaluated_at
        )

    def _restore(self, stored: StoredAlerting) -> None:
        self._alerts = {alert.fingerprint: alert for alert in decode_all(stored.alerts, Alert)}
        self._groups = {(group.receiver, group.key): group for group in decode_all(stored.groups, Group)}
        self._hearing = Hearing(self._groups.values())
        self._outbox = Outbox(decode_all((row.document for row in stored.rows), Row))
        self._owed_stored = dict(stored.receivers)
        self._settings = dict(stored.receivers)
        self._evaluated_at = stored.evaluated_at

    async def configure(self, configured: Mapping[str, bytes]) -> None:
        """Take the settings of the receivers that are configured now, by id.

        They are stored, secrets and all, only while the receiver has heard of something that fires or
        is owed a message: were it taken out of the configuration, its resolves could still be sent.
        """
        async with self._lock:
            self._take_settings(configured)
            await self._write(rows=())

    def _take_settings(self, configured: Mapping[str, bytes]) -> None:
        self._settings = {**self._owed(), **configured}
        self._configured = frozenset(configured)

    # --- changing ----------------------------------------------------------------------------------

    async def commit(self, changes: Changes) -> None:
        """Take in one step of the engine, with the notifications it decided on, in one transaction."""
        async with self._lock:
            self._apply(changes)
            rows: list[Row] = []
            for notification in changes.notifications:
                rows += self._outbox.queue(notification)
            if self._is_worth_writing(changes):
                await self._write(rows=_newest(rows), changes=changes)
        if rows:
            self._queued.set()

    async def take(self, receiver: str, decide: Decide) -> Row | None:
        """Return the next row for a receiver, stored as being sent; None when none is due.

        `decide` is asked about each that is due.
        """
        async with self._lock:
            while (row := self._outbox.due(receiver, self._clock.now())) is not None:
                step = decide(row)
                if isinstance(step, Send):
                    sent = self._outbox.begin(row, now=self._clock.now())
                    await self._write(rows=(sent,))
                    return sent
                if isinstance(step, Hold):
                    self._outbox.hold(row, until=step.until)
                else:
                    await self._write(
                        rows=self._outbox.give_up(row, now=self._clock.now(), reason=step.reason)
                    )
        return None

    async def settle(self, change: Callable[[Outbox], tuple[Row, ...]]) -> tuple[Row, ...]:
        """Store what became of an attempt: `change` tells the outbox and returns the rows that changed."""
        async with self._lock:
            rows = change(self._outbox)
            await self._write(rows=rows)
        self._queued.set()
        return rows

    def _apply(self, changes: Changes) -> None:
        self._alerts.update((alert.fingerprint, alert) for alert in changes.alerts)
        for group in changes.groups:
            self._groups[group.receiver, group.key] = group
            self._hearing.put(group)
        for fingerprint in changes.alerts_dropped:
            self._alerts.pop(fingerprint, None)
        for group_id in changes.groups_dropped:
            self._groups.pop(group_id, None)
            self._hearing.drop(group_id)
        self._evaluated_at = changes.evaluated_at
        if self._store is not None:
            self._ended.extend(changes.ended)

    def _is_worth_writing(self, changes: Changes) -> bool:
        parts = (changes.alerts, changes.alerts_dropped, changes.groups, changes.groups_dropped)
        if any(parts) or changes.notifications or changes.ended:
            return True
        stored_at = self._evaluation_stored_at
        return stored_at is None or abs(changes.evaluated_at - stored_at) >= EVALUATED_SECONDS

    # --- the disk ----------------------------------------------------------------------------------

    async def step(self) -> bool:
        """See new silences and make good what the disk refused; return whether the silences changed."""
        if self._store is None or self._reserve is None:
            return False
        await self._look_at_directory(self._store)
        if self._clock.monotonic() >= self._save_again_at and not self._taken_away:
            self._save_again_at = self._clock.monotonic() + SAVE_AGAIN_SECONDS
            if self._unsaved:
                await self._save_again()
            async with self._lock:
                if self._reserve_missing and not self._unsaved:
                    self._reserve_missing = not await self._store.in_thread(self._reserve.make)
        return await self.see_silences()

    async def _look_at_directory(self, store: AlertingStore) -> None:
        """Store no more where the directory is not the one that was opened: SQLite would not notice."""
        async with self._lock:
            if self._taken_away:
                return
            try:
                self._taken_away = not await store.in_thread(store.is_in_place)
            except OSError:
                return  # it cannot be seen; whether it can be written is found by writing
            if self._taken_away:
                self._unsaved = True
                log.error("alerting.unsaved", error=TAKEN_AWAY)

    async def see_silences(self) -> bool:
        """Read what verbs wrote, where they did; return whether it changed. A look costs some 0.1 ms."""
        if self._store is None:
            return False
        before = self._silences
        try:
            await self._read_silences(self._store)
        except StateError as error:
            if str(error) != self._look_failed:
                log.error("state.failed", error=str(error))
            self._look_failed = str(error)
        else:
            self._look_failed = ""
        return self._silences != before

    async def _read_silences(self, store: AlertingStore) -> None:
        version = await store.in_thread(store.version)
        if version != self._version:
            self._silences = await store.in_thread(lambda: silences(store))
            self._version = version

    async def _write(self, *, rows: tuple[Row, ...], changes: Changes | None = None) -> None:
        """Store a change, or go on in memory where that fails. Called under the lock."""
        if self._store is None or self._unsaved:
            return
        try:
            await self._write_with_reserve(lambda: self._batch(rows=rows, changes=changes))
        except StateError as error:
            self._unsaved = True
            self._save_again_at = self._clock.monotonic() + SAVE_AGAIN_SECONDS
            log.error("alerting.unsaved", error=str(error))
        else:
            self._stored()

    async def _write_with_reserve(self, batch: Callable[[], AlertingBatch]) -> None:
        """Store a batch; where the disk has no room for it, once more with the reserve given back."""
        assert self._store is not None
        assert self._reserve is not None
        store = self._store
        try:
            await store.in_thread(lambda: store.write(batch()))
        except StateFull as error:
            if not await store.in_thread(self._reserve.release):
                raise
            self._reserve_missing = True
            log.error("alerting.reserve_used", error=str(error))
            await store.in_thread(lambda: store.write(batch()))

    async def _save_again(self) -> None:
        async with self._lock:
            assert self._store is not None
            store = self._store
            try:
                await store.in_thread(lambda: store.write(self._whole()))
            except StateError as error:
                log.debug("alerting.still_unsaved", error=str(error))  # one outage is one line
                return
            self._unsaved = False
            self._stored()
        log.info("alerting.saved_again")

    def _stored(self) -> None:
        self._owed_stored = self._owed()
        self._ended.clear()
        self._evaluation_stored_at = self._evaluated_at

    def _batch(
        self,
        *,
        rows: tuple[Row, ...],
        changes: Changes | None = None,
        evaluated_at: float | None = None,
    ) -> AlertingBatch:
        """Return a change as documents. Runs off the event loop, while the lock is held."""
        alerts: dict[str, bytes | None] = {}
        groups: dict[GroupId, bytes | None] = {}
        if changes is not None:
            alerts |= {alert.fingerprint: encode(alert) for alert in changes.alerts}
            alerts |= dict.fromkeys(changes.alerts_dropped)
            groups |= {(group.receiver, group.key): encode(group) for group in changes.groups}
            groups |= dict.fromkeys(changes.groups_dropped)
        owed, stored = self._owed(), self._owed_stored
        receivers: dict[str, bytes | None] = {
            id: settings for id, settings in owed.items() if stored.get(id) != settings
        }
        return AlertingBatch(
            now=self._clock.now(),
            evaluated_at=self._evaluated_at if evaluated_at is None else evaluated_at,
            alerts=alerts,
            groups=groups,
            rows=tuple(stored_row(row) for row in rows),
            ended=tuple((ended.resolved_at, encode(ended)) for ended in self._ended),
            receivers=receivers | dict.fromkeys(id for id in stored if id not in owed),
            lost=frozenset(row.id for row in self._outbox.given_up()),
        )

    def _whole(self) -> AlertingBatch:
        return AlertingBatch(
            now=self._clock.now(),
            evaluated_at=self._evaluated_at,
            alerts={fingerprint: encode(alert) for fingerprint, alert in self._alerts.items()},
            groups={group_id: encode(group) for group_id, group in self._groups.items()},
            rows=tuple(stored_row(row) for row in (*self._outbox.given_up(), *self._outbox.rows())),
            ended=tuple((ended.resolved_at, encode(ended)) for ended in self._ended),
            receivers=dict(self._owed()),
            lost=frozenset(row.id for row in self._outbox.given_up()),
            whole=True,
        )

    def _owed(self) -> dict[str, bytes]:
        """Return the settings of every receiver that heard of something or is owed a message."""
        ids = self._outbox.receivers() | self._hearing.receivers()
        return {id: self._settings[id] for id in sorted(ids) if id in self._settings}


def _newest(rows: list[Row]) -> tuple[Row, ...]:
    """Return the last state of each row that one step changed, in order of id."""
    newest = {row.id: row for row in rows}
    return tuple(newest[id] for id in sorted(newest))
