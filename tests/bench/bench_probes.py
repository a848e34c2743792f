"""How true our search probes are: their times beside a bare client's, in the same minutes.

The daemon is the real command in a process of its own; all that is added is a list of the times it
books. It searches ten small collections once a second, first with nothing else to do, then while it
polls a played cluster of 1,000 collections as well. A bare client in another process sends the same
searches in between, on an open connection. At the end: what probing 1,000 collections costs us.

Searches in an embedded server, or in the one at QDRANT_URL, where it makes collections named
bench_probes_0 to bench_probes_9 and deletes them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import fmean
from urllib.parse import urlsplit

from exporter import cli
from exporter.embedded.demo_data import ClusteredVectors
from exporter.observe.probes.book import SearchBook
from exporter.observe.probes.windows import percentile
from exporter.qdrant.connection import Request
from exporter.qdrant.door import Door
from exporter.qdrant.search import (
    QUERY_ENDPOINT,
    points_request,
    read_points,
    sample_body,
    search_body,
    vector_of,
)
from tests.bench.bench_poll import (
    COLLECTIONS,
    page_of,
    played_cluster,
    series,
    usual_mebibytes,
    wait_for_series,
)
from tests.bench.process import cpu_seconds
from tests.bench.verdict import judge, say
from tests.e2e.ground import Program, call, embedded_server
from tests.kit.scripted import free_port

PROBED = tuple(f"bench_probes_{number}" for number in range(10))
DIMENSION = 64
POINTS = 2_000
BATCH_POINTS = 500
LIMIT = 10  # of a search, the default
DEADLINE_SECONDS = 5.0  # the default: the server is told it
VECTORS = 16  # a collection, as many as the daemon keeps
# Ten a second, as many as the daemon sends, whose moments are spread over the second.
BEAT_SECONDS = 0.1
# Eight fast rounds of polls and two medium ones; 1,200 searches of each client, twelve above p99.
WINDOW_SECONDS = 120.0
SCRAPE_SECONDS = 15.0  # as a Prometheus would
SETTLE_SECONDS = 20.0  # the first polls ask for everything at once
# At an interval of a minute every one of 1,000 collections has been searched by then.
FIRST_PROBES_SECONDS = 75.0

OFF = "{enabled: false}"
# Half of the servers' time may be ours, so that no interval is stretched: the most that probes cost us.
EACH_MINUTE = "{budget_ratio: 0.5}"
EACH_SECOND = (
    '{budget_ratio: 0.5, collections: [{match: "bench_probes_*", interval: 1s, recall: {enabled: false}}]}'
)

# What a client may be off by: this share of the bare one's time, or so many milliseconds.
MEDIAN_SHARE, MEDIAN_MILLISECONDS = 0.1, 0.3
P99_SHARE, P99_MILLISECONDS = 0.25, 2.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster to watch; `probes` as a person writes it."""

    name: str
    urls: Sequence[str]
    probes: str


@dataclass(frozen=True, slots=True)
class Times:
    """What a client measured, in milliseconds, sorted."""

    milliseconds: Sequence[float]

    def at(self, share: float) -> float:
        """Return the percentile at a share from 0 to 1."""
        return percentile(self.milliseconds, share)

    def __str__(self) -> str:
        shares = {"p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99, "max": 1.0}
        shown = ", ".join(f"{name} {self.at(share):.3g}" for name, share in shares.items())
        return f"{shown} ms, {len(self.milliseconds)} searches"


class Notes:
    """Moments and times of searches in seconds, written to a file at the end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._noted: list[tuple[float, float]] = []

    def add(self, at_seconds: float, took_seconds: float) -> None:
        """Note one search and when it was over, by the monotonic clock."""
        self._noted.append((at_seconds, took_seconds))

    def write(self) -> None:
        """Write all of them."""
        self._file.write_text(json.dumps(self._noted), encoding="utf-8")


def times_within(file: Path, window: tuple[float, float], *, first: int = 0, step: int = 1) -> Times:
    """Read what was noted between two moments: all of it, or each `step`th from the `first` on."""
    noted = json.loads(file.read_text(encoding="utf-8"))
    seconds = [took for at, took in noted if window[0] <= at < window[1]]
    return Times(sorted(took * 1000 for took in seconds[first::step]))


def run_noting(file: Path, arguments: list[str]) -> None:
    """Be the command with these arguments, and note every time that a search is booked with."""
    notes, book = Notes(file), SearchBook.took

    def took(self: SearchBook, seconds: float, server_seconds: float | None, now: float) -> None:
        notes.add(now, seconds)
        book(self, seconds, server_seconds, now)

    SearchBook.took = took  # type: ignore[method-assign]
    sys.argv[1:] = arguments
    try:
        cli.main()
    finally:
        notes.write()


class BareClient:
    """One open connection and no more than a search takes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in Door(url=url).headers().items())
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def packed(self, request: Request) -> bytes:
        """Return the bytes of a request, with the headers that the daemon sends."""
        head = (
            f"{request.method} {request.path} HTTP/1.1\r\n{self._headers}Content-Type: application/json\r\n"
        )
        return f"{head}Content-Length: {len(request.body)}\r\n\r\n".encode() + request.body

    def answer(self, packed: bytes) -> bytes:
        """Send a request and return the answer's body."""
        self._socket.sendall(packed)
        received = b""
        while True:
            received += self._socket.recv(1 << 18)
            head, _, body = received.partition(b"\r\n\r\n")
            _, named, length = head.lower().partition(b"\r\ncontent-length:")
            if named and len(body) >= int(length.partition(b"\r\n")[0]):
                assert head.startswith(b"HTTP/1.1 200"), received
                return body

    def searches(self, collection: str) -> Iterator[bytes]:
        """Return searches with stored vectors, the bytes that the daemon sends too."""
        sample = points_request(
            collection, "query", sample_body([""], VECTORS), timeout_seconds=DEADLINE_SECONDS
        )
        found = read_points(self.answer(self.packed(sample)), QUERY_ENDPOINT).result.points
        for vector in (vector_of(point, "") for point in found):
            assert vector is not None
            body = search_body(vector, using="", limit=LIMIT)
            yield self.packed(points_request(collection, "query", body, timeout_seconds=DEADLINE_SECONDS))


def run_bare(file: Path, url: str) -> None:
    """Send one search a beat to each collection in turn, until SIGTERM or the parent's end."""
    gc.disable()
    stopping, parent, notes, client = threading.Event(), os.getppid(), Notes(file), BareClient(url)
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    queries = [list(client.searches(name)) for name in PROBED]
    for turn in count():
        if stopping.wait(BEAT_SECONDS - time.monotonic() % BEAT_SECONDS) or os.getppid() != parent:
            break
        of_collection = queries[turn % len(queries)]
        packed = of_collection[turn // len(queries) % len(of_collection)]
        started = time.monotonic()
        client.answer(packed)
        ended = time.monotonic()
        notes.add(ended, ended - started)
    notes.write()


@contextlib.contextmanager
def noting_daemon(folder: Path, file: Path, clusters: Sequence[Cluster]) -> Iterator[Program]:
    """Start the daemon; at its end it leaves the searches it booked in the file."""
    config = folder / "config.yaml"
    written = (
        f"\n  - {{name: {one.name}, peers: [{', '.join(one.urls)}], probes: {one.probes}}}"
        for one in clusters
    )
    config.write_text(f"clusters:{''.join(written)}\n", encoding="utf-8")
    address = f"127.0.0.1:{free_port(('127.0.0.1',))}"
    arguments = ["run", f"--config.file={config}", f"--web.listen-address={address}"]
    module = [sys.executable, "-m", "tests.bench.bench_probes", "noting", str(file)]
    log = folder / "daemon.log"
    url = f"http://{address}"
    with Program(arguments=[*module, *arguments], url=url, ready_path="/-/healthy", log=log) as program:
        yield program


@contextlib.contextmanager
def bare_client(file: Path, url: str) -> Iterator[None]:
    """Let the bare client search; at its end it leaves its times in the file."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.bench_probes", "bare", str(file), url])
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


@contextlib.contextmanager
def server_to_search() -> Iterator[str]:
    """Yield the URL of a server with the collections that are searched."""
    url = os.environ.get("QDRANT_URL", "")
    with contextlib.ExitStack() as stack:
        if not url:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            url = stack.enter_context(embedded_server(Path(folder))).url
        try:
            for seed, name in enumerate(PROBED):
                fill(url, name, seed)
            yield url
        finally:
            for name in PROBED:
                call(url, f"/collections/{name}", method="DELETE")


def fill(url: str, name: str, seed: int) -> None:
    """Make a collection of points that lie in clusters."""
    config = {"vectors": {"size": DIMENSION, "distance": "Cosine"}}
    path, data = f"/collections/{name}", ClusteredVectors(dimension=DIMENSION, seed=seed)
    assert call(url, path, method="PUT", body=config).status == 200
    for first in range(0, POINTS, BATCH_POINTS):
        points = {"points": list(data.points(range(first, first + BATCH_POINTS)))}
        assert call(url, f"{path}/points?wait=true", method="PUT", body=points).status == 200


def scraped_window(program: Program) -> tuple[float, float]:
    """Let the window pass, with a scrape now and then; return its first and its last moment."""
    started = time.monotonic()
    for _ in range(round(WINDOW_SECONDS / SCRAPE_SECONDS)):
        time.sleep(SCRAPE_SECONDS)
        page_of(program)
    return started, time.monotonic()


def gauges(program: Program, name: str) -> float:
    """Return the mean of a gauge over the probed collections, in milliseconds."""
    lines = (line for line in series(program) if line.startswith(f"{name}{{"))
    return fmean(float(line.rpartition(" ")[2]) for line in lines) * 1000


def bench_fidelity(what: str, url: str, *others: Cluster) -> None:
    """Compare the two clients while the daemon watches `others` too, and print it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours_file, bare_file = folder / "ours.json", folder / "bare.json"
        clusters = [Cluster("searched", [url], EACH_SECOND), *others]
        with noting_daemon(folder, ours_file, clusters) as program, bare_client(bare_file, url):
            wait_for_series(program, "qdrantx_probe_latency_p50_seconds{", len(PROBED))
            if others:
                wait_for_series(program, "qdrantx_collection_indexing_lag_points{", COLLECTIONS)
            time.sleep(SETTLE_SECONDS)
            cpu = cpu_seconds(program.pid)
            window = scraped_window(program)
            cpu = (cpu_seconds(program.pid) - cpu) / WINDOW_SECONDS
            p50, p99 = (gauges(program, f"qdrantx_probe_latency_{one}_seconds") for one in ("p50", "p99"))
        ours, bare = times_within(ours_file, window), times_within(bare_file, window)
        halves = [times_within(bare_file, window, first=first, step=2).at(0.99) for first in (0, 1)]
    say(f"{what}: bare client", str(bare))
    say(f"{what}: p99 of its even and of its odd searches", f"{halves[0]:.3g}, {halves[1]:.3g} ms")
    say(f"{what}: daemon", str(ours))
    say(f"{what}: gauges of the page, mean of {len(PROBED)}", f"p50 {p50:.3g}, p99 {p99:.3g} ms")
    say(
        f"{what}: load of the machine, CPU of the daemon",
        f"{os.getloadavg()[0]:.2f}, {cpu * 100:.3g} % of a core",
    )
    allowed = max(MEDIAN_SHARE * bare.at(0.5), MEDIAN_MILLISECONDS)
    judge(f"{what}: medians apart", abs(ours.at(0.5) - bare.at(0.5)), "ms", below=allowed)
    allowed = max(P99_SHARE * bare.at(0.99), P99_MILLISECONDS)
    judge(f"{what}: p99 apart", abs(ours.at(0.99) - bare.at(0.99)), "ms", below=allowed)


@dataclass(frozen=True, slots=True)
class Cost:
    """What watching the played cluster costs: share of a core, MiB, series, searches a second."""

    cpu: float
    mebibytes: float
    series: int
    searches: float


def cost_of(urls: Sequence[str], probes: str) -> Cost:
    """Measure a daemon on the played cluster with these probes, once each collection had its first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with noting_daemon(folder, folder / "noted.json", [Cluster("large", urls, probes)]) as program:
            wait_for_series(program, "qdrantx_collection_indexing_lag_points{", COLLECTIONS)
            time.sleep(FIRST_PROBES_SECONDS)
            cpu, sent = cpu_seconds(program.pid), searches_sent(program)
            started, ended = scraped_window(program)
            cpu, sent = cpu_seconds(program.pid) - cpu, searches_sent(program) - sent
            lines = [line for line in series(program) if 'collection="' in line]
            return Cost(
                cpu / (ended - started), usual_mebibytes(program), len(lines), sent / (ended - started)
            )


def searches_sent(program: Program) -> float:
    """Return how many searches the daemon counts."""
    sent = (line for line in series(program) if line.startswith("qdrantx_requests_to_qdrant_total{"))
    return sum(float(line.rpartition(" ")[2]) for line in sent if f'endpoint="{QUERY_ENDPOINT}"' in line)


def bench_cost() -> None:
    """Compare a daemon that probes 1,000 collections with one that does not."""
    what = f"{COLLECTIONS} collections"
    with played_cluster(collections=COLLECTIONS, peers=3) as urls:
        without = cost_of(urls, OFF)
    with played_cluster(collections=COLLECTIONS, peers=3) as urls:
        probed = cost_of(urls, EACH_MINUTE)
    for name, cost in (("without probes", without), ("with probes", probed)):
        figures = (
            f"{cost.cpu * 100:.3g} % of a core, {cost.mebibytes:.0f} MiB, {cost.searches:.3g} searches/s"
        )
        say(f"{what} {name}", f"{figures}, {cost.series / COLLECTIONS:.1f} series a collection")
    say(f"{what}: CPU of the probes", f"{(probed.cpu - without.cpu) * 100:.3g} % of a core")
    say(f"{what}: memory of the probes", f"{probed.mebibytes - without.mebibytes:.0f} MiB")
    say(f"{what}: series of the probes", f"{(probed.series - without.series) / COLLECTIONS:.1f} a collection")


def main() -> None:
    """Measure fidelity on an idle daemon and beside 1,000 collections, then what probes cost."""
    with server_to_search() as url:
        bench_fidelity("idle", url)
        with played_cluster(collections=COLLECTIONS, peers=3) as urls:
            bench_fidelity(f"beside {COLLECTIONS} collections", url, Cluster("large", urls, OFF))
    bench_cost()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["noting", file, *arguments]:
            run_noting(Path(file), arguments)
        case ["bare", file, url]:
            run_bare(Path(file), url)
        case _:
            main()
