"""The press follows the Board without being asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exporter.board import Board
from exporter.clock import SystemClock
from exporter.exposition.own import OwnMetrics
from exporter.exposition.press import Press
from exporter.exposition.renderer import Renderer
from exporter.model import Kind, MetricSpec, ProducerKey, Reading

KEY = ProducerKey("default", "one", "telemetry")
BARE = MetricSpec(
    name="qdrantx_bare", kind=Kind.GAUGE, what="Bare", unit="1", source="this daemon", labels=()
)


def press_of(board: Board) -> Press:
    """Return a press with real parts."""
    return Press(board=board, renderer=Renderer(clock=SystemClock()), own=OwnMetrics(version="1.2.3"))


async def nothing_to_prepare() -> None:
    """These boards have no one who derives."""


async def until(claim: Callable[[], bool]) -> None:
    """Return as soon as the claim holds; fail after twenty seconds."""
    async with asyncio.timeout(20):
        while not claim():
            await asyncio.sleep(0.01)


async def test_there_is_a_page_before_anything_is_known() -> None:
    """A scrape right after the start finds the daemon's own metrics."""
    press = press_of(Board(clock=SystemClock()))

    assert b"qdrantx_build_info{" in press.page.plain


async def test_what_is_posted_on_the_board_is_printed_without_being_asked_for() -> None:
    """A change of the Board reaches the page within moments."""
    board = Board(clock=SystemClock())
    press = press_of(board)
    running = asyncio.create_task(press.run(nothing_to_prepare))
    await until(lambda: press.page.rendered_at_seconds > 0)

    board.post(KEY, (Reading(BARE, (), 7.0),))
    await until(lambda: b"qdrantx_bare 7\n" in press.page.plain)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()


async def test_a_page_can_be_asked_for() -> None:
    """A verb that polls once prints at once."""
    board = Board(clock=SystemClock())
    press = press_of(board)
    board.post(KEY, (Reading(BARE, (), 7.0),))

    page = await press.print_now()

    assert b"qdrantx_bare 7\n" in page.plain
    assert page is press.page
