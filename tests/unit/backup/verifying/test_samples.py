"""Which points are searched for, and when a search did right."""

from __future__ import annotations

import pytest

from exporter.backup.verifying.samples import POINTS, Chosen, is_found


@pytest.mark.parametrize(
    ("own_score", "found", "good"),
    [
        (1.0, [("a", 1.0)], True),
        (1.0, [("b", 1.0), ("a", 0.9)], True),
        (1.0, [("b", 1.0), ("c", 1.0)], True),  # twins
        (1.0, [("b", 1.0004), ("c", 0.2)], True),  # a twin, by a quantized vector
        (1.0, [("b", 7.0), ("c", 5.0)], True),  # by Dot a longer vector is better
        (1.0, [("b", 0.8), ("c", 0.5)], False),
        (0.0, [("b", 0.0), ("c", 3.0)], True),  # by Euclid 0 is best: a twin
        (2.0, [("b", 1.0), ("c", 3.0)], True),
        (0.0, [("b", 1.0), ("c", 3.0)], False),
        (1.0, [("b", 0.8)], False),
        (1.0, [], False),
        (None, [("b", 0.8), ("c", 0.5)], False),  # it is not even found where nothing else may be
    ],
)
def test_a_search_shows_the_point_or_what_fits_as_well(
    own_score: float | None, found: list[tuple[str, float]], good: bool
) -> None:
    """Scores rise or fall along the list, by the kind of distance."""
    assert is_found("a", own_score, found) is good


def test_the_same_points_are_chosen_in_any_order() -> None:
    """Of the same content every look takes the same ones, evenly from all."""
    forth, back = Chosen[int](), Chosen[int]()
    for number in range(1_000):
        forth.offer(str(number), number)
        back.offer(str(999 - number), 999 - number)

    assert forth.points() == back.points()
    assert len(set(forth.points())) == POINTS
    assert min(forth.points()) < 300 < 700 < max(forth.points())


def test_of_few_points_all_are_chosen() -> None:
    """Also where two have one id, as in two shard keys."""
    chosen = Chosen[str]()
    for point in ("one", "other"):
        chosen.offer("7", point)

    assert sorted(chosen.points()) == ["one", "other"]
