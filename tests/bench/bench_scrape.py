"""How long does a scrape of 1,000 collections take while pages are rendered in the worker thread?

Ours stands beside a bare asyncio server that sends the same bytes, under the same rendering. The
scraper is a process of its own, as Prometheus is, so that its work is not counted as ours.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection

from exporter.board import Board
from exporter.clock import SystemClock
from exporter.exposition.own import OwnMetrics
from exporter.exposition.press import Press
from exporter.exposition.renderer import Renderer
from exporter.logs import Redactor, configure
from exporter.web.access import Access
from exporter.web.face import Face, Landing
from exporter.web.routes import web_app
from exporter.web.server import WebServer
from tests.bench.bench_render import METRICS_A_COLLECTION, block
from tests.bench.verdict import judge, say

COLLECTIONS = 1_000
SCRAPES = 300
PAUSE_SECONDS = 0.02
TARGET_MILLISECONDS = 50.0

Work = Callable[[Press, Board], Coroutine[None, None, None]]


def scrape(address: tuple[str, int], told: Connection) -> None:
    """Scrape again and again, a connection each, and tell the milliseconds of each."""
    request = b"GET /metrics HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n"
    took: list[float] = []
    for _ in range(SCRAPES):
        started = time.perf_counter()
        with socket.create_connection(address, timeout=10) as line:
            line.sendall(request)
            while line.recv(1 << 20):
                pass
        took.append((time.perf_counter() - started) * 1000)
        time.sleep(PAUSE_SECONDS)
    told.send(took)


async def scraped(address: tuple[str, int]) -> list[float]:
    """Return the milliseconds of scrapes made by another process."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=scrape, args=(address, there))
    process.start()
    try:
        return await asyncio.to_thread(here.recv)  # type: ignore[no-any-return]
    finally:
        await asyncio.to_thread(process.join)


async def nothing_to_derive() -> None:
    """The blocks are posted as they are."""


async def polls_and_renders(press: Press, board: Board) -> None:
    """Change every value ten times a second; the press prints a page a second of it, as it does."""
    blocks = [block(COLLECTIONS, seed) for seed in range(4)]
    printing = asyncio.create_task(press.run(nothing_to_derive))
    try:
        while True:
            for key, readings in blocks:
                board.post(key, readings)
                await asyncio.sleep(0.1)
    finally:
        printing.cancel()
        await asyncio.gather(printing, return_exceptions=True)


async def renders_without_a_pause(press: Press, board: Board) -> None:
    """Render one page after the other, each with every value new: far worse than real life."""
    blocks = [block(COLLECTIONS, seed) for seed in range(4)]
    while True:
        for key, readings in blocks:
            board.post(key, readings)
            await press.print_now()


@asynccontextmanager
async def our_server(press: Press) -> AsyncIterator[tuple[str, int]]:
    """Run the real web server on this press."""

    async def reload() -> str | None:
        return None

    face = Face(
        page=lambda: press.page,
        ready=lambda: True,
        status=dict,
        config_yaml=str,
        reload=reload,
        landing=lambda: Landing(version="bench"),
        alerts=dict,
        rules=dict,
        runbooks=tuple,
        runbook=lambda name: None,
    )
    access = Access(path=None, clock=SystemClock())
    app = web_app(face=face, access=access, enable_lifecycle=False)
    server = WebServer(app=app, access=access, listen_addresses=("127.0.0.1:0",))
    await server.start()
    try:
        yield server.addresses[0]
    finally:
        await server.stop()


@asynccontextmanager
async def bare_server(press: Press) -> AsyncIterator[tuple[str, int]]:
    """Run the least that can send the same bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = press.page.gzipped
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield host, port
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def beside(work: Coroutine[None, None, None] | None) -> AsyncIterator[None]:
    """Keep this going meanwhile."""
    if work is None:
        yield
        return
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def new_press(board: Board) -> Press:
    """Return a press that has printed its first page."""
    return Press(board=board, renderer=Renderer(clock=SystemClock()), own=OwnMetrics(version="bench"))


async def measure() -> None:
    """Scrape both servers, with and without rendering, and print p50 and p99."""
    board = Board(clock=SystemClock())
    board.post(*block(COLLECTIONS, 99))
    size_kilobytes = len(new_press(board).page.gzipped) / 1000
    say(
        f"{COLLECTIONS:,} collections, {COLLECTIONS * METRICS_A_COLLECTION:,} series",
        f"{size_kilobytes:,.0f} kB",
    )
    ways: tuple[tuple[str, Work | None], ...] = (
        ("no rendering", None),
        ("polls and a page a second", polls_and_renders),
        ("rendering without a pause", renders_without_a_pause),
    )
    for way, work in ways:
        for name, server in (("a bare asyncio server", bare_server), ("ours", our_server)):
            press = new_press(board)
            async with server(press) as address, beside(work and work(press, board)):
                took = await scraped(address)
            p99 = statistics.quantiles(took, n=100)[98]
            say(f"{way}, {name}: p50", f"{statistics.median(took):.1f} ms")
            if work is polls_and_renders and server is our_server:
                judge(f"{way}, {name}: p99", p99, "ms", below=TARGET_MILLISECONDS)
            else:
                say(f"{way}, {name}: p99", f"{p99:.1f} ms")


def main() -> None:
    """Print a small table."""
    configure(level="error", format="json", redactor=Redactor())
    asyncio.run(measure())


if __name__ == "__main__":
    main()
