"""What the bodies of all jobs work with, and what they ask of a cluster first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from exporter.backup.archive.engine import Engine
from exporter.backup.calling import Limits, patiently
from exporter.backup.progress import Progress, Silent
from exporter.backup.pruning import Pruning, Terms
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.board import Board
from exporter.clock import Clock
from exporter.config.backup import BackupSettings
from exporter.errors import JobError, SourceAuth, SourceError
from exporter.jobs.locks import Locks
from exporter.jobs.published import Published
from exporter.printable import printable
from exporter.qdrant import keeping

# What others tell on the Board, with the labels qdrant_cluster and peer or collection: their room is beside
# ours, so by name.
DISK_FREE = "qdrantx_peer_disk_free_bytes"
RECLAIMABLE = "qdrantx_collection_reclaimable_bytes"


def nothing_known(cluster: str) -> Mapping[str, int]:
    """Say that no disk is looked at but by polls."""
    return {}


@dataclass(frozen=True, slots=True)
class Means:
    """The store, its locks and the ways to the clusters."""

    settings: BackupSettings
    shelf: Shelf
    locks: Locks
    peers_of: Callable[[str], Sequence[PeerAt]]
    published: Published
    turns: dict[str, asyncio.Lock]  # by cluster: a peer makes one snapshot at a time
    board: Board
    clock: Clock
    limits: Limits
    engine: Engine | None  # opens archives; None: it is not installed
    progress: Progress = field(default_factory=Silent)  # of what a person watches
    # What is free on disks that are mounted here, by peer; for where nothing is polled. Not for the loop.
    disks_of: Callable[[str], Mapping[str, int]] = nothing_known

    @asynccontextmanager
    async def reached(self, cluster: str) -> AsyncIterator[tuple[PeerAt, ...]]:
        """Open ways to all peers of a cluster, and close them. Raises JobError where none is known."""
        async with AsyncExitStack() as stack:
            peers = tuple(self.peers_of(cluster))
            for peer in peers:
                stack.push_async_callback(peer.courier.close)
            if not peers:
                raise JobError(f"no peer of cluster {printable(cluster)} is known")
            yield peers

    async def collections(self, peers: Sequence[PeerAt]) -> tuple[str, ...]:
        """Return the collections there are, as `collections_there` does."""
        return await collections_there(peers, self.limits)

    def free_bytes(self, cluster: str) -> dict[str, int]:
        """Return what is free on the disks of a cluster's peers, by label, where polls told it."""
        return {label: int(value) for label, value in self._told(cluster, DISK_FREE)}

    async def free_disks(self, cluster: str) -> dict[str, int]:
        """Return the same of this moment where the disks are mounted here; else as polls told it."""
        return {**self.free_bytes(cluster), **await asyncio.to_thread(self.disks_of, cluster)}

    def reclaimable_bytes(self, cluster: str) -> dict[str, float]:
        """Return what a rebuild of segments would free, by collection, where polls told it."""
        return dict(self._told(cluster, RECLAIMABLE))

    def _told(self, cluster: str, metric: str) -> Iterator[tuple[str, float]]:
        """Yield the second label and the value of each reading of a metric."""
        for key, readings in self.board.view().blocks():
            if key.cluster == cluster:
                for reading in readings:
                    if reading.spec.name == metric:
                        yield reading.labels[1], reading.value

    def pruning(self, cluster: str, present: Sequence[str]) -> Pruning:
        """Return what prunes the sets of a cluster in which these collections exist."""
        terms = Terms(policy=self.settings.retention, present=frozenset(present))
        return Pruning(shelf=self.shelf, cluster=cluster, terms=terms, clock=self.clock)


async def collections_there(peers: Sequence[PeerAt], limits: Limits) -> tuple[str, ...]:
    """Return the collections there are, sorted, as the first peer that answers says.

    Raises SourceAuth where the key may not ask, and JobError where no peer answers.
    """

    async def once(peer: PeerAt) -> bytes:
        return await peer.courier.call(keeping.collections(), deadline_seconds=limits.call_seconds)

    async def patient(peer: PeerAt) -> bytes:
        return await patiently(peer.courier, keeping.collections(), limits)

    reasons: dict[str, str] = {}
    for ask in (once, patient):  # another peer sooner than the same one again
        for peer in peers:
            try:
                return tuple(sorted(keeping.read_collections(await ask(peer))))
            except SourceAuth:
                raise
            except SourceError as error:
                reasons[printable(peer.label)] = str(error)
    told = "; ".join(f"{label}: {reason}" for label, reason in reasons.items()) or "there is no peer"
    raise JobError(f"no peer says which collections there are: {told}")
