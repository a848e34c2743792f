"""The reconciler: what runs that were killed left changed, put back by whoever comes by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from exporter.backup.thresholds.putting_back import PutBack, reconcile_thresholds
from exporter.errors import JobLocked
from tests.unit.backup.ground import CLUSTER
from tests.unit.backup.thresholds.scene import LOOK_SECONDS, LOWERED, OWN, Scene, scene_of


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Three peers with a replica each, and nothing changed."""
    async with scene_of() as made:
        yield made


class Locked:
    """Locks of collections, of which some are held by others."""

    def __init__(self, *held: str) -> None:
        self.held = held
        self.taken: list[str] = []

    @asynccontextmanager
    async def __call__(self, collection: str) -> AsyncIterator[None]:
        if collection in self.held:
            raise JobLocked(f"{collection} is locked by host process 8")
        self.taken.append(collection)
        yield


async def reconciled(scene: Scene, locked: Locked) -> tuple[PutBack, ...]:
    """Do what a daemon does at its start and every minute."""
    return await reconcile_thresholds(
        scene.shelf,
        scene.ground.peers,
        cluster=CLUSTER,
        locked=locked,
        clock=scene.ground.clock,
        limits=scene.ground.limits,
        look_seconds=LOOK_SECONDS,
    )


async def test_without_an_intent_nobody_is_asked(scene: Scene) -> None:
    """It is the usual case, every ten minutes."""
    assert await reconciled(scene, Locked()) == ()
    assert scene.cluster.requests == []


async def test_what_was_left_is_put_back_under_the_collections_lock(scene: Scene) -> None:
    """Of each collection once, however many intents it has."""
    await scene.left()
    await scene.left(id="20270116T080000Z-00000b")
    await scene.left(id="20270117T080000Z-00000c", collection="gone")
    scene.config.update(LOWERED)
    locked = Locked()

    results = await reconciled(scene, locked)

    assert results == (PutBack("docs", done=True), PutBack("gone", done=True))
    assert locked.taken == ["docs", "gone"]
    assert scene.thresholds == OWN
    assert await scene.shelf.thresholds() == []


async def test_what_somebody_works_on_is_left_to_whoever_does(scene: Scene) -> None:
    """The vacuum that owns it lives."""
    intent = await scene.left()
    scene.config.update(LOWERED)

    results = await reconciled(scene, Locked("docs"))

    assert results == (PutBack("docs", done=False, reason="docs is locked by host process 8"),)
    assert (scene.patches, await scene.shelf.thresholds()) == ([], [intent])


async def test_an_intent_of_another_cluster_is_not_ours(scene: Scene) -> None:
    """Its collection has the same name."""
    intent = await scene.left(cluster="staging")
    scene.config.update(LOWERED)

    assert await reconciled(scene, Locked()) == ()
    assert await scene.shelf.thresholds() == [intent]


async def test_an_intent_that_its_owner_closed_meanwhile_is_none(scene: Scene) -> None:
    """It was listed, and over before we had the lock."""
    intent = await scene.left()

    class Closing(Locked):
        @asynccontextmanager
        async def __call__(self, collection: str) -> AsyncIterator[None]:
            await scene.shelf.close_thresholds(intent.id)
            yield

    assert await reconciled(scene, Closing()) == ()
    assert scene.cluster.requests == []


async def test_what_cannot_be_put_back_now_stays_for_the_next_time(scene: Scene) -> None:
    """One that runs does not keep another from its own."""
    scene.cluster.knobs.pace.held = True
    intent = await scene.change()
    await scene.left(id="20270117T080000Z-00000c", collection="gone")

    results = await reconciled(scene, Locked())

    assert {result.collection: result.done for result in results} == {"docs": False, "gone": True}
    assert await scene.shelf.thresholds() == [intent]
    scene.cluster.optimizers.finish("docs")
    assert await reconciled(scene, Locked()) == (PutBack("docs", done=True),)
    assert scene.cancelled == []
