"""Which members an archive has and where they lie, learnt while it passes. No I/O.

Of a snapshot archive: which shards it really holds, and its small files at the root.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.backup.archive.entries import (
    NAMING_RECORDS,
    BadArchive,
    Entry,
    TarEntries,
    name_of,
    padded,
    pax_records,
    text_of,
)
from exporter.backup.words import ArchivedShard

__all__ = ["ROOT_FILES", "BadArchive", "Member", "TarWalk", "shards_of"]

ROOT_FILES = ("version.info", "config.json", "shard_key_mapping.json", "payload_index.json")
# They are a few KiB; thousands of payload indexes or shard keys would be some MiB.
ROOT_FILE_LIMIT_BYTES = 16 << 20
# A shard has a member for each segment and a few more; a million is no archive of Qdrant's.
MEMBERS_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a tar, headers included."""

    name: str
    offset: int  # of its first header, bytes from the start of the archive
    data_offset: int
    size_bytes: int  # as stored; of a sparse file without its holes
    kind: str  # the type's letter: "0" a file, "S" a sparse one, "5" a directory

    @property
    def end(self) -> int:
        """The first byte behind it, padding included."""
        return self.data_offset + (0 if self.kind in "123456" else padded(self.size_bytes))


class TarWalk:
    """Looks at an archive as its chunks pass. Data costs nothing: it is skipped, not looked at."""

    def __init__(self) -> None:
        self._entries = TarEntries()
        self._members: list[Member] = []
        self._files: dict[str, bytearray] = {}
        self._collecting: bytearray | None = None  # the file at the root that is passing
        self._first: int | None = None  # offset of the first header of the next member
        self._names: dict[str, str] = {}  # what the headers before a member say: "long", "path"
        self._global: dict[str, str] = {}

    @property
    def members(self) -> tuple[Member, ...]:
        """All whose headers passed, in order."""
        return tuple(self._members)

    @property
    def files(self) -> Mapping[str, bytes]:
        """The contents of the ROOT_FILES that passed; one above 16 MiB is not there."""
        sizes = {member.name: member.size_bytes for member in self._members if member.name in self._files}
        return {name: bytes(body[: sizes[name]]) for name, body in self._files.items()}

    def feed(self, chunk: bytes | memoryview) -> list[Member]:
        """Take the next chunk and return the members whose headers ended in it. Raises BadArchive."""
        before = len(self._members)
        for event in self._entries.feed(chunk):
            if isinstance(event, Entry):
                self._see(event)
            elif self._collecting is not None:
                self._collecting += event
        return self._members[before:]

    def finish(self) -> tuple[Member, ...]:
        """Return all members, once all chunks passed. Raises BadArchive where the archive is cut off."""
        self._entries.finish()
        return self.members

    def _see(self, entry: Entry) -> None:
        self._collecting = None
        if self._first is None:
            self._first = entry.offset
        if not entry.describes_next:
            self._add(entry)
        elif entry.kind == "L":
            self._names["long"] = text_of(entry.text)
        elif entry.kind == "x":
            self._names |= _path(pax_records(entry))
        elif entry.kind == "g":
            self._global |= _path(pax_records(entry))

    def _add(self, entry: Entry) -> None:
        assert self._first is not None
        names = self._global | self._names
        name = names.get("path") or names.get("long") or name_of(entry.header)
        member = Member(name, self._first, entry.data_offset, entry.size_bytes, entry.kind)
        self._members.append(member)
        self._first, self._names = None, {}
        if len(self._members) > MEMBERS_LIMIT:
            raise BadArchive(f"the archive has more than {MEMBERS_LIMIT} members: no snapshot has")
        if name in ROOT_FILES and member.kind == "0" and member.size_bytes <= ROOT_FILE_LIMIT_BYTES:
            self._collecting = self._files[name] = bytearray()


def shards_of(members: Iterable[Member]) -> tuple[ArchivedShard, ...]:
    """Return the shards whose data lies in an archive, ascending: those with a file below N/segments/.

    Of a shard that was remote there are two small files and no segment; one that is empty has segments.
    Raises BadArchive where a shard's members do not lie in one stretch: we could not cut it out.
    """
    stretches: dict[int, tuple[int, int]] = {}
    held: set[int] = set()
    last: int | None = None
    for member in members:
        shard, rest = _shard_of(member.name)
        if shard is not None:
            if shard in stretches and shard != last:
                raise BadArchive(f"shard {shard} lies in two places of the archive")
            begin, _ = stretches.get(shard, (member.offset, 0))
            stretches[shard] = (begin, member.end)
            if rest.startswith("segments/") and member.kind != "5":
                held.add(shard)
        last = shard
    return tuple(
        ArchivedShard(shard, begin, end - begin)
        for shard, (begin, end) in sorted(stretches.items())
        if shard in held
    )


def _shard_of(name: str) -> tuple[int | None, str]:
    """Return the shard that a member belongs to, and its name within."""
    first, slash, rest = name.partition("/")
    is_shard = slash and first.isascii() and first.isdecimal() and str(int(first)) == first
    return (int(first), rest) if is_shard else (None, name)


def _path(records: Mapping[str, str]) -> dict[str, str]:
    paths = [records[name] for name in NAMING_RECORDS if name in records]
    return {"path": paths[0]} if paths else {}
