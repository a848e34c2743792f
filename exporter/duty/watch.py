"""Alerting as it runs: when rules are evaluated, and what follows of it, step by step.

Decides nothing itself: the evaluator says what is true, the engine whom to tell, the ledger keeps
it, the deliverer tells. Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from exporter.alerting import records
from exporter.alerting.asserting import Asserting
from exporter.alerting.deliverer import Deliverer
from exporter.alerting.engine import Engine
from exporter.alerting.heartbeat import Heartbeat, Turn, ailments
from exporter.alerting.ledger import LOOK_SECONDS, Ledger
from exporter.alerting.receivers.contract import Asserter, Receiver
from exporter.alerting.rules.evaluate import Evaluator, keep_histories
from exporter.alerting.rules.load import EVALUATION_SECONDS
from exporter.alerting.rules.presence import ClusterPresence
from exporter.alerting.setup import Setup
from exporter.alerting.words import Alert, Finding, RuleSight
from exporter.board import Board, BoardView
from exporter.clock import Clock
from exporter.duty.describing import Describing, NewestBackup, nothing_known
from exporter.duty.plan import Plan, owed
from exporter.duty.recent_changes import RecentChanges
from exporter.duty.sight import sights
from exporter.duty.status import alerts_document, landing_alerts, rules_document
from exporter.duty.surroundings import PollTurns, presence_of
from exporter.logs import get_logger
from exporter.model import ProducerKey, Reading
from exporter.observe.fleet import Fleet
from exporter.state import AlertingStore
from exporter.web.face import LandingAlert

log = get_logger()

# Peers are polled in step, so one answer announces others; a page must not wait long for them.
SETTLE_SECONDS = 0.1
# Deriving and evaluating take some 0.1 s at 1,000 collections. There a step waits half a second for the
# next, so that a page is out within a second; where steps take longer they take a quarter of the time.
SHARE_OF_TIME = 0.05
LONGEST_GAP_SECONDS = 0.5
LONGEST_GAP_STEPS = 3.0
# Whether a rule can see changes with versions and peers, and costs a look at all of them.
SIGHT_SECONDS = 30.0
DRAIN_SECONDS = 10.0

DECIDED = ProducerKey("", "", "alerting")
DELIVERED = ProducerKey("", "", "delivery")


class AlertingWatch:
    """The alerts of one daemon."""

    def __init__(
        self,
        *,
        plan: Plan,
        board: Board,
        fleet: Fleet,
        clock: Clock,
        store: AlertingStore | None,
        off_loop: Callable[..., Awaitable[Any]],
        newest_backup: NewestBackup = nothing_known,
    ) -> None:
        self.plan = plan
        self._board = board
        self._fleet = fleet
        self._clock = clock
        self._off_loop = off_loop
        self._ledger = Ledger(store=store, clock=clock)
        self._changes = RecentChanges()
        self._news = board.subscribe()
        self._stepping = asyncio.Lock()
        self._finished = False
        self._engine: Engine | None = None
        self._evaluator = Evaluator(())
        self._sights: tuple[RuleSight, ...] = ()
        self._looked_at = 0.0  # for sights, on the monotonic clock
        self._evaluated: tuple[float, float] | None = None  # Unix and monotonic seconds
        self._was_evaluated = asyncio.Event()
        self._poll_turns = PollTurns()
        self._describing = Describing(fleet=fleet, changes=self._changes, newest_backup=newest_backup)
        self._owed: Mapping[str, Receiver] = {}
        self._deliverer: Deliverer | None = None
        self._asserting: Asserting | None = None
        self._heartbeat: Heartbeat | None = None
        self._beating: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup | None = None

    # --- life --------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Take up what the last process left. Raises StateError where it cannot be written."""
        restored = await self._ledger.load(self.plan.kept)
        now = self._clock.now()
        self._engine = Engine(setup=self._setup(self._board.view()))
        evaluated_at = now if restored.evaluated_at is None else restored.evaluated_at
        self._engine.restore(restored.alerts, restored.groups, evaluated_at=evaluated_at, now=now)
        self._deliverer = Deliverer(
            ledger=self._ledger,
            receivers=self.plan.receivers,
            owed=self._take_up_owed(),
            clock=self._clock,
            external_url=self._external_url,
        )
        self._asserting = Asserting(
            asserters=self.plan.asserters,
            alerts=self._asserted,
            clock=self._clock,
            external_url=self._external_url,
            unsaved=lambda: self._ledger.unsaved,
        )
        self._take_up_rules()

    async def run(self) -> None:
        """Evaluate and tell until cancelled or finished. `restore` came before."""
        assert self._deliverer is not None
        assert self._asserting is not None
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._deliverer.run())
            tasks.create_task(self._asserting.run())
            tasks.create_task(self._look_after_state())
            self._start_heartbeat()
            await self._turn()

    async def finish(self) -> None:
        """Decide nothing any more, and give what waits a last chance to be told."""
        self._finished = True
        async with self._stepping:
            pass  # a step under way ends first
        if self._deliverer is not None:
            await self._deliverer.drain(DRAIN_SECONDS)

    @asynccontextmanager
    async def exchanging(self, plan: Plan) -> AsyncIterator[None]:
        """Put another plan in force, after the body has exchanged the clusters.

        Nothing is decided meanwhile: a cluster that is stopped to be started anew is not gone.
        """
        async with self._stepping:
            yield
            before, self.plan = self.plan, plan
            await self._ledger.configure(plan.kept)
            if self._engine is None or self._deliverer is None or self._asserting is None:
                return
            self._engine.reconfigure(self._setup(self._board.view()), self._clock.now())
            self._take_up_rules()
            self._leave_behind(before)
            self._deliverer.reconfigure(self.plan.receivers, self._take_up_owed())
            self._asserting.reconfigure(self.plan.asserters)
            if before.settings.alerting.heartbeat != plan.settings.alerting.heartbeat:
                self._start_heartbeat()
        self._news.tell()

    # --- steps -------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        while not self._finished:
            began = self._clock.monotonic()
            try:
                await self.step()
            except Exception:  # the boundary: a bug costs evaluations, and the heartbeat says so
                log.exception("evaluation.broke")
            took = self._clock.monotonic() - began
            longest = max(LONGEST_GAP_SECONDS, LONGEST_GAP_STEPS * took)
            await asyncio.sleep(min(max(SETTLE_SECONDS, took / SHARE_OF_TIME), longest))
            await self._wait_for_news()

    async def _wait_for_news(self) -> None:
        due_at = self._engine.due_at() if self._engine is not None else None
        seconds = EVALUATION_SECONDS if due_at is None else due_at - self._clock.now()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(0.0, seconds), EVALUATION_SECONDS)):
                await self._news.wait()
                await asyncio.sleep(SETTLE_SECONDS)

    async def step(self) -> None:
        """Evaluate once on what the Board knows now, and store and tell what follows."""
        await self._fleet.derive()
        async with self._stepping:
            if self._engine is None or self._finished:
                return
            view, now = self._board.view(), self._clock.now()
            self._changes.note(view, now)
            self._look_at_sights(view)
            findings = await self._off_loop(
                self._evaluated_in, view, self._engine, presence_of(self._fleet.watches), now
            )
            await self._ledger.see_silences()  # one that was made a moment ago holds back what comes now
            changes = self._engine.step(
                findings,
                now,
                silences=self._ledger.silences,
                describe=self._describing.described,
                monotonic_seconds=view.monotonic_seconds,
            )
            await self._ledger.commit(changes)
            self._evaluated = (now, self._clock.monotonic())
            self._was_evaluated.set()
        self._tell(changes.alerts or changes.notifications)

    def _evaluated_in(
        self, view: BoardView, engine: Engine, presence: Mapping[str, ClusterPresence], now: float
    ) -> list[Finding]:
        return self._evaluator.evaluate(view, known=engine.known(), presence=presence, now=now)

    def _tell(self, changed: object) -> None:
        if changed and self._deliverer is not None and self._asserting is not None:
            self._deliverer.wake()
            self._asserting.wake()
        # Nobody is woken for it: it came from a change, and would be one.
        self._board.post(DECIDED, tuple(self._decided()), wakes=False)

    # --- what is in force ----------------------------------------------------------------------------

    @property
    def _external_url(self) -> str:
        return (self.plan.settings.web.external_url or "").rstrip("/")

    def _take_up_owed(self) -> Mapping[str, Receiver]:
        """Return who left the configuration and must still hear of an end, by id."""
        gone = {id: one for id, one in self._ledger.owed_and_gone().items() if id not in self._owed}
        self._owed = {**self._owed, **owed(gone)}
        return self._owed

    def _leave_behind(self, before: Plan) -> None:
        """Keep what the old plan told, as long as it is owed an end; the same object goes on."""
        owed_ids = self._ledger.owed_and_gone().keys()
        left = {id: one for id, one in before.receivers.items() if id in owed_ids}
        self._owed = {id: one for id, one in {**self._owed, **left}.items() if id in owed_ids}

    def _let_go(self) -> None:
        """Close who left the configuration and is owed nothing any more."""
        if self._owed and self._deliverer is not None:
            owed_ids = self._ledger.owed_and_gone().keys()
            self._deliverer.release(self._owed.keys() - owed_ids)
            self._owed = {id: one for id, one in self._owed.items() if id in owed_ids}

    def _setup(self, view: BoardView) -> Setup:
        self._sights = sights(self.plan.rules.rules, self.plan.settings, view)
        self._looked_at = self._clock.monotonic()
        return self.plan.setup(self._sights)

    def _take_up_rules(self) -> None:
        keep_histories(self._board, self.plan.rules.rules)
        self._evaluator = Evaluator(self.plan.rules.rules)
        self._say_blind(())

    def _look_at_sights(self, view: BoardView) -> None:
        """Let a rule that came to see be in force, and one that lost its sight end what it said."""
        assert self._engine is not None
        if self._clock.monotonic() - self._looked_at < SIGHT_SECONDS:
            return
        before = self._sights
        setup = self._setup(view)
        if self._sights != before:
            self._engine.reconfigure(setup, self._clock.now())
            self._say_blind(before)

    def _say_blind(self, before: tuple[RuleSight, ...]) -> None:
        known = {sight.rule: sight.blind for sight in before}
        for sight in self._sights:
            if sight.blind and known.get(sight.rule) != sight.blind:
                log.info("rule.blind", rule=sight.rule, reason=sight.blind)
            elif not sight.blind and known.get(sight.rule):
                log.info("rule.sees", rule=sight.rule)

    def _start_heartbeat(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
        self._beating = self._heartbeat = None
        settings = self.plan.settings.alerting.heartbeat
        if settings is not None and self._tasks is not None:
            self._heartbeat = Heartbeat(
                url=settings.url.reveal(),
                method=settings.method,
                interval_seconds=settings.interval_seconds,
                ailments=self._ailments,
                evaluated=self._was_evaluated,
            )
            self._beating = self._tasks.create_task(self._heartbeat.run())

    # --- what it tells of itself ---------------------------------------------------------------------

    def alerts_document(self) -> dict[str, Any]:
        """Return what fires or is pending, ready for JSON."""
        if self._engine is None:
            return alerts_document((), {})
        return alerts_document(self._engine.alerts(), self._engine.held_back())

    def rules_document(self) -> dict[str, Any]:
        """Return the rules in force with their alerts, ready for JSON."""
        rules = self.plan.rules.rules
        if self._engine is None:
            return rules_document(rules, self._sights, ())
        return rules_document(rules, self._sights, self._engine.alerts(), self._engine.held_back())

    def landing_alerts(self) -> tuple[LandingAlert, ...]:
        """Return what fires, for the landing page."""
        alerts = self._engine.alerts() if self._engine is not None else ()
        return landing_alerts(alerts, self._clock.now())

    def _decided(self) -> Iterator[Reading]:
        """Yield what follows from evaluations."""
        assert self._engine is not None
        yield from records.alert_readings(self._engine.alerts(), self.plan.rules.rules)
        yield from records.rule_readings(self._sights)

    def _delivered(self) -> Iterator[Reading]:
        """Yield what happens between evaluations."""
        assert self._deliverer is not None
        assert self._asserting is not None
        yield from self._deliverer.readings()
        yield from self._asserting.readings()
        at = self._evaluated[0] if self._evaluated is not None else None
        yield from records.own_readings(evaluated_at=at, unsaved=self._ledger.unsaved)
        if self._heartbeat is not None:
            yield from records.heartbeat_readings(self._heartbeat.outcomes)

    def _asserted(self, asserter: Asserter) -> list[Alert]:
        if self._engine is None:
            return []
        return self._engine.asserted(asserter.id, self._clock.now(), self._describing.described)

    def _ailments(self) -> list[str]:
        assert self._asserting is not None
        now, monotonic = self._clock.now(), self._clock.monotonic()
        evaluation = None
        if self._evaluated is not None:
            evaluation = Turn("evaluations", monotonic - self._evaluated[1], EVALUATION_SECONDS)
        return list(
            ailments(
                ledger=self._ledger,
                polls=self._poll_turns.newest(self._fleet.watches, self._board.view()),
                evaluation=evaluation,
                assertions=self._asserting.assertions(),
                now=now,
            )
        )

    async def _look_after_state(self) -> None:
        """See silences that verbs made, make good what the disk refused, tell how deliveries go."""
        while True:
            if await self._ledger.step():
                self._news.tell()
            self._let_go()
            self._board.post(DELIVERED, tuple(self._delivered()), wakes=False)
            await asyncio.sleep(LOOK_SECONDS)
