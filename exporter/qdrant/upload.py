"""A file of any size sent as a form while it is read from somewhere: it is never held whole.

Qdrant takes snapshots as multipart/form-data (RFC 7578) of one part. Its length is announced, so that a
transfer that ends early is an error on both sides.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from exporter.errors import BadPayload, SourceError, SourceTimeout
from exporter.qdrant.connection import Connections, Request
from exporter.qdrant.door import Door
from exporter.qdrant.exchange import Exchange, whole_body
from exporter.qdrant.failures import CLIENT_FAILURES, Progress, safe_cause, source_error

# A slow line must show progress within the stall limit, however large the pieces are that a store gives.
PIECE_BYTES = 256 * 1024
# The answer to an upload is a line of JSON.
ANSWER_LIMIT_BYTES = 1 << 20
# What needs no escape in a header, and is no path on the server's disk.
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to send. `chunks` give exactly `size_bytes`, else ValueError; who made them ends them.

    `stall_seconds`: the longest time without a byte sent; waiting for the next chunk does not count.
    `answer_seconds`: from the last byte to the whole answer, in which the server unpacks and loads.
    """

    path: str
    endpoint: str
    file_name: str
    size_bytes: int
    chunks: AsyncIterator[bytes]
    stall_seconds: float
    answer_seconds: float


class Uploads:
    """Sends files over `connections`, each once."""

    def __init__(self, *, connections: Connections, exchange: Exchange, door: Door) -> None:
        self._connections = connections
        self._exchange = exchange
        self._door = door

    async def send(self, upload: Upload, progress: Progress) -> bytes:
        """Return the body of a 200.

        Raises what Exchange.whole does, and whatever `chunks` raise, as it is.
        """
        form = _Form(upload)
        try:
            async with asyncio.timeout(upload.stall_seconds) as limit:
                form.limit = limit
                response = await self._connections.open(form.request, progress=progress)
                form.limit = None
                limit.reschedule(_from_now(upload.answer_seconds))
                progress.status = response.status
                try:
                    if response.status != 200:
                        raise await self._exchange.refused(response, progress, upload.endpoint)
                    if not form.sent:
                        raise BadPayload(upload.endpoint, "an answer before the file was sent")
                    return await whole_body(response, progress, upload.endpoint, ANSWER_LIMIT_BYTES)
                finally:
                    response.close()  # where the server said no early, the rest is not sent
        except CLIENT_FAILURES as error:
            if form.failure is not None:
                raise form.failure from None
            if limit.expired():
                failure: SourceError = form.timeout()
            else:
                failure = source_error(error, upload.endpoint, self._door, progress)
            cause = safe_cause(error)
        finally:
            form.limit = None
            await form.end()
        raise failure from cause


class _Form:
    """The body of an upload, as aiohttp asks for it from a task of its own."""

    def __init__(self, upload: Upload) -> None:
        if not _FILE_NAME.fullmatch(upload.file_name):
            raise ValueError("a file name for an upload is made of letters, digits and . _ -")
        boundary = secrets.token_hex(16)
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="snapshot"; filename="{upload.file_name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + upload.size_bytes + len(self._tail)),
        }
        self._upload = upload
        self._reading: asyncio.Future[bytes | None] | None = None
        self._rest = memoryview(head)  # read and not given yet
        self._read_bytes = 0  # of the file
        self._ended = False  # all is given but the tail, or the tail too
        self.request = Request(upload.path, "POST", stream=self, headers=headers, once=True)
        self.limit: asyncio.Timeout | None = None
        self.failure: Exception | None = None  # of the chunks
        self.sent = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._rest:
            if self._ended:
                self.sent = True
                self._allow(self._upload.answer_seconds)
                raise StopAsyncIteration
            self._rest = memoryview(await self._read())
        piece, self._rest = self._rest[:PIECE_BYTES], self._rest[PIECE_BYTES:]
        self._allow(self._upload.stall_seconds)
        return piece  # type: ignore[return-value]  # aiohttp writes any buffer; it saves a copy

    async def end(self) -> None:
        """Stop reading, wherever aiohttp's task is: when this returns the chunks are nobody's."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def timeout(self) -> SourceTimeout:
        """Say what took too long."""
        if self.sent:
            detail = f"no answer within {self._upload.answer_seconds:g} s of the last byte"
        else:
            so_far = f"after {self._read_bytes - len(self._rest)} of {self._upload.size_bytes} bytes"
            detail = f"no byte could be sent for {self._upload.stall_seconds:g} s, {so_far}"
        return SourceTimeout(self._upload.endpoint, detail)

    async def _read(self) -> bytes:
        """Return what comes next. A failure is kept as it is: aiohttp would put it into its own words."""
        self._allow(None)
        try:
            chunk = await self._next_chunk()
        except Exception as error:
            self.failure = error
            raise
        if chunk is None:
            self._ended = True
            return self._tail
        return chunk

    async def _next_chunk(self) -> bytes | None:
        chunk: bytes | None = b""
        while chunk == b"":
            self._reading = asyncio.ensure_future(anext(self._upload.chunks, None))
            chunk = await self._reading
        self._read_bytes += len(chunk or b"")
        left = self._upload.size_bytes - self._read_bytes
        if left < 0 or (chunk is None and left):
            raise ValueError(f"chunks of another length than {self._upload.size_bytes} bytes")
        return chunk

    def _allow(self, seconds: float | None) -> None:
        """Let the limit strike so long from now; None: not while we wait for ourselves."""
        if self.limit is not None and not self.limit.expired():
            self.limit.reschedule(None if seconds is None else _from_now(seconds))


def _from_now(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds
