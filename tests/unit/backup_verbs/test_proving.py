"""`backup verify` over several sets: what is told, and what it ends with."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from exporter.backup.shelf import place_of
from exporter.backup.words import Level, Manifest, SetState
from exporter.backup_verbs.opened import Chosen
from exporter.backup_verbs.proving import prove_now
from exporter.config.backup import VerifySettings
from tests.kit.sets import archive, export
from tests.kit.snapshot_cluster import SnapshotCluster
from tests.unit.backup_verbs.ground import Answer, Room

ARCHIVE = archive(sha256=sha256(b"x" * 4_096).hexdigest())
GOOD, OTHER = "20260115T080000Z-00000a", "20260116T080000Z-00000a"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """An empty store."""
    return Room(tmp_path)


def damage(room: Room, manifest: Manifest) -> None:
    """Change a byte of its archive."""
    (room.folder / place_of(manifest).file("a.snapshot")).write_bytes(b"y" + b"x" * 4_095)


async def test_every_complete_set_is_proven_and_remembers_it(room: Room) -> None:
    """What is incomplete is no backup that could be."""
    await room.keep(id=GOOD, archives=(ARCHIVE,), good=None)
    await room.keep(id=OTHER, archives=(ARCHIVE,), state=SetState.INCOMPLETE)
    answer = Answer(is_json=True)

    code = await prove_now(room.settings(), None, None, 2, answer.showing)

    assert code == 0
    assert [(one["id"], one["good"], one["level"]) for one in answer.document["sets"]] == [(GOOD, True, 2)]
    assert (await room.shelf.find(GOOD)).proven(Level.HASHED) is not None


async def test_one_that_is_bad_among_good_ones_ends_in_3(room: Room) -> None:
    """And is told with what is wrong with it."""
    await room.keep(id=GOOD, archives=(ARCHIVE,))
    damage(room, await room.keep(id=OTHER, archives=(ARCHIVE,)))
    answer = Answer()

    code = await prove_now(room.settings(), None, None, 2, answer.showing)

    assert code == 3
    assert any(line.startswith(f"{OTHER} of docs: BAD at level 2: a.snapshot") for line in answer.lines)
    assert any(line.startswith(f"{GOOD} of docs: good at level 2") for line in answer.lines)
    assert (await room.shelf.find(OTHER)).is_bad


async def test_a_lower_level_looks_no_further_than_it_says(room: Room) -> None:
    """Level 1 reads sizes: a byte that is another is not its matter."""
    made = await room.keep(id=GOOD, archives=(ARCHIVE,), good=None)
    damage(room, made)
    chosen = Chosen(GOOD, None, None)

    sizes = await prove_now(room.settings(), chosen, None, 1, Answer().showing)
    hashes = await prove_now(room.settings(), chosen, None, 2, Answer().showing)

    assert (sizes, hashes) == (0, 1)


async def test_sets_of_one_cluster_may_be_meant(room: Room) -> None:
    """By --cluster, where the store has several."""
    await room.keep(id=GOOD, archives=(ARCHIVE,))
    await room.keep(id=OTHER, archives=(ARCHIVE,), cluster="test")
    answer = Answer(is_json=True)

    await prove_now(room.settings(), None, "test", 2, answer.showing)

    assert [one["id"] for one in answer.document["sets"]] == [OTHER]


async def test_what_another_works_on_is_not_verified_and_says_so(room: Room) -> None:
    """It is neither good nor bad: 3 beside what could be, 11 alone."""
    await room.keep(id=GOOD, archives=(ARCHIVE,))
    await room.keep(id=OTHER, archives=(ARCHIVE,), collection="people")
    among, alone = Answer(), Answer(is_json=True)

    async with room.locks().collection("prod", "docs"):
        partly = await prove_now(room.settings(), None, None, 2, among.showing)
        locked = await prove_now(room.settings(), Chosen(GOOD, None, None), None, 2, alone.showing)

    assert (partly, locked) == (3, 11)
    assert "elsewhere 4711" in among.warnings
    assert "docs" not in among.text
    assert alone.document["sets"][0]["good"] is None


async def test_exports_are_proven_with_all_others_and_one_that_no_server_may_take_is_told(room: Room) -> None:
    """Level 3 needs no server, level 4 does; where it must not be asked, that is no word about the set."""
    nothing = export(points_before=0, points_after=0)
    made = await room.keep_export(id=GOOD, chunks=(), export=nothing)
    opened, unable, refused = Answer(), Answer(), Answer(is_json=True)

    good = await prove_now(room.settings(), None, None, 3, opened.showing)
    without = await prove_now(room.settings(), None, None, 4, unable.showing)
    async with SnapshotCluster(peers=1) as cluster:
        cluster.create("docs__verify_" + made.id)  # somebody's
        settings = room.settings(*cluster.urls, verify=VerifySettings(allow_same_cluster=True))
        denied = await prove_now(settings, None, None, 4, refused.showing)

    assert (good, without, denied) == (0, 1, 4)
    assert f"{GOOD} of docs: good at level 3" in opened.text
    assert "proven further by an import: set backup.verify.target" in unable.warnings
    (told,) = refused.document["sets"]
    assert told["good"] is None
    assert "no restore of this backup made it" in told["error"]
