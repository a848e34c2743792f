"""A stateful stand-in for a Qdrant cluster whose snapshots can be taken, downloaded and uploaded.

    async with SnapshotCluster() as cluster:
        cluster.create("docs", points(1000), shard_number=6, replication_factor=2)
        ... cluster.urls ...
        assert cluster.states("docs") == {"Active"}

Answers have the shapes of a real 1.18.3 (or of `version`); an archive is a tar of the real shape whose
segments hold JSON points instead of an engine's files. `cluster.knobs` makes things go wrong.
"""

from __future__ import annotations

from tests.kit.snapshot_cluster.archives import Points, points_of_shard_tar
from tests.kit.snapshot_cluster.cluster import SnapshotCluster
from tests.kit.snapshot_cluster.knobs import Seen, SnapshotAnswer

__all__ = ["Points", "Seen", "SnapshotAnswer", "SnapshotCluster", "points", "points_of_shard_tar"]


def points(count: int, *, start: int = 0) -> Points:
    """Return points with ids from `start`, each with a vector and a payload of its own."""
    return {
        number: [[1.0, float(number), float(number % 7), 0.5], {"n": number}]
        for number in range(start, start + count)
    }
