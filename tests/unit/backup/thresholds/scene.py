"""A collection of 1,050 points, 150 of them deleted, whose thresholds are changed for a vacuum."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from exporter.backup.thresholds.changing import change
from exporter.backup.thresholds.optimizing import Optimizing, optimizing
from exporter.backup.thresholds.putting_back import PutBack, put_back
from exporter.backup.words import FieldChange, Purpose, ThresholdIntent
from tests.kit.snapshot_cluster import SnapshotCluster
from tests.unit.backup.ground import CLUSTER, Ground, ground_of

LIVE, DELETED = 900, 150
OWN = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000}
# Below the share of what is deleted, so that every replica has something to vacuum.
LOWERED = {"deleted_threshold": 0.125, "vacuum_min_vector_number": 100.0}
# As the default, five hundred times as fast.
LOOK_SECONDS = 0.01


class Scene:
    """The cluster, the store, and what a vacuum does with thresholds."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.cluster = ground.cluster
        self.shelf = ground.shelf

    async def change(self, wanted: Mapping[str, float] = LOWERED, **changed: Any) -> ThresholdIntent:
        """Change thresholds of "docs"."""
        arguments: dict[str, Any] = {
            "cluster": CLUSTER,
            "collection": "docs",
            "purpose": Purpose.VACUUM,
            "wanted": wanted,
            "clock": self.ground.clock,
            "limits": self.ground.limits,
        }
        return await change(self.shelf, self.ground.peers, **arguments | changed)

    async def put_back(
        self, intent: ThresholdIntent, *, look_seconds: float = LOOK_SECONDS, peers: int = 3
    ) -> PutBack:
        """Try once to put them back, with so many of the peers given."""
        return await put_back(
            intent,
            self.shelf,
            self.ground.peers[:peers],
            self.ground.clock,
            self.ground.limits,
            look_seconds=look_seconds,
        )

    async def recovered(self, intent: ThresholdIntent) -> PutBack:
        """Try until it is done."""
        async with asyncio.timeout(5):
            while not (result := await self.put_back(intent)).done:
                await asyncio.sleep(LOOK_SECONDS)
        return result

    async def look(self) -> Optimizing:
        """Look at what the optimizers do."""
        return await optimizing(self.ground.peers, "docs", self.ground.limits)

    async def left(self, **changed: Any) -> ThresholdIntent:
        """Let a run have been killed after it wrote its intent."""
        arguments: dict[str, Any] = {
            "id": "20270115T080000Z-00000a",
            "cluster": CLUSTER,
            "collection": "docs",
            "uuid": self.cluster.world.named("docs").uuid if self.cluster.world.clustered else None,
            "purpose": Purpose.VACUUM,
            "opened_at": 1_800_000_000.0,
            "owner": "host process 7",
            "changes": changes(LOWERED),
        }
        intent = ThresholdIntent(**arguments | changed)
        await self.shelf.save_thresholds(intent)
        return intent

    @property
    def config(self) -> dict[str, Any]:
        """The settings of the optimizers, as the cluster has them."""
        held: dict[str, Any] = self.cluster.world.named("docs").config["optimizer_config"]
        return held

    @property
    def thresholds(self) -> dict[str, Any]:
        """Those of them that a vacuum changes."""
        return {field: self.config[field] for field in OWN}

    @property
    def patches(self) -> list[Any]:
        """What was sent to the settings of collections."""
        return [seen.body["optimizers_config"] for seen in self.cluster.requests if seen.method == "PATCH"]

    @property
    def cancelled(self) -> list[Any]:
        """The optimizations that a PATCH cancelled."""
        return [status for status in self.cluster.optimizers.statuses("docs") if isinstance(status, dict)]


def changes(put: Mapping[str, float], back: Mapping[str, float] = OWN) -> tuple[FieldChange, ...]:
    """Return the changes from what the collection has to other values."""
    return tuple(
        FieldChange(field, float(back[field]), value, float(back[field])) for field, value in put.items()
    )


@asynccontextmanager
async def scene_of(**of_cluster: Any) -> AsyncIterator[Scene]:
    """Start the peers with a collection whose own thresholds leave the deleted points where they are."""
    async with ground_of(SnapshotCluster(**of_cluster)) as ground:
        ground.cluster.create("docs", shard_number=1, replication_factor=len(ground.peers))
        ground.cluster.optimizers.add_deleted("docs", DELETED, live=LIVE)
        yield Scene(ground)
