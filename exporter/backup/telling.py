"""What a page says of backups: the newest good one of a collection, and how it comes back. Pure."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.backup.words import Level, SetKind, StoredSet

_MOMENT = "%Y-%m-%d %H:%M UTC"


@dataclass(frozen=True, slots=True)
class BackupNote:
    """The newest good backup of one name, in words."""

    words: str  # a clause: "the newest good backup is 20261126T023000Z-1a2b3c, …"
    restore: str  # the command that restores or imports it, quoted for a shell


def backup_notes(
    cluster: str, sets: Iterable[StoredSet], flags: Sequence[str] = ()
) -> Mapping[str, BackupNote]:
    """Return the note of each collection of a cluster with a good set, and of each alias that pointed at one.

    A collection's own name wins over an alias. `flags` are added to the command, such as the file that this
    daemon was configured by.
    """
    good = sorted((one for one in sets if one.counts), key=_finished)
    notes: dict[str, BackupNote] = {}
    for one in good:
        for alias in one.manifest.aliases:
            notes[alias] = _note(one, cluster, ("--switch-alias", alias), flags)
    for one in good:
        name = one.manifest.collection
        notes[name] = _note(one, cluster, ("--into", name), flags)
    return notes


def _note(one: StoredSet, cluster: str, target: Sequence[str], flags: Sequence[str]) -> BackupNote:
    manifest = one.manifest
    points = "" if manifest.points is None else f" with {manifest.points:,} points"
    restored = one.proven(Level.RESTORED)
    proven = (
        "never restored in a test" if restored is None else f"restored in a test on {_moment(restored.at)}"
    )
    verb = "import" if manifest.kind is SetKind.EXPORT else "restore"
    command = ("qdrant-exporter", "backup", verb, manifest.id, *target, "--cluster", cluster, *flags)
    return BackupNote(
        words=f"the newest good backup is {manifest.id} of {_moment(manifest.ended_at)}{points}, {proven}",
        restore=shlex.join(command),
    )


def _moment(unix_seconds: float) -> str:
    return time.strftime(_MOMENT, time.gmtime(unix_seconds))


def _finished(one: StoredSet) -> tuple[float, str]:
    return one.manifest.ended_at, one.manifest.id
