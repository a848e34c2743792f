"""The verbs of vacuums as people type them: what goes to stdout and stderr, and the exit codes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path

import pytest

from exporter.backup.shelf import Shelf
from exporter.backup.storage.opening import open_store
from exporter.config.backup import StoreSettings
from exporter.jobs.locks import Locks
from tests.kit.daemons import COMMAND, environment, eventually
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup_verbs.ground import CLOCK, typed

NOWHERE = "--qdrant.url=http://127.0.0.1:1"
WRONG = (
    ("vacuum plan", 2, "nothing to watch: give --qdrant.url"),
    (f"vacuum plan {NOWHERE} --output=xml", 2, "--output: there is no 'xml'; write table or json"),
    (f"vacuum plan {NOWHERE} --min-reclaim=64", 2, "--min-reclaim: write a size with its unit"),
    (f"vacuum plan {NOWHERE} --p95-limit=fast", 2, "--p95-limit: write a duration with its unit"),
    (f"vacuum plan {NOWHERE} --min-deleted-ratio=2", 2, "--min-deleted-ratio"),
    (f"vacuum run {NOWHERE} --deadline=12", 2, "--deadline: write a duration with its unit"),
    (f"vacuum run {NOWHERE}", 2, "--store: no store of backups: give --store"),
    (f"vacuum run {NOWHERE} --store=. --cluster=x", 2, "there is no cluster x; write one of: default"),
    (f"vacuum put-back {NOWHERE}", 2, "--store: no store of backups: give --store"),
)


async def test_what_is_typed_wrong_is_explained_on_stderr(tmp_path: Path) -> None:
    """Stdout stays empty, and nothing is made."""
    answers = await typed(*(line for line, _, _ in WRONG), folder=tmp_path)

    expected = [(line, code, "") for line, code, _ in WRONG]
    assert [(line, one.code, one.out) for (line, _, _), one in zip(WRONG, answers, strict=True)] == expected
    for (_, _, words), answer in zip(WRONG, answers, strict=True):
        assert words in answer.err
        assert "Traceback" not in answer.err
    assert list(tmp_path.iterdir()) == []


async def test_options_are_terms_and_a_plan_needs_neither_file_nor_store(tmp_path: Path) -> None:
    """3 while it is worth nothing by these terms, 4 while a gate is closed; nothing but gates depends on
    `--p95-limit` and `--queue-limit`."""
    async with SnapshotCluster(peers=1) as cluster:
        cluster.create("docs", points(1_200))
        cluster.optimizers.add_deleted("docs", 180)
        cluster.replica("docs", 0, 0).queue_length = 7
        peers = f"--qdrant.url={cluster.urls[0]}"
        too_few, too_little, refused, dry, done = await typed(
            f"vacuum plan {peers} --min-deleted-ratio=0.5 --min-reclaim=1B",
            f"vacuum plan {peers}",
            f"vacuum plan {peers} --min-reclaim=1B --queue-limit=6 --output=json",
            f"vacuum run {peers} --min-reclaim=1B --p95-limit=off --dry-run --output=json",
            f"vacuum put-back {peers} --store=.",
            folder=tmp_path,
        )

    assert [one.code for one in (too_few, too_little, refused, dry, done)] == [3, 3, 4, 4, 0]
    assert "no segment has 50% of its points deleted" in too_few.out
    assert "less than 64.0 MiB" in too_little.out
    closed = [
        {gate["name"] for gate in one.document["collections"][0]["gates"] if not gate["open"]}
        for one in (refused, dry)
    ]
    assert closed[0] >= {"queue", "disk"}
    assert closed[1] == {"disk"}
    assert done.out == "Nothing is changed that would have to be put back.\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_vacuum_that_is_told_to_end_sends_nothing_and_says_how_thresholds_are_put_back(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A PATCH would cancel what runs, so the intent stays, the locks go, and the command can be pasted."""
    document = tmp_path / "config.yaml"
    (tmp_path / "sets").mkdir()
    async with SnapshotCluster(peers=1) as cluster:
        cluster.create("docs", points(1_200))
        cluster.optimizers.add_deleted("docs", 180)
        cluster.knobs.pace.held = True
        peers = [{"url": url, "storage_path": str(tmp_path)} for url in cluster.urls]
        settings = {
            "clusters": [{"name": "prod", "peers": peers}],
            "backup": {"store": {"url": str(tmp_path / "sets")}},
        }
        document.write_text(json.dumps(settings), encoding="utf-8")
        line = ["vacuum", "run", "--min-reclaim=1B", "--p95-limit=off", f"--config.file={document}"]
        process = subprocess.Popen(
            [*COMMAND, *line], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

        async def rewrites() -> bool:
            return bool(cluster.optimizers.runs("docs"))

        await eventually(rewrites, what="a segment is rewritten")
        process.send_signal(number)
        out, err = await asyncio.to_thread(process.communicate, timeout=30)
        statuses = cluster.optimizers.statuses("docs")
        patches = [seen for seen in cluster.requests if seen.method == "PATCH"]

    assert (process.returncode, out) == (code, b"")
    command = f"qdrant-exporter vacuum put-back docs --cluster prod --config.file {document}"
    assert err.decode().strip().endswith(command)
    assert (statuses, len(patches)) == (["optimizing"], 1)
    store = open_store(StoreSettings(url=str(tmp_path / "sets")), CLOCK)
    (intent,) = await Shelf(store, CLOCK).thresholds()
    assert (intent.collection, [change.back for change in intent.changes]) == ("docs", [0.2])
    locks = Locks(store=store, owner="elsewhere 4711", clock=CLOCK)
    async with locks.vacuum("prod"), locks.collection("prod", "docs"):
        pass


async def test_help_says_what_the_exit_codes_mean_and_how_thresholds_come_back(tmp_path: Path) -> None:
    """A script's author looks there."""
    group, run = await typed("vacuum --help", "vacuum run --help", folder=tmp_path)

    text = " ".join((group.out + run.out).split())
    for words in ("0 done", "4 refused", "plan", "put-back", "the worst first", "--deadline DURATION"):
        assert words in text
