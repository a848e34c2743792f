"""Cuts one shard out of a collection's archive: a tar of its own, as the server's upload of a shard and the
engine want it. No I/O.

The stretch is passed on as it is, but that names lose the folder of the shard: `4/segments/x.tar` becomes
`segments/x.tar`. Sparse files stay sparse.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from exporter.backup.archive.entries import (
    BLOCK,
    CHECKSUM,
    MAGIC,
    NAME,
    NAMING_RECORDS,
    POSIX_MAGIC,
    PREFIX,
    SIZE,
    BadArchive,
    Entry,
    TarEntries,
    checksum_field,
    padded,
    pax_records,
)
from exporter.printable import printable

END_BYTES = 2 * BLOCK  # two blocks of zeros end a tar


def shard_tar_size(length: int) -> int:
    """Return the bytes of the tar that `shard_tar` makes of a stretch of so many."""
    return length + END_BYTES


async def shard_tar(chunks: AsyncIterator[bytes], shard: int) -> AsyncIterator[bytes]:
    """Yield the tar of a shard, from the stretch of the archive that holds it (words.ArchivedShard).

    It has `shard_tar_size(length)` bytes. Raises BadArchive where the stretch is damaged, cut off, or
    holds anything else than this shard; what was yielded till then is worth nothing.
    """
    cut = _Cut(shard)
    async for chunk in chunks:
        for piece in cut.feed(chunk):
            yield piece
    yield cut.end()


class _Cut:
    """Rewrites names as a stretch passes."""

    def __init__(self, shard: int) -> None:
        self._folder = f"{shard}/".encode()
        self._entries = TarEntries()
        self._given = 0  # bytes passed on
        self._named = False  # a header before the member holds its name

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what becomes of a chunk. Raises BadArchive."""
        for event in self._entries.feed(chunk):
            piece = self._renamed(event) if isinstance(event, Entry) else bytes(event)
            self._given += len(piece)
            yield piece

    def end(self) -> bytes:
        """Return what ends the tar, and makes up for a name that takes a block less without its folder."""
        self._entries.finish(end_wanted=False)
        return bytes(self._entries.offset - self._given + END_BYTES)

    def _renamed(self, entry: Entry) -> bytes:
        if entry.kind == "L":
            self._named = True
            return _with_text(entry, self._without(entry.text))
        if entry.kind == "x":
            return self._with_records(entry)
        if entry.kind in "gK1":  # none is in any snapshot; a link's target would have to be renamed as well
            raise BadArchive(f"the archive has a member of the kind {entry.kind!r}, which no snapshot has")
        named, self._named = self._named, False
        return self._header(entry, named=named) + entry.extra

    def _with_records(self, entry: Entry) -> bytes:
        """Return a POSIX header whose records name the next member without its folder."""
        text = b""
        for key, held in pax_records(entry).items():
            value = held.encode("utf-8", "surrogateescape")
            if key in NAMING_RECORDS:
                self._named = True
                value = self._without(value)
            text += _record(key.encode(), value)
        return _with_text(entry, text)

    def _header(self, entry: Entry, *, named: bool) -> bytes:
        """Return the header of a member under its new name. `named`: what it says itself is a stand-in."""
        header = bytearray(entry.header)
        prefix = entry.header[PREFIX].rstrip(b"\0") if entry.header[MAGIC] == POSIX_MAGIC else b""
        field = PREFIX if prefix else NAME
        held = entry.header[field].split(b"\0", 1)[0] + (b"/" if prefix else b"")
        if held.startswith(self._folder) or not named:
            shorter = self._without(held).removesuffix(b"/" if prefix else b"")
            if not shorter and not prefix:
                shorter = b"./"  # the shard's folder itself
            header[field] = shorter.ljust(field.stop - field.start, b"\0")
        header[CHECKSUM] = checksum_field(bytes(header))
        return bytes(header)

    def _without(self, name: bytes) -> bytes:
        if not name.startswith(self._folder):
            shown = printable(name.decode("utf-8", "replace"))[:80]
            raise BadArchive(f"where shard {self._folder[:-1].decode()} must lie is {shown}")
        return name[len(self._folder) :]


def _with_text(entry: Entry, text: bytes) -> bytes:
    """Return an entry that describes the next, with another text."""
    header = bytearray(entry.header)
    header[SIZE] = b"%011o\0" % len(text)
    header[CHECKSUM] = checksum_field(bytes(header))
    return bytes(header) + text.ljust(padded(len(text)), b"\0")


def _record(key: bytes, value: bytes) -> bytes:
    """Return one POSIX record: its length counts the digits of the length too."""
    body = b" %s=%s\n" % (key, value)
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body
