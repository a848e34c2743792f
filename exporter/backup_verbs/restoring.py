"""`backup restore`: a set of snapshots into a new collection, proven; or what that would take."""

from __future__ import annotations

from typing import Any

from exporter import exit_codes
from exporter.backup.progress import Progress
from exporter.backup.restoring.run import Restorer
from exporter.backup.restoring.words import ASSUMED_BYTES_PER_SECOND, ReplicaSeen, Restored, RestoreOptions
from exporter.backup.words import SetKind, StoredSet
from exporter.backup_verbs.bringing_back import Begun, Wanted, begun, show_plan, tell
from exporter.backup_verbs.opened import free_bytes
from exporter.backup_verbs.showing import Showing
from exporter.config.settings import Settings


async def restore_now(settings: Settings, wanted: Wanted, showing: Showing) -> int:
    """Restore, or only say what would be done; return the exit code."""
    async with begun(settings, wanted, SetKind.SNAPSHOT, showing) as it:
        options = RestoreOptions(
            target=wanted.name,
            into=wanted.into is not None,
            force=wanted.force,
            aliases=wanted.aliases,
            switch_alias=wanted.switch_alias,
            free_bytes=free_bytes(it.cluster),
        )
        if wanted.dry_run:
            plan = await _restorer(it).plan(it.stored, options)
            show_plan(plan, showing, bytes_per_second=ASSUMED_BYTES_PER_SECOND)
            return exit_codes.DONE
        async with it.working(showing) as progress:
            restorer = _restorer(it, progress)
            told = (await restorer.plan(it.stored, options, finishing=True)).warnings
            tell(told, showing)  # before anything is done
            restored = await restorer.restore(it.stored, options)
    _show(it.stored, restored, showing)
    tell(restored.warnings, showing, but=told)
    return exit_codes.DONE


def _restorer(it: Begun, progress: Progress | None = None) -> Restorer:
    return Restorer(peers=it.peers, shelf=it.opened.shelf, clock=it.opened.clock, progress=progress)


def _show(stored: StoredSet, restored: Restored, showing: Showing) -> None:
    if showing.is_json:
        showing.document(
            {
                "set": stored.manifest.id,
                "target": restored.record.target,
                "restore": restored.record.id,
                "points": restored.points,
                "replicas": [_replica_document(one, restored) for one in restored.replicas],
                "warnings": list(restored.warnings),
            }
        )
        return
    showing.say(
        f"restored backup {stored.manifest.id} of {stored.manifest.collection} into"
        f" {restored.record.target}: {restored.points:,} points"
    )
    showing.table(
        ("shard", "key", "peer", "state", "points"),
        [
            (
                str(one.shard),
                "" if one.key is None else str(one.key),
                restored.labels.get(one.peer_id, str(one.peer_id)),
                one.state,
                f"{one.points:,}",
            )
            for one in restored.replicas
        ],
    )


def _replica_document(one: ReplicaSeen, restored: Restored) -> dict[str, Any]:
    return {
        "shard": one.shard,
        "key": one.key,
        "peerId": one.peer_id,
        "peer": restored.labels.get(one.peer_id),
        "state": one.state,
        "points": one.points,
    }
