"""What a search took is what the wire saw, however late the event loop comes to it."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time

import pytest

from exporter.clock import SystemClock
from exporter.qdrant.connection import Request
from exporter.qdrant.door import Door
from exporter.qdrant.lanes import Lanes
from exporter.qdrant.wire import SO_TIMESTAMPNS, Wire
from tests.kit.clock import ManualClock
from tests.kit.servers import Wire as ServersWire
from tests.kit.servers import WireServer, reply

LATE_SECONDS = 0.3


def stamped(at_seconds: float) -> list[tuple[int, int, bytes]]:
    """The ancillary data of bytes that came at this Unix time."""
    whole = int(at_seconds)
    stamp = struct.pack("@qq", whole, round((at_seconds - whole) * 1e9))
    return [(socket.SOL_SOCKET, SO_TIMESTAMPNS or 0, stamp)]


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps the bytes of a TCP socket")


@linux
async def test_a_loop_that_stands_still_makes_no_search_slower() -> None:
    """The answer came long before it was read, and the kernel knows when."""

    async def play(wire: ServersWire) -> None:
        while head := await wire.request():
            if b"/x" not in head:
                await wire.send(reply(200, b"{}"))
                continue
            await asyncio.sleep(0.05)
            await wire.send(reply(200, b"{}"))
            # server and client share this loop: it stands still right after the answer was sent
            time.sleep(LATE_SECONDS)

    async with WireServer(play) as server:
        lanes = Lanes(door=Door(url=server.url), clock=SystemClock())
        await lanes.call(Request("/"), endpoint="/", deadline_seconds=5.0)
        started = time.monotonic()
        timed = await lanes.call(Request("/x"), endpoint="/x", deadline_seconds=5.0)
        elapsed_seconds = time.monotonic() - started
        await lanes.close()

    assert timed.failure is None
    assert 0.04 < timed.took_seconds < elapsed_seconds - 0.9 * LATE_SECONDS


@linux
def test_the_kernels_stamp_is_believed_between_asking_and_now_only() -> None:
    """A wall clock that was set meanwhile makes no time of its own: then the time of reading counts."""
    took = []
    for came_before_now in (0.75, 0.0, -3.0, 2.0, 3600.0):
        clock = ManualClock()
        wire = Wire(clock=clock)
        wire.sending()
        clock.advance(1.0)
        wire.received(stamped(clock.now() - came_before_now))
        took.append(wire.took_seconds())

    assert took == pytest.approx([0.25, 1.0, 1.0, 1.0, 1.0], abs=1e-6)


def test_the_first_byte_sent_and_the_last_received_count() -> None:
    """A request goes out in pieces, and so does an answer; where the kernel says nothing, reading counts."""
    clock = ManualClock()
    wire = Wire(clock=clock)
    before = wire.took_seconds()
    for step in (wire.sending, wire.sending, lambda: wire.received([]), lambda: wire.received([])):
        clock.advance(1.0)
        step()
    took = wire.took_seconds()
    wire.begin()

    assert (before, took, wire.took_seconds()) == (None, 3.0, None)
