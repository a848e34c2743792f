"""When bytes went out and came in, as the socket and the kernel saw it.

The event loop comes to an answer when it may: while another thread reads ten megabytes of telemetry or
derives a thousand collections, that is milliseconds late, and a search would seem slower than it was.
So the end of an answer is the kernel's own stamp of its last bytes, and its beginning the first write.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from exporter.clock import Clock

# <asm-generic/socket.h>; Python does not name it. Elsewhere the time of reading has to do.
SO_TIMESTAMPNS = 35 if sys.platform == "linux" else None
STAMP = struct.Struct("@qq")  # struct timespec on 64-bit machines: seconds, nanoseconds
STAMP_BYTES = socket.CMSG_SPACE(STAMP.size)


class Wire:
    """The first byte sent and the last received since `begin`, in seconds of the monotonic clock."""

    __slots__ = ("_clock", "received_seconds", "sent_seconds")

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Forget what was, before a request."""
        self.sent_seconds: float | None = None
        self.received_seconds: float | None = None

    def took_seconds(self) -> float | None:
        """From the first byte sent to the last received; None where either never was."""
        if self.sent_seconds is None or self.received_seconds is None:
            return None
        return self.received_seconds - self.sent_seconds

    def sending(self) -> None:
        """Bytes go out now."""
        if self.sent_seconds is None:
            self.sent_seconds = self._clock.monotonic()

    def received(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        """Bytes were read now; the kernel may say when they came."""
        now = self._clock.monotonic()
        self.received_seconds = now
        for level, kind, stamp in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(stamp) == STAMP.size:
                seconds, nanoseconds = STAMP.unpack(stamp)
                lay_seconds = self._clock.now() - (seconds + nanoseconds / 1e9)
                came = now - lay_seconds
                # neither before we asked nor after now: else the wall clock was set meanwhile
                if lay_seconds >= 0.0 and self.sent_seconds is not None and came >= self.sent_seconds:
                    self.received_seconds = came


class StampedSocket(socket.socket):
    """A socket that tells its wire of what goes over it. TLS, where there is some, lies above it."""

    wire: Wire

    def send(self, data: Any, flags: int = 0) -> int:
        self.wire.sending()
        return super().send(data, flags)

    def sendmsg(self, *arguments: Any) -> int:
        self.wire.sending()
        return super().sendmsg(*arguments)

    def recv(self, size: int, flags: int = 0) -> bytes:
        data, ancillary, _, _ = self.recvmsg(size, STAMP_BYTES, flags)
        if data:
            self.wire.received(ancillary)
        return data

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        room = memoryview(buffer)[:size] if size else buffer
        count, ancillary, _, _ = self.recvmsg_into([room], STAMP_BYTES, flags)
        if count:
            self.wire.received(ancillary)
        return count


def sockets_of(wire: Wire) -> Callable[[Any], socket.socket]:
    """Return what makes the sockets of a connection, from an entry of getaddrinfo, for this wire."""

    def make(address: Any) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = StampedSocket(family, kind, protocol)
        made.wire = wire
        if SO_TIMESTAMPNS is not None:
            with suppress(OSError):  # a sandbox may lack it: the time of reading has to do there too
                made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        return made

    return make
