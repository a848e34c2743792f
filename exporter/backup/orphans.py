"""Snapshots that lie on the servers and take their disks, and whose they are. Nothing is ever deleted here.

Qdrant keeps what was uploaded to it, keeps a collection's snapshots when the collection is deleted, and
shows them to nobody then: those only a look into its folder finds.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from exporter.backup import snapshotting
from exporter.backup.calling import Limits, patiently
from exporter.backup.intents import claimed
from exporter.backup.survey import MissingPeer, PeerAt
from exporter.backup.words import BackupIntent
from exporter.errors import JobError, SourceError
from exporter.qdrant import keeping
from exporter.qdrant.kept import SnapshotDescription

# A thousand collections are listed in a quarter of a second so, and the server notices little of it.
LISTS_AT_ONCE = 4
_FULL_NAME = re.compile(r"full-snapshot-[0-9]{4}(?:-[0-9]{2}){5}\.snapshot")
CHECKSUM = ".checksum"
# Of the server's own, in its folder of snapshots: what is being made, or was when it was killed.
TEMPORARY = "tmp"


class OrphanKind(StrEnum):
    """Whose a snapshot is."""

    OURS = "ours"  # an open intent claims it: the next backup of that collection deletes it
    TAKEN = "taken"  # somebody took it
    UPLOADED = "uploaded"  # a file that somebody uploaded to restore it
    FULL = "full"  # of the whole storage


@dataclass(frozen=True, slots=True)
class Orphan:
    """A snapshot that lies on a peer."""

    peer: str  # label
    collection: str  # "" for one of the whole storage
    name: str
    size_bytes: int
    created_at: float | None  # Unix seconds by the server's clock, which is taken to be in UTC
    kind: OrphanKind

    def age_seconds(self, now: float) -> float | None:
        """Seconds since it was made; None where the server does not say."""
        return None if self.created_at is None else max(0.0, now - self.created_at)


@dataclass(frozen=True, slots=True)
class Found:
    """All of them, and the peers that could not be asked."""

    orphans: tuple[Orphan, ...]
    answered: tuple[str, ...]  # labels
    missing: tuple[MissingPeer, ...] = ()

    def bytes_by_peer(self) -> dict[str, int]:
        """Return bytes by the label of every peer that answered, 0 where nothing lies."""
        sizes: dict[str, int] = dict.fromkeys(self.answered, 0)
        for orphan in self.orphans:
            sizes[orphan.peer] += orphan.size_bytes
        return sizes


async def find_orphans(
    peers: Sequence[PeerAt],
    *,
    cluster: str,
    intents: Iterable[BackupIntent] = (),
    limits: Limits | None = None,
) -> Found:
    """Look at every peer. `intents` are the open ones of the store: what they claim is ours.

    A peer that does not answer is among `missing`; nothing is raised.
    """
    limits = limits or Limits()
    own = [intent for intent in intents if intent.cluster == cluster]
    answers = await asyncio.gather(*(_on_peer(peer, own, limits) for peer in peers))
    lying = [answer for answer in answers if not isinstance(answer, MissingPeer)]
    return Found(
        orphans=tuple(orphan for of_peer in lying for orphan in of_peer),
        missing=tuple(answer for answer in answers if isinstance(answer, MissingPeer)),
        answered=tuple(
            peer.label
            for peer, answer in zip(peers, answers, strict=True)
            if not isinstance(answer, MissingPeer)
        ),
    )


async def _on_peer(
    peer: PeerAt, intents: Sequence[BackupIntent], limits: Limits
) -> list[Orphan] | MissingPeer:
    gate = asyncio.Semaphore(LISTS_AT_ONCE)

    async def of(collection: str) -> list[Orphan]:
        async with gate:
            there = await snapshotting.listed(peer, collection, limits)
        return list(_judged(peer.label, peer_id, collection, there, intents))

    try:
        peer_id = keeping.read_cluster_status(
            await patiently(peer.courier, keeping.cluster_status(), limits)
        ).peer_id
        names = keeping.read_collections(await patiently(peer.courier, keeping.collections(), limits))
        full = keeping.read_snapshots(await patiently(peer.courier, keeping.full_snapshots(), limits))
        lists = await asyncio.gather(*(of(name) for name in names))
    except SourceError as error:
        return MissingPeer(peer.label, str(error))
    whole = [_orphan(peer.label, "", one, _kind_of_full(one.name)) for one in full]
    return [*whole, *(orphan for orphans in lists for orphan in orphans)]


def _judged(
    label: str,
    peer_id: int | None,
    collection: str,
    there: Sequence[SnapshotDescription],
    intents: Iterable[BackupIntent],
) -> Iterator[Orphan]:
    """Say of each snapshot of a collection on a peer whose it is. Pure."""
    ours: set[str] = set()
    for intent in intents:
        for part in intent.peers:
            is_here = part.peer_id == peer_id if peer_id is not None else part.peer == label
            claims = claimed(part, there, collection) if is_here else []
            if intent.collection == collection and len(claims) == 1:
                ours.add(claims[0].name)
    for one in there:
        kind = OrphanKind.UPLOADED
        if one.name in ours:
            kind = OrphanKind.OURS
        elif snapshotting.began_at(one.name, collection) is not None:
            kind = OrphanKind.TAKEN
        yield _orphan(label, collection, one, kind)


def _kind_of_full(name: str) -> OrphanKind:
    return OrphanKind.FULL if _FULL_NAME.fullmatch(name) else OrphanKind.UPLOADED


def _orphan(label: str, collection: str, one: SnapshotDescription, kind: OrphanKind) -> Orphan:
    return Orphan(label, collection, one.name, one.size, _created_at(one.creation_time), kind)


def _created_at(text: str | None) -> float | None:
    """Read the server's time, which has no zone."""
    try:
        return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


# --- a server's own folder -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeftFile:
    """A file in a server's folder of snapshots that the server shows to nobody."""

    path: str  # below the folder
    size_bytes: int
    changed_at: float  # Unix seconds
    reason: str  # for people


def left_in_folder(folder: Path, collections: Iterable[str]) -> list[LeftFile]:
    """Look into a server's folder of snapshots, on this machine, for what no list of the server shows.

    `collections` are the server's. No symbolic link is followed. Raises JobError where the folder cannot be
    read. It waits for the disk: call it in a thread.
    """
    known = frozenset(collections)
    try:
        files = dict(_files(folder))
    except OSError as error:
        raise JobError(f"{folder}: cannot be read: {error.strerror}") from error
    found = []
    for path, status in sorted(files.items()):
        reason = _reason(path, files, known)
        if reason is not None:
            found.append(LeftFile(path, status.st_size, status.st_mtime, reason))
    return found


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every file of the folder and of the folders in it, by its path from there."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry.name, entry.stat(follow_symlinks=False)
            elif entry.is_dir(follow_symlinks=False):
                for below, status in _files(Path(entry.path)):
                    yield f"{entry.name}/{below}", status


def _reason(path: str, files: Mapping[str, os.stat_result], collections: frozenset[str]) -> str | None:
    """Return why a file is one that nobody sees; None where the server shows it."""
    folder, slash, _ = path.partition("/")
    if slash and folder not in collections:
        if folder == TEMPORARY:
            return "of a snapshot that is being made, or was when the server was killed"
        return "its collection is gone"
    if path.endswith(CHECKSUM):
        return None if path.removesuffix(CHECKSUM) in files else "the snapshot it belongs to is gone"
    return None if path.endswith(".snapshot") else "an uploaded file that no list shows"
