"""Thresholds put back at a quiet moment, by whoever comes by, and never while a PATCH would cancel a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from exporter.backup.thresholds.putting_back import PutBack
from exporter.backup.words import FieldChange, ThresholdIntent
from tests.unit.backup.thresholds.scene import LOWERED, OWN, Scene, changes, scene_of

DONE = PutBack("docs", done=True)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Three peers with a replica each, and nothing changed."""
    async with scene_of() as made:
        yield made


async def vacuumed(scene: Scene) -> ThresholdIntent:
    """Change thresholds, and let all that follows be over."""
    intent = await scene.change()
    scene.cluster.optimizers.finish("docs")
    return intent


async def test_thresholds_are_put_back_once_all_is_quiet_and_nothing_was_cancelled(scene: Scene) -> None:
    """The two numbers are what they were, and every replica was vacuumed."""
    intent = await vacuumed(scene)
    assert scene.thresholds == LOWERED

    assert await scene.put_back(intent) == DONE
    assert scene.thresholds == OWN
    assert await scene.shelf.thresholds() == []
    assert scene.cluster.optimizers.statuses("docs") == ["done"] * 3


async def test_whole_numbers_are_sent_as_such(scene: Scene) -> None:
    """The server takes no 1000.0 for a number of vectors."""
    await scene.put_back(await vacuumed(scene))

    assert [type(body["vacuum_min_vector_number"]) for body in scene.patches] == [int, int]


async def test_nothing_is_sent_while_the_vacuum_runs(scene: Scene) -> None:
    """A PATCH would cancel it."""
    scene.cluster.knobs.pace.held = True
    intent = await scene.change()

    result = await scene.put_back(intent)

    assert (result.done, result.reason) == (False, "vacuum runs on a, shard 0")
    assert scene.patches == [LOWERED]
    assert await scene.shelf.thresholds() == [intent]
    scene.cluster.optimizers.finish("docs")
    assert await scene.put_back(intent) == DONE
    assert scene.cancelled == []


async def test_nothing_is_sent_while_something_waits_that_no_peer_shows_yet(scene: Scene) -> None:
    """For some milliseconds after a PATCH all is green, and only the queue tells."""
    intent = await vacuumed(scene)
    scene.cluster.knobs.queued_optimizations = 2

    result = await scene.put_back(intent)

    assert (result.done, result.reason) == (False, "2 optimizations wait")
    assert scene.patches == [LOWERED]


async def test_what_begins_between_the_two_looks_is_not_cancelled(scene: Scene) -> None:
    """One quiet look is no proof."""
    intent = await vacuumed(scene)
    scene.cluster.knobs.pace.held = True
    attempt = asyncio.create_task(scene.put_back(intent, look_seconds=0.2))
    await asyncio.sleep(0.1)
    scene.cluster.optimizers.add_deleted("docs", 300)
    scene.cluster.world.named("docs").shards[0].replicas[scene.cluster.ids[1]].optimizers.triggered = True

    result = await attempt

    assert (result.done, result.reason) == (False, "vacuum runs on b, shard 0")
    assert scene.patches == [LOWERED]


async def test_what_is_grey_waits_for_a_patch_and_stands_in_no_way(scene: Scene) -> None:
    """The servers were restarted after the thresholds had fallen: with their own there is nothing to do."""
    scene.cluster.knobs.pace.starts = False
    intent = await scene.change()
    for peer in range(3):
        scene.cluster.restart(peer)
    scene.cluster.knobs.pace.starts = True
    assert (await scene.look()).statuses == {"grey"}

    assert await scene.put_back(intent) == DONE
    assert scene.thresholds == OWN
    assert scene.cluster.optimizers.statuses("docs") == []


async def test_a_field_that_a_person_changed_is_left_and_told(scene: Scene) -> None:
    """What it is now is somebody's will; the other one is ours."""
    intent = await vacuumed(scene)
    scene.config["deleted_threshold"] = 0.3

    with capture_logs() as logs:
        result = await scene.put_back(intent)

    assert result == PutBack("docs", done=True, foreign=("deleted_threshold",))
    assert scene.thresholds == OWN | {"deleted_threshold": 0.3}
    assert scene.patches[1:] == [{"vacuum_min_vector_number": 1000}]
    assert [line["fields"] for line in logs if line["event"] == "thresholds.foreign"] == [
        ("deleted_threshold",)
    ]


async def test_where_a_person_changed_all_nothing_is_sent(scene: Scene) -> None:
    """The intent is over."""
    intent = await vacuumed(scene)
    scene.config.update(deleted_threshold=0.3, vacuum_min_vector_number=500)

    result = await scene.put_back(intent)

    assert result == PutBack("docs", done=True, foreign=tuple(OWN))
    assert len(scene.patches) == 1
    assert await scene.shelf.thresholds() == []


async def test_an_intent_of_a_collection_that_is_gone_is_closed(scene: Scene) -> None:
    """There is nothing to put back."""
    intent = await vacuumed(scene)
    scene.cluster.world.delete("docs")

    assert await scene.put_back(intent) == DONE
    assert await scene.shelf.thresholds() == []


async def test_an_intent_of_another_collection_of_that_name_is_closed(scene: Scene) -> None:
    """It was deleted and made anew, by chance with what we had set."""
    intent = await vacuumed(scene)
    scene.cluster.recreate("docs")
    scene.config.update(LOWERED)

    assert await scene.put_back(intent) == DONE
    assert scene.thresholds == LOWERED
    assert len(scene.patches) == 1


async def test_while_a_peer_is_dead_the_intent_stays_open(scene: Scene) -> None:
    """Nobody knows what its optimizers do, and the server could not agree on a PATCH either."""
    intent = await vacuumed(scene)
    await scene.cluster.kill(2)

    result = await scene.put_back(intent)

    assert not result.done
    assert result.reason.startswith("c does not answer: ")
    await scene.cluster.revive(2)
    assert await scene.put_back(intent) == DONE


async def test_where_nobody_answers_nothing_is_known_and_nothing_closed(scene: Scene) -> None:
    """A cluster that is down is not one without the collection."""
    intent = await vacuumed(scene)
    for peer in range(3):
        await scene.cluster.kill(peer)

    assert not (await scene.put_back(intent)).done
    assert await scene.shelf.thresholds() == [intent]


async def test_a_replica_on_a_peer_that_nobody_was_told_of_keeps_it_open(scene: Scene) -> None:
    """It may run what a PATCH would cancel."""
    intent = await vacuumed(scene)

    result = await scene.put_back(intent, peers=2)

    assert result.reason == f"replicas lie on peers whose URL is not given: {scene.cluster.ids[2]}"
    assert len(scene.patches) == 1


async def test_killed_between_intent_and_patch_there_is_nothing_to_do(scene: Scene) -> None:
    """All is as it was: closed at the first look, also while something runs."""
    intent = await scene.left()
    scene.cluster.knobs.pace.held = True
    scene.cluster.optimizers.add_deleted("docs", 300)
    scene.cluster.optimizers.patched(scene.cluster.world.named("docs"))

    assert await scene.put_back(intent, look_seconds=30.0) == DONE
    assert scene.patches == []
    assert len(scene.cluster.optimizers.runs("docs")) == 3


async def test_while_a_peer_is_silent_even_what_is_as_it_was_is_not_over(scene: Scene) -> None:
    """The one that froze may have been sent the PATCH, and does it when it thaws."""
    intent = await scene.left()
    await scene.cluster.kill(0)

    assert not (await scene.put_back(intent)).done
    assert await scene.shelf.thresholds() == [intent]


async def test_killed_between_patch_and_read_back_they_are_put_back(scene: Scene) -> None:
    """The intent is all that is known of it."""
    intent = await scene.left()
    scene.config.update(LOWERED)

    assert await scene.put_back(intent) == DONE
    assert scene.thresholds == OWN


async def test_killed_before_its_end_a_putting_back_is_found_to_be_done(scene: Scene) -> None:
    """No second PATCH: it would cancel what began since."""
    intent = await vacuumed(scene)
    scene.cluster.knobs.patch_seconds = 30.0
    attempt = asyncio.create_task(scene.put_back(intent))
    while len(scene.patches) < 2:
        await asyncio.sleep(0.005)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    assert await scene.shelf.thresholds() == [intent]

    assert await scene.put_back(intent) == DONE
    assert len(scene.patches) == 2


async def test_a_patch_without_an_answer_that_was_done_is_seen_to_be(scene: Scene) -> None:
    """Servers before 1.18.1 answer when their optimizers are at rest."""
    intent = await vacuumed(scene)
    scene.cluster.knobs.fail("PATCH", "/collections/docs", 408, done=True)

    assert await scene.put_back(intent) == DONE
    assert len(scene.patches) == 2


async def test_a_change_that_was_never_seen_is_waited_for(scene: Scene) -> None:
    """It may still come out of the cluster's consensus, when all looks as it was."""
    intent = await scene.left(unseen_at=scene.ground.clock.now())

    result = await scene.put_back(intent)

    assert result.reason == "a change that was asked for and not seen may still come"
    old = await scene.left(unseen_at=scene.ground.clock.now() - 600.0)
    assert await scene.put_back(old) == DONE
    assert scene.patches == []


async def test_a_patch_that_is_refused_leaves_the_intent_open(scene: Scene) -> None:
    """With the server's reason."""
    intent = await vacuumed(scene)
    scene.cluster.knobs.fail("PATCH", "/collections/docs", 400, text="Bad request: no")

    result = await scene.put_back(intent)

    assert not result.done
    assert "Bad request: no" in result.reason
    assert await scene.put_back(intent) == DONE


async def test_a_field_that_was_unset_goes_back_to_what_that_means(scene: Scene) -> None:
    """The server takes no null for a number."""
    unset = (FieldChange("indexing_threshold", None, 0.0, 10_000.0),)
    intent = await scene.left(changes=unset)
    scene.config["indexing_threshold"] = 0

    assert await scene.put_back(intent) == DONE
    assert scene.config["indexing_threshold"] == 10_000


async def test_a_field_that_is_still_unset_is_as_it_was(scene: Scene) -> None:
    """Killed before the PATCH."""
    unset = (FieldChange("indexing_threshold", None, 0.0, 10_000.0),)
    intent = await scene.left(changes=unset)
    scene.config["indexing_threshold"] = None

    assert await scene.put_back(intent) == DONE
    assert scene.patches == []


async def test_a_field_that_is_unset_and_was_not_is_somebodys(scene: Scene) -> None:
    """Made anew on a server without a cluster, where no uuid tells."""
    intent = await scene.left(
        uuid=None, changes=(FieldChange("indexing_threshold", 20_000.0, 0.0, 20_000.0),)
    )
    scene.config["indexing_threshold"] = None

    result = await scene.put_back(intent)

    assert result == PutBack("docs", done=True, foreign=("indexing_threshold",))
    assert scene.patches == []


@pytest.mark.parametrize("put", [0.125, 0.05])
async def test_two_intents_of_one_collection_are_put_back_as_one(scene: Scene, put: float) -> None:
    """A run took over what another left, and was killed itself, before its PATCH or after it."""
    await scene.left()
    second = await scene.left(id="20270116T080000Z-00000b", changes=changes({"deleted_threshold": 0.05}))
    scene.config.update(LOWERED | {"deleted_threshold": put})

    assert await scene.put_back(second) == DONE
    assert scene.thresholds == OWN
    assert await scene.shelf.thresholds() == []


async def test_peers_that_disagree_are_waited_for(scene: Scene) -> None:
    """One of them is behind: which value counts, nobody can say."""
    intent = await vacuumed(scene)

    def behind(peer: int, method: str, path: str) -> None:
        if "telemetry" in path:
            scene.config["deleted_threshold"] = 0.2 if peer == 1 else 0.125

    scene.cluster.knobs.on_request = behind
    for _ in range(20):
        result = await scene.put_back(intent)
        if not result.done:
            break

    assert result.reason == "the peers disagree about deleted_threshold"


async def test_it_is_tried_until_it_is_quiet(scene: Scene) -> None:
    """The vacuum takes its time."""
    scene.cluster.knobs.pace.seconds = 0.1
    intent = await scene.change()

    assert await scene.recovered(intent) == DONE
    assert scene.thresholds == OWN
    assert scene.cluster.optimizers.statuses("docs") == ["done"] * 3


async def test_whoever_is_cancelled_sends_nothing_on_the_way_out(scene: Scene) -> None:
    """SIGTERM between the two looks."""
    intent = await vacuumed(scene)
    attempt = asyncio.create_task(scene.put_back(intent, look_seconds=30.0))
    while scene.cluster.lines()[-1] != "GET /collections/docs/optimizations":
        await asyncio.sleep(0.005)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)

    assert len(scene.patches) == 1
    assert await scene.shelf.thresholds() == [intent]


async def test_a_server_without_a_queue_to_ask_for_is_judged_by_its_shards() -> None:
    """1.16 and before: no request that it does not know."""
    async with scene_of(standalone=True, version="1.16.3") as scene:
        intent = await vacuumed(scene)

        assert await scene.put_back(intent) == DONE
        assert not any("optimizations" in line for line in scene.cluster.lines())
