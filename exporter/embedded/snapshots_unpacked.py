"""Reading an archive: a shard's folder out of a collection's snapshot or of a shard's own, for the engine.

Both are tars. A collection's holds its shards in folders named by their numbers, and what it was asked to
be; a shard's holds one such folder's content. Segments are tars within. What is wrong with one is refused
with Qdrant's words.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import msgspec

from exporter.embedded.refusals import RefusalError

COPY_BYTES = 32 * 1024  # the finer, the more of the holes become holes again, and the slower
HOLE = bytes(COPY_BYTES)
LARGEST_DOCUMENT_BYTES = 16 * 1024 * 1024
CONFIG, PAYLOAD_INDEX = "config.json", "payload_index.json"
SEGMENT_FILES = "snapshot/files"  # before each name in a segment's tar


@dataclass(frozen=True, slots=True)
class UnpackedShard:
    """A shard as the engine loads it."""

    folder: Path
    fields: dict[str, Any]  # its payload indexes as they were asked for: a type, or parameters
    operations: int  # the number of the newest change in it


@dataclass(frozen=True, slots=True)
class UnpackedCollection:
    """What a collection's snapshot holds."""

    shard: UnpackedShard
    config: dict[str, Any]
    fields: dict[str, Any]


def unpack_collection(archive: Path, folder: Path) -> UnpackedCollection:
    """Unpack a collection's snapshot below `folder`. Raises RefusalError (500)."""
    documents: dict[str, bytes] = {}
    with _opened(archive) as tar:
        for member, body in _files(tar):
            if "/" in member.name:
                _unpack(body, member.name, folder)
            elif member.name in (CONFIG, PAYLOAD_INDEX):
                documents[member.name] = body.read(LARGEST_DOCUMENT_BYTES)
    if CONFIG not in documents:
        missing = f"failed to open file `{folder / CONFIG}`: No such file or directory (os error 2)"
        raise _file_error(missing)
    config = _document(documents[CONFIG], CONFIG)
    schema = _document(documents.get(PAYLOAD_INDEX, b"{}"), PAYLOAD_INDEX).get("schema")
    return UnpackedCollection(_shard(folder / "0"), config, schema if isinstance(schema, dict) else {})


def unpack_shard(archive: Path, folder: Path) -> UnpackedShard:
    """Unpack a shard's snapshot into `folder`. Raises RefusalError (500)."""
    with _opened(archive) as tar:
        for member, body in _files(tar):
            _unpack(body, member.name, folder)
    return _shard(folder)


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, "r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise _file_error("Malformed tar archive, reached unknown entry") from error


def _files(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Yield every file of a tar. Raises RefusalError (500) for a name that leads elsewhere."""
    for member in tar:
        if not member.isreg():
            continue
        parts = PurePosixPath(member.name).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise _file_error("trying to unpack outside of destination path")
        body = tar.extractfile(member)
        assert body is not None, "a regular file has a body"
        yield member, body


def _unpack(body: IO[bytes], name: str, folder: Path) -> None:
    """Write one file of a shard below `folder`; a segment, which is a tar, as a folder."""
    path = folder / name
    try:
        if path.parent.name != "segments" or path.suffix != ".tar":
            _write(body, path)
            return
        with tarfile.open(fileobj=body, mode="r:") as segment:
            for member, file in _files(segment):
                inside = PurePosixPath(member.name)
                if inside.is_relative_to(SEGMENT_FILES):
                    _write(file, path.with_suffix("") / inside.relative_to(SEGMENT_FILES))
    except (tarfile.TarError, EOFError) as error:
        raise _file_error(f"failed to unpack `{path}`") from error


def _write(body: IO[bytes], path: Path) -> None:
    """Write one file; what is all zeros becomes a hole again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        while piece := body.read(COPY_BYTES):
            if piece == HOLE[: len(piece)]:
                target.seek(len(piece), 1)
            else:
                target.write(piece)
        target.truncate()  # up to the end of a last hole


def _shard(folder: Path) -> UnpackedShard:
    segments = sorted((folder / "segments").glob("*/segment.json"))
    if not segments:  # a replica on another peer has its state in the archive, and no data
        text = f"Can't restore snapshot in local mode with missing data at shard: {folder}"
        raise RefusalError(500, f"Service internal error: {text}")
    fields: dict[str, Any] = {}
    operations = 0
    for path in segments:
        operations = max(operations, _document(path.read_bytes(), path.name).get("version") or 0)
        index = path.parent / "payload_index" / "config.json"
        if index.exists():
            fields |= _document(index.read_bytes(), index.name).get("indexed_fields") or {}
    return UnpackedShard(folder, fields, operations)


def _document(text: bytes, name: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RefusalError(500, f"Service internal error: Json error in {name}: {error}") from error


def _file_error(text: str) -> RefusalError:
    return RefusalError(500, f"Service internal error: File IO error: {text}")
