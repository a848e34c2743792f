"""One batch of points sent to whichever peer takes it, in pieces as small as it must be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from exporter.backup.calling import TOO_MANY, may_have_been_done, told_to_wait
from exporter.backup.importing.batches import Batch, halves
from exporter.backup.importing.words import ImportLimits
from exporter.backup.survey import PeerAt
from exporter.backup.words import ShardKey
from exporter.clock import Clock
from exporter.errors import JobError, SourceError, SourceRefused
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant.upserting import upsert

log = get_logger()

TOO_LARGE = 413
BAD_REQUEST = 400
NO_ROOM = 507
# What servers say in place of a 413: "JSON payload (34603063 bytes) is larger than allowed"; and, where
# somebody limits the target while it is loaded, 'Limit exceeded 512 > 300 for "upsert limit"' (1.18.3).
TOO_LARGE_WORDS = ("larger than allowed", "too large", "upsert limit")
# Qdrant says 500 where its disk is full, and of its own limit 400 (1.18.3, by its source).
NO_ROOM_WORDS = ("no space left", "disk is full", "out of disk", "disk usage", "not enough space")


class Sender:
    """Writes points to one collection. Who sends again does no harm: a point is the same, written twice."""

    def __init__(
        self, collection: str, *, peers: Sequence[PeerAt], clock: Clock, limits: ImportLimits
    ) -> None:
        self._collection = collection
        self._peers = tuple(peers)
        self._clock = clock
        self._limits = limits
        self._turn = 0  # whose turn it is: another's, once one did not answer

    async def send(self, batch: Batch, key: ShardKey) -> None:
        """Write a batch; return when the server has it.

        Raises SourceError where no peer takes it, JobError where a point is too large or the disk is full.
        """
        try:
            await self._surely(batch, key)
        except SourceRefused as error:
            if not is_too_large(error):
                raise
            if len(batch) == 1:
                raise JobError(
                    f"point {batch[0].id} is {len(batch[0].data):,} bytes of JSON, and the server takes no"
                    f" such request: {error.detail}"
                ) from error
            log.info(
                "import.halved", collection=printable(self._collection), points=len(batch), reason=str(error)
            )
            for half in halves(batch):
                await self.send(half, key)

    async def _surely(self, batch: Batch, key: ShardKey) -> None:
        asked = upsert(self._collection, [piece.data for piece in batch], key)
        began, unanswered = self._clock.monotonic(), 0
        while True:
            turn = self._turn
            courier = self._peers[turn % len(self._peers)].courier
            try:
                await courier.call(asked, deadline_seconds=self._limits.upsert_seconds)
            except SourceError as error:
                if is_no_room(error):
                    raise JobError(f"a server has no room left: {error.detail}") from error
                wait_seconds = told_to_wait(error, self._limits.target.calls)
                if wait_seconds is None:
                    unanswered += 1
                    if not may_have_been_done(error) or unanswered >= self._limits.upsert_tries:
                        raise
                    wait_seconds = self._limits.wait_seconds * 2 ** (unanswered - 1)
                    if self._turn == turn:  # the other stream has not gone on to the next peer yet
                        self._turn += 1
                elif self._clock.monotonic() - began > self._limits.patience_seconds:
                    raise
                await asyncio.sleep(wait_seconds)
            else:
                return


def is_too_large(error: SourceRefused) -> bool:
    """Whether a request was refused for its size."""
    return error.status == TOO_LARGE or (
        error.status == BAD_REQUEST and any(words in error.detail.lower() for words in TOO_LARGE_WORDS)
    )


def is_no_room(error: SourceError) -> bool:
    """Whether a server refuses what would fill its disk: waiting makes no room."""
    if not isinstance(error, SourceRefused) or error.status == TOO_MANY:
        return False
    return error.status == NO_ROOM or any(words in error.detail.lower() for words in NO_ROOM_WORDS)
