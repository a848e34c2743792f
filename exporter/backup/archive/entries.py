"""The entries of a tar stream, one after the other, across the borders of chunks. No I/O.

What tars are made of, and no more: headers with their checksums, names and sizes that stand in headers of
their own, sparse files, data. GNU's format and POSIX's are both read. What it means is for who asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.errors import JobError
from exporter.printable import printable

BLOCK = 512
# Names and POSIX records are hundreds of bytes, the map of a sparse file of 32 MiB at most 200 KiB: more
# is no archive of Qdrant's, and would only fill our memory.
EXTRA_LIMIT_BYTES = 1 << 20
_ZEROS = bytes(BLOCK)
# Links, devices, directories and pipes have none, whatever their size says.
_NO_DATA = frozenset(b"123456")
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _SPARSE = b"LKxgS"
# The byte that says another block of the map follows.
_MORE_IN_SPARSE_HEADER, _MORE_IN_SPARSE_BLOCK = 482, 504

NAME = slice(0, 100)
SIZE = slice(124, 136)
CHECKSUM = slice(148, 156)
TYPE = 156
MAGIC = slice(257, 265)
PREFIX = slice(345, 500)
POSIX_MAGIC = b"ustar\x0000"
NAMING_RECORDS = ("GNU.sparse.name", "path")  # of POSIX, the one that counts first


class BadArchive(JobError):
    """A snapshot archive is not what it must be: damaged, cut off, or no archive at all."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One header with what belongs to it, but for the data."""

    offset: int  # of its header, bytes from the start of the stream
    header: bytes  # one block
    extra: bytes  # whole blocks: the text of a long name or of POSIX records, or more of a sparse file's map
    size_bytes: int  # of the text in `extra`, or of the data that follows
    data_offset: int

    @property
    def kind(self) -> str:
        """The type's letter; "0" for a plain file, whichever of both ways it is written."""
        letter = self.header[TYPE]
        if letter == 0:
            return "5" if text_of(self.header[NAME]).endswith("/") else "0"
        return chr(letter)

    @property
    def describes_next(self) -> bool:
        """It is no member, it says something of the one that follows."""
        return self.header[TYPE] in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL)

    @property
    def text(self) -> bytes:
        """The text of one that describes the next."""
        return self.extra[: self.size_bytes]


class TarEntries:
    """Push parser: give it the stream's chunks, take entries and the pieces of their data."""

    def __init__(self) -> None:
        self._offset = 0  # of the next byte of the stream
        self._block = bytearray()  # a block that is not whole yet
        self._data_left = 0  # bytes of the member's data, its padding included
        self._open: _Open | None = None  # an entry whose extra blocks are still coming
        self._pax_size: int | None = None  # what POSIX records say of the size of the next member
        self._zero_blocks = 0

    @property
    def offset(self) -> int:
        """Bytes taken so far."""
        return self._offset

    def feed(self, chunk: bytes | memoryview) -> Iterator[Entry | memoryview]:
        """Yield what is in the next chunk: entries whole, data with its padding in pieces.

        Must be consumed to its end. Raises BadArchive.
        """
        view = memoryview(chunk)
        at, end = 0, len(view)
        while at < end:
            if self._data_left:
                piece = view[at : at + self._data_left]
                self._data_left -= len(piece)
                self._offset += len(piece)
                at += len(piece)
                yield piece
                continue
            piece = view[at : at + BLOCK - len(self._block)]
            self._block += piece
            self._offset += len(piece)
            at += len(piece)
            if len(self._block) == BLOCK:
                block = bytes(self._block)
                self._block.clear()
                entry = self._take(block)
                if entry is not None:
                    yield entry

    def finish(self, *, end_wanted: bool = True) -> None:
        """Say that no more comes. Raises BadArchive where the archive is cut off.

        `end_wanted` False: it is a stretch of one, which ends without the blocks that end an archive.
        """
        if self._block or self._data_left or self._open is not None:
            raise BadArchive(f"the archive is cut off after {self._offset} bytes, within a member")
        if end_wanted and self._zero_blocks < 2:
            raise BadArchive(f"the archive is cut off after {self._offset} bytes: its end is missing")

    def _take(self, block: bytes) -> Entry | None:
        """Take a block that is no data; an entry where it completes one."""
        if self._open is not None:
            return self._continued(block)
        if block == _ZEROS:
            self._zero_blocks += 1
            return None
        if self._zero_blocks:
            raise BadArchive(f"there is something at byte {self._offset - BLOCK}, behind the archive's end")
        _check(block, self._offset - BLOCK)
        return self._begun(block)

    def _begun(self, block: bytes) -> Entry | None:
        kind, at = block[TYPE], self._offset - BLOCK
        size = _number(block[SIZE], at)
        opened = _Open(at, block, size)
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            opened.blocks_left = -(-size // BLOCK)
            if size > EXTRA_LIMIT_BYTES:
                raise BadArchive(f"the header at byte {at} announces a name of {size} bytes")
        else:
            if self._pax_size is not None:
                opened.size_bytes, self._pax_size = self._pax_size, None
            opened.blocks_left = int(kind == _SPARSE and block[_MORE_IN_SPARSE_HEADER] != 0)
        self._open = opened
        return None if opened.blocks_left else self._whole()

    def _continued(self, block: bytes) -> Entry | None:
        opened = self._open
        assert opened is not None
        opened.extra += block
        opened.blocks_left -= 1
        if opened.header[TYPE] == _SPARSE and block[_MORE_IN_SPARSE_BLOCK]:
            opened.blocks_left = 1
            if len(opened.extra) > EXTRA_LIMIT_BYTES:
                raise BadArchive(f"the map of the sparse file at byte {opened.offset} has no end")
        return None if opened.blocks_left else self._whole()

    def _whole(self) -> Entry:
        opened, self._open = self._open, None
        assert opened is not None
        entry = Entry(opened.offset, opened.header, bytes(opened.extra), opened.size_bytes, self._offset)
        if entry.header[TYPE] == _PAX:
            size = pax_records(entry).get("size")
            if size is not None:
                self._pax_size = _decimal(size, entry.offset)
        elif not entry.describes_next and ord(entry.kind) not in _NO_DATA:
            self._data_left = padded(entry.size_bytes)
        return entry


@dataclass(slots=True)
class _Open:
    offset: int
    header: bytes
    size_bytes: int
    blocks_left: int = 0
    extra: bytearray | bytes = b""

    def __post_init__(self) -> None:
        self.extra = bytearray(self.extra)


def padded(size_bytes: int) -> int:
    """Return how much so many bytes take up: whole blocks."""
    return -(-size_bytes // BLOCK) * BLOCK


def text_of(field: bytes) -> str:
    """Return a field of a header, or a long name, as text; it ends at the first zero."""
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def name_of(header: bytes) -> str:
    """Return the name that a header itself holds, both halves of it where it is POSIX's."""
    name, prefix = text_of(header[NAME]), text_of(header[PREFIX])
    return f"{prefix}/{name}" if header[MAGIC] == POSIX_MAGIC and prefix else name


def pax_records(entry: Entry) -> dict[str, str]:
    """Return the records of a POSIX header: "LENGTH key=value\\n" each. Raises BadArchive."""
    records, rest = {}, entry.text
    while rest.strip(b"\0"):
        length, space, _ = rest.partition(b" ")
        size = _decimal(length.decode("ascii", "replace"), entry.offset)
        record = rest[len(length) + len(space) : size]
        key, equals, value = record.partition(b"=")
        if not (space and equals and len(rest) >= size > len(length) and value.endswith(b"\n")):
            raise BadArchive(f"the POSIX header at byte {entry.offset} cannot be read")
        records[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
        rest = rest[size:]
    return records


def checksum_field(header: bytes) -> bytes:
    """Return the checksum of a header as its field holds it: all bytes summed, the field itself as spaces."""
    return b"%06o\0 " % _checksum(header)


def _checksum(header: bytes) -> int:
    return sum(header) - sum(header[CHECKSUM]) + 8 * ord(" ")


def _check(header: bytes, at: int) -> None:
    try:
        said = int(header[CHECKSUM].strip(b" \0") or b"-1", 8)
    except ValueError:
        said = -1
    if said != _checksum(header):
        raise BadArchive(f"the archive is damaged: the header at byte {at} has another checksum")


def _number(field: bytes, at: int) -> int:
    """Return a size: octal digits, or from 8 GiB on the number itself behind a mark."""
    if field[0] in (0x80, 0xFF):
        number = int.from_bytes(field[1:], "big", signed=field[0] == 0xFF)
    else:
        try:
            number = int(field.split(b"\0", 1)[0].strip() or b"0", 8)
        except ValueError:
            number = -1
    if number < 0:
        raise BadArchive(f"the header at byte {at} has no size that could be")
    return number


def _decimal(text: str, at: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadArchive(f"the POSIX header at byte {at} has {printable(text)[:40]} for a number")
    return int(text)
