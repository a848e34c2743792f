"""Asking the system for all addresses of a name, so that a hanging resolver hurts nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Thread

# Given host and port, returns numeric addresses; raises OSError saying why there are none.
Resolve = Callable[[str, int], Awaitable[tuple[str, ...]]]


class SystemResolver:
    """getaddrinfo, A and AAAA, in threads of its own.

    Not the event loop's pool: a resolver that hangs would fill it, and the process could not
    end before it. At most one look-up a name is under way; who asks meanwhile waits with it.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], asyncio.Future[tuple[str, ...]]] = {}

    async def __call__(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses of `host`. Raises OSError; has no deadline of its own."""
        key = (host, port)
        future = self._under_way.get(key)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._under_way[key] = loop.create_future()
            future.add_done_callback(lambda done: self._forget(key, done))
            Thread(target=_look_up, args=(loop, future, host, port), daemon=True).start()
        # Shielded: a caller that gives up must not start the next thread.
        return await asyncio.shield(future)

    def _forget(self, key: tuple[str, int], done: asyncio.Future[tuple[str, ...]]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # everybody who waited may have given up


def _look_up(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[tuple[str, ...]], host: str, port: int
) -> None:
    addresses: tuple[str, ...] = ()
    failure: OSError | None = None
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = tuple(dict.fromkeys(str(info[4][0]) for info in infos))
    except OSError as error:
        failure = error
    except UnicodeError as error:  # a label of more than 63 characters
        failure = OSError(str(error))

    def tell() -> None:
        if future.done():
            return
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(addresses)

    with suppress(RuntimeError):  # the loop ended while we looked
        loop.call_soon_threadsafe(tell)
