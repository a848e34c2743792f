"""What the embedded server answers has a place and a type in a real server's answer to the same request."""

from __future__ import annotations

import random
from typing import Any

from tests.contract.embedded.shapes import Shape
from tests.contract.ground import HELD, RELEASED, Qdrant, embedded_qdrant, path_of, point, vector

POINTS = 2_000
NAMED_VECTORS = {
    "title": {"size": 4, "distance": "Cosine"},
    "words": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    "bytes": {"size": 8, "distance": "Dot", "datatype": "uint8"},
}
NAMED_POINT = {
    "title": [0.5, 0.5, 0.5, 0.5],
    "words": [[1.0, 0.0], [0.0, 1.0]],
    "bytes": [1, 2, 3, 4, 5, 6, 7, 8],
    "terms": {"indices": [3, 9], "values": [1.0, 0.5]},
}
NEAR = vector(random.Random(1))
# Asked in every state; {docs} and {named} are the paths of two collections.
ASKED: tuple[tuple[str, str, Any], ...] = (
    *(("GET", f"/telemetry?details_level={level}", None) for level in range(5)),
    *(("GET", path, None) for path in ("/", "/collections", "/aliases", "/issues", "/snapshots")),
    *(
        ("GET", f"{{{name}}}{part}", None)
        for name in ("docs", "named")
        for part in ("", "/exists", "/cluster")
    ),
    ("GET", "{docs}/aliases", None),
    ("GET", "{docs}/snapshots", None),
    ("GET", "{docs}/optimizations", None),
    ("GET", "{docs}/optimizations?with=queued,completed,idle_segments", None),
    ("GET", "{docs}/points/7", None),
    ("GET", "{docs}/points/999999", None),
    ("POST", "{docs}/points", {"ids": [1, 2], "with_vector": True, "with_payload": True}),
    ("POST", "{docs}/points/query", {"query": NEAR, "limit": 3, "with_payload": True, "with_vector": True}),
    ("POST", "{docs}/points/query", {"query": [1.0]}),
    ("POST", "{docs}/points/query/batch", {"searches": [{"query": NEAR}, {"query": 7}]}),
    ("POST", "{docs}/points/scroll", {"limit": 2}),
    ("POST", "{docs}/points/count", {"exact": True}),
    ("POST", "{docs}/facet", {"key": "colour"}),
    ("POST", "{named}/points/query", {"query": NAMED_POINT["words"], "using": "words", "with_vector": True}),
    ("POST", "{named}/points/query", {"query": [1.0] * 4, "using": "nosuch"}),
    ("PATCH", "{docs}", {"optimizers_config": {"vacuum_min_vector_number": 1}}),
    ("PUT", "{docs}", {"vectors": {"size": 4, "distance": "Dot"}}),
)


async def answers_of(qdrant: Qdrant) -> dict[str, list[Any]]:
    """Lead two collections through their states and return every answer by request."""
    docs = await qdrant.create("docs", optimizers_config={"indexing_threshold": 100, **HELD})
    named = await qdrant.create("named", vectors=NAMED_VECTORS, sparse_vectors={"terms": {}})
    paths = {"docs": path_of(docs), "named": path_of(named)}
    told: dict[str, list[Any]] = {}

    async def look() -> None:
        for method, path, body in ASKED:
            if path.startswith("/telemetry"):
                answer: Any = await qdrant.telemetry(int(path[-1]))
            else:
                answer = (await qdrant.ask(method, path.format(**paths), body)).json
            told.setdefault(f"{method} {path} {body}", []).append(answer)

    async def change(method: str, path: str, body: Any) -> None:
        answer = await qdrant.ask(method, path.format(**paths), body)
        assert answer.status == 200, answer.text
        told.setdefault(f"{method} {path} {sorted(body)}", []).append(answer.json)

    await look()
    alias = {"create_alias": {"collection_name": docs, "alias_name": f"{docs}-alias"}}
    await change("POST", "/collections/aliases", {"actions": [alias]})
    for field_name, schema in (("colour", "keyword"), ("price", "float"), ("stock", {"type": "integer"})):
        body = {"field_name": field_name, "field_schema": schema}
        await change("PUT", "{docs}/index?wait=true", body)
    await change("PUT", "{named}/points?wait=true", {"points": [{"id": 1, "vector": NAMED_POINT}]})
    await qdrant.write(docs, POINTS)
    await look()
    await change("PATCH", "{docs}", {"optimizers_config": RELEASED})
    await qdrant.until(lambda: _is_running(qdrant, docs), what="the optimizer runs")
    await look()
    await qdrant.until_green(docs)
    await look()
    chance = random.Random(2)
    await change("PUT", "{docs}/points", {"points": [point(1, chance)]})
    await change("POST", "{docs}/points/payload?wait=true", {"payload": {"new": 1}, "points": [2]})
    await change("POST", "{docs}/points/payload/delete?wait=true", {"keys": ["new"], "points": [2]})
    await change("POST", "{docs}/points/payload/clear?wait=true", {"points": [3]})
    await change("POST", "{docs}/points/delete?wait=true", {"points": list(range(100))})
    await change("DELETE", "{docs}/index/price?wait=true", {})
    await look()
    return told


async def _is_running(qdrant: Qdrant, name: str) -> bool:
    return bool((await qdrant.result("GET", f"{path_of(name)}/optimizations"))["running"])


async def test_every_key_of_the_embedded_server_is_one_of_the_real_server(real: Qdrant) -> None:
    """At the same path, with the same type, in the same states."""
    async with embedded_qdrant() as embedded:
        answered = await answers_of(embedded)
    told = await answers_of(real)

    unknown = {request: foreign(Shape.of(answered[request]), Shape.of(told[request])) for request in told}
    assert {request: found for request, found in unknown.items() if found} == {}


def foreign(answered: Shape, told: Shape) -> list[str]:
    """Name every key and type of the answers that the real server's have not."""
    keys = [
        f"{path}.{key}"
        for path, objects in answered.keys.items()
        for key in frozenset().union(*objects) - frozenset().union(*told.keys.get(path, ()))
    ]
    types = [
        f"{path}: {kind}"
        for path, kinds in answered.types.items()
        for kind in kinds - told.types.get(path, set())
    ]
    return sorted([*keys, *types])
