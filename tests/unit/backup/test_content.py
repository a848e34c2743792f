"""The number that says what a collection holds."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as some

from exporter.backup.content import ContentHash, difference, total

POINT: dict[str, Any] = {
    "id": 7,
    "payload": {"name": "Käse 🧀", "price": 1.5, "tags": ["a", {"b": None}], "on": True},
    "vector": {"": [0.25, -1.0], "words": {"indices": [9, 2], "values": [0.5, 1.0]}, "rows": [[1.0], [2.0]]},
}
# where the text of a float is never ambiguous: content.py says why
FLOATS = some.floats(width=32, min_value=2.0**-35, max_value=2.0**64) | some.just(0.0)


def content_of(*records: dict[str, Any]) -> str:
    """Return the content of some records."""
    held = ContentHash()
    for record in records:
        held.add_record(record)
    return str(held)


def test_the_order_of_points_does_not_matter() -> None:
    """Shards and segments are read in any order."""
    other = {"id": 8, "payload": {}, "vector": {}}

    assert content_of(POINT, other) == content_of(other, POINT)


def test_the_contents_of_shards_add_up() -> None:
    """What is counted shard by shard is compared with what a server shows as one."""
    other = {"id": 8, "payload": {}, "vector": {}}

    assert total([content_of(POINT), content_of(other), content_of()]) == content_of(POINT, other)


def test_the_order_within_a_point_does_not_matter() -> None:
    """Keys of a payload, names of vectors and indices of a sparse one come in any order."""
    turned = {
        "vector": {
            "rows": [[1.0], [2.0]],
            "words": {"values": [1.0, 0.5], "indices": [2, 9]},
            "": [0.25, -1.0],
        },
        "payload": dict(reversed(POINT["payload"].items())),
        "id": 7,
    }

    assert content_of(turned) == content_of(POINT)


@pytest.mark.parametrize(
    "change",
    [
        {"id": 8},
        {"id": "00000000-0000-0000-0000-000000000007"},
        {"payload": {**POINT["payload"], "name": "Kase 🧀"}},
        {"payload": {**POINT["payload"], "on": 1}},
        {"payload": {**POINT["payload"], "price": None}},
        {"payload": None},
        {"vector": {**POINT["vector"], "": [-1.0, 0.25]}},
        {"vector": {**POINT["vector"], "": [0.25, -1.0000001]}},
        {"vector": {**POINT["vector"], "": [[0.25, -1.0]]}},
        {"vector": {**POINT["vector"], "words": {"indices": [9, 3], "values": [0.5, 1.0]}}},
        {"vector": {**POINT["vector"], "words": {"indices": [9, 2], "values": [1.0, 0.5]}}},
        {"vector": {**POINT["vector"], "rows": [[1.0, 2.0]]}},
        {"vector": {"words": POINT["vector"]["words"], "rows": POINT["vector"]["rows"]}},
    ],
)
def test_any_change_of_a_point_changes_the_content(change: dict[str, Any]) -> None:
    """Ids, payloads with their types, and every number of every vector count."""
    assert content_of({**POINT, **change}) != content_of(POINT)


def test_a_point_lost_and_one_held_twice_are_seen() -> None:
    """Neither cancels out, as it would if hashes were only mixed bit by bit."""
    contents = {content_of(), content_of(POINT), content_of(POINT, POINT)}

    assert len(contents) == 3


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({"id": 1}, {"id": 1, "payload": {}, "vector": {}}),
        ({"id": 1, "vector": [1.0]}, {"id": 1, "vector": {"": [1]}}),
        (
            {"id": "5F1E2C3D-0000-4000-8000-00000000000A"},
            {"id": UUID("5f1e2c3d-0000-4000-8000-00000000000a")},
        ),
        ({"id": 1, "vector": [None, 1.0]}, {"id": 1, "vector": [math.nan, 1.0]}),
        ({"id": 1, "vector": [None]}, {"id": 1, "vector": [math.inf]}),
    ],
)
def test_two_ways_to_say_the_same_are_the_same(one: dict[str, Any], same: dict[str, Any]) -> None:
    """An absent payload is an empty one, an unnamed vector's name is empty, JSON has null for infinity."""
    assert content_of(one) == content_of(same)


@given(value=FLOATS, sign=some.sampled_from([1, -1]))
def test_a_float_is_itself_again_after_its_shortest_text(value: float, sign: int) -> None:
    """Servers write a float's shortest text, the engine gives the float itself."""
    text = str(numpy.float32(sign * value))

    assert content_of({"id": 1, "vector": [float(text)]}) == content_of({"id": 1, "vector": [sign * value]})


def test_a_difference_is_named() -> None:
    """Where only vectors differ, who compares may know why, and may leave them out."""
    other_vector = content_of({**POINT, "vector": {}})
    other_payload = content_of({**POINT, "payload": {}})

    assert difference(content_of(POINT), other_payload, vectors=True) == "ids or payloads"
    assert difference(content_of(POINT), other_vector, vectors=True) == "vectors"
    assert difference(content_of(POINT), other_vector, vectors=False) is None
    assert difference(content_of(POINT), content_of(POINT), vectors=True) is None


def test_contents_made_in_another_way_are_not_compared() -> None:
    """A later program may hash something else: that is no change of the data."""
    assert difference(content_of(POINT), f"c0:{0:032x}:{0:032x}", vectors=True) is None


def test_the_content_of_a_point_stays_what_it_was() -> None:
    """It is kept in stores for years: where this fails, the format needs another name."""
    assert content_of(POINT) == ("c1:1a157a69c020166efbf2307713d17254:a2871c503c6ef409b7cccd195765559f")
