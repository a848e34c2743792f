"""A store in a bucket of S3 or of what speaks like it, by obstore.

Put-if-absent is the header If-None-Match, which Amazon, MinIO, Ceph, R2 and others honour. A large object
goes up in parts and is there once the last was confirmed; left without `publish`, the parts are taken back.
A run that is killed cannot: a bucket wants a lifecycle rule that ends unfinished uploads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.contract import Stored, Writing
from exporter.backup.storage.object_writing import ObjectWriting
from exporter.backup.storage.paths import checked_stretch, parts_of, parts_of_prefix
from exporter.backup.storage.refusals import is_conflict, is_open, said
from exporter.config.backup import S3Settings
from exporter.config.store_url import Bucket
from exporter.errors import StoreError, StoreMissing, StoreShort

if TYPE_CHECKING:
    from obstore.store import BackoffConfig, S3Config

T = TypeVar("T")

MAX_SMALL_BYTES = 64 << 20  # of the contract
CHUNK_BYTES = 8 << 20  # a request each, with a deadline and tries of its own
CHUNKS_AT_ONCE = 3
LIST_CHUNK = 1000  # what S3 gives in one answer
# A put-if-absent whose answer was lost is looked after so often.
TRIES = 5
FIRST_PAUSE_SECONDS = 0.2
LET_GO_SECONDS = 0.05  # of 60 programs that failed and waited so long none was aborted

_MOST_RETRIES = 6  # with pauses of 0.2 to 6.4 s
_BACKOFF: BackoffConfig = {
    "init_backoff": timedelta(seconds=0.2),
    "max_backoff": timedelta(seconds=10),
    "base": 2,
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client tries."""

    request: timedelta  # one request, answer and all
    stall: timedelta  # no byte arrives
    tries: timedelta  # after that no try begins
    retries: int = _MOST_RETRIES


# A lock is renewed every 100 s: no small request may take longer, tries and all.
SMALL = Patience(request=timedelta(seconds=20), stall=timedelta(seconds=20), tries=timedelta(seconds=60))
# Up to 8 MiB go this way.
ONCE = Patience(request=timedelta(seconds=60), stall=timedelta(seconds=60), tries=timedelta(0), retries=0)
# A part has 64 MiB: 100 KiB/s is the slowest that still gets through.
LARGE = Patience(request=timedelta(minutes=11), stall=timedelta(seconds=60), tries=timedelta(minutes=4))


@dataclass(frozen=True, slots=True)
class Roads:
    """The same bucket by three clients, as patient as what goes by them."""

    small: Any  # obstore's stores have no common type at run time
    once: Any  # never sends a thing twice by itself
    large: Any


def roads_to(bucket: Bucket, settings: S3Settings) -> Roads:
    """Make the clients. Nothing is sent yet."""
    return Roads(
        small=client_of(bucket, settings, SMALL),
        once=client_of(bucket, settings, ONCE),
        large=client_of(bucket, settings, LARGE),
    )


def client_of(bucket: Bucket, settings: S3Settings, patience: Patience) -> S3Store:
    """Make one client."""
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config=_config(bucket, settings),
        client_options={
            # without an endpoint here it is AWS's variables that name one, and mean what they say
            "allow_http": not (settings.endpoint or "").startswith("https://"),
            "connect_timeout": timedelta(seconds=5),
            "timeout": patience.request,
            "read_timeout": patience.stall,
        },
        retry_config={
            "max_retries": patience.retries,
            "retry_timeout": patience.tries,
            "backoff": _BACKOFF,
        },
    )


def _config(bucket: Bucket, settings: S3Settings) -> S3Config:
    config: S3Config = {
        "virtual_hosted_style_request": settings.virtual_hosted_style,
        "disable_bulk_delete": True,  # one request an object, which every S3 knows
    }
    if settings.endpoint is not None:
        scheme, _, authority = settings.endpoint.partition("://")
        hosted = f"{scheme}://{bucket.name}.{authority}"
        config["endpoint"] = hosted if settings.virtual_hosted_style else settings.endpoint
    if settings.region is not None:
        config["region"] = settings.region
    if settings.access_key_id is not None:
        config["access_key_id"] = settings.access_key_id.reveal()
    if settings.secret_access_key is not None:
        config["secret_access_key"] = settings.secret_access_key.reveal()
    if settings.session_token is not None:
        config["session_token"] = settings.session_token.reveal()
    return config


class ObjectStore:
    """The contract's Store in a bucket."""

    def __init__(self, name: str, roads: Roads, *, bandwidth: Bandwidth, exclusive: bool = True) -> None:
        """`name` is s3://bucket/prefix. `exclusive`: other writers may be there too."""
        self.name = name
        self._roads = roads
        self._bandwidth = bandwidth
        self._exclusive = exclusive

    async def get(self, path: str) -> bytes:
        """Return a small object whole."""
        parts_of(path)
        answer = await self._asked(path, obstore.get_async(self._roads.small, path))
        size_bytes = answer.meta["size"]
        if size_bytes > MAX_SMALL_BYTES:
            raise StoreError(f"{self.name}/{path}: is larger than {MAX_SMALL_BYTES} bytes")
        await self._bandwidth.take(size_bytes)
        return bytes(await self._asked(path, answer.bytes_async()))

    async def put(self, path: str, data: bytes) -> None:
        """Store a small object in place of one that is there."""
        parts_of(path)
        await self._bandwidth.take(len(data))
        await self._asked(path, obstore.put_async(self._roads.small, path, data, use_multipart=False))

    async def put_if_absent(self, path: str, data: bytes) -> bool:
        """Store a small object; False where there is one."""
        parts_of(path)
        await self._bandwidth.take(len(data))
        return await self.create(path, data)

    @asynccontextmanager
    async def write(self, path: str) -> AsyncGenerator[Writing, None]:
        """Write a large object.

        Whether one has its path is asked atomically up to 8 MiB, else right before the end: S3's multipart
        uploads have no put-if-absent that obstore knows.
        """
        parts_of(path)
        writing = ObjectWriting(self, self._roads.large, path, bandwidth=self._bandwidth)
        try:
            yield writing
        finally:
            await writing.close()

    @asynccontextmanager
    async def read(
        self, path: str, *, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Read a large object, or a stretch of it."""
        checked_stretch(offset, length)
        size_bytes = await self.size(path)
        end = size_bytes if length is None else offset + length
        if max(offset, end) > size_bytes:
            raise StoreShort(f"{self.name}/{path}: has {size_bytes} bytes, and {end} were expected")
        async with aclosing(self._chunks(path, range(offset, end, CHUNK_BYTES))) as chunks:
            yield chunks

    async def size(self, path: str) -> int:
        """Bytes of an object."""
        parts_of(path)
        return int((await self._asked(path, obstore.head_async(self._roads.small, path)))["size"])

    async def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        """Yield every object below a directory."""
        stream = obstore.list(
            self._roads.small, "/".join(parts_of_prefix(prefix)) or None, chunk_size=LIST_CHUNK
        )
        listing = aiter(stream)
        while (batch := await self._asked(prefix, _next_or_none(listing))) is not None:
            for meta in batch:
                yield Stored(meta["path"], meta["size"], meta["last_modified"].timestamp())

    async def delete(self, path: str) -> None:
        """Remove an object."""
        parts_of(path)
        try:
            await self._asked(path, obstore.delete_async(self._roads.small, path))
        except StoreMissing:
            return

    async def free_bytes(self) -> int | None:
        """Nobody knows: a bucket has no bound that it tells."""
        return None

    async def close(self) -> None:
        """Connections go with the clients; obstore's threads are given a moment to let go of the last call.

        A program that ended at once after a failure was aborted by them, one time in four.
        """
        await asyncio.sleep(LET_GO_SECONDS)

    async def is_there(self, path: str) -> bool:
        """Whether there is an object of this path."""
        try:
            await self.size(path)
        except StoreMissing:
            return False
        return True

    async def create(self, path: str, data: bytes) -> bool:
        """Put where there is none; False where there is one. Its bytes are paid for.

        After an answer that was lost, what is there tells whether it is ours.
        """
        if not self._exclusive:
            if not await self.is_there(path):
                await self._asked(path, obstore.put_async(self._roads.small, path, data, use_multipart=False))
                return True
            return False
        is_unclear = False
        for tried in range(1, TRIES + 1):
            try:
                await obstore.put_async(self._roads.once, path, data, mode="create", use_multipart=False)
            except AlreadyExistsError as error:
                if not is_conflict(error):  # of two that came at once, S3 may refuse both
                    return is_unclear and await self.get(path) == data
            except (BaseError, OSError) as error:
                if not is_open(error) or tried == TRIES:
                    raise said(error, self.name, path) from None
                is_unclear = True
            else:
                return True
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2 ** (tried - 1))
        raise StoreError(f"{self.name}/{path}: other writers came between, {TRIES} times in a row")

    async def _chunks(self, path: str, starts: range) -> AsyncGenerator[bytes, None]:
        """Yield chunk after chunk, the next ones being on their way meanwhile."""
        coming: deque[asyncio.Future[bytes]] = deque()
        try:
            for start in starts:
                coming.append(asyncio.ensure_future(self._chunk(path, start, starts.stop)))
                if len(coming) >= CHUNKS_AT_ONCE:
                    yield await coming.popleft()
            while coming:
                yield await coming.popleft()
        finally:
            for future in coming:
                future.cancel()
            await asyncio.gather(*coming, return_exceptions=True)

    async def _chunk(self, path: str, start: int, end: int) -> bytes:
        wanted = min(CHUNK_BYTES, end - start)
        await self._bandwidth.take(wanted)
        chunk = await self._asked(
            path, obstore.get_range_async(self._roads.large, path, start=start, length=wanted)
        )
        if len(chunk) != wanted:
            raise StoreShort(f"{self.name}/{path}: ends at {start + len(chunk)} of {end} bytes")
        return bytes(chunk)

    async def _asked(self, path: str, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (BaseError, OSError) as error:
            raise said(error, self.name, path) from None


async def _next_or_none(listing: AsyncIterator[T]) -> T | None:
    return await anext(listing, None)
