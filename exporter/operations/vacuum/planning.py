"""Which segments a vacuum is about, what thresholds make the server rewrite them, what disk that takes. Pure.

The server rewrites a segment whose thresholds are exceeded, strictly: of its points so many are deleted, or
of an indexed vector so many are gone. Nobody can name a segment to it, so thresholds low enough for one
victim are low enough for others too, and those count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from exporter.backup.thresholds.changing import DELETED_THRESHOLD, VACUUM_MIN_VECTOR_NUMBER
from exporter.backup.thresholds.optimizing import SPECIAL, SegmentSeen
from exporter.operations.vacuum.words import (
    LOWEST_MINIMUM,
    Settings,
    VacuumTerms,
    Victim,
    Weight,
)

# How far below the smallest victim's share the threshold is put: a writer may add points to it meanwhile.
BELOW = 0.99
DECIMALS = 10_000  # of a threshold that we put: 0.1386, which a person can read
# A segment's folder is up to twice its raw data (graph, payload index) and 64 MiB that are allotted ahead:
# 82 MB where 38 MB are raw, 44 MB where nothing is (measured on 1.18.3).
FOLDER_FACTOR = 2
FOLDER_BYTES = 64 << 20
# The server wants twice the folder free before it rewrites a segment.
SERVER_FACTOR = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """What is rewritten, and by which thresholds."""

    victims: tuple[Victim, ...]  # most reclaimable bytes first
    besides: tuple[Victim, ...]
    change: Mapping[str, float]
    needed_bytes: Mapping[str, int]  # by peer
    note: str = ""  # why there are no victims


def choose(segments: Sequence[SegmentSeen], own: Settings, terms: VacuumTerms) -> Choice:
    """Return the victims of a collection and what it takes to have them rewritten.

    `segments`: those of all its replicas.
    """
    found = [segment for segment in segments if is_worth_it(segment, terms)]
    usual_bytes = _usual_bytes(segments)
    # a segment without a live point says nothing of its bytes: it is judged by the others' points
    reclaimable_bytes = sum(one.reclaimable_bytes if one.live else usual_bytes * one.deleted for one in found)
    is_known = usual_bytes > 0 or all(one.live for one in found)
    if not found or (is_known and reclaimable_bytes < terms.min_reclaim_bytes):
        return Choice((), (), {}, {}, _why_nothing(found, reclaimable_bytes, terms))
    found.sort(key=lambda one: (-one.reclaimable_bytes, -one.deleted, one.peer, one.shard, one.uuid or ""))
    change = _lowered(found, own)
    put = put_by(change, own)
    taken = [one for one in segments if one not in found and is_rewritten(one, put)]
    return Choice(
        victims=tuple(Victim(one, _share(one)) for one in found),
        besides=tuple(Victim(one, _share_of_worst(one), wanted=False) for one in taken),
        change=change,
        needed_bytes=_needed_bytes([*found, *taken], segments),
    )


def put_by(change: Mapping[str, float], own: Settings) -> Settings:
    """Return the thresholds in force once a change was put over a collection's own."""
    return replace(
        own,
        deleted_threshold=change.get(DELETED_THRESHOLD, own.deleted_threshold),
        minimum=int(change.get(VACUUM_MIN_VECTOR_NUMBER, own.minimum)),
    )


def is_rewritten(segment: SegmentSeen, settings: Settings) -> bool:
    """Whether the server's vacuum takes a segment at these thresholds, by the server's own rules."""
    if segment.kind == SPECIAL:
        return False
    if segment.total >= settings.minimum and segment.ratio > settings.deleted_threshold:
        return True
    return any(
        indexed - there >= settings.minimum and (indexed - there) / indexed > settings.deleted_threshold
        for there, indexed in segment.vectors.values()
        if indexed > 0
    )


def weigh(segments: Iterable[SegmentSeen], disk_bytes: int | None = None) -> Weight:
    """Return what a collection's segments weigh together."""
    segments = tuple(segments)
    return Weight(
        segments=len(segments),
        points=sum(one.live for one in segments),
        deleted=sum(one.deleted for one in segments),
        reclaimable_bytes=sum(one.reclaimable_bytes for one in segments),
        data_bytes=sum(one.vector_bytes + one.payload_bytes for one in segments),
        disk_bytes=disk_bytes,
    )


def left_of(victims: Iterable[Victim], now: Sequence[SegmentSeen], put: Settings) -> tuple[Victim, ...]:
    """Return the victims that were not rewritten yet.

    Before 1.17 a segment has no uuid: there a victim is left while its peer holds a segment of the same
    shard that the thresholds in force take.
    """
    there = {(one.peer, one.shard, one.uuid) for one in now if one.uuid is not None}
    wanted = {(one.peer, one.shard) for one in now if is_rewritten(one, put)}
    return tuple(
        victim
        for victim in victims
        if (
            (victim.segment.peer, victim.segment.shard, victim.segment.uuid) in there
            if victim.segment.uuid is not None
            else (victim.segment.peer, victim.segment.shard) in wanted
        )
    )


def is_worth_it(segment: SegmentSeen, terms: VacuumTerms) -> bool:
    """Whether a segment may be a victim. A smaller one than the lowest minimum can never be had."""
    return (
        segment.kind != SPECIAL
        and segment.total >= LOWEST_MINIMUM
        and segment.deleted > 0
        and segment.ratio >= terms.min_deleted_ratio
    )


def _why_nothing(found: Sequence[SegmentSeen], reclaimable_bytes: float, terms: VacuumTerms) -> str:
    if not found:
        return f"no segment has {terms.min_deleted_ratio:.0%} of its points deleted"
    least = terms.min_reclaim_bytes / (1 << 20)
    return f"rewriting would free {reclaimable_bytes / (1 << 20):,.1f} MiB, less than {least:,.1f} MiB"


def _lowered(victims: Sequence[SegmentSeen], own: Settings) -> dict[str, float]:
    """Return what must be put for victims that the collection's own thresholds leave; never above those."""
    missed = [one for one in victims if not is_rewritten(one, own)]
    change: dict[str, float] = {}
    if not missed:
        return change
    smallest_ratio = min(one.ratio for one in missed)
    if smallest_ratio <= own.deleted_threshold:
        # a share so small that rounding makes it 0, which would take every segment
        change[DELETED_THRESHOLD] = (
            math.floor(smallest_ratio * BELOW * DECIMALS) / DECIMALS or smallest_ratio / 2
        )
    smallest_total = min(one.total for one in missed)
    if smallest_total < own.minimum:
        change[VACUUM_MIN_VECTOR_NUMBER] = float(max(LOWEST_MINIMUM, smallest_total))
    return change


def _needed_bytes(rewritten: Sequence[SegmentSeen], segments: Sequence[SegmentSeen]) -> dict[str, int]:
    """Return the free disk that rewriting these takes on each peer, were it all at once."""
    usual_bytes = _usual_bytes(segments)
    needed: dict[str, int] = {}
    for one in rewritten:
        folder_bytes = FOLDER_FACTOR * _raw_bytes(one, usual_bytes) + FOLDER_BYTES
        needed[one.peer] = needed.get(one.peer, 0) + math.ceil(SERVER_FACTOR * folder_bytes)
    return needed


def _usual_bytes(segments: Sequence[SegmentSeen]) -> float:
    """Return what a live point holds; 0 where there is none."""
    live = sum(one.live for one in segments)
    return sum(one.vector_bytes + one.payload_bytes for one in segments) / live if live else 0.0


def _raw_bytes(segment: SegmentSeen, usual_bytes: float) -> float:
    """Return what a segment's points hold, also the deleted ones. `usual_bytes`: of a point elsewhere."""
    if segment.live == 0:
        return usual_bytes * segment.total
    return (segment.vector_bytes + segment.payload_bytes) * segment.total / segment.live


def _share(segment: SegmentSeen) -> str:
    return f"{segment.ratio:.1%} of {segment.total:,} points are deleted"


def _share_of_worst(segment: SegmentSeen) -> str:
    """Say why the thresholds take one that nobody asked for."""
    gone = {name: indexed - there for name, (there, indexed) in segment.vectors.items() if indexed > there}
    worst = max(gone, key=lambda name: gone[name] / segment.vectors[name][1], default=None)
    if worst is None or gone[worst] / segment.vectors[worst][1] <= segment.ratio:
        return _share(segment)
    named = f"vector {worst}" if worst else "the vector"
    return f"{gone[worst]:,} of {segment.vectors[worst][1]:,} indexed entries of {named} are gone"
