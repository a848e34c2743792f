"""A web server on a loopback port with a face that a test can move, and a plain client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isal import igzip

from exporter.clock import SystemClock
from exporter.web.access import Access
from exporter.web.face import Face, Landing
from exporter.web.routes import web_app
from exporter.web.server import WebServer

DEADLINE_SECONDS = 30.0


@dataclass
class Page:
    """A page of any size."""

    plain: bytes = b"qdrantx_up 1\n"

    @property
    def gzipped(self) -> bytes:
        """The same, compressed."""
        return igzip.compress(self.plain, 1)


@dataclass
class Daemon:
    """What the face is told; a test changes it."""

    page: Page = field(default_factory=Page)
    ready: bool = True
    status: Mapping[str, Any] = field(default_factory=dict)
    config_yaml: str = "clusters: []\n"
    reload_problem: str | None = None
    reloads: int = 0
    landing: Landing = field(default_factory=lambda: Landing(version="1.2.3"))
    alerts: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    runbooks: Mapping[str, str] = field(default_factory=dict)  # text by name

    def face(self) -> Face:
        """Return the face that shows this."""
        return Face(
            page=lambda: self.page,
            ready=lambda: self.ready,
            status=lambda: self.status,
            config_yaml=lambda: self.config_yaml,
            reload=self._reload,
            landing=lambda: self.landing,
            alerts=lambda: self.alerts,
            rules=lambda: self.rules,
            runbooks=lambda: tuple(self.runbooks),
            runbook=self.runbooks.get,
        )

    async def _reload(self) -> str | None:
        self.reloads += 1
        return self.reload_problem


@dataclass(frozen=True)
class Answer:
    """One answer as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Site:
    """A server that runs, and how to ask it."""

    server: WebServer
    daemon: Daemon

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.server.addresses[0]

    async def connect(
        self, context: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open one connection."""
        host, port = self.address
        return await asyncio.open_connection(
            host, port, ssl=context, server_hostname="localhost" if context else None
        )

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """Send one request on a connection of its own and return the answer."""
        head = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        return await self.send(
            f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n".encode(), context
        )

    async def send(self, request: bytes, context: ssl.SSLContext | None = None) -> Answer:
        """Send these bytes and return what comes back until the server hangs up."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            reader, writer = await self.connect(context)
            try:
                writer.write(request)
                return parsed(await reader.read())
            finally:
                writer.close()


def parsed(raw: bytes) -> Answer:
    """Take one answer apart."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Answer(int(status_line.split(" ")[1]), headers, body)


@asynccontextmanager
async def serving(
    daemon: Daemon | None = None, *, web_file: Path | None = None, enable_lifecycle: bool = False
) -> AsyncIterator[Site]:
    """Run a server on a free loopback port."""
    daemon = daemon or Daemon()
    access = Access(path=web_file, clock=SystemClock())
    access.open()
    server = WebServer(
        app=web_app(face=daemon.face(), access=access, enable_lifecycle=enable_lifecycle),
        access=access,
        listen_addresses=("127.0.0.1:0",),
    )
    await server.start()
    try:
        yield Site(server, daemon)
    finally:
        await server.stop()
