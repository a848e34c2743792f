"""Filters of the REST API as the engine's objects. Runs in a worker process only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from exporter.embedded.refusals import RefusalError, bad_body

MATCHES = {
    "value": edge.MatchValue,
    "any": edge.MatchAny,
    "except": edge.MatchExcept,
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
}
LARGEST_ID = 2**64 - 1
UNKNOWN_CONDITION = "data did not match any variant of untagged enum Condition"


def point_id(given: Any) -> int | UUID | str:
    """Return a point id: a whole number or a UUID. Raises RefusalError (400)."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= LARGEST_ID:
        return given
    try:
        return UUID(given)
    except (ValueError, TypeError, AttributeError):
        raise bad_body(
            f"value {given} is not a valid point ID, valid values are either an unsigned integer or a UUID"
        ) from None


def engine_filter(asked: Mapping[str, Any] | None) -> edge.Filter | None:
    """Return a filter, None for none. Raises RefusalError (400) for what is no condition."""
    if not asked:
        return None
    least = asked.get("min_should")
    return edge.Filter(
        must=_conditions(asked.get("must")),
        should=_conditions(asked.get("should")),
        must_not=_conditions(asked.get("must_not")),
        min_should=edge.MinShould(_conditions(least["conditions"]) or [], least["min_count"])
        if least
        else None,
    )


def _conditions(asked: Any) -> list[Any] | None:
    if asked is None:
        return None
    return [_condition(one) for one in (asked if isinstance(asked, list) else [asked])]


def _condition(asked: Mapping[str, Any]) -> Any:
    match asked:
        case {"key": str()}:
            return _field(asked)
        case {"has_id": list(ids)}:
            return edge.HasIdCondition({point_id(one) for one in ids})
        case {"is_empty": {"key": str(key)}}:
            return edge.IsEmptyCondition(key)
        case {"is_null": {"key": str(key)}}:
            return edge.IsNullCondition(key)
        case {"has_vector": str(name)}:
            return edge.HasVectorCondition(name)
        case {"nested": {"key": str(key), "filter": dict(inner)}}:
            return edge.NestedCondition(key, _known(engine_filter(inner)))
        case {"must": _} | {"should": _} | {"must_not": _} | {"min_should": _}:
            return _known(engine_filter(asked))
    raise bad_body(UNKNOWN_CONDITION)


def _known(made: edge.Filter | None) -> edge.Filter:
    if made is None:
        raise bad_body(UNKNOWN_CONDITION)
    return made


def _field(asked: Mapping[str, Any]) -> edge.FieldCondition:
    box, radius = asked.get("geo_bounding_box"), asked.get("geo_radius")
    made = edge.FieldCondition(
        key=asked["key"],
        match=_match(asked["match"]) if asked.get("match") is not None else None,
        range=_range(asked["range"]) if asked.get("range") is not None else None,
        geo_bounding_box=edge.GeoBoundingBox(_place(box["top_left"]), _place(box["bottom_right"]))
        if box
        else None,
        geo_radius=edge.GeoRadius(_place(radius["center"]), radius["radius"]) if radius else None,
        values_count=edge.ValuesCount(**_bounds(asked["values_count"]))
        if asked.get("values_count")
        else None,
        is_empty=asked.get("is_empty"),
        is_null=asked.get("is_null"),
    )
    if len(asked) < 2:  # a key alone asks nothing
        raise bad_body(UNKNOWN_CONDITION)
    return made


def _match(asked: Mapping[str, Any]) -> Any:
    for name, kind in MATCHES.items():
        if name in asked:
            return kind(asked[name])
    raise bad_body(UNKNOWN_CONDITION)


def _range(asked: Mapping[str, Any]) -> Any:
    bounds = _bounds(asked)
    if any(isinstance(bound, str) for bound in bounds.values()):
        return edge.RangeDateTime(**bounds)
    return edge.RangeFloat(**bounds)


def _bounds(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asked[name] for name in ("gt", "gte", "lt", "lte") if asked.get(name) is not None}


def _place(asked: Mapping[str, Any]) -> edge.GeoPoint:
    try:
        return edge.GeoPoint(asked["lon"], asked["lat"])
    except ValueError as error:
        raise RefusalError(400, f"Format error in JSON body: {error}") from error
