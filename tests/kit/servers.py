"""Servers that misbehave, on real sockets of 127.0.0.1: each connection is played by a coroutine.

    async with WireServer(answering(reply(200, b"{}"))) as server:
        ... server.url ... server.requests ... server.connections

A play gets a Wire and does what it likes with it; when it returns, the connection is closed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

JSON = "application/json"


class Wire:
    """One connection as the server sees it."""

    def __init__(
        self, server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = server.connections  # 1 for the first connection
        self._server = server
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes | None:
        """Return the next request's head, raw; None when the client closed."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        self._server.requests.append(head)
        return head

    async def body(self, size: int) -> bytes:
        """Return so many bytes of the request's body; fewer when the client closed."""
        try:
            return await self._reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            return error.partial

    async def send(self, data: bytes) -> None:
        """Send these bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> None:
        """Break the connection with a reset instead of an end."""
        self._writer.transport.abort()


Play = Callable[[Wire], Awaitable[None]]


class WireServer:
    """Listens on a free port of 127.0.0.1 and plays every connection."""

    def __init__(self, play: Play, *, tls: ssl.SSLContext | None = None) -> None:
        self.play = play  # may be changed between connections
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._playing: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens, as the url of a peer."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def request_lines(self) -> list[str]:
        """The first line of every request so far."""
        return [head.split(b"\r\n", 1)[0].decode("ascii") for head in self.requests]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._playing.add(task)
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.CancelledError, ssl.SSLError):
                await self.play(Wire(self, reader, writer))
        finally:
            self._playing.discard(task)
            writer.close()


def reply(status: int, body: bytes = b"", *headers: str, content_type: str = JSON) -> bytes:
    """Write an answer with its right length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    if body:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(*answers: bytes) -> Play:
    """Give these answers in turn, the last one ever again, and keep the connection alive."""
    left = list(answers)

    async def play(wire: Wire) -> None:
        while await wire.request():
            await wire.send(left.pop(0) if len(left) > 1 else left[0])

    return play


def answering_once(data: bytes) -> Play:
    """Send these bytes to the first request of each connection, then close it."""

    async def play(wire: Wire) -> None:
        if await wire.request():
            await wire.send(data)

    return play


async def silent(wire: Wire) -> None:
    """Accept, read, and never answer."""
    while await wire.request():
        pass


def dripping(data: bytes, *, every_seconds: float) -> Play:
    """Send the answer byte by byte."""

    async def play(wire: Wire) -> None:
        if await wire.request():
            for byte in data:
                await wire.send(bytes([byte]))
                await asyncio.sleep(every_seconds)

    return play


def answering_late(data: bytes, *, after_seconds: float) -> Play:
    """Answer each request after a while."""

    async def play(wire: Wire) -> None:
        while await wire.request():
            await asyncio.sleep(after_seconds)
            await wire.send(data)

    return play


def closing_when_idle(data: bytes, *, after_seconds: float) -> Play:
    """Answer, and close the connection when no further request comes for a while, as Qdrant does."""

    async def play(wire: Wire) -> None:
        head = await wire.request()
        with suppress(TimeoutError):
            while head:
                await wire.send(data)
                head = await asyncio.wait_for(wire.request(), after_seconds)

    return play


def breaking_at_second_request(
    good: bytes, *, half: bytes = b"", connections: int = 1, reset: bool = False
) -> Play:
    """Answer a connection's first request well; at its second send `half`, then break it.

    Only the first so many connections do that; later ones answer every request.
    """

    async def play(wire: Wire) -> None:
        answered = 0
        while await wire.request():
            if answered and wire.number <= connections:
                await wire.send(half)
                if reset:
                    wire.reset()
                return
            await wire.send(good)
            answered += 1

    return play
