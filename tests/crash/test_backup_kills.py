"""Verbs of backups killed at every step: what looks whole is whole, and the next start leaves nothing behind.

`CRASH_KILLS` says at how many of all steps, drawn by `CRASH_SEED`, of these verbs and of the chores besides;
`make crash` kills at 300 of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter import exit_codes
from tests.crash.ground import COLLECTION, DAY_SECONDS, Ended, ground_in
from tests.crash.killing import KILLS, SEED, Seen, Verb, chosen, every_kill, killed

KEPT = 2  # sets, by the configuration
SETS_TO_PRUNE = 2


class Backup(Verb):
    async def prepare(self) -> None:
        self.ground.write(3)

    def arguments(self) -> tuple[str, ...]:
        return ("backup", "run", COLLECTION)

    async def check(self) -> None:
        newest = (await self.ground.sets())[0]
        assert newest.manifest.points == self.ground.points
        assert await self.ground.shelf.intents() == []
        assert self.ground.on_servers() == []


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
