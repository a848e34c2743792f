"""One client's line: uvicorn's HTTP protocol with the limits it lacks.

uvicorn's httptools protocol bounds neither the size of a head nor the time a client takes for
it, nor how long it takes to read an answer, nor how many requests it sends ahead. Here each of
these has a limit, so that a slow, a garrulous or a silent client costs little and hurts nobody.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

# systemd's usual limit is 1,024 open files for the process; the polls need some too. A handful of
# Prometheus servers, probes and people need ten.
MAX_CONNECTIONS = 256
# Request line and headers. 8 to 32 KiB is what other servers take; ours need one.
MAX_HEAD_BYTES = 16 * 1024
# TLS greeting and head: a client on a bad line needs one or two.
HEAD_SECONDS = 10.0
# From head to the last byte of the answer. Prometheus gives up after its scrape_timeout, by
# default 10 s; 40 MB in 30 s is a line of 11 Mbit/s.
ANSWER_SECONDS = 30.0
# Longer than the usual scrape interval of up to a minute, so that a scraper's line is kept.
KEEP_ALIVE_SECONDS = 75
# Requests sent ahead of their answers; 14,000 fit into one read otherwise. Browsers send none.
MAX_SENT_AHEAD = 8
# How long a client that we hung up on is listened to: TCP answers its unread bytes with a reset,
# which would take our answer from it.
LINGER_SECONDS = 1.0


class Phase(Enum):
    """What a line waits for."""

    HEAD = auto()  # the TLS greeting, a request line, headers
    ANSWER = auto()  # ours to be made and taken
    IDLE = auto()  # another request, or none
    CLOSING = auto()  # the client to hang up too


class Lines:
    """All open lines. Beyond the limit the one that has been waiting longest is cut for a new one.

    Thousands of idle connections thus cost themselves, and the next scrape still gets through.
    """

    def __init__(self) -> None:
        self._open: dict[Line, None] = {}  # by when they last got on, the longest ago first
        self.empty = asyncio.Event()
        self.empty.set()

    def add(self, line: Line) -> None:
        """Count this one in."""
        if len(self._open) >= MAX_CONNECTIONS:
            # also one that does not take its answer: a line that moves is never the first
            victim = next(iter(self._open))
            self.remove(victim)
            victim.cut()
        self._open[line] = None
        self.empty.clear()

    def got_on(self, line: Line) -> None:
        """Note that something happened on this one."""
        if line in self._open:
            del self._open[line]
            self._open[line] = None

    def remove(self, line: Line) -> None:
        """Count this one out."""
        self._open.pop(line, None)
        if not self._open:
            self.empty.set()

    def all(self) -> list[Line]:
        """Return those that are open now."""
        return list(self._open)


class Line(HttpToolsProtocol):
    """One connection. `tls_context` is what it is greeted with, None for plain HTTP."""

    def __init__(
        self, *, config: Config, server_state: ServerState, lines: Lines, tls_context: ssl.SSLContext | None
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={})
        self.phase = Phase.HEAD
        self._lines = lines
        self._tls_context = tls_context
        self._raw: asyncio.Transport | None = None
        self._greeting: asyncio.Task[None] | None = None
        self._early: list[bytes] = []  # what came with the end of the TLS greeting
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0  # of the head under way, as they came
        self._field_bytes = 0  # of the head under way, as parsed
        self._refusal: HTTPStatus | None = None
        self._is_whole = True  # whether the newest request has come with all its body
        self._is_deaf = False  # whether what still comes is thrown away
        self._is_lost = False

    # from the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count in; greet with TLS where that is asked for."""
        self._raw = transport
        self._lines.add(self)
        self._expect_within(HEAD_SECONDS, self._head_is_late)
        if self._tls_context is None:
            super().connection_made(transport)
            return
        transport.pause_reading()  # until the greeting is in place, or it would see half of it
        self._greeting = asyncio.create_task(self._greet(transport, self._tls_context))

    async def _greet(self, raw: asyncio.Transport, tls_context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                raw,
                self,
                tls_context,
                server_side=True,
                ssl_handshake_timeout=HEAD_SECONDS,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
        except OSError:  # no TLS, no common version, no client certificate, hung up: the client's affair
            self._over()
            raw.abort()
            return
        if self._is_lost or transport is None:
            self._over()
            return
        super().connection_made(transport)
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request, within the limits."""
        if self._is_deaf or self._is_lost:
            return
        if self.transport is None:
            self._early.append(data)
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
            self._expect_within(HEAD_SECONDS, self._head_is_late)
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_deaf = True  # we speak nothing else: the answer, and good-bye
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            self._refuse(self._refusal or _status_of(error, data))
        else:
            if self.phase is Phase.HEAD and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count out."""
        self._is_lost = True
        self._over()
        if self.transport is not None:
            super().connection_lost(exc)
            self._unset_keepalive_if_required()

    # from the parser

    def on_message_begin(self) -> None:
        """Refuse who sends far ahead: each request waiting costs memory."""
        self._field_bytes = 0
        if len(self.pipeline) >= MAX_SENT_AHEAD:
            self._reject(HTTPStatus.TOO_MANY_REQUESTS)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Bound the length of the request line."""
        self._field_bytes += len(url)
        if self._field_bytes > MAX_HEAD_BYTES:
            self._reject(HTTPStatus.REQUEST_URI_TOO_LONG)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound the sum of all headers."""
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > MAX_HEAD_BYTES:
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the answer begin; from here its deadline counts."""
        self._head_bytes = 0
        self._is_whole = False
        self._enter(Phase.ANSWER)
        self._expect_within(ANSWER_SECONDS, self.cut)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body, if any, has ended."""
        self._is_whole = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or go on with one sent ahead."""
        goes_on = bool(self.pipeline)
        super().on_response_complete()
        if self.transport.is_closing():
            return  # what is written may still have to be read: the answer's deadline stays
        if goes_on:
            self._expect_within(ANSWER_SECONDS, self.cut)
        elif self._is_whole:
            self._enter(Phase.IDLE)
            self._expect_nothing()  # uvicorn's own timer runs now
        else:
            self._hang_up()  # nobody reads bodies here, and an endless one would keep the line busy

    def timeout_keep_alive_handler(self) -> None:
        """Hang up after a long silence, also on a client that never took its answer."""
        self.cut() if self.transport.get_write_buffer_size() else self.transport.close()

    # from the server

    def shutdown(self) -> None:
        """Let an answer under way end; hang up otherwise."""
        if self.transport is None or self.phase is Phase.CLOSING:
            self.cut()
        else:
            super().shutdown()

    def cut(self) -> None:
        """End this line now, whatever is under way."""
        transport = self.transport or self._raw
        if transport is not None:
            transport.abort()

    # our own

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._lines.got_on(self)

    def _expect_within(self, seconds: float, otherwise: Callable[[], None]) -> None:
        self._expect_nothing()
        self._timer = self.loop.call_later(seconds, otherwise)

    def _expect_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._expect_nothing()
        self._lines.remove(self)

    def _head_is_late(self) -> None:
        if self.transport is None or not self._head_bytes:
            self.cut()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _reject(self, status: HTTPStatus) -> None:
        """Stop the parser; `data_received` answers with this status."""
        self._refusal = status
        raise ValueError(status.phrase)

    def _refuse(self, status: HTTPStatus) -> None:
        """Say what is wrong and hang up; with answers under way, hang up after these."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._is_deaf = True
            self.cycle.keep_alive = False  # the newest request's, so the last to be answered
            return
        text = f"{status.phrase}\n".encode()
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (status.value, status.phrase.encode(), len(text), text)
        )
        self._hang_up()

    def _hang_up(self) -> None:
        """Close our side; listen on a moment, or the client would see a reset and not our answer."""
        self._is_deaf = True
        self._enter(Phase.CLOSING)
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._expect_within(LINGER_SECONDS, self.cut)


def _status_of(error: httptools.HttpParserError, data: bytes) -> HTTPStatus:
    """Return 501 for a method that nobody knows in an otherwise sound request line, else 400."""
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        words = data.partition(b"\r\n")[0].split(b" ")
        if len(words) == 3 and words[0].isalpha() and words[2].startswith(b"HTTP/1."):
            return HTTPStatus.NOT_IMPLEMENTED
    return HTTPStatus.BAD_REQUEST
