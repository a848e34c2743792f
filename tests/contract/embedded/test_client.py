"""qdrant-client works against the embedded server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from exporter.embedded.server import EmbeddedServer
from exporter.embedded.shard import Pacing

DIMENSION = 16
PATIENCE_SECONDS = 40.0


@pytest_asyncio.fixture
async def client() -> AsyncIterator[AsyncQdrantClient]:
    """A client of a server with one empty collection `docs` that indexes from 1 KB on."""
    server = EmbeddedServer(pacing=Pacing(quiet_seconds=0.05, patience_seconds=1.0))
    await server.start()
    # its newest release warns about servers more than one minor version older
    connected = AsyncQdrantClient(url=server.url, check_compatibility=False)
    try:
        await connected.create_collection(
            "docs",
            vectors_config=models.VectorParams(size=DIMENSION, distance=models.Distance.DOT),
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1),
        )
        yield connected
    finally:
        await connected.close()
        await server.stop()


def vector(number: int) -> list[float]:
    """A vector of its own for each number, the same in every run."""
    source = random.Random(number)
    return [source.gauss(0, 1) for _ in range(DIMENSION)]


async def fill(client: AsyncQdrantClient, count: int) -> None:
    """Write points 0 to count - 1 with their number's remainder by three."""
    points = [
        models.PointStruct(id=number, vector=vector(number), payload={"third": number % 3})
        for number in range(count)
    ]
    await client.upsert("docs", points, wait=True)


async def until_indexed(client: AsyncQdrantClient, count: int) -> None:
    """Wait until the optimizer has done its work."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await client.get_collection("docs")).indexed_vectors_count != count:
            await asyncio.sleep(0.02)


async def test_points_are_written_and_found(client: AsyncQdrantClient) -> None:
    """Upsert in list and batch form, then retrieve, count, scroll and query."""
    await fill(client, 30)
    batch = models.Batch(ids=[30, 31], vectors=[vector(30), vector(31)], payloads=[{"third": 0}, {}])
    await client.upsert("docs", batch, wait=True)

    retrieved = await client.retrieve("docs", [7, 999], with_payload=True, with_vectors=True)
    counted = await client.count("docs")
    page, following = await client.scroll("docs", limit=5, with_payload=True)
    nearest = await client.query_points("docs", query=vector(7), limit=3, with_payload=True)

    assert [(point.id, point.payload) for point in retrieved] == [(7, {"third": 1})]
    assert retrieved[0].vector == pytest.approx(vector(7))
    assert counted.count == 32
    assert [point.id for point in page] == [0, 1, 2, 3, 4]
    assert following == 5
    assert nearest.points[0].id == 7
    assert nearest.points[0].payload == {"third": 1}


async def test_a_query_takes_an_id_a_filter_or_nothing_but_chance(client: AsyncQdrantClient) -> None:
    """By id the point itself is left out; a filter holds; a sample has as many as asked for."""
    await fill(client, 60)
    wanted = models.Filter(must=[models.FieldCondition(key="third", match=models.MatchValue(value=2))])

    by_id = await client.query_points("docs", query=7, limit=60)
    filtered = await client.query_points("docs", query=vector(0), query_filter=wanted, limit=60)
    sampled = await client.query_points(
        "docs", query=models.SampleQuery(sample=models.Sample.RANDOM), limit=5
    )

    assert {point.id for point in by_id.points} == set(range(60)) - {7}
    assert {point.id for point in filtered.points} == set(range(2, 60, 3))
    assert len({point.id for point in sampled.points}) == 5


async def test_points_are_deleted_by_id_and_by_filter(client: AsyncQdrantClient) -> None:
    """What is deleted is gone from the counts."""
    await fill(client, 30)
    wanted = models.Filter(must=[models.FieldCondition(key="third", match=models.MatchValue(value=0))])

    await client.delete("docs", points_selector=[1, 2], wait=True)
    await client.delete("docs", points_selector=wanted, wait=True)

    assert (await client.count("docs")).count == 18
    assert (await client.get_collection("docs")).points_count == 18


async def test_payload_is_set_replaced_and_deleted(client: AsyncQdrantClient) -> None:
    """Each of the payload routes does what its name says."""
    await fill(client, 3)

    await client.set_payload("docs", {"colour": "red"}, points=[0], wait=True)
    await client.overwrite_payload("docs", {"colour": "blue"}, points=[1], wait=True)
    await client.delete_payload("docs", ["third"], points=[0], wait=True)
    await client.clear_payload("docs", points_selector=[2], wait=True)

    found = await client.retrieve("docs", [0, 1, 2], with_payload=True)
    assert [point.payload or {} for point in found] == [{"colour": "red"}, {"colour": "blue"}, {}]


async def test_a_payload_index_is_created_used_and_deleted(client: AsyncQdrantClient) -> None:
    """It shows in the schema with its points, facets count by it, and it goes again."""
    await fill(client, 30)

    await client.create_payload_index("docs", "third", models.PayloadSchemaType.INTEGER, wait=True)
    schema = (await client.get_collection("docs")).payload_schema
    facets = await client.facet("docs", "third", exact=True)
    await client.delete_payload_index("docs", "third", wait=True)

    assert (schema["third"].data_type, schema["third"].points) == ("integer", 30)
    assert {hit.value: hit.count for hit in facets.hits} == {0: 10, 1: 10, 2: 10}
    assert (await client.get_collection("docs")).payload_schema == {}


async def test_the_optimizer_runs_by_itself_and_a_patch_runs_it_again(client: AsyncQdrantClient) -> None:
    """Indexing after writes; with a lower threshold, a vacuum of what was deleted."""
    await fill(client, 500)
    await until_indexed(client, 500)
    await client.delete("docs", points_selector=list(range(100)), wait=True)
    changed = models.OptimizersConfigDiff(deleted_threshold=0.05, vacuum_min_vector_number=100)

    await client.update_collection("docs", optimizers_config=changed)
    await until_indexed(client, 400)

    done = await client.get_optimizations("docs", completed_limit=5, with_=["queued", "idle_segments"])
    assert [run.optimizer for run in done.completed or []] == ["vacuum", "indexing"]
    assert [run.status for run in done.completed or []] == ["done", "done"]
    assert done.queued == []
    assert sum(segment.points_count for segment in done.idle_segments or []) == 400
    assert (await client.get_collection("docs")).config.optimizer_config.deleted_threshold == 0.05


async def test_collections_and_aliases_come_and_go(client: AsyncQdrantClient) -> None:
    """An alias stands for its collection and ends with it."""
    alias = models.CreateAlias(collection_name="docs", alias_name="live")
    await client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])

    assert [held.alias_name for held in (await client.get_aliases()).aliases] == ["live"]
    assert [held.alias_name for held in (await client.get_collection_aliases("docs")).aliases] == ["live"]
    assert await client.collection_exists("live")
    assert (await client.get_collection("live")).points_count == 0

    assert await client.delete_collection("docs")
    assert not await client.collection_exists("docs")
    assert (await client.get_collections()).collections == []
    assert (await client.get_aliases()).aliases == []


async def test_named_sparse_and_multiple_vectors_are_held_apart(client: AsyncQdrantClient) -> None:
    """Each kind is queried by its name and comes back as it was written."""
    await client.create_collection(
        "named",
        vectors_config={
            "title": models.VectorParams(size=4, distance=models.Distance.DOT),
            "words": models.VectorParams(
                size=2,
                distance=models.Distance.DOT,
                multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
            ),
        },
        sparse_vectors_config={"terms": models.SparseVectorParams()},
    )
    sparse = models.SparseVector(indices=[3, 9], values=[1.0, 0.5])
    held = {"title": [1.0, 2.0, 3.0, 4.0], "words": [[1.0, 0.0], [0.0, 1.0]], "terms": sparse}
    uuid = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"
    await client.upsert("named", [models.PointStruct(id=uuid, vector=held)], wait=True)

    by_title = await client.query_points(
        "named", query=[1.0, 0.0, 0.0, 0.0], using="title", with_vectors=True
    )
    by_words = await client.query_points("named", query=[[1.0, 1.0]], using="words")
    by_terms = await client.query_points("named", query=sparse, using="terms")

    assert by_title.points[0].id == uuid
    assert by_title.points[0].vector == held
    assert [by_title.points[0].score, by_words.points[0].score, by_terms.points[0].score] == [1.0, 1.0, 1.25]


async def test_a_missing_collection_is_refused_as_the_client_expects(client: AsyncQdrantClient) -> None:
    """404 with Qdrant's words."""
    with pytest.raises(UnexpectedResponse, match="Not found: Collection `nosuch`") as caught:
        await client.get_collection("nosuch")

    assert caught.value.status_code == 404
