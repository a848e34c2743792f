"""What a set is worth, by what real peers said before and after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.backup.judging import Taken, judge
from exporter.backup.survey import Replica, ShardLayout, Survey
from exporter.backup.words import Archive, ArchivedShard, SetState
from tests.kit.sets import archive
from tests.unit.backup.recorded import survey

BEFORE = survey("02_healthy", "rf2")


def taken(seen: Survey, *, but: tuple[str, ...] = ()) -> list[Taken]:
    """Return the archives that the peers of a survey would give, in turn."""
    return [Taken(one, seen.uuid) for one in archives(seen) if one.peer not in but]


def archives(seen: Survey) -> list[Archive]:
    """Return an archive of every peer with the shards that it holds."""
    return [
        archive(
            file=f"{label}.snapshot",
            peer=label,
            began_at=1_000.0 + number,
            shards=tuple(
                ArchivedShard(layout.shard, 0, 512) for layout in seen.shards if layout.on(label) is not None
            ),
        )
        for number, label in enumerate(seen.peers_holding())
    ]


def changed(seen: Survey, shard: int, peer: str, **fields: object) -> Survey:
    """Return a survey with one replica changed."""

    def replica(one: Replica) -> Replica:
        return replace(one, **fields) if one.peer == peer else one  # type: ignore[arg-type]

    def layout(one: ShardLayout) -> ShardLayout:
        return replace(one, replicas=tuple(map(replica, one.replicas))) if one.shard == shard else one

    return replace(seen, shards=tuple(map(layout, seen.shards)))


def test_a_set_of_all_peers_with_nobody_writing_is_complete_and_settled() -> None:
    """Points are those of the replicas that count, summed once a shard."""
    judged = judge(BEFORE, BEFORE, taken(BEFORE))

    assert (judged.state, judged.problems, judged.moved) == (SetState.COMPLETE, (), False)
    assert all(shard.settled for shard in judged.shards)
    assert sum(shard.points or 0 for shard in judged.shards) == 20_000


@pytest.mark.parametrize("lacking", ["peer0", "peer1", "peer2"])
def test_a_peer_without_an_archive_is_named_where_others_hold_its_shards(lacking: str) -> None:
    """Degraded: every shard is there."""
    judged = judge(BEFORE, BEFORE, taken(BEFORE, but=(lacking,)), failures={lacking: "500: disk full"})

    assert judged.state is SetState.DEGRADED
    assert judged.problems == (f"no archive of {lacking}: 500: disk full",)
    assert all(shard.archive is not None for shard in judged.shards)


def test_two_peers_without_an_archive_leave_shards_uncovered() -> None:
    """Incomplete, whatever else is good; no other try would help."""
    judged = judge(BEFORE, BEFORE, taken(BEFORE, but=("peer0", "peer1")))

    assert judged.state is SetState.INCOMPLETE
    assert not judged.moved
    assert [shard.shard for shard in judged.shards if shard.archive is None] == [2, 5]


def test_a_dead_peer_degrades_the_set_of_the_others() -> None:
    """Its replicas say Active still, but nobody answers there."""
    seen = survey("04_peer2_killed_9s", "rf2", peers=(0, 1))

    judged = judge(seen, seen, taken(seen))

    assert judged.state is SetState.DEGRADED
    assert judged.problems == ("no answer of peer 2386962488601729, which holds replicas (peer2: down)",)
    assert {shard.archive for shard in judged.shards} == {"peer0.snapshot", "peer1.snapshot"}


def test_a_peer_that_is_down_and_holds_nothing_is_no_problem() -> None:
    """Nothing of this collection is on it."""
    seen = survey("17_all_back", "rf1", peers=(1, 2))

    assert judge(seen, seen, taken(seen)).state is SetState.COMPLETE


@pytest.mark.parametrize(
    "fields", [{"state": "Dead"}, {"state": "Partial"}, {"loaded": False}], ids=["dead", "partial", "dummy"]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_replica_that_is_not_whole_at_both_looks_does_not_count(
    fields: dict[str, object], when: str
) -> None:
    """The other replica does; without another one the shard is uncovered."""
    bad = changed(BEFORE, 0, "peer1", **fields)
    before, after = (bad, BEFORE) if when == "before" else (BEFORE, bad)

    judged = judge(before, after, taken(BEFORE))
    alone = judge(before, after, taken(BEFORE, but=("peer2",)))

    assert judged.shards[0].archive == "peer2.snapshot"
    assert judged.state is SetState.COMPLETE
    assert alone.shards[0].archive is None
    assert alone.state is SetState.INCOMPLETE
    assert any("peer1" in problem for problem in alone.problems)


def test_a_replica_whose_archive_says_that_it_was_dead_does_not_count() -> None:
    """Between two good looks it may have been behind."""
    made = [
        replace(one, not_active=frozenset({0})) if one.archive.peer == "peer1" else one
        for one in taken(BEFORE)
    ]

    assert judge(BEFORE, BEFORE, made).shards[0].archive == "peer2.snapshot"


def test_an_archive_without_the_shard_s_data_does_not_cover_it() -> None:
    """A shard that was remote has a folder there, and no segments."""
    made = [Taken(replace(one.archive, shards=one.archive.shards[1:]), one.uuid) for one in taken(BEFORE)]

    judged = judge(BEFORE, BEFORE, made)

    assert judged.state is SetState.INCOMPLETE
    assert judged.shards[0].archive is None


def test_of_replicas_the_one_with_most_operations_counts_then_the_latest_then_the_lowest_id() -> None:
    """Each rule decides where those before it do not."""
    same_op = [
        changed(changed(BEFORE, 0, "peer1", op_num=7), 0, "peer2", op_num=7),
        changed(changed(BEFORE, 0, "peer1", op_num=8), 0, "peer2", op_num=7),
        changed(changed(BEFORE, 0, "peer1", op_num=None), 0, "peer2", op_num=0),
    ]
    at_once = [Taken(replace(one.archive, began_at=5.0), one.uuid) for one in taken(BEFORE)]

    assert [judge(seen, seen, taken(BEFORE)).shards[0].archive for seen in same_op] == [
        "peer2.snapshot",
        "peer1.snapshot",
        "peer2.snapshot",
    ]
    # peer2's id is lower than peer1's
    assert judge(same_op[0], same_op[0], at_once).shards[0].archive == "peer2.snapshot"


@pytest.mark.parametrize(
    ("before", "after", "points"),
    [
        ({"op_num": 5, "points": 10}, {"op_num": 6, "points": 12}, None),
        ({"op_num": 5, "points": 10}, {"op_num": 6, "points": 10}, 10),  # an update, or one out and one in
        ({"op_num": 5, "points": 10, "queue_length": 3}, {"op_num": 5, "points": 10}, 10),
        ({"op_num": 5, "points": 10}, {"op_num": 5, "points": 10, "queue_length": 1}, 10),
        ({"op_num": None, "points": 10}, {"op_num": None, "points": 10}, 10),  # before 1.17
        ({"op_num": 5, "points": 10}, {"op_num": 5, "points": 10, "started": "later"}, 10),  # counted anew
        ({"op_num": 5, "points": 10}, {"op_num": 5, "points": 11}, None),  # counted otherwise while rebuilt
    ],
)
def test_a_shard_is_settled_only_where_no_operation_came(
    before: dict[str, object], after: dict[str, object], points: int | None
) -> None:
    """The counts are told in any case, and the number where both looks agree."""
    old = changed(changed(BEFORE, 0, "peer2", op_num=0), 0, "peer1", **before)
    new = changed(changed(BEFORE, 0, "peer2", op_num=0), 0, "peer1", **after)
    only = taken(BEFORE, but=("peer2",))

    shard = judge(old, new, only).shards[0]

    assert not shard.settled
    assert shard.points == points
    assert (shard.points_before, shard.points_after) == (before["points"], after["points"])


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        ({"uuid": "another"}, "its uuid changed"),
        ({"aliases": ("new",)}, "the aliases changed"),
        ({"transfers": ((0, 1, 2),)}, "the transfers of shards changed"),
        ({"resharding": True}, "resharded"),
        ({"shards": BEFORE.shards[:-1]}, "the shards changed"),
        ({"views": ()}, "no peer answered"),
        ({"keys": survey("02_healthy", "custom").keys}, "the shard keys changed"),
    ],
)
def test_what_changed_between_the_looks_makes_it_incomplete_and_worth_another_try(
    difference: dict[str, object], words: str
) -> None:
    """The snapshots do not fit together."""
    after = replace(BEFORE, **difference)  # type: ignore[arg-type]

    judged = judge(BEFORE, after, taken(BEFORE))

    assert (judged.state, judged.moved) == (SetState.INCOMPLETE, True)
    assert any(words in problem for problem in judged.problems)


def test_a_shard_on_other_peers_than_before_moved() -> None:
    """The replica's state is no move; its place is."""
    dead = changed(BEFORE, 0, "peer1", state="Dead")
    moved = replace(
        BEFORE, shards=(replace(BEFORE.shards[0], replicas=BEFORE.shards[2].replicas), *BEFORE.shards[1:])
    )

    assert not judge(BEFORE, dead, taken(BEFORE)).moved
    assert judge(BEFORE, moved, taken(BEFORE)).moved


def test_a_transfer_that_runs_all_the_while_is_no_difference() -> None:
    """A replica that is copied for hours need not stop backups: what it is copied from is whole."""
    seen = replace(BEFORE, transfers=((0, 1, 2),))

    assert judge(seen, seen, taken(BEFORE)).state is SetState.COMPLETE


def test_an_archive_of_another_collection_of_that_name_is_seen_by_its_uuid() -> None:
    """It was made anew and back again: both looks agree, an archive does not."""
    first, *rest = taken(BEFORE)

    judged = judge(BEFORE, BEFORE, [replace(first, uuid="another"), *rest])

    assert (judged.state, judged.moved) == (SetState.INCOMPLETE, True)


def test_operations_that_are_counted_anew_are_a_difference() -> None:
    """A server without a cluster tells no uuid."""
    after = changed(BEFORE, 0, "peer1", op_num=0)

    judged = judge(changed(BEFORE, 0, "peer1", op_num=9), after, taken(BEFORE))

    assert judged.moved
    assert any("counted anew" in problem for problem in judged.problems)
