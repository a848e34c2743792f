"""Killed at every step of a change and of a putting back: the next quiet moment finds nothing left to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.unit.backup.thresholds.scene import LOWERED, OWN, Scene, scene_of


class KilledError(BaseException):
    """What nobody catches: like SIGKILL, nothing is done on the way out."""


class Steps:
    """The moments before and after each call to the store and each request; at one of them all is over."""

    def __init__(self) -> None:
        self.made = 0
        self.last = 0  # 0: none

    def begin(self, last: int) -> None:
        """Count anew, and kill at this one."""
        self.made, self.last = 0, last

    def over(self, thing: Any, *names: str) -> None:
        """Let methods of an object be steps."""
        for name in names:
            setattr(thing, name, self._wrapped(getattr(thing, name)))

    def _wrapped(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            self._step()
            result = await method(*arguments, **named)
            self._step()
            return result

        return call

    def _step(self) -> None:
        self.made += 1
        if self.made == self.last:
            raise KilledError


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """One server, so that requests follow each other."""
    async with scene_of(standalone=True) as made:
        made.cluster.knobs.pace.looks = 1
        yield made


async def recovered(scene: Scene) -> None:
    """Do what a reconciler does until nothing is open, and see that all is as it was."""
    for intent in await scene.shelf.thresholds():
        await scene.recovered(intent)

    assert await scene.shelf.thresholds() == []
    assert scene.thresholds == OWN
    assert scene.cancelled == []


async def rest(scene: Scene) -> None:
    """Have the deleted points again, with nothing changed."""
    scene.config.update(OWN)
    for one in scene.cluster.optimizers.segments("docs", 0, 0)[:1]:
        one.deleted = 150
    scene.cluster.world.named("docs").shards[0].replicas[scene.cluster.ids[0]].optimizers.log.clear()


async def test_a_change_that_is_killed_at_any_step_is_undone(scene: Scene) -> None:
    """Before the intent nothing is to be done, after it the intent is enough."""
    steps = Steps()
    steps.over(scene.ground.store, "put", "get", "delete")
    steps.over(scene.ground.peers[0].courier, "call")
    last, kills = 1, 0
    while True:
        await rest(scene)
        steps.begin(last)
        try:
            await scene.change()
        except KilledError:
            kills += 1
        ended = steps.made < last
        steps.begin(0)
        await recovered(scene)
        if ended:
            break
        last += 1

    assert kills >= 14  # four looks of two requests, less one, the intent and the PATCH: before and after


async def test_a_putting_back_that_is_killed_at_any_step_is_finished_by_the_next(scene: Scene) -> None:
    """What was sent is found to be done."""
    steps = Steps()
    steps.over(scene.ground.store, "put", "get", "delete")
    steps.over(scene.ground.peers[0].courier, "call")
    last, kills = 1, 0
    while True:
        await rest(scene)
        intent = await scene.change()
        scene.cluster.optimizers.finish("docs")
        assert scene.thresholds == LOWERED
        steps.begin(last)
        try:
            await scene.put_back(intent)
        except KilledError:
            kills += 1
        ended = steps.made < last
        steps.begin(0)
        await recovered(scene)
        if ended:
            break
        last += 1

    assert kills >= 14
