"""Points, queries and their results between the REST API's JSON and the engine's objects.

Runs in a worker process only. Queries by nearest vector, by id, random sample, order_by and
fusion of prefetches are served; the other kinds are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from exporter.embedded.engine_filters import engine_filter, point_id
from exporter.embedded.refusals import RefusalError, bad_body, invalid, wrong_input

DEFAULT_LIMIT = 10  # of a query, a scroll and a facet
RANK_FUSION_K = 2  # Qdrant's own constant of reciprocal rank fusion
EMPTY_UPDATE = "Bad request: Empty update request"
UNKNOWN_QUERY = "Expected some form of vector, id, or a type of query"


def engine_points(asked: Mapping[str, Any]) -> list[edge.Point]:
    """Return the points of an upsert, of its list form or its batch form. Raises RefusalError (400, 422).

    All is checked before the engine sees any of it: it dies of an empty row, and keeps a sparse vector
    whose indices repeat.
    """
    made = []
    for position, one in enumerate(_each_point(asked)):
        for name in ("id", "vector"):
            if name not in one:
                raise bad_body(f"missing field `{name}`")
        check_vectors(one["vector"], f"points[{position}].vector")
        made.append(edge.Point(point_id(one["id"]), engine_vector(one["vector"]), one.get("payload")))
    if not made:
        raise RefusalError(400, EMPTY_UPDATE)
    return made


def _each_point(asked: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if isinstance(points := asked.get("points"), list):
        yield from points
        return
    batch = asked.get("batch")
    if not isinstance(batch, dict):
        raise bad_body("data did not match any variant of untagged enum PointInsertOperations")
    ids, vectors = batch["ids"], batch["vectors"]
    payloads = batch.get("payloads") or [None] * len(ids)
    for position, (one, payload) in enumerate(zip(ids, payloads, strict=True)):
        vector = (
            {name: column[position] for name, column in vectors.items()}
            if isinstance(vectors, dict)
            else vectors[position]
        )
        yield {"id": one, "vector": vector, "payload": payload}


def check_vectors(asked: Any, path: str) -> None:
    """Refuse a vector, or vectors by name, that no collection can hold. Raises RefusalError (400, 422)."""
    if isinstance(asked, dict) and not asked.keys() >= {"indices", "values"}:
        for one in asked.values():
            if _reads_as_sparse(one):
                raise wrong_input("Conversion between sparse and regular vectors failed")
            check_vectors(one, f"{path}.?")
    elif isinstance(asked, dict):
        _check_sparse(asked, path)
    elif isinstance(asked, list):
        if not asked:
            raise invalid(f"{path}.vector", "dense vector must not be empty")
        if any(row == [] for row in asked):
            raise invalid(f"{path}.data", "all vectors must be non-empty")


def _check_sparse(asked: Mapping[str, Any], path: str) -> None:
    indices, values = asked["indices"], asked["values"]
    if len(set(indices)) < len(indices):
        raise invalid(f"{path}.indices", "Validation error: must be unique [{}]")
    if len(indices) != len(values):
        raise invalid(f"{path}.values", "Validation error: must be the same length as indices [{}]")


def _reads_as_sparse(asked: Any) -> bool:
    """Whether a vector under a name is what 1.18.3 takes for [indices, values]: two rows, one of integers."""
    match asked:
        case [list(first), list()]:
            return all(isinstance(value, int) for value in first)
    return False


def engine_vector(asked: Any) -> Any:
    """Return one vector: a list, a list of lists, a sparse one, or several by name. Raises RefusalError."""
    match asked:
        case {"indices": list(indices), "values": list(values)}:
            return edge.SparseVector(indices, [float(value) for value in values])
        case dict():
            return {name: engine_vector(one) for name, one in asked.items()}
        case [[*_], *_]:
            return [[float(value) for value in row] for row in asked]
        case list() if all(isinstance(value, int | float) for value in asked):
            return [float(value) for value in asked]
    raise bad_body("data did not match any variant of untagged enum VectorStruct")


def engine_query(shard: edge.EdgeShard, asked: Mapping[str, Any]) -> edge.QueryRequest:
    """Return a query. Looks a point's vector up where the query names a point. Raises RefusalError."""
    query, ids = _query(shard, asked)
    return edge.QueryRequest(
        limit=asked.get("limit") or DEFAULT_LIMIT,
        offset=asked.get("offset"),
        query=query,
        prefetches=_prefetches(shard, asked.get("prefetch")),
        with_vector=_with_vector(asked),
        with_payload=with_payload(asked, default=False),
        filter=_without(engine_filter(asked.get("filter")), ids),
        score_threshold=asked.get("score_threshold"),
        params=_params(asked.get("params")),
    )


def _prefetches(shard: edge.EdgeShard, asked: Any) -> list[edge.Prefetch] | None:
    if not asked:
        return None
    prefetches = []
    for one in asked if isinstance(asked, list) else [asked]:
        query, ids = _query(shard, one)
        prefetches.append(
            edge.Prefetch(
                limit=one.get("limit") or DEFAULT_LIMIT,
                query=query,
                prefetches=_prefetches(shard, one.get("prefetch")),
                params=_params(one.get("params")),
                filter=_without(engine_filter(one.get("filter")), ids),
                score_threshold=one.get("score_threshold"),
            )
        )
    return prefetches


def _query(shard: edge.EdgeShard, asked: Mapping[str, Any]) -> tuple[Any, set[Any]]:
    """Return the engine's query and the ids of points it was made from."""
    query = asked.get("query")
    if isinstance(query, dict) and "nearest" in query:
        query = query["nearest"]
    match query:
        case None:
            return None, set()
        case {"sample": "random"}:
            return edge.Sample.Random, set()
        case {"fusion": "rrf"} | {"rrf": _}:
            return edge.Fusion.Rrf(RANK_FUSION_K), set()
        case {"fusion": "dbsf"}:
            return edge.Fusion.Dbsf(), set()
        case {"order_by": order}:
            return _order(order), set()
        case list() | {"indices": _, "values": _}:
            return edge.Query.Nearest(engine_vector(query), asked.get("using")), set()
        case int() | str():
            return _query_by_id(shard, query, asked.get("using"))
        case {"recommend": _} | {"discover": _} | {"context": _} | {"formula": _} | {"mmr": _}:
            raise wrong_input(f"this server does not serve queries of the kind {sorted(query)}")
    raise bad_body(UNKNOWN_QUERY)


def _query_by_id(shard: edge.EdgeShard, given: Any, using: str | None) -> tuple[Any, set[Any]]:
    wanted = point_id(given)
    found = shard.retrieve([wanted], False, True)
    if not found:
        raise RefusalError(404, f"Not found: No point with id {given} found")
    vector: Any = found[0].vector
    if isinstance(vector, dict):
        if (using or "") not in vector:
            raise wrong_input(f"Not existing vector name error: {using or ''}")
        vector = vector[using or ""]
    return edge.Query.Nearest(vector, using), {wanted}


def _without(made: edge.Filter | None, ids: set[Any]) -> edge.Filter | None:
    if not ids:
        return made
    return edge.Filter(must=[made] if made else None, must_not=[edge.HasIdCondition(ids)])


def _order(asked: Any) -> edge.OrderBy:
    order = {"key": asked} if isinstance(asked, str) else asked
    direction = edge.Direction.Desc if order.get("direction") == "desc" else edge.Direction.Asc
    return edge.OrderBy(order["key"], direction, order.get("start_from"))


def _params(asked: Mapping[str, Any] | None) -> edge.SearchParams | None:
    if not asked:
        return None
    quantization = asked.get("quantization")
    return edge.SearchParams(
        hnsw_ef=asked.get("hnsw_ef"),
        exact=bool(asked.get("exact")),
        quantization=edge.QuantizationSearchParams(
            ignore=bool(quantization.get("ignore")),
            rescore=quantization.get("rescore"),
            oversampling=quantization.get("oversampling"),
        )
        if quantization
        else None,
        indexed_only=bool(asked.get("indexed_only")),
    )


def engine_scroll(asked: Mapping[str, Any]) -> edge.ScrollRequest:
    """Return a scroll. Raises RefusalError (400, 422)."""
    if asked.get("limit") == 0:
        raise invalid("scroll_request.limit", "value 0 invalid, must be 1 or larger")
    offset, order = asked.get("offset"), asked.get("order_by")
    return edge.ScrollRequest(
        offset=None if offset is None else point_id(offset),
        limit=asked.get("limit") or DEFAULT_LIMIT,
        filter=engine_filter(asked.get("filter")),
        with_payload=with_payload(asked, default=True),
        with_vector=_with_vector(asked),
        order_by=_order(order) if order else None,
    )


def with_payload(asked: Mapping[str, Any], *, default: bool) -> Any:
    """Return which payload fields are wanted."""
    match asked.get("with_payload"):
        case None:
            return default
        case {"include": list(fields)}:
            return edge.PayloadSelector.Include(fields)
        case {"exclude": list(fields)}:
            return edge.PayloadSelector.Exclude(fields)
        case wanted:
            return wanted


def _with_vector(asked: Mapping[str, Any]) -> Any:
    wanted = asked.get("with_vector", asked.get("with_vectors"))
    return False if wanted is None else wanted


def records(shard: edge.EdgeShard, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the points of some ids, in the asked order; missing ones are left out. Raises RefusalError."""
    ids = [point_id(one) for one in asked.get("ids") or ()]
    return [
        answer_point(record)
        for record in shard.retrieve(ids, with_payload(asked, default=False), _with_vector(asked))
    ]


def answer_point(found: edge.Record | edge.ScoredPoint) -> dict[str, Any]:
    """Return one point as the API shows it: payload and vector only where they were asked for."""
    answer: dict[str, Any] = {"id": answer_id(found.id)}
    if isinstance(found, edge.ScoredPoint):
        answer |= {"version": found.version, "score": found.score}
    if found.payload is not None:
        answer["payload"] = found.payload
    if found.vector is not None:
        answer["vector"] = _answer_vector(found.vector)
    if found.order_value is not None:
        answer["order_value"] = found.order_value
    return answer


def answer_id(held: Any) -> int | str:
    """Return a point id as JSON has it."""
    return held if isinstance(held, int) else str(UUID(str(held)))


def _answer_vector(held: Any) -> Any:
    if isinstance(held, dict):
        return {name: _answer_vector(one) for name, one in held.items()}
    if isinstance(held, edge.SparseVector):
        return {"indices": held.indices, "values": held.values}
    return held
