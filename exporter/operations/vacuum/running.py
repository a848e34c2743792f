"""A vacuum of one collection: look, trigger, watch, put the thresholds back, tell what came of it.

The caller holds the lock of the collection, and the cluster's lock for vacuums. A PATCH while an optimizer
runs cancels it, so none is sent before all is quiet, at the beginning as at the end; and whoever is
cancelled sends nothing: the intent stays open, and exporter.backup.thresholds puts back later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from exporter.backup.calling import Limits, may_have_been_done
from exporter.backup.progress import Progress, Silent, step
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.backup.thresholds.changing import change
from exporter.backup.thresholds.intents import open_intents
from exporter.backup.thresholds.optimizing import Optimizing, optimizing
from exporter.backup.thresholds.putting_back import put_back
from exporter.backup.words import Purpose, ThresholdIntent
from exporter.clock import Clock
from exporter.errors import JobDenied, JobError, JobRefused, SourceAuth, SourceError
from exporter.logs import get_logger
from exporter.operations.vacuum.disk import disk_bytes
from exporter.operations.vacuum.ending import End, Watch, ended_runs
from exporter.operations.vacuum.gates import Moment, gates_of, settings_of, sight_of
from exporter.operations.vacuum.planning import choose, put_by, weigh
from exporter.operations.vacuum.searching import FEWEST_ANSWERS, SEARCHES, Searches
from exporter.operations.vacuum.words import (
    OPEN,
    VacuumOutcome,
    VacuumPlan,
    VacuumReport,
    VacuumTerms,
    Weight,
    segments_text,
)
from exporter.printable import printable
from exporter.qdrant import keeping

log = get_logger()

# Free disk of each peer's storage in bytes, by its label; None where nobody can say.
FreeBytes = Callable[[], Awaitable[Mapping[str, int | None]]]
LOOK_SECONDS = 2.0  # level 4 walks every segment: more often would be felt, and a rewrite takes minutes
# Of all collections of the peer: with ten thousand of them a look takes seconds, and is a tenth of the time.
REST_FACTOR = 9
LONGEST_REST_SECONDS = 60.0
SEARCHES_A_LOOK = FEWEST_ANSWERS  # so that a rewrite of a second has a p95 too
PATCH_SECONDS = 10.0  # before 1.18.1 the answer waits for what runs; we look what came instead
UNCHANGED = "unchanged"
BACK = "put back"


class VacuumRefused(JobRefused):
    """A gate is closed, so nothing was sent. `plan` has all gates."""

    def __init__(self, plan: VacuumPlan) -> None:
        self.plan = plan
        why = "; ".join(gate.detail for gate in plan.refusals)
        super().__init__(f"no vacuum of {printable(plan.collection)}: {why}")


@dataclass(frozen=True, slots=True)
class _Ground:
    """What a vacuum works with."""

    cluster: str
    collection: str
    peers: tuple[PeerAt, ...]
    terms: VacuumTerms
    free_bytes: FreeBytes
    clock: Clock
    limits: Limits


@dataclass(frozen=True, slots=True)
class _Planned:
    """A plan with what it was made of."""

    plan: VacuumPlan
    seen: Optimizing


async def plan_vacuum(
    collection: str,
    *,
    cluster: str,
    peers: Sequence[PeerAt],
    terms: VacuumTerms,
    free_bytes: FreeBytes,
    clock: Clock,
    limits: Limits | None = None,
) -> VacuumPlan:
    """Return what a vacuum would do now, and which gates are closed. Sends no change; searches 20 times
    where there are victims.

    Raises JobError where there is no such collection.
    """
    ground = _Ground(cluster, collection, tuple(peers), terms, free_bytes, clock, limits or Limits())
    return (await _planned(ground, _searches_of(ground))).plan


class Vacuum:
    """Vacuums of one cluster's collections, one at a time."""

    def __init__(
        self,
        *,
        cluster: str,
        peers: Sequence[PeerAt],
        shelf: Shelf,
        terms: VacuumTerms,
        free_bytes: FreeBytes,
        clock: Clock,
        progress: Progress | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._cluster = cluster
        self._peers = tuple(peers)
        self._shelf = shelf
        self._terms = terms
        self._free_bytes = free_bytes
        self._clock = clock
        self._progress = progress or Silent()
        self._limits = limits or Limits()

    async def run(self, collection: str) -> VacuumReport:
        """Vacuum a collection, or return that there is nothing to do. Safe to cancel: nothing is sent then.

        It is planned right before, so what somebody saw earlier does not count. Raises VacuumRefused where
        a gate is closed, JobDenied where the key may not do it, StoreError, JobError.
        """
        ground = _Ground(
            self._cluster,
            collection,
            self._peers,
            self._terms,
            self._free_bytes,
            self._clock,
            self._limits,
        )
        searches = _searches_of(ground)
        began = self._clock.monotonic()
        with step(self._progress, f"{printable(collection)}: looking"):
            planned = await _planned(ground, searches)
            if planned.plan.victims and not self._terms.dry_run and await self._is_put_back(ground):
                planned = await _planned(ground, searches)
        plan = planned.plan
        before = weigh(planned.seen.segments)
        if plan.refusals:
            raise VacuumRefused(plan)
        if not plan.victims:
            report = _unsent(plan, End(VacuumOutcome.NOTHING, plan.note), before)
        elif self._terms.dry_run:
            words = f"{segments_text(len(plan.victims))} would be rewritten"
            report = _unsent(plan, End(VacuumOutcome.PLANNED, words), before)
        else:
            before = replace(before, disk_bytes=await disk_bytes(self._peers, planned.seen))
            run = _Run(ground, planned, searches, self._shelf, self._progress)
            report = await run.vacuumed(before, began)
        log.info(
            "vacuum.ended",
            qdrant_cluster=self._cluster,
            collection=printable(collection),
            outcome=str(report.outcome),
            reason=report.detail,
            took_seconds=round(report.took_seconds, 3),
        )
        return report

    async def _is_put_back(self, ground: _Ground) -> bool:
        """Put back what a run that was killed left changed, or this one would take it for the owner's wish.

        Return whether there was anything. Raises JobRefused where it cannot be put back now.
        """
        found = await open_intents(self._shelf, cluster=ground.cluster, collection=ground.collection)
        if not found:
            return False
        back = await put_back(found[-1], self._shelf, ground.peers, ground.clock, ground.limits)
        if not back.done:
            raise JobRefused(
                f"no vacuum of {printable(ground.collection)}: thresholds that an earlier run changed are not"
                f" put back: {back.reason}"
            )
        return True


def _searches_of(ground: _Ground) -> Searches:
    return Searches(ground.peers, ground.collection, ground.clock, ground.limits)


async def _planned(ground: _Ground, searches: Searches) -> _Planned:
    """Look, search where there is something to do, and look again: gates are of the last moment."""
    seen = await _looked(ground)
    if not seen.silent and choose(seen.segments, settings_of(seen), ground.terms).victims:
        await searches.measure(SEARCHES)
        seen = await _looked(ground)
    choice = choose(seen.segments, settings_of(seen), ground.terms)
    moment = Moment(
        seen=seen,
        at=ground.clock.now(),
        p95_seconds=searches.p95_seconds(),
        change=choice.change,
        needed_bytes=choice.needed_bytes,
        free_bytes=await ground.free_bytes() if choice.victims else {},
    )
    plan = VacuumPlan(
        collection=ground.collection,
        victims=choice.victims,
        besides=choice.besides,
        gates=gates_of(moment, ground.terms) if choice.victims else sight_of(seen),
        change=choice.change,
        needed_bytes=choice.needed_bytes,
        free_bytes=moment.free_bytes,
        note=choice.note,
        p95_seconds=moment.p95_seconds,
    )
    return _Planned(plan, seen)


async def _looked(ground: _Ground) -> Optimizing:
    """Look at all peers. Raises JobError where there is no such collection."""
    seen = await optimizing(ground.peers, ground.collection, ground.limits)
    if seen.is_gone:
        raise JobError(f"there is no collection {printable(ground.collection)}")
    return seen


def _unsent(plan: VacuumPlan, end: End, weight: Weight) -> VacuumReport:
    """Report one that sent nothing."""
    return VacuumReport(
        collection=plan.collection,
        outcome=end.outcome,
        detail=end.detail,
        plan=plan,
        before=weight,
        after=weight,
        took_seconds=0.0,
        p95_before_seconds=plan.p95_seconds,
        p95_meanwhile_seconds=None,
        failed_searches=0,
        runs=0,
        cancelled_runs=0,
        thresholds=UNCHANGED,
    )


class _Run:
    """One vacuum whose gates are open."""

    def __init__(
        self, ground: _Ground, planned: _Planned, searches: Searches, shelf: Shelf, progress: Progress
    ) -> None:
        self._ground = ground
        self._plan = planned.plan
        self._before = self._last = planned.seen
        self._searches = searches
        self._shelf = shelf
        self._progress = progress

    async def vacuumed(self, before: Weight, began: float) -> VacuumReport:
        """Do it, and report. `before`: what the collection weighed; `began`: monotonic seconds."""
        ground, plan = self._ground, self._plan
        self._searches.forget()
        intent = await self._triggered()
        log.info(
            "vacuum.triggered",
            qdrant_cluster=ground.cluster,
            collection=printable(ground.collection),
            victims=len(plan.victims),
            changed=dict(plan.change),
        )
        watch = Watch(
            plan.victims,
            put_by(plan.change, settings_of(self._before)),
            self._before,
            at=ground.clock.monotonic(),
            limits=ground.limits,
        )
        name = printable(ground.collection)
        with step(self._progress, f"{name}: rewriting {len(plan.victims)} segments"):
            end = await self._watched(watch)
        p95, failed = self._searches.p95_seconds(), self._searches.failed
        took_seconds = ground.clock.monotonic() - began
        after = weigh(self._last.segments, await disk_bytes(ground.peers, self._last))
        with step(self._progress, f"{name}: putting thresholds back"):
            patience_seconds = ground.limits.busy_seconds if watch.is_quiet else 0.0
            thresholds = await self._thresholds(intent, end, patience_seconds)
        return VacuumReport(
            collection=ground.collection,
            outcome=end.outcome,
            detail=end.detail,
            plan=plan,
            before=before,
            after=after,
            took_seconds=took_seconds,
            p95_before_seconds=plan.p95_seconds,
            p95_meanwhile_seconds=p95,
            failed_searches=failed,
            runs=ended_runs(watch.runs),
            cancelled_runs=len(watch.cancelled),
            thresholds=thresholds,
        )

    async def _triggered(self) -> ThresholdIntent | None:
        """Have the server plan anew, with other thresholds where its own do not do; None: nothing changed."""
        ground = self._ground
        if self._plan.change:
            return await change(
                self._shelf,
                ground.peers,
                cluster=ground.cluster,
                collection=ground.collection,
                purpose=Purpose.VACUUM,
                wanted=self._plan.change,
                clock=ground.clock,
                limits=ground.limits,
            )
        quiet = await optimizing(ground.peers, ground.collection, ground.limits)
        if quiet.why_not_quiet:
            raise JobRefused(f"no vacuum of {printable(ground.collection)}: {quiet.why_not_quiet}")
        asked = keeping.patch_collection(ground.collection, {"optimizers_config": {}})
        try:
            await ground.peers[0].courier.call(asked, deadline_seconds=PATCH_SECONDS)
        except SourceAuth as error:
            raise JobDenied(f"the key may not change {printable(ground.collection)}: {error}") from error
        except SourceError as error:
            if not may_have_been_done(error):
                raise JobError(f"{printable(ground.collection)} was not woken: {error}") from error
        return None

    async def _watched(self, watch: Watch) -> End:
        """Look, and search, until there is an end."""
        ground = self._ground
        look_seconds = 0.0
        while True:
            if not watch.is_quiet:
                await self._searches.measure(SEARCHES_A_LOOK)
            rest_seconds = min(look_seconds * REST_FACTOR, LONGEST_REST_SECONDS)
            await asyncio.sleep(max(LOOK_SECONDS, rest_seconds))
            began = ground.clock.monotonic()
            now = await optimizing(ground.peers, ground.collection, ground.limits)
            look_seconds = ground.clock.monotonic() - began
            if not now.silent:
                self._last = now  # of what is not seen nothing can be told
            if now.is_gone or (now.exists and now.uuid != self._before.uuid):
                words = f"{printable(ground.collection)} was deleted meanwhile"
                return End(VacuumOutcome.GONE, words)
            end = watch.seen(now, at=ground.clock.monotonic())
            if end is not None:
                return end

    async def _thresholds(self, intent: ThresholdIntent | None, end: End, patience_seconds: float) -> str:
        """Put back at the first quiet moment, and say what came of it.

        Where that does not come within so long, the intent stays open and its reconciler goes on.
        """
        if intent is None:
            return UNCHANGED
        ground = self._ground
        began = ground.clock.monotonic()
        while True:
            back = await put_back(intent, self._shelf, ground.peers, ground.clock, ground.limits)
            if back.done and end.outcome is VacuumOutcome.GONE:
                return "gone with the collection"
            if back.done:
                others = f"; set by another meanwhile, and left: {', '.join(back.foreign)}"
                return f"{BACK}{others if back.foreign else ''}"
            waited_seconds = ground.clock.monotonic() - began
            if waited_seconds >= patience_seconds:
                return f"{OPEN}{back.reason}"
            await asyncio.sleep(LOOK_SECONDS)
