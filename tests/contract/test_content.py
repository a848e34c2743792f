"""What a collection holds, read by the engine out of its snapshot and by REST from its server: the same."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exporter.backup.archive.engine import Engine, OpenedShard
from exporter.backup.archive.shard_tar import shard_tar, shard_tar_size
from exporter.backup.archive.walk import TarWalk, shards_of
from exporter.backup.content import ContentHash, difference, total
from exporter.clock import SystemClock
from tests.contract.ground import Qdrant, path_of, real_urls

POINTS = 200
PAGE = 64
VECTORS: dict[str, Any] = {
    "cosine": {"size": 16, "distance": "Cosine"},
    "dot": {"size": 4, "distance": "Dot"},
    "half": {"size": 8, "distance": "Euclid", "datatype": "float16"},
    "small": {"size": 8, "distance": "Manhattan", "datatype": "uint8"},
    "rows": {"size": 4, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}},
    "int8": {
        "size": 16,
        "distance": "Cosine",
        "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
    },
}
INDEXES = {
    "word": "keyword", "whole": "integer", "part": "float", "flag": "bool",
    "place": "geo", "day": "datetime", "text": "text", "mark": "uuid",
}  # fmt: skip


def vectors(number: int, chance: random.Random) -> dict[str, Any]:
    """Return vectors of most of the names, of every kind."""

    def some(size: int) -> list[float]:
        return [chance.gauss(0, 1) for _ in range(size)]

    made: dict[str, Any] = {
        "cosine": some(16),
        "dot": some(4),
        "half": some(8),
        "small": [float(chance.randrange(256)) for _ in range(8)],
        "rows": [some(4) for _ in range(1 + number % 4)],
        "int8": some(16),
        "words": {"indices": chance.sample(range(2**32), 5), "values": some(5)},
    }
    return {name: vector for name, vector in made.items() if chance.random() > 0.1}


def payload(number: int, chance: random.Random) -> dict[str, Any]:
    """Return a payload with every kind of value, and with those that are hard to keep; sometimes none."""
    if number % 11 == 0:
        return {}
    return {
        "word": f"w{number % 7}",
        "whole": chance.randrange(-(2**63), 2**63),
        "largest": 2**64 - 1,
        "part": chance.random(),
        "one": 1.0,
        "huge": 1e300,
        "tiny": 5e-324,
        "minus": -0.0,
        "flag": bool(number % 2),
        "place": {"lon": 13.4, "lat": 52.5},
        "day": "2026-01-01T00:00:00Z",
        "text": 'Grüße aus 東京 🧀 \u2028 "x" \\ \n\t',
        "mark": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "nested": {"z": [1, 2.5, {"y": None, "": []}], "ä": {}},
        "null": None,
    }


def point(number: int, chance: random.Random) -> dict[str, Any]:
    """Return a point; a third of the ids are UUIDs, one is the largest number."""
    point_id: int | str = number if number % 3 else str(uuid.UUID(int=chance.getrandbits(128), version=4))
    if number == 1:
        point_id = 2**64 - 1
    return {"id": point_id, "vector": vectors(number, chance), "payload": payload(number, chance)}


async def by_rest(qdrant: Qdrant, name: str) -> ContentHash:
    """Read all points from the server."""
    content, offset = ContentHash(), None
    while True:
        body = {"limit": PAGE, "offset": offset, "with_payload": True, "with_vector": True}
        page = await qdrant.result("POST", f"{path_of(name)}/points/scroll", body)
        for record in page["points"]:
            content.add_record(record)
        offset = page["next_page_offset"]
        if offset is None:
            return content


async def by_engine(qdrant: Qdrant, name: str, folder: Path) -> list[OpenedShard]:
    """Open all shards of a snapshot."""
    described = await qdrant.result("POST", f"{path_of(name)}/snapshots?wait=true")
    archive = (await qdrant.fetch("GET", f"{path_of(name)}/snapshots/{described['name']}")).body
    walk = TarWalk()
    walk.feed(archive)
    version = (await qdrant.ask("GET", "/")).json["version"]
    engine = Engine(clock=SystemClock(), folder=folder)
    opened = []
    for held in shards_of(walk.finish()):

        async def stretch(begin: int = held.offset, length: int = held.length) -> AsyncIterator[bytes]:
            yield archive[begin : begin + length]

        tar = shard_tar(stretch(), held.shard)
        opened.append(await engine.open(tar, size_bytes=shard_tar_size(held.length), version=version))
    return opened


async def test_the_engine_and_the_server_find_the_same_content(qdrant: Qdrant, tmp_path: Path) -> None:
    """Ids, payloads and vectors of every kind, with all payload indexes, and searches find them."""
    if qdrant.embedded is None and len(real_urls()) > 1:
        pytest.skip("a peer's snapshot holds a part of a collection only")
    name = await qdrant.create(vectors=VECTORS, sparse_vectors={"words": {}})
    for field, kind in INDEXES.items():
        index = {"field_name": field, "field_schema": kind}
        await qdrant.result("PUT", f"{path_of(name)}/index?wait=true", index)
    chance = random.Random(7)
    for first in range(0, POINTS, PAGE):
        points = [point(number, chance) for number in range(first, min(first + PAGE, POINTS))]
        await qdrant.result("PUT", f"{path_of(name)}/points?wait=true", {"points": points})

    shards = await by_engine(qdrant, name, tmp_path)
    read = await by_rest(qdrant, name)

    found = total([shard.content for shard in shards if shard.content is not None])
    assert sum(shard.points for shard in shards) == read.points == POINTS
    assert difference(found, str(read), vectors=True) is None
    assert all(shard.payload_schema == INDEXES for shard in shards)
    assert all(shard.searched.queries and shard.searched.problem is None for shard in shards)


async def test_an_empty_collection_has_its_payload_indexes_in_its_snapshot(
    qdrant: Qdrant, tmp_path: Path
) -> None:
    """No points, and still every index: that is how a restored one must be."""
    if qdrant.embedded is None and len(real_urls()) > 1:
        pytest.skip("a peer's snapshot holds a part of a collection only")
    name = await qdrant.create()
    index = {"field_name": "word", "field_schema": "keyword"}
    await qdrant.result("PUT", f"{path_of(name)}/index?wait=true", index)

    shards = await by_engine(qdrant, name, tmp_path)

    assert [shard.points for shard in shards] == [0] * len(shards)
    assert all(shard.payload_schema == {"word": "keyword"} for shard in shards)
