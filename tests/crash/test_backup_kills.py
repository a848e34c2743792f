"""Verbs of backups killed at every step: what looks whole is whole, and the next start leaves nothing behind.

`CRASH_KILLS` says how many of all steps, drawn by `CRASH_SEED`; `make crash` kills at 300 of them.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from exporter import exit_codes
from tests.crash.ground import COLLECTION, DAY_SECONDS, PAST_LEASE_SECONDS, Ended, Ground, Kill, ground_in

KILLS = int(os.environ.get("CRASH_KILLS", "8"))
SEED = int(os.environ.get("CRASH_SEED", "7"))
KEPT = 2  # sets, by the configuration
SETS_TO_PRUNE = 2
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

    async def check(self) -> None:
        """See that what it was run for is done; that nothing else is left is seen by the caller."""


class Backup(Verb):
    async def prepare(self) -> None:
        self.ground.write(3)

    def arguments(self) -> tuple[str, ...]:
        return ("backup", "run", COLLECTION)

    async def check(self) -> None:
        newest = (await self.ground.sets())[0]
        assert newest.manifest.points == self.ground.points


class Verify(Verb):
    def arguments(self) -> tuple[str, ...]:
        return ("backup", "verify", f"--latest={COLLECTION}", "--level=4")

    async def check(self) -> None:
        left = list(self.ground.target.world.collections)
        assert not left, "\n".join([*left, *self.ground.diary])


@dataclass
class Restore(Verb):
    set_id: str = ""

    @property
    def target(self) -> str:
        return f"{COLLECTION}__restore_{self.set_id}"

    async def prepare(self) -> None:
        self.set_id = (await self.ground.sets())[0].manifest.id
        # a person deletes what was restored before
        self.ground.cluster.world.delete(self.target)
        for record in await self.ground.shelf.restores():
            await self.ground.shelf.remove_restore(record.id)

    def arguments(self) -> tuple[str, ...]:
        return ("backup", "restore", self.set_id)

    def is_done(self, ended: Ended) -> bool:
        """One that was killed after its last step leaves nothing to go on with: that is refused."""
        return super().is_done(ended) or "was restored from this backup already" in ended.output

    async def check(self) -> None:
        await self.ground.check_restored(self.set_id, self.target)
        self.ground.cluster.world.delete(self.target)


class Prune(Verb):
    async def prepare(self) -> None:
        for _ in range(KEPT + SETS_TO_PRUNE - len(await self.ground.sets())):
            ended = await self.ground.live("backup", "run", COLLECTION)
            assert ended.code == exit_codes.DONE, ended.output

    def arguments(self) -> tuple[str, ...]:
        return ("backup", "prune", COLLECTION)

    async def check(self) -> None:
        sets = await self.ground.sets()
        assert all(one.counts for one in sets[:KEPT])
        assert len(sets) >= KEPT
        # a proof that was killed just after its target's removal seems to be under way for a day
        in_use = {record.set_id for record in await self.ground.shelf.restores()}
        assert {one.manifest.id for one in sets[KEPT:]} <= in_use


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
        if ended.was_killed and dice.random() < AT_ONCE:
            ended = await ground.live(*verb.arguments())
            assert verb.is_done(ended) or ended.code == exit_codes.LOCKED, ended.output
            seen.locked += ended.code == exit_codes.LOCKED
        ground.wait(PAST_LEASE_SECONDS)
        if dice.random() >= AGAIN:
            break
        kill = Kill(at_seconds=dice.uniform(0.02, 0.3))
    ended = await ground.live(*verb.arguments())
    assert verb.is_done(ended), ended.output
    await ground.sets()
    await verb.check()
    assert await ground.held_locks() == []
    if isinstance(verb, Backup):
        assert await ground.shelf.intents() == []
        assert ground.on_servers() == []


async def test_a_verb_killed_at_any_step_leaves_nothing_false_and_the_next_one_clears_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Backup, verify, restore and prune: requests on their way, changes of files, any moment; by SIGKILL."""
    dice, seen = random.Random(SEED), Seen()
    async with ground_in(tmp_path) as ground:
        verbs: dict[str, Verb] = {
            "backup": Backup(ground),
            "verify": Verify(ground),
            "restore": Restore(ground),
            "prune": Prune(ground),
        }
        for name, kill in chosen(await every_kill(verbs, seen, dice), dice):
            await killed(name, verbs[name], kill, seen, dice)

        ground.wait(2 * DAY_SECONDS)
        for verb in (verbs["backup"], verbs["verify"], verbs["prune"]):
            ended = await ground.live(*verb.arguments())
            assert ended.code == exit_codes.DONE, ended.output
        assert await ground.open_scratch() == []
        assert len(await ground.sets()) == KEPT
        assert await ground.shelf.fragments() == []
        assert list(ground.leftovers()) == []
        assert await ground.shelf.intents() == []
        assert ground.on_servers() == []

    with capsys.disabled():
        print(f"\n{ground.kills} kills of verbs, seed {SEED}\n  {seen}")
    assert ground.kills >= KILLS // 2
