"""Thresholds of a collection changed for a while: the intent is written first, then the server is asked.

Whoever is killed after that leaves an intent, and putting_back.py needs no more than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exporter.backup import layout
from exporter.backup.calling import Limits
from exporter.backup.intents import owner
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.backup.thresholds.intents import due, of_another, open_intents
from exporter.backup.thresholds.optimizing import Optimizing, number_of, optimizing
from exporter.backup.thresholds.patching import Patched, patch
from exporter.backup.words import FieldChange, Purpose, ThresholdIntent
from exporter.clock import Clock
from exporter.errors import JobDenied, JobError, JobRefused
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant.versions import Version, default_indexing_threshold_kb, parse_version

log = get_logger()

DELETED_THRESHOLD = "deleted_threshold"
VACUUM_MIN_VECTOR_NUMBER = "vacuum_min_vector_number"
INDEXING_THRESHOLD = "indexing_threshold"

# Of every version from 1.9 to 1.19; both are always there in a collection's settings.
DEFAULT_DELETED_THRESHOLD = 0.2
DEFAULT_VACUUM_MIN_VECTOR_NUMBER = 1_000.0


@dataclass(frozen=True, slots=True)
class _Ground:
    """Where it is done."""

    shelf: Shelf
    peers: Sequence[PeerAt]
    clock: Clock
    limits: Limits


async def change(
    shelf: Shelf,
    peers: Sequence[PeerAt],
    *,
    cluster: str,
    collection: str,
    purpose: Purpose,
    wanted: Mapping[str, float],
    clock: Clock,
    limits: Limits,
) -> ThresholdIntent:
    """Set fields of a collection's `optimizers_config`, and return the intent that is open from now on.

    The caller holds the collection's lock. What an earlier run left changed is taken over: its values are
    put back in the end, and not those that it set. Raises JobRefused where something runs or waits, or the
    peers disagree: a PATCH would cancel it. Raises JobDenied, and JobError where the server refuses (the
    intent is closed again) or where nobody can say what became of it (it stays open). Raises StoreError.
    """
    ground = _Ground(shelf, peers, clock, limits)
    seen = await _quiet(ground, collection)
    earlier = await open_intents(shelf, cluster=cluster, collection=collection)
    for gone in of_another(earlier, seen.uuid):
        await shelf.close_thresholds(gone.id)
        earlier.remove(gone)
    intent = ThresholdIntent(
        id=layout.new_id(clock.now()),
        cluster=cluster,
        collection=collection,
        uuid=seen.uuid,
        purpose=purpose,
        opened_at=clock.now(),
        owner=owner(),
        changes=changes_for(wanted, seen, earlier),
    )
    await shelf.save_thresholds(intent)
    try:
        seen = await _as_it_was(ground, seen)
    except JobRefused:
        await shelf.close_thresholds(intent.id)  # nothing was sent, and those from before are still there
        raise
    await _set(ground, intent, seen, wanted)
    for taken_over in earlier:
        await shelf.close_thresholds(taken_over.id)
    log.info("thresholds.changed", collection=printable(collection), intent=intent.id, fields=dict(wanted))
    return intent


async def intent_for_new(
    shelf: Shelf,
    *,
    cluster: str,
    collection: str,
    purpose: Purpose,
    wanted: Mapping[str, float],
    config: Mapping[str, Any],
    version: str,
    clock: Clock,
) -> ThresholdIntent:
    """Write down that a collection is about to be created with fields other than its own, and return that.

    The collection does not exist. `config` is the `optimizer_config` that it is to have in the end, and
    `version` the server's: what is unset is put back to that version's default. `bound` adds the uuid once
    there is one. Raises StoreError, and JobError where a field has no default that we know.
    """
    earlier = await open_intents(shelf, cluster=cluster, collection=collection)
    changes = tuple(
        _change(field, put, number_of(config.get(field)), parse_version(version))
        for field, put in wanted.items()
    )
    now = clock.now()
    intent = ThresholdIntent(layout.new_id(now), cluster, collection, None, purpose, now, owner(), changes)
    await shelf.save_thresholds(intent)
    for gone in earlier:  # of a collection of that name that is not there any more
        await shelf.close_thresholds(gone.id)
    return intent


async def bound(shelf: Shelf, intent: ThresholdIntent, uuid: str | None) -> ThresholdIntent:
    """Keep which collection an intent is of, once it is created. Raises StoreError."""
    known = replace(intent, uuid=uuid)
    await shelf.save_thresholds(known)
    return known


def default_of(field: str, version: Version | None) -> float:
    """Return what a field that is unset means to a server. Raises JobError for one that we do not know."""
    if field == DELETED_THRESHOLD:
        return DEFAULT_DELETED_THRESHOLD
    if field == VACUUM_MIN_VECTOR_NUMBER:
        return DEFAULT_VACUUM_MIN_VECTOR_NUMBER
    if field == INDEXING_THRESHOLD:
        return float(default_indexing_threshold_kb(version))
    raise JobError(f"{printable(field)} is unset, and what it means then is not known: it stays as it is")


def changes_for(
    wanted: Mapping[str, float], seen: Optimizing, earlier: Sequence[ThresholdIntent]
) -> tuple[FieldChange, ...]:
    """Say what is changed and what is put back for it. Pure.

    A field that an earlier intent changed, and that still has that value, goes back to what it was before
    that one; also where it is not wanted now. Raises JobRefused where the peers disagree about a field.
    """
    version = min(filter(None, (parse_version(peer.version) for peer in seen.holders)), default=None)
    before = due(earlier)
    changes = []
    for field in dict.fromkeys((*wanted, *before)):
        values = seen.values_of(field)
        if len(values) != 1:
            raise JobRefused(f"{printable(seen.collection)}: the peers disagree about {field}; try again")
        (value,) = values
        known = before.get(field)
        if known is not None and known.is_put(value) and not known.is_back(value):
            assert value is not None  # is_put says so
            changes.append(FieldChange(field, known.was, wanted.get(field, value), known.back))
        elif field in wanted:
            changes.append(_change(field, wanted[field], value, version))
    return tuple(changes)


def _change(field: str, put: float, was: float | None, version: Version | None) -> FieldChange:
    return FieldChange(field, was, put, default_of(field, version) if was is None else was)


async def _quiet(ground: _Ground, collection: str) -> Optimizing:
    seen = await optimizing(ground.peers, collection, ground.limits)
    name = printable(collection)
    if seen.is_gone:
        raise JobError(f"there is no collection {name}")
    if seen.why_not_quiet:
        raise JobRefused(f"{name}: its settings are not changed now: {seen.why_not_quiet}")
    return seen


async def _as_it_was(ground: _Ground, before: Optimizing) -> Optimizing:
    """Look again: writing the intent took its time."""
    seen = await _quiet(ground, before.collection)
    if seen.uuid != before.uuid or any(one.config != before.holders[0].config for one in seen.holders):
        name = printable(before.collection)
        raise JobRefused(f"{name}: somebody changes its settings at the same time; nothing was done")
    return seen


async def _set(
    ground: _Ground, intent: ThresholdIntent, seen: Optimizing, wanted: Mapping[str, float]
) -> None:
    """Send the PATCH, and wait until all peers have it."""
    peers = {peer.label: peer for peer in ground.peers}
    sent = await patch(
        [peers[holder.label] for holder in seen.holders],
        intent.collection,
        wanted,
        limits=ground.limits,
        clock=ground.clock,
    )
    name = printable(intent.collection)
    if sent.outcome is Patched.REFUSED:
        await ground.shelf.close_thresholds(intent.id)
        kind = JobDenied if sent.denied else JobError
        raise kind(f"{name}: the server does not take other thresholds: {sent.reason}")
    if sent.outcome is Patched.UNSEEN:
        await ground.shelf.save_thresholds(replace(intent, unseen_at=ground.clock.now()))
        raise JobError(f"{name}: other thresholds were asked for, and are not seen: {sent.reason}")
