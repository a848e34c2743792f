"""When retention must stand still: the newest backup looks as if the data was lost or exchanged. Pure.

Old backups are deleted because newer ones hold the same, only fresher. Where that is in doubt a person
decides, by `backup accept ID`; what came before an accepted set is no measure for what comes after it.
Snapshots are compared with snapshots and exports with exports, since none goes for the sake of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from exporter.backup.words import Manifest, SetKind, SetState, ShardCopy, StoredSet
from exporter.printable import printable

# Fewer points than this part of the most in a kept set: nobody's daily clean-up, more likely a filter that
# was too wide, or a collection made anew.
LEAST_PART = 0.5

# Parts of a configuration that people and tools write to as they go: no sign of another collection.
_OF_NO_MATTER = frozenset({"metadata"})


def suspicious(sets: Iterable[StoredSet]) -> str | None:
    """Say why the newest complete set of one collection cannot stand for those before it; None where it can.

    `sets` are those of one collection, of both kinds, in any order.
    """
    compared = _compared(sets)
    reasons = [reason for alike in _by_kind(compared) if (reason := _suspicious(alike)) is not None]
    return "; ".join(reasons) or None


def _suspicious(compared: Sequence[StoredSet]) -> str | None:
    if len(compared) < 2:
        return None
    newest, before = compared[-1].manifest, [one.manifest for one in compared[:-1]]
    reason = _fewer_points(newest, before) or _another_collection(newest, before) or _began_again(compared)
    if reason is None:
        return None
    return f"{reason}; if that is right: qdrant-exporter backup accept {newest.id}"


def points_change(sets: Iterable[StoredSet]) -> float | None:
    """Return the newest complete set's points against the most in a kept one, less 1; None where not known.

    -0.5 is half of them gone. Sets from before the newest accepted one are no measure. Where there are
    snapshots and exports it is the lower of both.
    """
    changes = [_points_change(alike) for alike in _by_kind(_compared(sets))]
    return min((change for change in changes if change is not None), default=None)


def _points_change(compared: Sequence[StoredSet]) -> float | None:
    counts = [points for one in compared if (points := points_of(one.manifest)) is not None]
    newest = points_of(compared[-1].manifest)
    if newest is None:
        return None
    most = max(counts)
    return newest / most - 1 if most else 0.0


def points_of(manifest: Manifest) -> int | None:
    """Return the points of all shards as near as is known: where a writer ran, those it left behind.

    Of an export, those that were written down.
    """
    if manifest.kind is SetKind.EXPORT:
        return manifest.points
    total = 0
    for shard in manifest.shards:
        points = _points_of_shard(shard)
        if points is None:
            return None
        total += points
    return total


def _points_of_shard(shard: ShardCopy) -> int | None:
    known = (shard.points, shard.points_after, shard.points_before)
    return next((points for points in known if points is not None), None)


def _compared(sets: Iterable[StoredSet]) -> Sequence[StoredSet]:
    """Return the complete sets, oldest first, from the newest accepted one on."""
    complete = sorted(
        (one for one in sets if one.manifest.state is not SetState.INCOMPLETE),
        key=lambda one: (one.manifest.ended_at, one.manifest.id),
    )
    accepted = [place for place, one in enumerate(complete) if one.accepted]
    return complete[accepted[-1] :] if accepted else complete


def _by_kind(sets: Sequence[StoredSet]) -> Iterator[Sequence[StoredSet]]:
    """Yield the sets of each kind of which there are any."""
    for kind in SetKind:
        if alike := [one for one in sets if one.manifest.kind is kind]:
            yield alike


def _fewer_points(newest: Manifest, before: Iterable[Manifest]) -> str | None:
    points = points_of(newest)
    counts = {one.id: count for one in before if (count := points_of(one)) is not None}
    if points is None or not counts:
        return None
    fullest = max(counts, key=lambda one: counts[one])
    if points >= LEAST_PART * counts[fullest]:
        return None
    return f"the newest set {newest.id} has {points:,} points, and {fullest} has {counts[fullest]:,}"


def _another_collection(newest: Manifest, before: Iterable[Manifest]) -> str | None:
    """Compare with all kept sets, not with the last alone: the next backup of the new one changes nothing."""
    for one in before:
        if newest.uuid is not None and one.uuid is not None:
            if newest.uuid != one.uuid:
                return f"the newest set {newest.id} is of another collection than {one.id}: it was made anew"
        elif path := _difference(one.config, newest.config):
            return (
                f"the newest set {newest.id} and {one.id} differ in {printable(path)},"
                " and the server tells no other mark of a collection"
            )
    return None


def _began_again(compared: Sequence[StoredSet]) -> str | None:
    """Find where operation numbers fell while the server stayed up: the shard began again, empty.

    Only of collections without a mark of their own, and looked for between any two neighbours. A server
    that was started again may count from the start of its log, and one of another version was.
    """
    for earlier, later in pairwise(one.manifest for one in compared):
        if earlier.uuid is not None or later.uuid is not None or earlier.versions != later.versions:
            continue
        for place, number in sorted(later.op_numbers.items()):
            before = earlier.op_numbers.get(place, 0)
            if number < before:
                shard = place.partition("/")[0]
                return (
                    f"operations of shard {printable(shard)} went back from {before:,} to {number:,} between"
                    f" {earlier.id} and {later.id}: the collection was made anew, or the server started again"
                )
    return None


def _difference(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "config") -> str:
    """Return where two configurations differ in what both say; "" where they do not.

    A key that only one has came with another version of the server. Two parts with no key in common are
    different: vectors of other names.
    """
    common = [key for key in one if key in other and key not in _OF_NO_MATTER]
    if one and other and not common:
        return path
    for key in sorted(common):
        mine, theirs = one[key], other[key]
        if isinstance(mine, dict) and isinstance(theirs, dict):
            if found := _difference(mine, theirs, f"{path}.{key}"):
                return found
        elif mine is not None and theirs is not None and mine != theirs:
            return f"{path}.{key}"
    return ""
