"""`backup prune` and `backup accept`: what is kept, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from exporter import exit_codes
from exporter.backup.calling import Limits
from exporter.backup.pruning import Line, Matter, Plan, Pruned, Pruning, Terms
from exporter.backup.words import StoredSet
from exporter.backup_verbs.documents import plan_document, set_document
from exporter.backup_verbs.opened import Chosen, Opened, cluster_of, opened, reached
from exporter.backup_verbs.showing import Showing, day, size
from exporter.clock import SystemClock
from exporter.config.settings import Settings
from exporter.errors import JobLocked, StoreFull
from exporter.jobs.bodies.means import collections_there


async def prune_now(
    settings: Settings,
    collections: Sequence[str],
    cluster: str | None,
    showing: Showing,
    *,
    dry_run: bool,
    vanished: bool,
) -> int:
    """Delete what is not kept, or only say so; return the exit code."""
    clock = SystemClock()
    async with opened(settings, clock) as it, _present(settings, cluster, vanished) as (name, present):
        terms = Terms(policy=settings.backup.retention, present=present, include_vanished=vanished)
        pruning = Pruning(it.shelf, name, terms, clock)
        if not dry_run:
            with suppress(StoreFull):  # which is what it is for
                await it.check()
        documents: list[dict[str, Any]] = []
        codes: list[int] = []
        for collection in collections or await pruning.collections():
            document, code = await _one(it, pruning, collection, showing, dry_run=dry_run)
            documents.append(document)
            codes.append(code)
    if showing.is_json:
        showing.document({"dryRun": dry_run, "collections": documents})
    elif not documents:
        showing.say(f"{it.store.name} has no backup of cluster {name}.")
    return _code(codes)


def _code(codes: Sequence[int]) -> int:
    """Return what all ended with; where they differ, that it went well in part."""
    if len(set(codes)) > 1:
        return exit_codes.PARTLY
    return codes[0] if codes else exit_codes.DONE


async def accept_now(settings: Settings, set_id: str, showing: Showing) -> int:
    """Note that a person says a set is right; return the exit code."""
    async with opened(settings, SystemClock()) as it:
        one = await it.found(Chosen(set_id=set_id, latest=None, cluster=None))
        await it.shelf.accept(one.manifest)
        one = await it.found(Chosen(set_id=set_id, latest=None, cluster=None))
    if showing.is_json:
        showing.document(set_document(one))
    else:
        showing.say(
            f"backup {one.manifest.id} of {one.manifest.collection} is accepted; prune goes on from it"
        )
    return exit_codes.DONE


@asynccontextmanager
async def _present(
    settings: Settings, cluster: str | None, vanished: bool
) -> AsyncIterator[tuple[str, frozenset[str] | None]]:
    """Yield the cluster's name and the collections it has now; None where a person does not ask for that."""
    if vanished and not settings.clusters:
        yield cluster or "default", None
        return
    chosen = cluster_of(settings, cluster)
    if vanished:
        yield chosen.name, None
        return
    async with reached(settings, chosen, SystemClock()) as peers:
        yield chosen.name, frozenset(await collections_there(peers, Limits()))


async def _one(
    it: Opened, pruning: Pruning, collection: str, showing: Showing, *, dry_run: bool
) -> tuple[dict[str, Any], int]:
    if dry_run:
        plan = await pruning.plan(collection)
        if not plan.lines:
            return _none(collection, showing)
        _show(plan, showing, dry_run=True)
        return plan_document(plan), exit_codes.DONE
    try:
        async with it.locks.freeing(pruning.cluster, collection):
            pruned = await pruning.prune(collection)
    except JobLocked as error:
        showing.warn(f"{collection}: {error}")
        return {"collection": collection, "error": str(error)}, exit_codes.LOCKED
    if not pruned.plan.lines:
        return _none(collection, showing)
    _show(pruned.plan, showing, dry_run=False)
    _show_ends(pruned, showing)
    document = plan_document(pruned.plan) | {
        "removed": list(pruned.removed),
        "freedBytes": pruned.freed_bytes,
        "errors": list(pruned.problems),
    }
    return document, exit_codes.PARTLY if pruned.problems or pruned.plan.stopped else exit_codes.DONE


def _none(collection: str, showing: Showing) -> tuple[dict[str, Any], int]:
    error = "there is no backup of it"
    showing.warn(f"{collection}: {error}")
    return {"collection": collection, "error": error}, exit_codes.NOTHING_FOUND


def _show(plan: Plan, showing: Showing, *, dry_run: bool) -> None:
    if showing.is_json:
        return
    showing.say(f"{plan.collection} (cluster {plan.cluster})")
    if plan.stopped:
        showing.say(f"  stands still: {plan.stopped}")
    goes = "would go" if dry_run else "goes"
    showing.table(
        ("id", "what", "ended", "size", "", "why"),
        [
            (
                line.id,
                _what(line),
                day(line.ended_at),
                size(line.size_bytes),
                "stays" if line.keep else goes,
                "; ".join(line.reasons),
            )
            for line in plan.lines
        ],
    )


def _what(line: Line) -> str:
    if not isinstance(line.thing, StoredSet):
        return line.matter.value
    kind = line.thing.manifest.kind.value
    return kind if line.matter is Matter.SET else f"{line.matter.value} {kind}"


def _show_ends(pruned: Pruned, showing: Showing) -> None:
    showing.say(f"  removed {len(pruned.removed)}, {size(pruned.freed_bytes)} freed")
    for problem in pruned.problems:
        showing.warn(f"  not removed: {problem}")
