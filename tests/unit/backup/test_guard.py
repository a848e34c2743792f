"""When retention must stand still."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.backup.guard import points_change, suspicious
from exporter.backup.words import SetState, StoredSet
from tests.kit.sets import chunk, exported, manifest, shard

ANOTHER_UUID = "11111111-a56f-4964-9400-247f7afcb443"


def night(number: int, points: int | None = 1_000, *, accepted: bool = False, **changed: Any) -> StoredSet:
    """Return the set of one night."""
    made = manifest(
        id=f"202701{number:02}T080000Z-00000a",
        ended_at=1_800_000_000.0 + 86_400 * number,
        shards=(shard(points=points, points_before=points, points_after=points),),
        **changed,
    )
    return StoredSet(made, (), accepted)


def test_nothing_is_suspicious_of_a_first_set() -> None:
    """There is nothing to compare it with."""
    assert suspicious([]) is None
    assert suspicious([night(1, 0)]) is None


def test_half_of_the_points_is_enough_and_one_less_is_not() -> None:
    """The newest is compared with the most that a kept set has, not with the one before it."""
    sets = [night(1, 1_000), night(2, 700), night(3, 500)]

    assert suspicious(sets) is None
    reason = suspicious([*sets, night(4, 499)])

    assert reason is not None
    assert "499 points" in reason
    assert "20270101T080000Z-00000a has 1,000" in reason
    assert reason.endswith("backup accept 20270104T080000Z-00000a")


def test_the_next_set_does_not_make_the_loss_forgotten() -> None:
    """Prune stands still until a person accepts, however many nights that takes."""
    sets = [night(1, 1_000), night(2, 10), night(3, 10), night(4, 10)]

    assert suspicious(sets) is not None


def test_an_accepted_set_is_the_first_that_counts() -> None:
    """Later ones are compared with it, and what it lost is forgotten."""
    sets = [night(1, 1_000), night(2, 100, accepted=True), night(3, 90)]

    assert suspicious(sets) is None
    assert suspicious([*sets, night(4, 40)]) is not None


def test_an_incomplete_set_says_nothing_about_the_collection() -> None:
    """It may hold one shard of three."""
    assert suspicious([night(1), night(2, 10, state=SetState.INCOMPLETE)]) is None


def test_a_collection_that_was_made_anew_is_suspicious() -> None:
    """Though it has as many points, and also in the nights after the first."""
    sets = [night(1), night(2, uuid=ANOTHER_UUID), night(3, uuid=ANOTHER_UUID)]

    reason = suspicious(sets)

    assert reason is not None
    assert "made anew" in reason


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"params": {"vectors": {"size": 8, "distance": "Dot"}, "shard_number": 1}}, "params.vectors.size"),
        ({"params": {"vectors": {"text": {"size": 4}}, "shard_number": 1}}, "params.vectors"),
    ],
)
def test_without_a_uuid_another_configuration_is_suspicious(config: dict[str, Any], place: str) -> None:
    """One node tells no uuid of a collection."""
    reason = suspicious([night(1, uuid=None), night(2, uuid=None, config=config)])

    assert reason is not None
    assert f"config.{place}" in reason


def test_what_a_newer_server_says_besides_is_no_other_configuration() -> None:
    """Nor is a value that was not set before, nor what people wrote as metadata."""
    before = {"params": {"shard_number": 1, "on_disk_payload": None}, "metadata": {"a": 1}}
    after = {"params": {"shard_number": 1, "on_disk_payload": True, "new": 3}, "metadata": {"a": 2}}

    assert suspicious([night(1, uuid=None, config=before), night(2, uuid=None, config=after)]) is None


def test_with_a_uuid_a_changed_configuration_is_nothing() -> None:
    """It was patched: the collection is the same."""
    assert suspicious([night(1), night(2, config={"params": {"shard_number": 2}})]) is None


def test_without_a_uuid_operations_that_went_back_are_suspicious() -> None:
    """A shard that counts from the beginning is a new one, also some nights later."""
    numbers = [{"0/1": 500}, {"0/1": 20}, {"0/1": 900}]
    sets = [night(place, uuid=None, op_numbers=one) for place, one in enumerate(numbers, start=1)]

    reason = suspicious(sets)

    assert reason is not None
    assert "from 500 to 20" in reason


@pytest.mark.parametrize(
    "later",
    [
        {"op_numbers": {"0/1": 500}},
        {"op_numbers": {}},
        {"op_numbers": {"7/1": 3}},
        {"op_numbers": {"0/1": 3}, "versions": {"a": "1.19.0"}},
    ],
)
def test_operations_that_did_not_go_back_for_sure_are_nothing(later: dict[str, Any]) -> None:
    """Not told, of another shard, or after an upgrade, with which the server started again."""
    earlier = night(1, uuid=None, op_numbers={"0/1": 500})

    assert suspicious([earlier, night(2, uuid=None, **later)]) is None


@pytest.mark.parametrize(
    ("counts", "change"),
    [
        ([], None),
        ([1_000], 0.0),
        ([1_000, 2_000, 500], -0.75),
        ([1_000, 1_500], 0.0),
        ([0, 0], 0.0),
        ([1_000, None], None),
        ([None, 700], 0.0),
    ],
)
def test_the_change_of_points_is_against_the_fullest(counts: list[int | None], change: float | None) -> None:
    """The newest itself may be that; unknown points change nothing that could be said."""
    sets = [night(place, count) for place, count in enumerate(counts, start=1)]

    assert points_change(sets) == change


def test_points_that_a_writer_left_behind_stand_in_for_those_not_counted() -> None:
    """A set taken while somebody deleted everything must stop the prune, and not the one after it."""
    unsettled = shard(points=None, settled=False, points_before=1_000, points_after=400)
    busy = StoredSet(manifest(id="20270109T080000Z-00000a", ended_at=1.9e9, shards=(unsettled,)), (), False)

    assert points_change([night(1, 1_000), busy]) == -0.6


def week(number: int, points: int = 1_000, *, accepted: bool = False) -> StoredSet:
    """Return the export of one night."""
    made = exported(
        id=f"202701{number:02}T100000Z-00000a",
        ended_at=1_800_000_000.0 + 86_400 * number + 7_200,
        chunks=(chunk(points=points),),
    )
    return StoredSet(made, (), accepted)


def test_an_export_is_compared_with_exports() -> None:
    """By the points that were written down; that of snapshots is no measure, nor is it theirs."""
    sets = [night(1, 5_000), week(1, 1_000), night(2, 5_000)]

    assert suspicious(sets) is None
    assert points_change(sets) == 0.0
    reason = suspicious([*sets, week(3, 10)])

    assert reason is not None
    assert reason.endswith("backup accept 20270103T100000Z-00000a")
    assert points_change([*sets, week(3, 10), night(4, 5_000)]) == -0.99


def test_a_loss_that_shows_in_both_kinds_is_told_of_both() -> None:
    """Whoever accepts the newest of all needs no second word: what is older is no measure any more."""
    lost = [night(1), week(1), night(2, 10), week(3, 10)]

    reason = suspicious(lost)

    assert reason is not None
    assert reason.count("backup accept") == 2
    assert suspicious([night(1), week(1), night(2, 10), week(3, 10, accepted=True), night(4, 10)]) is None
