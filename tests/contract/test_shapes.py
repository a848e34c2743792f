"""What the embedded server answers has a place and a type in a real server's answer to the same request."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.contract.embedded.shapes import Shape
from tests.contract.ground import (
    HELD,
    RELEASED,
    SLOW_GRAPH,
    Answered,
    Qdrant,
    embedded_qdrant,
    path_of,
    point,
    vector,
)

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
# Asked in every state, beside telemetry; {docs} and {named} are the paths of two collections.
PARTS = ("", "/exists", "/cluster", "/aliases", "/snapshots", "/optimizations")
# What a server tells only while it is no peer of a cluster.
ALONE = {"collections.collections[].config.uuid: null"}
LISTS = "with=queued,completed,idle_segments"
NEAREST = {"query": NEAR, "limit": 3, "with_payload": True, "with_vector": True}
WORDS = {"query": NAMED_POINT["words"], "using": "words", "with_vector": True}
ASKED: tuple[tuple[str, str, Any], ...] = (
    *(("GET", path, None) for path in ("/", "/collections", "/aliases", "/issues", "/snapshots")),
    *(("GET", f"{{docs}}{part}", None) for part in PARTS),
    *(("GET", f"{{named}}{part}", None) for part in PARTS),
    ("GET", f"{{docs}}/optimizations?{LISTS}", None),
    ("GET", "{docs}/optimizations?with=nosuch", None),
    ("GET", "{docs}/points/7", None),
    ("GET", "{docs}/points/999999", None),
    ("POST", "{docs}/points", {"ids": [1, 2], "with_vector": True, "with_payload": True}),
    ("POST", "{docs}/points/query", NEAREST),
    ("POST", "{docs}/points/query", {"query": [1.0]}),
    ("POST", "{docs}/points/query/batch", {"searches": [{"query": NEAR}, {"query": 700}]}),
    ("POST", "{docs}/points/scroll", {"limit": 2}),
    ("POST", "{docs}/points/count", {"exact": True}),
    ("POST", "{docs}/facet", {"key": "colour"}),
    ("POST", "{docs}nosuch/points/query", NEAREST),
    ("POST", "{named}/points/query", WORDS),
    ("POST", "{named}/points/query", {"query": [1.0] * 4, "using": "nosuch"}),
    ("PATCH", "{docs}", {"optimizers_config": {"vacuum_min_vector_number": 1}}),
    ("PUT", "{docs}", {"vectors": {"size": 4, "distance": "Dot"}}),
)
INDEXES = {"colour": "keyword", "price": {"type": "float"}, "stock": {"type": "integer"}, "at": "datetime"}
FILLING: tuple[tuple[str, str, Any], ...] = (
    *(
        ("PUT", "{docs}/index?wait=true", {"field_name": name, "field_schema": kind})
        for name, kind in INDEXES.items()
    ),
    ("PUT", "{named}/points?wait=true", {"points": [{"id": 1, "vector": NAMED_POINT}]}),
)
CHANGING: tuple[tuple[str, str, Any], ...] = (
    ("PUT", "{docs}/points", {"points": [point(1, random.Random(2))]}),
    ("POST", "{docs}/points/payload?wait=true", {"payload": {"new": 1}, "points": [2]}),
    ("PUT", "{docs}/points/payload?wait=true", {"payload": {"new": 1}, "points": [2]}),
    ("POST", "{docs}/points/payload/delete?wait=true", {"keys": ["new"], "points": [2]}),
    ("POST", "{docs}/points/payload/clear?wait=true", {"points": [3]}),
    ("DELETE", "{docs}/index/price?wait=true", {}),
)


@dataclass(slots=True)
class Told:
    """What a server answered, by request: one answer a state, of every peer where it only reads."""

    bodies: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    refusals: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))


class Story:
    """Leads two collections through their states and keeps every answer."""

    def __init__(self, qdrant: Qdrant) -> None:
        self._qdrant = qdrant
        self._paths: dict[str, str] = {}
        self.told = Told()

    async def play(self) -> Told:
        """Create, fill, hold back, optimize, change and delete; look in between."""
        qdrant = self._qdrant
        optimizers = {"indexing_threshold": 100, **HELD}
        docs = await qdrant.create(optimizers_config=optimizers, hnsw_config=SLOW_GRAPH, shard_number=1)
        named = await qdrant.create("named", vectors=NAMED_VECTORS, sparse_vectors={"terms": {}})
        self._paths = {"docs": path_of(docs), "named": path_of(named)}
        await self._look()
        alias = {"create_alias": {"collection_name": docs, "alias_name": f"{docs}-alias"}}
        await self._change("POST", "/collections/aliases", {"actions": [alias]})
        for request in FILLING:
            await self._change(*request)
        await qdrant.write(docs, POINTS)
        await self._look()
        await self._change("PATCH", "{docs}", {"optimizers_config": RELEASED})
        await qdrant.until(lambda: self._is_running(docs), what="the optimizer runs")
        await self._look()
        await qdrant.until_green(docs)
        await self._look()
        for request in CHANGING:
            await self._change(*request)
        await qdrant.delete(docs, *range(100))
        await self._look()
        return self.told

    async def _look(self) -> None:
        for level in range(5):
            for url in self._qdrant.urls:
                page = await self._qdrant.telemetry(level, url=url)
                self.told.bodies[f"telemetry {level}"].append(page)
        for method, path, body in ASKED:
            for url in self._qdrant.urls if method == "GET" else self._qdrant.urls[:1]:
                answer = await self._qdrant.ask(method, path.format(**self._paths), body, url=url)
                self._keep(f"{method} {path} {body}", answer)

    async def _change(self, method: str, path: str, body: Any) -> None:
        answer = await self._qdrant.ask(method, path.format(**self._paths), body)
        assert answer.status == 200, answer.text
        self._keep(f"{method} {path} {sorted(body)}", answer)

    async def _is_running(self, name: str) -> bool:
        return bool((await self._qdrant.result("GET", f"{path_of(name)}/optimizations"))["running"])

    def _keep(self, request: str, answer: Answered) -> None:
        self.told.bodies[request].append(answer.json)
        if answer.status != 200:
            text = answer.json["status"]["error"].replace(self._qdrant.prefix, "")
            self.told.refusals[request].append((answer.status, text))


async def test_every_key_of_the_embedded_server_is_one_of_the_real_server(real: Qdrant) -> None:
    """At the same path, with the same type, in the same states; and refusals are word for word."""
    async with embedded_qdrant() as embedded:
        answered = await Story(embedded).play()
    told = await Story(real).play()

    assert answered.bodies.keys() == told.bodies.keys()
    unknown = {
        request: foreign(Shape.of(answered.bodies[request]), Shape.of(bodies))
        for request, bodies in told.bodies.items()
    }
    alone = len(real.urls) == 1
    if not alone:
        unknown = {request: sorted(set(found) - ALONE) for request, found in unknown.items()}
    assert {request: found for request, found in unknown.items() if found} == {}
    assert answered.refusals.keys() == told.refusals.keys()
    unlike = {
        request: refusals
        for request, refusals in told.refusals.items()
        if not alike(answered.refusals[request], refusals, alone=alone)
    }
    assert unlike == {}


def alike(answered: list[tuple[int, str]], told: list[tuple[int, str]], *, alone: bool) -> bool:
    """Whether refusals are the same; a peer of a cluster may quote another one within words of its own."""
    if alone:
        return set(answered) == set(told)
    return all(any(ours == status and words in text for ours, words in answered) for status, text in told)


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
