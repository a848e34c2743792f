"""What killed runs left on the servers, and what lies there besides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from exporter.backup.intents import reconcile
from exporter.backup.orphans import find_orphans
from exporter.backup.survey import PeerAt
from exporter.backup.thresholds.putting_back import LOOK_SECONDS, reconcile_thresholds
from exporter.errors import JobError, JobLocked
from exporter.jobs.bodies.means import Means
from exporter.jobs.bodies.serving import places, reap
from exporter.jobs.locks import DEAD_SECONDS
from exporter.logs import get_logger

log = get_logger()


class Tidying:
    """Clears up in a cluster, and looks at what is not ours."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def everything(self, cluster: str) -> None:
        """Do all of it, as at the start of a daemon; what fails is logged, and done by the next backup.

        A daemon that is started anew at once finds the locks of the one that was killed, and waits for them.
        """
        try:
            async with self._means.reached(cluster) as peers:
                await self.intents(cluster, peers, patience_seconds=DEAD_SECONDS)
                await self.orphans(cluster, peers)
            async with places(self._means, cluster) as targets:
                if targets is not None:
                    await reap(self._means, cluster, targets, patience_seconds=DEAD_SECONDS)
        except JobError as error:
            log.warning("tidying.failed", qdrant_cluster=cluster, error=str(error))

    async def intents(
        self,
        cluster: str,
        peers: Sequence[PeerAt],
        *,
        but: frozenset[str] = frozenset(),
        patience_seconds: float = 0.0,
    ) -> None:
        """Clear up after backups that were killed; `but` those of collections that a backup is about to take.

        What somebody works on is left alone; with patience a lock whose owner died is waited for. Raises
        StoreError.
        """
        means = self._means
        open_ = {one.collection for one in await means.shelf.intents() if one.cluster == cluster}
        for collection in sorted(open_ - but):
            try:
                async with means.locks.collection(cluster, collection, patience_seconds=patience_seconds):
                    await reconcile(
                        means.shelf, peers, cluster=cluster, collection=collection, limits=means.limits
                    )
            except JobLocked:
                continue

    async def thresholds(self, cluster: str) -> None:
        """Try once to put back what vacuums and imports changed; what somebody works on is left to him.

        Raises JobError where no peer is known, StoreError.
        """
        means = self._means
        async with means.reached(cluster) as peers:
            await reconcile_thresholds(
                means.shelf,
                peers,
                cluster=cluster,
                locked=partial(means.locks.freeing, cluster),
                clock=means.clock,
                limits=means.limits,
                look_seconds=LOOK_SECONDS,
            )

    async def orphans(self, cluster: str, peers: Sequence[PeerAt]) -> None:
        """Look at what lies on the peers and belongs to no backup, to be told with the next readings."""
        try:
            found = await find_orphans(
                peers, cluster=cluster, intents=await self._means.shelf.intents(), limits=self._means.limits
            )
        except JobError as error:  # the backup itself is done
            log.warning("orphans.unknown", qdrant_cluster=cluster, error=str(error))
            return
        self._means.published.found_orphans(cluster, found.bytes_by_peer())
