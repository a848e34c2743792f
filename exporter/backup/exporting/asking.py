"""One page of points from whichever peer gives it: how many to ask for, whom, and when to ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter.backup.calling import (
    REQUEST_TIMEOUT,
    Limits,
    is_gone,
    may_have_been_done,
    told_to_wait,
)
from exporter.backup.survey import PeerAt
from exporter.errors import (
    BadPayload,
    JobDenied,
    JobError,
    SourceAuth,
    SourceError,
    SourceRefused,
    SourceTimeout,
)
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant.asked import Asked
from exporter.qdrant.courier import ANSWER_LIMIT_BYTES

log = get_logger()

# What an answer should have. Measured at 768 numbers a vector: larger ones are no faster, and are held.
PAGE_BYTES = 2 << 20
# Of an answer with more than one point; a single point may be as large as a courier takes.
PAGE_LIMIT_BYTES = 16 << 20
FIRST_POINTS = 64
MOST_POINTS = 5_000
# From one page to the next: points of one size may lie together.
MOST_GROWTH = 4
# Answers 429 one after the other: with the longest wait that is honoured, ten minutes.
MOST_WAITS = 10
BAD_REQUEST = 400


@dataclass(slots=True)
class PageSize:
    """How many points to ask for at once."""

    points: int = FIRST_POINTS
    most: int = MOST_POINTS

    def learn(self, asked: int, size_bytes: int) -> None:
        """An answer to so many points had so many bytes."""
        fitting = PAGE_BYTES * asked // max(size_bytes, 1)
        self.points = max(1, min(fitting, asked * MOST_GROWTH, self.most))

    def halve(self, asked: int, *, for_good: bool) -> None:
        """So many were too many; `for_good`: by the server's rules, not for their size."""
        self.points = max(1, asked // 2)
        if for_good:
            self.most = self.points


class Asker:
    """Asks peers for points, one at a time, and goes on to the next where one fails. It never gives up a
    page silently."""

    def __init__(self, peers: Sequence[PeerAt], collection: str, limits: Limits) -> None:
        self._peers = tuple(peers)
        self._collection = collection
        self._limits = limits
        self._turn = 0

    async def answer(self, ask: Callable[[int], Asked], size: PageSize, most: int) -> tuple[bytes, int]:
        """Return an answer, and to how many points: `size`, `most`, or fewer where those were too many.

        Raises JobError, JobDenied.
        """
        failures = waits = 0
        while True:
            turn, asked = self._turn, min(size.points, most)
            try:
                body = await self._call(ask(asked), asked)
            except SourceError as error:
                wait_seconds = told_to_wait(error, self._limits)
                if wait_seconds is not None:
                    waits += 1
                    if waits > MOST_WAITS:
                        raise self._failure(error) from error
                    await asyncio.sleep(wait_seconds)
                elif asked > 1 and _may_be_too_many(error):
                    size.halve(asked, for_good=_status(error) == BAD_REQUEST)
                    if isinstance(error, SourceTimeout):
                        self._turn_from(turn, error)
                else:
                    failures += 1
                    if failures >= self._limits.tries * len(self._peers) or not may_have_been_done(error):
                        raise self._failure(error) from error
                    self._turn_from(turn, error)
                    if failures % len(self._peers) == 0:
                        await asyncio.sleep(self._limits.wait_seconds * failures / len(self._peers))
            else:
                size.learn(asked, len(body))
                return body, asked

    async def _call(self, asked: Asked, points: int) -> bytes:
        return await self._peers[self._turn].courier.call(
            asked,
            deadline_seconds=self._limits.call_seconds,
            limit_bytes=PAGE_LIMIT_BYTES if points > 1 else ANSWER_LIMIT_BYTES,
        )

    def _turn_from(self, turn: int, error: SourceError) -> None:
        """Go on with the next peer, unless another request did meanwhile."""
        if turn == self._turn and len(self._peers) > 1:
            peer = printable(self._peers[turn].label)
            log.warning(
                "points.peer_failed", peer=peer, collection=printable(self._collection), reason=str(error)
            )
            self._turn = (turn + 1) % len(self._peers)

    def _failure(self, error: SourceError) -> JobError:
        name = printable(self._collection)
        if is_gone(error):
            return JobError(f"{name} was deleted while its points were read")
        if isinstance(error, SourceAuth):
            return JobDenied(f"the points of {name} cannot be read: {error}")
        return JobError(f"the points of {name} cannot be read: {error}")


def _may_be_too_many(error: SourceError) -> bool:
    """Fewer points may help: too large, too slow, or against a limit of strict mode."""
    return isinstance(error, SourceTimeout | BadPayload) or _status(error) in (BAD_REQUEST, REQUEST_TIMEOUT)


def _status(error: SourceError) -> int | None:
    return error.status if isinstance(error, SourceRefused) else None
