"""What a set is worth: what was seen before and after, and what lies in the archives. Pure.

Complete is by shard: each shard of the layout lies in an archive of a peer whose replica was Active and
loaded before the first snapshot and after the last one. Nothing else makes a set complete, neither a good
answer of every peer nor the right number of points.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.backup.survey import Replica, ShardLayout, Survey
from exporter.backup.words import Archive, SetState, ShardCopy
from exporter.printable import printable


@dataclass(frozen=True, slots=True)
class Taken:
    """An archive that was stored, and what it says of itself."""

    archive: Archive
    uuid: str | None  # of the collection, in its config.json
    # Shards in it whose replica was not Active in that moment: one that was dead between two good looks.
    not_active: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of it."""

    state: SetState
    problems: tuple[str, ...]  # for people
    shards: tuple[ShardCopy, ...]
    moved: bool  # the layout changed meanwhile: another try may come out well


def judge(
    before: Survey, after: Survey, taken: Sequence[Taken], *, failures: Mapping[str, str] | None = None
) -> Judgement:
    """Say what a set is worth. `failures`: why there is no archive of a peer, by its label."""
    failures = failures or {}
    moved = tuple(differences(before, after, taken))
    shards = tuple(copy_of(layout, before, after, taken) for layout in before.shards)
    uncovered = tuple(_uncovered(shards, before, after))
    absent = tuple(_absent(before, after, failures))
    whole = SetState.DEGRADED if absent else SetState.COMPLETE
    state = SetState.INCOMPLETE if moved or uncovered else whole
    return Judgement(state, (*moved, *uncovered, *absent), shards, moved=bool(moved))


def differences(before: Survey, after: Survey, taken: Sequence[Taken] = ()) -> Iterator[str]:
    """Yield what changed while the snapshots were taken, so that they do not fit together."""
    if not after.exists:
        gone = (
            "the collection was deleted meanwhile"
            if after.views
            else "no peer answered after the last snapshot"
        )
        yield gone
        return
    uuids = {before.uuid, after.uuid, *(one.uuid for one in taken)} - {None}
    if len(uuids) > 1:
        yield "the collection was deleted and made anew meanwhile: its uuid changed"
    if before.resharding or after.resharding:
        yield "it is being resharded: points are moving from shard to shard"
    changes: tuple[tuple[str, object, object], ...] = (
        ("the shards", _shards(before), _shards(after)),
        ("the shard keys", before.keys, after.keys),
        ("the transfers of shards", before.transfers, after.transfers),
        ("the aliases", before.aliases, after.aliases),
    )
    yield from (f"{what} changed meanwhile" for what, old, new in changes if old != new)
    yield from _replicas_moved(before, after)
    if any(number < before.op_numbers.get(name, 0) for name, number in after.op_numbers.items()):
        yield "operations were counted anew meanwhile: a peer was restarted, or the collection made anew"


def copy_of(layout: ShardLayout, before: Survey, after: Survey, taken: Sequence[Taken]) -> ShardCopy:
    """Return the replica of a shard that counts, among those in the archives."""
    later = next((one for one in after.shards if one.shard == layout.shard), None)
    candidates = [
        (one.archive, old, new)
        for one in taken
        if any(held.shard == layout.shard for held in one.archive.shards)
        and layout.shard not in one.not_active
        and (old := layout.on(one.archive.peer)) is not None
        and later is not None
        and (new := later.on(one.archive.peer)) is not None
        and old.is_whole
        and new.is_whole
    ]
    nodes = tuple(replica.node for replica in layout.replicas) if before.in_cluster else ()
    if not candidates:
        return ShardCopy(layout.shard, layout.key, None, None, False, None, None, False, nodes)
    archive, old, new = max(candidates, key=_rank)
    settled = _is_settled(old, new)
    return ShardCopy(
        shard=layout.shard,
        key=layout.key,
        archive=archive.file,
        # the same number before and after may still hide a deletion and an insertion, so it is not `settled`
        points=old.points if old.points == new.points else None,
        settled=settled,
        points_before=old.points,
        points_after=new.points,
        counted=False,
        peer_ids=nodes,
    )


def _rank(candidate: tuple[Archive, Replica, Replica]) -> tuple[int, float, int]:
    """Order what could count: the most operations, then the latest snapshot, then the lowest peer id."""
    archive, _, new = candidate
    return (-1 if new.op_num is None else new.op_num, archive.began_at, -new.node)


def _is_settled(old: Replica, new: Replica) -> bool:
    """No operation came between the two looks. A server that numbers none, before 1.17, cannot say so.

    Nor can one that was started again meanwhile: it may have counted anew, up to the same number.
    """
    nothing_came = old.op_num is not None and old.op_num == new.op_num and old.started == new.started
    return nothing_came and old.points == new.points and not old.queue_length and not new.queue_length


def _shards(survey: Survey) -> tuple[int, ...]:
    return tuple(layout.shard for layout in survey.shards)


def _replicas_moved(before: Survey, after: Survey) -> Iterator[str]:
    """Yield the shards whose replicas are on other peers now. A state that changed is no move."""
    later = {layout.shard: _nodes(layout) for layout in after.shards}
    for layout in before.shards:
        if layout.shard in later and later[layout.shard] != _nodes(layout):
            yield f"shard {layout.shard} moved to another peer meanwhile, or got another number of replicas"


def _nodes(layout: ShardLayout) -> frozenset[int]:
    return frozenset(replica.node for replica in layout.replicas)


def _uncovered(shards: Iterable[ShardCopy], before: Survey, after: Survey) -> Iterator[str]:
    """Say of each shard that lies in no archive what its replicas were like."""
    for shard in shards:
        if shard.archive is None:
            words = sorted({word for survey in (before, after) for word in _words_of(shard.shard, survey)})
            known = f": {', '.join(words)}" if words else ""
            yield f"shard {shard.shard} lies in no archive that counts{known}"


def _words_of(shard: int, survey: Survey) -> Iterator[str]:
    layout = next((one for one in survey.shards if one.shard == shard), None)
    for replica in layout.replicas if layout is not None else ():
        if replica.peer is None:
            yield f"a replica on peer {replica.node}, which did not answer"
        elif not replica.is_whole:
            state = replica.state if replica.loaded else f"{replica.state}, not loaded"
            yield f"{printable(replica.peer)} {state}"


def _absent(before: Survey, after: Survey, failures: Mapping[str, str]) -> Iterator[str]:
    """Say which peers with a replica gave no archive."""
    for label, reason in failures.items():
        yield f"no archive of {printable(label)}: {reason}"
    reasons = {peer.label: peer.reason for survey in (after, before) for peer in survey.missing}
    without_answer = {
        replica.node
        for survey in (before, after)
        for layout in survey.shards
        for replica in layout.replicas
        if replica.peer is None
    }
    if without_answer:
        told = [f"{printable(label)}: {reason}" for label, reason in reasons.items() if label not in failures]
        peers = ", ".join(map(str, sorted(without_answer)))
        yield f"no answer of peer {peers}, which holds replicas" + (f" ({'; '.join(told)})" if told else "")
