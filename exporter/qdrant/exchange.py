"""One request and its whole answer, or one of our errors. Gateway, lanes and courier share it."""

from __future__ import annotations

import asyncio

import aiohttp

from exporter.clock import Clock
from exporter.errors import BadPayload, SourceError, SourceTimeout
from exporter.qdrant.answers import Reply, looks_like_html, refusal
from exporter.qdrant.connection import Connections, Request
from exporter.qdrant.door import Door
from exporter.qdrant.failures import CLIENT_FAILURES, Progress, safe_cause, source_error

# Enough for any reason that a server or a proxy gives; the rest of such a body is not read.
ERROR_BODY_LIMIT_BYTES = 64 * 1024
GOOD_STATUSES = frozenset({200})


class Exchange:
    """Sends requests over `connections` and reads answers whole."""

    def __init__(self, *, connections: Connections, door: Door, clock: Clock) -> None:
        self._connections = connections
        self._door = door
        self._clock = clock

    async def whole(
        self,
        request: Request,
        progress: Progress,
        *,
        endpoint: str,
        deadline_seconds: float,
        limit_bytes: int,
        good: frozenset[int] = GOOD_STATUSES,
    ) -> bytes:
        """Return the body of a good answer. The deadline covers connection, head and body.

        Raises SourceTimeout, SourceUnreachable, SourceAuth, SourceRefused, SourceUnsupported
        or BadPayload, and no other but CancelledError.
        """
        try:
            async with asyncio.timeout(deadline_seconds) as deadline:
                response = await self._connections.open(request, progress=progress)
                progress.status = response.status
                async with response:
                    if response.status in good:
                        return await whole_body(response, progress, endpoint, limit_bytes)
                    raise await self.refused(response, progress, endpoint)
        except CLIENT_FAILURES as error:
            if deadline.expired():
                failure: SourceError = SourceTimeout(
                    endpoint, f"no whole answer within {deadline_seconds:g} s, given up {progress}"
                )
            else:
                failure = source_error(error, endpoint, self._door, progress)
            cause = safe_cause(error)
        # Raised out here, or Python would chain what carries the request's headers, and so the key.
        raise failure from cause

    async def refused(
        self, response: aiohttp.ClientResponse, progress: Progress, endpoint: str
    ) -> SourceError:
        """Return what an answer with another status than a good one means. Raises CLIENT_FAILURES."""
        if response.status < 300:
            return BadPayload(endpoint, f"status {response.status} where 200 was due")
        body = bytearray()
        async for chunk in response.content.iter_any():
            progress.received_bytes += len(chunk)
            body += chunk
            if len(body) >= ERROR_BODY_LIMIT_BYTES:
                break
        reply = Reply(endpoint, response.status, response.headers, bytes(body[:ERROR_BODY_LIMIT_BYTES]))
        return refusal(reply, door=self._door, clock=self._clock)


async def whole_body(
    response: aiohttp.ClientResponse, progress: Progress, endpoint: str, limit_bytes: int
) -> bytes:
    """Read a body whole, joined once at its end: no buffer grows by copying.

    Raises BadPayload, and CLIENT_FAILURES.
    """
    announced = response.content_length or 0
    chunks: list[bytes] = []
    async for chunk in response.content.iter_any():
        progress.received_bytes += len(chunk)
        chunks.append(chunk)
        if max(progress.received_bytes, announced) > limit_bytes:
            size = f"{announced} bytes" if announced > limit_bytes else "more"
            raise BadPayload(endpoint, f"{size}, and the limit of an answer is {limit_bytes} bytes")
    body = b"".join(chunks)
    # A login page or a proxy's apology with status 200; of Qdrant's routes none answers HTML.
    if response.content_type == "text/html" or looks_like_html(body):
        raise BadPayload(endpoint, "an HTML page with status 200: something other than Qdrant answers")
    return body
