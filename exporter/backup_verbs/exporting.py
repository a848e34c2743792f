"""`backup export`: the points themselves, for any version of the server and any layout."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.backup.words import Consistency, Encoding, Export, Manifest
from exporter.backup_verbs.means import by_hand, means_of
from exporter.backup_verbs.opened import Opened, cluster_of, opened, reached
from exporter.backup_verbs.showing import Showing
from exporter.backup_verbs.taking import code_of, part_document, parts_of, stored_text
from exporter.clock import SystemClock
from exporter.config.settings import Settings
from exporter.errors import StoreMissing
from exporter.jobs.words import Outcome, Part


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person typed."""

    collections: Sequence[str]  # () for all
    cluster: str | None
    encoding: Encoding
    allow_lossy: bool  # also what an import cannot bring back as it was


async def export_now(settings: Settings, wanted: Wanted, showing: Showing) -> int:
    """Export the collections that are named, or all; return the exit code."""
    clock = SystemClock()
    chosen = cluster_of(settings, wanted.cluster)
    job = by_hand(
        chosen.name, format="export", encoding=wanted.encoding.value, allow_lossy=wanted.allow_lossy
    )
    async with opened(settings, clock) as it, reached(settings, chosen, clock) as peers:
        begun = await _begun(it)
        with showing.progress() as progress:
            means = means_of(settings, it, peers, progress)
            parts = await parts_of(it, means, job, chosen.name, wanted.collections)
        stored = {part.collection: await _stored(it, chosen.name, part) for part in parts}
    if showing.is_json:
        documents = [_document(part, stored[part.collection], begun) for part in parts]
        showing.document({"cluster": chosen.name, "collections": documents})
    else:
        _show(parts, stored, begun, showing)
    return code_of(parts)


async def _begun(it: Opened) -> frozenset[str]:
    """Return the ids of exports that were begun before; none in a directory that is yet to be made."""
    try:
        return frozenset(record.id for record in await it.shelf.exports())
    except StoreMissing:
        return frozenset()


async def _stored(it: Opened, cluster: str, part: Part) -> Manifest | None:
    """Return what came of a part, as it lies in the store; None where nothing does."""
    set_id = part.figures.get("set")
    if set_id is None:
        return None
    sets = await it.shelf.sets(cluster, part.collection)
    return next((one.manifest for one in sets if one.manifest.id == set_id), None)


def _show(
    parts: Sequence[Part], stored: Mapping[str, Manifest | None], begun: Collection[str], showing: Showing
) -> None:
    if not parts:
        showing.say("There is no collection to export.")
    for part in parts:
        if part.outcome is not Outcome.OK:
            showing.warn(f"{part.collection}: {part.detail}")
            continue
        manifest = stored[part.collection]
        export = None if manifest is None else manifest.export
        resumed = "; it went on with one that was broken off" if part.figures["set"] in begun else ""
        showing.say(f"{stored_text(part)}{'' if export is None else f'; {export.consistency}'}{resumed}")
        for line in () if manifest is None or export is None else _lines(manifest, export):
            showing.say(f"  {line}")


def _lines(manifest: Manifest, export: Export) -> list[str]:
    lines = list(manifest.problems)
    if export.consistency is Consistency.FUZZY:
        lines += [f"not of one moment: {reason}" for reason in export.reasons]
    return lines + [f"an import cannot bring back as it was: {loss}" for loss in export.losses]


def _document(part: Part, manifest: Manifest | None, begun: Collection[str]) -> dict[str, Any]:
    export = None if manifest is None else manifest.export
    if manifest is None or export is None:
        return part_document(part)
    return part_document(part) | {
        "resumed": manifest.id in begun,
        "encoding": export.encoding.value,
        "chunks": len(manifest.chunks),
        "consistency": export.consistency.value,
        "reasons": list(export.reasons),
        "losses": list(export.losses),
    }
