"""From settings to works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from exporter.backup.archive.engine import Engine, engine_available
from exporter.backup.calling import Limits
from exporter.backup.intents import owner
from exporter.backup.storage.contract import Store
from exporter.backup.survey import PeerAt
from exporter.backup.words import Level
from exporter.board import Board
from exporter.clock import Clock
from exporter.config.backup import StoreSettings
from exporter.config.jobs import JobSettings
from exporter.config.settings import Settings
from exporter.errors import ConfigError, JobRefused, Problem
from exporter.jobs.bodies.backup import BackupBody
from exporter.jobs.bodies.means import Means, nothing_known
from exporter.jobs.bodies.prune import PruneBody
from exporter.jobs.bodies.tidying import Tidying
from exporter.jobs.bodies.vacuum import VacuumBody
from exporter.jobs.bodies.verify import VerifyBody
from exporter.jobs.facts import cluster_of, level_of, stored_formats
from exporter.jobs.ledger import Ledger
from exporter.jobs.locks import Locks
from exporter.jobs.published import Published
from exporter.jobs.runner import Runner
from exporter.jobs.told_intents import TellingShelf
from exporter.jobs.works import StoreCheck, Works


def make_works(
    settings: Settings,
    *,
    ledger: Ledger,
    published: Published,
    board: Board,
    peers_of: Callable[[str], Sequence[PeerAt]],
    open_store: Callable[[StoreSettings, Clock], Store],
    turns: dict[str, asyncio.Lock],
    stopping: asyncio.Event,
    clock: Clock,
    disks_of: Callable[[str], Mapping[str, int]] = nothing_known,
) -> Works | None:
    """Build what jobs work with; nothing is read, written or sent. None: there is no store.

    `turns` is one for all works of a process: those before a reload may still be at it.
    `disks_of` tells what is free on disks, by peer, where nothing is polled.
    Raises ConfigError where the store needs what is not installed.
    """
    written = settings.backup.store
    if written is None:
        return None
    store = _opened(written, open_store, clock)
    locks = Locks(store=store, owner=owner(), clock=clock)
    means = Means(
        settings=settings.backup,
        shelf=TellingShelf(store, clock, published.intents),
        locks=locks,
        peers_of=peers_of,
        published=published,
        turns=turns,
        board=board,
        clock=clock,
        limits=Limits(),
        engine=Engine(clock=clock) if engine_available() else None,
        disks_of=disks_of,
    )
    check = StoreCheck(store, single_writer=written.single_writer, clock=clock)
    runner = Runner(ledger=ledger, locks=locks, clock=clock, stopping=stopping, ready=check)
    return _works(settings, means, runner, check)


def _works(settings: Settings, means: Means, runner: Runner, check: StoreCheck) -> Works:
    return Works(
        settings=settings,
        store=means.shelf.store,
        shelf=means.shelf,
        runner=runner,
        bodies={
            "backup": BackupBody(means),
            "verify": VerifyBody(means),
            "prune": PruneBody(means),
            "vacuum": VacuumBody(means),
        },
        check=check,
        tidying=Tidying(means),
        hopeless=frozenset(job.name for job in settings.jobs if _is_hopeless(job, settings, means)),
    )


def _opened(
    written: StoreSettings, open_store: Callable[[StoreSettings, Clock], Store], clock: Clock
) -> Store:
    try:
        return open_store(written, clock)
    except JobRefused as error:
        raise ConfigError([Problem("configuration", None, "backup.store.url", str(error))]) from error


def _is_hopeless(job: JobSettings, settings: Settings, means: Means) -> bool:
    """Whether a job is to open what is stored, and there is neither the engine nor a server that may.

    The engine opens snapshots only; an export is read without one, and imported by a server alone.
    """
    verify = means.settings.verify
    if job.kind != "verify" or verify.target is not None or verify.allow_same_cluster:
        return False
    clusters = tuple(cluster.name for cluster in settings.clusters)
    if stored_formats(settings.jobs, clusters, cluster_of(job, clusters)) == {"export"}:
        return level_of(job) >= Level.RESTORED
    return level_of(job) >= Level.OPENED and means.engine is None
