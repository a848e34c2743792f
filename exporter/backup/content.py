"""What a collection holds, as one number: equal where ids, payloads and vectors are. No I/O.

The order of points does not matter, nor how they lie in shards and segments, nor whether they were read
by the engine from files or by REST from a server. Both are tested against each other.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

# Changes with what is hashed, so that no newer program takes its own change for one of the data.
FORMAT = "c1"
_MODULUS = 1 << 128


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
        held = _id(point_id)
        self._payloads = (self._payloads + _hash(held + _payload(payload))) % _MODULUS
        self._vectors = (self._vectors + _hash(held + _all_vectors(vector))) % _MODULUS
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
    text = json.dumps(payload or {}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _sized(text.encode("utf-8", "surrogatepass"))


def _all_vectors(vector: Any) -> bytes:
    if vector is None:
        named: Mapping[str, Any] = {}
    else:
        named = vector if isinstance(vector, Mapping) else {"": vector}
    pieces = [struct.pack("<I", len(named))]
    for name in sorted(named):
        pieces += (_sized(name.encode()), _vector(named[name]))
    return b"".join(pieces)


def _vector(vector: Any) -> bytes:
    if isinstance(vector, Mapping):
        pairs = sorted(zip(vector["indices"], vector["values"], strict=True))
        indices = struct.pack(f"<{len(pairs)}I", *(index for index, _ in pairs))
        return b"s" + _sized(indices) + _floats([value for _, value in pairs])
    if vector and isinstance(vector[0], Sequence):
        return b"m" + struct.pack("<I", len(vector)) + b"".join(_sized(_floats(row)) for row in vector)
    return b"d" + _sized(_floats(vector))


def _floats(values: Sequence[float | None]) -> bytes:
    """Return numbers as 32-bit floats, little endian, each the one that the server holds.

    JSON has the shortest text of a float. Read as a double and cut to a float it is the same again: for all
    amounts between 2e-11 and 2e19 no such text lies so near the middle of two floats that the double would
    be the middle itself. What is not finite JSON has as null.
    """
    known = cast("Sequence[float]", values)
    try:
        is_finite = math.isfinite(math.fsum(known))
    except TypeError:  # a null
        is_finite = False
    if not is_finite:
        known = [value if value is not None and math.isfinite(value) else math.nan for value in values]
    return struct.pack(f"<{len(known)}f", *known)


def _sized(held: bytes) -> bytes:
    return struct.pack("<I", len(held)) + held
