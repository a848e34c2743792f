"""`canary remove`: the collection goes where it is ours, and one line a cluster says what came of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from exporter.canaries import remove_canaries
from exporter.clock import SystemClock
from exporter.config.clusters import ClusterSettings
from exporter.config.probes import CanarySettings, ProbesSettings
from exporter.config.secret import Secret
from exporter.config.settings import Settings
from exporter.observe.probes.canary import Canary
from exporter.observe.probes.canary_collection import NOT_OURS, CanaryPeer
from exporter.qdrant.canary import CANARY_COLLECTION, PATH, VECTORS
from exporter.qdrant.door import Door
from exporter.qdrant.lanes import Lanes
from tests.kit.daemons import run_command
from tests.kit.replay import ReplayServer, Reply
from tests.kit.scripted import free_port
from tests.kit.watching import cluster_of
from tests.unit.embedded.kit import Served, serving

DELETED = f"collection {CANARY_COLLECTION} is deleted"
NOTHING_THERE = f"there is no collection {CANARY_COLLECTION}"
KEY = "a-key-that-may-manage"
JSON = {"content-type": "application/json"}


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    """An embedded server."""
    async with serving() as one:
        yield one


async def with_canary(url: str, **door: Any) -> str:
    """Let a canary go a round there, which leaves its collection; return the url."""
    lanes = Lanes(door=Door(url, **door), clock=SystemClock())
    canary = Canary(instance="an-instance", deadline_seconds=10.0, clock=SystemClock())
    await canary.round([CanaryPeer("a", None, lanes)], frozenset())
    await lanes.close()
    return url


async def removed(*clusters: ClusterSettings) -> tuple[list[str], int]:
    """Run the verb in this process."""
    return await remove_canaries(Settings.model_construct(clusters=clusters))


async def exists(served: Served) -> bool:
    """Whether the collection is there."""
    answer = await served.result("GET", f"{PATH}/exists")
    return bool(answer["exists"])


def unreachable_url() -> str:
    """A url where nobody listens."""
    return f"http://127.0.0.1:{free_port(('127.0.0.1',))}"


def answering(status: int, body: Any) -> ReplayServer:
    """A server that says this to everything but the opening of a connection."""
    said = Reply(status, body if isinstance(body, bytes) else json.dumps(body).encode(), JSON)
    root = Reply(200, b'{"title":"qdrant - vector search engine","version":"1.18.3"}', JSON)
    return ReplayServer(answer=lambda target: root if target == "/" else said)


async def test_the_collection_is_deleted_and_a_second_time_there_is_none(served: Served) -> None:
    """Both are what was wanted: exit code 0."""
    cluster = cluster_of(await with_canary(served.server.url))
    await served.result("PUT", "/collections/docs", {"vectors": {"size": 4, "distance": "Dot"}})
    before = await exists(served)

    first = await removed(cluster)
    second = await removed(cluster)

    assert before
    assert first == ([f"default: {DELETED}"], 0)
    assert second == ([f"default: {NOTHING_THERE}"], 0)
    assert await served.result("GET", "/collections") == {"collections": [{"name": "docs"}]}


async def test_where_the_canary_is_switched_on_a_running_daemon_makes_it_again(served: Served) -> None:
    """Who removes it should first switch it off, and is told so."""
    probes = ProbesSettings(canary=CanarySettings(enabled=True))

    lines, code = await removed(cluster_of(await with_canary(served.server.url), probes=probes))

    assert (lines[0], code) == (f"default: {DELETED}", 0)
    assert "canary.enabled is true" in lines[1]
    assert not await exists(served)


async def test_a_collection_that_no_canary_made_stays(served: Served) -> None:
    """With everything in it, and the exit code says that nothing was removed."""
    await served.result("PUT", PATH, {"vectors": {"size": 8, "distance": "Dot"}})

    lines, code = await removed(cluster_of(served.server.url))

    assert code == 1
    assert NOT_OURS in lines[0]
    assert await exists(served)


@pytest.mark.parametrize("own_key", [None, KEY])
async def test_the_canarys_own_key_is_the_one_that_deletes(own_key: str | None) -> None:
    """Without one it is the cluster's."""
    async with serving(api_key=KEY) as locked:
        await with_canary(locked.server.url, api_key=KEY)
        cluster_key = KEY if own_key is None else "a-key-that-may-read"
        canary = CanarySettings(api_key=None if own_key is None else Secret(own_key))
        cluster = cluster_of(
            locked.server.url, api_key=Secret(cluster_key), probes=ProbesSettings(canary=canary)
        )

        assert await removed(cluster) == ([f"default: {DELETED}"], 0)
        assert await removed(cluster) == ([f"default: {NOTHING_THERE}"], 0)


async def test_a_wrong_key_is_told_with_what_is_needed_and_never_shown() -> None:
    """401: no other peer would say anything else."""
    async with serving(api_key=KEY) as locked:
        await with_canary(locked.server.url, api_key=KEY)
        peer = locked.server.url.removeprefix("http://")

        lines, code = await removed(cluster_of(locked.server.url, api_key=Secret("a-wrong-secret")))

    assert code == 1
    assert lines == [
        f"default: {peer}: /collections/{{collection}}: 401: Invalid API key or JWT; "
        "deleting takes a key that may manage"
    ]


async def test_a_key_that_may_only_read_cannot_delete() -> None:
    """It sees the collection, and the deletion is 403."""
    ours = {"result": {"config": {"params": {"vectors": VECTORS}}}}
    refusal = {"status": {"error": "Forbidden: Global manage access is required"}, "time": 0.0}
    said = iter([Reply(200, json.dumps(ours).encode(), JSON), Reply(403, json.dumps(refusal).encode(), JSON)])
    root = Reply(200, b"{}", JSON)
    async with ReplayServer(answer=lambda target: root if target == "/" else next(said)) as server:
        lines, code = await removed(cluster_of(server.url))

    assert code == 1
    assert "DELETE /collections/{collection}: 403: Forbidden: " in lines[0]
    assert lines[0].endswith("deleting takes a key that may manage")


async def test_a_peer_that_is_down_is_passed_over_for_the_next(served: Served) -> None:
    """Any peer can delete it everywhere; of all that are down each reason is told."""
    down = unreachable_url()
    await with_canary(served.server.url)

    good = await removed(cluster_of(down, served.server.url))
    bad = await removed(cluster_of(down, down.replace("127.0.0.1", "127.0.0.2")))

    assert good == ([f"default: {DELETED}"], 0)
    assert bad[1] == 1
    assert bad[0][0].count("cannot connect: Connection refused") == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"result": {}}),
        (200, {"result": {"config": {"params": {"vectors": 7}}}}),
        (200, b"not JSON"),
        (200, b"<html>a login page</html>"),
        (500, {"status": {"error": "Service internal error: no"}}),
        (404, b""),
    ],
)
async def test_what_is_no_answer_of_qdrant_is_told_and_nothing_is_deleted(status: int, body: Any) -> None:
    """A page of something else at that address, say."""
    async with answering(status, body) as server:
        lines, code = await removed(cluster_of(server.url))

    assert code == 1
    assert lines[0].startswith(
        f"default: {server.url.removeprefix('http://')}: /collections/{{collection}}: "
    )
    assert [target for target in server.asked if target != "/"] == [PATH]


async def test_each_cluster_has_its_line_and_one_that_fails_keeps_none_of_the_others(served: Served) -> None:
    """The exit code is 1 as soon as one failed."""
    shop = cluster_of(unreachable_url()).model_copy(update={"name": "shop"})
    archive = cluster_of(await with_canary(served.server.url)).model_copy(update={"name": "archive"})

    lines, code = await removed(shop, archive)

    assert code == 1
    assert [line.split(": ")[0] for line in lines] == ["shop", "archive"]
    assert lines[1] == f"archive: {DELETED}"
    assert not await exists(served)


async def test_a_cluster_that_is_known_by_a_dns_name_is_asked_by_that_name(served: Served) -> None:
    """Whichever peer answers under it."""
    url = (await with_canary(served.server.url)).replace("127.0.0.1", "localhost")

    lines, code = await removed(cluster_of(dns=(url,)))

    assert (lines, code) == ([f"default: {DELETED}"], 0)


async def test_a_cluster_without_peers_says_what_to_write() -> None:
    """There is nobody to ask."""
    lines, code = await removed(cluster_of(dns=()))

    assert (lines, code) == (["default: no peers are configured: write peers: with a URL"], 1)


async def test_the_command_says_what_it_did_and_complains_on_stderr(served: Served) -> None:
    """A real process: for scripts the exit code, for people one line."""
    url = await with_canary(served.server.url)

    done = await run_command("canary", "remove", f"--qdrant.url={url}")
    again = await run_command("canary", "remove", f"--qdrant.url={url}")
    failed = await run_command("canary", "remove", f"--qdrant.url={unreachable_url()}")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"default: {DELETED}\n", "")
    assert (again.returncode, again.stdout) == (0, f"default: {NOTHING_THERE}\n")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("default: ")
    assert "cannot connect" in failed.stderr
    assert not await exists(served)
