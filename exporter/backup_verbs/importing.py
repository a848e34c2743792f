"""`backup import`: an export into a new collection, proven; or what that would take."""

from __future__ import annotations

from exporter import exit_codes
from exporter.backup.importing.run import Importer
from exporter.backup.importing.words import ASSUMED_BYTES_PER_SECOND, Imported, ImportOptions
from exporter.backup.progress import Progress
from exporter.backup.words import SetKind, StoredSet
from exporter.backup_verbs.bringing_back import Begun, Wanted, begun, show_plan, tell
from exporter.backup_verbs.open_thresholds import telling_what_stays_open
from exporter.backup_verbs.opened import free_bytes
from exporter.backup_verbs.showing import Showing
from exporter.config.settings import Settings


async def import_now(settings: Settings, wanted: Wanted, showing: Showing) -> int:
    """Import, or only say what would be done; return the exit code."""
    async with begun(settings, wanted, SetKind.EXPORT, showing) as it:
        options = ImportOptions(
            target=wanted.name,
            into=wanted.into is not None,
            force=wanted.force,
            aliases=wanted.aliases,
            switch_alias=wanted.switch_alias,
            free_bytes=free_bytes(it.cluster),
        )
        if wanted.dry_run:
            plan = await _importer(it).plan(it.stored, options)
            show_plan(plan, showing, bytes_per_second=ASSUMED_BYTES_PER_SECOND)
            return exit_codes.DONE
        async with (
            it.working(showing) as progress,
            telling_what_stays_open(it.opened, it.cluster.name, wanted.flags, showing),
        ):
            importer = _importer(it, progress)
            told = (await importer.plan(it.stored, options, finishing=True)).warnings
            tell(told, showing)  # before anything is done
            imported = await importer.import_set(it.stored, options)
    _show(it.stored, imported, showing)
    tell(imported.warnings, showing, but=told)
    return exit_codes.DONE


def _importer(it: Begun, progress: Progress | None = None) -> Importer:
    return Importer(
        cluster=it.cluster.name,
        peers=it.peers,
        shelf=it.opened.shelf,
        clock=it.opened.clock,
        progress=progress,
    )


def _show(stored: StoredSet, imported: Imported, showing: Showing) -> None:
    manifest, record = stored.manifest, imported.record
    if showing.is_json:
        showing.document(
            {
                "set": manifest.id,
                "target": record.target,
                "restore": record.id,
                "points": imported.points,
                "contentHash": imported.content,
                "thresholds": imported.thresholds,
                "warnings": list(imported.warnings),
            }
        )
        return
    showing.say(
        f"imported export {manifest.id} of {manifest.collection} into {record.target}:"
        f" {imported.points:,} points, content {imported.content}"
    )
    showing.say(f"  thresholds: {imported.thresholds}")
