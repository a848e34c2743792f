"""Three scripted peers with deleted points, a store in memory, and vacuums of them in patient time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from exporter.backup.calling import Limits
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.operations.vacuum.running import Vacuum, plan_vacuum
from exporter.operations.vacuum.words import VacuumPlan, VacuumReport, VacuumTerms
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.kit.patience import LoopClock, patient
from tests.kit.scripted_store import ScriptedStore
from tests.kit.snapshot_cluster import SnapshotCluster, points

CLUSTER = "prod"
# As the defaults, but for what is waited for in vain: each look is work that a test pays for.
LIMITS = Limits(lost_seconds=20.0, busy_seconds=20.0)
PLENTY = 1 << 40
LABELS = ("a", "b", "c")


class LoopTime(LoopClock):
    """As LoopClock, and the time of day goes by the loop too."""

    def now(self) -> float:
        return 1_800_000_000.0 + self.monotonic()


class Ground:
    """A cluster whose collection "docs" has one shard on every peer, 300 points in each."""

    def __init__(self, cluster: SnapshotCluster) -> None:
        self.cluster = cluster
        self.clock = LoopTime()
        self.store = ScriptedStore(self.clock)
        self.shelf = Shelf(self.store, self.clock)
        self.free: dict[str, int | None] = dict.fromkeys(LABELS, PLENTY)
        self.peers = tuple(
            PeerAt(label, url, Courier(Door(url=url), self.clock))
            for label, url in zip(LABELS, cluster.urls, strict=False)
        )
        cluster.knobs.now = self.clock.now
        cluster.create("docs", points(300 * len(self.peers)), shard_number=len(self.peers))

    def vacuum(self, **terms: Any) -> Vacuum:
        """Make a vacuum with these terms."""
        return Vacuum(
            cluster=CLUSTER,
            peers=self.peers,
            shelf=self.shelf,
            terms=_terms(terms),
            free_bytes=self.free_bytes,
            clock=self.clock,
            limits=LIMITS,
        )

    async def run(self, collection: str = "docs", **terms: Any) -> VacuumReport:
        """Vacuum a collection."""
        return await self.vacuum(**terms).run(collection)

    async def plan(self, collection: str = "docs", **terms: Any) -> VacuumPlan:
        """Plan a vacuum of a collection."""
        return await plan_vacuum(
            collection,
            cluster=CLUSTER,
            peers=self.peers,
            terms=_terms(terms),
            free_bytes=self.free_bytes,
            clock=self.clock,
            limits=LIMITS,
        )

    async def free_bytes(self) -> Mapping[str, int | None]:
        """Say what the peers have free, as set."""
        return dict(self.free)

    def thresholds(self) -> tuple[Any, Any]:
        """Return the thresholds that the servers have now."""
        config = self.cluster.world.named("docs").config["optimizer_config"]
        return config["deleted_threshold"], config["vacuum_min_vector_number"]

    def patches(self) -> list[Any]:
        """Return the bodies of all PATCHes, as they came."""
        return [seen.body for seen in self.cluster.requests if seen.method == "PATCH"]

    def delete(self, deleted: int = 60, **of: Any) -> None:
        """Let so many points of every replica be deleted, of "docs", where its thresholds do not care."""
        self.cluster.optimizers.add_deleted("docs", deleted, **of)

    def after_patch(self, do: Any, *, number: int = 1) -> None:
        """Do something at the first telemetry request that follows so many PATCHes."""
        done: list[bool] = []

        async def hook(_: int, method: str, path: str) -> None:
            if not done and method == "GET" and "telemetry" in path and len(self.patches()) >= number:
                done.append(True)
                result = do()
                if asyncio.iscoroutine(result):
                    await result

        self.cluster.knobs.on_request = hook


def _terms(terms: Mapping[str, Any]) -> VacuumTerms:
    return VacuumTerms(**{"min_reclaim_bytes": 1, **terms})


@asynccontextmanager
async def ground(**cluster: Any) -> AsyncIterator[Ground]:
    """Start the peers, and close the ways to them at the end."""
    with patient(asyncio.get_running_loop()):
        async with SnapshotCluster(**cluster) as served:
            made = Ground(served)
            try:
                yield made
            finally:
                for peer in made.peers:
                    await peer.courier.close()
