"""Backups that are killed at one step after the other."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from exporter.backup.shelf import Shelf
from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.local import LocalStore
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.ground import ground_of

REPOSITORY = Path(__file__).resolve().parents[3]


async def test_a_backup_killed_at_any_step_leaves_no_false_set_and_the_next_run_clears_up(
    tmp_path: Path,
) -> None:
    """What looks like a set is one; in the end no intent is open and nothing lies on a server."""
    async with ground_of(SnapshotCluster()) as ground:
        ground.cluster.create("docs", points(60), shard_number=3, replication_factor=2)
        ground.store = LocalStore(  # type: ignore[assignment]
            tmp_path, bandwidth=Bandwidth(None, clock=ground.clock), clock=ground.clock
        )
        ground.shelf = Shelf(ground.store, ground.clock)
        killed = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.unit.backup.killed_backup", tmp_path, *ground.cluster.urls),
            cwd=REPOSITORY,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

        async def run(last: int) -> int:
            assert killed.stdin is not None
            assert killed.stdout is not None
            killed.stdin.write(f"{last}\n".encode())
            return int(await killed.stdout.readline())

        last, ended_whole, was_killed = 0, 0, True
        while was_killed:
            last += 1
            was_killed = await run(last) == 0
            for found in await ground.shelf.sets():
                assert found.counts
                assert found.manifest.points == 60
                ended_whole += was_killed
                await ground.shelf.remove(found.manifest)
        killed.stdin.close()  # type: ignore[union-attr]
        await killed.wait()

        manifest = await ground.take()
        assert manifest.points == 60
        assert await ground.is_clean()
        assert last > 100
        assert 1 <= ended_whole <= 10  # killed when its manifest was there
