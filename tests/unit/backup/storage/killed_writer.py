"""A process that writes a large file until it is killed. Arguments: the store's directory and a path."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.local import LocalStore
from exporter.clock import SystemClock


async def write_for_ever(root: Path, path: str) -> None:
    """Say once that much was written, and go on."""
    clock = SystemClock()
    store = LocalStore(root, bandwidth=Bandwidth(None, clock=clock), clock=clock)
    async with store.write(path) as writing:
        for number in range(1_000_000):
            await writing.write(b"x" * 65_536)
            if number == 1_500:  # some are flushed, some are ahead
                sys.stdout.write("written\n")
                sys.stdout.flush()
            await asyncio.sleep(0.001 if number > 1_500 else 0)


asyncio.run(write_for_ever(Path(sys.argv[1]), sys.argv[2]))
