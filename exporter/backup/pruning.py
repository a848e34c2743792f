"""Deleting what the retention does not keep. Whoever calls holds the collection's lock.

A plan says of everything of one collection why it stays or goes; carrying it out deletes that and nothing
else. Three steps, of which only the first is by the retention rules and stands still on suspicion:

    complete sets, by retention.py, unless guard.py doubts the newest;
    incomplete sets, after a day;
    fragments, which are folders without a manifest, after a day. That of an export goes with its record, a
    day after either last changed: until then the next run goes on from there.

Nothing is deleted of a collection that does not exist now, unless a person asks for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from enum import StrEnum

from exporter.backup import layout
from exporter.backup.guard import suspicious
from exporter.backup.retention import INCOMPLETE_SECONDS, Decision, decide, is_of_the_future
from exporter.backup.shelf import Contents, Fragment, Shelf, Unreadable
from exporter.backup.words import ExportRecord, RestoreState, SetState, StoredSet
from exporter.clock import Clock
from exporter.config.backup import RetentionSettings
from exporter.errors import JobError, JobLocked
from exporter.logs import get_logger
from exporter.printable import printable

log = get_logger()

# An open restore keeps its set for so long; one that nobody went on with for a week was given up.
RESTORE_SECONDS = 7 * 86_400.0
UNDER_WAY = "an export that is under way, or that the next one goes on with"


class Matter(StrEnum):
    """What a line of a plan is about."""

    SET = "set"
    INCOMPLETE = "incomplete"
    FRAGMENT = "fragment"
    UNREADABLE = "unreadable"  # its manifest cannot be read: never deleted


@dataclass(frozen=True, slots=True)
class Line:
    """One thing on the shelf, whether it stays, and why."""

    id: str
    matter: Matter
    keep: bool
    reasons: tuple[str, ...]
    size_bytes: int
    ended_at: float | None  # Unix seconds; None of what never ended
    thing: StoredSet | Fragment | Unreadable = field(repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with all that is stored of one collection."""

    cluster: str
    collection: str
    lines: tuple[Line, ...]  # sets newest first, then fragments
    stopped: str | None = None  # why no complete set goes, and what to do; None where nothing is doubted
    # Exports of which only the record goes on: given up a day ago, or a set by now.
    forgotten: tuple[str, ...] = ()

    @property
    def going(self) -> tuple[Line, ...]:
        """What goes, oldest first: should it be interrupted, the newer ones are there."""
        return tuple(line for line in reversed(self.lines) if not line.keep)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became of a plan."""

    plan: Plan
    removed: tuple[str, ...] = ()  # ids
    freed_bytes: int = 0
    problems: tuple[str, ...] = ()  # what could not be deleted


@dataclass(frozen=True, slots=True)
class Terms:
    """By what a cluster's shelf is pruned."""

    policy: RetentionSettings
    present: frozenset[str] | None  # collections that exist now; None: nobody knows
    include_vanished: bool = False  # a person says so
    zone: tzinfo = UTC  # of the calendar


@dataclass(frozen=True, slots=True)
class Pruning:
    """Prunes the sets of one cluster."""

    shelf: Shelf
    cluster: str
    terms: Terms
    clock: Clock

    async def collections(self) -> tuple[str, ...]:
        """Return the names of all collections of which something is stored, sorted. Raises StoreError.

        A name too long to be a folder's, of which no manifest or record tells it, is left out: nobody can
        lock it.
        """
        found = await self.shelf.contents(self.cluster)
        names = {one.manifest.collection for one in found.sets}
        names |= {record.collection for record in await self._exports()}
        parts = [fragment.place.collection for fragment in found.fragments]
        parts += [bad.place.collection for bad in found.unreadable]
        names |= {name for part in parts if layout.encoded(name := layout.named(part)) == part}
        return tuple(sorted(names))

    async def plan(self, collection: str) -> Plan:
        """Decide on all that is stored of a collection. Deletes nothing. Raises StoreError."""
        contents = await self.shelf.contents(self.cluster, collection)
        now = self.clock.now()
        in_use = {
            record.set_id
            for record in await self.shelf.restores()
            if record.state is RestoreState.OPEN and now - record.changed_at < RESTORE_SECONDS
        }
        ended = {one.manifest.id for one in contents.sets}
        records = [record for record in await self._exports() if record.collection == collection]
        under_way = {
            record.id
            for record in records
            if record.id not in ended and now - record.changed_at < INCOMPLETE_SECONDS
        }
        lines, stopped = plan_lines(contents, self.terms, now, spared=self._spared(collection))
        used = dict.fromkeys(in_use, "a restore of it is under way") | dict.fromkeys(under_way, UNDER_WAY)
        decided = tuple(_unless_in_use(lines, used))
        held = under_way | {line.id for line in decided if line.keep and line.matter is Matter.FRAGMENT}
        forgotten = tuple(record.id for record in records if record.id not in held)
        return Plan(self.cluster, collection, decided, stopped, forgotten)

    async def prune(self, collection: str) -> Pruned:
        """Delete what the plan does not keep. Raises StoreError where the shelf cannot be read."""
        return await self.carry_out(await self.plan(collection))

    async def carry_out(self, plan: Plan) -> Pruned:
        """Delete what goes by a plan made just now. What cannot be deleted is told, and the rest goes on."""
        removed: list[str] = []
        failed = await self._forget(plan.forgotten)
        freed_bytes = 0
        for line in plan.going:
            if line.id in failed:
                continue  # an export goes on where its record says, and would do so without its chunks
            try:
                await self._remove(line)
            except JobError as error:
                failed[line.id] = str(error)
            else:
                removed.append(line.id)
                freed_bytes += line.size_bytes
        problems = tuple(f"{one}: {reason}" for one, reason in failed.items())
        log.info(
            "prune.finished",
            qdrant_cluster=plan.cluster,
            collection=printable(plan.collection),
            removed=len(removed),
            freed_bytes=freed_bytes,
            problems=list(problems),
            stopped=plan.stopped,
        )
        return Pruned(plan, tuple(removed), freed_bytes, problems)

    async def make_room(
        self, holding: Callable[[str], AbstractAsyncContextManager[object]], *, held: str | None = None
    ) -> int:
        """Prune by the same rules before a backup that found no room; return the bytes that were freed.

        The caller holds the lock of the collection `held`, if of any; `holding` takes another's, and raises
        JobLocked where it cannot: then that one is left alone. Raises StoreError where the shelf cannot be
        read.
        """
        freed_bytes = 0 if held is None else (await self.prune(held)).freed_bytes
        for other in await self.collections():
            if other == held:
                continue
            try:
                async with holding(other):
                    freed_bytes += (await self.prune(other)).freed_bytes
            except JobLocked:
                continue
        return freed_bytes

    async def _forget(self, export_ids: Iterable[str]) -> dict[str, str]:
        """Remove records of exports; return why where that failed, by id."""
        failed: dict[str, str] = {}
        for export_id in export_ids:
            try:
                await self.shelf.remove_export(export_id)
            except JobError as error:
                failed[export_id] = str(error)
        return failed

    async def _exports(self) -> list[ExportRecord]:
        return [record for record in await self.shelf.exports() if record.cluster == self.cluster]

    def _spared(self, collection: str) -> str:
        """Say why nothing of a collection may be deleted; "" where it may."""
        terms = self.terms
        if terms.include_vanished:
            return ""
        if terms.present is None:
            return (
                "it is not known whether the collection still exists, and this may be all that is left of it"
            )
        if collection not in terms.present:
            return "the collection does not exist any more: only `--include-vanished` prunes it"
        return ""

    async def _remove(self, line: Line) -> None:
        if isinstance(line.thing, StoredSet):
            await self.shelf.remove(line.thing.manifest)
        elif isinstance(line.thing, Fragment):
            await self.shelf.remove_fragment(line.thing)


def plan_lines(
    contents: Contents, terms: Terms, now: float, *, spared: str = ""
) -> tuple[tuple[Line, ...], str | None]:
    """Decide on each thing of one collection; also return why its complete sets all stay, if they do. Pure.

    `spared`: why nothing at all goes.
    """
    # one from the future would hide all that is newer in truth
    stopped = suspicious(one for one in contents.sets if not is_of_the_future(one, now))
    stored = {one.manifest.id: one for one in contents.sets}
    lines = [
        *(
            _line_of_set(stored[decision.set_id], decision, stopped)
            for decision in decide(contents.sets, terms.policy, now, terms.zone)
        ),
        *(_line_of_unreadable(bad) for bad in contents.unreadable),
        *(_line_of_fragment(fragment, now) for fragment in contents.fragments),
    ]
    if spared:
        lines = [_kept(line, spared) for line in lines]
    return tuple(lines), stopped


def _line_of_set(one: StoredSet, decision: Decision, stopped: str | None) -> Line:
    manifest = one.manifest
    is_incomplete = manifest.state is SetState.INCOMPLETE
    line = Line(
        id=manifest.id,
        matter=Matter.INCOMPLETE if is_incomplete else Matter.SET,
        keep=decision.keep,
        reasons=decision.reasons,
        size_bytes=manifest.size_bytes,
        ended_at=manifest.ended_at,
        thing=one,
    )
    if stopped is None or is_incomplete:
        return line
    return _kept(line, "no complete set goes before a person has looked at the newest")


def _line_of_fragment(fragment: Fragment, now: float) -> Line:
    fresh = fragment.age_seconds(now) < INCOMPLETE_SECONDS
    reason = "not finished, kept for a day" if fresh else "never finished, or half removed"
    return Line(
        fragment.place.id, Matter.FRAGMENT, fresh, (reason,), fragment.size_bytes, None, thing=fragment
    )


def _line_of_unreadable(bad: Unreadable) -> Line:
    return Line(bad.place.id, Matter.UNREADABLE, True, (bad.reason,), bad.size_bytes, None, thing=bad)


def _unless_in_use(lines: Iterable[Line], used: Mapping[str, str]) -> Iterator[Line]:
    """Keep what somebody works on: `used` has the reasons by id."""
    for line in lines:
        yield _kept(line, used[line.id]) if line.id in used else line


def _kept(line: Line, reason: str) -> Line:
    """Return a line that stays; one that stays anyhow keeps its own reasons."""
    if line.keep:
        return line
    return Line(line.id, line.matter, True, (reason,), line.size_bytes, line.ended_at, thing=line.thing)
