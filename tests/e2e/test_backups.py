"""Backups from end to end: the real daemon beside an embedded server, a state directory and a store."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from exporter.backup.content import ContentHash
from exporter.backup.shelf import Shelf
from exporter.backup.storage.opening import open_store
from exporter.clock import SystemClock
from exporter.config.backup import StoreSettings
from exporter.jobs.locks import Locks
from tests.kit.daemons import RunningDaemon, eventually, run_command
from tests.kit.snapshot_cluster import SnapshotCluster, points

if find_spec("qdrant_edge") is not None:
    from tests.unit.embedded.kit import SMALL_CONFIG, Served, serving

needs_engine = pytest.mark.skipif(
    find_spec("qdrant_edge") is None, reason="the embedded server's engine is not installed: make setup"
)

CLOCK = SystemClock()
POINTS = 300
NOBODY = "http://127.0.0.1:9/"  # alerts are looked at where the daemon shows them
POLL = {"fast": "500ms", "medium": "500ms", "slow": "1s", "deadline": "5s", "budget_ratio": 0.5}
# Nothing is due while these tests run.
NIGHTLY = {"name": "nightly", "kind": "backup", "schedule": {"cron": "0 0 29 2 *"}}
PROOF = {"name": "proof", "kind": "verify", "level": 4, "schedule": {"cron": "0 0 29 2 *"}}
TIDY = {"name": "tidy", "kind": "prune", "schedule": {"cron": "0 0 29 2 *"}}


class Ground:
    """A server's URL, the configuration of a daemon that watches it, and the verbs of a person beside it."""

    def __init__(self, folder: Path, *urls: str) -> None:
        self.folder = folder
        self.urls = urls
        self.file = folder / "config.yaml"
        self.store = folder / "store"
        self.store.mkdir()
        store = open_store(StoreSettings(url=str(self.store)), CLOCK)
        self.shelf = Shelf(store, CLOCK)
        self.locks = Locks(store=store, owner="elsewhere 4711", clock=CLOCK)
        self.daemon = RunningDaemon(folder, f"--config.file={self.file}", "--web.enable-lifecycle")
        self.configure(NIGHTLY, PROOF, TIDY)

    def configure(self, *jobs: dict[str, Any]) -> None:
        """Write the configuration with these jobs."""
        tree = {
            "clusters": [
                {"name": "shop", "peers": list(self.urls), "poll": POLL, "probes": {"enabled": False}}
            ],
            "state": {"dir": "state"},
            "backup": {
                "store": {"url": "store"},
                "retention": {"last": 1, "daily": 0, "weekly": 0, "monthly": 0},
            },
            "jobs": list(jobs),
            "alerting": {
                "receivers": [{"name": "hook", "webhook": {"url": NOBODY}}],
                "rules": {"CollectionMissing": {"levels": {"critical": {"for": "0s"}}}},
            },
        }
        self.file.write_text(yaml.safe_dump(tree), encoding="utf-8")

    def let_leases_end(self) -> None:
        """Have more than five minutes gone by for who holds a lock in the store."""
        for path in self.store.glob("locks/**/*.json"):
            claim = json.loads(path.read_text(encoding="utf-8"))
            path.write_text(json.dumps(claim | {"until": claim["until"] - 400.0}), encoding="utf-8")

    async def verb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type a verb; the environment says where the configuration is."""
        return await run_command(*arguments, more_environment={"QDRANT_EXPORTER_CONFIG_FILE": str(self.file)})

    async def document(self, *arguments: str, code: int = 0) -> Any:
        """Return what a verb that ends so printed for programs."""
        done = await self.verb(*arguments, "--output=json")
        assert done.returncode == code, (done, self.daemon.log)
        return json.loads(done.stdout)

    async def firing(self, rule: str) -> dict[str, Any]:
        """Return the alert of a rule as soon as it fires."""

        async def look() -> dict[str, Any] | None:
            alerts = (await self.daemon.get("/api/v1/alerts")).json()["data"]["alerts"]
            found = (one for one in alerts if one["labels"]["alertname"] == rule and one["state"] == "firing")
            return next(found, None)

        return await eventually(look, what=f"{rule} fires")


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    """An embedded server with a collection that has a payload index."""
    async with serving() as served:
        await served.result("PUT", "/collections/docs", SMALL_CONFIG)
        index = {"field_name": "n", "field_schema": "integer"}
        await served.result("PUT", "/collections/docs/index?wait=true", index)
        await served.write(0, POINTS)
        yield served


async def content(served: Served, collection: str) -> str:
    """What a collection of the server holds, as one number."""
    found = ContentHash()
    body = {"limit": 1_000, "with_payload": True, "with_vector": True}
    page = await served.result("POST", f"/collections/{collection}/points/scroll", body)
    for point in page["points"]:
        found.add_record(point)
    return str(found)


def flip_a_byte(archive: Path) -> None:
    """Damage a file in its middle."""
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)


@needs_engine
async def test_a_backup_made_by_the_daemon_is_proven_and_its_damage_is_found(
    tmp_path: Path, served: Served
) -> None:
    """The nightly job, run now; a test restore with equal content; then a byte of the archive is another."""
    ground = Ground(tmp_path, served.server.url)
    async with ground.daemon as daemon:
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
    ground = Ground(tmp_path, served.server.url)
    before = await content(served, "docs")
    async with ground.daemon:
        await ground.document("jobs", "run", "nightly")
        newest = await ground.document("backup", "show", "--latest=docs")
        await served.result("DELETE", "/collections/docs")
        alert = await ground.firing("CollectionMissing")
        command = alert["annotations"]["action"].splitlines()[-1]
        program, *arguments = shlex.split(command)
        restored = await ground.verb(*arguments)
        schema = (await served.result("GET", "/collections/docs"))["payload_schema"]

        async def is_over() -> bool:
            alerts = (await ground.daemon.get("/api/v1/alerts")).json()["data"]["alerts"]
            return not any(one["labels"]["alertname"] == "CollectionMissing" for one in alerts)

        await eventually(is_over, what="nothing is missing")

    assert newest["id"] in alert["annotations"]["description"]
    assert (program, restored.returncode) == ("qdrant-exporter", 0), restored
    assert f"into docs: {POINTS} points" in restored.stdout
    assert await content(served, "docs") == before
    assert list(schema) == ["n"]


@needs_engine
async def test_retention_deletes_what_is_not_kept_and_a_reload_exchanges_the_jobs(
    tmp_path: Path, served: Served
) -> None:
    """Two nights, of which the policy keeps one; then jobs come and go without a restart."""
    ground = Ground(tmp_path, served.server.url)
    async with ground.daemon as daemon:
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
