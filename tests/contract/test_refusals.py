"""How the server says no, and what our gateway makes of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from exporter.errors import SourceAuth, SourceRefused, SourceUnsupported
from tests.contract.ground import (
    DIMENSION,
    KEY_VARIABLE,
    Qdrant,
    embedded_qdrant,
    path_of,
    real_qdrant,
    real_urls,
)
from tests.contract.look import gateway_to, key_of
from tests.kit.gateways import ask

JSON = "application/json"
KEY = "a-key-of-the-test"
NO_KEY = "Must provide an API key or an Authorization bearer token"
WRONG_KEY = "Invalid API key or JWT"


@pytest.mark.parametrize("part", ["", "/cluster", "/snapshots", "/optimizations"])
async def test_a_missing_collection_is_refused_with_a_reason(qdrant: Qdrant, part: str) -> None:
    """404 in JSON, so that it is told from a route that the server does not have."""
    path = path_of(f"{qdrant.prefix}nosuch") + part
    answered = await qdrant.ask("GET", path)
    async with gateway_to(qdrant, **key_of(qdrant)) as gateway:
        with pytest.raises(SourceRefused) as caught:
            await ask(gateway, path)

    assert (answered.status, answered.content_type) == (404, JSON)
    assert answered.json["status"]["error"].startswith("Not found: Collection `")
    assert caught.value.status == 404


async def test_a_missing_collection_has_no_aliases_and_does_not_exist(qdrant: Qdrant) -> None:
    """Two routes answer 200 all the same; an alias has none either, though it exists."""
    name = await qdrant.create()
    alias = f"{name}-alias"
    action = {"create_alias": {"collection_name": name, "alias_name": alias}}
    await qdrant.result("POST", "/collections/aliases", {"actions": [action]})
    missing = f"{qdrant.prefix}nosuch"

    aliases = [await qdrant.result("GET", f"{path_of(one)}/aliases") for one in (missing, alias, name)]
    exist = [await qdrant.result("GET", f"{path_of(one)}/exists") for one in (missing, alias, name)]

    assert [len(one["aliases"]) for one in aliases] == [0, 0, 1]
    assert [one["exists"] for one in exist] == [False, True, True]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nosuch"), ("GET", "/collections/any/nosuch"), ("PATCH", "/cluster"), ("GET", "/quotas")],
)
async def test_an_unknown_route_and_a_wrong_method_have_no_body(
    qdrant: Qdrant, method: str, path: str
) -> None:
    """404 without a word."""
    answered = await qdrant.ask(method, path)

    assert (answered.status, answered.text) == (404, "")


async def test_a_route_that_the_server_does_not_have_is_unsupported(qdrant: Qdrant) -> None:
    """Its empty 404 is no failure to the gateway."""
    async with gateway_to(qdrant, **key_of(qdrant)) as gateway:
        with pytest.raises(SourceUnsupported):
            await ask(gateway, "/nosuch")


async def test_a_vector_of_a_wrong_size_is_refused_in_queries_and_writes(qdrant: Qdrant) -> None:
    """400 with both sizes; a peer of a cluster quotes another one."""
    name = await qdrant.create()
    wrong = [1.0, 2.0]

    queried = await qdrant.ask("POST", f"{path_of(name)}/points/query", {"query": wrong})
    points = {"points": [{"id": 1, "vector": wrong}]}
    written = await qdrant.ask("PUT", f"{path_of(name)}/points?wait=true", points)

    text = f"Wrong input: Vector dimension error: expected dim: {DIMENSION}, got 2"
    assert (queried.status, written.status) == (400, 400)
    assert all(text in one.json["status"]["error"] for one in (queried, written))


async def test_a_second_collection_of_a_name_is_refused(qdrant: Qdrant) -> None:
    """409 in JSON."""
    name = await qdrant.create()

    again = await qdrant.ask("PUT", path_of(name), {"vectors": {"size": 4, "distance": "Dot"}})

    assert (again.status, again.json["status"]["error"]) == (
        409,
        f"Wrong input: Collection `{name}` already exists!",
    )


async def test_health_checks_answer_in_plain_words(qdrant: Qdrant) -> None:
    """Nothing of JSON, and the same text for /healthz and /livez."""
    answered = [await qdrant.ask("GET", path) for path in ("/healthz", "/livez", "/readyz")]

    texts = ["healthz check passed", "healthz check passed", "all shards are ready"]
    assert [(200, text) for text in texts] == [(one.status, one.text) for one in answered]


@pytest_asyncio.fixture(params=["embedded", "real"] if real_urls() else ["embedded"])
async def locked(request: pytest.FixtureRequest) -> AsyncIterator[Qdrant]:
    """A server with a key."""
    if request.param == "embedded":
        async with embedded_qdrant(api_key=KEY) as deployment:
            yield deployment
        return
    if not os.environ.get(KEY_VARIABLE):
        pytest.skip(f"needs a server with a key, and the key in {KEY_VARIABLE}")
    async with real_qdrant() as deployment:
        yield deployment


@pytest.mark.parametrize("path", ["/telemetry?details_level=3", "/cluster", "/collections", "/nosuch"])
@pytest.mark.parametrize("secrets", [{}, {"api_key": "wrong"}, {"bearer_token": "wrong"}])
async def test_a_wrong_key_is_refused_in_plain_text(
    locked: Qdrant, path: str, secrets: dict[str, str]
) -> None:
    """401, which our gateway tells from every other failure."""
    async with gateway_to(locked, **secrets) as gateway:
        with pytest.raises(SourceAuth, match="401: ") as caught:
            await ask(gateway, path)

    expected = WRONG_KEY if secrets else NO_KEY
    assert caught.value.detail == f"401: {expected}"


@pytest.mark.parametrize("kind", ["api_key", "bearer_token"])
async def test_the_right_key_opens_in_either_header(locked: Qdrant, kind: str) -> None:
    """As api-key and as a bearer token."""
    async with gateway_to(locked, **{kind: locked.api_key or ""}) as gateway:
        answer = await ask(gateway, "/telemetry?details_level=3")

    assert answer.status == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/livez", "/readyz"])
async def test_some_paths_answer_without_a_key(locked: Qdrant, path: str) -> None:
    """A health check never needs one."""
    async with gateway_to(locked) as gateway:
        answer = await ask(gateway, path)

    assert answer.status == 200
