"""Deleting what the retention does not keep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from exporter.backup.layout import folder_of_collection, place
from exporter.backup.pruning import UNDER_WAY, Matter, Plan, Pruning, Terms
from exporter.backup.shelf import Shelf, place_of
from exporter.backup.words import (
    Encoding,
    ExportRecord,
    Level,
    Manifest,
    Proof,
    RestoreRecord,
    RestoreState,
    SetState,
)
from exporter.config.backup import RetentionSettings
from exporter.errors import JobLocked, StoreDenied
from tests.kit.clock import ManualClock
from tests.kit.scripted_store import ScriptedStore
from tests.kit.sets import manifest, shard

DAY = 86_400.0
START = 1_800_000_000.0
ONE = RetentionSettings(last=1, daily=0, weekly=0, monthly=0)


class Ground:
    """A shelf over a scripted store, with a set a day, and who prunes it."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.store = ScriptedStore(self.clock)
        self.shelf = Shelf(self.store, self.clock)

    def pruning(self, present: frozenset[str] | None = frozenset({"docs"}), **terms: Any) -> Pruning:
        """Prune with only the newest set kept."""
        return Pruning(self.shelf, "prod", Terms(ONE, present, **terms), self.clock)

    async def night(self, number: int, points: int = 10, **changed: Any) -> Manifest:
        """Store the set of one night, good unless it is incomplete; then a day passes."""
        made = manifest(
            id=f"202701{number + 15:02}T080000Z-00000a",
            ended_at=self.clock.now(),
            shards=(shard(points=points),),
            **changed,
        )
        self.store.keep(place_of(made).file("a.snapshot"), b"x" * 4_096)
        await self.shelf.save_manifest(made)
        if made.state is not SetState.INCOMPLETE:
            await self.shelf.save_proof(made, Proof(Level.HASHED, made.ended_at, True, (), "", 1.0))
        self.clock.advance(DAY)
        return made

    async def fragment(self, collection: str = "docs") -> str:
        """Leave an archive without a manifest; return its folder's id."""
        set_id = "20270115T080000Z-0000ff"
        self.store.keep(place("prod", collection, set_id).file("a.snapshot"), b"x" * 100)
        return set_id

    async def export(self, collection: str = "docs", *, chunks: int = 1) -> str:
        """Leave an export that was cut off, with so many chunks; return its id."""
        set_id = "20270115T080000Z-0000ee"
        for number in range(chunks):
            file = place("prod", collection, set_id).file(f"0000-{number:06}.points")
            self.store.keep(file, b"x" * 100)
        await self.shelf.save_export(
            ExportRecord(set_id, "prod", collection, Encoding.MSGPACK, 1.0, 1.0, None, {}, {}, {}, None)
        )
        return set_id

    async def ids(self, collection: str = "docs") -> list[str]:
        """Return the ids of the sets that are there, newest first."""
        return [one.manifest.id for one in await self.shelf.sets("prod", collection)]


@pytest.fixture
def ground() -> Ground:
    return Ground()


def word_on(plan: Plan, set_id: str) -> tuple[bool, str]:
    """Return what a plan says of one thing."""
    line = next(line for line in plan.lines if line.id == set_id)
    return line.keep, "; ".join(line.reasons)


async def test_what_no_rule_keeps_is_deleted_with_all_its_files(ground: Ground) -> None:
    """The newest stays, and nothing is left of the others."""
    nights = [await ground.night(number) for number in range(3)]

    pruned = await ground.pruning().prune("docs")

    assert pruned.removed == (nights[0].id, nights[1].id)  # the oldest first
    assert pruned.freed_bytes == 2 * 4_096
    assert {path.split("/")[2] for path in ground.store.objects} == {nights[2].id}


async def test_a_plan_deletes_nothing(ground: Ground) -> None:
    """It explains each decision."""
    nights = [await ground.night(number) for number in range(2)]
    before = dict(ground.store.objects)

    plan = await ground.pruning().plan("docs")

    assert ground.store.objects == before
    assert word_on(plan, nights[0].id) == (False, "no rule keeps it")
    assert word_on(plan, nights[1].id) == (True, "newest good; last 1 of 1")


async def test_complete_sets_stay_while_the_newest_is_doubted_and_fragments_go(ground: Ground) -> None:
    """The steps are apart: what was never finished helps nobody."""
    await ground.night(0, 1_000)
    await ground.night(1, 1_000)
    incomplete = await ground.night(2, state=SetState.INCOMPLETE)
    fragment = await ground.fragment()
    shrunk = await ground.night(3, 10)

    pruned = await ground.pruning().prune("docs")

    assert set(pruned.removed) == {incomplete.id, fragment}
    assert pruned.plan.stopped is not None
    assert shrunk.id in pruned.plan.stopped
    assert len(await ground.ids()) == 3


async def test_a_set_from_the_future_hides_no_loss(ground: Ground) -> None:
    """It would be the newest until then, and with all of its points nothing would be doubted."""
    ground.clock.advance(400 * DAY)
    await ground.night(0, 1_000)
    ground.clock.advance(-401 * DAY)  # it is right again
    full = await ground.night(1, 1_000)
    shrunk = await ground.night(2, 10)

    pruned = await ground.pruning().prune("docs")

    assert pruned.plan.stopped is not None
    assert shrunk.id in pruned.plan.stopped
    assert full.id in await ground.ids()


async def test_after_accept_prune_goes_on(ground: Ground) -> None:
    """A person said that the collection is meant to be smaller."""
    await ground.night(0, 1_000)
    shrunk = await ground.night(1, 10)
    await ground.shelf.accept(shrunk)

    pruned = await ground.pruning().prune("docs")

    assert pruned.plan.stopped is None
    assert await ground.ids() == [shrunk.id]


@pytest.mark.parametrize(("seconds", "stays"), [(DAY - 1, True), (DAY + 1, False)])
async def test_a_fragment_goes_a_day_after_it_last_grew(ground: Ground, seconds: float, stays: bool) -> None:
    """Before that it may be a backup that is being taken."""
    fragment = await ground.fragment()
    ground.clock.advance(seconds)

    pruned = await ground.pruning().prune("docs")

    assert pruned.removed == (() if stays else (fragment,))


async def test_an_export_that_was_cut_off_stays_for_a_day_after_it_last_went_on(ground: Ground) -> None:
    """The next one goes on with it; then it goes with its record, so that none goes on without its chunks."""
    export = await ground.export()
    ground.clock.advance(DAY - 1)
    (record,) = await ground.shelf.exports()
    await ground.shelf.save_export(record)  # its chunk is a day old, and what came since is not stored yet
    ground.clock.advance(DAY - 1)

    kept = await ground.pruning().prune("docs")
    ground.clock.advance(2)
    gone = await ground.pruning().prune("docs")

    assert word_on(kept.plan, export) == (True, UNDER_WAY)
    assert kept.removed == ()
    assert gone.removed == (export,)
    assert ground.store.objects == {}


async def test_the_record_of_an_export_stays_as_long_as_its_chunks(ground: Ground) -> None:
    """Its last chunk came, and the record that names it did not."""
    export = await ground.export()
    ground.clock.advance(DAY + 1)
    ground.store.keep(place("prod", "docs", export).file("0000-000001.points"), b"x")

    await ground.pruning().prune("docs")

    assert [record.id for record in await ground.shelf.exports()] == [export]
    assert len(ground.store.objects) == 3


async def test_a_record_of_which_nothing_else_is_left_goes(ground: Ground) -> None:
    """The export was killed before its first chunk came, or when its set was there already."""
    made = await ground.night(0)
    await ground.shelf.save_export(
        ExportRecord(made.id, "prod", "docs", Encoding.MSGPACK, 1.0, 1.0, None, {}, {}, {}, None)
    )
    await ground.export("logs", chunks=0)
    ground.clock.advance(DAY + 1)
    pruning = ground.pruning(frozenset({"docs", "logs"}))

    for collection in await pruning.collections():
        await pruning.prune(collection)

    assert await ground.shelf.exports() == []
    assert await ground.ids() == [made.id]


async def test_chunks_stay_where_the_record_cannot_be_deleted(ground: Ground) -> None:
    """An export that goes on without its chunks would be stored with holes."""
    export = await ground.export()
    ground.clock.advance(DAY + 1)
    ground.store.fail("delete", "exports/", lambda: StoreDenied("the store refuses to delete"))

    pruned = await ground.pruning().prune("docs")

    assert pruned.removed == ()
    assert pruned.problems == (f"{export}: the store refuses to delete",)
    assert len(ground.store.objects) == 2


async def test_nothing_is_deleted_of_a_collection_that_is_gone(ground: Ground) -> None:
    """Its backups are all that is left of it: not even the incomplete ones go, unless a person says so."""
    nights = [await ground.night(number) for number in range(2)]
    await ground.night(2, state=SetState.INCOMPLETE)
    ground.clock.advance(2 * DAY)

    pruned = await ground.pruning(frozenset({"other"})).prune("docs")
    asked = await ground.pruning(frozenset({"other"}), include_vanished=True).plan("docs")

    assert pruned.removed == ()
    assert word_on(pruned.plan, nights[0].id)[1].endswith("only `--include-vanished` prunes it")
    assert [line.matter for line in asked.going] == [Matter.SET, Matter.INCOMPLETE]
    assert word_on(asked, nights[1].id)[0]


async def test_nothing_is_deleted_while_nobody_knows_which_collections_exist(ground: Ground) -> None:
    """A cluster that does not answer may have lost them all."""
    for number in range(2):
        await ground.night(number)

    assert (await ground.pruning(None).prune("docs")).removed == ()


async def test_a_set_that_is_being_restored_stays_for_a_week(ground: Ground) -> None:
    """A restore that was interrupted needs it again; one that nobody went on with was given up."""
    old = await ground.night(0)
    await ground.night(1)
    record = RestoreRecord(
        "20270116T080000Z-0000aa", old.id, "prod", "docs", "docs__restore", False, RestoreState.OPEN, 0, 0, ()
    )
    await ground.shelf.save_restore(record)

    assert word_on(await ground.pruning().plan("docs"), old.id) == (True, "a restore of it is under way")
    ground.clock.advance(8 * DAY)
    assert not word_on(await ground.pruning().plan("docs"), old.id)[0]


async def test_an_unreadable_set_stays(ground: Ground) -> None:
    """It may be of a newer version of this program."""
    made = await ground.night(0)
    await ground.night(1)
    ground.store.keep(place_of(made).manifest, b'{"format": 99}')
    fresh = Ground()
    fresh.store.objects, fresh.store.changed_at = ground.store.objects, ground.store.changed_at
    fresh.clock.advance(9 * DAY)

    pruned = await fresh.pruning().prune("docs")

    assert pruned.removed == ()
    line = next(line for line in pruned.plan.lines if line.matter is Matter.UNREADABLE)
    assert line.id == made.id


async def test_what_cannot_be_deleted_is_told_and_the_rest_goes(ground: Ground) -> None:
    """A bucket may forbid to delete, or lock an object for a time."""
    nights = [await ground.night(number) for number in range(3)]
    ground.store.fail("delete", nights[0].id, lambda: StoreDenied("the store refuses to delete"))

    pruned = await ground.pruning().prune("docs")

    assert pruned.removed == (nights[1].id,)
    assert pruned.problems == (f"{nights[0].id}: the store refuses to delete",)


async def test_a_removal_that_was_cut_short_leaves_no_set_and_is_swept_up_later(ground: Ground) -> None:
    """The manifest goes first, so what is left is a fragment."""
    old = await ground.night(0)
    kept = await ground.night(1)
    ground.store.fail("delete", "a.snapshot", lambda: StoreDenied("the store refuses to delete"))

    await ground.pruning().prune("docs")
    assert await ground.ids() == [kept.id]
    await ground.pruning().prune("docs")

    assert not [path for path in ground.store.objects if old.id in path]


async def test_room_is_made_by_the_same_rules_in_all_collections_but_locked_ones(ground: Ground) -> None:
    """The one that needs room comes first; another's backup that runs now is left alone."""
    locked: list[str] = []
    for collection in ("docs", "logs", "busy"):
        for number in range(2):
            await ground.night(number, collection=collection)

    @asynccontextmanager
    async def holding(collection: str) -> AsyncIterator[None]:
        if collection == "busy":
            raise JobLocked("another run holds the lock of busy")
        locked.append(collection)
        yield

    pruning = ground.pruning(frozenset({"docs", "logs", "busy"}))
    freed = await pruning.make_room(holding, held="docs")

    assert freed == 2 * 4_096
    assert locked == ["logs"]
    assert [len(await ground.ids(name)) for name in ("docs", "logs", "busy")] == [1, 1, 2]


async def test_collections_are_named_by_manifests_and_by_folders_of_fragments(ground: Ground) -> None:
    """A collection of which no backup ever was finished has something to sweep up, too."""
    await ground.night(0, collection="a/b")
    await ground.fragment("new\nline")
    await ground.fragment("n" * 255)

    assert await ground.pruning().collections() == ("a/b", "new\nline")
    assert folder_of_collection("prod", "a/b") in next(iter(ground.store.objects))


class Killed(BaseException):
    """The process is gone: nothing of ours runs any more."""


@pytest.mark.parametrize("call", range(12))
async def test_a_kill_at_any_deletion_leaves_no_set_that_is_not_whole(call: int) -> None:
    """The next prune ends what was begun, and the newest good set was never touched."""
    ground = Ground()
    for number in range(3):
        await ground.night(number)
    await ground.night(3, state=SetState.INCOMPLETE)
    await ground.fragment()
    newest = await ground.night(4)
    _kill_at_deletion(ground.store, call)

    with suppress(Killed):
        await ground.pruning().prune("docs")
    left = await Shelf(ground.store, ground.clock).sets("prod", "docs")
    whole = [place_of(one.manifest).file("a.snapshot") in ground.store.objects for one in left]
    await ground.pruning().prune("docs")

    assert all(whole)
    assert newest.id in [one.manifest.id for one in left]
    assert {path.split("/")[2] for path in ground.store.objects} == {newest.id}


@pytest.mark.parametrize("call", range(5))
async def test_a_kill_at_any_deletion_leaves_no_record_of_an_export_without_its_chunks(call: int) -> None:
    """An export that went on from there would be stored with holes."""
    ground = Ground()
    await ground.export(chunks=3)
    ground.clock.advance(DAY + 1)
    _kill_at_deletion(ground.store, call)

    with suppress(Killed):
        await ground.pruning().prune("docs")

    assert await ground.shelf.exports() == [] or len(ground.store.objects) == 4
    await ground.pruning().prune("docs")
    assert ground.store.objects == {}


def _kill_at_deletion(store: ScriptedStore, number: int) -> None:
    """Let the store be left in the middle of its deletion of this number, once."""

    def gone() -> Any:
        nonlocal number
        number -= 1
        return Killed() if number == -1 else None

    delete = store.delete

    async def deleting(path: str) -> None:
        if (death := gone()) is not None:
            raise death
        await delete(path)

    store.delete = deleting  # type: ignore[method-assign]  # a death is no failure that a store reports
