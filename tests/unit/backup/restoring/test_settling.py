"""When replicas are right, from what all peers say of them. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.backup.restoring import settling
from exporter.backup.restoring.sending import holder_of
from exporter.backup.restoring.target import Places
from exporter.backup.restoring.words import ShardUpload
from exporter.errors import JobError
from exporter.qdrant.kept import LocalReplica, Placement, RemoteReplica, Transfer
from tests.kit.sets import archive

SHARD = ShardUpload(0, None, archive(), 0, 1_024, 10, 10, replicas=2)


def places(
    on_a: tuple[str, int] | None = ("Active", 10),
    on_b: tuple[str, int] | None = ("Active", 10),
    *,
    seen_by_a: str = "Active",
    transfers: tuple[Transfer, ...] = (),
    silent: dict[str, str] | None = None,
) -> Places:
    """Return what peers a (1) and b (2) say of shard 0; `seen_by_a`: b's state as a knows it."""
    said = {}
    for label, peer_id, own, other in (("a", 1, on_a, on_b), ("b", 2, on_b, on_a)):
        local = () if own is None else (LocalReplica(0, None, own[1], own[0]),)
        state = seen_by_a if label == "a" else (other or ("",))[0]
        remote = () if other is None else (RemoteReplica(0, 3 - peer_id, None, state),)
        said[label] = Placement(peer_id, 1, local, remote, transfers)
    return Places({label: one for label, one in said.items() if label not in (silent or {})}, silent or {})


def test_replicas_that_are_active_and_hold_what_was_sent_are_right() -> None:
    """By the word of the peer that has each."""
    assert settling.problems(places(), [SHARD]) == ()
    assert not settling.is_moving(places())


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (places(on_b=("Dead", 10), seen_by_a="Dead"), "shard 0 is Dead on b"),
        (places(seen_by_a="Dead"), "shard 0 is Dead on b"),
        (places(on_b=("Partial", 4), seen_by_a="Partial"), "shard 0 is Partial on b"),
        (places(on_b=("Active", 0)), "shard 0 holds 0 points on b, not 10"),
        (places(on_a=("Active", 0), on_b=("Active", 0)), "shard 0 holds 0 points on a, not 10"),
        (places(on_b=None), "shard 0 has 1 replicas, and 2 are due"),
        (places(transfers=(Transfer(0, 1, 2),)), "replicas are being copied"),
        (places(silent={"b": "timed out"}), "b does not answer: timed out"),
    ],
)
def test_what_is_not_right_is_told(seen: Places, words: str) -> None:
    """Agreement is not enough: 0 and 0 agree."""
    assert words in settling.problems(seen, [SHARD])


def test_replicas_that_differ_are_told_where_a_range_would_let_both_pass() -> None:
    """A writer was running during the backup, and still one replica is copied from the other."""
    loose = replace(SHARD, low=5, high=20)

    found = settling.problems(places(on_a=("Active", 10), on_b=("Active", 11)), [loose])

    assert found == ("the replicas of shard 0 differ: 10 on a, 11 on b",)


@pytest.mark.parametrize(
    "seen",
    [
        places(on_b=("Dead", 0)),
        places(transfers=(Transfer(0, 1, 2),)),
        places(silent={"b": "timed out"}),
    ],
)
def test_what_may_still_come_right_is_waited_for_longer(seen: Places) -> None:
    """A replica that is filled, a peer that restarts."""
    assert settling.is_moving(seen)


@pytest.mark.parametrize(
    ("low", "high", "was_uploaded", "right"),
    [
        (10, 10, False, True),
        (10, 10, True, True),
        (0, 20, False, False),
        (0, 20, True, True),
        (None, None, False, False),
    ],
)
def test_a_shard_is_not_sent_again_only_where_its_points_tell(
    low: int | None, high: int | None, was_uploaded: bool, right: bool
) -> None:
    """A range that an empty replica fits into needs the record's word."""
    shard = replace(SHARD, low=low, high=high)

    assert settling.is_right(places(), shard, was_uploaded=was_uploaded) is right


def test_an_empty_shard_is_sent_where_the_record_does_not_say_that_it_was() -> None:
    """Empty before and after look the same."""
    empty = replace(SHARD, low=0, high=0)
    seen = places(on_a=("Active", 0), on_b=("Active", 0))

    assert not settling.is_right(seen, empty, was_uploaded=False)
    assert settling.is_right(seen, empty, was_uploaded=True)


def test_a_shard_goes_to_the_active_replica_of_the_peer_that_got_least() -> None:
    """So that the work is spread, and no replica is filled from one that waits for its own."""
    assert holder_of(0, places(), {}) == "a"
    assert holder_of(0, places(), {"a": 100}) == "b"
    assert holder_of(0, places(on_a=("Dead", 0)), {"b": 100}) == "b"
    assert holder_of(0, places(on_a=("Dead", 0), on_b=None), {}) == "a"


def test_a_shard_that_nobody_holds_cannot_be_sent() -> None:
    """It says which."""
    with pytest.raises(JobError, match="no peer that answers has a replica of shard 0"):
        holder_of(0, places(on_a=None, on_b=None), {})
