"""What counts as the same point, where the bits are not the same."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.backup.exporting.records import Point, Said
from exporter.backup.exporting.vectors import packed
from exporter.backup.importing.comparing import Comparison

CONFIG = {
    "params": {
        "vectors": {
            "unit": {"size": 2, "distance": "Cosine"},
            "half": {"size": 2, "distance": "Cosine", "datatype": "float16"},
            "dot": {"size": 2, "distance": "Dot"},
            "turbo": {"size": 2, "distance": "Dot", "datatype": "turbo4"},
            "size": {"size": 2, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}},
        }
    }
}


def compared(vector: Any, held: Any, payload: Any = None, held_payload: Any = None) -> tuple[str, set[str]]:
    """Compare one point with what a server shows, and return what is wrong and what was rounded."""
    comparison = Comparison(CONFIG)
    wrong = comparison.other([Point(1, payload, packed(vector))], [Said(1, held_payload, held)])
    return wrong, comparison.rounded


@pytest.mark.parametrize(
    ("name", "vector", "held", "is_same"),
    [
        ("unit", [0.6, 0.8], [0.6, 0.8000001], True),
        ("unit", [0.6, 0.8], [0.6, 0.8001], False),
        ("half", [0.6, 0.8], [0.6, 0.801], True),
        ("half", [0.6, 0.8], [0.6, 0.81], False),
        ("half", [0.001, 1.0], [0.002, 1.0], False),
        ("half", [6e-8, 1.0], [1.2e-7, 1.0], True),
        ("unit", [1e-6, 1.0], [2e-6, 1.0], False),
        ("dot", [0.6, 0.8], [0.6, 0.8000001], False),
        ("turbo", [0.6, 0.8], [0.5, 0.9], True),
        ("turbo", [0.6, 0.8], [0.5], False),
        ("turbo", [0.6, 0.8], [0.8, -0.6], False),
        ("turbo", [6e37, 8e37], [9e37, 5e37], True),
        ("turbo", [0.0, 0.0], [0.0, 1e-9], True),
        ("size", [[0.6, 0.8], [1.0, 0.0]], [[0.6, 0.8000001], [1.0, 0.0]], True),
        ("size", [[0.6, 0.8], [1.0, 0.0]], [[0.6, 0.8, 1.0, 0.0]], False),
        ("words", {"indices": [1], "values": [0.5]}, {"indices": [1], "values": [0.5000001]}, False),
    ],
)
def test_vectors_may_differ_by_what_their_kind_is_rounded_by(
    name: str, vector: Any, held: Any, is_same: bool
) -> None:
    """And by no more; others not at all."""
    wrong, rounded = compared({name: vector}, {name: held})

    assert wrong == ("" if is_same else f"the vector {name} of point 1")
    assert rounded == ({f"vectors {name}"} if is_same else set())


@pytest.mark.parametrize(
    ("payload", "held", "is_same"),
    [
        ({"a": [{"b": -6.278800097637223e149}]}, {"a": [{"b": -6.2788000976372215e149}]}, True),
        ({"a": 1.5}, {"a": 1.50001}, False),
        ({"a": 1}, {"a": 1.0}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": None}, {}, False),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
    ],
)
def test_numbers_of_payloads_may_differ_in_their_last_digits(payload: Any, held: Any, is_same: bool) -> None:
    """Which a server does not read from JSON to the last bit; kinds and all else must be the same."""
    wrong, rounded = compared({}, {}, payload, held)

    assert wrong == ("" if is_same else "the payload of point 1")
    assert rounded == ({"payloads"} if is_same else set())


def test_a_point_that_is_not_there_or_lacks_a_vector_is_named() -> None:
    """No payload and an empty one are the same."""
    comparison = Comparison(CONFIG)

    assert comparison.other([Point(7, None, {})], []) == "point 7"
    assert compared({"dot": [1.0, 2.0]}, {}) == ("point 1", set())
    assert compared({}, {}, None, {})[0] == ""
