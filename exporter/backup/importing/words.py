"""The words of an import: what is wanted, how long what may take, what came of it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.backup.restoring.target import RestoreLimits
from exporter.backup.restoring.words import RestoreOptions, Step
from exporter.backup.words import Chunk, Manifest, RestoreRecord, ShardKey

# Bytes of chunks a second that an import is taken to load. 27 MB, of 10,000 points with 768 numbers and some
# more, took 4.7 s with the server on the same two cores, which others used too.
ASSUMED_BYTES_PER_SECOND = 5 << 20


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a person, or a verification, wants."""

    target: str | None = None  # None: NAME__restore_ID
    into: bool = False  # the target is meant as it stands, also where it is the name that was exported
    force: bool = False  # also where a proof failed or the export is incomplete
    aliases: bool = False  # also the aliases that the set has
    switch_alias: str | None = None  # this one shows the target, once it is proven
    # Made to prove, and removed then: it is not indexed, and its thresholds are nobody's.
    scratch: bool = False
    # Free bytes of the disks of peers, by label, where somebody knows.
    free_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def as_restore(self) -> RestoreOptions:
        """The same wishes, of a restore."""
        return RestoreOptions(
            target=self.target,
            into=self.into,
            force=self.force,
            aliases=self.aliases,
            switch_alias=self.switch_alias,
            scratch=self.scratch,
            free_bytes=self.free_bytes,
        )


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """How much is sent at once, and how long an import waits for what. The defaults are for real servers."""

    target: RestoreLimits = field(default_factory=RestoreLimits)
    batch_bytes: int = 4 << 20  # of JSON: larger requests are no faster, and a server refuses 32 MiB
    batch_points: int = 512
    streams: int = 2  # requests under way at once: one is written down while the next is read
    upsert_seconds: float = 120.0  # of one request; the server answers when all replicas have it
    upsert_tries: int = 5  # of one request that nobody answered, on one peer after the other
    wait_seconds: float = 1.0  # before the second try; twice that before the third
    patience_seconds: float = 900.0  # of a server that only says "later", or whose queue does not get shorter
    queue_look_seconds: float = 10.0
    queue_operations: int = 1_000  # waiting on one replica; above that nothing is sent
    quiet_seconds: float = 1_800.0  # until no optimizer runs and the thresholds can be put back
    quiet_look_seconds: float = 5.0  # between two looks, which must both be quiet
    green_seconds: float = 4 * 3_600.0  # until everything is indexed; a job's deadline ends it sooner
    green_look_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What will be done."""

    manifest: Manifest
    target: str
    resumes: RestoreRecord | None  # goes on with the target that this one made
    due: tuple[int, ...]  # chunks to be loaded, by their place in the manifest
    steps: tuple[Step, ...]
    warnings: tuple[str, ...]

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks to be loaded."""
        return tuple(self.manifest.chunks[number] for number in self.due)

    @property
    def size_bytes(self) -> int:
        """Bytes that are read from the store."""
        return sum(chunk.size_bytes for chunk in self.chunks)

    @property
    def points(self) -> int:
        """Points that are sent."""
        return sum(chunk.points for chunk in self.chunks)

    def points_of(self, key: ShardKey) -> int:
        """Return how many points the target must hold under a shard key."""
        return sum(chunk.points for chunk in self.manifest.chunks if chunk.key == key)

    def eta_seconds(self, bytes_per_second: float = ASSUMED_BYTES_PER_SECOND) -> float:
        """Return how long the load will take, without the index that is built afterwards."""
        return self.size_bytes / bytes_per_second


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import that was proven."""

    record: RestoreRecord
    points: int  # of the whole collection, counted exactly on every peer
    content: str  # content hash of all that was read back
    thresholds: str  # "put back", "unchanged", or for a scratch target "nobody's"
    warnings: tuple[str, ...]
