"""Points that are written, scrolled, retrieved and written again elsewhere, as exports and imports do it."""

from __future__ import annotations

import struct
from typing import Any

from tests.contract.ground import Qdrant, path_of

LARGEST = 2**64 - 1
UUID = "00000000-0000-0000-0000-00000000aaaa"
CONFIG: dict[str, Any] = {
    "vectors": {
        "a": {"size": 2, "distance": "Dot"},
        "c": {"size": 3, "distance": "Cosine"},
        "h": {"size": 2, "distance": "Euclid", "datatype": "float16"},
        "m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        "u": {"size": 2, "distance": "Dot", "datatype": "uint8"},
    },
    "sparse_vectors": {"s": {}},
    "optimizers_config": {"indexing_threshold": 0},
    "shard_number": 1,
}
SPARSE = {"indices": [4294967295, 3, 5], "values": [1.0, 2.5, 0.0]}
ODD: list[dict[str, Any]] = [
    {"id": UUID.replace("-", "").upper(), "vector": {"a": [-0.0, 1.17549435e-38]}},
    {"id": LARGEST, "vector": {"a": [1e-45, 16777217.0]}, "payload": {}},
    {"id": 1, "vector": {}, "payload": {"null": None, "list": [], "big": LARGEST, "low": -(2**63)}},
    {"id": 2, "vector": {"s": {"indices": [], "values": []}}, "payload": None},
    {
        "id": 3,
        "vector": {
            "a": [0.1, 3e38],
            "c": [1.0, 2.0, 3.0],
            "h": [0.1, 1.0],
            "m": [[1.0, 2.0], [3.0, 4.0]],
            "s": SPARSE,
            "u": [1, 255],
        },
        "payload": {"text": "\u2028\0\N{CHEESE WEDGE}", "one": 1.0, "minus": -0.0, "huge": 1e300},
    },
]
ALL = {"with_vector": True, "with_payload": True}


def singles(value: Any) -> Any:
    """Return a vector with every float as the bytes of 32 bits: servers write different texts of one."""
    if isinstance(value, dict):
        return {name: one if name == "indices" else singles(one) for name, one in value.items()}
    return [singles(one) for one in value] if isinstance(value, list) else struct.pack("<f", value)


def comparable(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return points whose vectors can be compared."""
    return [{**one, "vector": singles(one["vector"])} for one in points]


async def write(qdrant: Qdrant, name: str, points: list[dict[str, Any]]) -> None:
    """Write points and wait."""
    assert (await qdrant.result("PUT", f"{path_of(name)}/points?wait=true", {"points": points}))[
        "status"
    ] == ("completed")


async def scrolled(qdrant: Qdrant, name: str, *, limit: int) -> list[dict[str, Any]]:
    """Return all points, page by page."""
    found: list[dict[str, Any]] = []
    offset: Any = None
    while True:
        page = await qdrant.result(
            "POST", f"{path_of(name)}/points/scroll", {**ALL, "limit": limit, "offset": offset}
        )
        found += page["points"]
        if (offset := page["next_page_offset"]) is None:
            return found


async def test_points_are_read_back_in_the_order_of_their_ids_and_bit_by_bit(qdrant: Qdrant) -> None:
    """Numbers before UUIDs; a missing vector is not there, an empty payload is."""
    name = await qdrant.create(**CONFIG)
    await write(qdrant, name, ODD)
    found = await scrolled(qdrant, name, limit=2)
    by_id = {one["id"]: one for one in found}

    assert [one["id"] for one in found] == [1, 2, 3, LARGEST, UUID]
    assert by_id[1] == {"id": 1, "payload": ODD[2]["payload"], "vector": {}}
    assert by_id[2] == {"id": 2, "payload": {}, "vector": {"s": {"indices": [], "values": []}}}
    assert by_id[3]["payload"] == ODD[4]["payload"]
    whole = by_id[3]["vector"]
    assert whole["s"] == {"indices": [3, 5, 4294967295], "values": [2.5, 0.0, 1.0]}
    assert (whole["m"], whole["u"]) == ([[1.0, 2.0], [3.0, 4.0]], [1.0, 255.0])
    assert singles(whole["a"]) == singles([0.1, 3e38])
    assert singles(by_id[LARGEST]["vector"]["a"]) == singles([1e-45, 16777216.0])
    assert singles(by_id[UUID]["vector"]["a"]) == singles([-0.0, 1.17549435e-38])


async def test_what_is_read_can_be_written_elsewhere_and_is_the_same(qdrant: Qdrant) -> None:
    """Normalised and narrow vectors too; nothing is indexed with a threshold of 0, until it is raised."""
    source, target = await qdrant.create(**CONFIG), await qdrant.create("copy", **CONFIG)
    await write(qdrant, source, ODD)
    found = await scrolled(qdrant, source, limit=100)
    await write(qdrant, target, found)
    await write(qdrant, target, found[:2])  # as one that goes on does
    (shard,) = await qdrant.until_green(target)

    assert comparable(await scrolled(qdrant, target, limit=3)) == comparable(found)
    assert (await qdrant.result("POST", f"{path_of(target)}/points/count", {"exact": True}))["count"] == len(
        ODD
    )
    assert (await qdrant.info(target))["config"]["optimizer_config"]["indexing_threshold"] == 0
    assert shard["update_queue"]["length"] == 0


async def test_points_are_retrieved_by_id_in_the_order_asked_for(qdrant: Qdrant) -> None:
    """Unknown ones are left out; without asking there is neither payload nor vector."""
    name = await qdrant.create(**CONFIG)
    await write(qdrant, name, ODD)
    found = {one["id"]: one for one in comparable(await scrolled(qdrant, name, limit=100))}
    wanted = [LARGEST, 3, UUID, 999, 1]
    retrieved = await qdrant.result("POST", f"{path_of(name)}/points", {**ALL, "ids": wanted})
    bare = await qdrant.result("POST", f"{path_of(name)}/points", {"ids": [3]})

    assert comparable(retrieved) == [found[one] for one in wanted if one in found]
    assert bare == [{"id": 3}]


REFUSED: list[tuple[list[dict[str, Any]], int, str]] = [
    ([], 400, "Bad request: Empty update request"),
    ([{"id": 1}], 400, "Format error in JSON body: missing field `vector`"),
    ([{"vector": {}}], 400, "Format error in JSON body: missing field `id`"),
    ([{"id": -1, "vector": {}}], 400, "value -1 is not a valid point ID"),
    ([{"id": 2**64, "vector": {}}], 400, "Format error in JSON body: "),
    ([{"id": 1, "vector": {"x": [1.0]}}], 400, "Wrong input: Not existing vector name error: x"),
    ([{"id": 1, "vector": {"a": [1.0]}}], 400, "Vector dimension error: expected dim: 2, got 1"),
    ([{"id": 1, "vector": {"a": []}}], 422, "points[0].vector.?.vector: dense vector must not be empty"),
    ([{"id": 1, "vector": {"m": [[]]}}], 422, "points[0].vector.?.data: all vectors must be non-empty"),
    ([{"id": 1, "vector": {"s": {"indices": [1, 1], "values": [1, 2]}}}], 422, "must be unique"),
    ([{"id": 1, "vector": {"s": {"indices": [1], "values": []}}}], 422, "same length as indices"),
    # rows of whole numbers, of which the server makes indices and values
    ([{"id": 1, "vector": {"m": [[1, 2], [3.5, 4.5]]}}], 400, "Conversion between sparse and regular"),
]


async def test_points_that_cannot_be_are_refused(qdrant: Qdrant) -> None:
    """With the reason; nothing of them is kept, and the next good one is taken."""
    name = await qdrant.create(**CONFIG)
    path = f"{path_of(name)}/points?wait=true"
    for given, status, says in REFUSED:
        answered = await qdrant.ask("PUT", path, {"points": given})

        assert (answered.status, says in answered.json["status"]["error"]) == (status, True), answered.text

    await write(qdrant, name, ODD[:1])
    assert (await qdrant.info(name))["points_count"] == 1


async def test_no_key_of_shards_is_known_without_custom_sharding(qdrant: Qdrant) -> None:
    """Neither to write nor to read."""
    name = await qdrant.create(**CONFIG)
    body = {"shard_key": "x", "points": [{"id": 1, "vector": {}}]}
    written = await qdrant.ask("PUT", f"{path_of(name)}/points?wait=true", body)
    read = await qdrant.ask("POST", f"{path_of(name)}/points/scroll", {"shard_key": "x"})

    assert (written.status, read.status) == (400, 400)
    assert written.json["status"]["error"] == 'Wrong input: Shard key "x" not found'
    assert read.json["status"]["error"] == 'Bad request: Shard key "x" not found'
