"""Calls of jobs that may be made again, and how long it is worth it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from exporter.errors import BadPayload, SourceError, SourceRefused, SourceTimeout, SourceUnreachable
from exporter.qdrant.asked import Asked
from exporter.qdrant.courier import Courier

REQUEST_TIMEOUT = 408  # what Qdrant says when one of its peers hangs
TOO_MANY = 429
NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a backup waits for what. The defaults are for real servers; tests have smaller ones."""

    call_seconds: float = 30.0  # telemetry of a thousand collections takes a second on a busy server
    hello_seconds: float = 10.0  # /cluster, which no work of the server delays: a frozen peer is known sooner
    tries: int = 3  # of a call that changes nothing
    wait_seconds: float = 1.0  # before the second try; twice that before the third
    told_to_wait_seconds: float = 60.0  # the longest Retry-After honoured: rate limits are by the minute
    busy_seconds: float = 3_600.0  # for an optimizer, or for a snapshot that somebody else takes
    create_seconds: float = 4 * 3_600.0  # a snapshot of a TiB at 100 MB/s takes three hours
    # For the answer to a request for one, where the server tells what runs: then it is looked for instead, so
    # that a peer which froze meanwhile costs minutes.
    answer_seconds: float = 600.0
    busy_look_seconds: float = 10.0  # between two looks at one that is busy
    look_seconds: float = 2.0  # between two looks for a snapshot
    quiet_looks: int = 3  # that nothing runs and nothing new lies there, before that is believed
    blind_seconds: float = 600.0  # the same on a server that does not tell what runs: 1.12
    lost_seconds: float = 300.0  # a peer that does not answer while its snapshot is waited for: a restart
    stall_seconds: float = 60.0  # without a byte of a download
    breaks: int = 5  # of a download, one after the other, without a byte gained
    count_limit_bytes: int = 2 << 30  # of an archive's shard that is opened to be counted
    # For what is deleted behind a run that was cancelled: jobs/room.py waits for a second more.
    cleanup_seconds: float = 6.0


async def patiently(
    courier: Courier, asked: Asked, limits: Limits, *, deadline_seconds: float | None = None
) -> bytes:
    """Make a call that may be made twice; again after a timeout, a break, a 429 and a 5xx.

    Raises what Courier.call does, the last failure.
    """
    seconds = deadline_seconds or limits.call_seconds
    return await again(lambda: courier.call(asked, deadline_seconds=seconds), limits)


async def again(call: Callable[[], Awaitable[bytes]], limits: Limits) -> bytes:
    """Do what `patiently` says with any call."""
    for number in range(1, limits.tries):
        try:
            return await call()
        except SourceError as error:
            wait_seconds = _wait_for(error, number, limits)
            if wait_seconds is None:
                raise
            await asyncio.sleep(wait_seconds)
    return await call()


def told_to_wait(error: SourceError, limits: Limits) -> float | None:
    """Return the seconds to wait after a 429, which did nothing; None where it is another failure."""
    if not isinstance(error, SourceRefused) or error.status != TOO_MANY:
        return None
    wait_seconds = error.retry_after_seconds
    return limits.wait_seconds if wait_seconds is None else min(wait_seconds, limits.told_to_wait_seconds)


def may_have_been_done(error: SourceError) -> bool:
    """Nobody knows what became of the request: no answer came, or one that says so."""
    if isinstance(error, SourceRefused):
        return error.status >= 500 or error.status == REQUEST_TIMEOUT
    return isinstance(error, SourceTimeout | SourceUnreachable | BadPayload)


def is_gone(error: SourceError) -> bool:
    """404: the collection or the snapshot is not there, or not any more."""
    return isinstance(error, SourceRefused) and error.status == NOT_FOUND


def _wait_for(error: SourceError, number: int, limits: Limits) -> float | None:
    told = told_to_wait(error, limits)
    if told is not None:
        return told
    return limits.wait_seconds * 2 ** (number - 1) if may_have_been_done(error) else None
