"""Connections to one peer: a small pool, and fresh ones where a pooled one turns out dead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

from exporter.clock import Clock
from exporter.qdrant.door import Door
from exporter.qdrant.failures import Progress
from exporter.qdrant.names import HostLookup
from exporter.qdrant.tls import TlsContext
from exporter.qdrant.wire import Wire, sockets_of

# Qdrant closes a connection that was idle for 5 s. We stop using it two seconds earlier: that
# covers a slow network and a busy event loop, and a cycle's many calls follow each other closer.
KEEPALIVE_SECONDS = 3.0
# Bytes that aiohttp takes from a socket ahead of us. At its default of 64 KiB a megabyte of
# telemetry stops and starts the socket a dozen times.
READ_AHEAD_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What to send. `path` is percent-encoded; `body` is JSON, b"" for none; `stream` is made as it is sent.

    `once`: what it does must not be done twice, so it goes out on a connection of its own, that no
    idle time can have closed, and is never repeated.
    """

    path: str
    method: str = "GET"
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    headers: Mapping[str, str] | None = None
    once: bool = False


class ClosedError(aiohttp.ClientConnectionError):
    """A call after close()."""


class BrokenError(aiohttp.ClientError):
    """A connection that broke before the head of an answer was whole.

    Of a class of our own, or aiohttp would try again by itself: on any pooled connection,
    and also after half an answer.
    """

    def __init__(self, *, before_any_byte: bool) -> None:
        super().__init__("broke")
        self.before_any_byte = before_any_byte


class Connections:
    """Opens requests to one peer, on a pooled connection where a live one is at hand.

    A pooled connection may break as we write to it: the server closed it in that moment.
    Where no byte of an answer came, the request goes out once more on a fresh connection: it may
    be sent twice, save one that says `once`. After a timeout none is.
    """

    def __init__(self, *, door: Door, clock: Clock, wire: Wire | None = None) -> None:
        """`wire` is told of every byte; then only one request may be under way at a time."""
        self._door = door
        self._wire = wire
        self._tls = TlsContext(tls=door.tls, clock=clock)
        self._lookup = HostLookup()
        self._pooled: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._closed = False

    async def open(self, request: Request, *, progress: Progress) -> aiohttp.ClientResponse:
        """Send a request and return the answer, its head read and its body still to come.

        Raises CLIENT_FAILURES.
        """
        if request.once:
            return await self._send(request, progress, pooled=False)
        try:
            return await self._send(request, progress, pooled=True)
        except BrokenError as error:
            if not (progress.reused_connection and error.before_any_byte):
                raise
        progress.reused_connection = progress.connected = False
        progress.retried = True
        return await self._send(request, progress, pooled=False)

    async def close(self) -> None:
        """Close every connection, those in use too, also when cancelled at it."""
        self._closed = True
        async with AsyncExitStack() as stack:
            for session in (self._fresh, self._pooled):
                if session is not None:
                    stack.push_async_callback(session.close)
            await self._lookup.close()

    async def _send(self, request: Request, progress: Progress, *, pooled: bool) -> aiohttp.ClientResponse:
        context = await self._tls.current() if self._door.encrypted else True
        if self._closed:  # asked last thing before the session is, which would raise RuntimeError
            raise ClosedError("closed")
        headers = dict(request.headers or {})
        if request.body:
            headers.setdefault("Content-Type", "application/json")
        return await self._session(pooled=pooled).request(
            request.method,
            self._door.target(request.path),
            headers=headers,
            data=request.body or request.stream,
            allow_redirects=False,
            ssl=context,
            server_hostname=self._door.server_name if self._door.encrypted else None,
            trace_request_ctx=progress,
        )

    def _session(self, *, pooled: bool) -> aiohttp.ClientSession:
        if pooled:
            if self._pooled is None:
                self._pooled = self._new_session(force_close=False, keepalive_timeout=KEEPALIVE_SECONDS)
            return self._pooled
        if self._fresh is None:
            self._fresh = self._new_session(force_close=True, keepalive_timeout=None)
        return self._fresh

    def _new_session(self, *, force_close: bool, keepalive_timeout: float | None) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            # No limit: the gateway's lines bound the calls, endpoint by endpoint, so that calls
            # that hang never take the last connection from those that do not.
            limit=0,
            force_close=force_close,
            keepalive_timeout=keepalive_timeout,
            resolver=self._lookup,
            use_dns_cache=False,
            socket_factory=None if self._wire is None else sockets_of(self._wire),
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._door.headers(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the gateway's deadlines rule
            trust_env=False,
            read_bufsize=READ_AHEAD_BYTES,
            middlewares=(_one_try,),
            trace_configs=[_watch_progress()],
        )


async def _one_try(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request once, whatever aiohttp thinks of it."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except aiohttp.ServerDisconnectedError as error:
        # aiohttp hands over what it has of an unfinished head as `message`; text means nothing came.
        raise BrokenError(before_any_byte=isinstance(error.message, str)) from error
    except aiohttp.ClientOSError as error:  # a reset: nothing of a head is left to see
        raise BrokenError(before_any_byte=True) from error


def _watch_progress() -> aiohttp.TraceConfig:
    """Note on the call's Progress what kind of connection it got."""

    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.reused_connection = True
        context.trace_request_ctx.connected = True

    async def connected(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.connected = True

    watch = aiohttp.TraceConfig()
    watch.on_connection_reuseconn.append(reused)
    watch.on_connection_create_end.append(connected)
    return watch
