"""All watched clusters: started, exchanged at a reload, derived together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from exporter.board import Board
from exporter.clock import Clock
from exporter.config.clusters import ClusterSettings
from exporter.observe.derived.deriver import Expected
from exporter.observe.roster import Roster, SystemResolver
from exporter.observe.roster.roster import JOINING_PATIENCE_SECONDS
from exporter.observe.watch import ClusterWatch
from exporter.state import KnownPeer

# The page and the alerts are made from one derivation where they come that close together and nothing
# changed in between; what expires meanwhile does so a second late.
DERIVED_LASTS_SECONDS = 1.0


class Fleet:
    """The clusters in force. Belongs to the event loop."""

    def __init__(
        self,
        *,
        board: Board,
        clock: Clock,
        off_loop: Callable[..., Awaitable[Any]],
        remembered: Sequence[KnownPeer] = (),
        patience_seconds: float = JOINING_PATIENCE_SECONDS,
        instance: str = "",
        covered: Callable[[str], Expected] = lambda _: {},
    ) -> None:
        """Take what all clusters share.

        `instance` marks what this daemon writes; a fleet that only looks needs none. `covered` returns the
        collections of a cluster, by name, that must exist for backups cover them; called from any thread.
        """
        self._covered = covered
        self._board = board
        self._clock = clock
        self._off_loop = off_loop
        self._remembered = remembered
        self._patience_seconds = patience_seconds
        self._instance = instance
        self._resolve = SystemResolver()
        self._watches: dict[str, ClusterWatch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()
        self._exchanging = asyncio.Lock()
        self._deriving = asyncio.Lock()
        self._derived = (-1, 0.0)  # the Board's revision, and when on the monotonic clock
        self._is_over = False
        self._was_ready = False

    @property
    def watches(self) -> Mapping[str, ClusterWatch]:
        """The clusters in force, by name."""
        return self._watches

    @property
    def ready(self) -> bool:
        """Every target was polled once, in success or failure. True stays true.

        A reload or a peer that joins and hangs must not take the monitor out of service.
        """
        if not self._was_ready:
            watches = self._watches.values()
            self._was_ready = bool(watches) and all(watch.first_round_ended for watch in watches)
        return self._was_ready

    def build(self, clusters: Sequence[ClusterSettings]) -> dict[str, ClusterWatch]:
        """Build what these settings ask for, without starting it; an unchanged cluster stays as it is."""
        return {settings.name: self._kept(settings) or self._built(settings) for settings in clusters}

    async def exchange(self, wanted: Mapping[str, ClusterWatch]) -> None:
        """Put these clusters in force: stop what is not among them, start what is new.

        Does nothing after `close`: nobody would stop what it started.
        """
        async with self._exchanging:
            if self._is_over:
                return
            for name, watch in list(self._watches.items()):
                if wanted.get(name) is not watch:
                    await self._stop(name)
                    self._board.forget(name)
            started = {name: watch for name, watch in wanted.items() if name not in self._watches}
            self._watches = dict(wanted)
            for name, watch in started.items():
                self._tasks[name] = asyncio.create_task(watch.run(), name=f"watch {name}")
                self._tasks[name].add_done_callback(self._ended)

    def forget(self, cluster: str, label: str) -> bool:
        """Drop a peer that was found. False: no such among those watched now, or configured."""
        # Also of a cluster that is not in force: the reload that brings it back starts from these.
        self._remembered = tuple(
            peer for peer in self._remembered if (peer.cluster, peer.label) != (cluster, label)
        )
        watch = self._watches.get(cluster)
        return watch is not None and watch.roster.forget(label)

    async def run(self) -> None:
        """Wait until a cluster's watch ends by itself, which only a bug makes it do, and raise that."""
        await self._failed.wait()
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Stop every cluster, after an exchange under way, and start none any more."""
        async with self._exchanging:
            self._is_over = True
            for name in list(self._watches):
                await self._stop(name)

    async def derive(self) -> None:
        """Derive every cluster from what the Board knows now, unless that was done a moment ago."""
        async with self._deriving:
            revision, now = self._board.revision, self._clock.monotonic()
            if revision == self._derived[0] and now - self._derived[1] < DERIVED_LASTS_SECONDS:
                return
            view = self._board.view()
            for watch in list(self._watches.values()):
                await watch.derive(view)
            self._derived = (revision, now)

    async def _stop(self, name: str) -> None:
        watch = self._watches.pop(name)
        others = (peer for peer in self._remembered if peer.cluster != name)
        self._remembered = (*others, *watch.roster.known_peers())
        task = self._tasks.pop(name)
        task.remove_done_callback(self._ended)
        task.cancel()
        await asyncio.wait({task})  # unlike `await task`, tells its cancellation from our own

    def _ended(self, task: asyncio.Task[None]) -> None:
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._failure = failure
            self._failed.set()

    def _kept(self, settings: ClusterSettings) -> ClusterWatch | None:
        watch = self._watches.get(settings.name)
        return watch if watch is not None and watch.settings == settings else None

    def _built(self, settings: ClusterSettings) -> ClusterWatch:
        roster = Roster(
            settings=settings,
            clock=self._clock,
            resolve=self._resolve,
            remembered=self._remembered_of(settings),
            patience_seconds=self._patience_seconds,
        )
        return ClusterWatch(
            settings=settings,
            roster=roster,
            board=self._board,
            clock=self._clock,
            off_loop=self._off_loop,
            instance=self._instance,
            also_expected=partial(self._covered, settings.name),
        )

    def _remembered_of(self, settings: ClusterSettings) -> tuple[KnownPeer, ...]:
        """What the cluster's watch knows; without one, what its last watch knew, or the state directory."""
        watch = self._watches.get(settings.name)
        peers = watch.roster.known_peers() if watch is not None else self._remembered
        return tuple(peer for peer in peers if peer.cluster == settings.name)
