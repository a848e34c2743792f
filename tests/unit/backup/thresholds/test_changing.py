"""Thresholds changed under an intent: what is written first, what is taken over, when it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from exporter.backup.thresholds.changing import bound, default_of, intent_for_new
from exporter.backup.words import FieldChange, Purpose, ThresholdIntent
from exporter.errors import JobDenied, JobError, JobRefused, StoreError
from exporter.qdrant.versions import Version
from tests.unit.backup.ground import CLUSTER
from tests.unit.backup.thresholds.scene import LOWERED, OWN, Scene, changes, scene_of


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Three peers with a replica each, and nothing changed."""
    async with scene_of() as made:
        yield made


async def test_the_intent_says_what_was_and_the_vacuum_runs(scene: Scene) -> None:
    """Every replica finds its segment above the thresholds."""
    intent = await scene.change()

    assert intent.changes == changes(LOWERED)
    assert intent.uuid == scene.cluster.world.named("docs").uuid
    assert (intent.cluster, intent.collection, intent.purpose) == (CLUSTER, "docs", Purpose.VACUUM)
    assert await scene.shelf.thresholds() == [intent]
    assert scene.thresholds == LOWERED
    assert len(scene.cluster.optimizers.runs("docs")) == 3


async def test_the_intent_is_written_before_anything_is_asked(scene: Scene) -> None:
    """Without it nobody could put anything back."""
    scene.ground.store.fail("put", "thresholds/", lambda: StoreError("the store is away"))

    with pytest.raises(StoreError):
        await scene.change()

    assert scene.patches == []


async def test_what_was_unset_goes_back_to_the_default_of_the_oldest_peer(scene: Scene) -> None:
    """Before 1.15 it was twice as high."""
    scene.config["indexing_threshold"] = None
    scene.cluster.peers[1].version = "1.14.1"

    intent = await scene.change({"indexing_threshold": 0.0})

    assert intent.changes == (FieldChange("indexing_threshold", None, 0.0, 20_000.0),)
    assert scene.patches == [{"indexing_threshold": 0}]


async def test_nothing_is_changed_while_an_optimizer_runs(scene: Scene) -> None:
    """The PATCH would cancel it."""
    scene.cluster.knobs.pace.held = True
    scene.cluster.optimizers.add_deleted("docs", 300)
    scene.cluster.optimizers.patched(scene.cluster.world.named("docs"))

    with pytest.raises(JobRefused, match="vacuum runs on a, shard 0"):
        await scene.change()

    assert (scene.patches, await scene.shelf.thresholds()) == ([], [])


async def test_what_begins_while_the_intent_is_written_is_not_cancelled(scene: Scene) -> None:
    """A store may take its time: it is looked again before the PATCH."""
    scene.cluster.knobs.pace.held = True

    def begins(peer: int, method: str, path: str) -> None:
        if scene.ground.store.objects and not scene.cluster.optimizers.runs("docs"):
            scene.cluster.optimizers.add_deleted("docs", 300)
            scene.cluster.optimizers.patched(scene.cluster.world.named("docs"))

    scene.cluster.knobs.on_request = begins

    with pytest.raises(JobRefused, match="vacuum runs on a, shard 0"):
        await scene.change()

    assert (scene.patches, await scene.shelf.thresholds()) == ([], [])


async def test_a_dead_peer_refuses_it(scene: Scene) -> None:
    """Its optimizers may do anything."""
    await scene.cluster.kill(1)

    with pytest.raises(JobRefused, match="b does not answer"):
        await scene.change()


async def test_a_collection_that_is_not_there_is_an_error(scene: Scene) -> None:
    """No intent for it."""
    scene.cluster.world.delete("docs")

    with pytest.raises(JobError, match="there is no collection docs"):
        await scene.change()

    assert await scene.shelf.thresholds() == []


async def test_a_refused_patch_closes_the_intent(scene: Scene) -> None:
    """Nothing was changed."""
    with pytest.raises(JobError, match="must be 100 or larger"):
        await scene.change({"vacuum_min_vector_number": 5.0})

    assert await scene.shelf.thresholds() == []
    assert scene.thresholds == OWN


async def test_a_key_that_may_not_is_told_apart(scene: Scene) -> None:
    """A person gives it the right."""
    scene.cluster.knobs.fail("PATCH", "/collections/docs", 403)

    with pytest.raises(JobDenied):
        await scene.change()

    assert await scene.shelf.thresholds() == []


async def test_a_patch_that_is_answered_too_late_is_seen_to_be_done(scene: Scene) -> None:
    """Sent once: a second one would cancel what the first began."""
    scene.cluster.knobs.fail("PATCH", "/collections/docs", 500, done=True)

    await scene.change()

    assert scene.thresholds == LOWERED
    assert len(scene.patches) == 1
    assert scene.cancelled == []


async def test_a_patch_of_which_nobody_can_say_leaves_the_intent_open(scene: Scene) -> None:
    """It may still be done."""
    scene.ground.limits = scene.ground.limits.__class__(call_seconds=0.1, wait_seconds=0.01, tries=1)
    scene.cluster.knobs.fail("PATCH", "/collections/docs", 500)

    with pytest.raises(JobError, match="are not seen"):
        await scene.change()

    assert len(await scene.shelf.thresholds()) == 1


async def test_what_an_earlier_run_left_changed_is_taken_over(scene: Scene) -> None:
    """What was before that run is put back in the end, and not what it had set."""
    await scene.left()
    scene.config.update(LOWERED)

    intent = await scene.change({"deleted_threshold": 0.05})

    assert intent.changes == changes({"deleted_threshold": 0.05, "vacuum_min_vector_number": 100.0})
    assert scene.patches == [{"deleted_threshold": 0.05}]
    assert await scene.shelf.thresholds() == [intent]
    scene.cluster.optimizers.finish("docs")
    assert (await scene.put_back(intent)).done
    assert scene.thresholds == OWN


async def test_what_a_person_set_since_an_earlier_run_is_put_back_and_not_what_was_before(
    scene: Scene,
) -> None:
    """It is the owner's will now."""
    await scene.left()
    scene.config.update(deleted_threshold=0.3, vacuum_min_vector_number=1000)

    intent = await scene.change({"deleted_threshold": 0.05})

    assert intent.changes == (FieldChange("deleted_threshold", 0.3, 0.05, 0.3),)


async def test_an_intent_of_a_collection_of_that_name_that_is_gone_is_closed(scene: Scene) -> None:
    """Its numbers are another's."""
    await scene.left(uuid="00000000-0000-0000-0000-000000000000")
    scene.config.update(LOWERED)

    intent = await scene.change({"deleted_threshold": 0.05})

    assert intent.changes == (FieldChange("deleted_threshold", 0.125, 0.05, 0.125),)
    assert await scene.shelf.thresholds() == [intent]


async def new(scene: Scene) -> ThresholdIntent:
    """Write the intent of an import."""
    return await intent_for_new(
        scene.shelf,
        cluster=CLUSTER,
        collection="docs",
        purpose=Purpose.IMPORT,
        wanted={"indexing_threshold": 0.0},
        config={"indexing_threshold": 1000, "deleted_threshold": 0.2},
        version="1.18.3",
        clock=scene.ground.clock,
    )


async def test_an_intent_of_a_collection_that_is_to_come_knows_what_it_is_to_have(scene: Scene) -> None:
    """It is bound to the collection once that is there, and replaces what was left of one of that name."""
    await scene.left()
    scene.cluster.world.delete("docs")

    intent = await new(scene)
    scene.cluster.create("docs", shard_number=1, optimizers_config={"indexing_threshold": 0})
    intent = await bound(scene.shelf, intent, scene.cluster.world.named("docs").uuid)

    assert intent.changes == (FieldChange("indexing_threshold", 1000.0, 0.0, 1000.0),)
    assert await scene.shelf.thresholds() == [intent]
    assert (await scene.put_back(intent)).done
    assert scene.config["indexing_threshold"] == 1000


async def test_killed_before_the_collection_came_its_intent_is_closed(scene: Scene) -> None:
    """There is nothing to put back."""
    scene.cluster.world.delete("docs")
    intent = await new(scene)

    assert (await scene.put_back(intent)).done
    assert await scene.shelf.thresholds() == []


@pytest.mark.parametrize(
    ("field", "version", "value"),
    [
        ("deleted_threshold", Version(1, 18, 3), 0.2),
        ("vacuum_min_vector_number", None, 1000.0),
        ("indexing_threshold", Version(1, 14, 9), 20_000.0),
        ("indexing_threshold", Version(1, 15, 0), 10_000.0),
        ("indexing_threshold", None, 10_000.0),
    ],
)
def test_the_default_of_a_field_is_that_of_the_version(
    field: str, version: Version | None, value: float
) -> None:
    """As the server fills in what is unset."""
    assert default_of(field, version) == value


def test_a_field_without_a_default_that_we_know_is_not_changed() -> None:
    """It could not be put back."""
    with pytest.raises(JobError, match="max_segment_size is unset"):
        default_of("max_segment_size", None)
