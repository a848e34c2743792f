"""The servers that a set is restored into: looked at, written to, asked again. Nothing is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exporter.backup.calling import Limits, again, patiently
from exporter.backup.restoring.words import PeerSeen, ShardUpload, TargetSeen
from exporter.backup.survey import PeerAt, PeerView, Survey, look
from exporter.clock import Clock
from exporter.errors import SourceError
from exporter.printable import printable
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked
from exporter.qdrant.keeping import Placement

WORKING = "working"
# A collection that is being made is there, and cannot be described before it is whole (seen on 1.18.3).
DESCRIBING_TRIES = 5
# The least that anybody's disk and network do, for limits that grow with what is moved.
SLOWEST_BYTES_PER_SECOND = 5 << 20


@dataclass(frozen=True, slots=True)
class RestoreLimits:
    """How long a restore waits for what, in seconds. The defaults are for real servers."""

    calls: Limits = field(default_factory=Limits)
    write: float = 120.0  # a cluster that makes shards on ten peers agrees on them one by one
    index: float = 3_600.0  # the segments have it already, as a rule; else it is built
    count: float = 300.0  # exact, of all points
    look: float = 1.0  # between two looks at replicas
    still: float = 60.0  # without a change where nothing moves: it will not come right any more
    moving: float = 600.0  # without a change where something moves, and more where much does
    stall: float = 60.0  # without a byte of an upload sent
    answer: float = 600.0  # to an upload, and more where it is large: it is unpacked and loaded


class Target:
    """A collection on its servers. The first peer is told what is to be done; all are asked what is."""

    def __init__(
        self, name: str, *, peers: Sequence[PeerAt], clock: Clock, limits: RestoreLimits | None = None
    ) -> None:
        self.name = name
        self.peers = tuple(peers)
        self.limits = limits or RestoreLimits()
        self._clock = clock

    async def look(self) -> TargetSeen:
        """Return what there is. Raises nothing: a peer that fails is among the troubles."""
        for _ in range(DESCRIBING_TRIES):
            seen = target_seen(await look(self.peers, self.name, self._clock, self.limits.calls))
            if not seen.exists or seen.description is not None:
                break
            await asyncio.sleep(self.limits.look)
        return seen

    async def do(self, asked: Asked, seconds: float | None = None) -> bytes:
        """Send a request that writes, once. Raises SourceError."""
        return await self.peers[0].courier.call(asked, deadline_seconds=seconds or self.limits.write)

    async def do_surely(self, asked: Asked, seconds: float | None = None) -> bytes:
        """Send a request that may be sent twice, until there is an answer. Raises SourceError."""
        return await again(lambda: self.do(asked, seconds), self.limits.calls)

    async def ask(self, asked: Asked) -> bytes:
        """Ask the first peer. Raises SourceError."""
        return await patiently(self.peers[0].courier, asked, self.limits.calls)

    async def places(self) -> Places:
        """Ask every peer where the replicas are and what they hold; one that fails is among the silent."""
        answers = await asyncio.gather(*(self._place(peer) for peer in self.peers))
        said = {peer.label: answer for peer, answer in zip(self.peers, answers, strict=True)}
        return Places(
            said={label: answer for label, answer in said.items() if isinstance(answer, Placement)},
            silent={label: str(answer) for label, answer in said.items() if isinstance(answer, SourceError)},
        )

    async def counts(self, key: str | int | None) -> dict[str, int]:
        """Count all points exactly, or those of a shard key, by each peer's word. Raises SourceError."""
        asked = keeping.count(self.name, key)

        async def ask(peer: PeerAt) -> int:
            call = peer.courier.call
            answer = await again(lambda: call(asked, deadline_seconds=self.limits.count), self.limits.calls)
            return keeping.read_count(answer)

        found = await asyncio.gather(*(ask(peer) for peer in self.peers))
        return {peer.label: count for peer, count in zip(self.peers, found, strict=True)}

    def peer(self, label: str) -> PeerAt:
        """Return a peer by its label."""
        return next(peer for peer in self.peers if peer.label == label)

    def moving_seconds(self, uploads: Sequence[ShardUpload]) -> float:
        """Return how long nothing may change while a replica is made of another."""
        largest = max((upload.size_bytes for upload in uploads), default=0)
        return self.limits.moving + largest / SLOWEST_BYTES_PER_SECOND

    def answer_seconds(self, upload: ShardUpload) -> float:
        """Return how long the server may take from the last byte of an upload to its answer."""
        return self.limits.answer + upload.size_bytes / SLOWEST_BYTES_PER_SECOND

    async def _place(self, peer: PeerAt) -> Placement | SourceError:
        asked = keeping.placement(self.name)
        try:
            answer = await peer.courier.call(asked, deadline_seconds=self.limits.calls.call_seconds)
            return keeping.read_placement(answer)
        except SourceError as error:
            return error


@dataclass(frozen=True, slots=True)
class Places:
    """One look at all peers."""

    said: Mapping[str, Placement]  # by label
    silent: Mapping[str, str]  # why, by label

    @property
    def labels(self) -> dict[int, str]:
        """Label by peer id."""
        return {placement.peer_id: label for label, placement in self.said.items()}

    @property
    def nodes(self) -> tuple[int, ...]:
        """Ids of the peers, ascending."""
        return tuple(sorted(self.labels))


def target_seen(survey: Survey) -> TargetSeen:
    """Return what a survey says of the target and its servers. Pure."""
    members = frozenset(peer for view in survey.views for peer in view.cluster.peers)
    troubles = [f"{missing.label} does not answer: {missing.reason}" for missing in survey.missing]
    for view in survey.views:
        troubles += _consensus_troubles(view, members)
    answering = {view.peer_id for view in survey.views}
    if members and not survey.missing and (unknown := members - answering):
        ids = ", ".join(str(peer) for peer in sorted(unknown))
        troubles.append(f"the cluster has peers whose URL is not given, and all are needed: {ids}")
    if not survey.views and not survey.missing:
        troubles.append("no peer is given")
    return TargetSeen(
        name=survey.collection,
        peers=tuple(PeerSeen(view.label, view.version, view.peer_id) for view in survey.views),
        troubles=tuple(troubles),
        members=members,
        collections=frozenset(name for view in survey.views for name in view.collections),
        aliases={alias: behind for view in survey.views for alias, behind in view.aliases.items()},
        exists=survey.exists or any(survey.collection in view.collections for view in survey.views),
        description=survey.described,
        holders=frozenset(view.placement.peer_id for view in survey.views if view.placement is not None),
    )


def _consensus_troubles(view: PeerView, members: frozenset[int]) -> list[str]:
    """Say why nothing can be made by way of this peer, or why it is no peer of the others."""
    status = view.cluster
    if not members:
        return []
    if view.peer_id is None or frozenset(status.peers) != members:
        return [f"{view.label} is not in the same cluster as the others"]
    thread = status.consensus_thread_status
    if thread is not None and thread.consensus_thread_status not in ("", WORKING):
        return [f"consensus stands still on {view.label}: {printable(thread.consensus_thread_status)}"]
    if status.raft_info is not None and not status.raft_info.leader:
        return [f"{view.label} knows no leader: the cluster cannot agree on anything now"]
    return []
