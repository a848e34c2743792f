"""What is planned and what is refused, from a set and a look at the target. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exporter.backup.restoring.lineup import MakeKey
from exporter.backup.restoring.plan import aliases_wanted, default_target, key_creation, plan
from exporter.backup.restoring.refusals import refusals
from exporter.backup.restoring.words import PeerSeen, RestoreOptions, RestorePlan, TargetSeen
from exporter.backup.words import (
    ArchivedShard,
    KeyLayout,
    Level,
    Manifest,
    Proof,
    RestoreRecord,
    RestoreState,
    SetState,
    StoredSet,
)
from exporter.errors import JobRefused
from exporter.qdrant.kept import Description
from tests.kit.sets import archive, exported, manifest, shard

TARGET = default_target("docs", "20270115T080000Z-00000a")
CUSTOM = {"params": {"vectors": {}, "sharding_method": "custom", "shard_number": 1, "replication_factor": 2}}
RECORD = RestoreRecord(
    "20270116T080000Z-00000b", "20270115T080000Z-00000a", "prod", "docs", TARGET, False,
    RestoreState.OPEN, 1.0, 1.0, (), (1,),
)  # fmt: skip


def stored(**changed: Any) -> StoredSet:
    """Return a set, its manifest changed as told."""
    return StoredSet(manifest(**changed), (), accepted=False)


def seen(**changed: Any) -> TargetSeen:
    """Return three peers of 1.18.3 in a cluster without the target, changed as told."""
    fields: dict[str, Any] = {
        "name": TARGET,
        "peers": tuple(PeerSeen(label, "1.18.3", number) for number, label in enumerate("abc", 1)),
        "troubles": (),
        "members": frozenset({1, 2, 3}),
        "collections": frozenset(),
        "aliases": {},
    }
    return TargetSeen(**fields | changed)


def planned(kept: StoredSet, there: TargetSeen | None = None, **options: Any) -> RestorePlan:
    """Plan a restore that nothing stands against."""
    return plan(kept, there or seen(), RestoreOptions(**options), None)


def described(points: int | None = None, **metadata: Any) -> Description:
    """Return the description of a collection."""
    return Description({"params": {}, "metadata": metadata}, {}, points, "green", "ok")


def custom(*keys: tuple[str | int, tuple[int, ...], tuple[int, ...]]) -> Manifest:
    """Return the manifest of a collection with these keys, (key, shards, peers)."""
    shards = tuple(shard(shard=number, key=key, peer_ids=peers) for key, ids, peers in keys for number in ids)
    parts = tuple(ArchivedShard(one.shard, 0, 1_024) for one in shards)
    return manifest(
        config=CUSTOM,
        keys=tuple(KeyLayout(key, ids) for key, ids, _ in keys),
        shards=shards,
        archives=(archive(shards=parts),),
    )


def test_a_good_set_and_an_empty_place_are_planned() -> None:
    """One shard, of which the manifest knows the points, one replica."""
    [upload] = planned(stored()).uploads

    assert (upload.shard, upload.low, upload.high, upload.replicas) == (0, 10, 10, 1)
    assert upload.size_bytes == 2_048 + 1_024


@pytest.mark.parametrize(
    ("there", "options", "words"),
    [
        (seen(troubles=("b does not answer: timed out",)), {}, "b does not answer: timed out"),
        (seen(name="docs"), {}, "say --into docs where you mean it"),
        (seen(aliases={TARGET: "other"}), {}, "is an alias of other"),
        (seen(exists=True, description=described(7)), {}, "exists, with 7 points"),
        (seen(exists=True), {}, "exists, and no restore of this backup made it"),
        (seen(aliases={"live": "other"}), {"aliases": True}, "the alias live of the backup shows other now"),
        (seen(collections=frozenset({"live"})), {"switch_alias": "live"}, "live is the name of a collection"),
        (seen(), {"switch_alias": TARGET}, "so it can be no alias"),
        (seen(), {"free_bytes": {"b": 1_000}}, "b has 1,000 bytes free, and about"),
        (seen(peers=(PeerSeen("a", "nightly", 1),)), {}, "a version cannot be read"),
        (seen(peers=(PeerSeen("a", "2.18.3", 1),)), {}, "the server is 2.18.3"),
    ],
)
def test_what_would_do_harm_is_refused_with_its_reason(
    there: TargetSeen, options: dict[str, Any], words: str
) -> None:
    """Before the first request that writes."""
    with pytest.raises(JobRefused, match=words):
        planned(stored(aliases=("live",)), there, **options)


def test_everything_that_stands_against_it_is_said_at_once() -> None:
    """Nobody has to find one reason after the other."""
    kept = stored(archives=(), config=CUSTOM)

    found = refusals(kept, seen(name="docs", members=frozenset()), RestoreOptions(), None)

    assert [text.split(" ")[0] for text in found] == ["backup", "the", "docs"]


def test_names_that_hold_control_characters_are_told_escaped() -> None:
    """A message stands on a terminal."""
    with pytest.raises(JobRefused, match=r"new\\nline exists"):
        planned(stored(), seen(name="new\nline", exists=True, description=described(1)), target="new\nline")


@pytest.mark.parametrize(
    ("version", "documented"),
    [("1.17.9", False), ("1.18.0", True), ("1.18.9", True), ("1.19.2", True), ("1.20.0", False)],
)
def test_the_same_minor_version_and_the_next_are_documented(version: str, documented: bool) -> None:
    """The others want force, and say so as a warning then."""
    there = seen(peers=(PeerSeen("a", version, 1),))

    found = refusals(stored(), there, RestoreOptions(), None)
    warned = planned(stored(), there, force=True).warnings

    assert (found == ()) is documented
    assert any(version in text for text in warned) is not documented


def test_an_incomplete_set_with_all_its_shards_wants_force() -> None:
    """The layout moved while it was taken; in need somebody may want it all the same."""
    kept = stored(state=SetState.INCOMPLETE, problems=("a shard moved",))

    with pytest.raises(JobRefused, match="a shard moved"):
        planned(kept)

    assert "the backup is incomplete: a shard moved" in planned(kept, force=True).warnings


def test_a_set_that_is_bad_wants_force() -> None:
    """The newest proof of it failed."""
    bad = Proof(Level.HASHED, 5.0, False, ("another SHA-256",), "", 1.0)
    kept = replace(stored(), proofs=(bad,))

    with pytest.raises(JobRefused, match="failed its proof \\(another SHA-256\\)"):
        planned(kept)

    assert planned(kept, force=True).uploads


def test_an_export_is_refused_with_the_command_that_imports_it() -> None:
    """Nothing else is said of it: what a restore would lack is no matter of an export."""
    export = StoredSet(exported(), (), accepted=False)
    there = seen(name="a b", troubles=("c does not answer",))

    (problem,) = refusals(export, there, RestoreOptions(target="a b", switch_alias="live"), None)

    assert problem == (
        "backup 20270115T080000Z-00000a is an export, which is imported: qdrant-exporter backup import"
        " 20270115T080000Z-00000a --as 'a b' --switch-alias live"
    )
    with pytest.raises(JobRefused, match="backup import"):
        planned(export)


def test_automatic_shards_with_gaps_are_refused() -> None:
    """A new collection counts its shards from 0."""
    kept = stored(shards=(shard(shard=1),), archives=(archive(shards=(ArchivedShard(1, 0, 512),)),))

    with pytest.raises(JobRefused, match="have the ids 1, and those of a new collection are counted from 0"):
        planned(kept)


def test_a_key_is_placed_on_its_peers_only_where_all_of_them_are_there() -> None:
    """In another cluster the ids mean nothing."""
    kept = custom(("a", (1, 2), (1, 3)))
    step = MakeKey("a", (1, 2))

    at_home = key_creation(kept, seen(), step)
    elsewhere = key_creation(kept, seen(members=frozenset({1, 9})), step)

    assert b'"placement":[1,3]' in at_home.request.body
    assert b"placement" not in elsewhere.request.body


def test_a_key_has_as_many_replicas_as_it_had_and_no_more_than_there_are_peers() -> None:
    """A key may have a replication factor of its own: only its layout tells."""
    kept = StoredSet(custom(("hot", (1,), (1, 2, 3)), ("cold", (2,), (1,))), (), accepted=False)

    whole = planned(kept)
    small = planned(kept, seen(members=frozenset({1, 2})))

    assert [upload.replicas for upload in whole.uploads] == [3, 1]
    assert [upload.replicas for upload in small.uploads] == [2, 1]


def test_a_filler_has_one_replica_and_no_place() -> None:
    """It is gone in a moment."""
    body = key_creation(
        manifest(config=CUSTOM), seen(), MakeKey("__qdrantx_gap_1_1", (1,), filler=True)
    ).request.body

    assert body == b'{"shard_key":"__qdrantx_gap_1_1","shards_number":1,"replication_factor":1}'


@pytest.mark.parametrize(
    ("copy", "low", "high"),
    [
        (shard(points=10, settled=True), 10, 10),
        (shard(points=12, settled=False, counted=True, points_before=10, points_after=20), 12, 12),
        (shard(points=12, settled=False, points_before=20, points_after=10), 10, 20),
        (shard(points=None, settled=False, points_before=None, points_after=10), None, None),
    ],
)
def test_a_replica_must_hold_what_the_backup_knows_of_it(
    copy: Any, low: int | None, high: int | None
) -> None:
    """Exactly, where nobody wrote or the archive was counted; else a number in between."""
    [upload] = planned(stored(shards=(copy,))).uploads

    assert (upload.low, upload.high) == (low, high)


def test_the_set_s_aliases_come_when_asked_and_one_more_when_named() -> None:
    """Each once."""
    kept = manifest(aliases=("b", "a"))

    assert aliases_wanted(kept, RestoreOptions()) == ()
    assert aliases_wanted(kept, RestoreOptions(aliases=True, switch_alias="b")) == ("a", "b")


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_a_long_name_keeps_room_for_the_id(letter: str) -> None:
    """It is cut between two characters, and short enough for the names of its own snapshots."""
    name = default_target(letter * 120 + "x" * 60, "20270115T080000Z-00000a")

    assert 186 < len(name.encode()) <= 190
    assert name.endswith("__restore_20270115T080000Z-00000a")


@pytest.mark.parametrize("name", [".", "..", "é" * 128])
def test_a_name_that_stops_consensus_is_refused(name: str) -> None:
    """A server takes it and cannot make its folder: then no peer agrees to anything any more."""
    with pytest.raises(JobRefused, match="stands still for good"):
        plan(stored(), seen(name=name), RestoreOptions(force=True), None)


@pytest.mark.parametrize("character", ["/", "\\", '"', "<", ">", ":", "|", "?", "*", "\0", "\x1f"])
def test_a_name_that_a_server_refuses_is_refused_before_it_is_asked(character: str) -> None:
    """By what a name may be, and how to choose another: an old collection may be called so."""
    with pytest.raises(JobRefused, match=r"a name may have any character but .*--as"):
        plan(stored(), seen(name=f"a{character}b"), RestoreOptions(force=True), None)


def test_an_empty_name_is_refused() -> None:
    """It is no word for the name that is made up."""
    with pytest.raises(JobRefused, match="is empty"):
        plan(stored(), seen(name=""), RestoreOptions(), None)


def test_a_restore_that_is_done_is_not_done_again() -> None:
    """The target is there and proven."""
    there = seen(exists=True, description=described(10))

    with pytest.raises(JobRefused, match="was restored from this backup already"):
        plan(stored(), there, RestoreOptions(), replace(RECORD, state=RestoreState.DONE))
