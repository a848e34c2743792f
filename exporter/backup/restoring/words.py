"""The words of a restore: what is wanted, what there is, what will be sent, what came of it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exporter.backup import layout
from exporter.backup.archive.shard_tar import shard_tar_size
from exporter.backup.words import Archive, Manifest, RestoreRecord, RestoreState, ShardKey
from exporter.qdrant.kept import Description
from exporter.qdrant.versions import Version, parse_version

# Bytes a second that an upload is taken to make: read, sent, unpacked and loaded. On two cores with a disk
# of their own it was 200 MB/s; a network and a disk that others use too give less.
ASSUMED_BYTES_PER_SECOND = 50 << 20
# Bytes a collection's name may have: it names a folder. The server's own check counts characters, and a
# name with more bytes, "." and ".." stop consensus on every peer for good (seen on 1.18.3).
LONGEST_NAME_BYTES = 255
NO_NAMES = frozenset({".", ".."})
# What the server refuses to make; collections that older servers made may have them (seen on 1.18.3).
NOT_IN_NAMES = '<>:"/\\|?*\0\x1f'
# Of a name that we make up. A snapshot's name has the collection's and 60 bytes more, and names a folder too.
LONGEST_OWN_NAME_BYTES = 190


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What a person, or a verification, wants."""

    target: str | None = None  # None: NAME__restore_ID
    into: bool = False  # the target is meant as it stands, also where it is the name that was backed up
    force: bool = False  # also where no document says that the versions go together, or a proof failed
    aliases: bool = False  # also the aliases that the set has
    switch_alias: str | None = None  # this one shows the target, once it is proven
    scratch: bool = False  # made to prove, and removed then
    check_hashes: bool = True  # of every archive that is needed, before the first request that writes
    # Free bytes of the disks of peers, by label, where somebody knows.
    free_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PeerSeen:
    """A peer of the target that answered."""

    label: str
    version: str
    peer_id: int | None  # None on a server without a cluster


@dataclass(frozen=True, slots=True)
class TargetSeen:
    """The servers to restore into, as they are before."""

    name: str  # of the target collection
    peers: tuple[PeerSeen, ...]
    troubles: tuple[str, ...]  # peers that do not answer, or belong elsewhere; consensus that stands
    members: frozenset[int]  # peer ids of the cluster; empty without one
    collections: frozenset[str]
    aliases: Mapping[str, str]  # collection by alias
    exists: bool = False  # the target
    description: Description | None = None  # of the target, where there is one and a peer could say
    holders: frozenset[int] = frozenset()  # peer ids of the servers that have the target

    @property
    def clustered(self) -> bool:
        """Shard keys and more than one replica are possible."""
        return bool(self.members)

    @property
    def oldest(self) -> Version | None:
        """The lowest version among the peers; None where one cannot be read."""
        versions = [parse_version(peer.version) for peer in self.peers]
        known = [version for version in versions if version is not None]
        return min(known) if len(known) == len(versions) and known else None


@dataclass(frozen=True, slots=True)
class ShardUpload:
    """One shard to be sent: a stretch of an archive, and what a replica of it must hold then."""

    shard: int
    key: ShardKey
    archive: Archive
    offset: int  # bytes, in the archive
    length: int
    low: int | None  # points: at least and at most so many; None: nobody knows
    high: int | None
    replicas: int  # how many the target will have

    @property
    def size_bytes(self) -> int:
        """Bytes of its own tar."""
        return shard_tar_size(self.length)

    @property
    def is_exact(self) -> bool:
        """The backup knows how many points it holds."""
        return self.low is not None and self.low == self.high

    def fits(self, points: int) -> bool:
        """Whether a replica with so many points may be what was sent."""
        return self.low is None or self.high is None or self.low <= points <= self.high

    @property
    def wanted(self) -> str:
        """The points it must hold, in words."""
        if self.low is None:
            return "a number that the backup does not know"
        return f"{self.low:,}" if self.is_exact else f"{self.low:,} to {self.high:,}"


@dataclass(frozen=True, slots=True)
class Step:
    """A line of a dry run."""

    request: str  # method and path
    what: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What will be done."""

    manifest: Manifest
    target: str
    resumes: RestoreRecord | None  # goes on with the target that this one made
    uploads: tuple[ShardUpload, ...]  # by shard
    hashed_bytes: int  # of the archives that are read once more, for their hashes
    steps: tuple[Step, ...]
    warnings: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes that are sent, where nothing is there yet."""
        return sum(upload.size_bytes for upload in self.uploads)

    def eta_seconds(self, bytes_per_second: float = ASSUMED_BYTES_PER_SECOND) -> float:
        """Return how long it will take at so many bytes a second, the reading for the hashes included."""
        return (self.size_bytes + self.hashed_bytes) / bytes_per_second


@dataclass(frozen=True, slots=True)
class ReplicaSeen:
    """A replica of the target, as the peer that has it says."""

    shard: int
    key: ShardKey
    peer_id: int
    state: str
    points: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a restore that was proven."""

    record: RestoreRecord
    replicas: tuple[ReplicaSeen, ...]  # by shard, then peer
    points: int  # of the whole collection, counted exactly
    warnings: tuple[str, ...]
    labels: Mapping[int, str]  # of peers by their ids


def first_record(
    manifest: Manifest, target: str, *, begun: Sequence[RestoreRecord], scratch: bool, now: float
) -> RestoreRecord:
    """Return the record of a restore or an import that begins; the id is that of one that came to nothing."""
    return RestoreRecord(
        id=begun[0].id if begun else layout.new_id(now),
        set_id=manifest.id,
        cluster=manifest.cluster,
        collection=manifest.collection,
        target=target,
        scratch=scratch,
        state=RestoreState.OPEN,
        opened_at=now,
        changed_at=now,
        uploaded=(),
    )
