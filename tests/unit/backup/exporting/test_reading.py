"""Points read from servers page by page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from exporter.backup.exporting import asking
from exporter.backup.exporting.asking import MOST_POINTS, PAGE_BYTES, PageSize
from exporter.backup.exporting.reading import PointReader, _next_of, read_content
from exporter.backup.survey import PeerAt
from exporter.clock import SystemClock
from exporter.errors import JobError
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.kit.servers import Wire, WireServer, reply
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.exporting.ground import content_of
from tests.unit.backup.ground import FAST, Ground, ground_of


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    """Three peers with a collection of 400 points."""
    async with ground_of(SnapshotCluster()) as made:
        made.cluster.create("docs", points(400), shard_number=2, replication_factor=3)
        yield made


async def ids_read(reader: PointReader) -> list[Any]:
    """Return the ids of all points, in the order in which they came."""
    async with aclosing(reader.pages()) as pages:
        return [point.id async for page in pages for point in page]


@pytest.mark.parametrize("shards", [2, 6])
@pytest.mark.parametrize("after", [None, 0, 150, 399, 500])
async def test_reading_begins_behind_an_id(ground: Ground, shards: int, after: int | None) -> None:
    """Where an export was cut off; that point may be deleted meanwhile."""
    reader = PointReader(ground.peers, "docs", limits=FAST, shards=shards, after=after)

    assert await ids_read(reader) == list(range(0 if after is None else after + 1, 400))


async def test_nothing_comes_behind_the_last_id_there_can_be(ground: Ground) -> None:
    """And nobody is asked for it."""
    last = "ffffffff-ffff-ffff-ffff-ffffffffffff"

    assert await ids_read(PointReader(ground.peers, "docs", limits=FAST, after=last)) == []
    assert ground.cluster.requests == []


async def test_from_many_shards_points_are_fetched_by_their_ids(ground: Ground) -> None:
    """A scroll would make the server read a page of each of them to give one."""
    await ids_read(PointReader(ground.peers, "docs", limits=FAST, shards=3))

    scrolls = [seen.body for seen in ground.cluster.requests if seen.path.endswith("/scroll")]
    fetched = [len(seen.body["ids"]) for seen in ground.cluster.requests if seen.path.endswith("/points")]
    assert [(body["limit"], body["with_vector"]) for body in scrolls] == [(10_000, False)]
    assert sum(fetched) == 400


async def test_a_point_deleted_since_its_id_was_told_is_left_out(ground: Ground) -> None:
    """It is gone, and whoever counts sees that somebody wrote."""

    def delete(peer: int, method: str, path: str) -> None:
        if path.endswith("/points"):
            ground.cluster.world.delete_points("docs", [5, 399])

    ground.cluster.knobs.on_request = delete
    reader = PointReader(ground.peers, "docs", limits=FAST, shards=6)

    assert await ids_read(reader) == [number for number in range(400) if number not in (5, 399)]


@pytest.mark.parametrize("shards", [2, 6])
async def test_pages_that_are_too_large_are_asked_for_in_parts(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    """And a single point may be as large as it is."""
    monkeypatch.setattr(asking, "PAGE_LIMIT_BYTES", 4_000)
    ground.cluster.world.upsert("docs", {7: [[1.0, 2.0, 3.0, 4.0], {"text": "x" * 5_000}]})

    reader = PointReader(ground.peers, "docs", limits=FAST, shards=shards)

    assert await ids_read(reader) == list(range(400))


@pytest.mark.parametrize("shards", [2, 6])
async def test_a_slow_peer_is_left_for_another(ground: Ground, shards: int) -> None:
    """It is asked for less, and another for the rest."""

    async def slow(peer: int, method: str, path: str) -> None:
        if peer == 0:
            await asyncio.sleep(1.0)

    ground.cluster.knobs.on_request = slow
    limits = replace(FAST, call_seconds=0.1)

    assert await ids_read(PointReader(ground.peers, "docs", limits=limits, shards=shards)) == list(range(400))
    assert len(ground.cluster.lines(0)) <= 2


async def test_a_collection_is_read_as_one_content(ground: Ground) -> None:
    """What an import compares with a manifest."""
    found = await read_content(ground.peers, "docs", None, shards=2, limits=FAST)

    assert str(found) == content_of(points(400))


async def test_a_reader_that_is_left_early_leaves_no_request_behind(ground: Ground) -> None:
    """As when a store is full."""
    for shards in (2, 6):
        async with aclosing(PointReader(ground.peers, "docs", limits=FAST, shards=shards).pages()) as pages:
            await anext(pages)

    assert [task for task in asyncio.all_tasks() if "answer" in repr(task.get_coro())] == []


def page(*ids: Any, following: Any) -> bytes:
    """Return the answer to a scroll."""
    said = [{"id": one, "payload": {}, "vector": [1.0]} for one in ids]
    return json.dumps({"result": {"points": said, "next_page_offset": following}, "status": "ok"}).encode()


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ([page(1, 2, following=3), page(2, 3, following=None)], "do not come ascending"),
        ([page(2, 1, following=None)], "do not come ascending"),
        ([page("00000000-0000-0000-0000-000000000001", 3, following=None)], "do not come ascending"),
        ([b'{"result":{"points":[{"id":1,"vector":{"a":7}}]}}'], "cannot be read"),
        ([b'{"result":{"points":[{"id":-1}]}}'], "cannot be read"),
        ([b'{"result":{}}'], "cannot be read"),
    ],
)
async def test_an_answer_of_another_kind_fails_and_is_never_skipped(pages: list[bytes], why: str) -> None:
    """Another server, or a proxy: it names the collection."""
    answers = iter(pages)

    async def play(wire: Wire) -> None:
        while (head := await wire.request()) is not None:
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await wire.body(int(length.split(b":")[1]))
            await wire.send(reply(200, next(answers)))

    async with WireServer(play) as server:
        courier = Courier(Door(url=server.url), SystemClock())
        with pytest.raises(JobError, match=f"docs|{why}") as caught:
            await ids_read(PointReader([PeerAt("a", server.url, courier)], "docs", limits=FAST))
        await courier.close()
    assert why in str(caught.value)


@pytest.mark.parametrize("spaces", [True, False])
@pytest.mark.parametrize("following", [None, 7, 2**64 - 1, "00000000-0000-0000-0000-0000000000ff"])
@pytest.mark.parametrize("more", [{}, {"time": 0.1, "usage": {"hardware": {"cpu": 1}}}])
def test_where_to_go_on_is_seen_without_reading_a_page(spaces: bool, following: Any, more: Any) -> None:
    """At the end of the answer, as every version writes it."""
    said = {"result": {"points": [{"id": 1}], "next_page_offset": following}, "status": "ok", **more}
    body = json.dumps(said, separators=None if spaces else (",", ":")).encode()

    assert _next_of(body) == following


def test_a_payload_that_looks_like_the_end_of_an_answer_is_not_taken_for_it() -> None:
    """It never has the last word."""
    lure = '],"next_page_offset":666},"status":"ok"}'
    said = {"result": {"points": [{"id": 1, "payload": {"a": lure}}], "next_page_offset": 2}, "status": "ok"}

    assert _next_of(json.dumps(said, separators=(",", ":")).encode()) == 2


def test_pages_grow_to_what_fits_and_shrink_again() -> None:
    """By what the last one had: never many times as many at once, and one at least."""
    size = PageSize()

    size.learn(64, 64 * 100)
    assert size.points == 256
    size.learn(256, PAGE_BYTES * 2)
    assert size.points == 128
    size.learn(128, PAGE_BYTES * 1_000)
    assert size.points == 1
    size.learn(4_000, 10)
    assert size.points == MOST_POINTS
    size.halve(1_000, for_good=True)
    size.learn(500, 10)
    assert size.points == 500
