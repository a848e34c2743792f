"""Where sets are restored to for a proof, when the engine cannot open them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from exporter.backup.restoring.reaping import Reaper
from exporter.backup.survey import PeerAt
from exporter.backup.verifying.levels import ServerProof
from exporter.backup.verifying.served import served_on
from exporter.backup.words import Level
from exporter.clock import Clock
from exporter.config.backup import VerifyTargetSettings
from exporter.errors import JobError, JobLocked
from exporter.jobs.bodies.means import Means
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door

log = get_logger()


@asynccontextmanager
async def serving(means: Means, cluster: str, level: Level) -> AsyncIterator[ServerProof | None]:
    """Yield what restores for a proof; None where nothing may, or where the level opens nothing.

    What a proof that was killed left behind is removed first.
    """
    verify = means.settings.verify
    async with places(means, cluster) as peers:
        if level < Level.OPENED or peers is None:
            yield None
            return
        await reap(means, cluster, peers)
        beside = verify.target is None  # the original, which must not suffer from it
        yield served_on(
            peers,
            cluster=cluster,
            shelf=means.shelf,
            clock=means.clock,
            progress=means.progress,
            limit_bytes=verify.same_cluster_limit_bytes if beside else None,
            free_bytes=means.free_bytes(cluster) if beside else None,
        )


@asynccontextmanager
async def places(means: Means, cluster: str) -> AsyncIterator[tuple[PeerAt, ...] | None]:
    """Yield the servers that a proof of a cluster's sets may restore to; None where there are none."""
    verify = means.settings.verify
    async with AsyncExitStack() as stack:
        if verify.target is not None:
            target = peer_of(verify.target, means.clock)
            stack.push_async_callback(target.courier.close)
            yield (target,)
        elif verify.allow_same_cluster:
            yield await stack.enter_async_context(means.reached(cluster))
        else:
            yield None


def peer_of(settings: VerifyTargetSettings, clock: Clock) -> PeerAt:
    """Return the way to the server that is there for proofs; the caller closes it."""
    key = None if settings.api_key is None else settings.api_key.reveal()
    courier = Courier(Door(url=settings.url, api_key=key), clock)
    return PeerAt(urlsplit(settings.url).netloc, settings.url, courier)


async def reap(means: Means, cluster: str, peers: Sequence[PeerAt], *, patience_seconds: float = 0.0) -> None:
    """Remove what killed proofs restored there. A proof under way has the lock of what it proves.

    With patience a lock whose owner died is waited for.
    """
    locks = means.locks
    reaper = Reaper(peers=peers, shelf=means.shelf, clock=means.clock)
    for record in await means.shelf.restores():
        if not record.scratch or record.cluster != cluster:
            continue
        try:
            async with locks.collection(cluster, record.collection, patience_seconds=patience_seconds):
                if await reaper.remove(record):
                    log.info("restore.reaped", collection=printable(record.target))
        except JobLocked:
            continue
        except JobError as error:
            log.warning("restore.not_reaped", collection=printable(record.target), error=str(error))
