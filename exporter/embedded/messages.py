"""What the server and a worker process say to each other: length-prefixed msgpack over two pipes.

The same types hold what the engine told last, so that the server can answer without asking again.
"""

from __future__ import annotations

from typing import Any

import msgspec

LENGTH_BYTES = 4  # big-endian, before each message


class Command(msgspec.Struct, frozen=True):
    """One thing for the worker to do."""

    verb: str
    argument: dict[str, Any]


class Counts(msgspec.Struct, frozen=True):
    """What the engine's info() says, and for how many points each payload index holds a value."""

    points: int = 0
    indexed_vectors: int = 0
    indexed_fields: dict[str, int] = {}


class SegmentFiles(msgspec.Struct, frozen=True):
    """What one segment's own files say."""

    uuid: str
    config: dict[str, Any]  # segment.json's: storage and index of each vector
    appendable: bool
    slots: int  # points it has room for: the live and the deleted ones
    deleted_points: int  # of the only appendable segment 0: it does not keep a count
    missing_vectors: dict[str, int]  # slots without that vector
    indexed_vectors: dict[str, int]
    payload_bytes: int  # blocks in use


class Survey(msgspec.Struct, frozen=True):
    """All segments in force, read from disk right after a flush."""

    counts: Counts
    segments: list[SegmentFiles]


class Archived(msgspec.Struct, frozen=True):
    """The file that a snapshot was written to."""

    size_bytes: int
    checksum: str  # SHA-256, hexadecimal


class Reply(msgspec.Struct, frozen=True):
    """What came of a command. Status 200, or that of the refusal, whose text is then `result`."""

    status: int
    result: Any = None
    counts: Counts | None = None  # after what may have changed them
    survey: Survey | None = None  # after a survey and after an optimize


def framed(message: msgspec.Struct) -> bytes:
    """Encode one message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body
