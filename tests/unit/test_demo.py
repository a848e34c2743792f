"""What the demo puts in force, and what it says of backups."""

from __future__ import annotations

import asyncio
import io

from rich.console import Console

from exporter.backup.shelf import Shelf
from exporter.backup.words import Level, Proof
from exporter.config.alerting import AlertingSettings
from exporter.demo import JOBS, ROUTE, RULES, Narrator
from exporter.duty.rules_in_force import rules_in_force
from exporter.embedded.demo_load import PAPERS
from tests.kit.clock import ManualClock
from tests.kit.scripted_store import ScriptedStore
from tests.kit.sets import manifest


def test_the_demos_rules_load_and_alert_within_its_scenes() -> None:
    """Causes still fire before what they explain, and nothing waits longer than a scene lasts."""
    rules = {rule.name: rule for rule in rules_in_force(AlertingSettings(rules=RULES)).rules}

    for name in ("IndexingLag", "PeerDown"):
        assert max(level.for_seconds for level in rules[name].levels) <= 30
    assert ROUTE.group_wait_seconds is not None
    assert ROUTE.group_wait_seconds < 5


def test_the_demo_backs_up_and_proves_within_a_round() -> None:
    """Every minute or so, of the server that its script leaves alone."""
    often = {job.kind: job.schedule.every_seconds or 0.0 for job in JOBS}

    assert set(often) == {"backup", "verify", "prune"}
    assert max(often["backup"], often["verify"]) <= 120
    assert {job.cluster for job in JOBS} == {PAPERS.server}


async def test_each_backup_and_each_proof_is_told_in_one_line_once() -> None:
    """The set, its points, its size, and how far it is proven."""
    clock = ManualClock(1_800_000_000.0)
    shelf = Shelf(ScriptedStore(clock), clock)
    good, bad = manifest(), manifest(id="20270116T080000Z-00000a")
    for one in (good, bad):
        await shelf.save_manifest(one)
    now, problems = clock.now(), ("a.snapshot is damaged",)
    await shelf.save_proof(good, Proof(Level.RESTORED, now, True, (), "engine", 0.4, {"0": 10}))
    await shelf.save_proof(bad, Proof(Level.RESTORED, now, False, problems, "engine", 0.4))
    written = io.StringIO()
    narrator = Narrator(Console(file=written, width=400))

    async def told(count: int) -> list[str]:
        """Follow the shelf until so many lines were said; return them."""
        following = asyncio.create_task(narrator.follow_backups(shelf))
        async with asyncio.timeout(20):
            while written.getvalue().count("\n") < count:
                await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.wait([following])
        return [line.split(maxsplit=1)[1].strip() for line in written.getvalue().splitlines()]

    await told(4)
    third = manifest(id="20270117T080000Z-00000a")
    await shelf.save_manifest(third)
    lines = await told(5)

    of_both = {
        f"backup {good.id} of docs is complete, 10 points, 4 KiB",
        f"backup {good.id} of docs is proven up to level 4: restored in a test, 10 points, in 0.4 s",
        f"backup {bad.id} of docs is complete, 10 points, 4 KiB",
        f"backup {bad.id} of docs is BAD: a.snapshot is damaged",
    }
    assert set(lines[:4]) == of_both
    assert lines[4:] == [f"backup {third.id} of docs is complete, 10 points, 4 KiB"]
