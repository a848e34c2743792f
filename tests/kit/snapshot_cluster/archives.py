"""Snapshot archives of the real shape whose segments hold JSON points instead of an engine's files.

A collection's archive is a plain GNU tar: per shard its folder in one stretch, then the files of the root.
A segment is a tar of `snapshot/files/...` by itself; the write-ahead log is a sparse member.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

PointId = int | str
Points = dict[PointId, list[Any]]  # id -> [vector, payload]

BLOCK = 512
POINTS_FILE = "snapshot/files/points.json"
PADDING_FILE = "snapshot/files/page_0.dat"
SEGMENT = "0b7d9b3e-53f2-4d8c-9a59-6c1d3a1f0{shard:03}.tar"
LOG_SIZE = 33_554_432  # what the server allots ahead
LOG_STORED = 1024  # what of it is written, and so stored


class BrokenArchiveError(Exception):
    """No archive of a shard. `malformed`: not even a tar, which the server answers with 500."""

    def __init__(self, text: str, *, malformed: bool) -> None:
        super().__init__(text)
        self.malformed = malformed


@dataclass(frozen=True, slots=True)
class ShardFolder:
    """One shard as an archive holds it. `points` None: it is remote on that peer, or not loaded."""

    shard: int
    points: Points | None
    replica_state: dict[str, Any]


@dataclass(slots=True)
class Opened:
    """What a whole collection's archive holds."""

    config: dict[str, Any]
    keys: list[dict[str, Any]]
    payload_schema: dict[str, Any]
    shards: dict[int, Points | None] = field(default_factory=dict)


def collection_archive(
    folders: list[ShardFolder],
    *,
    config: dict[str, Any],
    keys: list[dict[str, Any]],
    payload_schema: dict[str, Any],
    padding_bytes: int = 0,
) -> bytes:
    """Return the tar of a collection; each loaded shard is `padding_bytes` larger than its points need."""
    tar = bytearray()
    for folder in folders:
        tar += _shard_members(folder, padding_bytes)
    tar += _file("version.info", b"0.4.2")
    tar += _file("config.json", _json(config))
    tar += _file("shard_key_mapping.json", _json(keys))
    tar += _file("payload_index.json", _json({"schema": payload_schema}))
    return bytes(tar) + bytes(2 * BLOCK)


def points_of_shard_tar(data: bytes) -> Points:
    """Return the points of one shard's archive, names without the shard's number, as an upload takes it.

    Raises BrokenArchiveError.
    """
    members = _members(data)
    segments = [name for name in members if name.startswith("segments/")]
    if not segments:
        raise BrokenArchiveError("Bad request: Invalid snapshot", malformed=False)
    return _points(members[segments[0]])


def open_collection_archive(data: bytes) -> Opened:
    """Return what a collection's archive holds. Raises BrokenArchiveError."""
    members = _members(data)
    if "config.json" not in members:
        raise BrokenArchiveError("Service internal error: no config.json", malformed=True)
    opened = Opened(
        config=json.loads(members["config.json"]),
        keys=json.loads(members["shard_key_mapping.json"]),
        payload_schema=json.loads(members["payload_index.json"])["schema"],
    )
    for name in members:
        shard, _, rest = name.partition("/")
        if rest.startswith("segments/"):
            opened.shards[int(shard)] = _points(members[name])
        elif rest == "replica_state.json":
            opened.shards.setdefault(int(shard), None)
    return opened


def _shard_members(folder: ShardFolder, padding_bytes: int) -> bytes:
    number = folder.shard
    made = b""
    if folder.points is not None:
        inner = _file(POINTS_FILE, _json([[id_, *point] for id_, point in folder.points.items()]))
        inner += _file(PADDING_FILE, padding(number, padding_bytes))
        made += _file(f"{number}/segments/{SEGMENT.format(shard=number)}", inner + bytes(2 * BLOCK))
        made += _file(f"{number}/newest_clocks.json", b"[]", tarfile.REGTYPE)
        made += _sparse(f"{number}/wal/open-1") + _sparse(f"{number}/wal/open-2")
        made += _file(f"{number}/wal/first-index", b'{"ack_index":0}', tarfile.REGTYPE)
    made += _file(f"{number}/replica_state.json", _json(folder.replica_state))
    return made + _file(f"{number}/shard_config.json", _json({"type": "ReplicaSet"}))


def padding(seed: int, size: int) -> bytes:
    """Return bytes that no compression makes small, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def _file(name: str, content: bytes, kind: bytes = tarfile.AREGTYPE) -> bytes:
    """Return an ordinary member; most of the server's have the type of old, a zero."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    return _header(info, kind) + content + bytes(-len(content) % BLOCK)


def _sparse(name: str) -> bytes:
    """Return a sparse member: its size field is what is stored, its real size stands behind the map."""
    info = tarfile.TarInfo(name)
    info.size = LOG_STORED
    info.mode = 0o644
    places = b"".join(b"%011o\0" % value for value in (0, LOG_STORED, LOG_SIZE, 0))
    return _header(info, b"S", {386: places, 483: b"%011o\0" % LOG_SIZE}) + b"\x01" * LOG_STORED


def _header(info: tarfile.TarInfo, kind: bytes, fields: Mapping[int, bytes] = MappingProxyType({})) -> bytes:
    """Return a header of this type, with fields at their places and the sum made anew."""
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = kind
    for start, value in fields.items():
        header[start : start + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _members(data: bytes) -> dict[str, bytes]:
    """Return the ordinary files of a tar by name; a leading ./ is dropped, as the server does."""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if member.isreg() and not member.issparse():
                    opened = tar.extractfile(member)
                    assert opened is not None
                    content = opened.read()
                    if len(content) != member.size:
                        raise BrokenArchiveError(_unpack_error(name), malformed=True)
                    found[name] = content
                elif member.issparse() and member.offset_data + LOG_STORED > len(data):
                    raise BrokenArchiveError(_unpack_error(name), malformed=True)
    except tarfile.TarError as error:
        raise BrokenArchiveError(
            "Service internal error: File IO error: Malformed tar archive, reached unknown entry",
            malformed=True,
        ) from error
    return found


def _unpack_error(name: str) -> str:
    return f"Service internal error: File IO error: failed to unpack `/qdrant/storage/tmp/recovery/{name}`"


def _points(segment: bytes) -> Points:
    files = _members(segment)
    return {id_: [vector, payload] for id_, vector, payload in json.loads(files[POINTS_FILE])}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
