"""What verifications restored and did not remove: found by record and mark, and deleted. Nothing else is."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.backup.restoring.refusals import resumed
from exporter.backup.restoring.target import RestoreLimits, Target
from exporter.backup.restoring.words import TargetSeen
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.backup.words import RestoreRecord
from exporter.clock import Clock
from exporter.errors import JobError, JobRefused, SourceError
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant import keeping

log = get_logger()

# A record whose target is not here, and of which nobody can say whether it is elsewhere, is kept so long.
MAYBE_ELSEWHERE_SECONDS = 86_400.0


class Reaper:
    """Removes scratch targets on the servers of `peers`. The caller holds the lock: none is in use."""

    def __init__(
        self, *, peers: Sequence[PeerAt], shelf: Shelf, clock: Clock, limits: RestoreLimits | None = None
    ) -> None:
        self._peers = tuple(peers)
        self._shelf = shelf
        self._clock = clock
        self._limits = limits or RestoreLimits()

    async def remove(self, record: RestoreRecord) -> bool:
        """Delete the target of a scratch restore with its record; False where it is not on these servers.

        Raises JobRefused where the collection is not what the record made, JobError where it stays.
        """
        if not record.scratch:
            raise JobRefused(f"{printable(record.target)} was restored to be kept; it is not removed")
        target = Target(record.target, peers=self._peers, clock=self._clock, limits=self._limits)
        seen = await target.look()
        if not seen.exists:
            if not seen.troubles and self._is_over(record, seen):
                await self._shelf.remove_restore(record.id)
            return False
        if resumed([record], seen, record.set_id) is None:
            raise JobRefused(f"{printable(record.target)} is not what restore {record.id} made; it stays")
        try:
            await target.do_surely(keeping.delete_collection(record.target))
        except SourceError as error:
            raise JobError(f"{printable(record.target)} could not be removed: {error}") from error
        await self._shelf.remove_restore(record.id)
        return True

    async def reap(self) -> tuple[str, ...]:
        """Remove what verifications left behind, and return the names. What fails is logged and stays."""
        removed = []
        for record in await self._shelf.restores():
            if not record.scratch:
                continue
            try:
                if await self.remove(record):
                    removed.append(record.target)
            except JobError as error:
                log.warning("restore.not_reaped", collection=printable(record.target), error=str(error))
        return tuple(removed)

    def _is_over(self, record: RestoreRecord, seen: TargetSeen) -> bool:
        """Whether the target, which is not here, is nowhere: somebody deleted it, or it was never made.

        A server without a cluster has no id while it lacks the collection.
        """
        if record.peers and seen.members:
            return set(record.peers) <= seen.members
        return self._clock.now() - record.changed_at > MAYBE_ELSEWHERE_SECONDS
