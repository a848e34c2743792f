"""A process that backs up and kills itself at a given step. Arguments: the store, the URLs of the peers.

Each line on its input is a step's number: it forks, and the fork runs a backup until that step. Steps are the
moments before and after every call to the store and every request to a peer. It answers each line with the
number of steps that were made, 0 for a fork that was killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from exporter.backup.shelf import Shelf
from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.local import LocalStore
from exporter.backup.survey import PeerAt
from exporter.backup.taking import take
from exporter.clock import SystemClock
from exporter.logs import Redactor, configure
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.unit.backup.ground import CLUSTER, FAST


class Steps:
    """Counts, and kills the process at the step that was asked for."""

    def __init__(self, last: int) -> None:
        self.made = 0
        self._last = last

    def step(self) -> None:
        self.made += 1
        if self.made == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def stepping(thing: Any, names: tuple[str, ...], steps: Steps) -> Any:
    """Let methods of an object be steps, before and after."""

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            steps.step()
            result = await method(*arguments, **named)
            steps.step()
            return result

        return call

    for name in names:
        setattr(thing, name, wrapped(getattr(thing, name)))
    return thing


class SteppingStore(LocalStore):
    """The local store, whose large files are written in steps too."""

    steps: Steps

    @asynccontextmanager
    async def write(self, path: str) -> AsyncIterator[Any]:
        async with super().write(path) as writing:
            yield stepping(writing, ("write", "publish"), self.steps)


async def back_up(root: Path, urls: list[str], steps: Steps) -> None:
    """Run one backup."""
    clock = SystemClock()
    store = SteppingStore(root, bandwidth=Bandwidth(None, clock=clock), clock=clock)
    store.steps = steps
    stepping(store, ("put", "put_if_absent", "get", "delete"), steps)
    peers = [
        PeerAt(label, url, stepping(Courier(Door(url=url), clock), ("call",), steps))
        for label, url in zip("abc", urls, strict=True)
    ]
    await take("docs", cluster=CLUSTER, peers=peers, shelf=Shelf(store, clock), clock=clock, limits=FAST)


def main(root: Path, urls: list[str]) -> None:
    """Serve lines until there are none."""
    configure(level="error", format="json", redactor=Redactor())
    for line in sys.stdin:
        reading, writing = os.pipe()
        if not os.fork():
            steps = Steps(int(line))
            asyncio.run(back_up(root, urls, steps))
            os.write(writing, str(steps.made).encode())
            os._exit(0)
        os.close(writing)
        os.wait()
        made = os.read(reading, 20)
        os.close(reading)
        sys.stdout.write(f"{int(made or b'0')}\n")
        sys.stdout.flush()


main(Path(sys.argv[1]), sys.argv[2:])
