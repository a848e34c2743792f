"""What is told of backups: how old the newest is, what is proven, and what lies there. Pure.

Made from the manifests in the store, so it is the same after a restart and on another host. Readings of
a cluster's backups stand on the Board under one producer, and never expire: where the store cannot be
read, the age of the newest backup goes on growing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.backup.guard import points_change
from exporter.backup.retention import is_of_the_future
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
    "Whether a proof of a collection's backups at a level that a job proves was due, and none ever was good",
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
    due: bool  # a run came to it, or to nothing at all: there should be a backup
    is_named: bool = False  # a job names it in full: it is not one of many that come and go
    # When a job last backed it up. From the ledger: it stands in where the store was never read.
    done_at: float | None = None
    # Levels up to which verify jobs prove it, and those of them at which a run came to it: there should be
    # a proof.
    levels_asked: frozenset[Level] = frozenset()
    levels_due: frozenset[Level] = frozenset()
    # When a backup of it was last proven good, for sets too that are gone since. From the ledger.
    proven_at: Mapping[Level, float] = field(default_factory=dict)


def backup_producer(cluster: str) -> ProducerKey:
    """Return who says the readings of all backups of a cluster. In one go, so that what is gone is gone."""
    return ProducerKey(cluster, "", "backups")


@dataclass(frozen=True, slots=True)
class Stock:
    """What the store holds of one collection, as far as it is told."""

    readings: tuple[Reading, ...]  # of its sets alone
    is_backed_up: bool  # there is a complete set, not known to be bad
    is_good: bool  # there is one that may be relied on
    proven_at: Mapping[Level, float]  # by the highest level that was proven
    aliases: frozenset[str] = frozenset()  # that stood for it when the newest good one was taken


def stocks(cluster: str, sets: Iterable[StoredSet], now: float) -> Mapping[str, Stock]:
    """Return what is told of each collection's sets. `sets` are all of the cluster, in any order.

    One from the future is counted and no more: by it the newest would stay young until then. Takes a while
    where there are thousands: not for the event loop.
    """
    by_collection: dict[str, list[StoredSet]] = {}
    for one in sets:
        by_collection.setdefault(one.manifest.collection, []).append(one)
    return {name: _stock((cluster, name), stored, now) for name, stored in by_collection.items()}


def backup_readings(
    cluster: str, stored: Mapping[str, Stock] | None, covered: Iterable[Covered]
) -> Iterator[Reading]:
    """Yield the readings of one cluster's backups: of each collection with a set, and of each covered one.

    `stored` None: the store was never read. Then what jobs did stands in, and what only the store knows is
    not told: never a 0 that means unknown.
    """
    covering = {one.collection: one for one in covered}
    for collection in sorted((stored or {}).keys() | covering.keys()):
        labels = (cluster, collection)
        one = covering.get(collection)
        if stored is not None:
            stock = stored.get(collection) or _stock(labels, (), 0.0)
        else:
            stock = _from_the_ledger(labels, None if one is None else one.done_at)
        yield from stock.readings
        yield from _of_proofs(labels, stock, one, is_known=stored is not None)
        if one is not None:
            yield Reading(MAX_AGE, labels, one.max_age_seconds)
            yield Reading(MISSING, labels, float(one.due and not stock.is_backed_up))


def orphan_readings(cluster: str, bytes_by_peer: Mapping[str, int]) -> Iterator[Reading]:
    """Yield what lies unclaimed on each peer that was looked at, 0 where nothing does."""
    for peer, size_bytes in sorted(bytes_by_peer.items()):
        yield Reading(ORPHAN_BYTES, (cluster, peer), float(size_bytes))


def newest_complete(sets: Iterable[StoredSet]) -> StoredSet | None:
    """Return the newest set of one collection that has every shard and no failed proof."""
    complete = [one for one in sets if one.manifest.state is not SetState.INCOMPLETE and not one.is_bad]
    return max(complete, key=lambda one: (one.manifest.ended_at, one.manifest.id), default=None)


def _of_sets(labels: tuple[str, str], sets: Sequence[StoredSet]) -> Iterator[Reading]:
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


def _stock(labels: tuple[str, str], sets: Sequence[StoredSet], now: float) -> Stock:
    states = Counter(one.manifest.state for one in sets)
    past = [one for one in sets if not is_of_the_future(one, now)]
    newest: dict[Level, float] = {}
    for one in past:
        for proof in one.proofs:
            if proof.good:
                newest[proof.level] = max(proof.at, newest.get(proof.level, proof.at))
    good = max((one for one in past if one.counts), key=lambda one: one.manifest.ended_at, default=None)
    counts = [Reading(SETS, (*labels, state.value), float(states[state])) for state in SetState]
    return Stock(
        readings=(*counts, *_of_sets(labels, past)),
        is_backed_up=newest_complete(past) is not None,
        is_good=any(one.counts for one in sets),
        proven_at=newest,
        aliases=frozenset() if good is None else frozenset(good.manifest.aliases),
    )


def _from_the_ledger(labels: tuple[str, str], done_at: float | None) -> Stock:
    done = done_at is not None
    readings = () if done_at is None else (Reading(LAST_COMPLETE, labels, done_at),)
    return Stock(readings, is_backed_up=done, is_good=done, proven_at={})


def _of_proofs(
    labels: tuple[str, str], stock: Stock, covered: Covered | None, *, is_known: bool
) -> Iterator[Reading]:
    """Yield what is proven, by level; whether a proof is lacking only of levels that somebody asks for."""
    for level in TOLD_LEVELS:
        known = (stock.proven_at, {} if covered is None else covered.proven_at)
        moments = [at for one in known for of, at in one.items() if of >= level]
        if moments:
            yield Reading(LAST_VERIFIED, (*labels, level.value), max(moments))
        if covered is not None and level in covered.levels_asked and (moments or is_known):
            unverified = level in covered.levels_due and not moments
            yield Reading(UNVERIFIED, (*labels, level.value), float(unverified))
