"""All sets of a store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.backup.shelf import Shelf, place_of
from exporter.backup.words import (
    BackupIntent,
    Encoding,
    ExportRecord,
    FieldChange,
    Level,
    Manifest,
    Proof,
    Purpose,
    RestoreRecord,
    RestoreState,
    SetState,
    ThresholdIntent,
)
from exporter.errors import JobError, StoreDenied, StoreTaken
from tests.kit.clock import ManualClock
from tests.kit.scripted_store import ScriptedStore
from tests.kit.sets import exported, manifest

ODD_NAMES = ("docs", "Docs", "../../etc", "a/b", ".", "new\nline", "😀", "n" * 255, "n" * 254 + "m")


class Ground:
    """A shelf over a scripted store."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ScriptedStore(self.clock)
        self.shelf = Shelf(self.store, self.clock)

    async def put(self, number: int = 0, *, files: bool = True, **changed: object) -> Manifest:
        """Store a set whose run ended so many minutes after the others."""
        made = manifest(id=f"20270115T080000Z-{number:06x}", ended_at=1_800_000_000.0 + 60 * number)
        made = replace(made, **changed)  # type: ignore[arg-type]
        if files:
            for archive in made.archives:
                self.store.keep(place_of(made).file(archive.file), b"x" * archive.size_bytes)
        await self.shelf.save_manifest(made)
        return made


@pytest.fixture
def ground() -> Ground:
    return Ground()


def proof(level: Level, at: float, *, good: bool = True) -> Proof:
    """Return a proof with nothing to say."""
    return Proof(level, at, good=good, problems=() if good else ("no",), by="", took_seconds=1.0)


async def test_sets_come_newest_first_by_the_end_of_their_run(ground: Ground) -> None:
    """Not by their ids, which say when they began, nor by when a file was written."""
    first, second = await ground.put(2), await ground.put(1)
    long = await ground.put(0, ended_at=1_900_000_000.0)

    found = await ground.shelf.sets()

    assert [one.manifest for one in found] == [long, first, second]


async def test_sets_of_one_collection_are_its_own(ground: Ground) -> None:
    """Whatever the collections are called, and however alike."""
    made = {name: await ground.put(number, collection=name) for number, name in enumerate(ODD_NAMES)}
    await ground.put(99, cluster="other", collection="docs")

    for name in ODD_NAMES:
        found = await ground.shelf.sets("prod", name)
        assert [one.manifest for one in found] == [made[name]]
    assert len(await ground.shelf.sets("prod")) == len(ODD_NAMES)
    assert len(await ground.shelf.sets(collection="docs")) == 2


async def test_a_folder_without_a_manifest_is_a_fragment_and_no_set(ground: Ground) -> None:
    """That is what a kill leaves: it has a size, and an age from its newest file on."""
    ground.store.keep("prod/docs/20270115T080000Z-00000b/a.snapshot", b"12345")
    ground.clock.advance(60)
    ground.store.keep("prod/docs/20270115T080000Z-00000b/b.snapshot", b"123")
    ground.clock.advance(10)

    assert await ground.shelf.sets() == []
    (fragment,) = await ground.shelf.fragments()
    assert (fragment.place.id, fragment.size_bytes) == ("20270115T080000Z-00000b", 8)
    assert fragment.age_seconds(ground.clock.now()) == 10.0


async def test_what_lies_beside_the_sets_is_neither_set_nor_fragment(ground: Ground) -> None:
    """Locks, records, test puts, and files of other people."""
    for path in (
        "locks/prod/docs/000000001.json",
        "intents/20270115T080000Z-00000a.json",
        ".probe/x",
        "README",
        "prod/docs/notes.txt",
        "prod/docs/20270115T080000Z-00000a/deeper/manifest.json",
        "prod/docs/yesterday/manifest.json",
    ):
        ground.store.keep(path, b"{}")

    contents = await ground.shelf.contents()

    assert contents.sets == contents.fragments == contents.unreadable == ()


async def test_a_set_whose_manifest_is_damaged_is_told_and_hides_no_other(ground: Ground) -> None:
    """One bad file must not blind us to the good ones; and it is found by its id with the reason."""
    good, bad = await ground.put(1), await ground.put(2)
    ground.store.keep(place_of(bad).manifest, b"{")

    contents = await Shelf(ground.store, ground.clock).contents()

    assert [one.manifest for one in contents.sets] == [good]
    assert [one.place.id for one in contents.unreadable] == [bad.id]
    with pytest.raises(JobError, match=r"manifest\.json: .*damaged"):
        await Shelf(ground.store, ground.clock).find(bad.id)


async def test_a_manifest_that_was_copied_elsewhere_is_not_believed(ground: Ground) -> None:
    """A folder that somebody renamed would restore another collection than it says."""
    made = await ground.put(1)
    copied = place_of(replace(made, collection="other"))
    ground.store.keep(copied.manifest, ground.store.objects[place_of(made).manifest])

    contents = await ground.shelf.contents()

    assert [one.manifest for one in contents.sets] == [made]
    assert "another set" in contents.unreadable[0].reason


async def test_a_copy_in_another_folder_does_not_hide_the_set_itself(ground: Ground) -> None:
    """Somebody copied it to look at, perhaps."""
    made = await ground.put(1)
    place = place_of(made)
    data = ground.store.objects.pop(place.manifest)
    for folder in (f"prod/copy/{made.id}", f"prod/part/{made.id}"):
        ground.store.keep(f"{folder}/manifest.json" if "copy" in folder else f"{folder}/x.snapshot", data)
    ground.store.keep(place.manifest, data)

    assert (await ground.shelf.find(made.id)).manifest == made


async def test_a_manifest_is_never_written_over(ground: Ground) -> None:
    """A set is what it was when it was finished."""
    made = await ground.put(1)

    with pytest.raises(StoreTaken, match="there already"):
        await ground.shelf.save_manifest(replace(made, aliases=("other",)))


async def test_proofs_are_kept_by_level_and_the_newest_of_each_counts(ground: Ground) -> None:
    """A set counts once its hashes were right, and no more when a later look found them wrong."""
    made = await ground.put(1)
    assert not (await ground.shelf.find(made.id)).counts

    await ground.shelf.save_proof(made, proof(Level.HASHED, 1.0))
    await ground.shelf.save_proof(made, proof(Level.OPENED, 2.0))
    assert (await ground.shelf.find(made.id)).counts

    await ground.shelf.save_proof(made, proof(Level.HASHED, 3.0, good=False))
    found = await ground.shelf.find(made.id)
    assert [one.level for one in found.proofs] == [Level.HASHED, Level.OPENED]
    assert found.is_bad
    assert not found.counts


async def test_a_proof_that_cannot_be_read_proves_nothing(ground: Ground) -> None:
    """The set is still there, unproven."""
    made = await ground.put(1)
    ground.store.keep(place_of(made).proof(Level.HASHED), b"{")

    found = await ground.shelf.find(made.id)

    assert found.proofs == ()


async def test_what_is_incomplete_bad_or_unproven_is_not_relied_on(ground: Ground) -> None:
    """Of the four, each newer one lacks something."""
    good = await ground.put(1)
    await ground.shelf.save_proof(good, proof(Level.HASHED, 1.0))
    incomplete = await ground.put(2, state=SetState.INCOMPLETE)
    await ground.shelf.save_proof(incomplete, proof(Level.HASHED, 1.0))
    bad = await ground.put(3)
    await ground.shelf.save_proof(bad, proof(Level.HASHED, 1.0, good=False))
    await ground.put(4)

    found = await ground.shelf.sets("prod", "docs")

    assert len(found) == 4
    assert [one.manifest for one in found if one.counts] == [good]


async def test_what_a_person_accepted_is_kept(ground: Ground) -> None:
    """So that pruning goes on."""
    made = await ground.put(1)
    assert not (await ground.shelf.find(made.id)).accepted

    await ground.shelf.accept(made, by="ann")

    assert (await ground.shelf.find(made.id)).accepted


@pytest.mark.parametrize("failing_call", range(4))
async def test_a_removal_that_is_cut_off_never_leaves_half_a_set(ground: Ground, failing_call: int) -> None:
    """The manifest goes first; what is left is a fragment, which can be removed by itself."""
    made = await ground.put(1)
    await ground.shelf.save_proof(made, proof(Level.HASHED, 1.0))
    await ground.shelf.accept(made)
    paths = ["manifest.json", "a.snapshot", "accepted.json", "proof-2.json"]
    ground.store.fail("delete", paths[failing_call], lambda: StoreDenied("no right to delete"))

    with pytest.raises(StoreDenied):
        await ground.shelf.remove(made)

    left = await ground.shelf.contents()
    archive_is_there = place_of(made).file("a.snapshot") in ground.store.objects
    assert [one.manifest for one in left.sets] == ([made] if failing_call == 0 else [])
    assert archive_is_there or not left.sets
    for fragment in left.fragments:
        await ground.shelf.remove_fragment(fragment)
    assert bool(ground.store.objects) == (failing_call == 0)


async def test_a_fragment_that_became_a_set_meanwhile_stays(ground: Ground) -> None:
    """Its run may have ended between the look and the removal."""
    path = "prod/docs/20270115T080000Z-000001/a.snapshot"
    ground.store.keep(path, b"1")
    (fragment,) = await ground.shelf.fragments()
    await ground.put(1, files=False)

    with pytest.raises(JobError, match="finished meanwhile"):
        await ground.shelf.remove_fragment(fragment)
    assert path in ground.store.objects


async def test_an_unfinished_set_is_found_by_nobody(ground: Ground) -> None:
    """And the refusal says why; so does that of an id that was never given."""
    ground.store.keep("prod/docs/20270115T080000Z-000001/a.snapshot", b"1")

    with pytest.raises(JobError, match="not finished"):
        await ground.shelf.find("20270115T080000Z-000001")
    with pytest.raises(JobError, match=r"no backup 20270115T080000Z-000002 in memory"):
        await ground.shelf.find("20270115T080000Z-000002")
    with pytest.raises(JobError, match="no id"):
        await ground.shelf.find("../../etc")


async def test_manifests_are_read_once_and_what_changes_is_read_again(ground: Ground) -> None:
    """They never change, and a year of them is thousands; proofs do change."""
    made = await ground.put(1)
    await ground.shelf.sets()
    await ground.shelf.save_proof(made, proof(Level.HASHED, 1.0))

    (found,) = await ground.shelf.sets()

    gets = [call.path for call in ground.store.calls if call.what == "get"]
    assert gets == [place_of(made).manifest, place_of(made).proof(Level.HASHED)]
    assert found.counts


async def test_a_proof_that_has_lain_there_is_read_once_until_another_takes_its_place(ground: Ground) -> None:
    """One just written is read each time: a second one within its second might look like it."""
    made = await ground.put(1)
    path = place_of(made).proof(Level.HASHED)
    await ground.shelf.save_proof(made, proof(Level.HASHED, 1.0))
    await ground.shelf.sets()
    ground.clock.advance(61)
    for _ in range(3):
        await ground.shelf.sets()
    await ground.shelf.save_proof(made, proof(Level.HASHED, 2.0, good=False))

    (found,) = await ground.shelf.sets("prod", "docs")

    assert [call.path for call in ground.store.calls if call.what == "get"].count(path) == 3
    assert not found.counts


async def test_what_is_removed_by_others_is_forgotten(ground: Ground) -> None:
    """A daemon lives for years, and sets come and go every night."""
    made, other = await ground.put(1), await ground.put(2, collection="other")
    await ground.shelf.sets()
    await Shelf(ground.store, ground.clock).remove(made)
    await ground.shelf.sets("prod", "docs")
    ground.store.keep(place_of(made).manifest, ground.store.objects[place_of(other).manifest])

    sets = await ground.shelf.sets("prod")

    assert [one.manifest for one in sets] == [other]  # what lies there now was read, and is not believed


async def test_a_store_that_cannot_be_read_is_an_error_and_no_empty_shelf(ground: Ground) -> None:
    """Retention must not take a refusal for a set that is gone."""
    await ground.put(1)
    ground.store.fail("get", "manifest", lambda: StoreDenied("no"))

    with pytest.raises(StoreDenied):
        await ground.shelf.sets()


async def test_intents_and_restores_are_kept_until_they_are_closed(ground: Ground) -> None:
    """Oldest first; one that is damaged hides no other."""
    intents = [
        BackupIntent(f"20270115T08000{number}Z-00000a", "prod", "docs", 1.0, "host 7") for number in (2, 1)
    ]
    for intent in intents:
        await ground.shelf.save_intent(intent)
    ground.store.keep("intents/20270115T080009Z-00000a.json", b"{")
    record = RestoreRecord(
        "20270115T080000Z-00000a", intents[0].id, "prod", "docs", "t", False, RestoreState.OPEN, 1.0, 1.0, ()
    )
    await ground.shelf.save_restore(record)

    assert await ground.shelf.intents() == intents[::-1]
    (kept,) = await ground.shelf.restores()
    assert kept == replace(record, changed_at=ground.clock.now())

    await ground.shelf.close_intent(intents[0].id)
    await ground.shelf.remove_restore(record.id)
    assert await ground.shelf.intents() == intents[1:]
    assert await ground.shelf.restores() == []


async def test_exports_and_changed_thresholds_are_kept_until_they_are_over(ground: Ground) -> None:
    """In folders of ours, where no set is looked for."""
    export = ExportRecord(
        "20270115T080000Z-00000a", "prod", "docs", Encoding.MSGPACK, 1.0, 1.0, None, {}, {}, {}, None
    )
    change = FieldChange("deleted_threshold", was=None, put=0.1, back=0.2)
    intent = ThresholdIntent(export.id, "prod", "docs", None, Purpose.VACUUM, 1.0, "host 7", (change,))

    await ground.shelf.save_export(export)
    await ground.shelf.save_thresholds(intent)

    assert await ground.shelf.exports() == [replace(export, changed_at=ground.clock.now())]
    assert await ground.shelf.thresholds() == [intent]
    assert (await ground.shelf.contents()).fragments == ()
    await ground.shelf.remove_export(export.id)
    await ground.shelf.close_thresholds(intent.id)
    assert await ground.shelf.exports() + await ground.shelf.thresholds() == []


async def test_of_an_export_that_is_removed_the_chunks_go_before_the_small_files(ground: Ground) -> None:
    """A removal that is cut off leaves little behind; the manifest went before all."""
    made = exported()
    ground.store.keep(place_of(made).file("0000-000000.points"), b"x" * 4_096)
    await ground.shelf.save_manifest(made)
    await ground.shelf.accept(made)

    await ground.shelf.remove(made)

    deleted = [call.path.rpartition("/")[2] for call in ground.store.calls if call.what == "delete"]
    assert deleted == ["manifest.json", "0000-000000.points", "accepted.json"]
