"""An export proven by importing it to a server: compared, searched, and taken away again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from exporter.backup.content import total
from exporter.backup.exporting.taking import export
from exporter.backup.restoring.plan import default_target
from exporter.backup.shelf import place_of
from exporter.backup.verifying.levels import Verifier
from exporter.backup.verifying.served import Served, served_on
from exporter.backup.words import Encoding, Level, StoredSet
from exporter.errors import JobError, JobRefused
from tests.kit.patience import LoopClock
from tests.kit.snapshot_cluster import points
from tests.unit.backup.importing.kit import CLUSTER, LIMITS, SET_ID, Ground, ground

TARGET = default_target("docs", SET_ID, scratch=True)


def server(here: Ground, **more: Any) -> Served:
    """Make what proves on this cluster."""
    return served_on(
        here.peers, cluster=CLUSTER, shelf=here.shelf, clock=LoopClock(), limits=LIMITS.target, **more
    )


def verifier(here: Ground) -> Verifier:
    """Make what proves with the help of this cluster."""
    return Verifier(shelf=here.shelf, clock=LoopClock(), served=server(here))


def content_of(kept: StoredSet) -> str:
    """Return the content of all chunks."""
    return total([chunk.content for chunk in kept.manifest.chunks])


async def is_clean(here: Ground) -> bool:
    """Nothing of the verification is left, on the servers or in the store."""
    left = set(here.cluster.world.collections)
    return left <= {"docs"} and await here.shelf.restores() == [] and await here.shelf.thresholds() == []


async def test_a_good_export_is_imported_compared_and_removed() -> None:
    """By the server's own count and content; the proof has them, and who gave it."""
    async with ground() as here:
        here.cluster.create("docs", points(100), shard_number=2, replication_factor=2)
        kept = await here.exported("docs")

        proof = await verifier(here).prove(kept, Level.RESTORED)

        assert (proof.good, proof.problems, proof.by) == (True, (), "server a")
        assert proof.points == {"all": 100}
        assert proof.content == content_of(kept)
        assert await is_clean(here)
        searched = [seen for seen in here.cluster.requests if seen.path.endswith(f"{TARGET}/points/query")]
        assert searched


async def test_a_point_that_lies_under_two_keys_is_proven_under_both() -> None:
    """Each key is made, loaded and searched by itself."""
    async with ground() as here:
        here.cluster.create("docs", sharding_method="custom")
        here.cluster.create_keys("docs", {"x": points(30), "y": points(20)})
        kept = await here.exported("docs")

        proof = await verifier(here).prove(kept, Level.RESTORED)

        assert proof.problems == ()
        assert proof.points == {'"x"': 30, '"y"': 20}
        assert await is_clean(here)


async def test_what_the_server_holds_otherwise_than_the_export_is_bad() -> None:
    """Here by a point that somebody writes before it is read back; all goes all the same."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.exported("docs")

        def write(_: int, method: str, path: str) -> None:
            if path.endswith(f"{TARGET}/points/scroll"):
                for shard in here.cluster.world.named(TARGET).shards.values():
                    for replica in shard.replicas.values():
                        replica.points.update(
                            {one: (vector, {"other": True}) for one, (vector, _) in replica.points.items()}
                        )

        here.cluster.knobs.on_request = write

        proof = await verifier(here).prove(kept, Level.RESTORED)

        (problem,) = proof.problems
        assert problem == "the payload of point 0 is another than was exported"
        assert proof.content == content_of(kept)
        assert await is_clean(here)


async def test_a_damaged_chunk_is_found_before_anything_is_imported() -> None:
    """A server is not asked for what reading alone tells."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.exported("docs")
        path = place_of(kept.manifest).file(kept.manifest.chunks[1].file)
        here.store.keep(path, here.store.objects[path][:-1] + b"x")
        here.cluster.requests.clear()

        proof = await verifier(here).prove(kept, Level.RESTORED)

        assert not proof.good
        assert here.cluster.requests == []


async def test_a_server_that_fails_says_nothing_of_the_export() -> None:
    """It is tried again another time; what was imported goes."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.exported("docs")
        here.cluster.knobs.fail("POST", f"{TARGET}/points/scroll", status=500, times=100)

        with pytest.raises(JobError):
            await verifier(here).prove(kept, Level.RESTORED)

        assert await is_clean(here)


async def test_a_verification_of_an_export_that_is_given_up_takes_its_target_away() -> None:
    """A run is cancelled where the daemon stops."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.exported("docs")
        proving = asyncio.ensure_future(server(here).prove(kept))

        def stop(_: int, method: str, path: str) -> None:
            if path.endswith(f"{TARGET}/points"):
                proving.cancel()

        here.cluster.knobs.on_request = stop

        with pytest.raises(asyncio.CancelledError):
            await proving
        assert await is_clean(here)


async def test_an_export_above_the_limit_is_not_begun() -> None:
    """Imported beside the original it takes its disk and memory."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.exported("docs")
        here.cluster.requests.clear()

        with pytest.raises(JobRefused, match="same_cluster_limit"):
            await server(here, limit_bytes=kept.manifest.size_bytes - 1).prove(kept)

        assert here.cluster.requests == []


async def test_an_earlier_bad_proof_of_an_export_is_no_reason_not_to_look_again() -> None:
    """A person's import would refuse the set; a proof is how it becomes good again."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.exported("docs")
        good = await verifier(here).prove(kept, Level.OPENED)
        bad = replace(good, good=False, problems=("it was unreadable",))

        again = await verifier(here).prove(replace(kept, proofs=(bad,)), Level.RESTORED)

        assert again.good


@pytest.mark.parametrize("encoding", list(Encoding))
async def test_what_an_export_stored_is_good_at_every_level(encoding: Encoding) -> None:
    """From the servers to the chunks and back, with keys of which one has no point."""
    async with ground() as here:
        here.cluster.create("docs", sharding_method="custom")
        here.cluster.create_keys("docs", {"x": points(30), "y": points(70), "z": {}})
        await export(
            "docs", cluster="prod", peers=here.peers, shelf=here.shelf, clock=LoopClock(), encoding=encoding,
            limits=LIMITS.target.calls, chunk_bytes=1_000,
        )  # fmt: skip
        (kept,) = await here.shelf.sets()

        proofs = [await verifier(here).prove(kept, level) for level in Level]

        assert [(proof.good, proof.problems) for proof in proofs] == [(True, ())] * len(Level)
        assert proofs[3].points == proofs[4].points == {'"x"': 30, '"y"': 70}
        assert await is_clean(here)
