"""Imports into a scripted cluster: what is there then, what is refused, what stops one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exporter.backup.content import total
from exporter.backup.importing.plan import NO_INDEXING
from exporter.backup.restoring.plan import default_target
from exporter.backup.restoring.settling import NotProven
from exporter.backup.words import RestoreState, SetKind
from exporter.errors import JobError, JobRefused
from tests.kit.snapshot_cluster import points
from tests.unit.backup.importing.kit import LIMITS, SET_ID, ground

TARGET = default_target("docs", SET_ID)
ODD = {
    1: [{"text": [0.5, 1.5]}, {"n": 1, "deep": {"a": [None, 1.5, "ä\n"]}}],
    2**64 - 1: [{"words": {"indices": [3, 2**32 - 1], "values": [0.25, -1.5]}}, {}],
    "00000000-0000-0000-0000-000000000001": [{"rows": [[1.0, 2.0], [3.5, 4.5]]}, {"n": -(2**63)}],
    "ffffffff-ffff-ffff-ffff-ffffffffffff": [{}, {"empty": {}, "list": []}],
}


async def test_an_import_brings_points_settings_indexes_and_an_alias() -> None:
    """Under the default name, with vectors of every shape, none, and ids of both kinds."""
    async with ground() as here:
        vectors = {
            "text": {"size": 2, "distance": "Dot"},
            "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        }
        here.cluster.create("docs", vectors=vectors, sparse_vectors={"words": {}}, shard_number=3)
        here.cluster.world.upsert("docs", ODD)
        here.cluster.world.named("docs").add_index("n", "integer")
        kept = await here.exported("docs", chunk_points=2)

        done = await here.take(kept, switch_alias="live")

        assert here.cluster.points(TARGET) == here.cluster.points("docs")
        assert done.points == 4
        assert done.content == total([chunk.content for chunk in kept.manifest.chunks])
        assert done.thresholds == "put back"
        assert here.cluster.world.aliases == {"live": TARGET}
        assert set(here.cluster.world.named(TARGET).payload_schema) == {"n"}
        assert [record.state for record in await here.shelf.restores()] == [RestoreState.DONE]


async def test_the_target_is_loaded_without_indexing_and_gets_its_threshold_back() -> None:
    """It is 0 while points are sent, with an intent in the store, and what it was in the end."""
    async with ground() as here:
        here.cluster.create("docs", points(90), optimizers_config={"indexing_threshold": 777})
        kept = await here.exported("docs")
        seen: set[tuple[float | None, int]] = set()

        async def look(_: int, method: str, path: str) -> None:
            if method == "PUT" and "/points" in path:
                seen.add((here.threshold(TARGET), len(await here.shelf.thresholds())))

        here.cluster.knobs.on_request = look
        await here.take(kept)

        assert seen == {(NO_INDEXING, 1)}
        assert here.threshold(TARGET) == 777
        assert await here.shelf.thresholds() == []


@pytest.mark.parametrize(("version", "default"), [("1.18.3", 10_000), ("1.12.6", 20_000)])
async def test_a_threshold_that_was_unset_becomes_the_default_of_the_server(
    version: str, default: float
) -> None:
    """No request can unset one."""
    async with ground(version=version) as here:
        here.cluster.create("docs", points(5), optimizers_config={})
        here.cluster.world.named("docs").config["optimizer_config"].pop("indexing_threshold", None)
        kept = await here.exported("docs")

        await here.take(kept)

        assert here.threshold(TARGET) == default


async def test_a_collection_that_is_never_indexed_stays_so() -> None:
    """Its owner set the threshold to 0; nothing is changed, and nothing put back."""
    async with ground() as here:
        here.cluster.create("docs", points(5), optimizers_config={"indexing_threshold": 0})
        kept = await here.exported("docs")

        done = await here.take(kept)

        assert done.thresholds == "unchanged"
        assert here.threshold(TARGET) == 0


async def test_custom_keys_are_made_anew_with_their_shards() -> None:
    """The same id lies under two keys, as another point."""
    async with ground() as here:
        here.cluster.create("docs", sharding_method="custom", replication_factor=2)
        here.cluster.create_keys("docs", {"b": points(50), 7: points(70, start=20)}, shards_number=2)
        kept = await here.exported("docs")

        done = await here.take(kept)

        assert done.points == 120
        world = here.cluster.world
        assert {key: len(ids) for key, ids in world.named(TARGET).keys.items()} == {"b": 2, 7: 2}
        for key in ("b", 7):
            assert world.read(TARGET, here.cluster.ids[0], key) == world.read(
                "docs", here.cluster.ids[0], key
            )


async def test_three_peers_become_one() -> None:
    """More replicas than peers: a warning, and one of each shard."""
    async with ground() as there:
        there.cluster.create("docs", points(60), shard_number=3, replication_factor=3)
        kept = await there.exported("docs")
        async with ground(there.store, standalone=True) as here:
            done = await here.take(kept)

            assert here.cluster.points(TARGET) == points(60)
            assert any("the replication factor is 3; a shard will have 1" in text for text in done.warnings)


async def test_a_server_without_a_cluster_takes_no_custom_keys() -> None:
    """It is refused before anything is made."""
    async with ground() as there:
        there.cluster.create("docs", sharding_method="custom")
        there.cluster.create_keys("docs", {"b": points(5)})
        kept = await there.exported("docs")
        async with ground(there.store, standalone=True) as here:
            with pytest.raises(JobRefused, match="custom shard keys, and a server without cluster mode"):
                await here.take(kept)

            assert here.cluster.world.collections == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "taken"}, "the collection taken exists, with 5 points"),
        ({"target": "docs"}, "docs is the name of the collection itself; say --into docs"),
        ({"target": "other"}, "other is an alias of docs"),
        ({"switch_alias": "taken"}, "taken is the name of a collection, so it can be no alias"),
        ({"target": "a/b"}, "Qdrant makes no collection a/b"),
        ({"free_bytes": {"b": 3}}, "b has 3 bytes free"),
    ],
)
async def test_what_would_do_harm_is_refused(options: dict[str, Any], words: str) -> None:
    """Nothing was sent that writes."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        here.cluster.create("taken", points(5))
        here.cluster.world.aliases["other"] = "docs"
        kept = await here.exported("docs", aliases=())

        with pytest.raises(JobRefused, match=words):
            await here.take(kept, **options)

        assert not [line for line in here.cluster.lines() if not line.startswith("GET")]


async def test_a_snapshot_is_refused_with_the_command_that_restores_it() -> None:
    """With the same wishes."""
    async with ground() as here:
        here.cluster.create("docs", points(5))
        kept = await here.exported("docs")
        kept = replace(kept, manifest=replace(kept.manifest, kind=SetKind.SNAPSHOT))

        with pytest.raises(JobRefused, match=rf"qdrant-exporter backup restore {SET_ID} --into docs$"):
            await here.take(kept, target="docs", into=True)


async def test_a_chunk_that_is_missing_stops_it_before_anything_is_made() -> None:
    """The store lost a file."""
    async with ground() as here:
        here.cluster.create("docs", points(90))
        kept = await here.exported("docs")
        lost = next(path for path in here.store.objects if path.endswith("000001.points"))
        del here.store.objects[lost]

        with pytest.raises(JobError, match=r"0000-000001\.points is missing"):
            await here.take(kept)

        assert set(here.cluster.world.collections) == {"docs"}


async def test_a_chunk_that_is_damaged_ends_it() -> None:
    """A bit of it flipped, and its size stayed the same."""
    async with ground() as here:
        here.cluster.create("docs", points(90))
        kept = await here.exported("docs")
        path = next(path for path in here.store.objects if path.endswith("000001.points"))
        data = bytearray(here.store.objects[path])
        data[-3] ^= 1
        here.store.objects[path] = bytes(data)

        with pytest.raises(JobError, match=r"000001\.points .* is damaged"):
            await here.take(kept)

        assert not here.cluster.world.aliases


async def test_a_server_that_asks_to_wait_is_waited_for() -> None:
    """429, again and again; every point arrives."""
    async with ground() as here:
        here.cluster.create("docs", points(90))
        kept = await here.exported("docs")
        here.cluster.knobs.fail("PUT", "/points", 429, headers={"Retry-After": "1"}, times=7)

        await here.take(kept)

        assert here.cluster.points(TARGET) == points(90)


@pytest.mark.parametrize("status", [413, 400])
async def test_a_request_that_is_too_large_is_halved(status: int) -> None:
    """Until each part is taken."""
    async with ground() as here:
        here.cluster.create("docs", points(90))
        kept = await here.exported("docs")
        here.cluster.knobs.body_limit_bytes, here.cluster.knobs.body_limit_status = 900, status

        await here.take(kept)

        assert here.cluster.points(TARGET) == points(90)


async def test_a_batch_with_more_points_than_somebody_allows_meanwhile_is_halved() -> None:
    """Strict mode may be set while it is loaded; what a real server says to that is repeated here."""
    async with ground() as here:
        here.cluster.create("docs", points(90))
        kept = await here.exported("docs")
        said = 'Bad request: Limit exceeded 512 > 300 for "upsert limit". Help: Reduce the "upsert limit"'
        here.cluster.knobs.fail("PUT", "/points", 400, times=3, text=said)

        await here.take(kept)

        assert here.cluster.points(TARGET) == points(90)


async def test_a_point_that_is_too_large_for_the_server_is_named() -> None:
    """No other batch could make it smaller."""
    async with ground() as here:
        here.cluster.create("docs", {**points(9), 9: [[1.0, 2.0, 3.0, 4.0], {"long": "x" * 2_000}]})
        kept = await here.exported("docs")
        here.cluster.knobs.body_limit_bytes, here.cluster.knobs.body_limit_status = 1_500, 413

        with pytest.raises(JobError, match=r"point 9 is 2,\d{3} bytes of JSON"):
            await here.take(kept)


async def test_a_long_queue_holds_it_back_and_one_that_stays_long_ends_it() -> None:
    """What is sent then would only wait too."""
    async with ground() as here:
        here.cluster.create("docs", points(90))
        kept = await here.exported("docs")
        here.limits = replace(LIMITS, queue_look_seconds=0.001, patience_seconds=0.05)
        sent: list[int] = []

        def make_long(_: int, method: str, path: str) -> None:
            if method == "PUT" and path.endswith("?wait=true") and "/points" in path:
                here.cluster.replica(TARGET, 0, 0).queue_length = 5_000
                sent.append(1)

        here.cluster.knobs.on_request = make_long
        with pytest.raises(JobError, match="5,000 operations wait on a replica"):
            await here.take(kept)
        stopped = len(sent)
        here.cluster.knobs.on_request = None
        here.cluster.replica(TARGET, 0, 0).queue_length = 0
        await here.take(kept)

        assert stopped < 3
        assert here.cluster.points(TARGET) == points(90)


@pytest.mark.parametrize(
    ("status", "text"),
    [(507, "made to fail"), (500, "Service internal error: No space left on device: WAL buffer size")],
)
async def test_a_disk_that_is_full_ends_it_at_once(status: int, text: str) -> None:
    """Trying again makes no room."""
    async with ground() as here:
        here.cluster.create("docs", points(90))
        kept = await here.exported("docs")
        here.cluster.knobs.fail("PUT", "/points", status, text=text, times=9)

        with pytest.raises(JobError, match="a server has no room left"):
            await here.take(kept)

        assert len([line for line in here.cluster.lines() if "/points?" in line]) <= LIMITS.streams


async def test_a_target_that_may_not_be_made_leaves_no_thresholds_to_put_back() -> None:
    """There is no collection whose thresholds are changed."""
    async with ground() as here:
        here.cluster.create("docs", points(90))
        kept = await here.exported("docs")
        here.cluster.knobs.fail("PUT", f"/collections/{TARGET}", 403, times=9)

        with pytest.raises(JobError, match="403"):
            await here.take(kept)

        assert await here.shelf.thresholds() == []


async def test_a_peer_that_dies_midway_ends_it_and_its_return_lets_it_go_on() -> None:
    """The others took the rest; but nobody can say of all replicas that they are right."""
    async with ground() as here:
        here.cluster.create("docs", points(200), shard_number=3, replication_factor=2)
        kept = await here.exported("docs")

        async def die(peer: int, method: str, path: str) -> None:
            if method == "PUT" and "/points" in path and peer == 0:
                here.cluster.knobs.on_request = None
                await here.cluster.kill(0)

        here.cluster.knobs.on_request = die
        with pytest.raises(JobError, match="a does not answer"):
            await here.take(kept)
        [record] = await here.shelf.restores()
        assert record.uploaded == (0, 1, 2, 3, 4)
        with pytest.raises(JobRefused, match="a does not answer"):
            await here.take(kept)
        await here.cluster.revive(0)
        await here.take(kept)

        assert here.cluster.points(TARGET) == points(200)
        assert here.threshold(TARGET) == here.threshold("docs")
        assert await here.shelf.thresholds() == []


async def test_a_target_that_holds_something_else_is_not_proven_and_the_next_call_sends_all_again() -> None:
    """A point was changed while it was loaded: counts are right, the content is not."""
    async with ground() as here:
        here.cluster.create("docs", points(90))
        kept = await here.exported("docs")

        def spoil(_: int, method: str, path: str) -> None:
            if path.endswith("/points/count") and TARGET in path:
                here.cluster.world.upsert(TARGET, {3: [[9.0, 9.0, 9.0, 9.0], {"n": 3}]})

        here.cluster.knobs.on_request = spoil
        with pytest.raises(NotProven, match="the vector of point 3 is another"):
            await here.take(kept, switch_alias="live")
        here.cluster.knobs.on_request = None
        [record] = await here.shelf.restores()
        assert (record.state, record.uploaded) == (RestoreState.FAILED, ())
        assert here.cluster.world.aliases == {}
        assert await here.shelf.thresholds() == []

        await here.take(kept)

        assert here.cluster.points(TARGET) == points(90)


async def test_a_target_that_somebody_made_anew_meanwhile_gets_no_further_chunk() -> None:
    """Points are sent by its name. Their own alias shows nothing of it, and the next call refuses."""
    async with ground() as here:
        here.cluster.create("docs", points(200))
        kept = await here.exported("docs")
        sent: list[str] = []

        def recreate(_: int, method: str, path: str) -> None:
            if method == "PUT" and f"{TARGET}/points" in path:
                sent.append(path)
                if len(sent) == 2:
                    here.cluster.world.delete(TARGET)
                    here.cluster.create(TARGET, points(10, start=1_000))

        here.cluster.knobs.on_request = recreate
        with pytest.raises(JobError, match="and made it anew meanwhile"):
            await here.take(kept, switch_alias="live")

        assert len(kept.manifest.chunks) == 5
        assert len(sent) == 2
        assert here.cluster.world.aliases == {}
        with pytest.raises(JobRefused, match="nothing that exists is written to"):
            await here.take(kept, switch_alias="live")


async def test_a_target_made_anew_while_it_was_indexed_is_shown_by_no_alias() -> None:
    """It was proven, and is another by then."""
    async with ground() as here:
        here.cluster.create("docs", points(30))
        kept = await here.exported("docs")

        def recreate(_: int, method: str, path: str) -> None:
            if (method, path) == ("GET", f"/collections/{TARGET}") and here.threshold(TARGET) != NO_INDEXING:
                here.cluster.knobs.on_request = None
                here.cluster.world.delete(TARGET)
                here.cluster.create(TARGET, points(10))

        here.cluster.knobs.on_request = recreate
        with pytest.raises(JobError, match="and made it anew meanwhile"):
            await here.take(kept, switch_alias="live")

        assert here.cluster.world.aliases == {}


async def test_points_that_two_keys_exchanged_are_found() -> None:
    """Counts are right then, and so is the content of both keys together."""
    async with ground() as here:
        here.cluster.create("docs", sharding_method="custom")
        here.cluster.create_keys("docs", {"x": points(20), "y": points(20, start=20)})
        kept = await here.exported("docs")

        def spoil(_: int, method: str, path: str) -> None:
            if path.endswith("/points/count"):
                shards = list(here.cluster.world.named(TARGET).shards.values())
                one, other = (next(iter(shard.replicas.values())) for shard in shards)
                if 0 in one.points:
                    one.points, other.points = other.points, one.points

        here.cluster.knobs.on_request = spoil
        with pytest.raises(NotProven, match="point 0 is another"):
            await here.take(kept)


async def test_vectors_compared_by_cosine_may_differ_by_rounding_and_by_no_more() -> None:
    """A server makes them of length 1, and another processor sees that otherwise in the last bit."""
    async with ground() as here:
        held = {1: [[0.6, 0.8], {}], 2: [[0.8, 0.6], {}]}
        here.cluster.create("docs", held, vectors={"size": 2, "distance": "Cosine"})
        kept = await here.exported("docs")
        change = {"by": 1e-7}

        def spoil(_: int, method: str, path: str) -> None:
            if path.endswith("/points/count"):
                name = path.split("/")[2]
                here.cluster.world.upsert(name, {2: [[0.8, 0.6 + change["by"]], {}]})

        here.cluster.knobs.on_request = spoil
        done = await here.take(kept)
        change["by"] = 1e-4
        with pytest.raises(NotProven, match="the vector of point 2 is another"):
            await here.take(kept, target="again")

        assert any("rounds numbers anew, in the last digits: vectors" in text for text in done.warnings)


async def test_a_scratch_target_changes_no_thresholds_and_is_left_for_its_removal() -> None:
    """It is nobody's; there is no intent, and its record stays open."""
    async with ground() as here:
        here.cluster.create("docs", points(30))
        kept = await here.exported("docs")

        done = await here.take(kept, scratch=True)

        assert done.record.state is RestoreState.OPEN
        assert done.thresholds == "nobody's"
        assert here.threshold(done.record.target) == NO_INDEXING
        assert await here.shelf.thresholds() == []


async def test_an_alias_shows_the_target_once_it_is_indexed_also_where_green_came_too_early() -> None:
    """The optimizers of a changed threshold are made behind the answer: until then it stays green."""
    async with ground() as here:
        here.cluster.create("docs", points(30))
        kept = await here.exported("docs")
        looks: list[str] = []
        shown: list[str] = []

        def look(_: int, method: str, path: str) -> None:
            world = here.cluster.world
            if not path.startswith("/collections") or TARGET not in world.collections:
                return
            replicas = [
                one for shard in world.named(TARGET).shards.values() for one in shard.replicas.values()
            ]
            if method == "GET" and path == f"/collections/{TARGET}" and here.threshold(TARGET) != NO_INDEXING:
                looks.append("yellow" if len(looks) in (1, 2) else "green")
                for replica in replicas:
                    replica.status = looks[-1]
            if path.endswith("/aliases"):
                shown.append(replicas[0].status)

        here.cluster.knobs.on_request = look
        await here.take(kept, switch_alias="live")

        assert shown == ["green"]
        assert looks[:5] == ["green", "yellow", "yellow", "green", "green"]


async def test_strict_mode_and_fan_out_come_when_all_is_there() -> None:
    """Limits would stand in the way of the load."""
    async with ground() as here:
        here.cluster.create("docs", points(30), strict_mode_config={"enabled": True, "max_query_limit": 5})
        kept = await here.exported("docs")
        strict: list[bool] = []

        def look(_: int, method: str, path: str) -> None:
            if method == "PUT" and "/points" in path:
                config = here.cluster.world.named(TARGET).config
                strict.append(bool((config.get("strict_mode_config") or {}).get("enabled")))

        here.cluster.knobs.on_request = look
        await here.take(kept)

        assert not any(strict)
        found = here.cluster.world.named(TARGET).config["strict_mode_config"]
        assert found == {"enabled": True, "max_query_limit": 5}
