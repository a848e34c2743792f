"""`backup export` and `backup import`: what is told of writers, of losses, and of one that is cut short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from exporter import exit_codes
from exporter.backup.importing.run import Importer
from exporter.backup.importing.words import ImportLimits
from exporter.backup.words import Encoding
from exporter.backup_verbs.bringing_back import Wanted as BroughtBack
from exporter.backup_verbs.exporting import Wanted, export_now
from exporter.backup_verbs.importing import import_now
from exporter.backup_verbs.opened import Chosen
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup_verbs.ground import Answer, Room


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks at optimizers that are at rest follow each other at once."""
    limits = ImportLimits(quiet_look_seconds=0.02, green_look_seconds=0.02)
    monkeypatch.setattr("exporter.backup_verbs.importing.Importer", partial(Importer, limits=limits))


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[SnapshotCluster]:
    async with SnapshotCluster(peers=1) as cluster:
        cluster.create("docs", points(60))
        yield cluster


def wanted(*collections: str, **changed: Any) -> Wanted:
    """What is typed with these names and nothing else."""
    return Wanted(**{"cluster": None, "encoding": Encoding.MSGPACK, "allow_lossy": False}
        | {"collections": collections} | changed)  # fmt: skip


def copied() -> BroughtBack:
    """What is typed to import the newest export of docs as `copy`."""
    return BroughtBack(
        chosen=Chosen(set_id=None, latest="docs", cluster=None), cluster=None, target="copy", into=None,
        aliases=False, switch_alias=None, force=False, dry_run=False, flags=("--store", "/sets"),
    )  # fmt: skip


async def test_an_export_comes_back_as_it_was(tmp_path: Path, cluster: SnapshotCluster) -> None:
    """Also as lines of JSON; a program reads what was compared and that the threshold is back."""
    room, answer, read = Room(tmp_path), Answer(), Answer(is_json=True)
    settings = room.settings(*cluster.urls)

    codes = [
        await export_now(settings, wanted("docs", encoding=Encoding.JSONL), answer.showing),
        await import_now(settings, copied(), read.showing),
    ]

    assert codes == [exit_codes.DONE, exit_codes.DONE]
    assert set(read.document) == {
        "set", "target", "restore", "points", "contentHash", "thresholds", "warnings",
    }  # fmt: skip
    assert (read.document["points"], read.document["thresholds"]) == (60, "put back")
    assert cluster.points("copy") == points(60)
    assert await room.shelf.thresholds() == []


async def test_a_directory_that_is_not_there_yet_is_made(tmp_path: Path, cluster: SnapshotCluster) -> None:
    """As by `backup run`."""
    room = Room(tmp_path)
    room.folder.rmdir()

    assert await export_now(room.settings(*cluster.urls), wanted(), Answer().showing) == exit_codes.DONE


async def test_writers_are_told_and_are_no_failure(tmp_path: Path, cluster: SnapshotCluster) -> None:
    """With the reason, to people and to programs."""
    told, read = Answer(), Answer(is_json=True)
    settings = Room(tmp_path).settings(*cluster.urls)
    cluster.knobs.writer("docs")

    codes = [await export_now(settings, wanted(), answer.showing) for answer in (told, read)]

    (document,) = read.document["collections"]
    assert codes == [exit_codes.DONE, exit_codes.DONE]
    assert "; fuzzy" in told.lines[0]
    assert told.lines[1].startswith("  not of one moment: ")
    assert (document["consistency"], bool(document["reasons"])) == ("fuzzy", True)


async def test_what_an_import_cannot_bring_back_is_refused_or_told(tmp_path: Path) -> None:
    """By `--allow-lossy` it is stored all the same, and each time it is said."""
    refused, told = Answer(), Answer()
    async with SnapshotCluster(peers=1) as cluster:
        turbo = {"size": 4, "distance": "Dot", "datatype": "turbo4"}
        cluster.create("docs", points(5), vectors=turbo)
        settings = Room(tmp_path).settings(*cluster.urls)
        codes = [
            await export_now(settings, wanted(), refused.showing),
            await export_now(settings, wanted(allow_lossy=True), told.showing),
        ]

    assert codes == [exit_codes.REFUSED, exit_codes.DONE]
    assert refused.warnings.startswith("docs: ")
    assert "stored as turbo" in refused.warnings
    assert any(line.startswith("  an import cannot bring back as it was: ") for line in told.lines)


async def test_an_import_that_is_cut_short_says_what_stays_changed(
    tmp_path: Path, cluster: SnapshotCluster
) -> None:
    """Nothing is sent on the way out; the same command goes on, and the threshold is back at its end."""
    room, cut, done = Room(tmp_path), Answer(), Answer()
    settings = room.settings(*cluster.urls)
    await export_now(settings, wanted(), Answer().showing)
    running = asyncio.create_task(import_now(settings, copied(), cut.showing))

    def at_the_first_points(_: int, method: str, path: str) -> None:
        if method == "PUT" and "/points" in path:
            running.cancel()

    cluster.knobs.on_request = at_the_first_points
    await asyncio.gather(running, return_exceptions=True)
    cluster.knobs.on_request = None
    left = await room.shelf.thresholds()

    code = await import_now(settings, copied(), done.showing)

    assert running.cancelled()
    assert [intent.collection for intent in left] == ["copy"]
    assert "copy: still changed: indexing_threshold. The same import goes on with it." in cut.warnings
    assert cut.warnings.strip().endswith("vacuum put-back copy --cluster prod --store /sets")
    assert (code, cluster.points("copy")) == (exit_codes.DONE, points(60))
    assert await room.shelf.thresholds() == []
