"""Free disk: statvfs of a configured storage path, else the server's own percentage (1.19)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import SourceUnreachable
from exporter.model import Kind, MetricSpec, Reading
from exporter.observe.sources.contract import PEER_LABELS, Ask, Learnt, Pace, Reach, peer_gauge
from exporter.qdrant.payloads import Quotas, result

ENDPOINT = "statvfs"
QUOTAS_ENDPOINT = "/quotas"
PERCENT = 100

FREE = peer_gauge(
    "qdrantx_peer_disk_free_bytes",
    "Free bytes of the disk that holds the peer's storage, as an ordinary user may fill it",
    "bytes",
    "statvfs of storage_path",
)
USED = MetricSpec(
    "qdrantx_peer_disk_used_ratio",
    Kind.GAUGE,
    "Used share of the disk that holds the peer's storage; the server's own figure was read in code only",
    "ratio 0-1",
    "statvfs of storage_path, else GET /quotas (1.19)",
    PEER_LABELS,
)


@dataclass(frozen=True, slots=True)
class DiskSeen:
    """Free bytes, None where only a share is known, and the used share, 0 to 1."""

    free_bytes: int | None
    used_ratio: float


class DiskSource:
    """For a daemon that sees the peer's storage: a sidecar, or the same host."""

    name = "disk"
    pace = Pace.MEDIUM
    reach = Reach.PEER
    specs: tuple[MetricSpec, ...] = (FREE, USED)

    def __init__(self, *, storage_path: Path) -> None:
        self._storage_path = storage_path

    async def poll(self, ask: Ask) -> Learnt:
        seen: DiskSeen = await ask.off_loop(read, self._storage_path)
        return Learnt(seen, tuple(readings(seen, ask.cluster, ask.peer)))


class QuotasSource:
    """GET /quotas, since 1.19: the only disk use that the API tells."""

    name = "quotas"
    pace = Pace.SLOW
    reach = Reach.PEER
    specs: tuple[MetricSpec, ...] = ()

    async def poll(self, ask: Ask) -> Learnt:
        answer = await ask.gateway.get(
            QUOTAS_ENDPOINT, endpoint=QUOTAS_ENDPOINT, deadline_seconds=ask.deadline_seconds
        )
        usage = result(answer.body, Quotas, QUOTAS_ENDPOINT).usage
        if usage.disk_usage_percent is None:
            return Learnt(True)
        seen = DiskSeen(None, usage.disk_usage_percent / PERCENT)
        return Learnt(seen, tuple(readings(seen, ask.cluster, ask.peer)))


def read(storage_path: Path) -> DiskSeen:
    """Ask the file system. Raises SourceUnreachable where the path cannot be read.

    Used counts as `df` does: what is taken over what an ordinary user could ever have,
    so that blocks reserved for root do not read as free.
    """
    try:
        figures = os.statvfs(storage_path)
    except OSError as error:
        raise SourceUnreachable(ENDPOINT, f"{storage_path}: {error.strerror}") from error
    used = figures.f_blocks - figures.f_bfree
    reachable = used + figures.f_bavail
    return DiskSeen(figures.f_bavail * figures.f_frsize, used / reachable if reachable else 0.0)


def readings(seen: DiskSeen, cluster: str, peer: str) -> Iterator[Reading]:
    """Yield free bytes where known, and the used share."""
    if seen.free_bytes is not None:
        yield Reading(FREE, (cluster, peer), float(seen.free_bytes))
    yield Reading(USED, (cluster, peer), seen.used_ratio)
