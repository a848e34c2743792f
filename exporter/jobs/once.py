"""One run of a job by hand, in a process of its own: where no daemon runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from exporter.backup.storage.opening import open_store
from exporter.backup.survey import PeerAt
from exporter.board import Board
from exporter.clock import Clock
from exporter.config.settings import Settings
from exporter.errors import JobError
from exporter.jobs.bodies.means import nothing_known
from exporter.jobs.facts import cluster_of, no_such_job
from exporter.jobs.ledger import Ledger
from exporter.jobs.making import make_works
from exporter.jobs.published import Published
from exporter.jobs.words import Cause, JobRun
from exporter.state import JobStore


async def run_job(
    settings: Settings,
    name: str,
    *,
    peers_of: Callable[[str], Sequence[PeerAt]],
    clock: Clock,
    store: JobStore | None,
    disks_of: Callable[[str], Mapping[str, int]] = nothing_known,
) -> JobRun:
    """Do a job now and return its run, which is in the ledger where there is a state directory.

    `disks_of` tells what is free on the disks of a cluster that are mounted here, by peer.
    Raises JobError where there is no such job, ConfigError, StateError.
    """
    ledger = Ledger(store=store, clock=clock)
    board = Board(clock=clock)
    await ledger.load()
    works = make_works(
        settings,
        ledger=ledger,
        published=Published(board=board, clock=clock),
        board=board,
        peers_of=peers_of,
        open_store=open_store,
        turns={},
        stopping=asyncio.Event(),
        clock=clock,
        disks_of=disks_of,
    )
    job = next((job for job in settings.jobs if job.name == name), None)
    if works is None or job is None:
        raise JobError(no_such_job(settings.jobs))
    try:
        await ledger.know(settings.jobs)
        cluster = cluster_of(job, works.clusters)
        run = await ledger.begin(job, cluster, planned_at=clock.now(), cause=Cause.PERSON)
        return await works.runner.run(job, works.bodies[job.kind], run)
    finally:
        await works.retire()
