"""Exports of scripted peers: what is stored, what it is worth, and where it goes on after a kill."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from exporter.backup import layout
from exporter.backup.exporting.resuming import RESUMED_SECONDS
from exporter.backup.manifest import encode_document
from exporter.backup.taking import SetIncomplete
from exporter.backup.words import Consistency, Encoding, ExportRecord, SetKind, SetState
from exporter.errors import JobDenied, JobError, JobRefused, StoreError, StoreFull
from tests.kit.snapshot_cluster import Points, SnapshotCluster, points
from tests.unit.backup.exporting.ground import (
    SMALL_CHUNK,
    content_in,
    content_of,
    exported,
    leftovers,
    points_of,
)
from tests.unit.backup.ground import Ground, ground_of

SCROLL = r"/points/scroll"
ODD: Points = {
    0: [[0.1, -0.0, 3e38, 1.0], {"n": None, "deep": {"a": [{}, [], ""]}, "big": 2**64 - 1}],
    2**64 - 1: [[1.0, 2.0, 3.0, 4.0], {}],
    str(uuid.UUID(int=5)): [[1.5, 2.0, 3.0, 4.0], {"price": 1.0, "count": 1, "huge": 1e308}],
    str(uuid.UUID(int=2**128 - 1)): [[2.5, 2.0, 3.0, 4.0], {"": "Käse 🧀", "at": "2026-11-26T02:30:00Z"}],
}


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    """Three peers with one collection of two shards, two replicas each, and 300 points."""
    async with ground_of(SnapshotCluster()) as made:
        made.cluster.create("docs", points(300), shard_number=2, replication_factor=2)
        yield made


async def test_an_export_is_a_set_of_its_own_kind(ground: Ground) -> None:
    """With all that an import needs, proven by its hashes, and no record left."""
    ground.cluster.world.change_aliases(
        [{"create_alias": {"collection_name": "docs", "alias_name": "current"}}]
    )

    manifest = await exported(ground)

    assert (manifest.kind, manifest.format, manifest.job) == (SetKind.EXPORT, 2, "weekly")
    assert manifest.state is SetState.COMPLETE
    assert manifest.points == 300
    assert manifest.aliases == ("current",)
    assert manifest.config["params"]["shard_number"] == 2
    assert content_in(manifest) == content_of(ground.cluster.points("docs"))
    assert (await ground.sets())[0].counts
    assert await ground.shelf.exports() == []
    assert leftovers(ground, manifest) == []


async def test_where_nobody_writes_an_export_is_quiesced(ground: Ground) -> None:
    """Every replica says that its last operation is the one from before."""
    manifest = await exported(ground)

    assert manifest.export is not None
    assert manifest.export.consistency is Consistency.QUIESCED
    assert (manifest.export.points_before, manifest.export.points_after) == (300, 300)
    assert manifest.export.reasons == manifest.export.losses == ()
    assert manifest.settled


async def test_where_somebody_writes_an_export_is_fuzzy(ground: Ground) -> None:
    """And no less worth keeping: it says so."""
    ground.cluster.knobs.writer("docs")

    manifest = await exported(ground)

    assert manifest.export is not None
    assert manifest.export.consistency is Consistency.FUZZY
    assert "written while" in manifest.export.reasons[0]
    assert manifest.state is SetState.COMPLETE
    assert not manifest.settled


async def test_a_server_that_counts_no_operations_makes_an_export_fuzzy() -> None:
    """Before 1.17 nobody can say that nobody wrote."""
    async with ground_of(SnapshotCluster(version="1.12.6")) as ground:
        ground.cluster.create("docs", points(50))

        manifest = await exported(ground)

        assert manifest.export is not None
        assert manifest.export.consistency is Consistency.FUZZY
        assert "1.17" in manifest.export.reasons[0]
        assert "1.14" in manifest.export.reasons[-1]


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("shards", [1, 6])
async def test_points_of_every_kind_come_back_as_they_were(encoding: Encoding, shards: int) -> None:
    """From few shards by scroll, from many by their ids; numbers come before UUIDs."""
    async with ground_of(SnapshotCluster(peers=1)) as ground:
        held = {**ODD, **points(200, start=10)}
        ground.cluster.create("docs", held, shard_number=shards)

        manifest = await exported(ground, encoding=encoding, chunk_bytes=SMALL_CHUNK)

        assert content_in(manifest) == content_of(ground.cluster.points("docs"))
        assert [one.id for one in await points_of(ground, manifest)] == list(ground.cluster.points("docs"))
        assert len(manifest.chunks) > 1
        assert manifest.chunks[0].first == 0
        assert manifest.chunks[-1].last == str(uuid.UUID(int=2**128 - 1))


async def test_vectors_by_name_sparse_ones_multivectors_and_none_come_back() -> None:
    """Each point has those that it has."""
    async with ground_of(SnapshotCluster(standalone=True)) as ground:
        ground.cluster.create(
            "docs",
            vectors={
                "title": {"size": 2, "distance": "Dot"},
                "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
            },
            sparse_vectors={"words": {}},
        )
        held: Points = {
            1: [{"title": [0.5, 1.0], "words": {"indices": [7, 4294967295], "values": [0.5, 1.0]}}, {}],
            2: [{"rows": [[1.0, 0.5], [2.0, 0.5]]}, {}],
            3: [{}, {"only": "payload"}],
        }
        ground.cluster.world.upsert("docs", held)

        manifest = await exported(ground)

        found = {one.id: [one.plain()["vector"], one.payload] for one in await points_of(ground, manifest)}
        assert found == held


async def test_an_id_in_two_keys_is_two_points(ground: Ground) -> None:
    """A scroll over all keys would show it once."""
    ground.cluster.create("tenants", sharding_method="custom")
    held: dict[str | int, Points] = {"eu": points(40), 7: points(40), "empty": {}}
    ground.cluster.create_keys("tenants", held)

    manifest = await exported(ground, "tenants")

    assert [(chunk.key, chunk.points) for chunk in manifest.chunks] == [("eu", 40), (7, 40)]
    assert content_in(manifest) == content_of(points(40), points(40))
    assert [key.key for key in manifest.keys] == ["eu", 7, "empty"]


@pytest.mark.parametrize("shards", [1, 6])
async def test_an_empty_collection_is_an_export_without_chunks(ground: Ground, shards: int) -> None:
    """Its settings are worth keeping."""
    ground.cluster.create("empty", shard_number=shards)

    manifest = await exported(ground, "empty")

    assert (manifest.points, manifest.chunks, manifest.state) == (0, (), SetState.COMPLETE)
    assert manifest.settled


# --- what is refused -------------------------------------------------------------------------------


async def test_an_alias_is_refused(ground: Ground) -> None:
    """It may show something else tomorrow."""
    ground.cluster.world.change_aliases(
        [{"create_alias": {"collection_name": "docs", "alias_name": "current"}}]
    )

    with pytest.raises(JobRefused, match="alias of docs"):
        await exported(ground, "current")


async def test_what_is_not_there_is_no_export(ground: Ground) -> None:
    """Nothing is stored of it."""
    with pytest.raises(JobError, match="no collection gone"):
        await exported(ground, "gone")
    assert ground.store.objects == {}


async def test_vectors_that_an_import_would_change_are_refused_unless_that_was_said(ground: Ground) -> None:
    """They drift at each round trip; a snapshot keeps them."""
    ground.cluster.create("tiny", points(5), vectors={"size": 4, "distance": "Dot", "datatype": "turbo4"})

    with pytest.raises(JobRefused, match="snapshot instead"):
        await exported(ground, "tiny")

    manifest = await exported(ground, "tiny", allow_lossy=True)
    assert manifest.export is not None
    assert "turbo" in manifest.export.losses[0]


async def test_points_with_numbers_that_json_has_not_are_counted(ground: Ground) -> None:
    """An import cannot write them again."""
    ground.cluster.create("odd", points(3))
    ground.cluster.world.upsert("odd", {7: [[None, 1.0, 1.0, 1.0], {}]})

    manifest = await exported(ground, "odd")

    assert manifest.export is not None
    assert manifest.export.not_finite == 1
    assert manifest.export.losses[0].startswith("1 points")


async def test_a_key_that_may_not_read_is_denied(ground: Ground) -> None:
    """By the first answer."""
    ground.cluster.knobs.api_key = "secret"

    with pytest.raises(JobDenied):
        await exported(ground)


# --- peers -----------------------------------------------------------------------------------------


async def test_a_shard_without_a_whole_replica_is_no_export(ground: Ground) -> None:
    """A shard that did not load says green and 0 points."""
    for peer in range(3):
        if ground.cluster.ids[peer] in ground.cluster.world.named("docs").shards[0].replicas:
            ground.cluster.replica("docs", 0, peer).loaded = False

    with pytest.raises(JobError, match="shard 0 of docs has no replica"):
        await exported(ground)


async def test_a_peer_with_a_shard_that_did_not_load_is_not_read_from(ground: Ground) -> None:
    """Others have it whole."""
    held = ground.cluster.points("docs")
    ground.cluster.replica("docs", 0, 0).loaded = False

    manifest = await exported(ground)

    assert content_in(manifest) == content_of(held)
    assert not any(SCROLL in line for line in ground.cluster.lines(0))


@pytest.mark.parametrize("shards", [2, 6])
async def test_a_peer_that_dies_midway_is_left_for_another(ground: Ground, shards: int) -> None:
    """From the page that it did not give."""
    ground.cluster.create("many", points(400), shard_number=shards, replication_factor=3)
    pages: list[str] = []
    killing: list[asyncio.Task[None]] = []

    def kill(peer: int, method: str, path: str) -> None:
        if path.endswith(("/points/scroll", "/points")) and peer == 0:
            pages.append(path)
            if len(pages) == 2:
                killing.append(asyncio.create_task(ground.cluster.kill(0)))

    ground.cluster.knobs.on_request = kill

    manifest = await exported(ground, "many")

    assert content_in(manifest) == content_of(points(400))
    assert len(pages) >= 2
    assert manifest.state is SetState.DEGRADED
    assert any("no answer of a" in problem for problem in manifest.problems)


async def test_a_peer_that_says_too_many_is_waited_for(ground: Ground) -> None:
    """As long as it says."""
    ground.cluster.knobs.fail("POST", SCROLL, 429, times=3, headers={"Retry-After": "0.01"})

    assert (await exported(ground)).points == 300


async def test_a_peer_that_never_stops_saying_so_fails_the_export(ground: Ground) -> None:
    """What is stored stays for the next run."""
    ground.cluster.knobs.fail("POST", SCROLL, 429, times=100, after=1, headers={"Retry-After": "0"})

    with pytest.raises(JobError, match="cannot be read"):
        await exported(ground, chunk_bytes=SMALL_CHUNK)
    (record,) = await ground.shelf.exports()
    assert record.chunks


@pytest.mark.parametrize("status", [400, 408, 500])
async def test_a_page_that_is_refused_is_asked_for_again(ground: Ground, status: int) -> None:
    """In halves where it may be too large, of another peer where that may help."""
    ground.cluster.knobs.fail("POST", SCROLL, status, times=2, after=1)

    manifest = await exported(ground)

    assert content_in(manifest) == content_of(points(300))


async def test_a_page_refused_as_too_large_by_rule_stays_so_small(ground: Ground) -> None:
    """Strict mode has a largest limit: a larger page need not be tried again."""
    limits: list[int] = []

    def strict(peer: int, method: str, path: str) -> None:
        if ground.cluster.requests[-1].path.endswith(SCROLL):
            limits.append(ground.cluster.requests[-1].body["limit"])
            if limits[-1] > 20:
                ground.cluster.knobs.fail("POST", SCROLL, 400, peer=peer)

    ground.cluster.knobs.on_request = strict

    manifest = await exported(ground)

    assert manifest.points == 300
    assert limits[:3] == [64, 32, 16]
    assert set(limits[3:]) == {16}


async def test_a_page_that_no_peer_gives_fails_the_export(ground: Ground) -> None:
    """It is never left out."""
    ground.cluster.knobs.fail("POST", SCROLL, 500, times=100, after=1)

    with pytest.raises(JobError, match="made to fail"):
        await exported(ground)
    assert await ground.sets() == []


async def test_a_collection_deleted_midway_fails_the_export(ground: Ground) -> None:
    """And the next run has nothing to go on with."""

    def delete(peer: int, method: str, path: str) -> None:
        if path.endswith(SCROLL):
            ground.cluster.world.delete("docs")

    ground.cluster.knobs.on_request = delete

    with pytest.raises(JobError, match="deleted"):
        await exported(ground)


@pytest.mark.parametrize("at_end", [True, False])
async def test_a_collection_made_anew_midway_is_begun_anew(ground: Ground, *, at_end: bool) -> None:
    """By its uuid: points of two collections never make a set."""
    looks = []

    def recreate(peer: int, method: str, path: str) -> None:
        if path.endswith(SCROLL):
            looks.append(path)
            if len(looks) == (1 if at_end else 2):
                ground.cluster.recreate("docs", points(500))

    ground.cluster.knobs.on_request = recreate
    with pytest.raises(JobError, match="made anew"):
        await exported(ground, chunk_bytes=SMALL_CHUNK)
    ground.cluster.knobs.on_request = None
    (record,) = await ground.shelf.exports()

    manifest = await exported(ground, chunk_bytes=SMALL_CHUNK)

    assert manifest.id != record.id
    assert content_in(manifest) == content_of(points(500))
    assert leftovers(ground, manifest) == []


async def test_a_collection_made_anew_midway_is_seen_where_no_uuid_is_told() -> None:
    """A server without a cluster tells none, and counts operations anew."""
    async with ground_of(SnapshotCluster(standalone=True)) as ground:
        ground.cluster.create("docs", points(300))
        for _ in range(3):
            ground.cluster.world.upsert("docs", points(300))
        looks = []

        def recreate(peer: int, method: str, path: str) -> None:
            if path.endswith(SCROLL):
                looks.append(path)
                if len(looks) == 2:
                    ground.cluster.recreate("docs", points(300))

        ground.cluster.knobs.on_request = recreate
        with pytest.raises(JobError, match="made anew"):
            await exported(ground, chunk_bytes=SMALL_CHUNK)

        assert await ground.sets() == []


async def test_points_that_a_scroll_leaves_out_make_a_set_incomplete(ground: Ground) -> None:
    """Nobody wrote, and fewer came than are counted."""
    original = ground.cluster.world.read

    def short(name: str, peer: int, key: Any = None) -> Points:
        return dict(list(original(name, peer, key).items())[:-3])

    ground.cluster.world.read = short  # type: ignore[method-assign]

    with pytest.raises(SetIncomplete, match="297 points were read, and the server counts 300") as caught:
        await exported(ground)

    assert caught.value.manifest.state is SetState.INCOMPLETE
    assert not (await ground.sets())[0].counts
    assert await ground.shelf.exports() == []


# --- kills -----------------------------------------------------------------------------------------


class Steps:
    """Cancels a task at a step: a call to the store, or a request to a peer."""

    def __init__(self, ground: Ground) -> None:
        self.made = 0
        self.last = 0
        self._ground = ground
        self._called = ground.store.called
        ground.store.called = self._call  # type: ignore[method-assign]
        ground.cluster.knobs.on_request = lambda peer, method, path: self._step()

    async def run(self, last: int) -> bool:
        """Export until a step, and return whether it was cut off there."""
        self.made, self.last = 0, last
        self._task = asyncio.create_task(exported(self._ground, chunk_bytes=SMALL_CHUNK))
        await asyncio.wait([self._task])
        self.last = 0
        if self._task.cancelled():
            return True
        self._task.result()
        return False

    async def _call(self, what: str, path: str) -> None:
        await self._called(what, path)
        self._step()

    def _step(self) -> None:
        self.made += 1
        if self.made == self.last:
            self._task.cancel()


@pytest.mark.parametrize("shards", [1, 3])
async def test_an_export_cut_off_at_any_step_goes_on_to_the_same_end(shards: int) -> None:
    """Cut off at the first step, then at the second, and so on: what is stored once stays."""
    async with ground_of(SnapshotCluster(standalone=True)) as ground:
        ground.cluster.create("docs", points(500), shard_number=shards)
        steps = Steps(ground)

        last, was_cut = 0, True
        while was_cut:
            last += 1
            was_cut = await steps.run(last)
            for found in await ground.sets():
                assert found.manifest.points == 500
            if was_cut and await ground.sets():
                break

        await exported(ground, chunk_bytes=SMALL_CHUNK)
        for found in await ground.sets():
            assert content_in(found.manifest) == content_of(points(500))
            assert len(await points_of(ground, found.manifest)) == 500
        assert last > 10
        assert await ground.shelf.exports() == []


async def test_an_export_cut_off_once_anywhere_ends_as_one_that_was_not() -> None:
    """Each step by itself, with a whole run behind it."""
    last, was_cut = 0, True
    async with ground_of(SnapshotCluster(standalone=True)) as ground:
        ground.cluster.create("docs", points(100))
        steps = Steps(ground)
        while was_cut:
            last += 1
            ground.store.objects.clear()
            ground.shelf = type(ground.shelf)(ground.store, ground.clock)
            was_cut = await steps.run(last)
            if not await ground.sets():
                await exported(ground, chunk_bytes=SMALL_CHUNK)

            (found,) = await ground.sets()
            assert content_in(found.manifest) == content_of(points(100))
            if not was_cut:
                assert leftovers(ground, found.manifest) == []
    assert last > 20


async def cut_off(ground: Ground, **changed: Any) -> Any:
    """Begin an export that fails after its first pages, and return its record."""
    ground.cluster.knobs.fail("POST", SCROLL, 500, times=100, after=1)
    with pytest.raises(JobError):
        await exported(ground, chunk_bytes=SMALL_CHUNK, **changed)
    ground.cluster.knobs.failures.clear()
    (record,) = await ground.shelf.exports()
    assert record.chunks
    return record


async def test_an_export_goes_on_behind_its_last_chunk(ground: Ground) -> None:
    """Nothing is read twice."""
    record = await cut_off(ground)
    before = len(ground.cluster.requests)

    manifest = await exported(ground, chunk_bytes=SMALL_CHUNK)

    scrolls = [seen for seen in ground.cluster.requests[before:] if seen.path.endswith(SCROLL)]
    assert manifest.id == record.id
    assert manifest.started_at == record.opened_at
    assert manifest.chunks[: len(record.chunks)] == record.chunks
    assert scrolls[0].body["offset"] == record.chunks[-1].last + 1
    assert content_in(manifest) == content_of(points(300))


async def test_who_wrote_between_two_runs_of_an_export_makes_it_fuzzy(ground: Ground) -> None:
    """It is about all the time since the first point was read."""
    await cut_off(ground)
    ground.cluster.world.upsert("docs", points(1))

    manifest = await exported(ground, chunk_bytes=SMALL_CHUNK)

    assert manifest.export is not None
    assert manifest.export.consistency is Consistency.FUZZY


async def test_a_chunk_that_is_in_no_record_is_deleted_and_its_name_not_used_again(ground: Ground) -> None:
    """It was stored, and then the process was killed."""
    record = await cut_off(ground)
    place = layout.place("prod", "docs", record.id)
    stray = place.file(layout.chunk_file(0, len(record.chunks), Encoding.MSGPACK))
    ground.store.keep(stray, b"half")

    manifest = await exported(ground, chunk_bytes=SMALL_CHUNK)

    assert stray not in ground.store.objects
    assert content_in(manifest) == content_of(points(300))
    assert leftovers(ground, manifest) == []


@pytest.mark.parametrize(
    "change", ["a lost chunk", "another size", "a day", "other vectors", "another encoding"]
)
async def test_an_export_that_cannot_go_on_is_begun_anew(ground: Ground, change: str) -> None:
    """Where its chunks are not as they were, and where it is too old; another encoding is another export."""
    record = await cut_off(ground)
    path = layout.place("prod", "docs", record.id).file(record.chunks[0].file)
    changed: dict[str, Any] = {}
    if change == "a lost chunk":
        del ground.store.objects[path]
    elif change == "another size":
        ground.store.objects[path] += b"!"
    elif change == "a day":
        old = replace(record, changed_at=ground.clock.now() - RESUMED_SECONDS - 1)
        ground.store.keep(layout.export_path(record.id), encoded(old))
    elif change == "other vectors":
        ground.cluster.world.named("docs").config["params"]["vectors"]["size"] = 5
    else:
        changed["encoding"] = Encoding.JSONL

    manifest = await exported(ground, chunk_bytes=SMALL_CHUNK, **changed)

    assert manifest.id != record.id
    assert content_in(manifest) == content_of(points(300))
    assert [one.id for one in await ground.shelf.exports()] == ([record.id] if changed else [])
    if not changed:
        assert leftovers(ground, manifest) == []


def encoded(record: ExportRecord) -> bytes:
    """Return a record as it is stored."""
    return encode_document(record)


# --- the store -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["write", "publish", "put"])
async def test_a_store_that_fails_ends_an_export_that_goes_on_later(ground: Ground, what: str) -> None:
    """A full disk is told as one."""
    ground.store.fail(what, "0000-000001" if what != "put" else "exports/", lambda: StoreFull("no room"))

    with pytest.raises(StoreFull):
        await exported(ground, chunk_bytes=SMALL_CHUNK)

    assert content_in(await exported(ground, chunk_bytes=SMALL_CHUNK)) == content_of(points(300))


async def test_a_store_that_lost_a_chunk_meanwhile_gets_no_manifest(ground: Ground) -> None:
    """What it lay on was taken away, or emptied."""

    def lose(peer: int, method: str, path: str) -> None:
        for stored in [name for name in ground.store.objects if name.endswith("0000-000000.points")]:
            del ground.store.objects[stored]

    ground.cluster.knobs.on_request = lose

    with pytest.raises(StoreError, match="lost a chunk"):
        await exported(ground, chunk_bytes=SMALL_CHUNK)
    assert await ground.sets() == []
