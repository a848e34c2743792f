"""`backup run`: collections backed up now, as a job would, with bars for who watches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter import exit_codes
from exporter.backup_verbs.means import by_hand, means_of
from exporter.backup_verbs.opened import Opened, cluster_of, opened, reached
from exporter.backup_verbs.showing import Showing, size
from exporter.clock import SystemClock
from exporter.config.settings import Settings
from exporter.errors import JobError, JobLocked, JobRefused, SourceError, StoreFull
from exporter.jobs.bodies.backup import BackupBody, BackupChore
from exporter.jobs.words import Outcome, Part, Reason


async def take_now(
    settings: Settings, collections: Sequence[str], cluster: str | None, showing: Showing
) -> int:
    """Back up the collections that are named, or all; return the exit code."""
    clock = SystemClock()
    chosen = cluster_of(settings, cluster)
    async with opened(settings, clock) as it, reached(settings, chosen, clock) as peers:
        with showing.progress() as progress:
            body = BackupBody(means_of(settings, it, peers, progress))
            await _check(it, body, chosen.name)
            async with body.opened(by_hand(chosen.name), chosen.name) as chore:
                parts = [
                    await _part(it, chosen.name, chore, name) for name in collections or chore.collections
                ]
    if showing.is_json:
        showing.document({"cluster": chosen.name, "collections": [_document(part) for part in parts]})
    else:
        _show(parts, showing)
    return _code(parts)


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


def _code(parts: Sequence[Part]) -> int:
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
            figures = part.figures
            held = f"{figures['points']:,} points, " if "points" in figures else ""
            note = f" ({part.detail})" if part.detail else ""
            showing.say(
                f"{part.collection}: {figures['state']} as {figures['set']},"
                f" {held}{size(int(figures['bytes']))}{note}"
            )
        else:
            showing.warn(f"{part.collection}: {part.detail}")


def _document(part: Part) -> dict[str, Any]:
    return {
        "collection": part.collection,
        "outcome": part.outcome.value,
        "reason": part.reason.value,
        "detail": part.detail,
        **part.figures,
    }
