"""What the embedded server does with snapshots beyond what every Qdrant does."""

from __future__ import annotations

import asyncio
import io
import json
import lzma
import os
import signal
import tarfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import qdrant_edge as edge
from yarl import URL

from tests.contract.archives import cut_shard
from tests.kit.clock import ManualClock
from tests.unit.backup.archive.tars import real_archive
from tests.unit.embedded.kit import SMALL_CONFIG, Served, is_green, serving

# Made by a real server 1.18.3 of one node: 30 points of which one was deleted, two payload indexes, metadata.
REAL_ARCHIVE = lzma.decompress((Path(__file__).parent / "data" / "one_node.snapshot.xz").read_bytes())
SNAPSHOTS = "/collections/docs/snapshots"
COUNT = "/collections/docs/points/count"
MOST_OF_A_SMALL_ARCHIVE = 1_000_000  # bytes; the engine's files are 32 MB each, nearly all of it holes


def files_of(archive: bytes) -> dict[str, bytes]:
    """The small files of an archive by name, in its order; of the others only the name."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {
            member.name: tar.extractfile(member).read() if member.name.endswith((".json", ".info")) else b""  # type: ignore[union-attr]
            for member in tar
        }


def pattern_of(names: list[str]) -> list[str]:
    """Names with every segment called UUID, once; the engine may write ahead in another number of files."""
    general = [
        "/".join([*name.split("/")[:2], "UUID.tar"]) if name.endswith(".tar") else name for name in names
    ]
    return list(dict.fromkeys(name for name in general if "/wal/" not in name))


async def filled(served: Served, points: int = 300) -> None:
    """Create `docs` with points, and wait until they are indexed."""
    await served.result("PUT", "/collections/docs", {**SMALL_CONFIG, "metadata": {"a": 1}})
    await served.result(
        "PUT", "/collections/docs/index?wait=true", {"field_name": "k", "field_schema": "uuid"}
    )
    await served.write(0, points)
    await served.until(lambda local: is_green(local) and local["total_optimized_points"] == points)


async def running_snapshots(served: Served) -> Any:
    """How many snapshots of `docs` telemetry says are being made."""
    page = await served.result("GET", "/telemetry?details_level=2")
    (told,) = page["collections"]["snapshots"]
    return told["running_snapshots"]


async def test_an_archive_has_the_layout_of_a_real_one() -> None:
    """The same files in the same order, the same keys in what describes the collection, and no holes."""
    async with serving() as served:
        await filled(served)

        _, archive = await served.snapshot()

    ours, theirs = files_of(archive), files_of(REAL_ARCHIVE)
    assert pattern_of(list(ours)) == pattern_of(list(theirs))
    for name in ("config.json", "0/replica_state.json", "0/shard_config.json", "payload_index.json"):
        assert json.loads(ours[name]).keys() == json.loads(theirs[name]).keys(), name
    assert json.loads(ours["payload_index.json"]) == {"schema": {"k": "uuid"}}
    assert (ours["version.info"], ours["shard_key_mapping.json"]) == (b"0.4.2", b"[]")
    assert len(archive) < MOST_OF_A_SMALL_ARCHIVE


async def test_the_engine_opens_a_shard_of_an_archive_by_itself(tmp_path: Path) -> None:
    """As the verification of a backup does it, without any server."""
    async with serving() as served:
        await filled(served)
        _, archive = await served.snapshot()
    (tmp_path / "shard.tar").write_bytes(await cut_shard(archive, 0))

    edge.EdgeShard.unpack_snapshot(str(tmp_path / "shard.tar"), str(tmp_path / "shard"))
    shard = edge.EdgeShard.load(str(tmp_path / "shard"))

    assert shard.count(edge.CountRequest()) == 300
    assert list(shard.info().payload_schema) == ["k"]
    shard.close()


async def test_an_archive_of_a_real_server_becomes_a_collection_that_goes_on() -> None:
    """Points without the deleted one, both indexes with their parameters, metadata; then it is written to."""
    async with serving() as served:
        answered = await served.upload(f"{SNAPSHOTS}/upload?priority=snapshot", REAL_ARCHIVE)
        info = await served.result("GET", "/collections/docs")
        point = {"id": 3, "vector": [1, 2, 3, 4], "payload": {"colour": "new"}}
        await served.result("PUT", "/collections/docs/points?wait=true", {"points": [point]})
        found = await served.result("GET", "/collections/docs/points/3")
        counted = await served.result("POST", COUNT, {})

    assert answered[0] == 200
    assert info["points_count"] == 29
    assert info["payload_schema"] == {
        "colour": {"data_type": "keyword", "points": 29},
        "stock": {
            "data_type": "integer",
            "params": {"type": "integer", "lookup": True, "range": False, "is_principal": None},
            "points": 29,
        },
    }
    assert info["config"]["metadata"] == {"made_by": "a test", "tries": 2}
    assert (found["payload"], counted) == ({"colour": "new"}, {"count": 29})


async def test_a_shard_of_a_real_cluster_is_loaded() -> None:
    """One that a peer of three held; the peer's whole archive is refused, for shards that are elsewhere."""
    archive = real_archive("one_shard_of_three")
    params = json.loads(files_of(archive)["config.json"])["params"]
    async with serving() as served:
        await served.result("PUT", "/collections/docs", {"vectors": params["vectors"]})
        path = "/collections/docs/shards/0/snapshots/upload"

        loaded, _ = await served.upload(path, await cut_shard(archive, 4))
        whole, answer = await served.upload("/collections/more/snapshots/upload", archive)
        counted = await served.result("POST", COUNT, {})

    assert (loaded, counted) == (200, {"count": 145})
    assert whole == 500
    assert "Can't restore snapshot in local mode with missing data at shard: " in answer["status"]["error"]


async def test_all_is_answered_while_a_snapshot_is_made() -> None:
    """Yellow, one running, and what is known is told; the snapshot is listed once it is done."""
    async with serving() as served:
        await filled(served)
        os.kill(served.worker(), signal.SIGSTOP)
        try:
            making = asyncio.create_task(served.result("POST", SNAPSHOTS, {}))
            async with asyncio.timeout(20):
                while not await running_snapshots(served):
                    await asyncio.sleep(0.01)
            during = await served.result("GET", "/collections/docs")
            listed = await served.result("GET", SNAPSHOTS)
        finally:
            os.kill(served.worker(), signal.SIGCONT)
        described = await making

        assert (during["status"], during["points_count"], listed) == ("yellow", 300, [])
        assert await served.result("GET", SNAPSHOTS) == [described]
        assert (await served.local_shard())["status"] == "green"
        assert await running_snapshots(served) == 0


async def test_a_snapshot_is_made_though_the_client_has_gone() -> None:
    """Whoever gave up waiting finds it in the list."""
    async with serving() as served:
        await filled(served)
        os.kill(served.worker(), signal.SIGSTOP)
        try:
            making = asyncio.create_task(served.result("POST", SNAPSHOTS, {}))
            async with asyncio.timeout(20):
                while not await running_snapshots(served):
                    await asyncio.sleep(0.01)
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making
        finally:
            os.kill(served.worker(), signal.SIGCONT)

        async with asyncio.timeout(20):
            while not await served.result("GET", SNAPSHOTS):
                await asyncio.sleep(0.01)


async def test_the_second_snapshot_within_a_second_takes_the_place_of_the_first() -> None:
    """Both have the same name, which is the collection's, the peer's and the second's."""
    async with serving(clock=ManualClock(1_800_000_000.25)) as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)

        first, second = [await served.result("POST", SNAPSHOTS, {}) for _ in range(2)]

        peer = (await served.result("GET", "/collections/docs/cluster"))["peer_id"]
        assert first["name"] == second["name"] == f"docs-{peer}-2027-01-15-08-00-00.snapshot"
        assert await served.result("GET", SNAPSHOTS) == [second]


async def test_snapshots_and_restored_data_are_there_after_a_restart(tmp_path: Path) -> None:
    """What was left half done is not."""
    async with serving(data=tmp_path) as served:
        await filled(served)
        name, archive = await served.snapshot()
        await served.result("PUT", "/collections/copy", {**SMALL_CONFIG, "metadata": {"b": 2}})
        path = "/collections/copy/shards/0/snapshots/upload"
        await served.upload(path, await cut_shard(archive, 0))
        listed = await served.result("GET", SNAPSHOTS)
        shown = await served.result("GET", "/collections/copy")
    (tmp_path / "snapshots-under-way").mkdir(exist_ok=True)
    (tmp_path / "snapshots-under-way" / "half").write_bytes(b"half a file")
    (stored,) = (path.parent for path in tmp_path.rglob("shard-*"))
    (stored / "shard").mkdir()

    async with serving(data=tmp_path) as served:
        again = await served.result("GET", "/collections/copy")

        assert await served.result("GET", SNAPSHOTS) == listed
        assert {key: again[key] for key in again if key != "status"} == {
            key: shown[key] for key in shown if key != "status"
        }
        assert (again["points_count"], listed[0]["name"]) == (300, name)
        assert not (tmp_path / "snapshots-under-way").exists()
        assert not (stored / "shard").exists()


async def test_a_file_stays_in_the_folder_whatever_the_client_calls_it(tmp_path: Path) -> None:
    """Of a path only the last part is used, and something of our own where nothing is left."""
    async with serving(data=tmp_path) as served:
        for name in ("../../evil.snapshot", "..", "/", "odd name.snapshot"):
            status, answer = await served.upload(f"{SNAPSHOTS}/upload", REAL_ARCHIVE, name=name)
            assert status == 200, answer

        listed = await served.result("GET", SNAPSHOTS)

    assert [one["name"] for one in listed] == ["evil.snapshot", "odd name.snapshot"]
    assert {path.parent for path in (tmp_path / "snapshots").rglob("*") if path.is_file()} == {
        tmp_path / "snapshots" / "docs"
    }


@pytest.mark.parametrize("name", ["%2E", "%2E%2E"])
async def test_a_collection_is_not_called_like_the_folder_or_its_parent(name: str) -> None:
    """500, as Qdrant has it; nor is one made by an upload."""
    async with serving() as served:
        target = URL(f"{served.server.url}/collections/{name}", encoded=True)  # or the client cuts it off
        form = aiohttp.FormData({"snapshot": io.BytesIO(REAL_ARCHIVE)})

        async with served.session.put(target, json=SMALL_CONFIG) as response:
            created = await response.json()
        async with served.session.post(
            URL(f"{target}/snapshots/upload", encoded=True), data=form
        ) as response:
            uploaded = response.status

    assert created["status"]["error"].startswith("Service internal error: Invalid path to delete")
    assert uploaded == 500


async def test_a_snapshot_of_a_lost_collection_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    """500, and neither a file nor one running."""
    async with serving(data=tmp_path) as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        os.kill(served.worker(), signal.SIGKILL)

        status, _ = await served.ask("POST", SNAPSHOTS, {})

        assert status == 500
        assert await served.result("GET", SNAPSHOTS) == []
        assert await running_snapshots(served) == 0
        assert list((tmp_path / "snapshots-under-way").iterdir()) == []


async def test_the_metrics_page_counts_snapshots_by_the_name_that_was_asked_for() -> None:
    """A collection's two, a missing one's one try, and nothing running."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        for name in ("docs", "docs", "nosuch"):
            await served.ask("POST", f"/collections/{name}/snapshots", {})

        _, page = await served.ask("GET", "/metrics")

    lines = [line for line in page.splitlines() if line.startswith("snapshot_")]
    assert lines == [
        'snapshot_creation_running{id="docs"} 0',
        'snapshot_creation_running{id="nosuch"} 0',
        'snapshot_recovery_running{id="docs"} 0',
        'snapshot_recovery_running{id="nosuch"} 0',
        'snapshot_created_total{id="docs"} 2',
        'snapshot_created_total{id="nosuch"} 1',
    ]
