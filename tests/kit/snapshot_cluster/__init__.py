"""A stateful stand-in for a Qdrant cluster whose snapshots can be taken, downloaded and uploaded.

    async with SnapshotCluster() as cluster:
        cluster.create("docs", points(1000), shard_number=6, replication_factor=2)
        ... cluster.urls ...
        assert cluster.states("docs") == {"Active"}

Answers have the shapes of a real 1.18.3 (or of `version`); an archive is a tar of the real shape whose
segments hold JSON points instead of an engine's files. `cluster.knobs` makes things go wrong.

Points. PUT /points takes unnamed, named, sparse and multi vectors and {} (no vector), with a shard key or
without, keeps 32-bit floats and says "acknowledged" without wait=true; POST /points, /points/scroll,
/points/count and /points/query read them back, numbers before UUIDs. Cosine is not normalised. As 1.18.3 it
refuses two rows under a name whose first is of whole numbers: write 1.0, never 1. Over
`knobs.body_limit_bytes` it answers 400 (`body_limit_status`); for 429 use
`knobs.fail("PUT", "/points", 429, headers={"Retry-After": "1"}, times=2)`.
`cluster.replica(name, shard, peer).queue_length` and `.op_num` are the update queue that telemetry shows.

Optimizers. Each replica has two segments, in telemetry of level 4 only: the first holds its points, the
second is empty. Deletes and overwrites count as deleted in the first. A vacuum runs where a segment is
strictly above `deleted_threshold` and `vacuum_min_vector_number`, once a PATCH or a write woke it:

    cluster.optimizers.add_deleted("docs", 500, vector_bytes=3072)  # of every replica; shard=, peer= for some
    cluster.optimizers.segments("docs", 0, 1).append(Segment(live=0, deleted=900, kind="indexed"))
    cluster.knobs.pace.seconds = 0.02  # that a run takes; .looks = 3: until 3 telemetry answers showed it
    cluster.knobs.pace.held = True     # none ends; cluster.optimizers.finish("docs") ends all that run
    cluster.knobs.pace.error = "..."   # each ends so: red until a PATCH
    cluster.knobs.pace.starts = False  # what is wanted stays queued, and yellow
    cluster.knobs.queued_optimizations = 2  # more that only /optimizations tells of
    cluster.knobs.patch_seconds = 3.0  # a PATCH is answered that late, and done at once
    cluster.restart(1)                 # no log, another start time, grey where wanted, until a PATCH
    cluster.optimizers.statuses("docs")  # "optimizing", "done", {"cancelled": ...}, {"error": ...}

A PATCH of optimizer settings, {} too, cancels what runs and plans anew. GET optimizations is there from 1.17
(1.16: another shape), GET memory from 1.18; both are 500 while a peer with a replica is dead.
`cluster.replica(...).status = "yellow"` shows a status whatever the segments say.
"""

from __future__ import annotations

from tests.kit.snapshot_cluster.archives import Points, points_of_shard_tar
from tests.kit.snapshot_cluster.cluster import SnapshotCluster
from tests.kit.snapshot_cluster.knobs import Seen, SnapshotAnswer
from tests.kit.snapshot_cluster.optimizers import Segment

__all__ = ["Points", "Seen", "Segment", "SnapshotAnswer", "SnapshotCluster", "points", "points_of_shard_tar"]


def points(count: int, *, start: int = 0) -> Points:
    """Return points with ids from `start`, each with a vector and a payload of its own."""
    return {
        number: [[1.0, float(number), float(number % 7), 0.5], {"n": number}]
        for number in range(start, start + count)
    }
