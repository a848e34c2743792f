"""Prints a new page after every change of the Board, away from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from exporter.board import Board, BoardView
from exporter.exposition.own import OwnMetrics
from exporter.exposition.renderer import Page, Renderer

# Peers are polled in step, so one change announces others: one page for all of them.
SETTLE_SECONDS = 0.3
# No scrape asks more often than a few times a second, and the first page should not wait. Where
# deriving and printing take long (0.3 s at 1,000 collections of 12 replicas), the next page waits until
# they took 2 % of the time, but never longer than 10 s, within the fast interval of 15 s.
SHORTEST_GAP_SECONDS = 0.25
LONGEST_GAP_SECONDS = 10.0
SHARE_OF_TIME = 0.02
# Without any change a page is still printed, so that what expired leaves it and process_* move.
REFRESH_SECONDS = 10.0


class Press:
    """Holds the newest page and replaces it whole. `page` belongs to the event loop."""

    def __init__(self, *, board: Board, renderer: Renderer, own: OwnMetrics) -> None:
        self._board = board
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
        try:
            while True:
                started = loop.time()
                await prepare()
                await self.print_now()
                gap = (loop.time() - started) / SHARE_OF_TIME
                gap = min(max(gap, SHORTEST_GAP_SECONDS), LONGEST_GAP_SECONDS)
                await asyncio.sleep(gap)
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, REFRESH_SECONDS - gap)):
                        await self._board.wait_for_change()
                        await asyncio.sleep(SETTLE_SECONDS)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _printed(self, view: BoardView) -> Page:
        return self._renderer.render(view.blocks(), self._own.text())
