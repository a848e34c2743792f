"""The real command as a child process: the daemon while a test asks and signals it, or any verb to its end.

Nothing here blocks the event loop, so that a test's own servers keep answering.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from tests.e2e.ground import Answered, call
from tests.kit.scripted import free_port

START_SECONDS = 60.0  # a cold interpreter on a very busy machine; seen: under 2
STOP_SECONDS = 30.0
# A page may wait ten seconds for the next where a busy machine made it dear; usual is one.
SEEN_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.05
COMMAND = (sys.executable, "-m", "exporter")

Seen = TypeVar("Seen")


def hurried(speed: float) -> Sequence[str]:
    """Return the command for which seconds pass faster, see tests/kit/hurried.py."""
    return sys.executable, "-m", "tests.kit.hurried", str(speed)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment without what changes the command's behaviour or colours."""
    ours = ("QDRANT", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONUNBUFFERED": "1"} | dict(more or {})


async def run_command(
    *arguments: str, more_environment: Mapping[str, str] | None = None, seconds: float = 90.0
) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end, without a terminal."""
    return await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=seconds,
        env=environment(more_environment),
        stdin=subprocess.DEVNULL,
        check=False,
    )


async def eventually(
    look: Callable[[], Awaitable[Seen | None]], *, what: str, within_seconds: float = SEEN_SECONDS
) -> Seen:
    """Return the first result of `look` that is not None or False; fail saying `what` never came."""
    deadline = time.monotonic() + within_seconds
    while True:
        seen = await look()
        if seen is not None and seen is not False:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds} s: {what}")
        await asyncio.sleep(LOOK_EVERY_SECONDS)


class RunningDaemon:
    """`python -m exporter run` with these arguments, on a free loopback port. Entered, it serves."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        command: Sequence[str] = COMMAND,
        more_environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port(("127.0.0.1",))
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments: Sequence[str] = (
            *command, "run", f"--web.listen-address=127.0.0.1:{self.port}", *arguments,
        )  # fmt: skip
        self._environment = environment(more_environment)
        self._log = folder / f"daemon-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """Everything it wrote to stdout and stderr so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start it without waiting for anything."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )

    async def start(self) -> None:
        """Start it and wait until it serves; fail with its log when it does not."""
        self.launch()
        try:
            await eventually(self._serves, what="the daemon serves", within_seconds=START_SECONDS)
        except AssertionError as error:
            await self.stop(signal.SIGKILL)
            raise AssertionError(f"{error}\n{self.log}") from None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            await self.stop()

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    async def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal, wait for the end and return exit code and seconds. Fails where it never ends."""
        process, self._process = self._process, None
        assert process is not None
        started = time.monotonic()
        if process.poll() is None:
            process.send_signal(number)
        try:
            code = await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"did not stop within {STOP_SECONDS} s:\n{self.log}") from None
        return code, time.monotonic() - started

    async def get(self, path: str) -> Answered:
        """GET a path."""
        return await asyncio.to_thread(call, self.url, path, seconds=20.0)

    async def text(self, path: str) -> str:
        """Return the body of a path that answers 200."""
        answered = await self.get(path)
        assert answered.status == 200, answered
        return answered.body.decode()

    async def reload(self) -> Answered:
        """POST /-/reload."""
        return await asyncio.to_thread(call, self.url, "/-/reload", method="POST", seconds=30.0)

    async def metrics(self) -> dict[str, float]:
        """Return values of /metrics by series, as written there."""
        lines = (line for line in (await self.text("/metrics")).splitlines() if not line.startswith("#"))
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}

    async def until(
        self, wanted: Callable[[dict[str, float]], object], *, what: str, within_seconds: float = SEEN_SECONDS
    ) -> dict[str, float]:
        """Return the metrics as soon as they are as wanted."""

        async def look() -> dict[str, float] | None:
            metrics = await self.metrics()
            return metrics if wanted(metrics) else None

        try:
            return await eventually(look, what=what, within_seconds=within_seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self.text('/metrics')}\n{self.log}") from None

    async def _serves(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"it ended with {self._process.returncode}")
        try:
            return (await self.get("/-/healthy")).status == 200
        except OSError:
            return False
