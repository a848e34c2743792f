"""`backup run`: collections backed up now, as a job would, with bars for who watches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter import exit_codes
from exporter.backup_verbs.means import by_hand, means_of
from exporter.backup_verbs.opened import Opened, cluster_of, opened, reached
from exporter.backup_verbs.showing import Showing, size
from exporter.clock import SystemClock
from exporter.config.jobs import JobSettings
from exporter.config.settings import Settings
from exporter.errors import JobError, JobLocked, JobRefused, SourceError, StoreFull
from exporter.jobs.bodies.backup import BackupBody, BackupChore
from exporter.jobs.bodies.means import Means
from exporter.jobs.words import Outcome, Part, Reason


async def take_now(
    settings: Settings, collections: Sequence[str], cluster: str | None, showing: Showing
) -> int:
    """Back up the collections that are named, or all; return the exit code."""
    clock = SystemClock()
    chosen = cluster_of(settings, cluster)
    async with opened(settings, clock) as it, reached(settings, chosen, clock) as peers:
        with showing.progress() as progress:
            means = means_of(settings, it, peers, progress)
            parts = await parts_of(it, means, by_hand(chosen.name), chosen.name, collections)
    if showing.is_json:
        showing.document({"cluster": chosen.name, "collections": [part_document(part) for part in parts]})
    else:
        _show(parts, showing)
    return code_of(parts)


async def parts_of(
    it: Opened, means: Means, job: JobSettings, cluster: str, collections: Sequence[str]
) -> list[Part]:
    """Do such a job once, of the collections that are named, or of all that it selects."""
    body = BackupBody(means)
    await _check(it, body, cluster)
    async with body.opened(job, cluster) as chore:
        return [await _part(it, cluster, chore, name) for name in collections or chore.collections]


async def _check(it: Opened, body: BackupBody, cluster: str) -> None:
    """See that the store can be used; one that is full is pruned first, as by a job."""
    try:
        await it.check()
    except StoreFull:
        if not await body.make_room(cluster):
            raise
        await it.check()


async def _part(it: Opened, cluster: str, chore: BackupChore, name: str) -> Part:
    """Back up one; what stands against it is told, and the next one comes."""
    try:
        async with it.locks.collection(cluster, name):
            return await chore.do(name)
    except (JobError, SourceError) as error:
        reasons = ((JobLocked, Reason.LOCKED), (JobRefused, Reason.REFUSED))
        reason = next((word for kind, word in reasons if isinstance(error, kind)), Reason.FAILED)
        return Part(name, Outcome.FAILED, reason, str(error))


def code_of(parts: Sequence[Part]) -> int:
    """Return the exit code that says what came of all of them."""
    if not parts:
        return exit_codes.PARTLY  # as of a job that is skipped: nothing was backed up
    bad = [part for part in parts if part.outcome is not Outcome.OK]
    if not bad:
        return exit_codes.DONE
    if len(bad) < len(parts):
        return exit_codes.PARTLY
    reasons = {part.reason for part in bad}
    if reasons == {Reason.LOCKED}:
        return exit_codes.LOCKED
    return exit_codes.REFUSED if reasons == {Reason.REFUSED} else exit_codes.FAILED


def _show(parts: Sequence[Part], showing: Showing) -> None:
    if not parts:
        showing.say("There is no collection to back up.")
    for part in parts:
        if part.outcome is Outcome.OK:
            note = f" ({part.detail})" if part.detail else ""
            showing.say(f"{stored_text(part)}{note}")
        else:
            showing.warn(f"{part.collection}: {part.detail}")


def stored_text(part: Part) -> str:
    """Say what was stored of a collection, in one clause."""
    figures = part.figures
    held = f"{figures['points']:,} points, " if "points" in figures else ""
    return f"{part.collection}: {figures['state']} as {figures['set']}, {held}{size(int(figures['bytes']))}"


def part_document(part: Part) -> dict[str, Any]:
    """What came of one collection, for programs."""
    return {
        "collection": part.collection,
        "outcome": part.outcome.value,
        "reason": part.reason.value,
        "detail": part.detail,
        **part.figures,
    }
