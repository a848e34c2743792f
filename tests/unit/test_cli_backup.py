"""The verbs of backups and jobs as people type them: what goes to stdout and stderr, and the exit codes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from exporter.backup.shelf import Shelf
from exporter.backup.storage.opening import open_store
from exporter.config.backup import StoreSettings
from exporter.jobs.locks import Locks
from tests.kit.daemons import COMMAND, environment, eventually
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup_verbs.ground import CLOCK, Typed, typed
from tests.unit.test_cli import HEAVY

# typer itself takes pydantic for a page of help
HEAVY_FOR_BACKUPS = (*(name for name in HEAVY if name != "pydantic"), "apscheduler", "obstore")

SET_KEYS = {
    "id", "cluster", "collection", "state", "startedAt", "endedAt", "points", "settled", "sizeBytes",
    "archives", "job", "good", "accepted", "verified", "problems", "kind", "chunks", "consistency", "losses",
}  # fmt: skip
PROOF_KEYS = {"level", "at", "good", "by", "tookSeconds", "points", "contentHash", "problems"}
RUN_KEYS = {
    "run", "job", "kind", "cluster", "cause", "plannedAt", "startedAt", "endedAt", "outcome", "reason",
    "detail", "collections",
}  # fmt: skip


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[SnapshotCluster]:
    """Three peers with two collections of two replicas."""
    async with SnapshotCluster() as cluster:
        cluster.create("docs", points(60), shard_number=3, replication_factor=2)
        cluster.create("people", points(10), shard_number=2, replication_factor=2)
        yield cluster


class Shell:
    """Types verbs in a folder with the store `sets` in it; no configuration file is there.

    In a line PEERS stands for the flags that name the peers.
    """

    def __init__(self, folder: Path, cluster: SnapshotCluster) -> None:
        self.folder = folder
        self.peers = [f"--qdrant.url={url}" for url in cluster.urls]
        (folder / "sets").mkdir()
        self.store = open_store(StoreSettings(url=str(folder / "sets")), CLOCK)
        self.shelf = Shelf(self.store, CLOCK)

    async def types(self, *lines: str) -> list[Typed]:
        """Type these verbs, one after the other."""
        peers = " ".join(self.peers)
        return await typed(
            *(f"{line.replace('PEERS', peers)} --store=sets" for line in lines), folder=self.folder
        )


@pytest.fixture
def shell(tmp_path: Path, cluster: SnapshotCluster) -> Shell:
    return Shell(tmp_path, cluster)


async def test_flags_are_all_that_backups_need_and_every_verb_answers_in_json(
    shell: Shell, cluster: SnapshotCluster
) -> None:
    """A store relative to where one is, URLs and nothing else; what programs read has these keys."""
    taken, listed, shown, planned = await shell.types(
        "backup run --output=json PEERS",
        "backup list docs --output=json",
        "backup show --latest=docs --output=json",
        "backup restore --latest=docs --dry-run --output=json PEERS",
    )
    verified, accepted, restored, dry, pruned, orphans = await shell.types(
        "backup verify --output=json",
        f"backup accept {shown.document['id']} --output=json",
        "backup restore --latest=docs --output=json PEERS",
        "backup prune --dry-run --output=json PEERS",
        "backup prune docs --output=json PEERS",
        "backup orphans --output=json PEERS",
    )

    everything = (taken, listed, shown, planned, verified, accepted, restored, dry, pruned, orphans)
    assert [(one.code, one.err) for one in everything] == [(0, "")] * len(everything)
    parts = taken.document["collections"]
    assert [(one["collection"], one["outcome"], one["points"]) for one in parts] == [
        ("docs", "ok", 60), ("people", "ok", 10),
    ]  # fmt: skip
    (in_list,) = listed.document["sets"]
    assert set(listed.document) == {"sets", "unfinished", "unreadable"}
    assert set(in_list) == SET_KEYS
    assert set(in_list["verified"]["2"]) == PROOF_KEYS
    assert set(shown.document) == SET_KEYS | {
        "uuid", "exporterVersion", "serverVersions", "aliases", "payloadSchema", "config", "keys", "files",
        "shards", "export",
    }  # fmt: skip
    assert [shard["points"] for shard in shown.document["shards"]] == [20, 20, 20]
    assert set(planned.document) == {
        "set", "target", "resumes", "sizeBytes", "etaSeconds", "warnings", "requests",
    }  # fmt: skip
    assert verified.document["level"] == 2
    assert {one["good"] for one in verified.document["sets"]} == {True}
    assert accepted.document["accepted"] is True
    assert restored.document["points"] == 60
    assert cluster.points(restored.document["target"]) == points(60)
    assert (dry.document["dryRun"], pruned.document["dryRun"]) == (True, False)
    assert [one["removed"] for one in pruned.document["collections"]] == [[]]
    assert set(orphans.document) == {"bytesByPeer", "snapshots", "files", "unknown"}


EXPORTED_KEYS = {
    "collection", "outcome", "reason", "detail", "set", "state", "bytes", "points", "resumed", "encoding",
    "chunks", "consistency", "reasons", "losses",
}  # fmt: skip


async def test_an_export_is_planned_to_be_imported_by_the_same_flags_and_both_answer_in_json(
    shell: Shell,
) -> None:
    """Beside a snapshot of the same collection, which `restore --latest` takes, and `import --latest` not."""
    _, exported, people = await shell.types(
        "backup run docs PEERS",
        "backup export docs --output=json PEERS",
        "backup export people --format=jsonl PEERS",
    )
    (part,) = exported.document["collections"]
    listed, planned, restored = await shell.types(
        "backup list docs --output=json",
        "backup import --latest=docs --as=copy --dry-run --output=json PEERS",
        "backup restore --latest=docs --dry-run --output=json PEERS",
    )

    everything = (exported, people, listed, planned, restored)
    assert [(one.code, one.err) for one in everything] == [(0, "")] * len(everything)
    assert set(part) >= EXPORTED_KEYS
    assert (part["points"], part["chunks"], part["consistency"], part["encoding"], part["resumed"]) == (
        60, 1, "quiesced", "msgpack", False,
    )  # fmt: skip
    assert people.out.startswith("people: complete as 2")
    assert people.out.endswith("; quiesced\n")
    kinds = {one["kind"]: one["id"] for one in listed.document["sets"]}
    assert set(kinds) == {"snapshot", "export"}
    assert (planned.document["set"], restored.document["set"]) == (kinds["export"], kinds["snapshot"])
    assert planned.document["target"] == "copy"
    assert {request["request"] for request in planned.document["requests"]} >= {
        "PUT /collections/copy", "PUT /collections/copy/points?wait=true",
    }  # fmt: skip


async def test_the_wrong_verb_for_a_set_is_refused_with_the_right_one(shell: Shell) -> None:
    """Exit code 4: nothing was begun."""
    await shell.types("backup run docs PEERS")
    (by_snapshot,) = [one.manifest.id for one in await shell.shelf.sets()]
    await shell.types("backup export docs PEERS")
    (by_export,) = [one.manifest.id for one in await shell.shelf.sets() if one.manifest.id != by_snapshot]

    restored, imported, none = await shell.types(
        f"backup restore {by_export} PEERS",
        f"backup import {by_snapshot} PEERS",
        "backup import --latest=people PEERS",
    )

    assert [restored.code, imported.code, none.code] == [4, 4, 10]
    assert f"qdrant-exporter backup import {by_export}" in restored.err
    assert f"backup restore {by_snapshot}" in imported.err
    assert "has no good export of people" in none.err


async def test_an_export_that_was_broken_off_goes_on_and_says_so(
    shell: Shell, cluster: SnapshotCluster
) -> None:
    """What is stored of one shard key is not read again."""
    cluster.create("tenants", sharding_method="custom")
    cluster.create_keys("tenants", {"a": points(5), "b": points(7, start=100)})
    cluster.knobs.fail("POST", "/collections/tenants/points/scroll", 404, times=100, after=1)

    (cut,) = await shell.types("backup export tenants PEERS")
    cluster.knobs.failures.clear()
    (done,) = await shell.types("backup export tenants PEERS")

    assert (cut.code, cut.out) == (1, "")
    assert cut.err.startswith("tenants: ")
    assert (done.code, done.err) == (0, "")
    assert "12 points" in done.out
    assert done.out.splitlines()[0].endswith("; it went on with one that was broken off")


async def test_what_went_well_goes_to_stdout_and_what_did_not_to_stderr(shell: Shell) -> None:
    """Exit code 3 where some of it was done, 1 where nothing was."""
    some, none = await shell.types("backup run docs nope PEERS", "backup run nope PEERS")

    assert (some.code, none.code) == (3, 1)
    assert some.out.startswith("docs: complete as 2")
    assert (len(some.out.splitlines()), none.out) == (1, "")
    assert some.err == none.err == "nope: there is no collection nope\n"


async def test_a_cluster_without_collections_is_no_backup_that_went_well(tmp_path: Path) -> None:
    """The address was wrong, most likely: a script must not read a 0."""
    async with SnapshotCluster(peers=1) as empty:
        (done,) = await Shell(tmp_path, empty).types("backup run PEERS")

    assert (done.code, done.out) == (3, "There is no collection to back up.\n")


async def test_what_another_works_on_is_left_alone_with_exit_code_11(shell: Shell) -> None:
    """The lock is in the store, so that it holds between machines; stderr says who has it."""
    await shell.types("backup run docs PEERS")
    other = Locks(store=shell.store, owner="elsewhere 4711", clock=CLOCK)
    async with other.collection("default", "docs"):
        taken, verified, restored, pruned = done = await shell.types(
            "backup run docs --output=json PEERS",
            "backup verify --output=json",
            "backup restore --latest=docs PEERS",
            "backup prune --output=json PEERS",
        )

    assert [one.code for one in done] == [11] * 4
    assert taken.document["collections"][0]["reason"] == "locked"
    assert "elsewhere 4711" in verified.document["sets"][0]["error"]
    assert restored.out == ""
    assert "elsewhere 4711" in restored.err
    assert "elsewhere 4711" in pruned.document["collections"][0]["error"]


async def test_what_would_do_harm_is_refused_with_exit_code_4(shell: Shell, cluster: SnapshotCluster) -> None:
    """The server would replace what an alias stands for, and answer 200."""
    cluster.world.change_aliases([{"create_alias": {"alias_name": "live", "collection_name": "people"}}])

    _, by_alias, by_name = await shell.types(
        "backup run docs PEERS",
        "backup restore --latest=docs --as=live PEERS",
        "backup restore --latest=docs --into=people PEERS",
    )

    assert (by_alias.code, by_name.code, by_alias.out, by_name.out) == (4, 4, "", "")
    assert "live is an alias of people" in by_alias.err
    assert "people exists" in by_name.err
    assert cluster.points("people") == points(10)


async def test_a_damaged_backup_is_told_with_exit_code_1(shell: Shell, tmp_path: Path) -> None:
    """As bad by the verification, and no good one for a restore from then on."""
    await shell.types("backup run docs PEERS")
    (archive, *_) = sorted(tmp_path.glob("sets/default/docs/*/*.snapshot"))
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)

    verified, restored = await shell.types(
        "backup verify --latest=docs", "backup restore --latest=docs PEERS"
    )

    assert verified.code == 1
    assert "BAD at level 2" in verified.out
    assert "SHA-256" in verified.out
    assert (restored.code, restored.out) == (10, "")


async def test_a_backup_whose_file_is_gone_fails_to_restore(shell: Shell, tmp_path: Path) -> None:
    """Exit code 1, not 10: there is such a backup, and it is not what it says."""
    await shell.types("backup run docs PEERS")
    for archive in tmp_path.glob("sets/default/docs/*/*.snapshot"):
        archive.unlink()

    (done,) = await shell.types("backup restore --latest=docs PEERS")

    assert (done.code, done.out) == (1, "")
    assert "there is no such file" in done.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_backup_that_is_told_to_end_leaves_nothing_behind(
    shell: Shell, cluster: SnapshotCluster, number: signal.Signals, code: int
) -> None:
    """Neither on the servers, nor an intent or a lock in the store: the next one begins at once."""
    cluster.knobs.padding_bytes = 1_000_000
    cluster.knobs.bytes_per_second = 100_000.0
    arguments = [*COMMAND, "backup", "run", "docs", "--store=sets", *shell.peers]
    process = subprocess.Popen(
        arguments, cwd=shell.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )

    async def downloads() -> bool:
        return any(line.endswith(".snapshot") for line in cluster.lines())

    await eventually(downloads, what="it downloads")
    process.send_signal(number)
    out, err = await asyncio.to_thread(process.communicate, timeout=30)

    assert (process.returncode, out) == (code, b"")
    assert b"Traceback" not in err
    assert not any(cluster.snapshots("docs"))
    assert await shell.shelf.intents() == []
    other = Locks(store=shell.store, owner="elsewhere 4711", clock=CLOCK)
    async with other.collection("default", "docs"):
        assert await shell.shelf.sets() == []


NOWHERE = "--qdrant.url=http://127.0.0.1:1"
AN_ID = "20270115T080000Z-00000a"
WRONG = (
    ("backup list", 2, "--store: no store of backups: give --store"),
    ("backup list --store=s3://x/y", 2, "--store: a bucket's name has"),
    ("backup list --store=nowhere", 10, "nowhere: the directory is not there"),
    ("backup list --store=. --output=xml", 2, "--output: there is no 'xml'; write table or json"),
    ("backup show --store=.", 2, "write the id of a backup, or --latest COLLECTION"),
    ("backup show x --latest=y --store=.", 2, "write the id of a backup, or --latest COLLECTION"),
    ("backup show yesterday --store=.", 10, "this is no id of a backup"),
    (f"backup show {AN_ID} --store=.", 10, f"there is no backup {AN_ID}"),
    ("backup show --latest=docs --store=.", 10, "has no good backup of docs"),
    (f"backup accept {AN_ID} --store=.", 10, f"there is no backup {AN_ID}"),
    ("backup verify --level=5 --store=.", 2, "--level"),
    ("backup run --store=.", 2, "nothing to watch: give --qdrant.url"),
    (f"backup run --store=. {NOWHERE}", 1, "cannot connect"),
    (f"backup run --store=. {NOWHERE} --cluster=x", 2, "there is no cluster x; write one of: default"),
    (f"backup restore --latest=d --as=a --into=b --store=. {NOWHERE}", 2, "--as and --into: write one of"),
    ("backup export --store=. --format=xml", 2, "--format: there is no 'xml'; write msgpack or jsonl"),
    ("backup export --store=.", 2, "nothing to watch: give --qdrant.url"),
    (f"backup import --store=. {NOWHERE}", 2, "write the id of a backup, or --latest COLLECTION"),
    (f"backup import --latest=d --as=a --into=b --store=. {NOWHERE}", 2, "--as and --into: write one of"),
    (f"backup import --latest=d --as=a/b --store=. {NOWHERE}", 4, "Qdrant makes no collection a/b"),
    ("backup prune --store=.", 2, "nothing to watch: give --qdrant.url"),
    (f"jobs run nightly {NOWHERE}", 2, "JOB: there is no job nightly"),
    ("jobs history", 2, "the daemon keeps its runs in state.dir: give --state.dir"),
    ("jobs history --state.dir=state", 1, "give the --state.dir of the daemon"),
)


async def test_what_is_typed_wrong_is_explained_on_stderr(tmp_path: Path) -> None:
    """2 for what must be typed otherwise, 10 for what is not there; stdout stays empty, nothing is made."""
    answers = await typed(*(line for line, _, _ in WRONG), folder=tmp_path)

    expected = [(line, code, "") for line, code, _ in WRONG]
    assert [(line, one.code, one.out) for (line, _, _), one in zip(WRONG, answers, strict=True)] == expected
    for (_, _, words), answer in zip(WRONG, answers, strict=True):
        assert words in answer.err
        assert "Traceback" not in answer.err
    assert list(tmp_path.iterdir()) == []


async def test_an_empty_store_is_listed_and_not_verified(tmp_path: Path) -> None:
    """That there is none is an answer to `list`; a verification of nothing proves nothing."""
    listed, verified = await typed("backup list --store=.", "backup verify --store=.", folder=tmp_path)

    assert (listed.code, listed.out) == (0, f"{tmp_path} has no backup.\n")
    assert (verified.code, verified.out) == (10, "There is no complete backup to verify.\n")


async def test_jobs_run_here_where_no_daemon_does(shell: Shell, cluster: SnapshotCluster) -> None:
    """With the daemon's file, in its ledger, one line for each collection; 3 where one of them failed."""
    kinds = {"nightly": "backup", "proof": "verify", "tidy": "prune"}
    document = {
        "clusters": [{"name": "prod", "peers": list(cluster.urls)}],
        "backup": {"store": {"url": str(shell.folder / "sets")}},
        "state": {"dir": str(shell.folder / "state")},
        "jobs": [
            {"name": name, "kind": kind, "schedule": {"cron": "30 2 * * *"}} for name, kind in kinds.items()
        ],
    }
    (shell.folder / "config.yaml").write_text(json.dumps(document), encoding="utf-8")
    file = "--config.file=config.yaml"

    before, *ran = await typed(
        f"jobs list {file} --output=json", *(f"jobs run {name} {file}" for name in kinds), folder=shell.folder
    )
    cluster.knobs.fail("POST", "/collections/people/snapshots", 400, times=100)
    partly, listed, history = await typed(
        f"jobs run nightly {file} --output=json",
        f"jobs list {file} --output=json",
        f"jobs history nightly {file} --output=json",
        folder=shell.folder,
    )

    assert [len(job["next"]) for job in before.document] == [3, 3, 3]
    assert [job["last"] for job in before.document] == [None] * 3
    assert [(one.code, one.err) for one in ran] == [(0, "")] * 3
    assert [one.out.splitlines()[0].partition(" in ")[0] for one in ran] == [
        "run 1 of nightly: ok", "run 2 of proof: ok", "run 3 of tidy: ok",
    ]  # fmt: skip
    assert ran[0].out.splitlines()[1].startswith("  docs: ok: set 2")
    assert partly.code == 3
    assert set(partly.document) == RUN_KEYS
    assert [part["outcome"] for part in partly.document["collections"]] == ["ok", "failed"]
    assert [job["last"]["outcome"] for job in listed.document] == ["partly", "ok", "ok"]
    assert [run["run"] for run in history.document] == [4, 1]


def test_help_imports_nothing_heavy() -> None:
    """It answers at once because of it."""
    code = (
        "import sys; from exporter.cli import app;"
        "[app([*verb.split(), '--help'], standalone_mode=False) for verb in sys.argv[1:]];"
        f"print('heavy:', *[name for name in {HEAVY_FOR_BACKUPS} if name in sys.modules])"
    )
    verbs = ("backup", "backup restore", "backup export", "backup import", "jobs run", "vacuum", "vacuum run")
    done = subprocess.run(
        [sys.executable, "-c", code, *verbs], capture_output=True, text=True, check=True, env=environment()
    )

    assert done.stdout.count("Usage:") == len(verbs)
    assert done.stdout.splitlines()[-1] == "heavy:"


async def test_help_says_what_the_exit_codes_mean(tmp_path: Path) -> None:
    """A script's author looks there."""
    (done,) = await typed("backup --help", folder=tmp_path)

    text = " ".join(done.out.split())
    for words in ("0 done", "1 failed", "3 partly", "10 no such backup", "11 locked", "143 interrupted"):
        assert words in text
