"""When restored replicas are right: Active, holding what was sent, and nothing moving any more. Pure.

Right after an upload the other replicas of the shard may still say Active, with no points (seen for half a
second on 1.18.3): so one look proves nothing, two in a row do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.backup.restoring.target import Places
from exporter.backup.restoring.words import ReplicaSeen, ShardUpload
from exporter.errors import JobError
from exporter.qdrant.keeping import ACTIVE

LOOKS = 2


class NotProven(JobError):
    """What was restored is not what was backed up, and no waiting will make it so."""


def replicas(places: Places) -> tuple[ReplicaSeen, ...]:
    """Return all replicas as the peers that hold them say, by shard and peer."""
    found = [
        ReplicaSeen(one.shard_id, one.shard_key, placement.peer_id, one.state, one.points_count)
        for placement in places.said.values()
        for one in placement.local_shards
    ]
    return tuple(sorted(found, key=lambda one: (one.shard, one.peer_id)))


def is_moving(places: Places) -> bool:
    """Something is under way that may still change what there is."""
    return (
        bool(places.silent)
        or any(placement.shard_transfers or placement.resharding for placement in places.said.values())
        or any(state != ACTIVE for states in _states(places).values() for state in states)
    )


def transferring(places: Places) -> bool:
    """A replica is being copied."""
    return any(placement.shard_transfers for placement in places.said.values())


def progress(places: Places, found: Sequence[str]) -> tuple[int, ...]:
    """Return how far it is: what of this grows beyond all that was seen before is nearer to the end."""
    return (-len(found), sum(replica.points for replica in replicas(places)))


def problems(places: Places, uploads: Iterable[ShardUpload], *, points: bool = True) -> tuple[str, ...]:
    """Say what is not right yet; () when all is. `points` False: only places and states are looked at."""
    found = [f"{label} does not answer: {reason}" for label, reason in places.silent.items()]
    if transferring(places):
        found.append("replicas are being copied")
    by_shard: dict[int, list[ReplicaSeen]] = {}
    for replica in replicas(places):
        by_shard.setdefault(replica.shard, []).append(replica)
    states = _states(places)
    for upload in uploads:
        held = by_shard.get(upload.shard, [])
        found += _of_shard(upload, held, states, places.labels)
        if points:
            found += _of_points(upload, held, places.labels)
    return tuple(found)


def is_right(places: Places, upload: ShardUpload, *, was_uploaded: bool) -> bool:
    """Whether a shard need not be sent again: its points tell where an empty replica would have others."""
    if problems(places, [upload]):
        return False
    return was_uploaded or (upload.is_exact and upload.low != 0)


def _of_shard(
    upload: ShardUpload,
    held: Sequence[ReplicaSeen],
    states: Mapping[tuple[int, int], frozenset[str]],
    labels: Mapping[int, str],
) -> Iterator[str]:
    known = {node for shard, node in states if shard == upload.shard}
    if len(held) != upload.replicas or known != {replica.peer_id for replica in held}:
        yield f"shard {upload.shard} has {len(known)} replicas, and {upload.replicas} are due"
    for node in sorted(known):
        other = sorted(states[upload.shard, node] - {ACTIVE})
        if other:
            yield f"shard {upload.shard} is {' or '.join(other)} on {labels.get(node, node)}"


def _of_points(upload: ShardUpload, held: Sequence[ReplicaSeen], labels: Mapping[int, str]) -> Iterator[str]:
    for replica in held:
        if not upload.fits(replica.points):
            where = labels[replica.peer_id]
            yield f"shard {upload.shard} holds {replica.points:,} points on {where}, not {upload.wanted}"
    if len({replica.points for replica in held}) > 1:
        said = ", ".join(f"{replica.points:,} on {labels[replica.peer_id]}" for replica in held)
        yield f"the replicas of shard {upload.shard} differ: {said}"


def _states(places: Places) -> dict[tuple[int, int], frozenset[str]]:
    """Return what the peers say of each replica, by shard and peer id."""
    found: dict[tuple[int, int], set[str]] = {}
    for placement in places.said.values():
        for shard, states in placement.replicas.items():
            for node, state in states.items():
                found.setdefault((shard, node), set()).add(state)
    return {replica: frozenset(states) for replica, states in found.items()}
