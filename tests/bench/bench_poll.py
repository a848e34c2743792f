"""What polling costs: the real daemon against a cluster of any size that is played by another process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.process import cpu_seconds, peak_mebibytes, resident_mebibytes
from tests.bench.verdict import judge, say
from tests.e2e.ground import Program, call, daemon, eventually

COLLECTIONS = 1_000
# Three medium intervals and twelve fast ones: enough of both to average over.
WINDOW_SECONDS = 180.0
SLOW_INTERVAL_SECONDS = 600.0
# One hour at the default intervals, 15 s and 60 s.
FAST_POLLS_AN_HOUR = 240
# Default intervals, shortened alike, with a budget that does not stretch them.
COMPRESSED_POLL = "{fast: 500ms, medium: 2s, slow: 20s, budget_ratio: 0.5}"
DEFAULT_POLL = "{}"


@contextlib.contextmanager
def played_cluster(*, collections: int, peers: int, shards: int = 6) -> Iterator[list[str]]:
    """Start a cluster of that size in another process; yield its peers' URLs."""
    arguments = ["--collections", collections, "--peers", peers, "--shards", shards]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.kit.scale", *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=10)


@contextlib.contextmanager
def watching(urls: list[str], poll: str) -> Iterator[Program]:
    """Start the daemon on these peers and return it at once, before it is ready."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        listed = "".join(f"\n      - {url}" for url in urls)
        config.write_text(f"clusters:\n  - poll: {poll}\n    peers:{listed}\n", encoding="utf-8")
        program = daemon(config)
        try:
            program.launch()
            yield program
        finally:
            program.stop()


def series(program: Program) -> list[str]:
    """Return the lines of the page that are series; none while nobody answers."""
    with contextlib.suppress(OSError):
        page = call(program.url, "/metrics", seconds=10)
        if page.status == 200:
            return [line for line in page.body.decode().splitlines() if not line.startswith("#")]
    return []


def holds_all(program: Program, prefix: str, count: int) -> bool:
    """Tell whether the page holds that many series of a metric."""
    return sum(line.startswith(prefix) for line in series(program)) >= count


def own_answer_seconds(url: str) -> float:
    """Return how long the played peer itself needs for telemetry 3, the first poll's longest call."""
    began = time.monotonic()
    call(url, "/telemetry?details_level=3")
    return time.monotonic() - began


def bench_peers(peers: int, *, with_targets: bool) -> None:
    """Start, first poll cycle, CPU over the default intervals, memory, size of the page."""
    with played_cluster(collections=COLLECTIONS, peers=peers) as urls:
        own_seconds = sum(own_answer_seconds(url) for url in urls)
        began = time.monotonic()
        with watching(urls, DEFAULT_POLL) as program:
            eventually(
                lambda: holds_all(program, "qdrantx_collection_points{", COLLECTIONS),
                what="every collection's points on the page",
                within_seconds=120,
            )
            first_page_seconds = time.monotonic() - began - own_seconds
            eventually(
                lambda: holds_all(program, "qdrantx_collection_indexing_lag_points{", COLLECTIONS),
                what="every collection's lag on the page",
                within_seconds=120,
            )
            cycle_seconds = time.monotonic() - began
            cycle_cpu_seconds = cpu_seconds(program.pid)
            report_start(peers, first_page_seconds, cycle_seconds, cycle_cpu_seconds, with_targets)
            share = average_cpu_share(program, cycle_cpu_seconds)
            report_running(peers, program, share, with_targets)


def average_cpu_share(program: Program, cycle_cpu_seconds: float) -> float:
    """Return the share of one core that the daemon uses at its default intervals, nobody scraping."""
    time.sleep(WINDOW_SECONDS)
    return (cpu_seconds(program.pid) - cycle_cpu_seconds) / WINDOW_SECONDS


def report_start(
    peers: int, first_page_seconds: float, cycle_seconds: float, cpu: float, with_targets: bool
) -> None:
    """Print what happened between the start and the end of the first whole cycle."""
    where = f"{COLLECTIONS} collections x 6 shards x 2 replicas, {peers} peers"
    judge(f"{where}: start to first good page", first_page_seconds, "s", below=3)
    if with_targets:
        judge(f"{where}: start to a whole poll cycle", cycle_seconds, "s", below=5)
    else:
        say(f"{where}: start to a whole poll cycle", f"{cycle_seconds:.3g} s")
    say(f"{where}: CPU until then", f"{cpu:.3g} s")


def report_running(peers: int, program: Program, share: float, with_targets: bool) -> None:
    """Print what the daemon costs from then on."""
    where = f"{COLLECTIONS} collections, {peers} peers"
    if with_targets:
        judge(f"{where}: CPU at default intervals", share * 100, "% of a core", below=3)
        judge(f"{where}: resident memory", resident_mebibytes(program.pid), "MiB", below=200)
    else:
        say(f"{where}: CPU at default intervals", f"{share * 100:.3g} % of a core")
        say(f"{where}: resident memory", f"{resident_mebibytes(program.pid):.0f} MiB")
    say(f"{where}: highest resident memory", f"{peak_mebibytes(program.pid):.0f} MiB")
    page = series(program)
    named = sum('collection="' in line for line in page)
    say(f"{where}: series", f"{len(page)}, {named / COLLECTIONS:.1f} a collection")


def bench_an_hour_of_polls() -> None:
    """Do an hour's polls in minutes and compare memory a quarter of the way with memory at the end."""
    with played_cluster(collections=COLLECTIONS, peers=3) as urls, watching(urls, COMPRESSED_POLL) as program:
        reached_polls(program, urls, FAST_POLLS_AN_HOUR // 4)
        quarter = resident_mebibytes(program.pid)
        reached_polls(program, urls, FAST_POLLS_AN_HOUR)
        whole = resident_mebibytes(program.pid)
    # A twentieth is what the allocator's fragments come to.
    judge("an hour of polls: memory at its end / after a quarter", whole / quarter, "", below=1.05)
    say("an hour of polls: memory after a quarter, at the end", f"{quarter:.0f} MiB, {whole:.0f} MiB")


def reached_polls(program: Program, urls: list[str], polls: int) -> None:
    """Wait until the daemon has asked each peer for telemetry 3 that often."""
    eventually(
        lambda: telemetry_polls(program) >= polls * len(urls),
        what=f"{polls} polls of every peer",
        within_seconds=900,
        every_seconds=2.0,
    )


def telemetry_polls(program: Program) -> float:
    """Return how many good telemetry answers the daemon counts, of all peers and levels."""
    prefix = "qdrantx_requests_to_qdrant_total{"
    asked = (line for line in series(program) if line.startswith(prefix) and "telemetry" in line)
    return sum(float(line.rpartition(" ")[2]) for line in asked if 'outcome="ok"' in line)


def bench_five_thousand_collections() -> None:
    """Watch one peer with 5,000 collections and look whether the daemon stays well."""
    with played_cluster(collections=5_000, peers=1, shards=1) as urls:
        began = time.monotonic()
        with watching(urls, DEFAULT_POLL) as program:
            eventually(
                lambda: holds_all(program, "qdrantx_collection_points{", 5_000),
                what="5,000 collections on the page",
                within_seconds=120,
            )
            judge(
                "5,000 collections on one peer: start to first good page",
                time.monotonic() - began,
                "s",
                below=5,
            )
            time.sleep(30)  # a second fast poll and the medium one
            say("5,000 collections on one peer: CPU in all", f"{cpu_seconds(program.pid):.3g} s")
            say("5,000 collections: resident memory", f"{resident_mebibytes(program.pid):.0f} MiB")
            assert call(program.url, "/-/healthy").status == 200


def main() -> None:
    """Measure polling at 3 and 15 peers, an hour of polls, and 5,000 collections."""
    bench_peers(3, with_targets=True)
    bench_peers(15, with_targets=False)
    bench_an_hour_of_polls()
    bench_five_thousand_collections()


if __name__ == "__main__":
    main()
