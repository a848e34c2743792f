"""An export proven level by level: what is found at which."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from exporter.backup import content
from exporter.backup.archive.engine import EngineCannot
from exporter.backup.exporting.vectors import packed
from exporter.backup.verifying.chunks import chunk_problems
from exporter.backup.verifying.findings import Findings
from exporter.backup.words import Chunk, Consistency, Encoding, KeyLayout, Level, Proof, SetState, StoredSet
from exporter.errors import StoreDenied, StoreError, StoreShort
from tests.kit import sets
from tests.unit.backup.verifying.exported_set import FIRST, IDS, OTHER, SECOND, ExportedSet, points

POINTS = {'"x"': 60, "7": 30}


@dataclass(slots=True)
class FakeServer:
    """Stands for an import to a server."""

    problems: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    async def prove(self, stored: StoredSet) -> Findings:
        self.asked.append(stored.manifest.id)
        return Findings("server q:6333", self.problems, content="c1:0:0")


async def proof_of(made: ExportedSet, level: Level) -> Proof:
    """Prove a set, where a server is at hand."""
    return await (await made.verifier(served=FakeServer())).prove(made.stored, level)


async def found(made: ExportedSet, *levels: Level) -> list[bool]:
    """Say at which of these levels the set is good."""
    return [(await proof_of(made, level)).good for level in levels]


@pytest.mark.parametrize("encoding", list(Encoding))
async def test_a_good_export_is_decoded_without_engine_or_server(encoding: Encoding) -> None:
    """Every point is counted, by shard key, and the content is that of all chunks together."""
    made = ExportedSet(encoding)
    verifier = await made.verifier()

    hashed = await verifier.prove(made.stored, Level.HASHED)
    opened = await verifier.prove(made.stored, Level.OPENED)

    assert (hashed.good, hashed.points, hashed.content) == (True, {}, None)
    assert (opened.good, opened.problems, opened.by, opened.points) == (True, (), "", POINTS)
    assert opened.content == content.total([chunk.content for chunk in made.manifest.chunks])


async def test_at_the_highest_level_an_export_is_imported_too() -> None:
    """What the server says is the proof's; the content is that of the chunks, the same at every level."""
    made, good, bad = ExportedSet(), FakeServer(), FakeServer(("it holds other vectors",))

    proven = await (await made.verifier(served=good)).prove(made.stored, Level.RESTORED)
    failed = await (await made.verifier(served=bad)).prove(
        replace(made.stored, proofs=(proven,)), Level.RESTORED
    )

    assert (proven.good, proven.by, proven.points) == (True, "server q:6333", POINTS)
    assert failed.problems == ("it holds other vectors",)
    assert good.asked == bad.asked == [made.manifest.id]
    assert proven.content == failed.content == (await proof_of(made, Level.OPENED)).content


async def test_without_a_server_an_export_is_not_proven_by_an_import() -> None:
    """It says what to configure; no chunk was read for nothing."""
    made = ExportedSet()
    verifier = await made.verifier()
    made.store.calls.clear()

    with pytest.raises(EngineCannot, match=r"proven further by an import: set backup\.verify\.target"):
        await verifier.prove(made.stored, Level.RESTORED)

    assert not [call for call in made.store.calls if call.what == "read"]


@pytest.mark.parametrize("level", list(Level))
async def test_a_missing_chunk_is_found_at_every_level(level: Level) -> None:
    """The set is not what it says."""
    made = ExportedSet()
    del made.store.objects[made.path(SECOND)]

    assert (await proof_of(made, level)).problems == (f"{SECOND} is missing",)


async def test_a_truncated_chunk_is_found_by_its_size() -> None:
    """And as what it is, should the manifest know of it."""
    made, forged = ExportedSet(), ExportedSet()
    made.store.keep(made.path(OTHER), made.data(OTHER)[:-1])
    forged.put(OTHER, forged.data(OTHER)[:-1])

    assert await found(made, Level.LISTED, Level.SIZED) == [True, False]
    assert await found(forged, Level.HASHED, Level.OPENED) == [True, False]
    (problem,) = (await proof_of(forged, Level.OPENED)).problems
    assert "ends too early" in problem


async def test_a_flipped_byte_is_found_by_the_hash_wherever_it_is() -> None:
    """Also at the next level, which reads the chunk only once."""
    made = ExportedSet()
    whole = made.data(FIRST)
    for place in range(0, len(whole), max(1, len(whole) // 12)):
        data = bytearray(whole)
        data[place] ^= 1
        made.store.keep(made.path(FIRST), bytes(data))

        assert await found(made, Level.SIZED, Level.HASHED, Level.OPENED) == [True, False, False]


async def test_two_chunks_in_the_place_of_each_other_are_found() -> None:
    """By their hashes; and by their headers and ids, where the manifest was made to fit."""
    made, forged = ExportedSet(), ExportedSet()
    one, other = made.data(FIRST), made.data(SECOND)
    made.put(FIRST, other)
    made.say(FIRST, sha256=forged.manifest.chunks[0].sha256)
    forged.put(FIRST, other)
    forged.put(SECOND, one)

    assert await found(made, Level.SIZED, Level.HASHED) == [True, False]
    assert await found(forged, Level.HASHED, Level.OPENED) == [True, False]
    assert len((await proof_of(forged, Level.OPENED)).problems) == 2


@pytest.mark.parametrize(
    "header", [{"set": "20270116T080000Z-00000a"}, {"collection": "other"}, {"key": "y"}]
)
async def test_a_chunk_of_another_set_collection_or_key_is_found_when_it_is_read(
    header: dict[str, str],
) -> None:
    """Its hash is right, and so are its points: it says itself whose it is."""
    made = ExportedSet()
    made.write(FIRST, points(IDS[FIRST]), "x", **header)
    made.put(FIRST, made.data(FIRST))

    assert await found(made, Level.HASHED, Level.OPENED) == [True, False]
    (problem,) = (await proof_of(made, Level.OPENED)).problems
    assert "another set, collection or shard key" in problem


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([*range(1, 40)], "holds 39 points, and the manifest says 40"),
        ([1, 3, 2, *range(4, 41)], "do not ascend"),
        ([1, 2, 2, *range(4, 41)], "do not ascend"),
        ([*range(2, 41), 50], "begins or ends at another id"),
    ],
)
async def test_other_ids_than_the_manifest_says_are_found_when_they_are_read(
    ids: list[int], words: str
) -> None:
    """One is missing, twice there, out of order, or none of its own."""
    made = ExportedSet()
    made.write(FIRST, points(ids), "x")
    made.put(FIRST, made.data(FIRST))

    hashed, opened = await proof_of(made, Level.HASHED), await proof_of(made, Level.OPENED)

    assert hashed.good
    (problem,) = opened.problems
    assert words in problem
    assert opened.points == {'"x"': 20, "7": 30}
    assert opened.content is None


async def test_another_payload_or_vector_than_the_manifest_says_is_found_when_it_is_read() -> None:
    """Of one point of ninety, ids and counts as they were."""
    for at, changed in ((0, {"payload": {"n": 7}}), (39, {"vectors": packed([0.0, 0.0, 0.0, 1.0])})):
        made = ExportedSet()
        held = points(IDS[FIRST])
        held[at] = msgspec.structs.replace(held[at], **changed)
        made.write(FIRST, held, "x")
        made.put(FIRST, made.data(FIRST))

        (problem,) = (await proof_of(made, Level.OPENED)).problems

        assert problem.endswith("its points are others than the manifest says")


async def test_a_chunk_that_ends_early_on_the_way_is_bad_and_a_store_that_refuses_is_no_word() -> None:
    """The rest is read all the same; who cannot look knows nothing."""
    made = ExportedSet()
    verifier = await made.verifier()
    for level in (Level.HASHED, Level.OPENED):
        made.store.fail("read", SECOND, lambda: StoreShort("cut off"))
        proof = await verifier.prove(made.stored, level)
        assert proof.problems == (f"{SECOND} cannot be read to its end",)

        made.store.fail("read", SECOND, lambda: StoreDenied("no"))
        with pytest.raises(StoreError):
            await verifier.prove(made.stored, level)


async def test_an_incomplete_export_is_bad_and_says_why() -> None:
    """It was kept for what there is."""
    made = ExportedSet(state=SetState.INCOMPLETE, problems=("points are missing",))

    proof = await proof_of(made, Level.LISTED)

    assert proof.problems == ("the set is incomplete: points are missing",)


A = sets.chunk(file="0000-000000.points", first=1, last=10)
B = sets.chunk(file="0000-000001.points", first=11, last="0" * 31 + "1")
C = sets.chunk(file="0000-000002.points", first="0" * 31 + "2", last="f" * 32)
THIRTY = sets.export(points_before=30, points_after=30)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"chunks": (A, replace(B, file=A.file), C)}, "0000-000000.points is named 2 times"),
        ({"chunks": (B, A, C)}, "ids of 0000-000000.points do not come after those before it"),
        ({"chunks": (A, C, B)}, "ids of 0000-000001.points do not come after those before it"),
        ({"chunks": (A, replace(B, first=10), C)}, "ids of 0000-000001.points do not come"),
        ({"chunks": (A, replace(B, first=12, last=11), C)}, "ids of 0000-000001.points do not come"),
        ({"chunks": (A, replace(B, last="x"), replace(C, key=None, first=50))}, "what is no id"),
        ({"chunks": (A, replace(B, key="x"), C)}, "of a shard key that the manifest does not have"),
        ({"chunks": (replace(A, points=0), B, C)}, "is said to hold no point"),
        ({"chunks": (A, B)}, "the chunks have 20 points, and 30 were counted while nobody wrote"),
        ({"export": replace(THIRTY, points_after=31)}, "have 30 points, and 31 were counted"),
    ],
)
def test_what_a_manifest_says_of_its_chunks_must_fit_together(changed: dict[str, Any], words: str) -> None:
    """Whoever imports by it would load points twice, leave some out, or not know where they belong."""
    made = sets.exported(chunks=(A, B, C), export=THIRTY)

    assert list(chunk_problems(made)) == []
    assert any(words in problem for problem in chunk_problems(replace(made, **changed)))


def test_ids_ascend_within_a_shard_key() -> None:
    """One id may lie under two keys; nothing is said of how chunks of several keys follow each other."""
    keys = (KeyLayout("x", (0,)), KeyLayout(7, (1,)))

    def said(*chunks: Chunk) -> list[str]:
        return list(chunk_problems(sets.exported(chunks=chunks, keys=keys, export=THIRTY)))

    x, y, z = replace(A, key="x"), replace(A, key=7, file=B.file), replace(C, key="x")
    assert said(x, y, z) == []
    assert said(z, y, x) == ["the ids of 0000-000000.points do not come after those before it"]


def test_where_somebody_wrote_the_chunks_hold_what_they_hold() -> None:
    """Counted before and after, points may be more or fewer than were read in between."""
    busy = replace(THIRTY, consistency=Consistency.FUZZY, points_before=5, points_after=None)

    assert list(chunk_problems(sets.exported(chunks=(A, B, C), export=busy))) == []


def test_an_empty_export_is_one() -> None:
    """A collection may have no points, and a shard key none."""
    nothing = sets.export(points_before=0, points_after=0)

    assert list(chunk_problems(sets.exported(chunks=(), export=nothing))) == []
