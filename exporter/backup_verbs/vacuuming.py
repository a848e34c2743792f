"""`vacuum plan`, `run` and `put-back`: segments rewritten where it does no harm, thresholds as they were."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from exporter import exit_codes
from exporter.backup.calling import Limits
from exporter.backup.progress import Progress
from exporter.backup.survey import PeerAt
from exporter.backup.thresholds.putting_back import LOOK_SECONDS, PutBack, put_back, reconcile_thresholds
from exporter.backup.words import ThresholdIntent
from exporter.backup_verbs.open_thresholds import intents_of, telling_what_stays_open
from exporter.backup_verbs.opened import Opened, cluster_of, free_bytes, opened, reached
from exporter.backup_verbs.showing import Showing
from exporter.backup_verbs.vacuum_shown import End, show_ends, show_plans, show_put_back
from exporter.clock import Clock, SystemClock
from exporter.config.clusters import ClusterSettings
from exporter.config.quantities import format_duration
from exporter.config.settings import Settings
from exporter.errors import ExporterError, JobError, JobLocked, JobRefused, SourceError, StoreFull
from exporter.jobs.bodies.backup import OUR_OWN
from exporter.jobs.bodies.means import collections_there
from exporter.operations.vacuum.running import Vacuum, plan_vacuum
from exporter.operations.vacuum.sweeping import idle_plans
from exporter.operations.vacuum.words import VacuumOutcome, VacuumPlan, VacuumTerms

Planned = tuple[str, VacuumPlan | ExporterError]  # a collection with its plan, or with why there is none


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person typed."""

    collections: Sequence[str]  # () for all
    cluster: str | None
    terms: VacuumTerms
    deadline_seconds: float | None = None  # None: a plan has none
    flags: Sequence[str] = ()  # by which another verb finds the same cluster and the same store


async def plan_now(settings: Settings, wanted: Wanted, showing: Showing) -> int:
    """Say what a vacuum would do and what stands against it; nothing is changed. Return the exit code."""
    clock = SystemClock()
    cluster = cluster_of(settings, wanted.cluster)
    async with reached(settings, cluster, clock) as peers:
        planned = await _planned(cluster, peers, wanted, clock)
    show_plans(cluster.name, planned, showing)
    return _code_of_plans(planned)


async def run_now(settings: Settings, wanted: Wanted, showing: Showing) -> int:
    """Vacuum what is worth it, worst first, one after the other; return the exit code.

    Ended by a signal or by the deadline it sends nothing: what is changed then stays written down in the
    store, and whoever watches is told how it is put back.
    """
    if wanted.terms.dry_run:
        return await plan_now(settings, wanted, showing)
    clock = SystemClock()
    cluster = cluster_of(settings, wanted.cluster)
    async with opened(settings, clock) as it, reached(settings, cluster, clock) as peers:
        await it.check()
        async with (
            it.locks.vacuum(cluster.name),
            telling_what_stays_open(it, cluster.name, wanted.flags, showing),
        ):
            await _put_back_first(it, cluster.name, peers, showing)
            with showing.progress() as progress:
                ends = await _Run(it, cluster, peers, wanted, progress).all()
    show_ends(cluster.name, ends, showing)
    return _code_of_ends(ends)


async def put_back_now(
    settings: Settings, collections: Sequence[str], cluster: str | None, showing: Showing
) -> int:
    """Put back what vacuums and imports changed for a while, where nothing runs; return the exit code."""
    clock = SystemClock()
    chosen = cluster_of(settings, cluster)
    async with opened(settings, clock) as it, reached(settings, chosen, clock) as peers:
        with suppress(StoreFull):  # it takes no lock then, and needs none to put back
            await it.check()
        intents: dict[str, list[ThresholdIntent]] = {}
        for intent in await intents_of(it, chosen.name):
            if not collections or intent.collection in collections:
                intents.setdefault(intent.collection, []).append(intent)
        ends = [(of_one, await _put_back(it, of_one[-1], peers)) for of_one in intents.values()]
        others = sorted({one.cluster for one in await it.shelf.thresholds()} - {chosen.name})
    show_put_back(chosen.name, ends, others, showing)
    if all(isinstance(end, PutBack) and end.done for _, end in ends):
        return exit_codes.DONE
    return exit_codes.LOCKED if all(isinstance(end, JobLocked) for _, end in ends) else exit_codes.PARTLY


class _Run:
    """One run over the collections of a cluster, whose lock for vacuums is held."""

    def __init__(
        self,
        it: Opened,
        cluster: ClusterSettings,
        peers: Sequence[PeerAt],
        wanted: Wanted,
        progress: Progress,
    ) -> None:
        self._it = it
        self._cluster = cluster
        self._peers = tuple(peers)
        self._wanted = wanted
        self._progress = progress
        self._ends: list[End] = []
        self._left: list[str] = []  # what is not over, in its order

    async def all(self) -> list[End]:
        """Do all of them; what the deadline cuts off is told of each. Raises JobError: none was begun."""
        try:
            async with asyncio.timeout(self._wanted.deadline_seconds):
                await self._each()
        except TimeoutError:
            self._cut_off()
        return self._ends

    async def _each(self) -> None:
        planned = await _planned(self._cluster, self._peers, self._wanted, self._it.clock)
        self._left = [name for name, _ in planned]
        for name, plan in planned:
            self._ends.append(await self._one(name, plan))
            self._left.pop(0)

    def _cut_off(self) -> None:
        deadline = format_duration(self._wanted.deadline_seconds or 0.0)
        if not self._left:
            raise JobError(f"nothing was begun when the deadline of {deadline} came")
        first, *others = self._left
        self._ends.append(End(first, JobError(f"it was not done when the deadline of {deadline} came")))
        self._ends += [End(name, JobError("it was not begun")) for name in others]

    async def _one(self, name: str, plan: VacuumPlan | ExporterError) -> End:
        """Vacuum one; what stands against it is told, and the next one comes."""
        if isinstance(plan, ExporterError) or not _is_due(plan):
            return End(name, plan)
        try:
            async with self._it.locks.collection(self._cluster.name, name):
                vacuum = Vacuum(
                    cluster=self._cluster.name,
                    peers=self._peers,
                    shelf=self._it.shelf,
                    terms=self._wanted.terms,
                    free_bytes=_room(self._cluster),
                    clock=self._it.clock,
                    progress=self._progress,
                    limits=Limits(),
                )
                return End(name, await vacuum.run(name))
        except (JobError, SourceError) as error:
            return End(name, error)


async def _planned(
    cluster: ClusterSettings, peers: Sequence[PeerAt], wanted: Wanted, clock: Clock
) -> list[Planned]:
    """Plan every collection that is meant, the most reclaimable bytes first, what cannot be planned last."""
    names = wanted.collections or [
        name for name in await collections_there(peers, Limits()) if not name.startswith(OUR_OWN)
    ]
    names = list(dict.fromkeys(names))
    idle = await idle_plans(peers, names, wanted.terms, Limits())
    planned: list[Planned] = []
    for name in (name for name in names if name not in idle):
        try:
            plan = await plan_vacuum(
                name,
                cluster=cluster.name,
                peers=peers,
                terms=wanted.terms,
                free_bytes=_room(cluster),
                clock=clock,
                limits=Limits(),
            )
        except (JobError, SourceError) as error:
            planned.append((name, error))
        else:
            planned.append((name, plan))
    return sorted([*planned, *idle.items()], key=_most_first)


def _room(cluster: ClusterSettings) -> Callable[[], Awaitable[Mapping[str, int | None]]]:
    """Return what tells the free disk of the peers, each time anew and off the event loop."""

    async def free() -> Mapping[str, int | None]:
        return {**await asyncio.to_thread(free_bytes, cluster)}

    return free


def _is_due(plan: VacuumPlan) -> bool:
    """There is something to do, or nobody could look."""
    return bool(plan.victims or plan.refusals)


def _most_first(planned: Planned) -> float:
    plan = planned[1]
    return 1.0 if isinstance(plan, ExporterError) else -plan.reclaimable_bytes


async def _put_back_first(it: Opened, cluster: str, peers: Sequence[PeerAt], showing: Showing) -> None:
    """Put back what a run that was cut off left changed, or this one would take it for the owner's wish."""
    backs = await reconcile_thresholds(
        it.shelf,
        peers,
        cluster=cluster,
        locked=partial(it.locks.collection, cluster),
        clock=it.clock,
        limits=Limits(),
        look_seconds=LOOK_SECONDS,
    )
    for back in backs:
        if back.done:
            showing.say(f"{back.collection}: thresholds that an earlier run left changed are back")


async def _put_back(it: Opened, intent: ThresholdIntent, peers: Sequence[PeerAt]) -> PutBack | ExporterError:
    try:
        async with it.locks.freeing(intent.cluster, intent.collection):
            return await put_back(intent, it.shelf, peers, it.clock, Limits(), look_seconds=LOOK_SECONDS)
    except (JobError, SourceError) as error:
        return error


def _code_of_plans(planned: Sequence[Planned]) -> int:
    """Return 0 where something would be done, 3 where nothing is to do, 4 where all of it is refused."""
    failed = [plan for _, plan in planned if isinstance(plan, ExporterError)]
    if failed:
        return exit_codes.FAILED if len(failed) == len(planned) else exit_codes.PARTLY
    due = [plan for _, plan in planned if isinstance(plan, VacuumPlan) and _is_due(plan)]
    if not due:
        return exit_codes.PARTLY
    return exit_codes.REFUSED if all(plan.refusals for plan in due) else exit_codes.DONE


def _code_of_ends(ends: Sequence[End]) -> int:
    """Return 0 where all that was to do is done; where nothing was to do it is no success."""
    codes = {_code_of_end(end) for end in ends if end.was_due}
    if len(codes) == 1:
        return codes.pop()
    return exit_codes.PARTLY


def _code_of_end(end: End) -> int:
    came = end.came
    if isinstance(came, JobRefused):
        return exit_codes.REFUSED
    if isinstance(came, JobLocked):
        return exit_codes.LOCKED
    if isinstance(came, ExporterError):
        return exit_codes.FAILED
    if isinstance(came, VacuumPlan) or came.outcome is VacuumOutcome.NOTHING:
        return exit_codes.PARTLY
    if came.outcome is VacuumOutcome.PARTLY:
        return exit_codes.PARTLY
    if not came.outcome.is_good:
        return exit_codes.FAILED
    return exit_codes.PARTLY if came.is_open else exit_codes.DONE
