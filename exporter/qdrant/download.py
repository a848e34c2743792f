"""Bodies of any size, as they arrive. Gateway and courier share it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import aiohttp

from exporter.errors import SourceError, SourceTimeout
from exporter.qdrant.connection import Connections, Request
from exporter.qdrant.door import Door
from exporter.qdrant.exchange import Exchange
from exporter.qdrant.failures import CLIENT_FAILURES, Progress, safe_cause, source_error

GOOD_STREAM_STATUSES = frozenset({200, 206})


class Download:
    """A body as it arrives, of a 200 or a 206. `headers` ignore case."""

    def __init__(
        self,
        *,
        response: aiohttp.ClientResponse,
        endpoint: str,
        progress: Progress,
        stall_seconds: float,
        door: Door,
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.failure: SourceError | None = None
        self._response = response
        self._endpoint = endpoint
        self._progress = progress
        self._stall_seconds = stall_seconds
        self._door = door

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk, up to some hundred KiB.

        Raises SourceTimeout when no byte came for the stall limit and SourceUnreachable when
        the connection breaks before the whole body, as the server announced it, was here.
        """
        chunk, cause = b"", None
        try:
            async with asyncio.timeout(self._stall_seconds) as stall:
                chunk = await self._response.content.readany()
        except CLIENT_FAILURES as error:
            if stall.expired():
                detail = f"no byte for {self._stall_seconds:g} s {self._progress}"
                self.failure = SourceTimeout(self._endpoint, detail)
            else:
                self.failure = source_error(error, self._endpoint, self._door, self._progress)
            cause = safe_cause(error)
        if self.failure is not None:
            raise self.failure from cause
        if not chunk:
            raise StopAsyncIteration
        self._progress.received_bytes += len(chunk)
        return chunk

    def close(self) -> None:
        """Close the connection where the body did not end."""
        self._response.close()


class Downloads:
    """Opens bodies over `connections`."""

    def __init__(self, *, connections: Connections, exchange: Exchange, door: Door) -> None:
        self._connections = connections
        self._exchange = exchange
        self._door = door

    async def open(
        self, request: Request, progress: Progress, *, endpoint: str, stall_seconds: float
    ) -> Download:
        """Return a body, its head read and all else still to come: close it.

        Raises SourceTimeout where no answer begins within the stall limit, and what Exchange.whole does.
        """
        try:
            async with asyncio.timeout(stall_seconds) as deadline:
                response = await self._connections.open(request, progress=progress)
                progress.status = response.status
                if response.status in GOOD_STREAM_STATUSES:
                    return Download(
                        response=response,
                        endpoint=endpoint,
                        progress=progress,
                        stall_seconds=stall_seconds,
                        door=self._door,
                    )
                async with response:
                    raise await self._exchange.refused(response, progress, endpoint)
        except CLIENT_FAILURES as error:
            if deadline.expired():
                failure: SourceError = SourceTimeout(endpoint, f"no answer within {stall_seconds:g} s")
            else:
                failure = source_error(error, endpoint, self._door, progress)
            cause = safe_cause(error)
        raise failure from cause
