"""What was found of a set, held against its manifest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exporter.backup.archive.engine import OpenedShard
from exporter.backup.verifying.findings import Copy, copies_of, index_problems, judged, layout_problems
from exporter.backup.verifying.samples import Searched
from exporter.backup.words import ArchivedShard, Level, Manifest
from tests.kit import sets

HELD = ArchivedShard(0, 0, 2_048)
ONE, OTHER = f"c1:{1:032x}:{1:032x}", f"c1:{2:032x}:{1:032x}"
OTHER_VECTORS = f"c1:{1:032x}:{2:032x}"


def two_replicas(**of_shard: Any) -> Manifest:
    """Return a set with one shard in the archives of a and b; a's is the one that counts."""
    archives = tuple(sets.archive(file=f"{peer}.snapshot", peer=peer) for peer in "ab")
    return sets.manifest(archives=archives, shards=(sets.shard(**of_shard),))


def problems(manifest: Manifest, *shards: OpenedShard, level: Level = Level.RESTORED) -> list[str]:
    """Judge the shards of a's and b's archives."""
    copies = copies_of(manifest, {})
    return list(judged(manifest, list(zip(copies, shards, strict=True)), level))


def test_replicas_with_the_same_content_are_good() -> None:
    """Vectors may differ in the last bit: each replica normalizes what it is sent."""
    shards = (OpenedShard(10, content=ONE), OpenedShard(10, content=OTHER_VECTORS))

    assert problems(two_replicas(), *shards) == []


def test_replicas_that_differ_are_found() -> None:
    """Nobody wrote to the shard, so archives of two peers must hold the same."""
    assert problems(two_replicas(), OpenedShard(10, content=ONE), OpenedShard(10, content=OTHER)) == [
        "shard 0 in b.snapshot differs in ids or payloads from the replica that counts"
    ]


def test_a_replica_with_fewer_points_is_found_by_counting_alone() -> None:
    """Without reading all of both."""
    assert problems(two_replicas(), OpenedShard(10), OpenedShard(9), level=Level.OPENED) == [
        "shard 0 in b.snapshot holds 9 points, and the replica that counts 10"
    ]


@pytest.mark.parametrize("settled", [True, False])
def test_replicas_are_compared_only_where_nobody_wrote(settled: bool) -> None:
    """Snapshots of two peers are not of one moment."""
    opened = [copy.archive.file for copy in copies_of(two_replicas(settled=settled), {})]

    assert opened == (["a.snapshot", "b.snapshot"] if settled else ["a.snapshot"])


def test_a_replica_that_was_not_active_is_not_compared() -> None:
    """It may lag behind, rightly, until it is filled from another."""
    opened = [copy.archive.file for copy in copies_of(two_replicas(), {"b.snapshot": [0]})]

    assert opened == ["a.snapshot"]


def test_a_shard_that_is_not_of_the_layout_is_not_opened() -> None:
    """What resharding left in an archive is restored by nobody."""
    archive = sets.archive(shards=(HELD, ArchivedShard(7, 2_048, 1_024)))

    assert [copy.held.shard for copy in copies_of(sets.manifest(archives=(archive,)), {})] == [0]


def test_a_count_that_the_archive_itself_gave_is_held_exactly() -> None:
    """A writer was running, but the archive was opened and counted while it was taken."""
    manifest = two_replicas(settled=False, counted=True, points=11, points_before=10, points_after=20)

    assert problems(manifest, OpenedShard(12)) == [
        "shard 0 in a.snapshot holds 12 points, and the manifest says 11"
    ]


def test_where_nobody_could_count_nothing_is_said() -> None:
    """A server that does not tell its points leaves nothing to compare with."""
    manifest = two_replicas(settled=False, points=None, points_before=None, points_after=None)

    assert problems(manifest, OpenedShard(12)) == []


@pytest.mark.parametrize(
    ("searched", "problem"),
    [
        (Searched(20, 0, 0), None),
        (Searched(20, 10, 0), None),
        (Searched(20, 11, 0), "11 of 20 stored vectors are there, and a search does not find them"),
        (Searched(20, 1, 1), "1 of 20 stored vectors are not found even by an exact search"),
    ],
)
def test_searches_that_find_too_little_are_a_problem(searched: Searched, problem: str | None) -> None:
    """An approximate search may miss some; an exact one none."""
    found = problems(two_replicas(settled=False), OpenedShard(10, searched=searched))

    assert found == ([] if problem is None else [f"shard 0 in a.snapshot answers wrong: {problem}"])


def test_payload_indexes_are_compared_by_field_and_type() -> None:
    """More of them than the manifest has are no problem."""
    wanted = {name: {"data_type": "keyword", "points": 3} for name in ("a", "b", "c\n")}

    assert list(index_problems(wanted, {"a": "keyword", "b": "integer", "more": "text"})) == [
        "has b indexed as integer, not as keyword",
        "lacks the payload index of c\\n",
    ]


def test_a_manifest_whose_shards_lie_nowhere_is_bad_by_itself() -> None:
    """A restore would have nothing to send."""
    archive = sets.archive(shards=(replace(HELD, length=1 << 20),))
    shards = (sets.shard(), sets.shard(shard=1), sets.shard(shard=2, archive="gone.snapshot"))

    assert list(layout_problems(sets.manifest(archives=(archive,), shards=shards))) == [
        "shard 1 is said to lie in a.snapshot, and does not",
        "shard 2 is said to lie in gone.snapshot, and does not",
        "a.snapshot is said to hold shards behind its own end",
    ]


def test_a_copy_says_where_it_is() -> None:
    """People find it by that."""
    assert Copy(sets.archive(), HELD, sets.shard()).words == "shard 0 in a.snapshot"
