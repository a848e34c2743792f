"""`vacuum plan`, `run` and `put-back` against scripted servers: what is told, in which order, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from exporter import exit_codes
from exporter.backup_verbs.vacuuming import Wanted, plan_now, put_back_now, run_now
from exporter.config.backup import BackupSettings, StoreSettings
from exporter.config.clusters import ClusterSettings, DiscoverySettings, PeerSettings
from exporter.config.settings import Settings
from exporter.errors import JobLocked
from exporter.operations.vacuum.words import VacuumTerms
from tests.kit.daemons import eventually
from tests.kit.small_disk import small_disk
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup_verbs.ground import Answer, Room

TERMS = VacuumTerms(min_reclaim_bytes=1, p95_limit_seconds=None)
OWN = (0.2, 1_000)  # thresholds of a collection that says nothing of them


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once; what is seen between them is the scripted servers' business."""
    monkeypatch.setattr("exporter.operations.vacuum.running.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("exporter.operations.vacuum.ending.QUIET_SECONDS", 0.05)
    monkeypatch.setattr("exporter.backup_verbs.vacuuming.LOOK_SECONDS", 0.02)


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[SnapshotCluster]:
    """One peer with three collections, of which none has a deleted point."""
    async with SnapshotCluster(peers=1) as cluster:
        for name in ("docs", "people", "still"):
            cluster.create(name, points(1_200))
        yield cluster


class Ground:
    """A store, and settings that name it and the cluster, whose disk is known."""

    def __init__(self, folder: Path, cluster: SnapshotCluster) -> None:
        self.cluster = cluster
        self.room = Room(folder)
        self.folder = folder
        self.answer = Answer()

    def settings(self, *, disk: bool = True) -> Settings:
        """The configuration. Without `disk` nobody knows what is free."""
        storage_path = self.folder if disk else None
        peers = tuple(PeerSettings(url=url, storage_path=storage_path) for url in self.cluster.urls)
        return Settings(
            clusters=(ClusterSettings(name="prod", peers=peers),),
            backup=BackupSettings(store=StoreSettings(url=str(self.room.folder))),
        )

    def thresholds(self, name: str = "docs") -> tuple[Any, Any]:
        """Return what the server has."""
        config = self.cluster.world.named(name).config["optimizer_config"]
        return config["deleted_threshold"], config["vacuum_min_vector_number"]

    def patched(self) -> list[str]:
        """Return the collections whose settings were written, in order."""
        return [seen.path.split("/")[2] for seen in self.cluster.requests if seen.method == "PATCH"]

    async def cut_off(self) -> None:
        """Let a vacuum of docs be cut off while a segment is rewritten."""
        self.cluster.knobs.pace.held = True
        self.cluster.optimizers.add_deleted("docs", 180)
        running = asyncio.create_task(run_now(self.settings(), wanted("docs"), Answer().showing))

        async def lowered() -> bool:
            return bool(self.patched())

        await eventually(lowered, what="thresholds are lowered")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def ground(tmp_path: Path, cluster: SnapshotCluster) -> Ground:
    return Ground(tmp_path, cluster)


def wanted(*collections: str, **changed: Any) -> Wanted:
    """What is typed, with terms by which a few points are worth it."""
    made = Wanted(collections, None, TERMS, deadline_seconds=60.0, flags=("--store", "/sets"))
    return replace(made, **changed)


async def test_a_plan_says_what_would_be_done_and_changes_nothing(ground: Ground) -> None:
    """Of all collections, the most reclaimable first; no store is opened for it."""
    ground.cluster.optimizers.add_deleted("docs", 180)
    ground.cluster.optimizers.add_deleted("people", 1_800, says_green=True)
    settings = ground.settings().model_copy(update={"backup": BackupSettings()})

    code = await plan_now(settings, wanted(), ground.answer.showing)

    rows = [line.split() for line in ground.answer.lines[1:4]]
    assert code == exit_codes.DONE
    assert [row[0] for row in rows] == ["people", "docs", "still"]
    assert "60.0%" in rows[0]
    assert "none, only triggered" in ground.answer.lines[1]
    assert "13.0%" in rows[1]
    assert "deleted_threshold 0.1291 for a while" in ground.answer.lines[2]
    assert "nothing to do: no segment has 10% of its points deleted" in ground.answer.lines[3]
    assert ground.answer.lines[-1] == "Nothing was done."
    assert ground.patched() == []


async def test_a_plan_that_does_not_see_all_replicas_says_so(tmp_path: Path) -> None:
    """Nothing to do on one peer of three is not nothing to do."""
    async with SnapshotCluster(peers=3) as cluster:
        cluster.create("docs", points(1_200))
        here = Ground(tmp_path, cluster)
        peers = (PeerSettings(url=cluster.urls[0], storage_path=tmp_path),)
        alone = ClusterSettings(name="prod", peers=peers, discovery=DiscoverySettings(enabled=False))
        settings = here.settings().model_copy(update={"clusters": (alone,)})

        code = await plan_now(settings, wanted(), here.answer.showing)

    assert code == exit_codes.REFUSED
    assert "of what is seen, nothing to do: " in here.answer.lines[1]
    assert here.answer.lines[2].startswith("docs: refused: peers: peers hold replicas whose URL is not given")


async def test_what_is_refused_is_told_gate_by_gate_with_exit_code_4(ground: Ground) -> None:
    """By a plan and by a run alike, and a program reads each gate."""
    ground.cluster.optimizers.add_deleted("docs", 180)
    planned, ran, read = Answer(), Answer(), Answer(is_json=True)
    settings = ground.settings(disk=False)

    codes = [
        await plan_now(settings, wanted("docs"), planned.showing),
        await run_now(settings, wanted("docs"), ran.showing),
        await plan_now(settings, wanted("docs"), read.showing),
    ]

    assert codes == [exit_codes.REFUSED] * 3
    assert "docs: refused: disk: free disk is unknown on" in planned.text
    assert "storage_path" in planned.text
    assert ran.text == ""
    assert "docs: no vacuum of docs: free disk is unknown on" in ran.warnings
    (document,) = read.document["collections"]
    assert [gate["name"] for gate in document["gates"] if not gate["open"]] == ["disk"]
    assert document["refused"]
    assert (ground.patched(), ground.thresholds()) == ([], OWN)


async def test_nothing_to_do_is_no_success(ground: Ground) -> None:
    """Exit code 3, of a plan, a run and a dry run; a collection that is not there fails."""
    looked = [
        await plan_now(ground.settings(), wanted(), Answer().showing),
        await run_now(ground.settings(), wanted(), Answer().showing),
        await run_now(ground.settings(), wanted(terms=replace(TERMS, dry_run=True)), Answer().showing),
    ]
    missing = [
        await plan_now(ground.settings(), wanted("nope"), ground.answer.showing),
        await run_now(ground.settings(), wanted("nope", "docs"), ground.answer.showing),
    ]

    assert looked == [exit_codes.PARTLY] * 3
    assert missing == [exit_codes.FAILED] * 2
    assert ground.answer.warnings.splitlines() == ["nope: there is no collection nope"] * 2


async def test_collections_are_vacuumed_the_worst_first_and_one_after_the_other(ground: Ground) -> None:
    """What has nothing to do is said, and is no failure; before and after stand side by side."""
    ground.cluster.peers[0].version = "1.15.5"  # which tells no queue, so what it wants is only triggered
    for name, deleted in (("docs", 1_300), ("people", 1_800)):
        ground.cluster.optimizers.add_deleted(name, deleted, says_green=True)

    code = await run_now(ground.settings(), wanted(), ground.answer.showing)

    said = ground.answer.lines
    assert (code, ground.answer.warnings) == (exit_codes.DONE, "")
    assert ground.patched() == ["people", "docs"]
    assert ground.cluster.optimizers.statuses("docs") == ["done"]
    assert said[0].startswith("people: done (")
    assert said[2].split()[:3] == ["before", "1,800", "(60.0%)"]
    assert said[3].split()[:3] == ["after", "0", "(0.0%)"]
    assert said[-1] == "still: nothing to do: no segment has 10% of its points deleted"
    assert "  thresholds: unchanged" in said


async def test_a_run_that_its_deadline_ends_says_what_stays_open_and_put_back_closes_it(
    ground: Ground,
) -> None:
    """Nothing is sent at the end of one, and nothing while an optimization runs."""
    ground.cluster.knobs.pace.held = True
    for name in ("docs", "people"):
        ground.cluster.optimizers.add_deleted(name, 180)
    early, late, over = Answer(), Answer(is_json=True), Answer()

    code = await run_now(ground.settings(), wanted(deadline_seconds=3.0), ground.answer.showing)
    open_code = await put_back_now(ground.settings(), ["docs"], None, early.showing)
    held = ground.thresholds()
    ground.cluster.optimizers.finish("docs")
    closed_code = await put_back_now(ground.settings(), [], None, late.showing)
    none_code = await put_back_now(ground.settings(), [], None, over.showing)

    first, other, told, *_ = ground.answer.warnings.splitlines()
    assert code == exit_codes.FAILED
    assert first.endswith(
        "still changed: deleted_threshold. Once nothing is optimized there a daemon puts"
        " back what it was, and so does: qdrant-exporter vacuum put-back docs --cluster prod --store /sets"
    )
    assert other == "docs: it was not done when the deadline of 3s came"
    assert told == "people: it was not begun"
    assert (open_code, held) == (exit_codes.PARTLY, (0.1291, 1_000))
    assert early.warnings.startswith("docs: stays open: vacuum runs on ")
    (document,) = late.document["thresholds"]
    assert (closed_code, document["done"], document["purpose"]) == (exit_codes.DONE, True, "vacuum")
    assert document["fields"] == [{"field": "deleted_threshold", "back": 0.2}]
    assert (ground.thresholds(), ground.cluster.optimizers.statuses("docs")) == (OWN, ["done"])
    assert (none_code, over.text) == (
        exit_codes.DONE, "Nothing is changed that would have to be put back.\n",
    )  # fmt: skip


async def test_a_store_without_room_keeps_no_thresholds_changed(
    tmp_path: Path, cluster: SnapshotCluster
) -> None:
    """It takes no lock any more; what is put back needs room nowhere. Another cluster's are named."""
    with small_disk(tmp_path / "disk") as disk:
        ground = Ground(tmp_path, cluster)
        ground.room = Room(disk.path)
        await ground.cut_off()
        (intent,) = await ground.room.shelf.thresholds()
        other = replace(intent, id="20261126T100000Z-00000b", cluster="default")
        await ground.room.shelf.save_thresholds(other)
        ground.cluster.optimizers.finish("docs")
        disk.fill()
        answer = Answer()

        code = await put_back_now(ground.settings(), [], None, answer.showing)

        assert (code, answer.text) == (exit_codes.DONE, "docs: closed: deleted_threshold 0.2\n")
        assert answer.warnings.startswith("note: thresholds are changed in cluster default too")
        assert ground.thresholds() == OWN
        assert await ground.room.shelf.thresholds() == [other]


async def test_a_value_that_a_person_set_meanwhile_is_left(ground: Ground) -> None:
    """It is told, and the intent is closed."""
    await ground.cut_off()
    ground.cluster.world.named("docs").config["optimizer_config"]["deleted_threshold"] = 0.4

    code = await put_back_now(ground.settings(), [], None, ground.answer.showing)

    assert code == exit_codes.DONE
    assert (
        ground.answer.text
        == "docs: closed; deleted_threshold was set by somebody else meanwhile, and is left\n"
    )
    assert ground.thresholds() == (0.4, 1_000)
    assert ground.patched() == ["docs"]


async def test_a_run_first_puts_back_what_an_earlier_one_left_changed(ground: Ground) -> None:
    """Also where it then has nothing to do: what is lowered must not be taken for the owner's wish."""
    ground.cluster.knobs.pace.held = True
    ground.cluster.optimizers.add_deleted("docs", 180)
    running = asyncio.create_task(run_now(ground.settings(), wanted("docs"), Answer().showing))

    async def is_lowered() -> bool:
        return bool(ground.patched())

    await eventually(is_lowered, what="thresholds are lowered")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    ground.cluster.optimizers.finish("docs")
    lowered = ground.thresholds()

    code = await run_now(ground.settings(), wanted("docs"), ground.answer.showing)

    assert (lowered, ground.thresholds()) == ((0.1291, 1_000), OWN)
    assert (code, ground.answer.warnings) == (exit_codes.PARTLY, "")
    assert ground.answer.lines == [
        "docs: thresholds that an earlier run left changed are back",
        "docs: nothing to do: no segment has 10% of its points deleted",
    ]
    assert await ground.room.shelf.thresholds() == []


async def test_what_another_works_on_is_left_alone(ground: Ground) -> None:
    """One vacuum in a cluster at a time, and nothing else meanwhile on its collection."""
    ground.cluster.optimizers.add_deleted("docs", 180)
    locks = ground.room.locks()

    async with locks.vacuum("prod"):
        with pytest.raises(JobLocked, match="elsewhere 4711"):
            await run_now(ground.settings(), wanted(), ground.answer.showing)
    async with locks.collection("prod", "docs"):
        code = await run_now(ground.settings(), wanted(), ground.answer.showing)

    assert code == exit_codes.LOCKED
    assert "elsewhere 4711" in ground.answer.warnings
    assert ground.patched() == []
