"""What the bodies of all jobs work with, and what they ask of a cluster first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from exporter.backup.calling import Limits, patiently
from exporter.backup.pruning import Pruning, Terms
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.backup.taking import CountShard
from exporter.backup.words import Level
from exporter.clock import Clock
from exporter.config.backup import BackupSettings
from exporter.errors import JobError, SourceAuth, SourceError
from exporter.jobs.bodies.proving import Proving
from exporter.jobs.locks import Locks
from exporter.jobs.published import Published
from exporter.printable import printable
from exporter.qdrant import keeping


@dataclass(frozen=True, slots=True)
class Means:
    """The store, its locks and the ways to the clusters."""

    settings: BackupSettings
    shelf: Shelf
    locks: Locks
    peers_of: Callable[[str], Sequence[PeerAt]]
    published: Published
    clock: Clock
    limits: Limits
    count: CountShard | None  # counts a shard in an archive; None: nothing here can
    proving: Callable[[str, Level], AbstractAsyncContextManager[Proving]]  # of a cluster, up to a level

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
        """Return the collections there are, sorted, as the first peer that answers says.

        Raises SourceAuth where the key may not ask, and JobError where no peer answers.
        """
        reasons = []
        for peer in peers:
            try:
                body = await patiently(peer.courier, keeping.collections(), self.limits)
                return tuple(sorted(keeping.read_collections(body)))
            except SourceAuth:
                raise
            except SourceError as error:
                reasons.append(f"{printable(peer.label)}: {error}")
        raise JobError(f"no peer says which collections there are: {'; '.join(reasons)}")

    def pruning(self, cluster: str, present: Sequence[str]) -> Pruning:
        """Return what prunes the sets of a cluster in which these collections exist."""
        terms = Terms(policy=self.settings.retention, present=frozenset(present))
        return Pruning(shelf=self.shelf, cluster=cluster, terms=terms, clock=self.clock)
