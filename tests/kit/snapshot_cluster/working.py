"""The optimizers of a SnapshotCluster's replicas, for a test to look at and to disturb."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.kit.snapshot_cluster.knobs import Knobs
from tests.kit.snapshot_cluster.optimizers import Run, Segment
from tests.kit.snapshot_cluster.world import Collection, Replica, World


class Working:
    """All optimizers. Peers are named by number, 0 first."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._world = world
        self._knobs = knobs

    def segments(self, name: str, shard: int, peer: int) -> list[Segment]:
        """Return a replica's segments as they are now: the first holds its points, the second is empty."""
        self.advance()
        replicas = self._world.named(name).shards[shard].replicas
        return replicas[self._world.peer_ids[peer]].optimizers.segments

    def runs(self, name: str) -> list[tuple[int, int, Run]]:
        """Return (shard, peer, run) of all logs as they are now, newest first within a replica."""
        self.advance()
        return [
            (shard, self._world.peer_ids.index(peer), run)
            for shard, peer, own in self._replicas(self._world.named(name))
            for run in own.optimizers.log
        ]

    def statuses(self, name: str) -> list[Any]:
        """Return the statuses of all runs, as `runs`: "optimizing", "done", {"cancelled": ...}."""
        return [run.status for _, _, run in self.runs(name)]

    def add_deleted(
        self,
        name: str,
        deleted: int,
        *,
        shard: int | None = None,
        peer: int | None = None,
        says_green: bool = False,
        **of: Any,
    ) -> None:
        """Let so many points be deleted in the first segment of replicas, and wake nothing by it.

        Above the collection's own thresholds the shard is grey then, with `says_green` green, until a PATCH
        or a write. `of`: other fields of the Segment, as vector_bytes of a point.
        """
        for number, holder, own in self._replicas(self._world.named(name)):
            if shard in (None, number) and peer in (None, self._world.peer_ids.index(holder)):
                own.optimizers.triggered, own.optimizers.says_green = False, says_green
                first = own.optimizers.segments[0]
                first.deleted += deleted
                for field, value in of.items():
                    setattr(first, field, value)

    def finish(self, name: str, *, error: str | None = None) -> None:
        """End what runs now, held or not."""
        for _, _, own in self._replicas(self._world.named(name)):
            own.optimizers.finish(self._knobs.unix_time(), error=error)

    def restarted(self, peer_id: int) -> None:
        """A peer was restarted."""
        for found in self._world.collections.values():
            for _, holder, own in self._replicas(found):
                if holder == peer_id:
                    own.optimizers.restarted()

    def patched(self, found: Collection) -> None:
        """Settings of optimizers were written: every living replica cancels and plans anew."""
        for _, peer, own in self._replicas(found):
            if peer in self._world.alive:
                own.optimizers.patched(self._knobs.unix_time())
        self.advance()

    def advance(self) -> None:
        """Let every optimizer do what is due, as before and after each request."""
        now = self._knobs.unix_time()
        for found in self._world.collections.values():
            thresholds, names = found.config["optimizer_config"], found.vector_names
            for _, peer, own in self._replicas(found):
                if peer in self._world.alive and own.loaded:
                    points = len(own.points)
                    own.optimizers.advance(points, thresholds, names, pace=self._knobs.pace, now=now)

    def _replicas(self, found: Collection) -> Iterator[tuple[int, int, Replica]]:
        for shard in found.shards.values():
            for peer, own in shard.replicas.items():
                yield shard.id, peer, own
