"""Points as records in chunks: what goes in comes out, bit by bit, and damage is found."""

from __future__ import annotations

import json
import math
import struct
from typing import Any
from uuid import UUID

import msgspec
import numpy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from exporter.backup.content import ContentHash
from exporter.backup.exporting.compression import ZstdDecompressor, compressor
from exporter.backup.exporting.records import (
    BadChunk,
    ChunkReader,
    Header,
    Point,
    chunk_writer,
    id_after,
    order_of,
    point_of,
)
from exporter.backup.words import Encoding

HEADER = Header("20261126T023000Z-1a2b3c", "docs", None, 0)
MOST = 2**64 - 1

floats = some.floats(width=32, allow_nan=False, allow_infinity=False).map(
    # as servers write them: the shortest text of the 32-bit float
    lambda value: float(str(numpy.float32(value)))
)
scalars: some.SearchStrategy[Any] = (
    some.none()
    | some.booleans()
    | some.integers(-(2**63), MOST)
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(max_size=8)
    | some.sampled_from(
        [-0.0, 1e308, 2**53 + 1, MOST, 1, 1.0, "", "2026-11-26T02:30:00Z", "Käse 🧀", "\u2028", "\x00"]
    )
)
payloads = some.dictionaries(
    some.text(max_size=6),
    some.recursive(
        scalars,
        lambda inner: (
            some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=4,
)
dense = some.lists(floats, min_size=1, max_size=5)
sparse = some.dictionaries(some.integers(0, 2**32 - 1), floats, max_size=4).map(
    lambda held: {"indices": sorted(held), "values": [held[index] for index in sorted(held)]}
)
multi = some.integers(1, 3).flatmap(
    lambda size: some.lists(some.lists(floats, min_size=size, max_size=size), min_size=1, max_size=3)
)
vectors = dense | multi | some.dictionaries(some.text(max_size=4), dense | sparse | multi, max_size=3)
ids = (
    some.integers(0, MOST)
    | some.sampled_from([0, MOST, 2**63, 2**53 + 1])
    | some.integers(0, 2**128 - 1).map(lambda number: str(UUID(int=number)))
)
points = some.fixed_dictionaries({"id": ids}, optional={"payload": some.none() | payloads, "vector": vectors})


def chunk_of(read: list[Point], encoding: Encoding) -> bytes:
    """Return the bytes of a chunk with these points."""
    writer = chunk_writer(HEADER, encoding)
    return writer.add(read) + writer.finish()


def points_in(data: bytes, encoding: Encoding, *, step: int = 7) -> list[Point]:
    """Read a chunk, a few bytes at a time."""
    reader = ChunkReader(encoding, "the chunk")
    found = [
        point
        for place in range(0, len(data), step)
        for batch in reader.feed(data[place : place + step])
        for point in batch
    ]
    reader.finish()
    assert reader.header == HEADER
    return found


def read_of(*said: dict[str, Any], keeps_text: bool = False) -> list[Point]:
    """Return points as they are read from a server."""
    return [point_of(json.dumps(one).encode(), keeps_text=keeps_text) for one in said]


@pytest.mark.parametrize("encoding", Encoding)
@given(said=some.lists(points, max_size=4))
@settings(max_examples=30)
def test_any_point_comes_out_as_it_went_in(encoding: Encoding, said: list[dict[str, Any]]) -> None:
    """Ids, payloads with the types of their numbers, and the bits of every vector."""
    read = read_of(*said, keeps_text=encoding is Encoding.JSONL)

    found = points_in(chunk_of(read, encoding), encoding)

    assert [(one.id, one.vectors) for one in read] == [(one.id, one.vectors) for one in found]
    # by text: True is 1 and 1.0 is 1 for ==, and -0.0 is 0.0
    assert [json.dumps(one.payload) for one in read] == [json.dumps(one.payload) for one in found]


@given(said=points)
@example(said={"id": 0, "vector": {"": {"indices": [], "values": []}}})
@settings(max_examples=30)
def test_a_point_has_the_same_content_as_a_record_and_as_the_server_says_it(said: dict[str, Any]) -> None:
    """So an export is compared with a scroll, and with what an import wrote."""
    by_rest, packed, written = ContentHash(), ContentHash(), ContentHash()
    (point,) = read_of(said)

    by_rest.add_record(said)
    packed.add_packed(point.id, point.payload, point.vectors)
    written.add_record(json.loads(msgspec.json.encode(point.plain())))

    assert str(by_rest) == str(packed) == str(written)


def test_a_record_is_msgpack_that_anybody_reads() -> None:
    """Without this program: a header, then blocks of points, each a `bin`."""
    (read,) = (read_of({"id": 7, "payload": {"n": 1}, "vector": {"": [0.5], "rows": [[1.0], [2.0]]}}),)
    data = ZstdDecompressor().decompress(chunk_of(read, Encoding.MSGPACK))

    found = []
    while data:
        assert data[0] == 0xC6
        end = 5 + int.from_bytes(data[1:5], "big")
        found.append(msgspec.msgpack.decode(data[5:end]))
        data = data[end:]

    header = {"set": HEADER.set, "collection": "docs", "key": None, "number": 0, "format": 1}
    one, two = struct.pack("<f", 0.5), struct.pack("<2f", 1.0, 2.0)
    assert found == [header, [[7, {"n": 1}, {"": one, "rows": [2, two]}]]]


def test_lines_are_what_the_server_wrote() -> None:
    """For people, and for programs that know its API."""
    said = [{"id": 1, "payload": {"price": 1.50}, "vector": [0.1, -0.0], "shard_key": "eu"}, {"id": 2}]
    read = read_of(*said, keeps_text=True)

    lines = ZstdDecompressor().decompress(chunk_of(read, Encoding.JSONL)).splitlines()

    assert json.loads(lines[0]) == {
        "set": HEADER.set,
        "collection": "docs",
        "key": None,
        "number": 0,
        "format": 1,
    }
    assert lines[1:] == [json.dumps(one).encode() for one in said]


@pytest.mark.parametrize("encoding", Encoding)
def test_a_chunk_that_is_cut_off_anywhere_is_found(encoding: Encoding) -> None:
    """A truncated file is no shorter export."""
    data = chunk_of(read_of({"id": 1, "vector": [0.5, 0.25]}, {"id": 2, "payload": {"a": "b"}}), encoding)

    for end in range(len(data)):
        with pytest.raises(BadChunk, match="the chunk is damaged"):
            points_in(data[:end], encoding)


@pytest.mark.parametrize("encoding", Encoding)
def test_a_flipped_byte_anywhere_is_found(encoding: Encoding) -> None:
    """By the compression's own sum, before anything else is compared."""
    read = read_of({"id": 1, "vector": [0.5, 0.25]}, {"id": 2, "payload": {"a": "b"}})
    data = chunk_of(read, encoding)

    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        try:
            found = points_in(flipped, encoding)
        except (BadChunk, AssertionError):
            continue
        # a bit of the frame's head that says nothing of its content
        assert [one.vectors for one in found] == [one.vectors for one in read]


def framed(*pieces: bytes) -> bytes:
    """Return pieces as a whole frame."""
    made = compressor()
    return b"".join(map(made.compress, pieces)) + made.flush()


def binned(held: Any) -> bytes:
    """Return an object as a `bin` of msgpack."""
    data = msgspec.msgpack.encode(held)
    return bytes((0xC6,)) + len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([binned(HEADER), b"\x93"], "does not begin"),
        ([binned(HEADER), b"\xc6\xff\xff\xff\xff"], "is the limit"),
        ([binned(HEADER), binned([[1, {}, {"": b"123"}]])], "no whole number of values"),
        ([binned(HEADER), binned([[1, {}, {"": [b"1234", b""]}]])], "no whole number of values"),
        ([binned(HEADER), binned([[1, {}, {"": [3, b"12345678"]}]])], "no whole number of values"),
        ([binned(HEADER), binned([[1, {}]])], "cannot be read"),
        ([binned(HEADER), binned([[-1, {}, {}]])], "cannot be read"),
        ([binned({"set": 1})], "cannot be read"),
        ([binned(Header("a", "b", None, 0, format=2))], "newer qdrant-exporter"),
        ([], "too early"),
    ],
)
def test_what_is_whole_but_no_chunk_of_ours_is_found(pieces: list[bytes], why: str) -> None:
    """Whoever made it; and no length in it makes us hold what it says."""
    with pytest.raises(BadChunk, match=why):
        points_in(framed(*pieces), Encoding.MSGPACK)


def test_something_behind_the_end_is_found() -> None:
    """A chunk is one frame."""
    data = chunk_of(read_of({"id": 1}), Encoding.MSGPACK)

    with pytest.raises(BadChunk, match="behind its end"):
        points_in(data + data, Encoding.MSGPACK, step=1 << 20)


def test_a_small_file_that_becomes_a_large_one_is_read_in_small_steps() -> None:
    """A thousand to one is what zeros are compressed by."""
    read = read_of(*({"id": number, "payload": {"text": " " * 20_000}} for number in range(500)))
    data = chunk_of(read, Encoding.MSGPACK)
    reader = ChunkReader(Encoding.MSGPACK, "the chunk")

    batches = list(reader.feed(data))

    assert len(data) < 20_000
    assert sum(map(len, batches)) == 500


@pytest.mark.parametrize(
    ("one", "following"),
    [
        (0, 1),
        (MOST, "00000000-0000-0000-0000-000000000000"),
        ("00000000-0000-0000-0000-0000000000ff", "00000000-0000-0000-0000-000000000100"),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", None),
    ],
)
def test_the_next_id_is_known(one: int | str, following: int | str | None) -> None:
    """Numbers come before UUIDs, and nothing after the last of those."""
    assert id_after(one) == following
    assert following is None or order_of(one) < order_of(following)


@pytest.mark.parametrize(
    "said",
    [
        {"id": -1},
        {"id": 1, "vector": ["a"]},
        {"id": 1, "vector": {"a": {"indices": [1]}}},
        {"id": 1, "vector": {"a": {"indices": [1, 2], "values": [1.0]}}},
        {"id": 1, "vector": {"a": {"indices": [2**32], "values": [1.0]}}},
        {"id": 1, "vector": [[1.0], [1.0, 2.0]]},
        {"id": 1, "vector": 3},
        {"id": 1, "vector": [1e39]},
        {"id": 1, "payload": 3},
    ],
)
def test_what_is_no_point_is_no_point(said: dict[str, Any]) -> None:
    """A server of another shape is no reason to write something else."""
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        read_of(said)


def test_a_null_in_a_vector_is_one_nan() -> None:
    """JSON has nothing else for what is not finite."""
    (point,) = read_of({"id": 1, "vector": [None, 1.0]})

    assert point.vectors == {"": struct.pack("<2f", math.nan, 1.0)}
