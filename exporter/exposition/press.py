"""Prints a new page after every change of the Board, away from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from exporter.board import Board, BoardView
from exporter.exposition.own import OwnMetrics
from exporter.exposition.renderer import Page, Renderer

# Peers are polled in step, so one change announces others: one page for all of them, once nothing
# changed for a moment. A round at 1,000 collections takes about a second to read.
SETTLE_SECONDS = 0.3
LONGEST_SETTLE_SECONDS = 2.0
# No scrape asks more often than a few times a second, and the first page should not wait. Where
# deriving and printing take long (0.3 s at 1,000 collections of 12 replicas), the next page waits until
# they took 2 % of the time, but never longer than 10 s, within the fast interval of 15 s.
SHORTEST_GAP_SECONDS = 0.25
LONGEST_GAP_SECONDS = 10.0
SHARE_OF_TIME = 0.02
# Right after the start everything is new and somebody is waiting: pages come as fast as they can.
HURRY_SECONDS = 20.0
# Without any change a page is still printed, so that what expired leaves it and process_* move.
REFRESH_SECONDS = 10.0


class Press:
    """Holds the newest page and replaces it whole. `page` belongs to the event loop."""

    def __init__(self, *, board: Board, renderer: Renderer, own: OwnMetrics) -> None:
        self._board = board
        self._news = board.subscribe()
        self._renderer = renderer
        self._own = own
        # The default pool also resolves names, and a DNS that hangs must not hold a page up.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="press")
        self._page = self._printed(board.view())

    @property
    def page(self) -> Page:
        """The newest page; from the start there is one, with what the Board knows then."""
        return self._page

    async def print_now(self) -> Page:
        """Print what the Board knows now and return that page."""
        loop = asyncio.get_running_loop()
        self._page = await loop.run_in_executor(self._thread, self._printed, self._board.view())
        return self._page

    async def run(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Print after each change, at least every ten seconds, until cancelled.

        `prepare` runs before each page: it brings the Board up to date with what it knows.
        """
        loop = asyncio.get_running_loop()
        hurry_until = loop.time() + HURRY_SECONDS
        try:
            while True:
                started = loop.time()
                await prepare()
                await self.print_now()
                took = loop.time() - started
                longest = took if started < hurry_until else LONGEST_GAP_SECONDS
                gap = max(SHORTEST_GAP_SECONDS, min(took / SHARE_OF_TIME, longest))
                await asyncio.sleep(gap)
                await self._wait_for_news(max(0.0, REFRESH_SECONDS - gap))
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _wait_for_news(self, longest_seconds: float) -> None:
        """Return once something changed and then nothing did for a moment, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_seconds):
                await self._news.wait()
            async with asyncio.timeout(LONGEST_SETTLE_SECONDS):
                while await self._changes_within(SETTLE_SECONDS):
                    pass

    async def _changes_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _printed(self, view: BoardView) -> Page:
        return self._renderer.render(view.blocks(), self._own.text())
