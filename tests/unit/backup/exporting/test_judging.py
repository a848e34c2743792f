"""What an export is worth and what it loses, by what the server said."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.backup.exporting.consistency import judged, numbers_of, starts_of
from exporter.backup.exporting.losses import inexact, losses
from exporter.backup.survey import Replica, ShardLayout, Survey
from exporter.backup.words import Consistency, Encoding, ExportRecord

BEGAN = "2026-11-26T05:22:09Z"


def survey(**changed: Any) -> Survey:
    """Return a look at a collection of one shard with two replicas, the second of which may be changed."""
    given: dict[str, Any] = {"op_num": 7, "queue_length": 0, "started": BEGAN, "state": "Active"} | changed
    transfers = given.pop("transfers", ())
    second = Replica(node=2, peer="b", loaded=True, points=5, **given)
    first = Replica(1, "a", "Active", loaded=True, points=5, op_num=7, queue_length=0, started=BEGAN)
    return Survey(
        collection="docs",
        at=0.0,
        views=(),
        missing=(),
        shards=(ShardLayout(0, None, (first, second)),),
        keys=(),
        transfers=transfers,
        resharding=False,
        aliases=(),
        uuid="u",
        described=None,
    )


def record(before: Survey, points_before: int | None = 5, version: str = "1.18.3") -> ExportRecord:
    """Return the record of an export that began with this look."""
    return ExportRecord(
        id="20261126T023000Z-1a2b3c",
        cluster="prod",
        collection="docs",
        encoding=Encoding.MSGPACK,
        opened_at=0.0,
        changed_at=0.0,
        uuid="u",
        versions={"a": version},
        op_numbers=numbers_of(before),
        started=starts_of(before),
        points_before=points_before,
    )


def test_the_same_on_every_replica_before_and_after_is_quiesced() -> None:
    """Nobody wrote, and as many points came as are counted."""
    verdict = judged(record(survey()), survey(), points=5, points_after=5)

    assert (verdict.consistency, verdict.reasons, verdict.missing) == (Consistency.QUIESCED, (), "")


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ({}, {"op_num": 8}, "written while"),
        ({"queue_length": 1}, {}, "which operation was its last"),
        ({}, {"queue_length": 1}, "which operation was its last"),
        ({"op_num": None}, {"op_num": None}, "1.17"),
        ({}, {"started": "2026-11-26T06:00:00Z"}, "started again"),
        ({}, {"state": "Dead"}, "came or went"),
        ({"state": "Dead"}, {}, "came or went"),
        ({}, {"transfers": ((0, 1, 2),)}, "being moved"),
    ],
)
def test_what_is_not_as_before_is_fuzzy_and_says_why(
    before: dict[str, Any], after: dict[str, Any], why: str
) -> None:
    """Also where nobody can say."""
    verdict = judged(record(survey(**before)), survey(**after), points=5, points_after=5)

    assert verdict.consistency is Consistency.FUZZY
    assert any(why in reason for reason in verdict.reasons)
    assert verdict.missing == ""


@pytest.mark.parametrize(
    ("before", "after", "read", "after_op", "missing"),
    [
        (5, 5, 4, 7, True),
        (5, 5, 4, 8, False),  # somebody wrote: may have deleted
        (5, 6, 4, 7, False),
        (None, 5, 4, 7, True),
        (None, None, 4, 7, False),
        (5, 5, 6, 7, False),
    ],
)
def test_fewer_points_than_are_counted_are_missing_where_nobody_wrote(
    before: int | None,
    after: int | None,
    read: int,
    after_op: int,
    missing: bool,
) -> None:
    """Otherwise they are said to differ."""
    verdict = judged(record(survey(), before), survey(op_num=after_op), points=read, points_after=after)

    assert bool(verdict.missing) is missing
    assert verdict.consistency is Consistency.FUZZY


def test_an_old_server_may_leave_points_out_while_somebody_writes() -> None:
    """Before 1.14; it is told with whatever else is not sure."""
    before = survey(op_num=None)

    verdict = judged(record(before, version="1.12.6"), before, points=5, points_after=5)

    assert "before 1.14" in verdict.reasons[-1]


def config(**vectors: Any) -> dict[str, Any]:
    """Return a collection's settings."""
    return {"params": {"vectors": vectors}}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (config(size=4, distance="Dot"), []),
        (config(size=4, distance="Dot", datatype="float16"), []),
        (config(size=4, distance="Cosine"), ["length 1"]),
        (config(size={"size": 4, "distance": "Cosine"}), ["the vectors size"]),
        (config(a={"size": 4, "distance": "Dot", "datatype": "uint8"}), ["the vectors a have whole numbers"]),
        (config(size=4, distance="Cosine", datatype="uint8"), ["whole numbers"]),
        (config(a={"size": 4, "distance": "Dot", "datatype": "turbo4"}), ["turbo"]),
        ({"params": {"sparse_vectors": {"words": {}}}}, []),
        ({}, []),
    ],
)
def test_what_is_lost_is_told_by_the_settings(settings: dict[str, Any], words: list[str]) -> None:
    """For people; what changes at each write is refused by others."""
    told = losses(settings, 0)

    assert len(told) == len(words)
    assert all(word in one for word, one in zip(words, told, strict=True))
    assert bool(inexact(settings)) is (words == ["turbo"])
