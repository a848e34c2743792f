"""What the optimizers of a collection do on every peer, and whether all of them are at rest.

Each peer is asked itself, by a call that it answers from what it knows. Only what waits in a queue is
asked of one peer for all: since 1.17 one that green does not show (seen for some milliseconds after a
PATCH). Nothing is decided here but what quiet means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exporter.backup.calling import Limits, patiently
from exporter.backup.survey import PeerAt
from exporter.errors import SourceError
from exporter.printable import printable
from exporter.qdrant import kept_segments
from exporter.qdrant.kept_segments import CANCELLED, DONE, ERROR, RUNNING, SegmentsRead, ShardRead
from exporter.qdrant.versions import parse_version, supports

__all__ = ["CANCELLED", "DONE", "ERROR", "RUNNING", "Optimizing", "PeerWork", "RunSeen", "SegmentSeen"]

READ_AT_ONCE = 100  # collections of a sweep, a few milliseconds, before others have their turn
YELLOW = "yellow"
GREY = "grey"
# A proxy in place of a segment that is rebuilt or snapshotted; its numbers are of both.
SPECIAL = "special"


@dataclass(frozen=True, slots=True)
class SegmentSeen:
    """A segment of a replica."""

    peer: str  # label
    shard: int
    uuid: str | None  # since 1.17
    kind: str  # plain, indexed or SPECIAL
    live: int  # points
    deleted: int  # points
    vector_bytes: int  # of the live points
    payload_bytes: int
    vectors: Mapping[str, tuple[int, int]]  # by vector name: how many are there, how many the index holds

    @property
    def total(self) -> int:
        """Points, the deleted ones included."""
        return self.live + self.deleted

    @property
    def ratio(self) -> float:
        """Share of its points that are deleted, 0 to 1."""
        return self.deleted / self.total if self.total else 0.0

    @property
    def reclaimable_bytes(self) -> float:
        """Bytes a rebuild would free, as the metric of that name: deleted ÷ live × (vectors + payload).

        The server's sizes are of live points, so a segment without any counts 0.
        """
        if self.live <= 0:
            return 0.0
        return self.deleted / self.live * (self.vector_bytes + self.payload_bytes)

    @property
    def worst_ratio(self) -> float:
        """The larger of `ratio` and of what any vector's index holds in vain: a vacuum goes by both."""
        in_vain = ((held - there) / held for there, held in self.vectors.values() if held)
        return max([self.ratio, *in_vain])


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run of an optimizer on one replica."""

    peer: str  # label
    shard: int
    uuid: str  # the same at every look
    name: str  # vacuum, indexing, merge, ...
    outcome: str  # RUNNING, DONE, CANCELLED or ERROR
    detail: str  # the server's words where it was cancelled or failed
    segments: tuple[str, ...]  # uuids, since 1.17
    started_at: str  # RFC 3339


@dataclass(frozen=True, slots=True)
class PeerWork:
    """One peer that answered."""

    label: str
    version: str
    node: int | None  # its id in the cluster; None without one
    has_it: bool  # it knows the collection; where not, all below is empty
    uuid: str | None
    config: Mapping[str, Any]  # optimizer_config, as this peer knows it
    statuses: Mapping[int, str]  # of its own replicas, by shard
    unloaded: tuple[int, ...]  # shards whose replica here did not load
    replicas: Mapping[int, Mapping[int, str]]  # state by shard, then by node, as this peer knows it
    queue_length: int | None  # updates that wait, over its replicas; None: one of them does not say
    snapshots_running: int | None
    recoveries_running: int | None
    transfers: int
    resharding: bool
    optimizer_error: str | None
    segments: tuple[SegmentSeen, ...]
    runs: tuple[RunSeen, ...]  # newest first, shard by shard


@dataclass(frozen=True, slots=True)
class Optimizing:
    """All peers at one moment."""

    collection: str
    peers: tuple[PeerWork, ...]  # that answered, in the order in which they were given
    silent: Mapping[str, str]  # why, by the label of a peer that did not answer
    queued: int | None  # optimizations that wait, over all replicas; None: nobody could say

    @property
    def holders(self) -> tuple[PeerWork, ...]:
        """The peers that have the collection."""
        return tuple(peer for peer in self.peers if peer.has_it)

    @property
    def exists(self) -> bool:
        """A peer that answered has it."""
        return bool(self.holders)

    @property
    def is_gone(self) -> bool:
        """All answered, and nobody has it. One alone proves nothing: who joins a cluster has none yet."""
        return bool(self.peers) and not self.silent and not self.exists

    @property
    def uuid(self) -> str | None:
        """The collection's; None where the server tells none."""
        return next((peer.uuid for peer in self.holders if peer.uuid is not None), None)

    @property
    def running(self) -> tuple[RunSeen, ...]:
        """The runs that have not ended."""
        return tuple(run for run in self.runs if run.outcome == RUNNING)

    @property
    def runs(self) -> tuple[RunSeen, ...]:
        """All runs that the logs hold."""
        return tuple(run for peer in self.peers for run in peer.runs)

    @property
    def segments(self) -> tuple[SegmentSeen, ...]:
        """All segments of all replicas."""
        return tuple(segment for peer in self.peers for segment in peer.segments)

    @property
    def statuses(self) -> frozenset[str]:
        """The statuses of all replicas that were seen."""
        return frozenset(status for peer in self.peers for status in peer.statuses.values())

    @property
    def is_grey(self) -> bool:
        """A replica has something to optimize and nobody triggered it, as after a restart."""
        return GREY in self.statuses

    @property
    def unseen(self) -> tuple[int, ...]:
        """Nodes with a replica on them that nobody was asked for: their URL was not given."""
        asked = {peer.node for peer in self.peers}
        if None in asked or self.silent:
            return ()  # no cluster, or one of the silent may be it
        known = {node for peer in self.holders for states in peer.replicas.values() for node in states}
        return tuple(sorted(known - {node for node in asked if node is not None}))

    @property
    def is_quiet(self) -> bool:
        """A PATCH cancels nothing: all peers answer, nothing runs or waits, and no replica is yellow.

        What is grey, or stopped by an error, waits for somebody's PATCH and for nothing else, so its queue
        counts as none. One look is no proof: two, some seconds apart, are.
        """
        return not self.why_not_quiet

    @property
    def why_not_quiet(self) -> str:
        """What stands against `is_quiet`, for people; "" where it is."""
        return next(self._unrest(), "")

    def values_of(self, field: str) -> frozenset[float | None]:
        """What the peers say of a field of the optimizer's settings: more than one while one lags behind."""
        return frozenset(number_of(peer.config.get(field)) for peer in self.holders)

    def _unrest(self) -> Iterator[str]:
        if not self.peers and not self.silent:
            yield "no peer is given"
        for label, reason in self.silent.items():
            yield f"{printable(label)} does not answer: {reason}"
        if self.unseen:
            yield f"replicas lie on peers whose URL is not given: {', '.join(map(str, self.unseen))}"
        for run in self.running:
            yield f"{printable(run.name)} runs on {printable(run.peer)}, shard {run.shard}"
        for peer in self.peers:
            for shard, status in peer.statuses.items():
                if status == YELLOW:
                    yield f"shard {shard} is yellow on {printable(peer.label)}"
        # after an error, as for want of disk, what waits is not begun (single/disk_full in the recordings)
        stopped = self.is_grey or any(peer.optimizer_error for peer in self.peers)
        if self.queued and not stopped:
            yield f"{self.queued} optimizations wait"
        if self.queued is None and any(tells_queue(peer.version) for peer in self.holders):
            yield "no peer says what waits to be optimized"


def number_of(value: Any) -> float | None:
    """Return a number of the server's settings; None where it is unset, or no number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None


async def optimizing(peers: Sequence[PeerAt], collection: str, limits: Limits) -> Optimizing:
    """Ask every peer, all at once. A peer that fails is silent, with the reason; nothing is raised."""
    answers = await asyncio.gather(*(_of_peer(peer, collection, limits) for peer in peers))
    silent = {
        peer.label: str(answer)
        for peer, answer in zip(peers, answers, strict=True)
        if isinstance(answer, SourceError)
    }
    works = tuple(answer for answer in answers if isinstance(answer, PeerWork))
    queued = None if silent else await _queued(peers, works, collection, limits)
    return Optimizing(collection, works, silent, queued)


async def sweep(
    peers: Sequence[PeerAt], limits: Limits, keep: Callable[[SegmentSeen], bool]
) -> dict[str, Optimizing]:
    """Look at all collections, by one call to each peer, one after the other: answers may be large.

    Of each there are the segments to keep, and who holds which replica in what state; no settings, no runs
    and no queue. A peer that fails is silent; nothing is raised.
    """
    works: dict[str, list[PeerWork]] = {}
    silent: dict[str, str] = {}
    for peer in peers:
        try:
            answer = await patiently(peer.courier, kept_segments.segments(), limits)
            for number, (name, read) in enumerate(kept_segments.read_every(answer)):
                work = work_of(peer.label, read)
                kept = tuple(filter(keep, work.segments))
                works.setdefault(name, []).append(replace(work, config={}, segments=kept, runs=()))
                if not number % READ_AT_ONCE:
                    await asyncio.sleep(0)
        except SourceError as error:
            silent[peer.label] = str(error)
    return {name: Optimizing(name, tuple(held), silent, None) for name, held in works.items()}


async def _of_peer(peer: PeerAt, collection: str, limits: Limits) -> PeerWork | SourceError:
    try:
        answer = await patiently(peer.courier, kept_segments.segments(), limits)
        return work_of(peer.label, kept_segments.read_segments(answer, collection))
    except SourceError as error:
        return error


async def _queued(
    peers: Sequence[PeerAt], works: Sequence[PeerWork], collection: str, limits: Limits
) -> int | None:
    """Ask the peers, one after the other, for what waits on all of them; None where nobody can say."""
    able = {work.label for work in works if work.has_it and tells_queue(work.version)}
    asked = kept_segments.optimizations(collection)
    for peer in peers:
        if peer.label in able:
            try:
                answer = await peer.courier.call(asked, deadline_seconds=limits.hello_seconds)
                return kept_segments.read_optimizations(answer)
            except SourceError:
                continue
    return None


def tells_queue(version: str) -> bool:
    """Whether a server of this version can say what waits to be optimized."""
    return supports(parse_version(version), "optimizations")


def work_of(label: str, read: SegmentsRead) -> PeerWork:
    """Say what one peer's answer means. Pure."""
    found = read.collection
    shards = () if found is None else found.shards
    lengths = [shard.queue_length for shard in shards if shard.loaded]
    return PeerWork(
        label=label,
        version=read.version,
        node=read.node,
        has_it=found is not None,
        uuid=None if found is None else found.uuid,
        config={} if found is None else found.config,
        statuses={shard.shard: shard.status for shard in shards if shard.status and shard.loaded},
        unloaded=tuple(shard.shard for shard in shards if shard.local and not shard.loaded),
        replicas={shard.shard: shard.replicas for shard in shards},
        queue_length=None if None in lengths else sum(length or 0 for length in lengths),
        snapshots_running=None if found is None else found.snapshots_running,
        recoveries_running=None if found is None else found.recoveries_running,
        transfers=0 if found is None else found.transfers,
        resharding=found is not None and found.resharding,
        optimizer_error=next((shard.optimizer_error for shard in shards if shard.optimizer_error), None),
        segments=tuple(_segments(label, shards)),
        runs=tuple(_runs(label, shards)),
    )


def _segments(label: str, shards: Iterable[ShardRead]) -> Iterator[SegmentSeen]:
    for shard in shards:
        for one in shard.segments:
            yield SegmentSeen(
                peer=label,
                shard=shard.shard,
                uuid=one.uuid,
                kind=one.kind,
                live=one.live,
                deleted=one.deleted,
                vector_bytes=one.vector_bytes,
                payload_bytes=one.payload_bytes,
                vectors=one.vectors,
            )


def _runs(label: str, shards: Iterable[ShardRead]) -> Iterator[RunSeen]:
    for shard in shards:
        for run in shard.runs:
            yield RunSeen(
                peer=label,
                shard=shard.shard,
                uuid=run.uuid,
                name=run.name,
                outcome=run.outcome,
                detail=run.detail,
                segments=run.segments,
                started_at=run.started_at,
            )
