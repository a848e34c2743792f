"""What is told of backups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from exporter.backup.records import (
    SPECS,
    Covered,
    backup_producer,
    backup_readings,
    newest_complete,
    orphan_readings,
    stocks,
)
from exporter.backup.words import Level, Proof, SetState, StoredSet
from exporter.model import CLUSTER_LABEL, Reading
from tests.kit.sets import archive, exported, manifest, shard

NOW = 100 * 86_400.0


def stored(day: int, *proofs: Proof, points: int | None = 10, **changed: Any) -> StoredSet:
    """Return the set of one day, taken within a minute."""
    made = manifest(
        id=f"202701{day:02}T080000Z-00000a",
        started_at=day * 86_400.0,
        ended_at=day * 86_400.0 + 60,
        shards=(shard(points=points, points_before=None, points_after=None),),
        **changed,
    )
    return StoredSet(made, proofs, accepted=False)


def proof(level: Level, at: float, *, good: bool = True) -> Proof:
    """Return a proof with nothing to say."""
    return Proof(level, at, good=good, problems=() if good else ("no",), by="", took_seconds=1.0)


def asked(collection: str, *levels: Level, **changed: Any) -> Covered:
    """Return a collection whose backups are proven at these levels, and were due to be."""
    every = frozenset(levels)
    return Covered(collection, 86_400.0, due=True, levels_asked=every, levels_due=every, **changed)


def told(
    sets: Iterable[StoredSet] | None = (), covered: Iterable[Covered] = ()
) -> dict[tuple[str, ...], float]:
    """Return the readings by name, without its beginning, and labels, without the cluster; None: not read."""
    found = {}
    for spec, labels, value in backup_readings(
        "prod", None if sets is None else stocks("prod", sets, NOW), covered
    ):
        assert labels[0] == "prod"
        found[(spec.name.removeprefix("qdrantx_backup_"), *labels[1:])] = value
    return found


def test_every_metric_is_of_a_cluster_and_named_alike() -> None:
    """By the beginning of the name the rules know that it is told of missing collections too."""
    assert all(spec.labels[0] == CLUSTER_LABEL for spec in SPECS)
    assert all(spec.name.startswith("qdrantx_backup_") for spec in SPECS)
    assert backup_producer("prod").peer == ""


def test_the_newest_complete_set_is_told_of() -> None:
    """Its end, its size and its points, and its points against the most in a kept one."""
    sets = [stored(1, points=100), stored(2, points=80, archives=(archive(size_bytes=7),))]

    found = told(sets)

    assert found["last_complete_timestamp_seconds", "docs"] == 2 * 86_400 + 60
    assert found["bytes", "docs"] == 7
    assert found["points", "docs"] == 80
    assert round(found["points_change_ratio", "docs"], 6) == -0.2


def test_neither_incomplete_nor_bad_sets_are_the_newest() -> None:
    """What cannot be relied on makes no backup younger."""
    bad = stored(3, proof(Level.HASHED, 1.0), proof(Level.OPENED, 2.0, good=False))
    sets = [stored(1), stored(2, state=SetState.DEGRADED), bad, stored(4, state=SetState.INCOMPLETE)]

    newest = newest_complete(sets)

    assert newest is sets[1]
    assert told(sets)["last_complete_timestamp_seconds", "docs"] == 2 * 86_400 + 60


def test_sets_are_counted_by_state_and_every_state_is_there() -> None:
    """0 too, so that the first of a kind can be seen."""
    found = told([stored(1), stored(2), stored(3, state=SetState.INCOMPLETE)])

    assert found["sets", "docs", "complete"] == 2
    assert found["sets", "docs", "degraded"] == 0
    assert found["sets", "docs", "incomplete"] == 1


def test_a_proof_of_a_level_is_one_of_all_levels_below() -> None:
    """The newest of any set counts, and a failed one proves nothing."""
    sets = [
        stored(1, proof(Level.HASHED, 10.0), proof(Level.RESTORED, 20.0)),
        stored(2, proof(Level.HASHED, 30.0), proof(Level.OPENED, 40.0, good=False)),
    ]

    found = told(sets)

    assert found["last_verified_timestamp_seconds", "docs", "2"] == 30
    assert found["last_verified_timestamp_seconds", "docs", "3"] == 20
    assert found["last_verified_timestamp_seconds", "docs", "4"] == 20


def test_a_covered_collection_without_a_set_is_missing_once_a_run_was_due() -> None:
    """Before that nothing is wrong with a collection made an hour ago; nothing is said of its age."""
    found = told(
        covered=[Covered("new", 86_400.0, due=False), Covered("old", 3_600.0, due=True)],
    )

    assert found["missing", "new"] == 0
    assert found["missing", "old"] == 1
    assert found["max_age_seconds", "old"] == 3_600
    assert found["sets", "old", "complete"] == 0
    assert ("last_complete_timestamp_seconds", "old") not in found
    assert ("points", "old") not in found


def test_incomplete_sets_alone_are_no_backup() -> None:
    """The collection is as good as never backed up."""
    found = told([stored(1, state=SetState.INCOMPLETE)], [Covered("docs", 86_400.0, due=True)])

    assert found["missing", "docs"] == 1


def test_a_level_is_unverified_when_it_was_due_and_never_proven() -> None:
    """A verify job of the level had its time, and no good proof of it is there."""
    found = told([stored(1, proof(Level.OPENED, 5.0))], [asked("docs", Level.OPENED, Level.RESTORED)])

    assert (found["unverified", "docs", "3"], found["unverified", "docs", "4"]) == (0, 1)


def test_of_a_level_that_nobody_asks_for_no_proof_is_lacking() -> None:
    """Also where a person once restored a backup by hand: nobody promised to do so again."""
    found = told([stored(1, proof(Level.RESTORED, 5.0))], [asked("docs", Level.SIZED, Level.HASHED)])

    assert [found.get(("unverified", "docs", level)) for level in "1234"] == [0, 0, None, None]
    assert found["last_verified_timestamp_seconds", "docs", "4"] == 5


def test_before_the_store_was_ever_read_what_jobs_did_stands_in() -> None:
    """After a restart, and while it cannot be read: the newest grows old, and none is called missing."""
    done = Covered("docs", 86_400.0, due=True, done_at=7.0, levels_asked=frozenset({Level.RESTORED}))
    never = Covered("new", 86_400.0, due=True)

    found = told(None, [done, never])

    assert found == {
        ("last_complete_timestamp_seconds", "docs"): 7,
        ("missing", "docs"): 0,
        ("max_age_seconds", "docs"): 86_400,
        ("missing", "new"): 1,
        ("max_age_seconds", "new"): 86_400,
    }


def test_a_proof_of_a_set_that_was_pruned_since_is_remembered() -> None:
    """A backup of it was proven, though that one is gone."""
    found = told([stored(1)], [asked("docs", Level.RESTORED, proven_at={Level.RESTORED: 9.0})])

    assert found["unverified", "docs", "4"] == 0
    assert found["last_verified_timestamp_seconds", "docs", "4"] == 9


def test_a_collection_that_no_job_covers_has_no_age_to_keep() -> None:
    """Its sets are told of, and nothing is due."""
    found = told([stored(1)])

    assert ("max_age_seconds", "docs") not in found
    assert ("missing", "docs") not in found
    assert ("last_complete_timestamp_seconds", "docs") in found


def test_a_set_from_the_future_makes_no_backup_younger() -> None:
    """A clock was wrong once, and the age of the newest would tell nothing until then; it is counted."""
    found = told([stored(1, points=100), stored(2, points=20), stored(30_000, proof(Level.HASHED, 1.0))])

    assert found["last_complete_timestamp_seconds", "docs"] == 2 * 86_400 + 60
    assert found["points_change_ratio", "docs"] == -0.8
    assert found["sets", "docs", "complete"] == 3
    assert ("last_verified_timestamp_seconds", "docs", "2") not in found


def test_points_that_nobody_knows_are_not_told() -> None:
    """Never a zero that means unknown."""
    found = told([stored(1, points=None)])

    assert ("points", "docs") not in found
    assert ("points_change_ratio", "docs") not in found


def test_orphans_are_told_of_every_peer_that_was_looked_at() -> None:
    """0 where nothing lies about."""
    readings = list(orphan_readings("prod", {"b": 0, "a": 12}))

    assert [(reading.labels, reading.value) for reading in readings] == [
        (("prod", "a"), 12.0),
        (("prod", "b"), 0.0),
    ]
    assert isinstance(readings[0], Reading)


def test_an_export_is_a_backup_as_a_snapshot_is() -> None:
    """Its points are those that were written down, its size that of its chunks."""
    export = exported(id="20270102T080000Z-00000b", started_at=2 * 86_400.0, ended_at=2 * 86_400.0 + 60)

    found = told([stored(1), StoredSet(export, (), accepted=False)])

    assert found["last_complete_timestamp_seconds", "docs"] == 2 * 86_400 + 60
    assert found["bytes", "docs"] == 4_096
    assert found["points", "docs"] == 10
    assert found["points_change_ratio", "docs"] == 0
    assert found["sets", "docs", "complete"] == 2
