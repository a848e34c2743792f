"""Points read from a server, ascending by id, each page asked for while the one before is worked on.

A scroll over S shards makes the server read S pages to give one. Where a key has more than two, the ids are
scrolled alone, in large pages, and the points are fetched by them.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from itertools import islice, pairwise
from operator import lt
from typing import Any, TypeVar

import msgspec

from exporter.backup.calling import Limits
from exporter.backup.content import ContentHash
from exporter.backup.exporting.asking import Asker, PageSize
from exporter.backup.exporting.records import Point, PointId, id_after, order_of, point_of
from exporter.backup.survey import PeerAt
from exporter.backup.words import ShardKey
from exporter.errors import BadPayload, JobError
from exporter.printable import printable
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked

T = TypeVar("T")
# The items of a page, and where the next one begins.
Page = tuple[list[T], PointId | None]

SHARDS_BY_SCROLL = 2
IDS_A_PAGE = 10_000  # half a megabyte
# Fetched by their ids at once: the server reads one batch while we take another.
RETRIEVALS = 2
# Of an answer's end, which says where to go on: behind that come "status", "time" and perhaps "usage".
TAIL_BYTES = 4_096
_TAIL = re.compile(
    rb'\],\s*"next_page_offset":\s*(null|[0-9]{1,20}|"[0-9a-fA-F-]{32,36}")\s*\}(?:,\s*"[a-z_]+":[^\]]*)?\}\s*\Z'
)


class _Id(msgspec.Struct):
    id: PointId


class PointReader:
    """Reads all points of a collection, or of one of its shard keys.

    `peers`: whom to ask, the best first. `shards`: how many the key has. `after`: begins behind this id.
    `keeps_text`: points keep the JSON that the server wrote.
    """

    def __init__(
        self,
        peers: Sequence[PeerAt],
        collection: str,
        *,
        limits: Limits,
        key: ShardKey = None,
        shards: int = 1,
        after: PointId | None = None,
        keeps_text: bool = False,
    ) -> None:
        self._asker = Asker(peers, collection, limits)
        self._collection = collection
        self._key = key
        self._by_ids = shards > SHARDS_BY_SCROLL
        self._after = after
        self._keeps_text = keeps_text

    async def pages(self) -> AsyncGenerator[list[Point], None]:
        """Yield the points in lists of a few megabytes. Close it when left early.

        Raises JobError where a page cannot be had from any peer, and where the collection is gone; JobDenied.
        """
        last = self._after
        source = self._retrieved() if self._by_ids else self._scrolled(PageSize(), self._points)
        async with aclosing(_ahead(source)) as pages:
            async for points in pages:
                if not points:
                    continue
                if last is not None and order_of(points[0].id) <= order_of(last):
                    raise self._disorder()
                last = points[-1].id
                yield points

    async def _scrolled(
        self, size: PageSize, read: Callable[[bytes], Page[T]], *, whole: bool = True
    ) -> AsyncGenerator[list[T], None]:
        """Yield what `read` makes of page after page; `whole`: with payload and vectors."""

        def asking(offset: PointId | None) -> asyncio.Task[tuple[bytes, int]]:
            return asyncio.create_task(
                self._asker.answer(lambda points: self._scroll(points, offset, whole=whole), size, size.most)
            )

        offset = None
        if self._after is not None and (offset := id_after(self._after)) is None:
            return
        coming: asyncio.Task[tuple[bytes, int]] | None = asking(offset)
        try:
            while coming is not None:
                body, _ = await coming
                ahead = _next_of(body)
                coming = None if ahead is None else asking(ahead)
                items, following = await asyncio.to_thread(read, body)
                del body
                if following != ahead:  # not told where it was looked for
                    await _ended(coming)
                    coming = None if following is None else asking(following)
                yield items
        finally:
            await _ended(coming)

    async def _retrieved(self) -> AsyncGenerator[list[Point], None]:
        """Yield the points of all ids; those deleted since their id was told are left out."""
        size = PageSize()
        ids: deque[PointId] = deque()
        under_way: deque[tuple[list[PointId], asyncio.Task[tuple[bytes, int]]]] = deque()

        def asking(batch: list[PointId]) -> asyncio.Task[tuple[bytes, int]]:
            return asyncio.create_task(
                self._asker.answer(lambda points: self._retrieve(batch[:points]), size, len(batch))
            )

        async with aclosing(self._scrolled(_size_of_ids(), _read_ids, whole=False)) as pages:
            try:
                while True:
                    await _fill(ids, pages, RETRIEVALS * size.points)
                    while ids and len(under_way) < RETRIEVALS:
                        batch = [ids.popleft() for _ in range(min(size.points, len(ids)))]
                        under_way.append((batch, asking(batch)))
                    if not under_way:
                        return
                    batch, task = under_way.popleft()
                    body, asked = await task
                    if asked < len(batch):  # the rest comes before what is under way
                        under_way.appendleft((batch[asked:], asking(batch[asked:])))
                    yield await asyncio.to_thread(self._in_order, batch[:asked], body)
            finally:
                for _, task in under_way:
                    await _ended(task)

    def _scroll(self, points: int, offset: PointId | None, *, whole: bool) -> Asked:
        body: dict[str, Any] = {"limit": points, "with_payload": whole, "with_vector": whole}
        if offset is not None:
            body["offset"] = offset
        if self._key is not None:
            body["shard_key"] = self._key
        return keeping.scroll(self._collection, body)

    def _retrieve(self, ids: Sequence[PointId]) -> Asked:
        return keeping.retrieve(self._collection, ids, self._key)

    def _points(self, body: bytes) -> Page[Point]:
        page, following = _read(lambda: keeping.read_page(body, msgspec.Raw))
        points = self._read_all(page)
        if not _ascend([point.id for point in points]):
            raise self._disorder()
        return points, following

    def _in_order(self, ids: Sequence[PointId], body: bytes) -> list[Point]:
        page = _read(lambda: keeping.read_retrieved(body, msgspec.Raw))
        found = {point.id: point for point in self._read_all(page)}
        return [found[one] for one in ids if one in found]

    def _read_all(self, page: Sequence[msgspec.Raw]) -> list[Point]:
        # One at a time: numbers read at once, of many points, pass by the processor's caches, and the
        # interpreter's lock would be held for all of them.
        try:
            return [point_of(said, keeps_text=self._keeps_text) for said in page]
        except (msgspec.MsgspecError, ValueError) as error:
            name = printable(self._collection)
            raise JobError(f"{name} has a point that cannot be read: {error}") from error

    def _disorder(self) -> JobError:
        return JobError(f"{printable(self._collection)}: the server's points do not come ascending by id")


async def read_content(
    peers: Sequence[PeerAt], collection: str, key: ShardKey, *, shards: int, limits: Limits
) -> ContentHash:
    """Read a whole shard key, or with None a whole collection, and return its content. `shards`: how many
    it has. Raises JobError, JobDenied."""
    content = ContentHash()

    def take(points: Sequence[Point]) -> None:
        for point in points:
            content.add_packed(point.id, point.payload, point.vectors)

    reader = PointReader(peers, collection, limits=limits, key=key, shards=shards)
    async with aclosing(reader.pages()) as pages:
        async for points in pages:
            await asyncio.to_thread(take, points)
    return content


async def _fill(ids: deque[PointId], pages: AsyncGenerator[list[PointId], None], wanted: int) -> None:
    """Take pages of ids until there are so many, or no more."""
    while len(ids) < wanted and (page := await anext(pages, None)) is not None:
        ids.extend(page)


def _size_of_ids() -> PageSize:
    return PageSize(points=IDS_A_PAGE, most=IDS_A_PAGE)


def _read_ids(body: bytes) -> Page[PointId]:
    page, following = _read(lambda: keeping.read_page(body, _Id))
    return [said.id for said in page], following


def _read(read: Callable[[], T]) -> T:
    try:
        return read()
    except BadPayload as error:
        raise JobError(f"a page of points cannot be read: {error}") from error


def _ascend(ids: Sequence[Any]) -> bool:
    try:
        return all(map(lt, ids, islice(ids, 1, None)))  # numbers; UUIDs too, as the server writes them
    except TypeError:  # both
        return all(order_of(one) < order_of(other) for one, other in pairwise(ids))


def _next_of(body: bytes) -> PointId | None:
    """Return where the next page begins, without reading this one; None: nowhere, or it is not told there."""
    found = _TAIL.search(body, max(len(body) - TAIL_BYTES, 0))
    following: PointId | None = None if found is None else msgspec.json.decode(found[1])
    return following


async def _ahead(pages: AsyncGenerator[list[T], None]) -> AsyncGenerator[list[T], None]:
    """Yield page after page, the next one being read while one is worked on."""

    async def one() -> list[T] | None:
        return await anext(pages, None)

    coming = asyncio.create_task(one())
    try:
        while (page := await coming) is not None:
            coming = asyncio.create_task(one())
            yield page
    finally:
        await _ended(coming)
        await pages.aclose()


async def _ended(task: asyncio.Task[Any] | None) -> None:
    """Stop a request that nobody waits for any more."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
