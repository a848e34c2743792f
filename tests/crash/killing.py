"""Verbs that are killed at their steps, and how it goes on after each death. What must hold: in the tests."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from exporter import exit_codes
from tests.crash.ground import PAST_LEASE_SECONDS, Ended, Ground, Kill

# `CRASH_KILLS` of verbs are drawn, half of them of the chores that work on backups.
KILLS = max(1, int(os.environ.get("CRASH_KILLS", "4")) // 2)
SEED = int(os.environ.get("CRASH_SEED", "7"))
# A life that is killed with a request on its way ends before, while or after the server does it.
ON_ITS_WAY_SECONDS = 0.004
# How often the next life is killed too, and how often one comes before the lease of the dead is over.
AGAIN, AT_ONCE = 0.3, 0.3


@dataclass
class Verb:
    """A verb that may be run again and again, and what must be true when one came to its end."""

    ground: Ground

    async def prepare(self) -> None:
        """Make that it has something to do."""

    def arguments(self) -> tuple[str, ...]:
        raise NotImplementedError

    def is_done(self, ended: Ended) -> bool:
        """Whether a life did what it was run for, or had nothing left to do."""
        return ended.code == exit_codes.DONE

    async def go_on(self, dice: random.Random) -> None:
        """Do what a person may do first after a death, once the locks of the dead are over."""

    async def finish(self) -> None:
        """Let a life live to its end, and see that it did what it was run for."""
        ended = await self.ground.live(*self.arguments())
        assert self.is_done(ended), ended.output

    async def check(self) -> None:
        """See what must be true once it is done; that no lock is held is seen by the caller."""

    async def see(self) -> None:
        """See what must be true at any time."""


@dataclass
class Seen:
    """What is printed."""

    steps: dict[str, int] = field(default_factory=dict)  # of each verb, in one life
    kills: Counter[str] = field(default_factory=Counter)
    survived: int = 0  # by a life that ended before its kill
    locked: int = 0  # lives that came too soon
    left: Counter[str] = field(default_factory=Counter)  # what the dead left, before the next start

    def __str__(self) -> str:
        steps = ", ".join(f"{name} {number}" for name, number in self.steps.items())
        kills = ", ".join(f"{name} {number}" for name, number in self.kills.items())
        left = ", ".join(f"{name} {number}" for name, number in self.left.items())
        return (
            f"steps: {steps}\n  kills: {kills}; {self.survived} lives ended before theirs,"
            f" {self.locked} found the lock of the dead\n  left by the dead, and cleared up: {left}"
        )


async def every_kill(verbs: dict[str, Verb], seen: Seen, dice: random.Random) -> list[tuple[str, Kill]]:
    """Let each verb live once, unharmed, and return a kill for every step that it took."""
    kills: list[tuple[str, Kill]] = []
    for name, verb in verbs.items():
        await verb.prepare()
        ended = await verb.ground.live(*verb.arguments())
        assert ended.code == exit_codes.DONE, ended.output
        await verb.check()
        assert ended.steps is not None
        seen.steps[name] = ended.requests + ended.steps
        for number in range(1, ended.requests + 1):
            delay = dice.choice((0.0, dice.uniform(0.0, ON_ITS_WAY_SECONDS)))
            kills.append((name, Kill(at_request=number, after_request_seconds=delay)))
        kills += [(name, Kill(at_step=number)) for number in range(1, ended.steps + 1)]
    return kills


def chosen(kills: list[tuple[str, Kill]], dice: random.Random) -> Iterator[tuple[str, Kill]]:
    """Draw as many as are asked for, each step once before one comes twice."""
    left: list[tuple[str, Kill]] = []
    for _ in range(KILLS):
        if not left:
            left = dice.sample(kills, len(kills))
        yield left.pop()


async def note_what_is_left(ground: Ground, seen: Seen) -> None:
    """See that what looks whole is whole, and count what a death left."""
    await ground.sets()
    seen.left["intents"] += bool(await ground.shelf.intents())
    seen.left["snapshots"] += bool(ground.on_servers())
    seen.left["fragments"] += bool(await ground.shelf.fragments())
    seen.left["half-written files"] += any(True for _ in ground.leftovers())
    seen.left["scratch targets"] += bool(ground.target.world.collections)
    seen.left["locks"] += bool(await ground.held_locks())
    seen.left["exports under way"] += bool(await ground.shelf.exports())
    seen.left["changed thresholds"] += bool(await ground.shelf.thresholds())


async def killed(name: str, verb: Verb, kill: Kill, seen: Seen, dice: random.Random) -> None:
    """Let one life be killed, and see what the next makes of it."""
    ground = verb.ground
    await verb.prepare()
    while True:
        ended = await ground.live(*verb.arguments(), kill=kill)
        assert ended.was_killed or verb.is_done(ended), ended.output
        seen.kills[name] += ended.was_killed
        seen.survived += not ended.was_killed
        await note_what_is_left(ground, seen)
        await verb.see()
        if ended.was_killed and dice.random() < AT_ONCE:
            ended = await ground.live(*verb.arguments())
            assert verb.is_done(ended) or ended.code == exit_codes.LOCKED, ended.output
            seen.locked += ended.code == exit_codes.LOCKED
        ground.wait(PAST_LEASE_SECONDS)
        if dice.random() >= AGAIN:
            break
        kill = Kill(at_seconds=dice.uniform(0.02, 0.3))
    await verb.go_on(dice)
    await verb.finish()
    await ground.sets()
    await verb.check()
    await verb.see()
    assert await ground.held_locks() == []
