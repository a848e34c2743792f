"""`backup list`, `show` and `orphans`: what is shown of sets and of what is nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.backup.words import Consistency, Encoding, ExportRecord, SetState
from exporter.backup_verbs.looking import show_orphans, show_set, show_sets
from exporter.backup_verbs.opened import Chosen
from exporter.errors import ConfigError, StoreMissing
from tests.kit.sets import archive, chunk, export, shard
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup_verbs.ground import ENDED_AT, Answer, Room

# What breaks a table, moves a cursor, is markup to rich, or is taken for an escape.
HOSTILE = "a\nb\x1b[31m[bold]c[/]:smile:%41\N{GRINNING FACE}"
SHOWN = "a\\nb\\x1b[31m[bold]c[/]:smile:%41\N{GRINNING FACE}"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """An empty store."""
    return Room(tmp_path)


def ids_of(answer: Answer) -> list[str]:
    """The ids in a list, in its order."""
    return [line.split()[0] for line in answer.lines[1:]]


async def test_sets_are_listed_the_newest_first_with_what_each_is_worth(room: Room) -> None:
    """One line each, and how far each is proven."""
    old = await room.keep(id="20260113T080000Z-00000a", ended_at=ENDED_AT - 2)
    bad = await room.keep(id="20260114T080000Z-00000a", ended_at=ENDED_AT - 1, good=False)
    new = await room.keep(id="20260115T080000Z-00000a", good=None, shards=(shard(settled=False),))
    answer = Answer()

    code = await show_sets(room.settings(), (), None, answer.showing)

    assert code == 0
    assert ids_of(answer) == [new.id, bad.id, old.id]
    first, second, third = answer.lines[1:]
    assert "complete, written to meanwhile" in first
    assert first.endswith("not yet")
    assert second.endswith("BAD at level 2")
    assert third.endswith("level 2")


async def test_a_list_can_be_narrowed_to_collections_and_a_cluster(room: Room) -> None:
    """Names are names, no patterns."""
    wanted = await room.keep(id="20260113T080000Z-00000a")
    await room.keep(id="20260114T080000Z-00000a", collection="docs2")
    await room.keep(id="20260115T080000Z-00000a", cluster="test")
    by_name, by_pattern = Answer(), Answer()

    await show_sets(room.settings(), ["docs"], "prod", by_name.showing)
    await show_sets(room.settings(), ["doc*"], None, by_pattern.showing)

    assert ids_of(by_name) == [wanted.id]
    assert by_pattern.text == f"{room.folder} has no backup of these.\n"


async def test_what_was_not_finished_and_what_cannot_be_read_is_named(room: Room) -> None:
    """Nothing in the store is passed over in silence, nor taken for a backup."""
    await room.keep()
    for path in ("20260116T080000Z-0000ff/a.snapshot", "20260117T080000Z-0000ff/manifest.json"):
        file = room.folder / "prod" / "docs" / path
        file.parent.mkdir(parents=True)
        file.write_text("{]")
    answer, as_json = Answer(), Answer(is_json=True)

    await show_sets(room.settings(), (), None, answer.showing)
    await show_sets(room.settings(), (), None, as_json.showing)

    assert "not finished: 20260116T080000Z-0000ff, 2 B; goes after a day" in answer.lines
    assert "cannot be read: 20260117T080000Z-0000ff" in answer.text
    assert len(as_json.document["sets"]) == 1
    assert [one["id"] for one in as_json.document["unfinished"]] == ["20260116T080000Z-0000ff"]
    assert [one["id"] for one in as_json.document["unreadable"]] == ["20260117T080000Z-0000ff"]


async def test_hostile_names_are_shown_on_one_line_as_what_they_are(room: Room) -> None:
    """In tables and sentences; JSON has them whole."""
    made = await room.keep(collection=HOSTILE, cluster="pr[red]od", archives=(archive(peer="p\x07eer"),))
    listed, shown, as_json = Answer(), Answer(), Answer(is_json=True)
    chosen = Chosen(set_id=None, latest=HOSTILE, cluster=None)

    await show_sets(room.settings(), (), None, listed.showing)
    await show_set(room.settings(), chosen, shown.showing)
    await show_set(room.settings(), chosen, as_json.showing)

    assert len(listed.lines) == 2
    assert SHOWN in listed.lines[1]
    assert "pr[red]od" in listed.lines[1]
    assert shown.lines[0] == f"backup {made.id} of {SHOWN} (cluster pr[red]od)"
    assert "p\\x07eer" in shown.text
    assert "\x1b" not in listed.text + shown.text
    assert as_json.document["collection"] == HOSTILE


async def test_on_a_narrow_terminal_ids_stay_whole_and_nothing_is_left_out(room: Room) -> None:
    """An id is there to be copied; what does not fit goes on below."""
    made = await room.keep(collection="a_rather_long_name_of_a_collection")
    answer = Answer(width=80)

    await show_sets(room.settings(), (), None, answer.showing)

    assert any(line.startswith(f"{made.id} ") for line in answer.lines)
    assert max(len(line) for line in answer.lines) <= 80
    assert "…" not in answer.text


async def test_snapshots_and_exports_are_told_apart_in_a_list(room: Room) -> None:
    """In the table and in JSON, with what an export is made of and how true it is."""
    snapshot = await room.keep(id="20260113T080000Z-00000a", ended_at=ENDED_AT - 2)
    fuzzy = export(consistency=Consistency.FUZZY, reasons=("shard 0 was written to",), losses=("NaN",))
    made = await room.keep_export(export=fuzzy)
    answer, as_json = Answer(), Answer(is_json=True)

    await show_sets(room.settings(), (), None, answer.showing)
    await show_sets(room.settings(), (), None, as_json.showing)

    kinds = {line.split()[0]: line.split()[3] for line in answer.lines[1:]}
    assert kinds == {made.id: "export", snapshot.id: "snapshot"}
    assert "complete, written to meanwhile" in answer.lines[1]
    first, second = as_json.document["sets"]
    assert (first["kind"], first["archives"], first["chunks"]) == ("export", 0, 1)
    assert (first["consistency"], first["losses"], first["settled"]) == ("fuzzy", ["NaN"], False)
    assert (second["kind"], second["archives"], second["chunks"]) == ("snapshot", 1, 0)
    assert (second["consistency"], second["losses"]) == (None, [])


async def test_an_export_is_shown_with_its_chunks_and_what_it_lacks(room: Room) -> None:
    """Whoever would import it must know before."""
    said = export(consistency=Consistency.FUZZY, reasons=("somebody wrote",), losses=("a NaN is null",))
    made = await room.keep_export(chunks=(chunk(key="k\n", last="f" * 32),), export=said)
    answer, as_json = Answer(), Answer(is_json=True)

    await show_set(room.settings(), Chosen(made.id, None, None), answer.showing)
    await show_set(room.settings(), Chosen(made.id, None, None), as_json.showing)

    assert "  msgpack, fuzzy" in answer.lines
    assert "  not at one moment: somebody wrote" in answer.lines
    assert "  cannot come back as it was: a NaN is null" in answer.lines
    (row,) = [line.split() for line in answer.lines if line.startswith("0000-000000.points")]
    assert row[1:7] == ["k\\n", "10", "4.0", "KiB", "1", "f" * 32]
    assert as_json.document["export"]["reasons"] == ["somebody wrote"]
    (file,) = as_json.document["files"]
    assert (file["file"], file["key"], file["last"]) == ("0000-000000.points", "k\n", "f" * 32)


async def test_an_export_that_was_cut_off_is_said_to_go_on(room: Room) -> None:
    """It is no snapshot that goes after a day."""
    set_id = "20260116T080000Z-0000ff"
    file = room.folder / "prod" / "docs" / set_id / "0000-000000.points"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"xx")
    await room.shelf.save_export(
        ExportRecord(set_id, "prod", "docs", Encoding.MSGPACK, 1.0, 1.0, None, {}, {}, {}, None)
    )
    answer, as_json = Answer(), Answer(is_json=True)

    await show_sets(room.settings(), (), None, answer.showing)
    await show_sets(room.settings(), (), None, as_json.showing)

    assert (
        f"not finished: export {set_id}, 2 B; the next export goes on with it, within a day" in answer.lines
    )
    assert [one["isExport"] for one in as_json.document["unfinished"]] == [True]


async def test_latest_is_the_newest_good_one(room: Room) -> None:
    """Not the newest: that one is bad, and another is incomplete."""
    good = await room.keep(id="20260113T080000Z-00000a", ended_at=ENDED_AT - 2)
    await room.keep(id="20260114T080000Z-00000a", ended_at=ENDED_AT - 1, good=False)
    await room.keep(id="20260115T080000Z-00000a", state=SetState.INCOMPLETE, problems=("shard 0 is missing",))
    answer = Answer(is_json=True)

    await show_set(room.settings(), Chosen(None, "docs", None), answer.showing)

    assert answer.document["id"] == good.id


async def test_latest_of_two_clusters_asks_which_is_meant(room: Room) -> None:
    """Collections of one name in two clusters have nothing to do with each other."""
    await room.keep(id="20260113T080000Z-00000a")
    wanted = await room.keep(id="20260114T080000Z-00000a", cluster="test")
    answer = Answer(is_json=True)

    with pytest.raises(ConfigError, match="clusters prod, test have one: say which by --cluster"):
        await show_set(room.settings(), Chosen(None, "docs", None), Answer().showing)
    await show_set(room.settings(), Chosen(None, "docs", "test"), answer.showing)

    assert answer.document["id"] == wanted.id


async def test_latest_of_what_has_no_good_backup_is_none(room: Room) -> None:
    """A bad one is not offered in its place."""
    await room.keep(good=False)

    with pytest.raises(StoreMissing, match="has no good backup of docs"):
        await show_set(room.settings(), Chosen(None, "docs", None), Answer().showing)


async def test_a_set_is_shown_with_its_problems_and_proofs(room: Room) -> None:
    """What a person needs to decide whether to restore it."""
    made = await room.keep(good=False, problems=("peer b did not answer",), state=SetState.DEGRADED)
    answer = Answer()

    code = await show_set(room.settings(), Chosen(made.id, None, None), answer.showing)

    assert code == 0
    assert "  problem: peer b did not answer" in answer.lines
    assert any(line.endswith("BAD: a.snapshot is damaged") for line in answer.lines)


async def test_snapshots_of_others_are_shown_and_left_where_they_are(tmp_path: Path, room: Room) -> None:
    """Also files in the folder that no server lists; exit code 3 where a peer could not be asked."""
    left = tmp_path / "snapshots" / "gone" / "gone-1-2026.snapshot"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x" * 2_048)
    answer, as_json = Answer(), Answer(is_json=True)
    async with SnapshotCluster() as cluster:
        cluster.create("docs", points(10))
        cluster.lay_snapshot(1, "docs", "docs-x\n.snapshot")
        settings = room.settings(*cluster.urls)
        code = await show_orphans(settings, None, tmp_path / "snapshots", answer.showing)
        await cluster.kill(2)
        partly = await show_orphans(settings, None, None, as_json.showing)
        lying = cluster.snapshots("docs")[1]

    assert (code, partly) == (0, 3)
    assert "docs-x\\n.snapshot" in answer.text
    assert "gone-1-2026.snapshot" in answer.text
    assert answer.lines[-1] == "Nothing was deleted: whoever knows whose they are deletes them."
    assert (lying, left.exists()) == (["docs-x\n.snapshot"], True)
    assert [one["collection"] for one in as_json.document["snapshots"]] == ["docs"]
    assert len(as_json.document["unknown"]) == 1


async def test_of_peers_that_could_not_be_asked_nothing_is_said_of_what_lies_there(room: Room) -> None:
    """A person would read it as a promise."""
    answer = Answer()
    async with SnapshotCluster() as cluster:
        await cluster.kill(2)

        code = await show_orphans(room.settings(*cluster.urls), None, None, answer.showing)

    assert code == 3
    assert answer.lines == ["Nothing lies on those that answered that is nobody's."]
    assert "could not be asked" in answer.warnings
