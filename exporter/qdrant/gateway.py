"""The HTTP door to one peer: whole answers, streams, and every failure as one of our errors.

What the answers mean is not known here. Nothing is shared between the gateways of two peers.
"""

from __future__ import annotations

import asyncio
import random as random_numbers
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.errors import SourceError, SourceRefused, SourceTimeout, SourceUnreachable
from exporter.model import FaultKind
from exporter.qdrant.answers import Answer, decode
from exporter.qdrant.breaker import Breaker, Held, HoldLimits, Permit
from exporter.qdrant.connection import Connections, Request
from exporter.qdrant.cost import OK, CostBook, Spent
from exporter.qdrant.door import Door, Tls, quote_segment
from exporter.qdrant.download import Download, Downloads
from exporter.qdrant.exchange import Exchange
from exporter.qdrant.failures import Progress

__all__ = ["Answer", "Door", "Download", "Gateway", "Spent", "Tls", "decode", "quote_segment"]

# The server collects telemetry under one lock: a second call would only wait inside it.
SINGLE_FLIGHT_PATHS = frozenset({"/telemetry", "/metrics"})
SINGLE_FLIGHT = "single flight"
# Calls at once to one endpoint otherwise. Most take a fifth of a millisecond: four keep the
# wire busy, and of those that hang on another peer no more than four are ever open.
CALLS_AT_ONCE = 4
# What the fast lane asks. Its breaker holds for half a fast interval at most, so that it is
# always over when the next poll comes: a peer that is back is seen to be back then.
FAST_ENDPOINTS = frozenset({"/healthz", "/cluster", "/telemetry"})
FAST_HOLD_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class _Call:
    """One call under way: leave to make it, and how far it came."""

    endpoint: str
    permit: Permit
    progress: Progress
    started_seconds: float


class Gateway:
    """Calls to one peer. Stores at construction, connects at the first call.

    Redirects are never followed, proxies of the environment never used, cookies never kept.
    `response_limit_bytes` counts a body as we hold it, after decompression where a proxy
    compressed it against our wish. `fast_seconds` is the interval of the fast lane.
    Belongs to the event loop of its first call; close() ends it.
    """

    def __init__(
        self,
        *,
        door: Door,
        clock: Clock,
        response_limit_bytes: int,
        fast_seconds: float,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        self._clock = clock
        self._response_limit_bytes = response_limit_bytes
        self._fast_seconds = fast_seconds
        self._random = random
        self._connections = Connections(door=door, clock=clock)
        self._exchange = Exchange(connections=self._connections, door=door, clock=clock)
        self._downloads = Downloads(connections=self._connections, exchange=self._exchange, door=door)
        self._lines: dict[str, asyncio.Semaphore] = {}
        self._breakers: dict[str, Breaker] = {}
        self._costs = CostBook()

    async def get(
        self, path: str, *, endpoint: str, deadline_seconds: float, limit_bytes: int | None = None
    ) -> Answer:
        """Return the whole answer of GET `path`, a 200.

        `path` is percent-encoded (quote_segment) and may hold a query; `endpoint` is its
        template, such as "/collections/{collection}/memory", never with a name in it.
        The deadline covers connection, head and body, and starts when the call's turn comes:
        a timeout then means that the server was slow, not that we queued. A caller waits in
        that line for one more deadline at most.
        Raises SourceTimeout, SourceUnreachable, SourceAuth, SourceRefused, SourceUnsupported
        or BadPayload, and no other but CancelledError.
        """
        breaker = self._breaker(endpoint)
        held = breaker.held()
        if held is not None:
            raise _held_back(endpoint, held)
        line = self._line(path, endpoint)
        await self._wait_in(line, endpoint, deadline_seconds)
        try:
            call = self._begin(endpoint)
            try:
                body = await self._exchange.whole(
                    Request(path),
                    call.progress,
                    endpoint=endpoint,
                    deadline_seconds=deadline_seconds,
                    limit_bytes=self._response_limit_bytes if limit_bytes is None else limit_bytes,
                )
            except SourceError as error:
                self._end(call, error)
                raise
            except BaseException:
                breaker.abandoned(call.permit)
                raise
            return Answer(endpoint, 200, body, self._end(call, None))
        finally:
            line.release()

    @asynccontextmanager
    async def stream(
        self, path: str, *, endpoint: str, stall_seconds: float, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Download]:
        """Open GET `path` for a body of any size that may take any time, but never stalls.

        No byte for `stall_seconds`, before the answer or within it, is a SourceTimeout; other
        failures as in get(), raised at opening or while iterating. 200 and 206 are good.
        Leaving early closes the connection.
        """
        call = self._begin(endpoint)
        try:
            download = await self._downloads.open(
                Request(path, headers=headers), call.progress, endpoint=endpoint, stall_seconds=stall_seconds
            )
        except SourceError as error:
            self._end(call, error)
            raise
        except BaseException:
            self._breaker(endpoint).abandoned(call.permit)
            raise
        try:
            yield download
        finally:
            download.close()
            self._end(call, download.failure)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return the calls sent by (endpoint, outcome), "ok" or a FaultKind.

        All outcomes of an endpoint are there from its first call on. A call repeated on a
        fresh connection counts once; one held back, or cancelled, not at all.
        """
        return self._costs.counts()

    def spent(self) -> Mapping[str, Spent]:
        """Return the seconds and bytes that calls took, by endpoint."""
        return self._costs.spent()

    async def close(self) -> None:
        """Close all connections; calls under way end as unreachable."""
        await self._connections.close()

    def _line(self, path: str, endpoint: str) -> asyncio.Semaphore:
        single = path.partition("?")[0] in SINGLE_FLIGHT_PATHS
        name, width = (SINGLE_FLIGHT, 1) if single else (endpoint, CALLS_AT_ONCE)
        return self._lines.setdefault(name, asyncio.Semaphore(width))

    async def _wait_in(self, line: asyncio.Semaphore, endpoint: str, longest_seconds: float) -> None:
        try:
            async with asyncio.timeout(longest_seconds):
                await line.acquire()
        except TimeoutError as error:
            detail = f"waited {longest_seconds:g} s in line behind our own calls, nothing was sent"
            raise SourceTimeout(endpoint, detail) from error

    def _breaker(self, endpoint: str) -> Breaker:
        breaker = self._breakers.get(endpoint)
        if breaker is None:
            limits = HoldLimits()
            if endpoint.partition("?")[0] in FAST_ENDPOINTS:
                limits = HoldLimits(self._fast_seconds * FAST_HOLD_RATIO, self._fast_seconds)
            breaker = Breaker(limits=limits, clock=self._clock, random=self._random)
            self._breakers[endpoint] = breaker
        return breaker

    def _begin(self, endpoint: str) -> _Call:
        permit = self._breaker(endpoint).admit()
        if isinstance(permit, Held):
            raise _held_back(endpoint, permit)
        self._costs.open(endpoint)
        return _Call(endpoint, permit, Progress(), self._clock.monotonic())

    def _end(self, call: _Call, failure: SourceError | None) -> float:
        """Tell the breaker and the cost book how a call ended; return what it took in seconds."""
        breaker = self._breaker(call.endpoint)
        if isinstance(failure, SourceTimeout | SourceUnreachable):
            breaker.failed(call.permit, failure.kind)
        else:
            breaker.answered()
        if isinstance(failure, SourceRefused) and failure.retry_after_seconds is not None:
            breaker.told_to_wait(failure.retry_after_seconds)
        took_seconds = self._clock.monotonic() - call.started_seconds
        self._costs.record(
            call.endpoint,
            OK if failure is None else failure.kind,
            seconds=took_seconds,
            received_bytes=call.progress.received_bytes,
        )
        return took_seconds


def _held_back(endpoint: str, held: Held) -> SourceError:
    """Return why a call is not made: the last failure's kind, and for how long."""
    if held.kind is FaultKind.REFUSED:
        detail = f"held back for {held.seconds:.1f}s as the server asked"
        return SourceRefused(endpoint, detail, status=429, retry_after_seconds=held.seconds)
    detail = f"held back for {held.seconds:.1f}s after {held.failures} failures"
    kind = SourceTimeout if held.kind is FaultKind.TIMEOUT else SourceUnreachable
    return kind(endpoint, detail)
