"""A set proven level by level: what is found at which, and what is no word about the set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from exporter.backup.archive.engine import Engine, EngineCannot
from exporter.backup.archive.walk import BadArchive
from exporter.backup.shelf import place_of
from exporter.backup.verifying.findings import Findings
from exporter.backup.words import Level, Proof, SetState, StoredSet
from exporter.clock import SystemClock
from exporter.errors import JobError, StoreDenied, StoreError
from tests.unit.backup.archive.tars import real_archive, walked
from tests.unit.backup.verifying.real_set import POINTS, RealSet

pytest.importorskip("qdrant_edge")
BELOW_OPENED = [Level.LISTED, Level.SIZED, Level.HASHED]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine that unpacks where the test can see it."""
    return Engine(clock=SystemClock(), folder=tmp_path)


@dataclass(slots=True)
class FakeServer:
    """Stands for a restore to a server."""

    asked: list[str] = field(default_factory=list)

    async def prove(self, stored: StoredSet) -> Findings:
        self.asked.append(stored.manifest.id)
        return Findings("server q:6333", (), {"2": 300, "3": 155, "4": 145}, None)


async def proof_of(made: RealSet, level: Level) -> Proof:
    """Prove a set."""
    return await (await made.verifier()).prove(made.stored, level)


@pytest.mark.parametrize("level", BELOW_OPENED)
async def test_a_good_set_is_good_without_opening_anything(level: Level) -> None:
    """Up to the hashes the store is enough."""
    proof = await proof_of(RealSet(engine=None), level)

    assert (proof.good, proof.problems, proof.by, proof.level) == (True, (), "", level)
    assert (proof.points, proof.content) == ({}, None)


@pytest.mark.parametrize("level", [Level.OPENED, Level.RESTORED])
async def test_the_engine_opens_a_good_set(engine: Engine, tmp_path: Path, level: Level) -> None:
    """It counts each shard; at the highest level it reads them whole. Nothing is left in its folder."""
    proof = await proof_of(RealSet(engine=engine), level)

    assert (proof.good, proof.problems, proof.by) == (True, (), "engine")
    assert proof.points == {str(shard): points for shard, points in POINTS.items()}
    assert (proof.content is not None) is (level is Level.RESTORED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("level", list(Level))
async def test_a_missing_archive_is_found_at_every_level(engine: Engine, level: Level) -> None:
    """Also that of a peer whose shards all lie elsewhere: the set is not what it says."""
    made = RealSet(engine=engine)
    del made.store.objects[made.path("a")]

    proof = await proof_of(made, level)

    assert proof.problems == ("a.snapshot is missing",)


async def test_a_truncated_archive_is_found_by_its_size(engine: Engine) -> None:
    """The store tells it without reading; being listed says nothing of it."""
    made = RealSet(engine=engine)
    made.store.keep(made.path("b"), made.store.objects[made.path("b")][:-1_024])

    listed, sized = await proof_of(made, Level.LISTED), await proof_of(made, Level.SIZED)

    assert listed.good
    assert sized.problems == ("b.snapshot has 242,688 bytes, and the manifest says 243,712",)


@pytest.mark.parametrize("level", [Level.HASHED, Level.OPENED, Level.RESTORED])
async def test_a_flipped_byte_is_found_by_the_hash(engine: Engine, level: Level) -> None:
    """Wherever it is, and whatever it would have done to the data."""
    made = RealSet(engine=engine)
    made.flip("c", 30_000)

    sized, proof = await proof_of(made, Level.SIZED), await proof_of(made, level)

    assert sized.good
    assert proof.problems == ("c.snapshot is damaged: its SHA-256 is not the manifest's",)


async def test_an_incomplete_set_is_bad_and_says_why(engine: Engine) -> None:
    """It was kept for what there is; nothing of it can be relied on."""
    made = RealSet(engine=engine, state=SetState.INCOMPLETE, problems=("peer b is missing",))

    proof = await proof_of(made.with_shard(3, archive=None), Level.LISTED)

    assert proof.problems == (
        "the set is incomplete: peer b is missing",
        "shard 3 lies in no archive",
    )


async def test_a_manifest_that_points_beside_the_shards_is_found_by_the_walk(engine: Engine) -> None:
    """The archive is as it was, the manifest is not."""
    made = RealSet(engine=engine)
    (archive, *others) = made.stored.manifest.archives
    moved = replace(archive, shards=(replace(archive.shards[0], offset=archive.shards[0].offset - 512),))
    made.stored = replace(made.stored, manifest=replace(made.stored.manifest, archives=(moved, *others)))

    hashed, opened = await proof_of(made, Level.HASHED), await proof_of(made, Level.OPENED)

    assert hashed.good
    assert opened.problems == ("a.snapshot does not hold its shards where the manifest says",)


async def test_a_wrong_count_is_found_once_it_is_opened(engine: Engine) -> None:
    """Hashes prove that nothing changed since, not that it was right."""
    made = RealSet(engine=engine).with_shard(3, points=156)

    proof = await proof_of(made, Level.OPENED)

    assert proof.problems == ("shard 3 in c.snapshot holds 155 points, and the manifest says 156",)


@pytest.mark.parametrize(("low", "high", "good"), [(150, 160, True), (160, 150, True), (156, 170, False)])
async def test_where_somebody_wrote_the_count_lies_between_before_and_after(
    engine: Engine, low: int, high: int, good: bool
) -> None:
    """Nobody knows more of it; points may have become fewer."""
    made = RealSet(engine=engine).with_shard(
        3, points=None, settled=False, points_before=low, points_after=high
    )

    proof = await proof_of(made, Level.OPENED)

    assert proof.good is good


async def test_a_missing_payload_index_is_found_at_the_highest_level(engine: Engine) -> None:
    """Searches that were fast would be slow, or refused."""
    made = RealSet(engine=engine, payload_schema={"n": {"data_type": "integer", "points": 600}})

    opened, restored = await proof_of(made, Level.OPENED), await proof_of(made, Level.RESTORED)

    assert opened.good
    assert restored.problems == tuple(
        f"shard {shard} in {file} lacks the payload index of n"
        for shard, file in ((4, "a.snapshot"), (2, "b.snapshot"), (3, "c.snapshot"))
    )


async def test_a_content_other_than_that_of_an_earlier_proof_is_found(engine: Engine) -> None:
    """Of the same set it can never change; a proof of another format says nothing."""
    made = RealSet(engine=engine)
    first = await proof_of(made, Level.RESTORED)
    assert first.content is not None

    again = replace(made.stored, proofs=(first,))
    other = replace(made.stored, proofs=(replace(first, content=f"c1:{1:032x}:{1:032x}"),))
    older = replace(made.stored, proofs=(replace(first, content="c0:1:1"),))
    verifier = await made.verifier()

    assert (await verifier.prove(again, Level.RESTORED)).good
    assert (await verifier.prove(older, Level.RESTORED)).good
    assert (await verifier.prove(other, Level.RESTORED)).problems == (
        "ids or payloads are not those that an earlier proof of this set found",
    )


async def test_a_shard_that_the_engine_does_not_open_is_bad(engine: Engine) -> None:
    """The others are looked at all the same."""
    made = RealSet(engine=engine)
    data = bytearray(real_archive("one_shard_of_three"))
    at = next(one for one in walked(bytes(data)).members if one.name.startswith("4/segments/")).data_offset
    data[at : at + 512] = b"\xff" * 512
    made.rewrite("a", bytes(data))

    proof = await proof_of(made, Level.OPENED)

    (problem,) = proof.problems
    assert problem.startswith("shard 4 in a.snapshot: the engine does not open it")
    assert proof.points == {"2": 300, "3": 155}


async def test_what_is_too_old_for_the_engine_is_restored_to_a_server(engine: Engine) -> None:
    """Before the first archive is unpacked."""
    made = RealSet(engine=engine)
    old = tuple(replace(one, version="1.12.6") for one in made.stored.manifest.archives)
    made.stored = replace(made.stored, manifest=replace(made.stored.manifest, archives=old))
    server = FakeServer()

    proof = await (await made.verifier(served=server)).prove(made.stored, Level.RESTORED)

    assert (proof.good, proof.by) == (True, "server q:6333")
    assert server.asked == [made.stored.manifest.id]


async def test_with_neither_engine_nor_server_nothing_is_proven() -> None:
    """That is no bad set: it says what is missing."""
    made = RealSet(engine=None)

    with pytest.raises(EngineCannot, match=r"set backup\.verify\.target"):
        await proof_of(made, Level.OPENED)


@pytest.mark.parametrize("method", ["size", "read"])
async def test_a_store_that_refuses_is_no_bad_set(method: str) -> None:
    """Who cannot look knows nothing."""
    made = RealSet(engine=None)
    verifier = await made.verifier()
    made.store.fail(method, "b.snapshot", lambda: StoreDenied("no"))

    with pytest.raises(StoreError):
        await verifier.prove(made.stored, Level.HASHED)


async def test_a_set_that_was_removed_meanwhile_is_no_bad_set() -> None:
    """It was pruned; a proof would be written beside nothing."""
    made = RealSet(engine=None)
    verifier = await made.verifier()
    await made.shelf.remove(made.stored.manifest)

    with pytest.raises(JobError, match="removed while it was verified"):
        await verifier.prove(made.stored, Level.SIZED)


async def test_a_shard_is_counted_for_a_backup_under_way(engine: Engine) -> None:
    """By its path, its stretch and the version that wrote it."""
    made = RealSet(engine=engine)
    verifier = await made.verifier()
    (archive, *_) = made.stored.manifest.archives

    assert await verifier.count(made.path("a"), archive.shards[0], "1.18.3") == 145
    assert await verifier.count(made.path("a"), archive.shards[0], "1.12.6") is None
    made.flip("a", archive.shards[0].offset)
    with pytest.raises(BadArchive):
        await verifier.count(made.path("a"), archive.shards[0], "1.18.3")


async def test_without_an_engine_nothing_is_counted() -> None:
    """A backup goes on without."""
    made = RealSet(engine=None)
    (archive, *_) = made.stored.manifest.archives

    assert await (await made.verifier()).count(made.path("a"), archive.shards[0], "1.18.3") is None


async def test_a_proof_can_be_kept_beside_the_manifest(engine: Engine) -> None:
    """What it says comes back as it was."""
    made = RealSet(engine=engine)
    verifier = await made.verifier()
    proof = await verifier.prove(made.stored, Level.RESTORED)

    await made.shelf.save_proof(made.stored.manifest, proof)

    assert place_of(made.stored.manifest).proof(Level.RESTORED) in made.store.objects
    assert (await made.shelf.find(made.stored.manifest.id)).proven(Level.RESTORED) == proof
