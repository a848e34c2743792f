"""A real ClusterWatch on a real Board, polling fast, derived after every change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Self

from exporter.board import Board
from exporter.clock import SystemClock
from exporter.config.clusters import ClusterSettings, CollectionSettings, PeerSettings, PollSettings
from exporter.model import Reading
from exporter.observe.fleet import Fleet
from exporter.observe.watch import ClusterWatch
from exporter.state import KnownPeer
from tests.kit.derivation import series

# A tenth of a second where the defaults have 15: a test sees in seconds what takes minutes in production.
QUICK = PollSettings(
    fast_seconds=0.15, medium_seconds=0.3, slow_seconds=0.6,
    deadline_seconds=10.0, fanout_deadline_seconds=5.0, budget_ratio=0.5,
)  # fmt: skip
# For peers that never answer; a busy machine may miss these deadlines beside them.
HASTY = QUICK.model_copy(update={"deadline_seconds": 0.5, "fanout_deadline_seconds": 0.3})


def cluster_of(*urls: str, **options: Any) -> ClusterSettings:
    """Settings of one cluster with these peers."""
    return ClusterSettings.model_construct(
        name="default",
        peers=tuple(PeerSettings.model_construct(url=url) for url in urls),
        poll=options.pop("poll", QUICK),
        collections=options.pop("collections", CollectionSettings()),
        **options,
    )


def named(reading: Reading) -> str:
    """Name a reading as `series` does, and the part of a histogram by its own name: "…_seconds_count{…}"."""
    name, brace, labels = series(reading).partition("{")
    return f"{name}{reading.spec.part}{brace}{labels}"


class Watching:
    """Watches clusters until left; `until` waits for what a test expects to see."""

    def __init__(
        self, *settings: ClusterSettings, remembered: Sequence[KnownPeer] = (), instance: str = ""
    ) -> None:
        self.board = Board(clock=SystemClock())
        self._settings = settings
        self.fleet = Fleet(
            board=self.board,
            clock=SystemClock(),
            off_loop=asyncio.to_thread,
            remembered=remembered,
            instance=instance,
        )

    @property
    def watch(self) -> ClusterWatch:
        return next(iter(self.fleet.watches.values()))

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.fleet.run())
        await self.fleet.exchange(self.fleet.build(self._settings))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        await self.fleet.close()

    async def readings(self) -> dict[str, float]:
        """Derive now and return every reading by its short name, all of one moment."""
        while True:
            before = self.board.view().newest
            await self.fleet.derive()
            view = self.board.view()
            # else a poll ended meanwhile, and what it told is not in what was derived
            if all(before.get(key) is observation for key, observation in view.newest.items()):
                return {named(reading): reading.value for _, block in view.blocks() for reading in block}

    async def until(
        self, wanted: Callable[[dict[str, float]], bool], *, seconds: float = 30.0
    ) -> dict[str, float]:
        """Return the readings as soon as they are as wanted, and there; fail after so many seconds."""
        readings: dict[str, float] = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    readings = await self.readings()
                    with suppress(KeyError):
                        if wanted(readings):
                            return readings
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not seen within {seconds} s; last seen: {readings}") from None
