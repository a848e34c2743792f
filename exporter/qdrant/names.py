"""Host names to addresses, in threads of our own."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from threading import Thread

from aiohttp.abc import AbstractResolver, ResolveResult


class HostLookup(AbstractResolver):
    """Asks the system for the addresses of a host, one look-up a host at a time.

    A look-up can hang for as long as the system's resolver pleases. In the event loop's own
    pool of few threads, a handful of them would stop everything else that runs there,
    rendering included; and a pool is waited for at exit. So each runs in a daemon thread,
    and callers of the same host share it. Results are not kept: connections are rare.
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[str, int], asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host`. Raises OSError where it has none."""
        key = (host, port)
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = asyncio.get_running_loop().create_future()
            pending.add_done_callback(lambda done: self._forget(key, done))
            Thread(target=_look_up, args=(pending, host, port, family), daemon=True).start()
        return await asyncio.shield(pending)  # a caller that gives up must not end it for the others

    async def close(self) -> None:
        """End the wait of every caller; a thread that hangs is left to its fate."""
        for pending in list(self._pending.values()):
            _settle(pending, OSError("closed"))

    def _forget(self, key: tuple[str, int], done: asyncio.Future[list[ResolveResult]]) -> None:
        self._pending.pop(key, None)
        if not done.cancelled():
            done.exception()  # looked at: nobody may be waiting any more


def _look_up(
    pending: asyncio.Future[list[ResolveResult]], host: str, port: int, family: socket.AddressFamily
) -> None:
    outcome: list[ResolveResult] | OSError
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        outcome = [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=0)
            for kind, _, proto, _, address in found
        ]
    except OSError as error:
        outcome = error
    except UnicodeError:  # a label that is empty or too long for DNS
        outcome = OSError("not a host name")
    with suppress(RuntimeError):  # the loop ended meanwhile: nobody waits
        pending.get_loop().call_soon_threadsafe(_settle, pending, outcome)


def _settle(pending: asyncio.Future[list[ResolveResult]], outcome: list[ResolveResult] | OSError) -> None:
    if pending.done():
        return
    if isinstance(outcome, OSError):
        pending.set_exception(outcome)
    else:
        pending.set_result(outcome)
