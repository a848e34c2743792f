"""A listening socket that answers as recorded.

`ReplayServer` runs in the caller's event loop; `python -m tests.kit.replay STATE` serves one
recorded state in a process of its own. A target nobody recorded is 404 with an empty body,
which is what Qdrant says to an unknown route.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from aiohttp import web

from tests.kit.recordings import Recording, recordings_of

# What a caller may add to a target without asking for something else.
TUNING_PARAMETERS = frozenset({"timeout", "anonymize"})


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send. `silent` accepts the request and never answers, as a stopped process does."""

    status: int = 404
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    silent: bool = False


SILENCE = Reply(silent=True)
NO_SUCH_ROUTE = Reply(404)


def reply_of(seen: Recording, *, delay_seconds: float = 0.0) -> Reply:
    """Make the reply that a recording shows, uncompressed."""
    headers = {name: seen.headers[name] for name in ("content-type", "retry-after") if name in seen.headers}
    return Reply(seen.status, seen.body, headers, delay_seconds)


class RecordedState:
    """The GET answers of one or more folders of recordings; the first folder that has one wins."""

    def __init__(self, states: Iterable[str]) -> None:
        self._by_path: dict[str, list[tuple[frozenset[tuple[str, str]], Recording]]] = {}
        for state in states:
            for seen in recordings_of(state):
                if seen.request.get("method") == "GET":
                    path, query = split_target(seen.path)
                    self._by_path.setdefault(path, []).append((query, seen))

    def find(self, target: str) -> Recording | None:
        """Return the answer to a target: same path, and nothing asked for that it does not have.

        `?with=` of /optimizations only adds lists, so any recording of that path serves it.
        """
        path, query = split_target(target)
        candidates = self._by_path.get(path, [])
        for recorded_query, seen in candidates:
            if recorded_query == query:
                return seen
        loose = [seen for _, seen in candidates if path.endswith("/optimizations")]
        return loose[0] if loose else None


def split_target(target: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Split a request target into its decoded path and the parameters that choose the answer."""
    parts = urlsplit(target)
    query = parse_qsl(parts.query, keep_blank_values=True)
    return unquote(parts.path), frozenset(
        (name, value) for name, value in query if name not in TUNING_PARAMETERS
    )


class ReplayServer:
    """One listening socket whose replies come from a function of the request target.

    Keeps its port over `stop` and `start`, so a peer can die and come back under its URL.
    """

    def __init__(self, *, answer: Callable[[str], Reply], host: str = "127.0.0.1", port: int = 0) -> None:
        self._answer = answer
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self.asked: list[str] = []  # every request target, in order

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end; known after the first `start`."""
        return f"http://{self._host}:{self._port}"

    @property
    def port(self) -> int:
        """The TCP port; known after the first `start`."""
        return self._port

    @property
    def running(self) -> bool:
        """The socket is open."""
        return self._runner is not None

    async def start(self) -> None:
        """Open the socket; a second call does nothing."""
        if self._runner is not None:
            return
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        # Waiting for handlers at stop would wait for the silent ones.
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.05, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, self._host, self._port).start()
        self._port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Close the socket and every connection: callers see a refused connection from now on."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        reply = self._answer(request.raw_path)
        if reply.silent:
            await asyncio.Event().wait()
        if reply.delay_seconds:
            await asyncio.sleep(reply.delay_seconds)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)


def replies_of(*states: str) -> Callable[[str], Reply]:
    """Return the function for ReplayServer that answers as these states did."""
    recorded = RecordedState(states)

    def answer(target: str) -> Reply:
        seen = recorded.find(target)
        return NO_SUCH_ROUTE if seen is None else reply_of(seen)

    return answer


async def serve(states: list[str], port: int) -> None:
    """Serve the given states until the process is ended."""
    async with ReplayServer(answer=replies_of(*states), port=port) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve recorded states from the command line; prints the URL once it listens."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "state", nargs="+", help="like v1.18.3/single/yellow; the first that has an answer wins"
    )
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    try:
        asyncio.run(serve(arguments.state, arguments.port))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
