"""What the optimizer would do, and how many points lie in which segment: computed, no engine."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.embedded.collection_config import created
from exporter.embedded.messages import Counts, SegmentFiles, Survey
from exporter.embedded.shard_view import excluded_by_indexed_only, plans, segment_views


def config(**optimizers: Any) -> dict[str, Any]:
    """A collection of 16 dimensions, 64 bytes a point, that indexes from 4 KB, 64 points, on."""
    asked = {"indexing_threshold": 4, "vacuum_min_vector_number": 100, **optimizers}
    body = {
        "vectors": {"size": 16, "distance": "Dot"},
        "optimizers_config": asked,
        "hnsw_config": {"full_scan_threshold": 8},
    }
    return created(body)


def segment(uuid: str, slots: int, *, deleted: int = 0, index: str = "plain") -> SegmentFiles:
    """A segment; the plain one is appendable."""
    return SegmentFiles(
        uuid=uuid,
        config={"vector_data": {"": {"index": {"type": index}}}},
        appendable=index == "plain",
        slots=slots,
        deleted_points=deleted,
        missing_vectors={"": 0},
        indexed_vectors={"": 0 if index == "plain" else slots},
        payload_bytes=0,
    )


def survey(*segments: SegmentFiles) -> Survey:
    """A survey whose counts are those of its segments."""
    points = sum(one.slots - one.deleted_points for one in segments)
    return Survey(Counts(points=points), list(segments))


@pytest.mark.parametrize(("points", "expected"), [(63, []), (64, ["indexing"])])
def test_indexing_begins_when_the_vectors_reach_the_threshold(points: int, expected: list[str]) -> None:
    """63 points of 64 bytes are less than 4 KB, 64 are not: seen with the engine itself."""
    seen = survey(segment("a", points))

    found = plans(segment_views(seen, seen.counts), config())

    assert [plan.optimizer for plan in found] == expected


def test_vectors_of_deleted_points_weigh_until_a_vacuum() -> None:
    """64 slots are 4 KB whether or not some of their points are deleted: seen on a real server."""
    seen = survey(segment("a", 64, deleted=10))

    (plan,) = plans(segment_views(seen, seen.counts), config())

    assert (plan.optimizer, plan.points) == ("indexing", 54)


def test_points_that_came_since_the_survey_are_in_the_smallest_appendable_segment() -> None:
    """A vacuum below the indexing threshold leaves a second appendable one, which stays as it is."""
    seen = survey(segment("large", 250), segment("small", 10, deleted=1))

    views = segment_views(seen, Counts(points=seen.counts.points + 5))

    assert [(view.live_points, view.slots) for view in views] == [(250, 250), (14, 15)]


def test_a_threshold_of_zero_switches_indexing_off() -> None:
    """No number of points is then too many."""
    seen = survey(segment("a", 100_000))

    assert plans(segment_views(seen, seen.counts), config(indexing_threshold=0)) == ()


@pytest.mark.parametrize(
    ("slots", "deleted", "expected"), [(500, 100, 0), (500, 101, 1), (99, 50, 0), (100, 50, 1)]
)
def test_a_vacuum_begins_above_the_share_and_from_the_least_number(
    slots: int, deleted: int, expected: int
) -> None:
    """A fifth of 500 is not enough, one more is; a segment below 100 is left alone: as the engine does."""
    seen = survey(segment("a", slots, deleted=deleted, index="hnsw"))

    assert len(plans(segment_views(seen, seen.counts), config())) == expected


def test_points_written_since_the_survey_are_in_the_appendable_segment() -> None:
    """The sealed segment keeps its own; all else that the engine counts is in the other."""
    seen = survey(segment("sealed", 200, deleted=20, index="hnsw"), segment("open", 10))

    views = {view.uuid: view for view in segment_views(seen, Counts(points=240))}

    assert (views["sealed"].live_points, views["sealed"].slots) == (180, 200)
    assert (views["open"].live_points, views["open"].slots) == (60, 60)


def test_indexed_only_skips_what_is_beyond_both_thresholds() -> None:
    """Plain segments up to full_scan_threshold are searched even so."""
    small, large = survey(segment("a", 128)), survey(segment("a", 129))

    assert excluded_by_indexed_only(segment_views(small, small.counts), config()) == {"": 0}
    assert excluded_by_indexed_only(segment_views(large, large.counts), config()) == {"": 129}
