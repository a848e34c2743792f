"""A listening socket that takes notifications, or does what services do instead.

`ScriptedReceiver` runs in the caller's event loop.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from exporter.alerting.receivers.webhook import Webhook
from exporter.config.alerting import WebhookSettings
from exporter.config.secret import Secret


@dataclass(frozen=True, slots=True)
class Play:
    """What is done with one request. `takes`: the service acts on it, whatever the sender learns."""

    name: str
    takes: bool = True
    status: int | None = 200  # None: no answer at all
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False  # stays silent until the sender goes
    resets: bool = False  # cuts the connection hard; else it closes it


TAKE = Play("take")
TOO_MANY = Play("429", takes=False, status=429, headers={"Retry-After": "1"})
BUSY = Play("500", takes=False, status=500)
BUSY_BUT_TAKES = Play("500 but taken", status=500)
REJECT = Play("400", takes=False, status=400)
REFUSE = Play("401", takes=False, status=401)
HANG = Play("hang", takes=False, status=None, hangs=True)
HANG_BUT_TAKE = Play("hang but taken", status=None, hangs=True)
RESET = Play("reset", takes=False, status=None, resets=True)
RESET_BUT_TAKE = Play("reset but taken", status=None, resets=True)
CLOSE = Play("close", takes=False, status=None)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, whole."""

    at: float  # monotonic seconds
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    play: Play

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    @property
    def told(self) -> tuple[str, int]:
        """Kind and episode of a notification that a webhook was sent."""
        ours = self.json["qdrantx"]
        return ours["kind"], ours["episode"]


class ScriptedReceiver:
    """Answers requests as `plan` says, and keeps what arrived. Keeps its port over `stop` and `start`."""

    def __init__(self, plan: Callable[[], Play] = lambda: TAKE) -> None:
        self.plan = plan
        self.arrivals: list[Arrival] = []
        self._port = 0
        self._server: asyncio.Server | None = None
        self._more = asyncio.Condition()
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens; known after the first `start`."""
        return f"http://127.0.0.1:{self._port}/hook"

    @property
    def taken(self) -> list[Arrival]:
        """What the service acted on."""
        return [arrival for arrival in self.arrivals if arrival.play.takes]

    def script(self, *plays: Play, then: Play = TAKE) -> None:
        """Do these with the next requests, one each, and `then` with all that follow."""
        left = list(plays)
        self.plan = lambda: left.pop(0) if left else then

    async def start(self) -> None:
        """Open the socket."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def wait_for(self, count: int, *, seconds: float = 10.0) -> list[Arrival]:
        """Return the arrivals once there are as many."""
        async with asyncio.timeout(seconds), self._more:
            await self._more.wait_for(lambda: len(self.arrivals) >= count)
        return self.arrivals

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the sender went
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        play = self.plan()
        async with self._more:
            self.arrivals.append(Arrival(time.monotonic(), head[0].split()[1], headers, body, play))
            self._more.notify_all()
        if play.hangs:
            await reader.read()  # until the sender closes
        elif play.resets:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        elif play.status is not None:
            lines = [f"HTTP/1.1 {play.status} X", "Content-Length: 0", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in play.headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            await writer.drain()


def webhook(url: str, *, name: str = "hook", keyless: bool = False, deadline_seconds: float = 1.0) -> Webhook:
    """Return a webhook whose deadline may be shorter than the configuration allows.

    `keyless`: it knows no repeat by its key, as a chat.
    """
    settings = WebhookSettings.model_construct(
        url=Secret(url), deadline_seconds=deadline_seconds, idempotent=not keyless
    )
    return Webhook(id=f"{name}-1", name=name, settings=settings)
