"""Backups from end to end: the real daemon beside an embedded server, a state directory and a store."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.jobs_ground import (
    NIGHTLY,
    PROOF,
    Ground,
    content,
    flip_a_byte,
    needs_engine,
    quick_ground,
)
from tests.kit.daemons import eventually
from tests.kit.snapshot_cluster import SnapshotCluster, points

if find_spec("qdrant_edge") is not None:
    from tests.unit.embedded.kit import SMALL_CONFIG, Served, serving

POINTS = 300


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    """An embedded server with a collection that has a payload index."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        index = {"field_name": "n", "field_schema": "integer"}
        await served.result("PUT", "/collections/docs/index?wait=true", index)
        await served.write(0, POINTS)
        yield served


@needs_engine
async def test_a_backup_made_by_the_daemon_is_proven_and_its_damage_is_found(
    tmp_path: Path, served: Served
) -> None:
    """The nightly job, run now; a test restore with equal content; then a byte of the archive is another."""
    async with quick_ground(tmp_path, served.server.url) as ground, ground.daemon as daemon:
        nightly = await ground.document("jobs", "run", "nightly")
        proven = await ground.document("jobs", "run", "proof")
        shown = await ground.document("backup", "show", "--latest=docs")
        good = await daemon.until(
            lambda page: page.get('qdrantx_job_last_status{qdrant_cluster="shop",job_name="proof"}') == 0,
            what="the proof is on the page",
        )
        page = await daemon.text("/metrics")
        (archive,) = ground.store.glob("shop/docs/*/*.snapshot")
        flip_a_byte(archive)
        found = await ground.document("jobs", "run", "proof", code=1)
        bad = await daemon.until(
            lambda page: page.get('qdrantx_job_last_status{qdrant_cluster="shop",job_name="proof"}') == 1,
            what="the damage is on the page",
        )
        alert = await ground.firing("JobFailing")

    assert (nightly["outcome"], nightly["cause"], proven["outcome"]) == ("ok", "person", "ok")
    proof = shown["verified"]["4"]
    assert (proof["good"], proof["by"], proof["points"]) == (True, "engine", {"0": POINTS})
    assert proof["contentHash"] == await content(served, "docs")
    of_docs = 'qdrant_cluster="shop",collection="docs"'
    assert good[f"qdrantx_backup_points{{{of_docs}}}"] == POINTS
    assert good[f"qdrantx_backup_bytes{{{of_docs}}}"] == archive.stat().st_size
    at = good[f'qdrantx_backup_last_verified_timestamp_seconds{{{of_docs},level="4"}}']
    assert at == pytest.approx(proof["at"], abs=5)
    assert good['qdrantx_job_runs_total{qdrant_cluster="shop",job_name="nightly",outcome="ok"}'] == 1
    lint(page)
    assert found["collections"][0]["reason"] == "bad"
    assert "SHA-256" in found["collections"][0]["detail"]
    complete = f"qdrantx_backup_last_complete_timestamp_seconds{{{of_docs}}}"
    assert (complete in good, complete in bad) == (True, False)
    assert alert["labels"]["job_name"] == "proof"


def lint(page: str) -> None:
    """Have Prometheus's own linter read a page, where it is installed."""
    promtool = shutil.which("promtool")
    if promtool is not None:
        done = subprocess.run(
            [promtool, "check", "metrics"],
            input=page,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_engine
async def test_the_page_about_a_lost_collection_names_the_command_that_brings_it_back(
    tmp_path: Path, served: Served
) -> None:
    """The newest good backup, and a line that a person copies: with it all that was there is there again."""
    before = await content(served, "docs")
    async with quick_ground(tmp_path, served.server.url) as ground, ground.daemon:
        await ground.document("jobs", "run", "nightly")
        newest = await ground.document("backup", "show", "--latest=docs")
        await served.result("DELETE", "/collections/docs")
        alert = await ground.firing("CollectionMissing")
        restored = await ground.told(alert)
        schema = (await served.result("GET", "/collections/docs"))["payload_schema"]

        async def is_over() -> bool:
            alerts = (await ground.daemon.get("/api/v1/alerts")).json()["data"]["alerts"]
            return not any(one["labels"]["alertname"] == "CollectionMissing" for one in alerts)

        await eventually(is_over, what="nothing is missing")

    assert newest["id"] in alert["annotations"]["description"]
    assert restored.returncode == 0, restored
    assert f"into docs: {POINTS} points" in restored.stdout
    assert await content(served, "docs") == before
    assert list(schema) == ["n"]


@needs_engine
async def test_retention_deletes_what_is_not_kept_and_a_reload_exchanges_the_jobs(
    tmp_path: Path, served: Served
) -> None:
    """Two nights, of which the policy keeps one; then jobs come and go without a restart."""
    async with quick_ground(tmp_path, served.server.url) as ground, ground.daemon as daemon:
        nights = [await ground.document("jobs", "run", "nightly") for _ in range(2)]
        pruned = await ground.document("jobs", "run", "tidy")
        left = await ground.document("backup", "list")
        ground.configure(NIGHTLY, {**PROOF, "name": "weekly"})
        answered = await daemon.reload()
        known = await daemon.until(
            lambda page: any('job_name="weekly"' in series for series in page), what="the new job is known"
        )
        removed = await ground.verb("jobs", "run", "tidy")
        added = await ground.document("jobs", "run", "weekly")
        code, _ = await daemon.stop()

    (part,) = pruned["collections"]
    assert part["figures"]["removed"] == 1
    assert [one["id"] for one in left["sets"]] == [nights[-1]["collections"][0]["figures"]["set"]]
    assert answered.status == 200
    assert not any("qdrantx_job_next_run" in series and "tidy" in series for series in known)
    assert (removed.returncode, added["outcome"]) == (2, "ok")
    assert code == 0


@pytest_asyncio.fixture
async def slow() -> AsyncIterator[SnapshotCluster]:
    """A scripted server whose archives take a minute to download."""
    async with SnapshotCluster(peers=1) as cluster:
        cluster.create("docs", points(50))
        cluster.knobs.padding_bytes = 3_000_000
        cluster.knobs.bytes_per_second = 50_000.0
        yield cluster


async def downloading(cluster: SnapshotCluster) -> None:
    """Return once an archive is being downloaded."""

    async def is_asked() -> bool:
        return any(line.endswith(".snapshot") and line.startswith("GET") for line in cluster.lines())

    await eventually(is_asked, what="an archive is downloaded")


async def test_what_a_killed_daemon_left_behind_is_cleared_up_by_the_next_one(
    tmp_path: Path, slow: SnapshotCluster
) -> None:
    """By SIGKILL, in the middle of a download: the run is interrupted; with the next, all that it left goes.

    Whoever asked for the run is told what became of it.
    """
    ground = Ground(tmp_path, *slow.urls)
    async with ground.daemon as daemon:
        asked = asyncio.create_task(ground.verb("jobs", "run", "nightly", "--output=json"))
        await downloading(slow)
        await daemon.stop(signal.SIGKILL)
        lying, intents = slow.snapshots("docs"), await ground.shelf.intents()
        ground.let_leases_end()
        slow.knobs.bytes_per_second = None
        await daemon.start()
        done = await asked
        again = await ground.document("jobs", "run", "nightly")
        left = slow.snapshots("docs"), await ground.shelf.intents()
        history = await ground.document("jobs", "history")

    assert [len(names) for names in lying] == [1]
    assert len(intents) == 1
    assert json.loads(done.stdout)["outcome"] == "interrupted"
    assert done.returncode == 1
    assert again["outcome"] == "ok"
    assert left == ([[]], [])
    assert [run["outcome"] for run in history] == ["ok", "interrupted"]
    assert len((await ground.shelf.contents()).sets) == 1


async def test_a_daemon_that_is_told_to_stop_ends_its_jobs_first(
    tmp_path: Path, slow: SnapshotCluster
) -> None:
    """SIGTERM: the run is cancelled in peace, and nothing of it is left on the server or in the store."""
    ground = Ground(tmp_path, *slow.urls)
    async with ground.daemon as daemon:
        asked = asyncio.create_task(ground.verb("jobs", "run", "nightly", "--output=json"))
        await downloading(slow)
        slow.knobs.bytes_per_second = 20_000_000.0
        code, _ = await daemon.stop()
        done = await asked

    assert code == 0
    assert json.loads(done.stdout)["outcome"] in ("ok", "cancelled")
    assert not any(slow.snapshots("docs"))
    assert await ground.shelf.intents() == []
    async with ground.locks.collection("shop", "docs"):
        assert (await ground.shelf.contents()).fragments == ()
