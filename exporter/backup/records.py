"""What is told of backups: how old the newest is, what is proven, and what lies there. Pure.

Made from the manifests in the store, so it is the same after a restart and on another host. Readings of
a cluster's backups stand on the Board under one producer, and never expire: where the store cannot be
read, the age of the newest backup goes on growing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.backup.guard import points_change
from exporter.backup.words import Level, SetState, StoredSet
from exporter.model import CLUSTER_LABEL, OURS, Kind, MetricSpec, ProducerKey, Reading

_COLLECTION = (CLUSTER_LABEL, "collection")
_UNIX_TIME = "seconds, Unix time"

LAST_COMPLETE = MetricSpec(
    "qdrantx_backup_last_complete_timestamp_seconds",
    Kind.GAUGE,
    "When the newest complete backup of a collection that is not known to be bad was finished",
    _UNIX_TIME,
    OURS,
    _COLLECTION,
)
LAST_VERIFIED = MetricSpec(
    "qdrantx_backup_last_verified_timestamp_seconds",
    Kind.GAUGE,
    "When a backup of a collection was last proven good at a level or a higher one;"
    " 1 sizes, 2 SHA-256, 3 opened, 4 restored",
    _UNIX_TIME,
    OURS,
    (*_COLLECTION, "level"),
)
MAX_AGE = MetricSpec(
    "qdrantx_backup_max_age_seconds",
    Kind.GAUGE,
    "How old the newest complete backup of a collection may become, by the jobs that cover it",
    "seconds",
    OURS,
    _COLLECTION,
)
MISSING = MetricSpec(
    "qdrantx_backup_missing",
    Kind.GAUGE,
    "Whether a backup of a collection was due, and there is no complete one",
    "1 or 0",
    OURS,
    _COLLECTION,
)
UNVERIFIED = MetricSpec(
    "qdrantx_backup_unverified",
    Kind.GAUGE,
    "Whether a proof of a collection's backups at a level was due, and none ever was good",
    "1 or 0",
    OURS,
    (*_COLLECTION, "level"),
)
BYTES = MetricSpec(
    "qdrantx_backup_bytes",
    Kind.GAUGE,
    "Size of the newest complete backup of a collection",
    "bytes",
    OURS,
    _COLLECTION,
)
POINTS = MetricSpec(
    "qdrantx_backup_points",
    Kind.GAUGE,
    "Points in the newest complete backup of a collection, each shard once; absent where not known",
    "points",
    OURS,
    _COLLECTION,
)
POINTS_CHANGE = MetricSpec(
    "qdrantx_backup_points_change_ratio",
    Kind.GAUGE,
    "Points in the newest complete backup against the most in a kept one, less 1: -0.5 is half of them gone",
    "ratio, -1 and up",
    OURS,
    _COLLECTION,
)
SETS = MetricSpec(
    "qdrantx_backup_sets",
    Kind.GAUGE,
    "Backups of a collection in the store, by what they are worth",
    "backups",
    OURS,
    (*_COLLECTION, "state"),
)
ORPHAN_BYTES = MetricSpec(
    "qdrantx_backup_orphan_bytes",
    Kind.GAUGE,
    "Size of the snapshots on a peer that no backup of ours asked for, or left behind",
    "bytes",
    OURS,
    (CLUSTER_LABEL, "peer"),
)
SPECS = (
    LAST_COMPLETE,
    LAST_VERIFIED,
    MAX_AGE,
    MISSING,
    UNVERIFIED,
    BYTES,
    POINTS,
    POINTS_CHANGE,
    SETS,
    ORPHAN_BYTES,
)

# That a set is listed proves nothing that anybody would wait for.
TOLD_LEVELS = (Level.SIZED, Level.HASHED, Level.OPENED, Level.RESTORED)


@dataclass(frozen=True, slots=True)
class Covered:
    """A collection that backup jobs cover. It may have been deleted meanwhile."""

    collection: str
    max_age_seconds: float  # the strictest of the jobs
    due: bool  # a run was planned since it is covered: there should be a backup
    # Levels at which a verify job had a planned run since: there should be a proof.
    levels_due: frozenset[Level] = frozenset()
    # When a backup of it was last proven good, for sets too that are gone since. From the ledger.
    proven_at: Mapping[Level, float] = field(default_factory=dict)


def backup_producer(cluster: str) -> ProducerKey:
    """Return who says the readings of all backups of a cluster. In one go, so that what is gone is gone."""
    return ProducerKey(cluster, "", "backups")


def backup_readings(cluster: str, sets: Iterable[StoredSet], covered: Iterable[Covered]) -> Iterator[Reading]:
    """Yield the readings of one cluster's backups: of each collection with a set, and of each covered one.

    `sets` are all of the cluster, in any order.
    """
    by_collection: dict[str, list[StoredSet]] = {}
    for one in sets:
        by_collection.setdefault(one.manifest.collection, []).append(one)
    covering = {one.collection: one for one in covered}
    for collection in sorted(by_collection.keys() | covering.keys()):
        labels = (cluster, collection)
        stored = by_collection.get(collection, [])
        yield from _of_sets(labels, stored)
        yield from _of_proofs(labels, stored, covering.get(collection))
        if collection in covering:
            yield Reading(MAX_AGE, labels, covering[collection].max_age_seconds)
            missing = covering[collection].due and newest_complete(stored) is None
            yield Reading(MISSING, labels, float(missing))


def orphan_readings(cluster: str, bytes_by_peer: Mapping[str, int]) -> Iterator[Reading]:
    """Yield what lies unclaimed on each peer that was looked at, 0 where nothing does."""
    for peer, size_bytes in sorted(bytes_by_peer.items()):
        yield Reading(ORPHAN_BYTES, (cluster, peer), float(size_bytes))


def newest_complete(sets: Iterable[StoredSet]) -> StoredSet | None:
    """Return the newest set of one collection that has every shard and no failed proof."""
    complete = [one for one in sets if one.manifest.state is not SetState.INCOMPLETE and not one.is_bad]
    return max(complete, key=lambda one: (one.manifest.ended_at, one.manifest.id), default=None)


def _of_sets(labels: tuple[str, str], sets: Sequence[StoredSet]) -> Iterator[Reading]:
    states = [one.manifest.state for one in sets]
    for state in SetState:
        yield Reading(SETS, (*labels, state.value), float(states.count(state)))
    newest = newest_complete(sets)
    if newest is None:
        return
    yield Reading(LAST_COMPLETE, labels, newest.manifest.ended_at)
    yield Reading(BYTES, labels, float(newest.manifest.size_bytes))
    if newest.manifest.points is not None:
        yield Reading(POINTS, labels, float(newest.manifest.points))
    change = points_change(sets)
    if change is not None:
        yield Reading(POINTS_CHANGE, labels, change)


def _of_proofs(
    labels: tuple[str, str], sets: Sequence[StoredSet], covered: Covered | None
) -> Iterator[Reading]:
    for level in TOLD_LEVELS:
        moments = [] if covered is None else [at for of, at in covered.proven_at.items() if of >= level]
        moments += [proof.at for one in sets if (proof := one.proven(level)) is not None]
        if moments:
            yield Reading(LAST_VERIFIED, (*labels, level.value), max(moments))
        if covered is not None:
            unverified = level in covered.levels_due and not moments
            yield Reading(UNVERIFIED, (*labels, level.value), float(unverified))
