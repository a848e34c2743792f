"""The words of backups: what a set is, what is proven of it, what was restored. No I/O.

A set is what one run stored of one collection, with a manifest: an archive (a Qdrant snapshot) of each
peer, or an export, which is the points themselves in chunks. It is there once its manifest is, which is
written last. Everything here is stored as JSON, so a field may be added with a default and never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MANIFEST_FORMAT = 2  # the newest that is read
SNAPSHOT_FORMAT = 1
EXPORT_FORMAT = 2  # whoever reads up to 1 would take an export for an empty set

ShardKey = str | int | None


class SetState(StrEnum):
    """What a set is worth."""

    COMPLETE = "complete"  # every shard of the layout lies in an archive
    DEGRADED = "degraded"  # complete, though a peer was missing
    # A shard is missing or cannot be opened, or the layout moved meanwhile: kept for a day, never counted.
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class ArchivedShard:
    """A shard whose data lies in an archive: one stretch of the tar, headers included."""

    shard: int
    offset: int  # bytes from the start of the archive
    length: int  # bytes, a multiple of 512


@dataclass(frozen=True, slots=True)
class Archive:
    """One peer's snapshot of the collection, as stored."""

    file: str  # its name within the set
    peer: str  # the peer's label then
    peer_id: int | None  # None for a server without a cluster
    version: str  # of that server
    snapshot: str  # the server's name for it
    size_bytes: int
    sha256: str
    checksum_from_server: bool  # False: the server named none, as with S3 behind it; then it is only ours
    began_at: float  # Unix seconds, by our clock: the POST
    ended_at: float
    shards: tuple[ArchivedShard, ...]


@dataclass(frozen=True, slots=True)
class ShardCopy:
    """A shard of the layout and the archived replica of it that counts, which is the one restored."""

    shard: int
    key: ShardKey
    archive: str | None  # the file that holds it; None: in none, so the set is incomplete
    points: int | None  # of the replica that counts; None: nobody could say
    # Points were the same, and no operation came, from before the first snapshot to after the last.
    # Otherwise a writer was running: the archive holds between `points_before` and `points_after`, unless
    # the archive itself was opened and counted, which `counted` says.
    settled: bool
    points_before: int | None
    points_after: int | None
    counted: bool  # `points` was counted in the archive
    peer_ids: tuple[int, ...]  # whose replicas the layout had; () for a server without a cluster


@dataclass(frozen=True, slots=True)
class KeyLayout:
    """A custom shard key with its shards, ascending."""

    key: str | int
    shards: tuple[int, ...]


class SetKind(StrEnum):
    """What a set is made of."""

    SNAPSHOT = "snapshot"  # archives: exact and fast, for the same minor version of the server or the next
    EXPORT = "export"  # chunks: the points themselves, for any version and any layout


class Encoding(StrEnum):
    """How an export's points are written."""

    MSGPACK = "msgpack"  # records of raw little-endian vectors, in zstd
    JSONL = "jsonl"  # a line of JSON a point, in zstd: for people


class Consistency(StrEnum):
    """What an export says of writers."""

    QUIESCED = "quiesced"  # nobody wrote, by every replica's own count of operations
    FUZZY = "fuzzy"  # somebody wrote, or nobody can say: points may be from moments that differ


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of an export's points, ascending by id, of one shard key."""

    file: str  # its name within the set
    key: ShardKey
    points: int
    size_bytes: int
    sha256: str
    first: int | str  # ids, as the server writes them
    last: int | str
    content: str  # content hash of its points (backup/content.py)


@dataclass(frozen=True, slots=True)
class Export:
    """What is known of an export beyond its chunks."""

    encoding: Encoding
    consistency: Consistency
    reasons: tuple[str, ...]  # why it is fuzzy, for people
    losses: tuple[str, ...]  # what an import cannot bring back as it was, for people; () when nothing
    points_before: int | None  # counted exactly, over all shard keys
    points_after: int | None
    not_finite: int = 0  # points with a vector in which a number is infinite or none: JSON has null there


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known of a set. Restoring needs nothing else."""

    format: int
    id: str  # 20261126T023000Z-1a2b3c: when it began (UTC) and six random digits
    cluster: str
    collection: str
    state: SetState
    problems: tuple[str, ...]  # why it is degraded or incomplete, for people
    started_at: float  # Unix seconds
    ended_at: float
    exporter_version: str
    job: str  # "" where a person asked for it
    versions: dict[str, str]  # server version by peer label
    uuid: str | None  # of the collection; None where the server tells none (one node)
    config: dict[str, Any]  # result.config of GET /collections/{collection}, as the server said it
    payload_schema: dict[str, Any]  # result.payload_schema of the same
    aliases: tuple[str, ...]
    keys: tuple[KeyLayout, ...]  # by first shard; () with automatic sharding
    archives: tuple[Archive, ...]
    shards: tuple[ShardCopy, ...]  # ascending
    op_numbers: dict[str, int]  # "shard/peer_id" -> update_queue.op_num after the last snapshot, where told
    kind: SetKind = SetKind.SNAPSHOT
    # Of an export, by key and then by id; `archives` and `shards` are empty then.
    chunks: tuple[Chunk, ...] = ()
    export: Export | None = None

    @property
    def points(self) -> int | None:
        """Points of all shards, one replica each; None where one is unknown."""
        if self.kind is SetKind.EXPORT:
            return sum(chunk.points for chunk in self.chunks)
        counts = [shard.points for shard in self.shards]
        return None if any(count is None for count in counts) else sum(c for c in counts if c is not None)

    @property
    def size_bytes(self) -> int:
        """Bytes of all archives, or of all chunks."""
        chunks = sum(chunk.size_bytes for chunk in self.chunks)
        return chunks + sum(archive.size_bytes for archive in self.archives)

    @property
    def settled(self) -> bool:
        """Nobody wrote while it was taken."""
        if self.export is not None:
            return self.export.consistency is Consistency.QUIESCED
        return all(shard.settled for shard in self.shards)


class Level(StrEnum):
    """How much is proven of a set; each is worth all below it."""

    LISTED = "0"  # manifest and files are there
    SIZED = "1"  # with the right sizes
    HASHED = "2"  # with the right SHA-256
    OPENED = "3"  # archives opened, their shards and counts read; chunks decoded, point by point
    RESTORED = "4"  # restored or imported: content, payload indexes and queries compared


@dataclass(frozen=True, slots=True)
class Proof:
    """One verification of a set at one level. Kept beside the manifest, the newest of each level."""

    level: Level
    at: float  # Unix seconds: its end
    good: bool
    problems: tuple[str, ...]  # what is wrong, for people; () when good
    by: str  # "engine", "server HOST:PORT", or "" for what only reads: levels 0 to 2, and 3 of an export
    took_seconds: float
    # By shard id as text, levels 3 and 4; of an export by shard key as JSON, or "all" where there are none.
    points: dict[str, int] = field(default_factory=dict)
    content: str | None = None  # content hash over all shards (backup/content.py), levels 3 and 4


@dataclass(frozen=True, slots=True)
class StoredSet:
    """A set as the shelf shows it: its manifest and what was proven since."""

    manifest: Manifest
    proofs: tuple[Proof, ...]  # by level
    accepted: bool  # a person said `backup accept` of it

    def proven(self, level: Level) -> Proof | None:
        """The newest good proof of this level or of a higher one."""
        good = [proof for proof in self.proofs if proof.good and proof.level >= level]
        return max(good, key=lambda proof: proof.at, default=None)

    @property
    def is_bad(self) -> bool:
        """The newest proof of some level failed, and no later one of that level or above was good."""
        return any(
            not proof.good
            and not any(
                later.good and later.level >= proof.level and later.at > proof.at for later in self.proofs
            )
            for proof in self.proofs
        )

    @property
    def counts(self) -> bool:
        """It may be relied on and counts for retention: complete, its hashes right when last looked at."""
        return (
            self.manifest.state is not SetState.INCOMPLETE
            and self.proven(Level.HASHED) is not None
            and not self.is_bad
        )


class RestoreState(StrEnum):
    """How far a restore came."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"  # given up; the target was left as it is, for people to look at


@dataclass(frozen=True, slots=True)
class RestoreRecord:
    """A restore, under way or over. The mark by which a target is ours to go on with, or to remove."""

    id: str  # as a set's id
    set_id: str
    cluster: str
    collection: str  # the one backed up
    target: str
    scratch: bool  # made by a verification: removed when it is over
    state: RestoreState
    opened_at: float
    changed_at: float
    uploaded: tuple[int, ...]  # shards whose archive the target took
    # The servers that have the target, by their ids: a record is no word about a collection of the same name
    # on others. () before it is made.
    peers: tuple[int, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PeerIntent:
    """A snapshot that was or may have been asked for on one peer."""

    peer: str  # label
    peer_id: int | None
    listed: tuple[str, ...]  # the server's snapshots of the collection before
    asked_at: float  # Unix seconds
    name: str | None = None  # ours, once it is known


@dataclass(frozen=True, slots=True)
class BackupIntent:
    """What a backup may have left on the servers, should it be killed. Open until all of that is gone."""

    id: str  # of the set
    cluster: str
    collection: str
    opened_at: float
    owner: str  # host and process, for people
    peers: tuple[PeerIntent, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """How far an export came. The same export goes on from here; its chunks lie in the folder of its set."""

    id: str  # of the set
    cluster: str
    collection: str
    encoding: Encoding
    opened_at: float  # Unix seconds
    changed_at: float
    uuid: str | None  # of the collection
    versions: dict[str, str]  # by peer label, when it began
    # What was seen before the first point was read: "shard/peer_id" -> op_num, and when its server began.
    op_numbers: dict[str, int]
    started: dict[str, str]
    points_before: int | None
    chunks: tuple[Chunk, ...] = ()
    done: tuple[ShardKey, ...] = ()  # keys that were read to their end; (None,) with automatic sharding
    params: str = ""  # SHA-256 of `params` in the collection's settings: its vectors
    not_finite: int = 0  # as Export.not_finite, of its chunks


class Purpose(StrEnum):
    """Why thresholds of a collection are others than their owner set."""

    VACUUM = "vacuum"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of a collection's `optimizers_config` that is changed for a while."""

    field: str
    was: float | None  # as the server said; None: unset, which cannot be set again
    put: float  # what we set
    back: float  # what is put back: what it was, or this version's default


@dataclass(frozen=True, slots=True)
class ThresholdIntent:
    """Thresholds that are changed for a while, written before they are. Open until they are put back."""

    id: str  # as a set's id
    cluster: str
    collection: str
    uuid: str | None  # of the collection; None where the server tells none
    purpose: Purpose
    opened_at: float  # Unix seconds
    owner: str  # host and process, for people
    changes: tuple[FieldChange, ...]
    # When they were asked for and then not seen, so that they may still come; None: that is known.
    unseen_at: float | None = None
