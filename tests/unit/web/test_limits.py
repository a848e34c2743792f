"""Slow, garrulous and silent clients get the right status and hurt nobody."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from exporter.web import connection
from exporter.web.server import STOP_SECONDS
from tests.unit.web.serving import Daemon, Page, Site, parsed, serving

PATIENCE_SECONDS = 20.0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of time a test can wait for; everything else as it is."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.4)
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.1)


async def assert_a_scrape_is_quick(site: Site) -> None:
    """Everybody else is still served."""
    started = time.monotonic()
    assert (await site.ask("GET", "/metrics")).status == 200
    assert time.monotonic() - started < connection.HEAD_SECONDS / 2


async def test_one_line_serves_many_requests() -> None:
    """A scraper's connection is kept."""
    async with serving() as site:
        reader, writer = await site.connect()
        for _ in range(3):
            writer.write(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(int(parsed(head).headers["content-length"]))
        writer.close()
        await writer.wait_closed()


async def test_requests_sent_ahead_are_answered_in_turn() -> None:
    """Pipelining a few is fine."""
    request = b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(request % b"/metrics" + request % b"/-/ready" + last)
        raw = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        writer.close()

    assert [part[:3] for part in raw.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"404"]


async def test_thousands_of_requests_sent_ahead_end_the_line() -> None:
    """Each would wait in memory; the line ends after the first answers."""
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 10_000)
        raw = await asyncio.wait_for(_until_the_end(reader), PATIENCE_SECONDS)
        writer.close()

        assert 0 < raw.count(b"HTTP/1.1 200") <= connection.MAX_SENT_AHEAD + 2
        await assert_a_scrape_is_quick(site)


@pytest.mark.usefixtures("quick")
async def test_a_head_that_drips_is_ended_with_408() -> None:
    """One byte now and then does not keep a line for long."""
    async with serving() as site:
        reader, writer = await site.connect()
        dripping = asyncio.create_task(_drip(writer, b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 50))
        raw = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        writer.close()

    assert parsed(raw).status == 408


@pytest.mark.usefixtures("quick")
async def test_empty_lines_that_drip_between_requests_do_not_keep_a_line() -> None:
    """They are no request and must not count as one."""
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"healthy.\n")
        dripping = asyncio.create_task(_drip(writer, b"\r\n" * 100))
        await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        writer.close()


@pytest.mark.usefixtures("quick")
async def test_a_client_that_says_nothing_is_hung_up_on() -> None:
    """Without a word, as there was no request."""
    async with serving() as site:
        reader, writer = await site.connect()
        raw = await asyncio.wait_for(_until_the_end(reader), PATIENCE_SECONDS)
        writer.close()

    assert raw == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 10_000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 1_000_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, 400),
        (b"hello?\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", 400),
        (b"GET \xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n", 501),
        (b"TRACE / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 405),
    ],
)
async def test_what_is_no_fit_request_gets_the_right_status(request_bytes: bytes, status: int) -> None:
    """The client can read why, also while it is still sending."""
    async with serving() as site:
        assert (await site.send(request_bytes)).status == status
        await assert_a_scrape_is_quick(site)


async def test_a_request_for_another_protocol_is_answered_in_this_one() -> None:
    """An upgrade is not done, and the line ends."""
    async with serving() as site:
        answer = await site.send(
            b"GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        )

    assert answer.status == 200


async def test_an_endless_body_is_not_read() -> None:
    """The answer comes at once and the line ends."""
    async with serving(enable_lifecycle=True) as site:
        answer = await site.send(
            b"POST /-/reload HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n" + b"x" * 300_000
        )

    assert answer.status == 200


@pytest.mark.usefixtures("quick")
async def test_a_client_that_does_not_read_its_answer_is_cut() -> None:
    """Its answer waits in slices, not as a whole copy, and not for ever."""
    async with serving(Daemon(page=Page(b"x" * 30_000_000))) as site:
        _, writer = await _narrow(site)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        waiting_bytes = await _waiting_bytes(site)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await site.server._lines.empty.wait()
        writer.transport.abort()

    assert 0 < waiting_bytes < 1_000_000


async def test_more_idle_clients_than_there_is_room_for_hurt_nobody() -> None:
    """Those silent for longest make room; scrapes go on, and no more lines are held than allowed."""
    async with serving() as site:
        idle = [await site.connect() for _ in range(connection.MAX_CONNECTIONS + 50)]
        await assert_a_scrape_is_quick(site)
        held = len(site.server._lines.all())
        for _, writer in idle:
            writer.transport.abort()

    assert held <= connection.MAX_CONNECTIONS


async def test_a_slow_reader_does_not_hold_up_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop waits for it a while, then cuts it."""
    monkeypatch.setattr("exporter.web.server.STOP_SECONDS", 0.3)
    async with serving(Daemon(page=Page(b"x" * 30_000_000))) as site:
        _, writer = await _narrow(site)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        await _waiting_bytes(site)
        started = time.monotonic()
        await site.server.stop()
        took_seconds = time.monotonic() - started
        writer.transport.abort()

    assert 0.2 < took_seconds < connection.ANSWER_SECONDS / 2


async def test_an_idle_client_does_not_hold_up_the_stop_at_all() -> None:
    """There is nothing to wait for."""
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"healthy.\n")
        started = time.monotonic()
        await site.server.stop()
        took_seconds = time.monotonic() - started
        writer.close()

    assert took_seconds < STOP_SECONDS / 2


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes((byte,)))
        await asyncio.sleep(0.02)


async def _until_the_end(reader: asyncio.StreamReader) -> bytes:
    """Return what came before the line ended, be it by a reset."""
    pieces: list[bytes] = []
    try:
        while piece := await reader.read(65_536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


async def _waiting_bytes(site: Site) -> int:
    """Return what waits to be read by the only client, once something does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            for line in site.server._lines.all():
                if waiting := line.transport.get_write_buffer_size():
                    return waiting
            await asyncio.sleep(0.01)


async def _narrow(site: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with little room to receive, and read nothing of it."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, site.address)
    return await asyncio.open_connection(sock=narrow, limit=1024)
