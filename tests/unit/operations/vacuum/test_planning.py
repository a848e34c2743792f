"""Victims, thresholds and disk of a vacuum, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from exporter.backup.thresholds.optimizing import SegmentSeen
from exporter.operations.vacuum.planning import choose, is_rewritten, left_of, put_by, weigh
from exporter.operations.vacuum.words import Settings, VacuumTerms

KB = 1_000
MIB = 1 << 20
OWN = Settings(deleted_threshold=0.2, minimum=1_000, may_optimize=True)
TERMS = VacuumTerms(min_reclaim_bytes=0)


def segment(uuid: str | None, live: int, deleted: int, **changed: object) -> SegmentSeen:
    """Return a segment of shard 0 on peer a whose live points hold 1,000 bytes each, changed as told."""
    fields: dict[str, object] = {
        "peer": "a",
        "shard": 0,
        "uuid": uuid,
        "kind": "indexed",
        "live": live,
        "deleted": deleted,
        "vector_bytes": live * 900,
        "payload_bytes": live * 100,
        "vectors": {"": (live, live + deleted)},
    }
    return SegmentSeen(**fields | changed)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """Segments, the thresholds they meet, and who is rewritten by which thresholds."""

    segments: Sequence[SegmentSeen]
    victims: Sequence[str]
    change: Mapping[str, float] = field(default_factory=dict)
    besides: Sequence[str] = ()
    own: Settings = OWN
    terms: VacuumTerms = TERMS


def settings(ratio: float, minimum: int = 1_000) -> Settings:
    """Return thresholds of a collection."""
    return Settings(deleted_threshold=ratio, minimum=minimum, may_optimize=True)


CASES = {
    "nothing is deleted": Case([segment("x", 5_000, 0)], []),
    "the collection's own thresholds suffice": Case([segment("x", 7_000, 3_000)], ["x"]),
    "a share under the collection's threshold lowers it": Case(
        [segment("x", 8_500, 1_500)], ["x"], {"deleted_threshold": 0.1485}
    ),
    "a share that equals the threshold is not above it": Case(
        [segment("x", 8_000, 2_000)], ["x"], {"deleted_threshold": 0.198}
    ),
    "a share that equals what is asked for is a victim": Case(
        [segment("x", 9_000, 1_000)], ["x"], {"deleted_threshold": 0.099}
    ),
    "a share just under what is asked for is none": Case([segment("x", 9_001, 999)], []),
    "a small segment lowers the minimum alone": Case(
        [segment("x", 350, 150)], ["x"], {"vacuum_min_vector_number": 500}
    ),
    "a small segment under both lowers both": Case(
        [segment("x", 425, 75)], ["x"], {"deleted_threshold": 0.1485, "vacuum_min_vector_number": 500}
    ),
    "a hundred points are enough, for that many the server allows": Case(
        [segment("x", 60, 40)], ["x"], {"vacuum_min_vector_number": 100}
    ),
    "ninety-nine points can never be had": Case([segment("x", 50, 49)], []),
    "as many points as the minimum are enough": Case([segment("x", 700, 300)], ["x"]),
    "a proxy is no victim and is rewritten by nobody": Case(
        [segment("x", 7_000, 3_000, kind="special"), segment("y", 8_500, 1_500)],
        ["y"],
        {"deleted_threshold": 0.1485},
    ),
    "the most bytes come first": Case(
        [segment("small", 3_000, 2_000), segment("large", 30_000, 10_000)], ["large", "small"]
    ),
    "the smallest share of those that are missed decides": Case(
        [segment("x", 8_500, 1_500), segment("y", 8_800, 1_200), segment("z", 5_000, 5_000)],
        ["z", "x", "y"],
        {"deleted_threshold": 0.1188},
    ),
    "a high share in a small segment leaves the threshold as it is": Case(
        [segment("x", 250, 250), segment("y", 7_000, 3_000)], ["y", "x"], {"vacuum_min_vector_number": 500}
    ),
    "a threshold that is put takes others too": Case(
        [segment("x", 8_985, 1_015), segment("y", 8_995, 1_005)],
        ["x"],
        {"deleted_threshold": 0.1004},
        ["y"],
        terms=VacuumTerms(min_reclaim_bytes=0, min_deleted_ratio=0.1015),
    ),
    "a minimum that is put takes others too, by their vectors": Case(
        [segment("x", 350, 150), segment("y", 5_000, 0, vectors={"": (5_000, 5_000), "t": (3_000, 3_900)})],
        ["x"],
        {"vacuum_min_vector_number": 500},
        ["y"],
    ),
    "what the own thresholds take besides is counted too": Case(
        [segment("x", 7_000, 3_000), segment("y", 5_000, 0, vectors={"t": (1_000, 3_000)})], ["x"], {}, ["y"]
    ),
    "a victim that its vectors already betray needs no lower threshold": Case(
        [segment("x", 8_500, 1_500, vectors={"t": (1_000, 3_000)})], ["x"]
    ),
    "a threshold is never raised": Case([segment("x", 7_000, 3_000)], ["x"], own=settings(0.05), terms=TERMS),
    "a minimum is never raised": Case(
        [segment("x", 8_500, 1_500)], ["x"], {"deleted_threshold": 0.1485}, own=settings(0.2, 50)
    ),
    "a threshold is never put to 0, where it would take every segment": Case(
        [segment("x", 999_950, 50)],
        ["x"],
        {"deleted_threshold": 0.000025},
        terms=VacuumTerms(min_reclaim_bytes=0, min_deleted_ratio=0.00001),
    ),
    "too little to free is left": Case(
        [segment("x", 7_000, 3_000)], [], terms=VacuumTerms(min_reclaim_bytes=3_000 * KB + 1)
    ),
    "enough to free together is enough": Case(
        [segment("x", 7_000, 3_000), segment("y", 7_000, 3_000, peer="b")],
        ["x", "y"],
        terms=VacuumTerms(min_reclaim_bytes=6_000 * KB),
    ),
    "a segment without a live point hides its bytes and is a victim all the same": Case(
        [segment("x", 0, 3_000)], ["x"], terms=VacuumTerms()
    ),
    "one without a live point is judged by the others' points": Case(
        [segment("x", 0, 3_000), segment("y", 50_000, 0)], [], terms=VacuumTerms()
    ),
    "and is a victim where those make it worth its while": Case(
        [segment("x", 0, 3_000), segment("y", 50_000, 0)],
        ["x"],
        terms=VacuumTerms(min_reclaim_bytes=3_000 * KB),
    ),
    "before 1.17 segments have no names": Case([segment(None, 7_000, 3_000)], [""]),
}


@pytest.mark.parametrize("name", CASES)
def test_victims_and_thresholds_of_a_collection(name: str) -> None:
    """Who is rewritten, by which thresholds, and who besides."""
    case = CASES[name]

    choice = choose(case.segments, case.own, case.terms)

    assert [victim.segment.uuid or "" for victim in choice.victims] == list(case.victims)
    assert choice.change == pytest.approx(case.change)
    assert [victim.segment.uuid for victim in choice.besides] == list(case.besides)
    assert bool(choice.note) == (not case.victims)
    put = put_by(choice.change, case.own)
    assert all(is_rewritten(victim.segment, put) for victim in (*choice.victims, *choice.besides))


NEEDS = {
    "twice a folder of twice the raw data and 64 MiB": (
        [segment("x", 7_000, 3_000)],
        {"a": 2 * (2 * 10_000 * KB + 64 * MIB)},
    ),
    "on each peer for itself": (
        [segment("x", 7_000, 3_000), segment("y", 14_000, 6_000, peer="b")],
        {"a": 2 * (2 * 10_000 * KB + 64 * MIB), "b": 2 * (2 * 20_000 * KB + 64 * MIB)},
    ),
    "for all of a peer at once": (
        [segment("x", 7_000, 3_000), segment("y", 7_000, 3_000, shard=1)],
        {"a": 4 * (2 * 10_000 * KB + 64 * MIB)},
    ),
    "also for who is rewritten besides": (
        [segment("x", 7_000, 3_000), segment("y", 5_000, 0, vectors={"t": (1_000, 3_000)})],
        {"a": 2 * (2 * 10_000 * KB + 64 * MIB) + 2 * (2 * 5_000 * KB + 64 * MIB)},
    ),
    "by the other points' size where no point is left": (
        [segment("x", 0, 3_000), segment("y", 5_000, 0)],
        {"a": 2 * (2 * 3_000 * KB + 64 * MIB)},
    ),
    "nothing where nothing is rewritten": ([segment("x", 5_000, 0)], {}),
}


@pytest.mark.parametrize("name", NEEDS)
def test_free_disk_that_a_vacuum_takes(name: str) -> None:
    """The server refuses to rewrite a segment without twice its folder."""
    segments, needed = NEEDS[name]

    assert choose(segments, OWN, TERMS).needed_bytes == needed


def test_why_there_is_nothing_to_do_is_said() -> None:
    """Nothing is deleted, or too little to be worth it."""
    clean = choose([segment("x", 5_000, 0)], OWN, VacuumTerms())
    small = choose([segment("x", 7_000, 3_000)], OWN, VacuumTerms())

    assert clean.note == "no segment has 10% of its points deleted"
    assert small.note == "rewriting would free 2.9 MiB, less than 64.0 MiB"


def test_a_victim_says_why_it_is_one() -> None:
    """By its points, or by the entries of a vector that nobody asked for."""
    choice = choose(
        [
            segment("x", 7_000, 3_000),
            segment("y", 5_000, 0, vectors={"title": (1_000, 3_000)}),
            segment("z", 5_000, 0, vectors={"": (1_000, 3_000)}),
        ],
        OWN,
        TERMS,
    )

    assert choice.victims[0].reason == "30.0% of 10,000 points are deleted"
    assert [one.reason for one in choice.besides] == [
        "2,000 of 3,000 indexed entries of vector title are gone",
        "2,000 of 3,000 indexed entries of the vector are gone",
    ]
    assert not any(one.wanted for one in choice.besides)


def test_a_victim_is_left_until_its_segment_is_gone() -> None:
    """By its uuid, on its peer and shard: another peer's segment is another one."""
    choice = choose([segment("x", 7_000, 3_000), segment("y", 7_000, 3_000)], OWN, TERMS)

    left = left_of(choice.victims, [segment("x", 7_000, 3_000), segment("y", 7_000, 0, peer="b")], OWN)

    assert [victim.segment.uuid for victim in left] == ["x"]


def test_a_victim_without_a_uuid_is_left_until_its_shard_wants_no_vacuum() -> None:
    """Before 1.17 nothing else tells."""
    choice = choose([segment(None, 7_000, 3_000)], OWN, TERMS)

    assert left_of(choice.victims, [segment(None, 7_000, 3_000), segment(None, 9_000, 0)], OWN)
    assert not left_of(choice.victims, [segment(None, 7_000, 0), segment(None, 9_000, 0)], OWN)


def test_a_collection_weighs_what_all_its_segments_weigh() -> None:
    """Deleted points are counted, and their bytes are guessed from the live ones'."""
    weight = weigh([segment("x", 7_000, 3_000), segment("y", 5_000, 0)], disk_bytes=7)

    assert (weight.segments, weight.points, weight.deleted) == (2, 12_000, 3_000)
    assert (weight.reclaimable_bytes, weight.data_bytes, weight.disk_bytes) == (3_000 * KB, 12_000 * KB, 7)
