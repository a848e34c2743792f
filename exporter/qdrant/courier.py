"""The way to one peer for jobs: calls that may take long, and bodies of any size, both ways.

Nothing is held back here as the gateway's breaker does: a job decides itself what a failure means, and
when to look again. What writes is sent once at most; whoever gets no answer looks at what became of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

from exporter.clock import Clock
from exporter.errors import SourceError
from exporter.qdrant.asked import Asked
from exporter.qdrant.connection import Connections, Request
from exporter.qdrant.cost import OK, CostBook
from exporter.qdrant.door import Door
from exporter.qdrant.download import Download, Downloads
from exporter.qdrant.exchange import Exchange
from exporter.qdrant.failures import Progress
from exporter.qdrant.upload import Upload, Uploads

# A page of a thousand points with multivectors of 100 x 128 numbers is 130 MB of JSON; telemetry of a
# thousand collections is 10 MB.
ANSWER_LIMIT_BYTES = 256 << 20
# 202: the server took it on and goes on without us.
GOOD_STATUSES = frozenset({200, 202})


class Courier:
    """Calls, downloads and uploads to one peer.

    Stores at construction, connects at the first call. Belongs to one event loop; close() ends it.
    """

    def __init__(self, door: Door, clock: Clock) -> None:
        self._clock = clock
        self._connections = Connections(door=door, clock=clock)
        self._exchange = Exchange(connections=self._connections, door=door, clock=clock)
        self._downloads = Downloads(connections=self._connections, exchange=self._exchange, door=door)
        self._uploads = Uploads(connections=self._connections, exchange=self._exchange, door=door)
        self._costs = CostBook()

    async def call(
        self, asked: Asked, *, deadline_seconds: float, limit_bytes: int = ANSWER_LIMIT_BYTES
    ) -> bytes:
        """Send a request and return the whole answer, of a 200 or a 202.

        The deadline covers connection, head and body; a larger answer than `limit_bytes` is a BadPayload.
        Raises SourceTimeout, SourceUnreachable, SourceAuth, SourceRefused, SourceUnsupported or BadPayload,
        and no other but CancelledError. After SourceTimeout and SourceUnreachable the server may have done,
        or be doing, what was asked.
        """
        progress = Progress()
        with self._counted(asked.endpoint, progress):
            return await self._exchange.whole(
                asked.request,
                progress,
                endpoint=asked.endpoint,
                deadline_seconds=deadline_seconds,
                limit_bytes=limit_bytes,
                good=GOOD_STATUSES,
            )

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        endpoint: str,
        stall_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Download]:
        """Open GET `path` for a body of any size that may take any time, but never stalls.

        As Gateway.stream; a 200 to a request with Range is the whole from its beginning.
        """
        progress = Progress()
        started = self._clock.monotonic()
        with self._failing(endpoint, progress):
            download = await self._downloads.open(
                Request(path, headers=headers), progress, endpoint=endpoint, stall_seconds=stall_seconds
            )
        try:
            yield download
        finally:
            download.close()
            self._record(endpoint, progress, started, download.failure)

    async def upload(
        self,
        path: str,
        *,
        endpoint: str,
        file_name: str,
        size_bytes: int,
        chunks: AsyncIterator[bytes],
        stall_seconds: float,
        answer_seconds: float,
    ) -> bytes:
        """Send a file as the part "snapshot" of a form and return the answer, of a 200. As Upload says.

        Raises what `call` does, and whatever the chunks raise, as it is.
        """
        upload = Upload(path, endpoint, file_name, size_bytes, chunks, stall_seconds, answer_seconds)
        progress = Progress()
        with self._counted(endpoint, progress):
            return await self._uploads.send(upload, progress)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return the requests sent by (endpoint, outcome), as Gateway.counts."""
        return self._costs.counts()

    async def close(self) -> None:
        """Close all connections; requests under way end as unreachable."""
        await self._connections.close()

    @contextmanager
    def _counted(self, endpoint: str, progress: Progress) -> Iterator[None]:
        """Record a call when it ends, well or not."""
        started = self._clock.monotonic()
        with self._failing(endpoint, progress):
            yield
        self._record(endpoint, progress, started, None)

    @contextmanager
    def _failing(self, endpoint: str, progress: Progress) -> Iterator[None]:
        """Record a call when it fails."""
        started = self._clock.monotonic()
        self._costs.open(endpoint)
        try:
            yield
        except SourceError as error:
            self._record(endpoint, progress, started, error)
            raise

    def _record(self, endpoint: str, progress: Progress, started: float, failure: SourceError | None) -> None:
        self._costs.record(
            endpoint,
            OK if failure is None else failure.kind,
            seconds=self._clock.monotonic() - started,
            received_bytes=progress.received_bytes,
        )
