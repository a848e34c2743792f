"""What a backup has left on the servers, or may have: written down first, and cleared up by the next run.

A snapshot is ours where the server told us its name, or where exactly one appeared on that peer since we
listed them, at about the time at which we asked. Whatever else lies there is somebody else's: it is
reported and never deleted.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from exporter.backup import snapshotting
from exporter.backup.calling import Limits, patiently
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.backup.words import BackupIntent, PeerIntent
from exporter.errors import JobError, SourceError
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant import keeping
from exporter.qdrant.kept import SnapshotDescription

log = get_logger()


class PeerGone(JobError):
    """Its cluster does not know the peer any more: what lay on it is out of reach for good."""


def owner() -> str:
    """Name this process, for people."""
    return f"{socket.gethostname()} process {os.getpid()}"


class IntentBook:
    """The intent of one run, kept in the store from before the first request to after the last deletion."""

    def __init__(self, shelf: Shelf, intent: BackupIntent) -> None:
        self._shelf = shelf
        self._intent = intent

    @property
    def named(self) -> dict[str, str]:
        """The snapshots of ours that lie on the servers, by the peer's label."""
        return {one.peer: one.name for one in self._intent.peers if one.name is not None}

    async def asks(self, peer: PeerIntent) -> None:
        """Write down that a snapshot is about to be asked for."""
        await self._save((*self._intent.peers, peer))

    async def got(self, label: str, name: str) -> None:
        """Write down what ours is called."""
        peers = (replace(one, name=name) if one.peer == label else one for one in self._intent.peers)
        await self._save(peers)

    async def is_gone(self, label: str) -> None:
        """Write down that nothing of ours is on a peer."""
        await self._save(one for one in self._intent.peers if one.peer != label)

    async def close(self) -> None:
        """Forget the intent, unless something of it may still be there."""
        if not self._intent.peers:
            await self._shelf.close_intent(self._intent.id)

    async def _save(self, peers: Iterable[PeerIntent]) -> None:
        self._intent = replace(self._intent, peers=tuple(peers))
        await self._shelf.save_intent(self._intent)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What became of the intents that were open."""

    deleted: tuple[str, ...] = ()  # snapshots of ours that a run left behind
    unclaimed: tuple[str, ...] = ()  # that might be ours: reported, left alone
    open: tuple[str, ...] = ()  # why an intent stays open


async def reconcile(
    shelf: Shelf, peers: Sequence[PeerAt], *, cluster: str, collection: str, limits: Limits | None = None
) -> Reconciled:
    """Clear up what earlier runs left of a collection's snapshots on the servers.

    The caller holds the collection's lock, so that no run of its intents is alive. A peer that does not
    answer, or still takes a snapshot, keeps its intent open for the next time; one that left the cluster
    does not. Raises StoreError.
    """
    limits = limits or Limits()
    result = Reconciled()
    for intent in await shelf.intents():
        if (intent.cluster, intent.collection) == (cluster, collection):
            result = await _cleared(shelf, intent, peers, limits, result)
    return result


async def _cleared(
    shelf: Shelf, intent: BackupIntent, peers: Sequence[PeerAt], limits: Limits, result: Reconciled
) -> Reconciled:
    left: list[PeerIntent] = []
    reasons: list[str] = []
    for part in intent.peers:
        try:
            done = await _cleared_on_peer(intent, part, peers, limits)
        except SourceError as error:
            done = Reconciled(open=(f"{printable(part.peer)}: {error}",))
        if done.open:
            left.append(part)
            reasons += done.open
        result = Reconciled(
            result.deleted + done.deleted, result.unclaimed + done.unclaimed, result.open + done.open
        )
    if left:
        log.warning("intent.kept", set_id=intent.id, collection=printable(intent.collection), reasons=reasons)
        await shelf.save_intent(replace(intent, peers=tuple(left)))
    else:
        await shelf.close_intent(intent.id)
    return result


async def _cleared_on_peer(
    intent: BackupIntent, part: PeerIntent, peers: Sequence[PeerAt], limits: Limits
) -> Reconciled:
    try:
        peer = await _the_peer(part, peers, limits)
    except PeerGone:
        name = printable(part.name or "")
        log.warning("snapshot.unclaimed", peer=printable(part.peer), snapshot=name, reason="left the cluster")
        return Reconciled()
    if peer is None:
        return Reconciled(open=(f"{printable(part.peer)} is not among the peers that answer",))
    if part.name is None and await snapshotting.running(peer, intent.collection, limits):
        return Reconciled(open=(f"{printable(part.peer)} still takes a snapshot",))
    there = await snapshotting.listed(peer, intent.collection, limits)
    ours = claimed(part, there, intent.collection)
    if len(ours) > 1:
        names = tuple(one.name for one in ours)
        for name in names:
            log.warning("snapshot.unclaimed", peer=printable(part.peer), snapshot=printable(name))
        return Reconciled(unclaimed=names)
    for one in ours:
        await snapshotting.delete(peer, intent.collection, one.name, limits)
    return Reconciled(deleted=tuple(one.name for one in ours))


def claimed(
    part: PeerIntent, there: Iterable[SnapshotDescription], collection: str
) -> list[SnapshotDescription]:
    """Return which snapshots on a peer are ours by its intent; of more than one, nobody can say which."""
    if part.name is not None:
        return [one for one in there if one.name == part.name]
    return snapshotting.new_ones(there, collection, part.listed, part.asked_at)


async def _the_peer(part: PeerIntent, peers: Sequence[PeerAt], limits: Limits) -> PeerAt | None:
    """Find a peer again: by its id, as its label may be another one here; by its label without a cluster.

    Raises SourceError where one that may be it does not answer, PeerGone where its cluster has it no more.
    """
    failure: SourceError | None = None
    members: set[int] = set()
    for peer in sorted(peers, key=lambda peer: peer.label != part.peer):
        try:
            answer = await patiently(
                peer.courier, keeping.cluster_status(), limits, deadline_seconds=limits.hello_seconds
            )
        except SourceError as error:
            failure = failure or error
            continue
        status = keeping.read_cluster_status(answer)
        if status.peer_id == part.peer_id and (status.peer_id is not None or peer.label == part.peer):
            return peer
        members |= set(status.peers)
    if members and part.peer_id is not None and part.peer_id not in members:
        raise PeerGone(f"{printable(part.peer)} left the cluster")
    if failure is not None:
        raise failure
    return None
