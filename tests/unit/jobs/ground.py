"""Jobs over three scripted peers, a store in a directory and a state directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from exporter.backup.records import backup_producer
from exporter.backup.shelf import Shelf
from exporter.backup.storage.contract import Store
from exporter.backup.storage.opening import open_store
from exporter.backup.survey import PeerAt
from exporter.board import Board
from exporter.clock import Clock, SystemClock
from exporter.config.backup import BackupSettings, StoreSettings
from exporter.config.clusters import ClusterSettings, PeerSettings
from exporter.config.jobs import JobSettings, ScheduleSettings
from exporter.config.settings import Settings
from exporter.jobs.records import job_producer
from exporter.jobs.room import Jobs
from exporter.jobs.stored import job_run
from exporter.jobs.words import JobRun
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from exporter.state import JobStore, State
from tests.kit.snapshot_cluster import SnapshotCluster

CLUSTER = "prod"
NEVER = ScheduleSettings(cron="0 0 29 2 *")


def often(seconds: float) -> ScheduleSettings:
    """A schedule that no person may write: due every so many seconds."""
    return ScheduleSettings.model_construct(cron=None, timezone="UTC", every_seconds=seconds)


class Ground:
    """Everything but the jobs themselves."""

    def __init__(self, directory: Path, cluster: SnapshotCluster) -> None:
        self.directory = directory
        self.cluster = cluster
        self.clock = SystemClock()
        self.board = Board(clock=self.clock)
        self.state = State.open(directory / "state", clock=self.clock)
        self.job_store = JobStore(self.state)
        self.api_key: str | None = None
        self.open_couriers = 0
        self.store: Store | None = None  # in place of a directory

    def settings(self, *jobs: JobSettings, **changed: Any) -> Settings:
        """The configuration with these jobs."""
        store = StoreSettings(url=str(self.directory / "store"))
        peers = tuple(PeerSettings(url=url) for url in self.cluster.urls)
        return Settings(
            clusters=(ClusterSettings(name=CLUSTER, peers=peers),),
            backup=BackupSettings(store=store, **changed),
            jobs=jobs,
        )

    def peers_of(self, cluster: str) -> tuple[PeerAt, ...]:
        """Ways to the peers, counted until they are closed."""
        assert cluster == CLUSTER
        doors = [Door(url=url, api_key=self.api_key) for url in self.cluster.urls]
        return tuple(
            PeerAt(label, door.url, _Counted(door, self.clock, self))
            for label, door in zip("abc", doors, strict=False)
        )

    def jobs(self) -> Jobs:
        """The jobs of a new process."""
        return Jobs(
            peers_of=self.peers_of,
            board=self.board,
            clock=self.clock,
            store=self.job_store,
            flags=("--config.file", "/etc/exporter.yaml"),
            open_store=self.opened,
            catch_up_delay_seconds=lambda: 0.0,
        )

    @asynccontextmanager
    async def running(self, *jobs: JobSettings, **changed: Any) -> AsyncIterator[Jobs]:
        """Jobs from their start to their stop."""
        room = self.jobs()
        await room.start()
        try:
            await room.exchange(room.build(self.settings(*jobs, **changed)))
            yield room
        finally:
            await room.stop()

    def opened(self, settings: StoreSettings, clock: Clock) -> Store:
        """The store of the settings, or the one that a test put in its place."""
        return open_store(settings, clock) if self.store is None else self.store

    def shelf(self) -> Shelf:
        """What lies in the store."""
        settings = self.settings().backup.store
        assert settings is not None
        return Shelf(self.opened(settings, self.clock), self.clock)

    def history(self) -> list[JobRun]:
        """All runs in the database, oldest first."""
        return [job_run(one) for one in reversed(self.job_store.history(limit=100))]

    def ended(self) -> list[JobRun]:
        """Those that are over."""
        return [run for run in self.history() if run.outcome is not None]

    async def done(self, job: str = "nightly") -> JobRun:
        """Ask for a run, and return it when it is over."""
        run = await self.asked_for(job)
        assert isinstance(run, JobRun), run
        return run

    async def asked_for(self, job: str) -> JobRun | str:
        """Ask for a run as a verb does, and wait for its end; or return why there is none."""
        number = self.job_store.request_run(job, now=self.clock.now())
        await until(lambda: _is_answered(self.job_store, number))
        answer = self.job_store.request(number)
        assert answer is not None
        if answer.refusal is not None:
            return answer.refusal
        await until(lambda: any(run.id == answer.run for run in self.ended()))
        return next(run for run in self.ended() if run.id == answer.run)

    def reading(self, name: str, *labels: str) -> float | None:
        """The value of a reading of this cluster's jobs or backups, by its labels after the cluster."""
        standing = self.board.view().standing
        for producer in (job_producer(CLUSTER), backup_producer(CLUSTER)):
            for reading in standing.get(producer, ()):
                if reading.spec.name == name and reading.labels == (CLUSTER, *labels):
                    return reading.value
        return None


class _Counted(Courier):
    def __init__(self, door: Door, clock: SystemClock, ground: Ground) -> None:
        super().__init__(door, clock)
        self._ground = ground
        ground.open_couriers += 1

    async def close(self) -> None:
        self._ground.open_couriers -= 1
        await super().close()


def _is_answered(store: JobStore, number: int) -> bool:
    request = store.request(number)
    return request is None or request.run is not None or request.refusal is not None


async def until(claim: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait until a claim holds; the time is what a machine may be busy for."""
    async with asyncio.timeout(seconds):
        while not claim():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def ground_of(directory: Path, cluster: SnapshotCluster) -> AsyncIterator[Ground]:
    """Start the peers, and close the state directory at the end."""
    async with cluster:
        made = Ground(directory, cluster)
        try:
            yield made
        finally:
            made.state.close()
