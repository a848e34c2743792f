"""Writing a snapshot's archive: a tar in Qdrant's layout of one shard's folder. Runs in a worker process.

The engine's files are holes for the most part, 32 MB each of which kilobytes are data: like Qdrant's own
they go in as GNU sparse members, so that an archive is as small as what it holds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from exporter.embedded.messages import Archived

BLOCK_BYTES = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK_BYTES)  # what a tar ends with
COPY_BYTES = 1024 * 1024
FILE_MODE = 0o644
# Where old GNU tar keeps a sparse member's map in its header: four stretches, then more in blocks of 21.
MAP_AT, MORE_AT, REAL_SIZE_AT, CHECKSUM_AT = 386, 482, 483, 148
STRETCHES_IN_HEADER, STRETCHES_IN_BLOCK, STRETCH_BYTES = 4, 21, 24

Stretch = tuple[int, int]  # offset and length in bytes


@dataclass(frozen=True, slots=True)
class Member:
    """One file on its way into a tar."""

    path: Path
    header: bytes
    stretches: tuple[Stretch, ...]  # of the file, that hold data

    @property
    def stored_bytes(self) -> int:
        """What it takes in the tar."""
        return len(self.header) + _padded(sum(length for _, length in self.stretches))


class Output:
    """A file being written, with its length and its SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    @property
    def checksum(self) -> str:
        """The SHA-256 of all that was written, in hexadecimal."""
        return self._sha256.hexdigest()

    def write(self, piece: bytes) -> None:
        """Append bytes."""
        self._file.write(piece)
        self._sha256.update(piece)
        self.size_bytes += len(piece)

    def add(self, member: Member) -> None:
        """Append a file with its header, filled up to whole blocks."""
        self.write(member.header)
        begin = self.size_bytes
        with member.path.open("rb") as source:
            for offset, length in member.stretches:
                source.seek(offset)
                for piece in _pieces(source, length):
                    self.write(piece)
        self.write(bytes(-(self.size_bytes - begin) % BLOCK_BYTES))


def write_archive(
    target: Path, *, shard: Path, segments: Iterable[str], documents: Mapping[str, str]
) -> Archived:
    """Write the archive of a flushed shard, which must rest meanwhile, and return its size and SHA-256.

    `documents` are the small files after the shard's own, by name. Raises OSError.
    """
    with target.open("xb") as file:
        output = Output(file)
        for uuid in segments:
            _add_segment(output, uuid, shard / "segments" / uuid)
        for path in sorted((shard / "wal").iterdir()):
            output.add(_member(path, f"0/wal/{path.name}"))
        for name, text in documents.items():
            body = text.encode()
            output.write(_header(name, len(body)) + body + bytes(-len(body) % BLOCK_BYTES))
        output.write(END)
        file.flush()
        os.fsync(file.fileno())
    return Archived(output.size_bytes, output.checksum)


def _add_segment(output: Output, uuid: str, folder: Path) -> None:
    """Append a segment, which is a tar of its own within the archive."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    members = [_member(path, f"snapshot/files/{path.relative_to(folder).as_posix()}") for path in paths]
    size_bytes = sum(member.stored_bytes for member in members) + len(END)
    output.write(_header(f"0/segments/{uuid}.tar", size_bytes))
    for member in members:
        output.add(member)
    output.write(END)


def _member(path: Path, name: str) -> Member:
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        stretches = tuple(_data_stretches(file.fileno(), size_bytes))
    if stretches == ((0, size_bytes),) or not size_bytes:
        return Member(path, _header(name, size_bytes), stretches)
    return Member(path, _sparse_header(name, size_bytes, stretches), stretches)


def _data_stretches(file: int, size_bytes: int) -> Iterator[Stretch]:
    """Yield the stretches of a file that are no holes; all of it where the system does not tell."""
    if sys.platform != "linux":
        yield 0, size_bytes
        return
    end = 0
    while end < size_bytes:
        try:
            begin = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = min(os.lseek(file, begin, os.SEEK_HOLE), size_bytes)
        yield begin, end - begin


def _header(name: str, size_bytes: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a member's header, with a block for its name before it where that is long."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type = size_bytes, FILE_MODE, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def _sparse_header(name: str, size_bytes: int, stretches: tuple[Stretch, ...]) -> bytes:
    stored_bytes = sum(length for _, length in stretches)
    blocks = bytearray(_header(name, stored_bytes, tarfile.GNUTYPE_SPARSE))
    header = memoryview(blocks)[-BLOCK_BYTES:]
    # the last stretch is an empty one at the end, by which readers know how far the last hole goes
    entries = [_octal(offset) + _octal(length) for offset, length in (*stretches, (size_bytes, 0))]
    first, rest = entries[:STRETCHES_IN_HEADER], entries[STRETCHES_IN_HEADER:]
    header[MAP_AT:MORE_AT] = b"".join(first).ljust(MORE_AT - MAP_AT, b"\0")
    header[MORE_AT] = bool(rest)
    header[REAL_SIZE_AT : REAL_SIZE_AT + STRETCH_BYTES // 2] = _octal(size_bytes)
    header[CHECKSUM_AT : CHECKSUM_AT + 8] = b" " * 8  # as it counts in its own sum
    header[CHECKSUM_AT : CHECKSUM_AT + 8] = b"%06o\0 " % sum(header)
    more = b""
    while rest:
        block, rest = b"".join(rest[:STRETCHES_IN_BLOCK]), rest[STRETCHES_IN_BLOCK:]
        filled = block.ljust(STRETCHES_IN_BLOCK * STRETCH_BYTES, b"\0") + bytes([bool(rest)])
        more += filled.ljust(BLOCK_BYTES, b"\0")
    return bytes(blocks) + more


def _octal(number: int) -> bytes:
    return b"%011o\0" % number


def _padded(size_bytes: int) -> int:
    return size_bytes + -size_bytes % BLOCK_BYTES


def _pieces(source: BinaryIO, length: int) -> Iterator[bytes]:
    while length:
        piece = source.read(min(length, COPY_BYTES))
        if not piece:
            raise OSError(errno.EIO, f"{source.name} became shorter while it was read")
        length -= len(piece)
        yield piece
