"""Exports, imports, vacuums killed at every step: nothing half passes for whole, no threshold stays changed.

`CRASH_KILLS` and `CRASH_SEED` as for the verbs of backups.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from exporter import exit_codes
from exporter.backup.layout import DATA_SUFFIXES
from exporter.backup.shelf import place_of
from exporter.backup.words import Consistency, RestoreState
from tests.crash.chores import (
    ABOVE,
    BELOW,
    DUSTY,
    INDEXING_OWN,
    KEYED,
    TRIES,
    Chores,
)
from tests.crash.ground import DAY_SECONDS, Ended, ground_in
from tests.crash.killing import KILLS, SEED, Seen, Verb, chosen, every_kill, killed

T = TypeVar("T")

# A vacuum looks at a quiet server for ten seconds.
SPEED = 30.0
VERSION = "1.18.3"
OLD_VERSION = "1.15.5"  # tells neither grey nor what waits: there a vacuum may only wake it
MOST_SETS = 3  # before they are pruned
FORMATS = ("msgpack", "jsonl")
# What a vacuum of the scripted peers lasts, in looks; None: less than one.
LOOKS = (None, 2, None, 3)
# How often a person puts thresholds back, before what was cut off is begun again.
PUT_BACK_FIRST = 0.5


@dataclass
class Chore(Verb):
    """A verb on the collections of chores. What it meets is another in each round."""

    chores: Chores
    rounds: int = -1

    def turn(self, choices: Sequence[T]) -> T:
        """Return what this round has of some choices."""
        return choices[self.rounds % len(choices)]

    async def see(self) -> None:
        await self.chores.see()

    async def check(self) -> None:
        await self.chores.check_thresholds()
        assert await self.ground.shelf.exports() == []
        assert await self.ground.shelf.intents() == []


class Export(Chore):
    async def prepare(self) -> None:
        self.rounds += 1
        self.chores.write(3)
        if len(await self.ground.shelf.sets()) > MOST_SETS:
            ended = await self.ground.live("backup", "prune", KEYED)
            assert ended.code == exit_codes.DONE, ended.output

    def arguments(self) -> tuple[str, ...]:
        return ("backup", "export", KEYED, f"--format={self.turn(FORMATS)}")

    async def check(self) -> None:
        await super().check()
        newest = (await self.ground.sets())[0].manifest
        assert newest.export is not None
        assert newest.points == self.chores.points
        assert len(newest.chunks) > len(newest.keys)
        assert newest.export.consistency is Consistency.QUIESCED, newest.export.reasons
        assert await self.ground.shelf.fragments() == []
        stored = [one.path async for one in self.ground.store.list(place_of(newest).folder)]
        chunks = {path.rpartition("/")[2] for path in stored if path.endswith(DATA_SUFFIXES)}
        assert chunks == {chunk.file for chunk in newest.chunks}


@dataclass
class Import(Chore):
    set_id: str = ""

    @property
    def target(self) -> str:
        return f"{KEYED}__restore_{self.set_id}"

    async def prepare(self) -> None:
        self.rounds += 1
        indexing = self.turn((None, INDEXING_OWN))
        self.chores.set_indexing(indexing)
        newest = (await self.ground.sets())[0].manifest
        exported = newest.config["optimizer_config"]["indexing_threshold"]
        if (newest.points, exported) != (self.chores.points, indexing):
            ended = await self.ground.live("backup", "export", KEYED)
            assert ended.code == exit_codes.DONE, ended.output
            newest = (await self.ground.sets())[0].manifest
        self.set_id = newest.id
        # a person deletes what was imported before
        self.ground.cluster.world.delete(self.target)
        for record in await self.ground.shelf.restores():
            await self.ground.shelf.remove_restore(record.id)

    def arguments(self) -> tuple[str, ...]:
        return ("backup", "import", self.set_id)

    def is_done(self, ended: Ended) -> bool:
        """One that was killed after its last step leaves nothing to go on with: that is refused."""
        return super().is_done(ended) or "was restored from this backup already" in ended.output

    async def go_on(self, dice: random.Random) -> None:
        if dice.random() < PUT_BACK_FIRST:
            await self.chores.put_back()

    async def check(self) -> None:
        await super().check()
        await self.chores.check_imported(self.target)
        assert all(one.state is RestoreState.DONE for one in await self.ground.shelf.restores())
        self.ground.cluster.world.delete(self.target)


class Vacuum(Chore):
    async def prepare(self) -> None:
        self.rounds += 1
        # where a server counts what its own thresholds want, it waits, and is left to the server
        suffices = self.rounds % 3 == 2
        for peer in self.ground.cluster.peers:
            peer.version = OLD_VERSION if suffices else VERSION
        deleted = ABOVE if suffices else BELOW
        self.chores.soil(deleted, looks=self.turn(LOOKS), says_green=suffices)

    def arguments(self) -> tuple[str, ...]:
        return ("vacuum", "run", DUSTY, "--p95-limit=off", "--min-reclaim=1MiB")

    def is_done(self, ended: Ended) -> bool:
        """One that was killed after the rewrite leaves nothing to do."""
        return super().is_done(ended) or "of its points deleted" in ended.output

    async def go_on(self, dice: random.Random) -> None:
        before = self.chores.deleted
        if dice.random() < PUT_BACK_FIRST:
            await self.chores.put_back()
            assert self.chores.deleted <= before

    async def finish(self) -> None:
        """While what the dead began is still running, another vacuum is refused."""
        for _ in range(TRIES):
            ended = await self.ground.live(*self.arguments())
            await self.see()
            if ended.code != exit_codes.REFUSED:
                break
        assert self.is_done(ended), ended.output
        if "still changed" in ended.output:  # it came while that was about to end, and said so
            await self.chores.put_back()

    async def check(self) -> None:
        await super().check()
        assert self.chores.deleted == 0
        for peer in self.ground.cluster.peers:
            peer.version = VERSION


class PutBack(Chore):
    async def prepare(self) -> None:
        self.rounds += 1
        await self.chores.leave(asked=self.rounds % 3 != 2, looks=self.turn(LOOKS))

    def arguments(self) -> tuple[str, ...]:
        return ("vacuum", "put-back", DUSTY)

    def is_done(self, ended: Ended) -> bool:
        """While the vacuum of the dead runs, it must wait."""
        return ended.code in (exit_codes.DONE, exit_codes.PARTLY)

    async def finish(self) -> None:
        await self.chores.put_back()

    async def check(self) -> None:
        await super().check()
        for segments in (self.ground.cluster.optimizers.segments(DUSTY, 0, peer) for peer in range(3)):
            segments[0].deleted = 0  # whether it was rewritten before it died or not


async def test_a_chore_killed_at_any_step_leaves_no_half_set_and_no_changed_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Export, import, vacuum, put-back: requests on their way, changes of files, any moment; by SIGKILL."""
    dice, seen = random.Random(SEED), Seen()
    async with ground_in(tmp_path) as ground:
        ground.speed = SPEED
        chores = Chores(ground)
        verbs: dict[str, Verb] = {
            "export": Export(ground, chores),
            "import": Import(ground, chores),
            "vacuum": Vacuum(ground, chores),
            "put-back": PutBack(ground, chores),
        }
        for name, kill in chosen(await every_kill(verbs, seen, dice), dice):
            await killed(name, verbs[name], kill, seen, dice)

        ground.wait(2 * DAY_SECONDS)
        for arguments in (verbs["export"].arguments(), ("vacuum", "put-back"), ("backup", "prune", KEYED)):
            ended = await ground.live(*arguments)
            assert ended.code == exit_codes.DONE, ended.output
        assert await ground.shelf.fragments() == []
        assert list(ground.leftovers()) == []
        assert set(chores.world.collections) == {"docs", KEYED, DUSTY}

    with capsys.disabled():
        print(f"\n{ground.kills} kills of chores, seed {SEED}\n  {seen}")
    assert ground.kills >= KILLS // 2
