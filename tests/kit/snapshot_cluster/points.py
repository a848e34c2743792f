"""Points as requests write them and answers show them: ids, vectors of every shape, pages. No HTTP."""

from __future__ import annotations

import math
import struct
import uuid
from collections.abc import Mapping
from typing import Any

from tests.kit.snapshot_cluster.archives import PointId, Points
from tests.kit.snapshot_cluster.world import Collection, RefusedError

LARGEST_ID = 2**64 - 1
# Digits that tell every 32-bit float from its neighbours; whole numbers below this need none.
DIGITS, WHOLE = (6, 7, 8, 9), 2**24


def taken(body: Mapping[str, Any], found: Collection) -> Points:
    """Return the points of an upsert as the server keeps them. Refuses with 400 what it would refuse."""
    points = body["points"]
    if not points:
        raise RefusedError(400, "Bad request: Empty update request")
    made: Points = {}
    for one in points:
        for name in ("id", "vector"):
            if name not in one:
                raise RefusedError(400, f"Format error in JSON body: missing field `{name}`")
        made[point_id(one["id"])] = [stored(one["vector"], found), one.get("payload") or {}]
    return made


def point_id(given: Any) -> PointId:
    """Return an id as answers show it: a number, or a UUID in small letters with dashes."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= LARGEST_ID:
        return given
    try:
        return str(uuid.UUID(given))
    except (ValueError, AttributeError, TypeError):
        text = "valid values are either an unsigned integer or a UUID"
        raise RefusedError(
            400, f"Format error in JSON body: value {given} is not a valid point ID, {text}"
        ) from None


def stored(vector: Any, found: Collection) -> Any:
    """Return a vector, or vectors by name, in 32-bit floats. {}: the point has none."""
    dense, sparse = _declared(found)
    if not isinstance(vector, dict):
        return _value(vector, "", dense, sparse)
    return {name: _value(value, name, dense, sparse) for name, value in vector.items()}


def _declared(found: Collection) -> tuple[dict[str, Any], set[str]]:
    params = found.config["params"]
    vectors = params.get("vectors") or {}
    return {"": vectors} if "size" in vectors else vectors, set(params.get("sparse_vectors") or {})


def _value(value: Any, name: str, dense: dict[str, Any], sparse: set[str]) -> Any:
    if name in sparse:
        pairs = sorted(zip(value["indices"], value["values"], strict=True))
        return {"indices": [at for at, _ in pairs], "values": [single(number) for _, number in pairs]}
    if name not in dense:
        raise RefusedError(400, f"Wrong input: Not existing vector name error: {name}")
    rows = value if value and isinstance(value[0], list) else [value]
    # What 1.18.3 takes for a sparse vector: two rows under a name, the first of whole numbers.
    if name and value is rows and len(rows) == 2 and all(isinstance(one, int) for one in rows[0]):
        raise RefusedError(400, "Wrong input: Conversion between sparse and regular vectors failed")
    for row in rows:
        if len(row) != dense[name]["size"]:
            text = f"expected dim: {dense[name]['size']}, got {len(row)}"
            raise RefusedError(400, f"Wrong input: Vector dimension error: {text}")
    kept = [[single(number) for number in row] for row in rows]
    return kept if value is rows else kept[0]


def single(number: float | None) -> float | None:
    """Return the shortest number that is the same 32-bit float; None, as in answers, of one not finite."""
    if number is None or not math.isfinite(number):
        return None
    if number == int(number) and abs(number) < WHOLE:
        return float(number)
    try:
        packed = struct.pack("<f", number)
    except OverflowError:
        return None
    return next(
        short for digits in DIGITS if struct.pack("<f", short := float(f"{number:.{digits}g}")) == packed
    )


def page(held: Points, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a page of a scroll."""
    ids = list(held)
    offset = body.get("offset")
    start = 0 if offset is None else sum(not _not_before(id_, offset) for id_ in ids)
    end = start + body.get("limit", 10)
    return {
        "points": [record(id_, held[id_], body) for id_ in ids[start:end]],
        "next_page_offset": ids[end] if end < len(ids) else None,
    }


def retrieved(held: Points, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return points by id, in the order asked for; an unknown one is left out, and payloads unless asked."""
    wanted = {"with_payload": False, **body}
    ids = [point_id(id_) for id_ in body["ids"]]
    return [record(id_, held[id_], wanted) for id_ in ids if id_ in held]


def record(id_: PointId, point: list[Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point as an answer shows it."""
    said: dict[str, Any] = {"id": id_}
    if body.get("with_payload", True):
        said["payload"] = point[1]
    wanted = body.get("with_vector")
    if isinstance(wanted, list):
        said["vector"] = {name: value for name, value in point[0].items() if name in wanted}
    elif wanted:
        said["vector"] = point[0]
    return said


def best(held: Points, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Search by dot product: a vector, or the id of a point; by name with `using`."""
    wanted, using = body["query"], body.get("using")
    if isinstance(wanted, int | str):
        wanted = _vector(held[wanted][0], using)
    scored = [
        (sum(a * b for a, b in zip(wanted, _vector(point[0], using), strict=False)), id_)
        for id_, point in held.items()
    ]
    found = sorted(scored, key=lambda one: one[0], reverse=True)[: body.get("limit", 10)]
    return [
        {"version": 1, "score": score, **record(id_, held[id_], {"with_payload": False, **body})}
        for score, id_ in found
    ]


def _not_before(id_: PointId, offset: PointId) -> bool:
    return (isinstance(id_, str), id_) >= (isinstance(offset, str), offset)


def _vector(vector: Any, using: str | None) -> list[float]:
    found: list[float] = vector.get(using, []) if using else vector or []
    return found
