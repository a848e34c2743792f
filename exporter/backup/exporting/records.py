"""Points as records, and the chunks of an export that hold them. Pure.

A chunk is one zstd frame. As msgpack it holds a header and then blocks, each a msgpack `bin`, so that its
length comes first; within the header is a map, within a block an array of points:

    [id, payload or nil, {vector's name: vector}]
    dense: bin of floats    sparse: [bin of indices, bin of floats]    multi: [rows, bin of floats]

with floats and indices of 32 bits, little endian; the unnamed vector's name is "". As JSON lines it holds
the header and then a point a line, as the server's REST API said it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Protocol, TypeAlias
from uuid import UUID

import msgspec

from exporter.backup.exporting.compression import ZstdCompressor, ZstdDecompressor, ZstdError, compressor
from exporter.backup.exporting.vectors import Multi, Sparse, Vector, is_sound, packed, plain
from exporter.backup.words import Encoding, ShardKey
from exporter.errors import JobError
from exporter.printable import printable

RECORDS_FORMAT = 1
PointId: TypeAlias = int | str
_Id: TypeAlias = Annotated[int, msgspec.Meta(ge=0)] | str

# Points are written and read so many bytes at a time; a larger point is a block by itself.
BLOCK_BYTES = 1 << 20
# What a damaged length may make us keep: more than the largest answer to a request for one point becomes,
# for a number of three characters in a payload takes nine bytes.
BLOCK_LIMIT_BYTES = 1 << 30
# Of what a frame becomes at once, however small it is: a megabyte of zeros takes thirty bytes.
STEP_BYTES = 1 << 20
BIN8, BIN16, BIN32 = 0xC4, 0xC5, 0xC6
LENGTH_BYTES = {BIN8: 1, BIN16: 2, BIN32: 4}


class BadChunk(JobError):
    """A chunk is damaged, or it is not the one it should be; says which and where."""


class Point(msgspec.Struct, frozen=True, gc=False):
    """A point. `payload` None: the server showed none. `text`: as it said it, where that was wanted."""

    id: PointId
    payload: dict[str, Any] | None
    vectors: dict[str, Vector]
    text: bytes = b""

    def plain(self) -> dict[str, Any]:
        """Return it as the REST API takes it: id, payload and vector."""
        return {"id": self.id, "payload": self.payload, "vector": plain(self.vectors)}


class Header(msgspec.Struct, frozen=True):
    """What a chunk says of itself."""

    set: str
    collection: str
    key: ShardKey
    number: int  # of the chunk among all of the set
    format: int = RECORDS_FORMAT


class Said(msgspec.Struct, gc=False):
    """A point as a scroll shows it."""

    id: _Id
    payload: dict[str, Any] | None = None
    vector: Any = None

    def point(self, text: bytes = b"") -> Point:
        """Return it with its vectors packed. Raises ValueError where one has no shape that is known."""
        try:
            return Point(self.id, self.payload, packed(self.vector), text)
        except (TypeError, KeyError) as error:
            raise ValueError(f"a vector of point {self.id} has no shape that is known") from error


_Stored: TypeAlias = tuple[_Id, dict[str, Any] | None, dict[str, bytes | tuple[int | bytes, bytes]]]
# Made here, once: msgspec prepares types in no thread's but the importing one's time.
_SAID = msgspec.json.Decoder(Said)
_HEADER_LINE = msgspec.json.Decoder(Header)
_HEADER = msgspec.msgpack.Decoder(Header)
_BLOCK = msgspec.msgpack.Decoder(list[_Stored])


def point_of(said: bytes | msgspec.Raw, *, keeps_text: bool = False) -> Point:
    """Read a point as a scroll shows it. Raises ValueError where it is none."""
    return _SAID.decode(said).point(bytes(said) if keeps_text else b"")


def order_of(point_id: PointId) -> tuple[bool, int]:
    """Return what ids are ordered by, as the server does: numbers, then UUIDs. Raises ValueError: no UUID."""
    return (False, point_id) if isinstance(point_id, int) else (True, UUID(point_id).int)


def id_after(point_id: PointId) -> PointId | None:
    """Return the lowest id above; None after the last there can be. Raises ValueError: no UUID."""
    is_uuid, number = order_of(point_id)
    if is_uuid:
        return str(UUID(int=number + 1)) if number + 1 < 1 << 128 else None
    return number + 1 if number + 1 < 1 << 64 else str(UUID(int=0))


class ChunkWriter(Protocol):
    """Makes the bytes of one chunk."""

    def add(self, points: Sequence[Point]) -> bytes:
        """Take points in, ascending by id; return the bytes to be stored."""

    def finish(self) -> bytes:
        """Return the rest."""


def chunk_writer(header: Header, encoding: Encoding) -> ChunkWriter:
    """Begin a chunk."""
    return _MsgpackWriter(header) if encoding is Encoding.MSGPACK else _LinesWriter(header)


class _MsgpackWriter:
    def __init__(self, header: Header) -> None:
        self._zstd = compressor()
        self._ready: list[bytes] = []
        self._put(msgspec.msgpack.encode(header))

    def add(self, points: Sequence[Point]) -> bytes:
        for block in _blocks(points):
            records = [(point.id, point.payload, point.vectors) for point in block]
            self._put(msgspec.msgpack.encode(records))
        return _taken(self._ready, self._zstd)

    def finish(self) -> bytes:
        return b"".join([*self._ready, self._zstd.flush()])

    def _put(self, data: bytes) -> None:
        head = bytes((BIN32,)) + len(data).to_bytes(4, "big")
        self._ready += (self._zstd.compress(head), self._zstd.compress(data))


class _LinesWriter:
    def __init__(self, header: Header) -> None:
        self._zstd = compressor()
        self._ready = [self._zstd.compress(msgspec.json.encode(header) + b"\n")]

    def add(self, points: Sequence[Point]) -> bytes:
        for point in points:
            self._ready.append(self._zstd.compress(_line(point)))
        return _taken(self._ready, self._zstd)

    def finish(self) -> bytes:
        return b"".join([*self._ready, self._zstd.flush()])


def _taken(ready: list[bytes], zstd: ZstdCompressor) -> bytes:
    """Return all that was taken in so far, so that its size is known."""
    data = b"".join([*ready, zstd.flush(ZstdCompressor.FLUSH_BLOCK)])
    ready.clear()
    return data


class ChunkReader:
    """Reads a chunk from its bytes, as they come. Holds a block at most, however large the chunk.

    `where` names the chunk in errors.
    """

    def __init__(self, encoding: Encoding, where: str) -> None:
        self._zstd = ZstdDecompressor()
        self._is_lines = encoding is Encoding.JSONL
        self._where = where
        self._held = bytearray()
        self.header: Header | None = None
        self.points = 0

    def feed(self, data: bytes) -> Iterator[list[Point]]:
        """Take the next bytes of the file, and yield the points that are whole by now. Raises BadChunk."""
        while data or not (self._zstd.needs_input or self._zstd.eof):
            if self._zstd.eof:
                raise self._bad("there is something behind its end")
            try:
                self._held += self._zstd.decompress(data, STEP_BYTES)
            except ZstdError as error:
                raise self._bad(f"it cannot be decompressed: {error}") from error
            data = self._zstd.unused_data if self._zstd.eof else b""
            for piece in self._lines() if self._is_lines else self._bins():
                points = self._read(piece)
                self.points += len(points)
                if points:
                    yield points

    def finish(self) -> None:
        """Say that this was all. Raises BadChunk where it was not."""
        if not self._zstd.eof or self._held or self.header is None:
            raise self._bad("it ends too early")

    def _bins(self) -> Iterator[bytes]:
        """Take every whole `bin` out of what is held."""
        while self._held:
            width = LENGTH_BYTES.get(self._held[0])
            if width is None:
                raise self._bad("a block does not begin where it should")
            begin = 1 + width
            length = int.from_bytes(self._held[1:begin], "big")
            if length > BLOCK_LIMIT_BYTES:
                raise self._bad(f"a block of {length} bytes, and {BLOCK_LIMIT_BYTES} is the limit")
            if len(self._held) < begin + length:
                return
            piece = bytes(memoryview(self._held)[begin : begin + length])
            del self._held[: begin + length]
            yield piece

    def _lines(self) -> Iterator[bytes]:
        """Take every whole line out of what is held: a block's worth of them at once."""
        end = self._held.rfind(b"\n") + 1
        if not end and len(self._held) > BLOCK_LIMIT_BYTES:
            raise self._bad(f"a line of more than {BLOCK_LIMIT_BYTES} bytes")
        piece = bytes(memoryview(self._held)[: max(end - 1, 0)])
        del self._held[:end]
        if end and self.header is None:
            head, _, piece = piece.partition(b"\n")
            yield head
        if piece:
            yield piece

    def _read(self, piece: bytes) -> list[Point]:
        try:
            if self.header is None:
                self.header = (_HEADER_LINE if self._is_lines else _HEADER).decode(piece)
                self._check(self.header)
                return []
            if self._is_lines:
                return [point_of(line) for line in piece.split(b"\n")]
            return [self._point(*stored) for stored in _BLOCK.decode(piece)]
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._bad(f"what follows cannot be read: {str(error)[:200]}") from error

    def _check(self, header: Header) -> None:
        if header.format > RECORDS_FORMAT:
            raise self._bad(
                f"written in format {header.format} by a newer qdrant-exporter, and this one reads up to"
                f" format {RECORDS_FORMAT}; use the version that made the export, or a newer one"
            )

    def _point(
        self,
        point_id: PointId,
        payload: dict[str, Any] | None,
        stored: dict[str, bytes | tuple[int | bytes, bytes]],
    ) -> Point:
        vectors = {name: _vector(one) for name, one in stored.items()}
        if not all(map(is_sound, vectors.values())):
            raise ValueError(f"a vector of point {point_id} has no whole number of values")
        return Point(point_id, payload, vectors)

    def _bad(self, what: str) -> BadChunk:
        return BadChunk(f"{printable(self._where)} is damaged after {self.points} points: {what}")


def _vector(stored: bytes | tuple[int | bytes, bytes]) -> Vector:
    if isinstance(stored, bytes):
        return stored
    first, values = stored
    return Multi(first, values) if isinstance(first, int) else Sparse(first, values)


def _blocks(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Cut points into blocks by the bytes of their vectors, and of what they are likely to have beside."""
    block: list[Point] = []
    size = 0
    for point in points:
        block.append(point)
        size += _size(point.vectors.values())
        if size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _size(vectors: Iterable[Vector]) -> int:
    # a payload is about a kilobyte
    return 1024 + sum(len(one) if isinstance(one, bytes) else len(one[1]) for one in vectors)


def _line(point: Point) -> bytes:
    return (point.text or msgspec.json.encode(point.plain())) + b"\n"
