"""Timed requests to one peer over warm connections, for what measures the peer itself.

Unlike the gateway, lanes hold nothing back: a probe that is due goes out, also to a peer that just
failed, for a breaker would hide the very failures that are to be measured. Who calls bounds how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.errors import SourceAuth, SourceError, SourceRefused, SourceTimeout, SourceUnreachable
from exporter.qdrant.connection import KEEPALIVE_SECONDS, Connections, Request
from exporter.qdrant.cost import OK, CostBook
from exporter.qdrant.door import Door
from exporter.qdrant.exchange import Exchange
from exporter.qdrant.failures import Progress
from exporter.qdrant.wire import Wire

# The root route answers without asking anything, and without a key: it opens a connection and no more.
WARM_UP = Request("/")
# The first may find its connection closed, and be answered over one that closes after it.
WARM_UPS = 2
# Ids and scores of a thousand points, the most that is asked for, are 100 KB.
ANSWER_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Timed:
    """How one request went. `took_seconds`: from its first byte sent to the last received, or to the failure.

    The connection was open before, except where it broke as we wrote to it.
    """

    endpoint: str
    took_seconds: float
    body: bytes = b""
    failure: SourceError | None = None


class ClosedLanesError(Exception):
    """We closed the lanes under a request: its failure says nothing of the peer."""


class Lanes:
    """Connections to one peer, each for one request at a time.

    A request gets a lane to itself and finds its connection open: where the last use is longer ago
    than a connection lives, a request for / goes ahead and its time is not counted. So what is
    measured is the server and the way to it, never a handshake, and no request waits for another.
    Stores at construction, connects at the first call. Belongs to one event loop; close() ends it.
    """

    def __init__(self, *, door: Door, clock: Clock) -> None:
        self._door = door
        self._clock = clock
        self._idle: list[_Lane] = []  # the one used last is at the end, and is used first
        self._all: list[_Lane] = []
        self._costs = CostBook()
        self._closed = False

    async def call(
        self,
        request: Request,
        *,
        endpoint: str,
        deadline_seconds: float,
        limit_bytes: int = ANSWER_LIMIT_BYTES,
    ) -> Timed:
        """Send a request and return how it went; raises CancelledError only.

        `endpoint` is the template of its path, never with a name in it. The
        deadline holds for the warm-up and for the request, each by itself; a longer answer than
        `limit_bytes` is a BadPayload.
        """
        lane = self._idle.pop() if self._idle else self._new_lane()
        try:
            if self._closed:  # a new lane would connect, and nobody would close it any more
                await lane.connections.close()
            for _ in range(WARM_UPS):
                if self._clock.monotonic() - lane.used_at_seconds <= KEEPALIVE_SECONDS / 2:
                    break
                warmed = await self._send(lane, WARM_UP, WARM_UP.path, deadline_seconds, ANSWER_LIMIT_BYTES)
                if isinstance(warmed.failure, SourceTimeout | SourceUnreachable):
                    return warmed
                if warmed.failure is not None:
                    break  # any answer will do, a refusal too: the connection is open
            return await self._send(lane, request, endpoint, deadline_seconds, limit_bytes)
        finally:
            if not self._closed:
                self._idle.append(lane)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return the requests sent by (endpoint, outcome), as Gateway.counts."""
        return self._costs.counts()

    @property
    def closed(self) -> bool:
        """Whether close() was called: what failed since then says nothing of the peer."""
        return self._closed

    async def close(self) -> None:
        """Close all connections; requests under way end as unreachable."""
        self._closed = True
        for lane in self._all:
            await lane.connections.close()

    def _new_lane(self) -> _Lane:
        wire = Wire(clock=self._clock)
        connections = Connections(door=self._door, clock=self._clock, wire=wire)
        exchange = Exchange(connections=connections, door=self._door, clock=self._clock)
        lane = _Lane(connections, exchange, wire)
        self._all.append(lane)
        return lane

    async def _send(
        self, lane: _Lane, request: Request, endpoint: str, deadline_seconds: float, limit_bytes: int
    ) -> Timed:
        self._costs.open(endpoint)
        progress, failure, body = Progress(), None, b""
        lane.used_at_seconds = float("-inf")  # until it is known to be open, also where this is cancelled
        started = self._clock.monotonic()
        lane.wire.begin()
        try:
            body = await lane.exchange.whole(
                request,
                progress,
                endpoint=endpoint,
                deadline_seconds=deadline_seconds,
                limit_bytes=limit_bytes,
            )
        except SourceError as error:
            failure = error
        ended = self._clock.monotonic()
        # an answer that was read whole leaves its connection open, a refusal too
        if not progress.retried and isinstance(failure, SourceAuth | SourceRefused | None):
            lane.used_at_seconds = ended
        self._costs.record(
            endpoint,
            OK if failure is None else failure.kind,
            seconds=ended - started,
            received_bytes=progress.received_bytes,
        )
        took = lane.wire.took_seconds() if failure is None else None
        return Timed(endpoint, ended - started if took is None else took, body, failure)


@dataclass(slots=True)
class _Lane:
    connections: Connections
    exchange: Exchange
    wire: Wire
    used_at_seconds: float = float("-inf")  # when its connection was last seen open
