"""Snapshots that the server holds on this peer: of each collection, and of the whole storage."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.model import MetricSpec, Reading
from exporter.observe.sources.contract import Ask, Learnt, Pace, Reach, peer_gauge
from exporter.observe.sources.sweep import sweep
from exporter.qdrant.door import quote_segment
from exporter.qdrant.payloads import Snapshot, result

ENDPOINT = "/collections/{collection}/snapshots"
FULL_ENDPOINT = "/snapshots"
SOURCE = "GET /snapshots, GET /collections/{collection}/snapshots"

COUNT = peer_gauge("qdrantx_peer_snapshots", "Snapshots lying on the peer", "snapshots", SOURCE)
BYTES = peer_gauge("qdrantx_peer_snapshot_bytes", "Size of the snapshots lying on the peer", "bytes", SOURCE)


@dataclass(frozen=True, slots=True)
class SnapshotsSeen:
    """How many, and their bytes; `whole` is False where a list is missing."""

    count: int
    size_bytes: int
    whole: bool


class SnapshotsSource:
    """The lists are each peer's own: a snapshot holds the shards of the peer that made it."""

    name = "snapshots"
    pace = Pace.SLOW
    reach = Reach.PEER
    specs: tuple[MetricSpec, ...] = (COUNT, BYTES)

    async def poll(self, ask: Ask) -> Learnt:
        async def listed(path: str, endpoint: str) -> list[Snapshot]:
            answer = await ask.gateway.get(path, endpoint=endpoint, deadline_seconds=ask.deadline_seconds)
            return read(answer.body, endpoint)

        async def of_collection(collection: str) -> list[Snapshot]:
            return await listed(f"/collections/{quote_segment(collection)}/snapshots", ENDPOINT)

        full = await listed(FULL_ENDPOINT, FULL_ENDPOINT)
        swept = await sweep(ask.own_collections, of_collection)
        lists = [full, *swept.answers.values()]
        seen = SnapshotsSeen(
            count=sum(len(snapshots) for snapshots in lists),
            size_bytes=sum(snapshot.size for snapshots in lists for snapshot in snapshots),
            whole=not swept.faults,
        )
        return Learnt(seen, tuple(readings(seen, ask.cluster, ask.peer)), swept.faults)


def read(body: bytes, endpoint: str) -> list[Snapshot]:
    """Understand a list of snapshots. Raises BadPayload."""
    return result(body, list[Snapshot], endpoint)


def readings(seen: SnapshotsSeen, cluster: str, peer: str) -> list[Reading]:
    """Both sums, or nothing where a list is missing: half a sum would be a lie."""
    if not seen.whole:
        return []
    return [
        Reading(COUNT, (cluster, peer), float(seen.count)),
        Reading(BYTES, (cluster, peer), float(seen.size_bytes)),
    ]
