"""Listening, and stopping within a bound.

uvicorn's protocol and ASGI bridge, without its Server: that one takes over signals, leaves the
process when a port is taken, wakes ten times a second, and cannot be bounded by connections.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from exporter.config.addresses import ListenAddress, split_listen_address
from exporter.errors import ListenError
from exporter.logs import get_logger
from exporter.web.access import Access
from exporter.web.connection import KEEP_ALIVE_SECONDS, Line, Lines

# Clients that are connected but not yet accepted, and how many are accepted in one turn of the loop.
BACKLOG = 128
# How long answers under way may take when we stop. Kubernetes kills after 30 s, systemd after 90.
STOP_SECONDS = 5.0

log = get_logger()


class WebServer:
    """Serves an ASGI application on one or several addresses."""

    def __init__(self, *, app: ASGIApp, access: Access, listen_addresses: Sequence[str]) -> None:
        self._app = app
        self._access = access
        self._listen_addresses = tuple(listen_addresses)
        self._servers: list[asyncio.Server] = []
        self._lines = Lines()
        self._state = ServerState()
        self._config: Config | None = None

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every socket we listen on, with the real port where 0 was asked for."""
        return tuple(
            (found.getsockname()[0], found.getsockname()[1])
            for server in self._servers
            for found in server.sockets
        )

    async def start(self) -> None:
        """Listen. Raises ListenError saying which address cannot be had and what to do."""
        self._config = Config(
            self._app,
            http=Line,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # nothing here depends on who asks
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._config.load()
        loop = asyncio.get_running_loop()
        for bound in await _bound(self._listen_addresses):
            self._servers.append(await loop.create_server(self._line, sock=bound, backlog=BACKLOG))
        log.info("web.started", addresses=[f"{host} {port}" for host, port in self.addresses])

    async def stop(self) -> None:
        """Stop listening, let answers under way end, and cut what takes longer than five seconds."""
        for server in self._servers:
            server.close()
        for line in self._lines.all():
            line.shutdown()
        if not await self._all_hung_up():
            late = self._lines.all()
            log.warning("web.cut", connections=len(late), waited_seconds=STOP_SECONDS)
            for line in late:
                line.cut()
            await self._all_hung_up()
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    async def _all_hung_up(self) -> bool:
        """Return whether every line ended within the bound."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._lines.empty.wait()
        except TimeoutError:
            return False
        return True

    def _line(self) -> Line:
        assert self._config is not None
        return Line(
            config=self._config,
            server_state=self._state,
            lines=self._lines,
            tls_context=self._access.tls_context(),
        )


async def _bound(listen_addresses: Sequence[str]) -> list[socket.socket]:
    """Return bound sockets for all addresses, or none at all and a ListenError."""
    sockets: list[socket.socket] = []
    try:
        for text in listen_addresses:
            sockets += await _bound_to(text)
    except BaseException:
        for opened in sockets:
            opened.close()
        raise
    return sockets


async def _bound_to(text: str) -> list[socket.socket]:
    address = split_listen_address(text)
    sockets: list[socket.socket] = []
    port = address.port
    for family, host in await _hosts(text, address):
        try:
            opened = _open(family, host, port)
        except OSError as error:
            if sockets and not address.host and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                continue  # a machine without IPv6: all its interfaces are those we have
            for other in sockets:
                other.close()
            raise ListenError(_explained(text, port, error)) from error
        port = opened.getsockname()[1]  # where 0 was asked for, every family gets the same
        sockets.append(opened)
    return sockets


async def _hosts(text: str, address: ListenAddress) -> list[tuple[int, str]]:
    """Return families and hosts to bind: for an empty host IPv4 first, then IPv6."""
    if not address.host:
        families = [(int(socket.AF_INET), "0.0.0.0")]  # noqa: S104  # asked for by an empty host
        return [*families, (int(socket.AF_INET6), "::")] if socket.has_ipv6 else families
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(
            f"--web.listen-address {text}: this host name has no address; write one of this machine"
        ) from error
    return list(dict.fromkeys((int(family), str(place[0])) for family, _, _, _, place in found))


def _open(family: int, host: str, port: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        opened.bind((host, port))
        opened.listen(BACKLOG)  # a taken port may show only here
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


def _explained(text: str, port: int, error: OSError) -> str:
    what = {
        errno.EADDRINUSE: f"port {port} is taken; stop what listens there (`ss -ltnp 'sport = :{port}'`"
        " shows it), or choose another one",
        errno.EACCES: f"port {port} needs root or CAP_NET_BIND_SERVICE; choose one above 1023",
        errno.EADDRNOTAVAIL: "this machine has no such address; write one of its own, or none for all",
    }.get(error.errno or 0)
    return f"--web.listen-address {text}: {what or os.strerror(error.errno or 0)}"
