"""Vacuuming: one collection after the other, the one that frees the most first, on a cluster one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from exporter.config.jobs import JobSettings
from exporter.config.time_windows import parse_clock, time_zone
from exporter.errors import JobRefused
from exporter.jobs.bodies.backup import chosen
from exporter.jobs.bodies.means import Means
from exporter.jobs.runner import LOCK_PATIENCE_SECONDS
from exporter.jobs.words import Figure, Outcome, Part, Reason
from exporter.operations.vacuum.running import Vacuum, VacuumRefused
from exporter.operations.vacuum.sweeping import idle_plans
from exporter.operations.vacuum.words import (
    VacuumOutcome,
    VacuumPlan,
    VacuumReport,
    VacuumTerms,
    Window,
)


class VacuumBody:
    """Jobs of kind vacuum."""

    frees = False

    def __init__(self, means: Means) -> None:
        self._means = means

    async def make_room(self, cluster: str) -> int:
        """Free nothing: of the store it needs a lock and a note, and backups go before it."""
        return 0

    @asynccontextmanager
    async def opened(self, job: JobSettings, cluster: str) -> AsyncIterator[VacuumChore]:
        """Wait for who vacuums, also for a person, and see in which collections there is something to do.

        Raises JobError where no collection is selected.
        """
        means = self._means
        async with (
            means.locks.vacuum(cluster, patience_seconds=LOCK_PATIENCE_SECONDS),
            means.reached(cluster) as peers,
        ):
            names = chosen(job, cluster, await means.collections(peers))

            async def free() -> Mapping[str, int | None]:
                return {**await means.free_disks(cluster)}

            terms = terms_of(job)
            vacuum = Vacuum(
                cluster=cluster,
                peers=peers,
                shelf=means.shelf,
                terms=terms,
                free_bytes=free,
                clock=means.clock,
                progress=means.progress,
                limits=means.limits,
            )
            freed = means.reclaimable_bytes(cluster)
            yield VacuumChore(
                vacuum,
                tuple(sorted(names, key=lambda name: -freed.get(name, 0.0))),
                idle=await idle_plans(peers, names, terms, means.limits),
                turn=means.turns.setdefault(cluster, asyncio.Lock()),
            )


class VacuumChore:
    """One run."""

    def __init__(
        self,
        vacuum: Vacuum,
        collections: tuple[str, ...],
        *,
        idle: Mapping[str, VacuumPlan],
        turn: asyncio.Lock,
    ) -> None:
        self.collections = collections
        self._vacuum = vacuum
        self._idle = idle
        self._turn = turn

    def turn(self) -> AbstractAsyncContextManager[object]:
        """Wait for backups, and have them wait for one collection: a snapshot takes disk that a rebuild
        counts on. A run of hours must not cost a night's backup.
        """
        return self._turn

    async def do(self, collection: str) -> Part:
        """Vacuum one collection. Where a gate is closed it is skipped, with all that stands against it."""
        idle = self._idle.get(collection)
        if idle is not None:
            figures = _planned(idle) | {"vacuum": VacuumOutcome.NOTHING.value}
            return Part(collection, Outcome.OK, detail=idle.note, figures=figures)
        try:
            return part_of(await self._vacuum.run(collection))
        except VacuumRefused as error:
            details = "; ".join(gate.detail for gate in error.plan.refusals)
            return Part(collection, Outcome.SKIPPED, Reason.REFUSED, details, figures=_planned(error.plan))
        except JobRefused as error:  # something began since, or is not put back yet: nothing was lowered
            return Part(collection, Outcome.SKIPPED, Reason.REFUSED, str(error))


def terms_of(job: JobSettings) -> VacuumTerms:
    """Return what a job wants of a vacuum."""
    window = None
    if job.window is not None:
        start, end = (parse_clock(text) for text in (job.window.start, job.window.end))
        window = Window(start, end, time_zone(job.schedule.timezone))
    return VacuumTerms(
        min_deleted_ratio=job.min_deleted_ratio,
        min_reclaim_bytes=job.min_reclaim_bytes,
        queue_limit=job.queue_limit,
        p95_limit_seconds=job.p95_limit_seconds or None,
        window=window,
        dry_run=job.dry_run,
    )


def part_of(report: VacuumReport) -> Part:
    """Return what came of a vacuum. Thresholds that are not put back yet make it no success."""
    told = [report.detail, f"thresholds are {report.thresholds}" if report.is_open else ""]
    outcome, reason = Outcome.OK, Reason.NONE
    if report.outcome is VacuumOutcome.PARTLY or (report.is_open and report.outcome.is_good):
        outcome, reason = Outcome.PARTLY, Reason.FAILED
    elif not report.outcome.is_good:
        outcome, reason = Outcome.FAILED, Reason.FAILED
    detail = "; ".join(text for text in told if text)
    return Part(report.collection, outcome, reason, detail, figures=_figures(report))


def _planned(plan: VacuumPlan) -> dict[str, Figure]:
    return {"victims": len(plan.victims), "reclaimable_before": round(plan.reclaimable_bytes)}


def _figures(report: VacuumReport) -> dict[str, Figure]:
    before, after = report.before, report.after
    figures: dict[str, Figure] = {
        "vacuum": report.outcome.value,
        "victims": len(report.plan.victims),
        "deleted_before": before.deleted,
        "deleted_after": after.deleted,
        "reclaimable_before": round(before.reclaimable_bytes),
        "reclaimable_after": round(after.reclaimable_bytes),
        "segments_before": before.segments,
        "segments_after": after.segments,
        "took": round(report.took_seconds, 3),
        "thresholds": report.thresholds,
    }
    for name, seconds in (
        ("p95_before", report.p95_before_seconds),
        ("p95_meanwhile", report.p95_meanwhile_seconds),
    ):
        if seconds is not None:
            figures[name] = round(seconds, 6)
    return figures
