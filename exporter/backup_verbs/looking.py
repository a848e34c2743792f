"""`backup list`, `show` and `orphans`: what lies in the store, and what lies on the peers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from exporter import exit_codes
from exporter.backup.calling import Limits
from exporter.backup.orphans import Found, LeftFile, find_orphans, left_in_folder
from exporter.backup.shelf import Contents
from exporter.backup.words import BackupIntent, Chunk, Export, Manifest, StoredSet
from exporter.backup_verbs.documents import proven_text, set_document, state_text, whole_document
from exporter.backup_verbs.opened import Chosen, cluster_of, opened, reached
from exporter.backup_verbs.showing import Showing, day, size
from exporter.clock import SystemClock
from exporter.config.quantities import format_duration
from exporter.config.settings import Settings
from exporter.jobs.bodies.means import collections_there


async def show_sets(
    settings: Settings, collections: Sequence[str], cluster: str | None, showing: Showing
) -> int:
    """Show the sets of these collections, of all where none is named; return the exit code."""
    async with opened(settings, SystemClock()) as it:
        found = await it.shelf.contents(cluster)
        begun = {record.id for record in await it.shelf.exports()}
    sets = [one for one in found.sets if not collections or one.manifest.collection in collections]
    if showing.is_json:
        showing.document(
            {
                "sets": [set_document(one) for one in sets],
                "unfinished": [
                    {
                        "id": fragment.place.id,
                        "isExport": fragment.place.id in begun,
                        "sizeBytes": fragment.size_bytes,
                        "changedAt": fragment.changed_at,
                    }
                    for fragment in found.fragments
                ],
                "unreadable": [{"id": bad.place.id, "reason": bad.reason} for bad in found.unreadable],
            }
        )
        return 0
    if sets:
        columns = ("id", "cluster", "collection", "kind", "ended", "state", "points", "size", "proven")
        showing.table(columns, [_row(one) for one in sets])
    else:
        showing.say(f"{it.store.name} has no backup{' of these' if collections else ''}.")
    _say_what_is_none(found, begun, showing)
    return 0


async def show_set(settings: Settings, chosen: Chosen, showing: Showing) -> int:
    """Show one set; return the exit code."""
    async with opened(settings, SystemClock()) as it:
        one = await it.found(chosen)
    if showing.is_json:
        showing.document(whole_document(one))
        return 0
    manifest = one.manifest
    showing.say(f"backup {manifest.id} of {manifest.collection} (cluster {manifest.cluster})")
    took = f"{day(manifest.started_at)} to {day(manifest.ended_at)}"
    showing.say(f"  {manifest.kind.value}, {state_text(manifest)}; {took}")
    for problem in manifest.problems:
        showing.say(f"  problem: {problem}")
    versions = sorted(set(manifest.versions.values()))
    showing.say(
        f"  {points(manifest.points)} points, {size(manifest.size_bytes)}, Qdrant {', '.join(versions)}"
    )
    showing.say(f"  payload indexes: {', '.join(sorted(manifest.payload_schema)) or 'none'}")
    showing.say(f"  aliases: {', '.join(manifest.aliases) or 'none'}")
    if manifest.export is not None:
        _show_export(manifest.export, manifest.chunks, showing)
    else:
        _show_archives(manifest, showing)
    for proof in one.proofs:
        verdict = "good" if proof.good else "BAD: " + "; ".join(proof.problems)
        by = f", by {proof.by}" if proof.by else ""
        content = f", content {proof.content}" if proof.content else ""
        showing.say(f"  level {proof.level.value} at {day(proof.at)}{by}: {verdict}{content}")
    return 0


def _show_export(export: Export, chunks: Sequence[Chunk], showing: Showing) -> None:
    showing.say(f"  {export.encoding.value}, {export.consistency.value}")
    for reason in export.reasons:
        showing.say(f"  not at one moment: {reason}")
    for loss in export.losses:
        showing.say(f"  cannot come back as it was: {loss}")
    showing.table(
        ("file", "key", "points", "size", "first", "last", "sha256"),
        [
            (
                chunk.file,
                "" if chunk.key is None else str(chunk.key),
                points(chunk.points),
                size(chunk.size_bytes),
                str(chunk.first),
                str(chunk.last),
                chunk.sha256,
            )
            for chunk in chunks
        ],
    )


def _show_archives(manifest: Manifest, showing: Showing) -> None:
    showing.table(
        ("file", "peer", "size", "shards", "sha256"),
        [
            (
                archive.file,
                archive.peer,
                size(archive.size_bytes),
                " ".join(str(held.shard) for held in archive.shards),
                archive.sha256,
            )
            for archive in manifest.archives
        ],
    )
    showing.table(
        ("shard", "key", "points", "from file", "replicas"),
        [
            (
                str(shard.shard),
                "" if shard.key is None else str(shard.key),
                points(shard.points),
                shard.archive or "none",
                str(max(1, len(shard.peer_ids))),
            )
            for shard in manifest.shards
        ],
    )


async def show_orphans(
    settings: Settings, cluster: str | None, snapshots_dir: Path | None, showing: Showing
) -> int:
    """Show what lies on the peers and belongs to no backup; return the exit code."""
    clock = SystemClock()
    chosen = cluster_of(settings, cluster)
    async with reached(settings, chosen, clock) as peers:
        intents: list[BackupIntent] = []
        if settings.backup.store is not None:
            async with opened(settings, clock) as it:
                intents = await it.shelf.intents()
        found = await find_orphans(peers, cluster=chosen.name, intents=intents)
        left: list[LeftFile] = []
        if snapshots_dir is not None:
            names = await collections_there(peers, Limits())
            left = await asyncio.to_thread(left_in_folder, snapshots_dir, names)
    if showing.is_json:
        showing.document(_orphans_document(found, left, clock.now()))
    else:
        _show_orphans(found, left, clock.now(), showing)
    return exit_codes.PARTLY if found.missing else exit_codes.DONE


def _orphans_document(found: Found, left: Sequence[LeftFile], now: float) -> dict[str, Any]:
    return {
        "bytesByPeer": found.bytes_by_peer(),
        "snapshots": [
            {
                "peer": one.peer,
                "collection": one.collection,
                "name": one.name,
                "kind": one.kind.value,
                "sizeBytes": one.size_bytes,
                "ageSeconds": one.age_seconds(now),
            }
            for one in found.orphans
        ],
        "files": [
            {"path": one.path, "sizeBytes": one.size_bytes, "changedAt": one.changed_at, "reason": one.reason}
            for one in left
        ],
        "unknown": [{"peer": one.label, "reason": one.reason} for one in found.missing],
    }


def _show_orphans(found: Found, left: Sequence[LeftFile], now: float, showing: Showing) -> None:
    for missing in found.missing:
        showing.warn(f"{missing.label} could not be asked: {missing.reason}")
    if not found.orphans and not left:
        where = "on those that answered" if found.missing else "there"
        showing.say(f"Nothing lies {where} that is nobody's.")
    if found.orphans:
        showing.table(
            ("peer", "collection", "snapshot", "whose", "size", "age"),
            [
                (
                    one.peer,
                    one.collection or "(all)",
                    one.name,
                    one.kind.value,
                    size(one.size_bytes),
                    _age(one.age_seconds(now)),
                )
                for one in found.orphans
            ],
        )
    if left:
        rows = [(one.path, size(one.size_bytes), day(one.changed_at), one.reason) for one in left]
        showing.table(("file", "size", "changed", "why"), rows)
    if found.orphans or left:
        showing.say("Nothing was deleted: whoever knows whose they are deletes them.")


def _age(seconds: float | None) -> str:
    return "unknown" if seconds is None else format_duration(round(seconds))


def points(count: int | None) -> str:
    """A number of points; "unknown" for None."""
    return "unknown" if count is None else f"{count:,}"


def _row(one: StoredSet) -> tuple[str, ...]:
    manifest = one.manifest
    return (
        manifest.id,
        manifest.cluster,
        manifest.collection,
        manifest.kind.value,
        day(manifest.ended_at),
        state_text(manifest),
        points(manifest.points),
        size(manifest.size_bytes),
        proven_text(one),
    )


def _say_what_is_none(found: Contents, begun: Collection[str], showing: Showing) -> None:
    for fragment in found.fragments:
        what = f"{fragment.place.id}, {size(fragment.size_bytes)}"
        if fragment.place.id in begun:
            showing.say(f"not finished: export {what}; the next export goes on with it, within a day")
        else:
            showing.say(f"not finished: {what}; goes after a day")
    for bad in found.unreadable:
        showing.say(f"cannot be read: {bad.place.id}: {bad.reason}")
