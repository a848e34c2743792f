"""A worker process as the server sees it: start it, ask it one thing at a time, end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any

import msgspec

from exporter.embedded.messages import LENGTH_BYTES, Command, Reply, framed
from exporter.errors import ExporterError

# A worker that closes its shard in peace needs well under a second; one inside optimize() would
# need as long as that takes, and its write-ahead log makes ending it safe.
CLOSE_SECONDS = 5.0


class EngineLostError(ExporterError):
    """The worker process ended without being asked to."""


class EngineProcess:
    """One worker process. Not for two calls at once."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._commands, self._replies = process.stdin, process.stdout

    @classmethod
    async def start(cls) -> EngineProcess:
        """Start a worker in a session of its own, so that a terminal's Ctrl-C reaches only the parent."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "exporter.embedded.worker",
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return cls(process)

    @property
    def process_id(self) -> int:
        """The process's id, for what the system knows of it."""
        return self._process.pid

    async def call(self, verb: str, argument: dict[str, Any]) -> Reply:
        """Do one thing and return what came of it. Raises EngineLostError."""
        try:
            self._commands.write(framed(Command(verb, argument)))
            await self._commands.drain()
            length = await self._replies.readexactly(LENGTH_BYTES)
            body = await self._replies.readexactly(int.from_bytes(length, "big"))
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise EngineLostError("the engine's process ended") from error
        return msgspec.msgpack.decode(body, type=Reply)

    def kill(self) -> None:
        """End the process in the middle of what it does; `stop` is still to be called."""
        if self._process.returncode is None:
            self._process.kill()

    async def stop(self, *, keep: bool) -> None:
        """End the process: in peace where its data is kept, else at once."""
        self._commands.close()
        if keep:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._replies.read()  # a long last reply must not block its way out
                    await self._process.wait()
        self.kill()
        await self._replies.read()  # to the end, or the pipe stays open
        with contextlib.suppress(ConnectionError):
            await self._commands.wait_closed()
        await self._process.wait()
