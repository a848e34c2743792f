"""Real processes for the end-to-end tests: our command, Debian's Prometheus, and plain HTTP to both."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlencode, urlsplit

from tests.kit.scripted import free_port

START_SECONDS = 60.0  # a cold interpreter on a very busy machine; seen: under 2
STOP_SECONDS = 30.0  # the most that SIGTERM may take before the test fails
LOOK_EVERY_SECONDS = 0.1

Seen = TypeVar("Seen")


class Answered(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


def call(url: str, path: str, *, method: str = "GET", body: Any = None, seconds: float = 30.0) -> Answered:
    """Make one HTTP call on a connection of its own. Raises OSError when nobody answers in time."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    sent = None if body is None else json.dumps(body)
    headers = {} if body is None else {"content-type": "application/json"}
    try:
        connection.request(method, path, body=sent, headers=headers)
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answered(response.status, named, response.read())
    finally:
        connection.close()


def eventually(
    look: Callable[[], Seen | None],
    *,
    what: str,
    within_seconds: float,
    every_seconds: float = LOOK_EVERY_SECONDS,
) -> Seen:
    """Return the first result of `look` that is not None or False; fail saying `what` never came."""
    deadline = time.monotonic() + within_seconds
    while True:
        seen = look()
        if seen is not None and seen is not False:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds} s: {what}")
        time.sleep(every_seconds)


class Program:
    """One child process that serves HTTP at `url`; its output goes to a file for when a test fails."""

    def __init__(self, *, arguments: list[str], url: str, ready_path: str, log: Path) -> None:
        self._arguments = arguments
        self._ready_path = ready_path
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.url = url

    @property
    def pid(self) -> int:
        """The process id. Raises AssertionError when it is not running."""
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """Everything it wrote to stdout and stderr so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def launch(self) -> None:
        """Start it without waiting for anything."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=plain_environment(),
            )

    def start(self) -> Self:
        """Start it and wait until it answers 200; fail with its output when it does not."""
        self.launch()
        try:
            eventually(self._is_ready, what=f"{self._arguments[0]} answers", within_seconds=START_SECONDS)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.output}") from None
        return self

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self._arguments} ended with {self._process.returncode}")
        try:
            return call(self.url, self._ready_path, seconds=10.0).status == 200
        except OSError:
            return False

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, wait, and return its exit code. Fails when it must be killed."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"did not stop within {STOP_SECONDS} s:\n{self.output}") from None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def plain_environment() -> dict[str, str]:
    """Return our environment without what changes how the command behaves or how fast it starts."""
    ours = ("QDRANT", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def command(*arguments: str) -> list[str]:
    """Return the installed command with arguments, of the interpreter that runs the tests."""
    return [str(Path(sys.executable).parent / "qdrant-exporter"), *arguments]


def run_once(*arguments: str, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, without a terminal."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=seconds,
        env=plain_environment(),
        check=False,
    )


def embedded_server(folder: Path) -> Program:
    """Return an embedded Qdrant server, not started yet, that keeps its data in `folder`."""
    port = free_port(("127.0.0.1",))
    arguments = command("embedded", "--port", str(port), "--data", str(folder / "data"))
    url = f"http://127.0.0.1:{port}"
    return Program(arguments=arguments, url=url, ready_path="/healthz", log=folder / "embedded.log")


def daemon(config: Path, *more: str) -> Program:
    """Return the daemon on a free loopback port with this configuration file, not started yet."""
    address = f"127.0.0.1:{free_port(('127.0.0.1',))}"
    arguments = command(
        "run",
        f"--config.file={config}",
        f"--web.listen-address={address}",
        f"--state.dir={config.parent / 'state'}",
        *more,
    )
    return Program(
        arguments=arguments, url=f"http://{address}", ready_path="/-/ready", log=config.parent / "daemon.log"
    )


def prometheus_server(folder: Path, target_url: str) -> Program:
    """Return a Prometheus that scrapes one target every second, not started yet."""
    config = folder / "prometheus.json"  # JSON is YAML
    target = {"targets": [target_url.removeprefix("http://")]}
    job = {"job_name": "qdrant-exporter", "static_configs": [target]}
    intervals = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    config.write_text(json.dumps({"global": intervals, "scrape_configs": [job]}), encoding="utf-8")
    address = f"127.0.0.1:{free_port(('127.0.0.1',))}"
    arguments = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
    ]
    log = folder / "prometheus.log"
    return Program(arguments=arguments, url=f"http://{address}", ready_path="/-/ready", log=log)


def instant_query(prometheus_url: str, expression: str) -> list[tuple[dict[str, str], float]]:
    """Return labels and value of each series that a PromQL expression gives now."""
    answered = call(prometheus_url, f"/api/v1/query?{urlencode({'query': expression})}")
    assert answered.status == 200, answered.body
    result = answered.json()["data"]["result"]
    return [(series["metric"], float(series["value"][1])) for series in result]
