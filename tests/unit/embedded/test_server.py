"""What the embedded server tells of itself while things happen to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exporter.embedded.server import EmbeddedServer, serve
from exporter.embedded.shard import Pacing
from tests.unit.embedded.kit import SMALL_CONFIG, is_green, serving

SLOW = Pacing(quiet_seconds=30.0, patience_seconds=30.0)  # the optimizer does not run by itself


def lag(local: dict[str, Any]) -> int:
    """Points of segments of at least 1 KB without an index, as the daemon defines lag."""
    return sum(
        segment["info"]["num_points"]
        for segment in local["segments"]
        if segment["info"]["vectors_size_bytes"] >= 1024
        and segment["config"]["vector_data"][""]["index"]["type"] == "plain"
    )


async def test_points_lag_until_the_optimizer_has_indexed_them() -> None:
    """Yellow and lagging after the writes, green without lag after the optimizer, told by its log."""
    async with serving(pacing=Pacing(quiet_seconds=0.3, patience_seconds=2.0)) as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        await served.write(0, 500)
        before = await served.local_shard()

        after = await served.until(is_green)

    assert (before["status"], lag(before)) == ("yellow", 500)
    assert (lag(after), after["num_points"]) == (0, 500)
    assert [(run["name"], run["status"]) for run in after["optimizations"]["log"]] == [("indexing", "done")]
    assert after["optimizations"]["log"][0]["start_at"] < after["optimizations"]["log"][0]["end_at"]
    assert after["total_optimized_points"] == 500


async def test_the_log_names_the_segments_that_an_optimization_took() -> None:
    """A second burst is merged with what the first one left, and points count each time."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        await served.write(0, 300)
        first = await served.until(lambda local: local["total_optimized_points"] == 300)
        await served.write(300, 500)
        second = await served.until(lambda local: local["total_optimized_points"] == 800)

    taken = second["optimizations"]["log"][0]["segment_uuids"]
    assert set(taken) == {segment["info"]["uuid"] for segment in first["segments"]}
    assert second["optimizations"]["optimizations"]["count"] == 2


async def test_a_taken_port_is_an_error_that_leaves_nothing_behind() -> None:
    """Neither workers nor the temporary folder."""
    async with serving() as served:
        second = EmbeddedServer()
        port = int(served.server.url.rpartition(":")[2])

        with pytest.raises(OSError, match="address already in use"):
            await second.start(port)

        assert not second.folder.exists()
        assert _children(os.getpid()) == []


async def test_deleted_points_stay_until_a_vacuum() -> None:
    """Below the threshold they are counted as deleted; beyond it the segment is written anew."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        await served.write(0, 500)
        await served.until(lambda local: is_green(local) and local["total_optimized_points"] == 500)
        delete = "/collections/docs/points/delete?wait=true"

        await served.result("POST", delete, {"points": list(range(60))})
        littered = await served.until(
            lambda local: sum(one["info"]["num_deleted_vectors"] for one in local["segments"]) > 0
        )
        await served.result("POST", delete, {"points": list(range(60, 150))})
        clean = await served.until(lambda local: local["optimizations"]["log"][0]["name"] == "vacuum")
        clean = await served.until(is_green)

    indexed = max(littered["segments"], key=lambda one: one["info"]["num_points"])["info"]
    assert (indexed["num_points"], indexed["num_deleted_vectors"], littered["status"]) == (440, 60, "green")
    assert indexed["vectors_size_bytes"] == 440 * 16 * 4
    assert [one["info"]["num_deleted_vectors"] for one in clean["segments"]] == [0, 0]
    assert sum(one["info"]["num_points"] for one in clean["segments"]) == 350


async def test_an_overwritten_point_leaves_a_deleted_one_behind() -> None:
    """A point of a sealed segment that is written again moves to the appendable one."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        await served.write(0, 300)
        await served.until(lambda local: is_green(local) and local["total_optimized_points"] == 300)

        await served.write(0, 10)
        local = await served.until(
            lambda local: sum(one["info"]["num_deleted_vectors"] for one in local["segments"]) > 0
        )

    by_kind = {one["info"]["is_appendable"]: one["info"] for one in local["segments"]}
    assert (by_kind[False]["num_points"], by_kind[False]["num_deleted_vectors"]) == (290, 10)
    assert (by_kind[True]["num_points"], local["num_points"]) == (10, 300)


async def test_what_is_known_is_told_while_the_worker_is_busy() -> None:
    """Telemetry, status and metrics come from the server itself; a write waits and is seen waiting."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        await served.write(0, 10)

        with busy_worker():
            acknowledged = await served.write(10, 20, wait=False)
            waiting = await served.write(20, 30, wait=False)
            local = await served.local_shard()
            _, metrics = await served.ask("GET", "/metrics")
        done = await served.until(lambda local: local["num_points"] == 30)

    assert acknowledged == {"operation_id": 2, "status": "acknowledged"}
    assert waiting == {"operation_id": 3, "status": "acknowledged"}
    # the worker has begun the first of the two
    assert (local["num_points"], local["update_queue"]) == (10, {"length": 1, "op_num": 3})
    assert 'collection_update_queue_length{id="docs"} 1' in metrics
    assert done["update_queue"] == {"length": 0, "op_num": 3}


async def test_a_request_gives_up_after_its_own_timeout() -> None:
    """408 when the worker is busy for longer than the client waits; later requests are served again."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        count = "/collections/docs/points/count"

        with busy_worker():
            status, answer = await served.ask("POST", f"{count}?timeout=1", {})
        after = await served.result("POST", count, {})

    assert status == 408
    assert answer["status"]["error"].startswith("Timeout: ")
    assert after == {"count": 0}


async def test_a_lost_worker_turns_its_collection_red_and_only_that() -> None:
    """Requests to it are refused with 500, the other collection and the server go on."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        worker = _children(os.getpid())[0]
        await served.result("PUT", "/collections/other", SMALL_CONFIG)

        os.kill(worker, signal.SIGKILL)
        lost = await served.ask("POST", "/collections/docs/points/count", {})
        again = await served.ask("POST", "/collections/docs/points/count", {})
        docs = await served.result("GET", "/collections/docs")
        other = await served.result("POST", "/collections/other/points/count", {})

    assert [lost[0], again[0]] == [500, 500]
    assert docs["status"] == "red"
    assert docs["optimizer_status"] == {"error": "the engine's process ended"}
    assert other == {"count": 0}


async def test_collections_are_there_again_after_a_restart(tmp_path: Path) -> None:
    """Points, aliases, payload indexes, configuration and peer id outlive the server."""
    async with serving(data=tmp_path) as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        await served.write(0, 200)
        index = {"field_name": "k", "field_schema": "keyword"}
        await served.result("PUT", "/collections/docs/index?wait=true", index)
        alias = {"create_alias": {"collection_name": "docs", "alias_name": "live"}}
        await served.result("POST", "/collections/aliases", {"actions": [alias]})
        await served.until(is_green)
        held = await served.result("GET", "/collections/live")
        peer = (await served.result("GET", "/collections/docs/cluster"))["peer_id"]

    async with serving(data=tmp_path) as served:
        again = await served.result("GET", "/collections/live")
        same_peer = (await served.result("GET", "/collections/docs/cluster"))["peer_id"]

    assert again == held
    assert held["payload_schema"] == {"k": {"data_type": "keyword", "points": 0}}
    assert same_peer == peer


async def test_pending_work_sleeps_after_a_restart_until_a_patch(tmp_path: Path) -> None:
    """Grey, as Qdrant has it, until something wakes the optimizer."""
    async with serving(data=tmp_path, pacing=SLOW) as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        await served.write(0, 200)

    async with serving(data=tmp_path) as served:
        await asyncio.sleep(0.3)  # six times the pause after which an awake optimizer runs
        asleep = await served.result("GET", "/collections/docs")
        await served.result("PATCH", "/collections/docs", {"optimizers_config": {}})
        awake = await served.until(is_green)

    assert (asleep["status"], asleep["indexed_vectors_count"]) == ("grey", 0)
    assert lag(awake) == 0


async def test_a_hidden_server_refuses_connections_and_comes_back_with_everything() -> None:
    """The port is closed, connections in use end; afterwards the same port serves the same points."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        await served.write(0, 5)

        await served.server.hide()
        with pytest.raises(aiohttp.ClientConnectionError):
            await served.ask("GET", "/healthz")
        await served.server.show()

        assert (await served.result("GET", "/collections/docs"))["points_count"] == 5


async def test_one_point_is_read_by_its_id() -> None:
    """With payload and vector; a missing one is a 404."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", {"vectors": {"size": 2, "distance": "Dot"}})
        point = {"id": 7, "vector": [1.0, 2.0], "payload": {"k": [1, {"n": None}]}}
        await served.result("PUT", "/collections/docs/points?wait=true", {"points": [point]})

        found = await served.result("GET", "/collections/docs/points/7")
        status, _ = await served.ask("GET", "/collections/docs/points/8")

    assert found == point
    assert status == 404


async def test_what_is_not_served_is_refused_with_a_reason() -> None:
    """400 and a text, never a 200 for something that was not done; the collection goes on."""
    docs, flat = "/collections/docs", {"vectors": {"size": 2, "distance": "Dot"}}
    asked: list[tuple[str, str, Any]] = [
        ("POST", f"{docs}/points/query", {"query": {"recommend": {"positive": [1]}}}),
        ("POST", f"{docs}/points/query", {"query": [1, 2], "filter": {"must": [{"nope": 1}]}}),
        ("PUT", f"{docs}/points?wait=true", {"points": [{"id": "x y", "vector": [1, 2]}]}),
        ("PUT", f"{docs}/points?wait=true", {"points": [{"id": 1}]}),
        ("POST", f"{docs}/points/delete?wait=true", {}),
        ("PATCH", docs, {"strict_mode_config": {"enabled": True}}),
        ("PUT", "/collections/more", {**flat, "shard_number": 2}),
        ("PUT", "/collections/more", {**flat, "quantization_config": {"turbo": {}}}),
    ]
    async with serving() as served:
        await served.result("PUT", docs, flat)

        for method, path, body in asked:
            status, answer = await served.ask(method, path, body)
            assert (status, bool(answer["status"]["error"])) == (400, True), path

        assert await served.result("POST", f"{docs}/points/count", {}) == {"count": 0}


async def test_every_answer_is_counted_by_route_and_status() -> None:
    """Templates, not paths; an unknown path is unknown; durations are there."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        for path in ("/collections/docs", "/collections/nosuch", "/no/such/route"):
            await served.ask("GET", path)
        await served.ask("DELETE", "/metrics")
        for _ in range(3):
            await served.ask("POST", "/collections/docs/points/count", {})

        page = await served.result("GET", "/telemetry?details_level=3")

    counted = {
        (route, status): tally["count"]
        for route, by_status in page["requests"]["rest"]["responses"].items()
        for status, tally in by_status.items()
    }
    assert counted == {
        ("PUT /collections/{collection_name}", "200"): 1,
        ("GET /collections/{collection_name}", "200"): 1,
        ("GET /collections/{collection_name}", "404"): 1,
        ("GET unknown", "404"): 1,
        ("DELETE /metrics", "404"): 1,
        ("POST /collections/{collection_name}/points/count", "200"): 3,
    }
    tally = page["requests"]["rest"]["responses"]["POST /collections/{collection_name}/points/count"]["200"]
    assert tally["min_duration_micros"] <= tally["avg_duration_micros"] <= tally["max_duration_micros"]


async def test_a_key_is_asked_for_in_plain_text() -> None:
    """401 without and with a wrong key, 200 with the right one in either header; health needs none."""
    async with serving(api_key="sesame") as served:
        none = await served.ask("GET", "/collections")
        wrong = await served.ask("GET", "/collections", headers={"api-key": "nope"})
        right, _ = await served.ask("GET", "/collections", headers={"api-key": "sesame"})
        bearer, _ = await served.ask("GET", "/collections", headers={"Authorization": "Bearer sesame"})
        health, _ = await served.ask("GET", "/healthz")

    assert none == (401, "Must provide an API key or an Authorization bearer token")
    assert wrong == (401, "Invalid API key or JWT")
    assert (right, bearer, health) == (200, 200, 200)


async def test_workers_end_when_their_server_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves no chance to say goodbye; the workers go all the same."""
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from exporter.embedded.server import EmbeddedServer\n"
        "async def main():\n"
        "    server = EmbeddedServer(data=Path(sys.argv[1]))\n"
        "    await server.start()\n"
        "    print(server.url, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    url = await asyncio.to_thread(parent.stdout.readline)
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{url.strip()}/collections/docs", json=SMALL_CONFIG) as response,
    ):
        assert response.status == 200
    workers = _children(parent.pid)

    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    assert len(workers) == 1
    async with asyncio.timeout(30):
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            await asyncio.sleep(0.02)


async def test_serving_ends_when_cancelled_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """The verb's own entry: it listens until cancelled, then port and workers are gone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = _children(os.getpid())
    url = f"http://127.0.0.1:{port}"
    task = asyncio.create_task(serve(port, tmp_path))

    async with aiohttp.ClientSession() as session:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    await session.put(f"{url}/collections/docs", json=SMALL_CONFIG)
                    break
                await asyncio.sleep(0.02)
        during = _children(os.getpid())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)

    assert len(during) == len(before) + 1
    assert _children(os.getpid()) == before


@contextmanager
def busy_worker() -> Iterator[None]:
    """Stop the only worker for a while: it answers as little as inside the engine's optimize()."""
    (worker,) = _children(os.getpid())
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def _children(process_id: int) -> list[int]:
    text = Path(f"/proc/{process_id}/task/{process_id}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]
