"""Export and import of any collection, on real engines: the same content and the same settings.

On the embedded server always; on the server at `QDRANT_URL` where that is set; and from the server at
`QDRANT_URL_OLD`, an older one, to that and back where both are. `CRASH_KILLS` says how many examples.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from exporter.backup.calling import Limits
from exporter.backup.content import total
from exporter.backup.exporting.taking import export
from exporter.backup.importing.run import Importer
from exporter.backup.importing.words import ImportLimits, ImportOptions
from exporter.backup.restoring import schema
from exporter.backup.restoring.target import RestoreLimits
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.backup.words import Encoding
from exporter.embedded.server import EmbeddedServer
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked
from exporter.qdrant.connection import Request
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.kit.patience import LoopClock
from tests.kit.scripted_store import ScriptedStore

URL = os.environ.get("QDRANT_URL", "").partition(",")[0]
OLD_URL = os.environ.get("QDRANT_URL_OLD", "").partition(",")[0]
EXAMPLES = int(os.environ.get("CRASH_KILLS", "4"))
HOW_TO_RUN = (
    "round trips were tested on the embedded server only; for real ones: QDRANT_URL=http://127.0.0.1:6333"
    " QDRANT_URL_OLD=http://127.0.0.1:7333 make test ARGS=tests/unit/backup/importing"
)
CALLS = Limits(wait_seconds=0.01)
LIMITS = ImportLimits(
    target=RestoreLimits(calls=CALLS, look=0.02),
    batch_points=3,
    quiet_look_seconds=0.01,
    green_look_seconds=0.02,
)
LARGEST_HALF = 65_504.0  # of half precision
FIELDS = {"n": "integer", "k": "keyword", "f": "float", "b": "bool", "t": "text", "g": "geo", "d": "datetime"}

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
elements = {
    "float32": numbers,
    "float16": st.floats(-LARGEST_HALF, LARGEST_HALF, width=16),
    "uint8": st.integers(0, 255).map(float),
}
texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
ids = st.integers(0, 2**64 - 1) | st.uuids().map(str) | st.sampled_from([0, 2**64 - 1, str(UUID(int=0))])


@dataclass(frozen=True, slots=True)
class Case:
    """A collection to be made."""

    body: dict[str, Any]
    indexes: tuple[str, ...]
    points: list[dict[str, Any]]
    encoding: Encoding = Encoding.MSGPACK
    chunk_bytes: int = 1


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any schema, with a few points in it."""
    names = draw(st.lists(st.sampled_from(["a", "ä b"]), max_size=2, unique=True)) or [""]
    dense = {name: draw(_vector_settings()) for name in names}
    sparse = draw(st.lists(st.sampled_from(["s", "words"]), max_size=2, unique=True))
    body: dict[str, Any] = {"vectors": dense.get("", dense)}
    if sparse:
        body["sparse_vectors"] = {name: {} for name in sparse}
    if draw(st.booleans()):
        body["optimizers_config"] = {"indexing_threshold": draw(st.integers(1, 50_000))}
    if draw(st.booleans()):
        body["on_disk_payload"] = draw(st.booleans())
    point_ids = draw(st.lists(ids, min_size=3, max_size=7, unique_by=str))
    return Case(
        body=body,
        indexes=tuple(draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=3, unique=True))),
        points=[draw(_point(one, dense, sparse)) for one in point_ids],
        encoding=draw(st.sampled_from(Encoding)),
        chunk_bytes=draw(st.sampled_from([1, 1 << 20])),
    )


@st.composite
def _vector_settings(draw: st.DrawFn) -> dict[str, Any]:
    made: dict[str, Any] = {
        "size": draw(st.integers(1, 5)),
        "distance": draw(st.sampled_from(["Dot", "Cosine", "Euclid", "Manhattan"])),
    }
    datatype = draw(st.sampled_from([None, *elements]))
    if datatype is not None:
        made["datatype"] = datatype
    if draw(st.booleans()):
        made["multivector_config"] = {"comparator": "max_sim"}
    return made


@st.composite
def _point(draw: st.DrawFn, point_id: int | str, dense: Any, sparse: list[str]) -> dict[str, Any]:
    vectors: dict[str, Any] = {}
    for name, made in dense.items():
        if draw(st.booleans()):
            number = elements[made.get("datatype") or "float32"]
            if made["distance"] == "Cosine":  # the squares of others are no numbers
                number = number.filter(lambda one: one == 0 or 1e-3 < abs(one) < 1e9)
            row = st.lists(number, min_size=made["size"], max_size=made["size"])
            is_multi = "multivector_config" in made
            vectors[name] = draw(st.lists(row, min_size=1, max_size=3) if is_multi else row)
    for name in sparse:
        if draw(st.booleans()):
            indices = draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True))
            weights = st.lists(numbers, min_size=len(indices), max_size=len(indices))
            vectors[name] = {"indices": indices, "values": draw(weights)}
    payload = draw(st.dictionaries(texts | st.sampled_from(sorted(FIELDS)), values, max_size=4))
    return {"id": point_id, "vector": vectors, "payload": payload}


@dataclass(slots=True)
class Side:
    """A server to export from or to import into."""

    url: str
    embedded: EmbeddedServer | None
    peers: tuple[PeerAt, ...] = ()

    async def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """Send a request, through a courier as all do."""
        data = b"" if body is None else msgspec.json.encode(body)
        return await self.peers[0].courier.call(Asked(Request(path, method, data), path), deadline_seconds=60)

    async def described(self, name: str) -> keeping.Description:
        """Say what a collection is."""
        return keeping.read_description(await self.ask("GET", f"/collections/{name}"))


@dataclass(slots=True)
class Scene:
    """Two sides, which may be one, on a loop of their own."""

    runner: asyncio.Runner
    source: Side
    target: Side
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def round_trip(self, case: Case) -> None:
        """Make a collection, export it, import it, and compare."""
        self.runner.run(self._round_trip(case, next(self.numbers)))

    async def _round_trip(self, case: Case, number: int) -> None:
        name, target = f"qdrantx_trip_{os.getpid()}_{number}", f"qdrantx_trip_{os.getpid()}_{number}_back"
        clock = LoopClock()
        shelf = Shelf(ScriptedStore(clock), clock)
        try:
            await self._fill(name, case)
            manifest = await export(
                name, cluster="one", peers=self.source.peers, shelf=shelf, clock=clock,
                encoding=case.encoding, limits=CALLS, chunk_bytes=case.chunk_bytes,
            )  # fmt: skip
            importer = Importer(
                cluster="two", peers=self.target.peers, shelf=shelf, clock=clock, limits=LIMITS
            )
            options = ImportOptions(target=target)
            done = await importer.import_set(await shelf.find(manifest.id), options)

            assert done.points == len(case.points)
            wanted = total([chunk.content for chunk in manifest.chunks])
            rounds = any("rounds numbers anew" in text for text in done.warnings)
            assert done.content == wanted or rounds
            assert await shelf.thresholds() == []
            await self._compare(name, target)
        finally:
            await self.source.ask("DELETE", f"/collections/{name}")
            await self.target.ask("DELETE", f"/collections/{target}")

    async def _fill(self, name: str, case: Case) -> None:
        await self.source.ask("PUT", f"/collections/{name}", case.body)
        for one in case.indexes:
            body = {"field_name": one, "field_schema": FIELDS[one]}
            await self.source.ask("PUT", f"/collections/{name}/index?wait=true", body)
        if case.points:
            await self.source.ask("PUT", f"/collections/{name}/points?wait=true", {"points": case.points})

    async def _compare(self, name: str, target: str) -> None:
        """See that settings and payload indexes are as they were; what was unset may be a default now."""
        was, found = await self.source.described(name), await self.target.described(target)
        assert schema.config_differences(was.config, found.config) == ()
        assert schema.index_differences(was.payload_schema, found.payload_schema) == ()
        assert found.payload_schema.keys() == was.payload_schema.keys()
        assert found.status == "green"


ROADS = {"embedded": ("", ""), "real": (URL, URL), "old to new": (OLD_URL, URL), "new to old": (URL, OLD_URL)}


@pytest.fixture(scope="module", params=list(ROADS))
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """The servers of one road."""
    urls = ROADS[request.param]
    if request.param != "embedded" and "" in urls:
        pytest.skip(HOW_TO_RUN)
    with asyncio.Runner() as runner:
        made = runner.run(_opened(urls))
        runner.run(asyncio.sleep(0))
        yield Scene(runner, *made)
        runner.run(_closed(made))


async def _opened(urls: tuple[str, str]) -> tuple[Side, Side]:
    if "" in urls:
        server = EmbeddedServer()
        await server.start()
        side = _side(server.url, server)
        return side, side
    return _side(urls[0]), _side(urls[1])


def _side(url: str, embedded: EmbeddedServer | None = None) -> Side:
    return Side(url, embedded, (PeerAt("one", url, Courier(Door(url), LoopClock())),))


async def _closed(sides: tuple[Side, Side]) -> None:
    for side in sides:
        await side.peers[0].courier.close()
    if sides[0].embedded is not None:
        await sides[0].embedded.stop()


ODD_POINTS = [
    {
        "id": 2**64 - 1,
        "vector": {"a": [0.3, 0.4], "s": {"indices": [2**32 - 1, 0], "values": [1e-45, -0.0]}},
        "payload": {"n": [1, 2**63 - 1], "t": "zwei Wörter", "deep": {"": [None, {}, []], "x": 1e308}},
    },
    {
        "id": 0,
        "vector": {"rows": [[1.0, 2.0], [3.4028234663852886e38, -1.0]]},
        "payload": {"": -0.0, "a": 1.6222601126936204e-53},
    },
    {"id": str(UUID(int=2**128 - 1)), "vector": {}, "payload": {}},
]
ODD = Case(
    body={
        "vectors": {
            "a": {"size": 2, "distance": "Cosine", "datatype": "float16"},
            "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"s": {}},
    },
    indexes=("n", "t"),
    points=ODD_POINTS,
)
NONE = Case(body={"vectors": {"size": 3, "distance": "Dot"}}, indexes=("k",), points=[])


@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],  # to make an example smaller takes minutes here
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(case=cases())
@example(case=ODD)
@example(case=NONE)
def test_any_collection_is_the_same_after_an_export_and_an_import(scene: Scene, case: Case) -> None:
    """Ids, payloads and vectors to the bit, settings and payload indexes; and it is green."""
    scene.round_trip(case)
