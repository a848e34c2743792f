"""A set proven by restoring it to a server: read there, compared, and taken away again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from exporter.backup.content import ContentHash
from exporter.backup.restoring.plan import default_target
from exporter.backup.verifying.levels import Verifier
from exporter.backup.verifying.served import PAGE_POINTS, Served, served_on
from exporter.backup.words import Level
from exporter.errors import JobError, JobRefused
from tests.kit.patience import LoopClock
from tests.kit.snapshot_cluster import points
from tests.unit.backup.restoring.kit import SET_ID, Ground, ground

TARGET = default_target("docs", SET_ID, scratch=True)
MANY = PAGE_POINTS + 40  # more than one page


def server(here: Ground, **more: Any) -> Served:
    """Make what proves on this cluster."""
    return served_on(here.peers, cluster="prod", shelf=here.shelf, clock=LoopClock(), **more)


def content_of(here: Ground, name: str = "docs") -> str:
    """Return the content of what the cluster holds of a collection, shard by shard."""
    content = ContentHash()
    for shard in here.cluster.world.named(name).shards.values():
        replica = next(iter(shard.replicas.values()))
        for point_id, (vector, payload) in replica.points.items():
            content.add(point_id, payload, vector)
    return str(content)


async def is_clean(here: Ground) -> bool:
    """Nothing of the verification is left, on the servers or in the store."""
    return set(here.cluster.world.collections) == {"docs"} and await here.shelf.restores() == []


async def test_a_good_set_has_the_content_that_was_backed_up() -> None:
    """Every point was read, page by page; nothing of it is left."""
    async with ground() as here:
        here.cluster.create("docs", points(MANY), shard_number=2, replication_factor=2)
        kept = await here.stored("docs")

        found = await server(here).prove(kept)

        assert found.problems == ()
        assert found.content == content_of(here)
        assert sum(found.points.values()) == MANY
        assert found.by == "server a"
        assert await is_clean(here)


async def test_a_point_that_lies_under_two_keys_is_read_under_both() -> None:
    """A scroll over all keys would show its id once."""
    async with ground() as here:
        here.cluster.create("docs", sharding_method="custom")
        here.cluster.create_keys("docs", {"x": points(30), "y": points(30)})
        kept = await here.stored("docs")

        found = await server(here).prove(kept)

        assert found.problems == ()
        assert found.content == content_of(here)
        assert sum(found.points.values()) == 60


async def test_the_levels_go_to_the_server_where_there_is_no_engine() -> None:
    """And the proof says who gave it."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=1)
        kept = await here.stored("docs")
        verifier = Verifier(shelf=here.shelf, clock=LoopClock(), served=server(here))

        proof = await verifier.prove(kept, Level.RESTORED)

        assert (proof.good, proof.by, proof.points) == (True, "server a", {"0": 60})


async def test_an_archive_with_other_points_than_the_manifest_says_is_bad() -> None:
    """The restore is held against the manifest; what was restored goes all the same."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=1)
        kept = await here.stored("docs")
        shards = tuple(replace(copy, points=61) for copy in kept.manifest.shards)
        wrong = replace(kept, manifest=replace(kept.manifest, shards=shards))

        found = await server(here).prove(wrong)

        assert len(found.problems) == 1
        assert "60" in found.problems[0]
        assert await is_clean(here)


async def test_strict_mode_of_the_original_does_not_stand_in_the_way() -> None:
    """Its limits are for users: a page of ours may be larger than they may ask for."""
    async with ground() as here:
        strict = {"enabled": True, "max_query_limit": 10, "search_allow_exact": False}
        here.cluster.create("docs", points(60), strict_mode_config=strict)
        kept = await here.stored("docs")

        found = await server(here).prove(kept)

        assert found.problems == ()
        patches = [seen.body for seen in here.cluster.requests if seen.method == "PATCH"]
        assert {"strict_mode_config": {"enabled": False}} in patches


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones() -> None:
    """Points with many large vectors can be more than any answer may be."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        here.cluster.knobs.fail("POST", f"{TARGET}/points/scroll", status=200, times=2, text="cut off {")

        found = await server(here).prove(kept)

        assert found.content == content_of(here)


async def test_a_set_above_the_limit_is_not_begun() -> None:
    """Restored beside the original it takes its disk and memory."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        here.cluster.requests.clear()

        with pytest.raises(JobRefused, match="same_cluster_limit"):
            await server(here, limit_bytes=kept.manifest.size_bytes - 1).prove(kept)

        assert here.cluster.requests == []


async def test_a_collection_of_somebody_else_under_that_name_stays() -> None:
    """Nothing is written to it, and nothing is removed."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        here.cluster.create(TARGET, points(3))

        with pytest.raises(JobRefused):
            await server(here).prove(kept)

        assert len(next(iter(here.cluster.world.named(TARGET).shards.values())).replicas) > 0


async def test_a_server_that_fails_says_nothing_of_the_set() -> None:
    """It is tried again another time; what was restored goes."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        here.cluster.knobs.fail("POST", f"{TARGET}/points/scroll", status=500, times=100)

        with pytest.raises(JobError, match="could not be read on server a"):
            await server(here).prove(kept)

        assert await is_clean(here)


async def test_a_verification_that_is_given_up_takes_its_target_away() -> None:
    """A run is cancelled where the daemon stops."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        proving = asyncio.ensure_future(server(here).prove(kept))

        def stop(_: int, method: str, path: str) -> None:
            if path.endswith("/points/scroll"):
                proving.cancel()

        here.cluster.knobs.on_request = stop

        with pytest.raises(asyncio.CancelledError):
            await proving
        assert await is_clean(here)


async def test_the_record_of_a_killed_verification_is_not_in_the_way_of_the_removal() -> None:
    """It was killed between removing its target and its record, on a server that has no id to know again."""
    async with ground(standalone=True) as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        await here.restore(kept, scratch=True)
        here.cluster.world.delete(TARGET)

        found = await server(here).prove(kept)

        assert found.problems == ()
        assert set(here.cluster.world.collections) == {"docs"}


async def test_an_earlier_bad_proof_is_no_reason_not_to_look_again() -> None:
    """A person's restore would refuse the set; a proof is how it becomes good again."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        verifier = Verifier(shelf=here.shelf, clock=LoopClock(), served=server(here))
        good = await verifier.prove(kept, Level.OPENED)
        bad = replace(good, good=False, problems=("it was unreadable",))

        again = await verifier.prove(replace(kept, proofs=(bad,)), Level.OPENED)

        assert again.good
