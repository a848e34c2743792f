"""The data routes that probes use: request bodies, and typed views of their answers.

Vectors stay the JSON bytes that the server wrote: they go back bit for bit, and a vector of 1,536
numbers as Python's floats would take four times the memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from exporter.qdrant.answers import decode
from exporter.qdrant.connection import Request
from exporter.qdrant.door import quote_segment
from exporter.qdrant.payloads import NOTHING, Payload

QUERY_ENDPOINT = "/collections/{collection}/points/query"
SCROLL_ENDPOINT = "/collections/{collection}/points/scroll"

# Numbers, and UUIDs of 36 characters.
PointId = int | Annotated[str, Meta(max_length=36)]


class FoundPoint(Payload, frozen=True):
    """A point of an answer. `vector`: JSON of the unnamed one, or of an object by name; empty for none."""

    id: PointId
    score: float = 0.0
    vector: Raw = NOTHING


class FoundPoints(Payload, frozen=True):
    points: list[FoundPoint]
    next_page_offset: PointId | None = None


class QueryAnswer(Payload, frozen=True):
    """`time`: seconds that the server says it took; more than a day is none of its answers."""

    result: FoundPoints
    time: Annotated[float, Meta(ge=0, le=86_400)]


def points_request(
    collection: str, route: str, body: Mapping[str, Any], *, timeout_seconds: float
) -> Request:
    """Return POST …/points/`route`. The timeout lets the server give up too, in whole seconds from 1."""
    timeout = math.ceil(timeout_seconds)  # not before us
    path = f"/collections/{quote_segment(collection)}/points/{route}?timeout={timeout}"
    return Request(path, "POST", msgspec.json.encode(body))


def read_points(body: bytes, endpoint: str) -> QueryAnswer:
    """Understand the answer of a query or a scroll. Raises BadPayload."""
    return decode(body, QueryAnswer, endpoint)


def vector_of(point: FoundPoint, name: str) -> bytes | None:
    """Return the JSON of one of a point's vectors; None where it has none of that name.

    Raises BadPayload where the vectors do not read.
    """
    if bytes(point.vector) in (b"", b"null"):
        return None
    if bytes(point.vector)[:1] != b"{":
        return bytes(point.vector) if name == "" else None
    by_name = decode(point.vector, dict[str, Raw], QUERY_ENDPOINT)
    found = by_name.get(name)
    return None if found is None else bytes(found)


def search_body(
    vector: bytes,
    *,
    using: str,
    limit: int,
    filter: Raw | Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a search as the server takes it: without payload and vectors in the answer."""
    body: dict[str, Any] = {
        "query": Raw(vector),
        "limit": limit,
        "with_payload": False,
        "with_vector": False,
    }
    if using:
        body["using"] = using
    if filter is not None:
        body["filter"] = filter
    if params:
        body["params"] = params
    return body


def sample_body(names: Sequence[str], limit: int) -> dict[str, Any]:
    """Return a query for random stored points with these vectors, since 1.11."""
    return {"query": {"sample": "random"}, **_with_vectors(names, limit)}


def scroll_body(names: Sequence[str], limit: int, offset: PointId | None) -> dict[str, Any]:
    """Return a scroll over stored points with these vectors, from an id on."""
    body = _with_vectors(names, limit)
    return body if offset is None else body | {"offset": offset}


def _with_vectors(names: Sequence[str], limit: int) -> dict[str, Any]:
    wanted: bool | list[str] = True if list(names) == [""] else list(names)
    return {"limit": limit, "with_payload": False, "with_vector": wanted}
