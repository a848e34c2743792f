"""What a collection holds, as one number: equal where ids, payloads and vectors are. No I/O.

The order of points does not matter, nor how they lie in shards and segments, nor whether they were read
by the engine from files or by REST from a server. Both are tested against each other.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from exporter.backup.exporting.vectors import Sparse, Vector, of_floats, packed

# Changes with what is hashed, so that no newer program takes its own change for one of the data.
FORMAT = "c1"
_MODULUS = 1 << 128
_WRITER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class ContentHash:
    """The sums of two hashes of each point. Points go in one by one; sums of shards add up."""

    def __init__(self) -> None:
        self._payloads = 0
        self._vectors = 0
        self.points = 0

    def add(self, point_id: int | str | UUID, payload: Mapping[str, Any] | None, vector: Any) -> None:
        """Take a point in, in the shapes of the REST API.

        `vector`: a list of numbers, a list of those, or these and {"indices", "values"} by name; None or
        {} for none. No payload and an empty one are the same.
        """
        self.add_packed(point_id, payload, packed(vector, of_floats))

    def add_packed(
        self, point_id: int | str | UUID, payload: Mapping[str, Any] | None, vectors: Mapping[str, Vector]
    ) -> None:
        """Take a point in, its vectors as bytes: faster where somebody needs those anyway."""
        held = _id(point_id)
        self._payloads = (self._payloads + _hash(held + _payload(payload))) % _MODULUS
        self._vectors = (self._vectors + _hash(held + _all_vectors(vectors))) % _MODULUS
        self.points += 1

    def add_record(self, record: Mapping[str, Any]) -> None:
        """Take a point in as a scroll shows it, with payload and vectors."""
        self.add(record["id"], record.get("payload"), record.get("vector"))

    def __str__(self) -> str:
        """The content so far, as `Proof.content` has it: a format, 32 hexadecimal digits for ids and
        payloads, and 32 for ids and vectors."""
        return f"{FORMAT}:{self._payloads:032x}:{self._vectors:032x}"


def total(contents: Sequence[str]) -> str:
    """Return the content of all shards together, from that of each."""
    sums = [0, 0]
    for content in contents:
        _, *parts = content.split(":")
        sums = [(one + int(part, 16)) % _MODULUS for one, part in zip(sums, parts, strict=True)]
    return f"{FORMAT}:{sums[0]:032x}:{sums[1]:032x}"


def difference(one: str, other: str, *, vectors: bool) -> str | None:
    """Return what differs, for people; None where nothing does, or where they were made in different ways.

    `vectors` False leaves the vectors out: where the last writes of an archive are in its log only, who
    opens it applies them and normalizes their vectors, and two builds, or two processors, may differ in
    the last bit of that.
    """
    (made, payloads, floats), (made_too, payloads_too, floats_too) = one.split(":"), other.split(":")
    if made != made_too:
        return None
    if payloads != payloads_too:
        return "ids or payloads"
    return "vectors" if vectors and floats != floats_too else None


def _hash(held: bytes) -> int:
    return int.from_bytes(hashlib.sha256(held).digest()[:16], "little")


def _id(point_id: int | str | UUID) -> bytes:
    if isinstance(point_id, int):
        return b"i" + struct.pack("<Q", point_id)
    return b"u" + UUID(str(point_id)).bytes


def _payload(payload: Mapping[str, Any] | None) -> bytes:
    # Python promises that a float is written as its shortest text: it stays the same from version to version.
    return _sized(_WRITER.encode(payload or {}).encode("utf-8", "surrogatepass"))


def _all_vectors(vectors: Mapping[str, Vector]) -> bytes:
    pieces = [struct.pack("<I", len(vectors))]
    for name in sorted(vectors):
        pieces += (_sized(name.encode()), _vector(vectors[name]))
    return b"".join(pieces)


def _vector(vector: Vector) -> bytes:
    if isinstance(vector, bytes):
        return b"d" + _sized(vector)
    if isinstance(vector, Sparse):
        return b"s" + _sized(vector.indices) + vector.values
    return b"m" + struct.pack("<I", vector.rows) + b"".join(_sized(row) for row in vector.each())


def _sized(held: bytes) -> bytes:
    return struct.pack("<I", len(held)) + held
