"""What a page says of backups."""

from __future__ import annotations

import shlex
from typing import Any

from exporter.backup.telling import backup_notes
from exporter.backup.words import Level, Proof, SetState, StoredSet
from tests.kit.sets import exported, manifest, shard


def stored(day: int, level: Level = Level.HASHED, **changed: Any) -> StoredSet:
    """Return the set of one day in January 2027, proven up to a level."""
    at = 1_800_000_000.0 + 86_400 * (day - 15)
    made = manifest(id=f"202701{day:02}T080000Z-00000a", ended_at=at, **changed)
    return StoredSet(made, (Proof(level, at, good=True, problems=(), by="", took_seconds=1.0),), False)


def test_the_newest_good_backup_is_named_with_what_is_known_of_it() -> None:
    """An incomplete one is none, however new."""
    sets = [
        stored(15, Level.RESTORED, shards=(shard(points=12_345),)),
        stored(14),
        stored(16, state=SetState.INCOMPLETE),
    ]

    note = backup_notes("prod", sets)["docs"]

    assert note.words == (
        "the newest good backup is 20270115T080000Z-00000a of 2027-01-15 08:00 UTC with 12,345 points,"
        " restored in a test on 2027-01-15 08:00 UTC"
    )
    assert note.restore == (
        "qdrant-exporter backup restore 20270115T080000Z-00000a --into docs --cluster prod"
    )


def test_without_a_good_backup_there_is_no_note() -> None:
    """Nobody is sent to restore what cannot be."""
    assert backup_notes("prod", [stored(15, state=SetState.INCOMPLETE)]) == {}


def test_an_alias_is_restored_as_an_alias_unless_a_collection_has_the_name() -> None:
    """What is expected to exist may be either."""
    sets = [stored(15, aliases=("live", "other")), stored(14, collection="other")]

    notes = backup_notes("prod", sets, ("--config.file", "my exporter.yaml"))

    assert "--switch-alias live" in notes["live"].restore
    assert "--into other" in notes["other"].restore
    assert notes["live"].restore.endswith("--config.file 'my exporter.yaml'")


def test_a_name_cannot_run_anything_in_the_shell_that_the_command_is_pasted_into() -> None:
    """A server lets collections be called almost anything."""
    name = "a'; rm -rf $HOME; '\n`b`"

    note = backup_notes("prod", [stored(15, collection=name)])[name]

    words = shlex.split(note.restore)
    assert words[words.index("--into") + 1] == name


def test_points_that_nobody_knows_are_left_out() -> None:
    """The rest is worth telling."""
    note = backup_notes("prod", [stored(15, shards=(shard(points=None),))])["docs"]

    assert "points" not in note.words
    assert "never restored in a test" in note.words


def test_an_export_comes_back_by_an_import() -> None:
    """No server takes it as a snapshot."""
    note = backup_notes("prod", [StoredSet(exported(), stored(15).proofs, False)])["docs"]

    assert "with 10 points" in note.words
    assert note.restore == "qdrant-exporter backup import 20270115T080000Z-00000a --into docs --cluster prod"
