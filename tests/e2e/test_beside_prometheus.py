"""A real Prometheus scrapes the real daemon, which watches the embedded server under load."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.observe.probes.book import BOUNDS_SECONDS, MIN_SAMPLES_P95
from tests.e2e.ground import (
    Program,
    call,
    command,
    daemon,
    embedded_server,
    eventually,
    instant_query,
    plain_environment,
    prometheus_server,
    run_once,
)
from tests.kit.scripted import free_port

pytestmark = [
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("promtool") is None,
        reason="prometheus and promtool are not installed: sudo apt install prometheus",
    ),
    pytest.mark.skipif(
        find_spec("qdrant_edge") is None,
        reason="the embedded server's engine is not installed: make setup",
    ),
]

COLLECTION = "shelf"  # small and quiet, there from the start
DIMENSIONS = 64
BATCH = 1_000
# KB of raw vectors from which a segment must be indexed: 4,000 points of 64 floats.
INDEXING_THRESHOLD = 1_000


class Ground(NamedTuple):
    """Everything that runs while these tests do."""

    server: Program
    daemon: Program
    prometheus: Program
    config: Path


def configuration(server_url: str, *, cluster: str = "library") -> str:
    """Return a configuration that polls as often as is allowed to make sense in a test."""
    return f"""
clusters:
  - name: {cluster}
    peers: [{server_url}]
    poll: {{fast: 500ms, medium: 500ms, slow: 1s, deadline: 5s, budget_ratio: 0.5}}
    probes:
      budget_ratio: 0.5
      collections: [{{match: "*", interval: 1s, recall: {{interval: 1s}}}}]
      canary: {{enabled: true, interval: 1s}}
"""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Start the server, the daemon watching it and the Prometheus scraping that."""
    folder = tmp_path_factory.mktemp("ground")
    config = folder / "config.yaml"
    server = embedded_server(folder)
    config.write_text(configuration(server.url), encoding="utf-8")
    watching = daemon(config)
    scraping = prometheus_server(folder, watching.url)
    with server, watching, scraping:
        create(server.url, COLLECTION)
        upsert(server.url, COLLECTION, 0, 50)
        yield Ground(server, watching, scraping, config)


def metric(ground: Ground, expression: str) -> float | None:
    """Return the one value of an expression in Prometheus, None while there is none."""
    series = instant_query(ground.prometheus.url, expression)
    assert len(series) <= 1, series
    return series[0][1] if series else None


def create(server_url: str, collection: str) -> None:
    """Create a collection that must be indexed once it holds INDEXING_THRESHOLD."""
    body = {
        "vectors": {"size": DIMENSIONS, "distance": "Cosine"},
        "optimizers_config": {"indexing_threshold": INDEXING_THRESHOLD},
    }
    created = call(server_url, f"/collections/{collection}", method="PUT", body=body)
    assert created.status == 200, created.body


def upsert(server_url: str, collection: str, first_id: int, count: int) -> None:
    """Write points with random vectors; returns when the server has applied them."""
    chance = random.Random(first_id)
    points = [
        {"id": first_id + index, "vector": [chance.gauss(0, 1) for _ in range(DIMENSIONS)]}
        for index in range(count)
    ]
    path = f"/collections/{collection}/points?wait=true"
    answered = call(server_url, path, method="PUT", body={"points": points})
    assert answered.status == 200, answered.body


def test_indexing_lag_rises_and_falls_with_the_load(ground: Ground) -> None:
    """Points outrun the index, Prometheus sees it, and sees it gone once the optimizer is through."""
    create(ground.server.url, "books")
    lag = 'qdrantx_collection_indexing_lag_points{qdrant_cluster="library",collection="books"}'
    quiet = eventually(lambda: metric(ground, lag), what="the lag of an empty collection", within_seconds=60)
    assert quiet == 0

    highest, written = 0.0, 0
    deadline = time.monotonic() + 60
    while highest == 0 and time.monotonic() < deadline:
        upsert(ground.server.url, "books", written, BATCH)
        written += BATCH
        highest = metric(ground, f"max_over_time({lag}[1m])") or 0.0

    assert 0 < highest <= written
    eventually(lambda: metric(ground, lag) == 0, what="the lag falls to 0", within_seconds=60)
    points = 'qdrantx_collection_points{collection="books"}'
    eventually(lambda: metric(ground, points) == written, what="every point is counted", within_seconds=60)


def test_prometheus_computes_our_p95_from_the_histogram_to_within_a_bucket(ground: Ground) -> None:
    """The exact percentile and histogram_quantile tell of the same searches."""
    labels = f'{{collection="{COLLECTION}",probe="search"}}'
    buckets = f"qdrantx_probe_duration_seconds_bucket{labels}"
    eventually(
        lambda: (metric(ground, f"qdrantx_probe_window_samples{labels}") or 0) >= MIN_SAMPLES_P95,
        what="twenty searches",
        within_seconds=60,
    )

    exact = eventually(
        lambda: metric(ground, f"qdrantx_probe_latency_p95_seconds{labels}"),
        what="a p95",
        within_seconds=60,
    )
    told = metric(ground, f"histogram_quantile(0.95, sum by (le) ({buckets}))")

    assert told is not None
    assert abs(bisect_left(BOUNDS_SECONDS, told) - bisect_left(BOUNDS_SECONDS, exact)) <= 1
    assert metric(ground, f"qdrantx_probe_error_ratio{labels}") == 0
    failures = f'sum(qdrantx_probe_failures_total{{collection="{COLLECTION}"}})'
    assert metric(ground, failures) == 0


def test_the_canary_is_seen_through_prometheus(ground: Ground) -> None:
    """Points written, found on the server and gone again, and none that was not."""
    rounds = 'qdrantx_canary_visible_seconds_count{phase="gone"}'
    eventually(lambda: (metric(ground, rounds) or 0) >= 3, what="three rounds", within_seconds=90)

    assert metric(ground, "sum(qdrantx_canary_failures_total)") == 0
    assert metric(ground, 'qdrantx_collection_points{collection="_qdrantx_canary"}') is None


def test_a_server_that_disappears_reads_as_down_and_as_up_again_when_it_returns(ground: Ground) -> None:
    """qdrantx_up follows the server through death and return, and the scrape itself never fails."""
    up = 'qdrantx_up{qdrant_cluster="library"}'
    eventually(lambda: metric(ground, up) == 1, what="the server is up", within_seconds=60)

    ground.server.stop()
    eventually(lambda: metric(ground, up) == 0, what="the server is down", within_seconds=60)

    ground.server.start()
    eventually(lambda: metric(ground, up) == 1, what="the server is up again", within_seconds=60)
    assert metric(ground, "min_over_time(up[30s])") == 1


def test_the_page_is_clean_under_promtool(ground: Ground) -> None:
    """`promtool check metrics` has nothing to say about the page of a daemon at work."""
    page = call(ground.daemon.url, "/metrics")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=page.body, capture_output=True, timeout=30, check=False
    )

    assert page.status == 200
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"qdrantx_up" in page.body
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_sighup_swaps_a_good_configuration_in_and_keeps_the_old_one_over_a_bad_one(ground: Ground) -> None:
    """The cluster's new name arrives; a broken file changes nothing but the metric that says so."""
    reloaded = "qdrantx_config_last_reload_successful"
    ground.config.write_text(configuration(ground.server.url, cluster="renamed"), encoding="utf-8")
    ground.daemon.send(signal.SIGHUP)
    renamed = 'qdrantx_up{qdrant_cluster="renamed"}'
    eventually(lambda: metric(ground, renamed) == 1, what="the new name is in force", within_seconds=60)
    assert metric(ground, reloaded) == 1

    ground.config.write_text("clusters: [{name: 'not a name!'}]", encoding="utf-8")
    ground.daemon.send(signal.SIGHUP)
    eventually(lambda: metric(ground, reloaded) == 0, what="the failure is told", within_seconds=60)
    assert metric(ground, renamed) == 1

    ground.config.write_text(configuration(ground.server.url), encoding="utf-8")
    ground.daemon.send(signal.SIGHUP)
    eventually(lambda: metric(ground, reloaded) == 1, what="a good file is taken again", within_seconds=60)


def test_once_prints_what_a_person_can_read_and_exits_with_what_it_found(ground: Ground) -> None:
    """A table naming the collection and exit code 0; exit code 1 when the peer is down."""
    seen = run_once("once", "--qdrant.url", ground.server.url)
    nobody = run_once("once", "--qdrant.url", "http://127.0.0.1:9")

    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert COLLECTION in seen.stdout
    assert "\x1b[" not in seen.stdout  # no colours into a pipe
    assert nobody.returncode == 1, nobody.stdout + nobody.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_within_seconds_and_cleanly(
    ground: Ground, tmp_path: Path, number: signal.Signals
) -> None:
    """Exit code 0, no traceback, and the port is free for the next one."""
    config = tmp_path / "config.yaml"
    config.write_text(configuration(ground.server.url), encoding="utf-8")
    watching = daemon(config).start()

    began = time.monotonic()
    code = watching.stop(number)

    assert code == 0, watching.output
    assert time.monotonic() - began < 10
    assert "Traceback" not in watching.output
    with pytest.raises(ConnectionRefusedError):
        call(watching.url, "/-/healthy")


def test_the_image_tells_a_live_daemon_from_a_dead_one(ground: Ground) -> None:
    """The Dockerfile's HEALTHCHECK exits 0 beside the daemon and not 0 where nobody listens."""
    dockerfile = (Path(__file__).resolve().parents[2] / "Dockerfile").read_text(encoding="utf-8")
    check = json.loads(dockerfile.partition("HEALTHCHECK")[2].partition("CMD ")[2].splitlines()[0])

    def exit_code(port: int) -> int:
        script = check[2].replace("10633", str(port))
        return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode

    assert exit_code(int(ground.daemon.url.rpartition(":")[2])) == 0
    assert exit_code(free_port(("127.0.0.1",))) != 0


def test_the_demo_is_watched_from_its_first_seconds_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    """The demo prints where to look, that page shows two clusters that are up, Ctrl-C ends all of it."""
    log = tmp_path / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("demo"), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=plain_environment()
        )
    try:
        page = eventually(lambda: printed_metrics_url(log), what="the demo says where", within_seconds=90)
        eventually(lambda: clusters_up(page) == 2, what="both clusters are up", within_seconds=90)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)

    assert code == 0, log.read_text(encoding="utf-8")
    assert "Traceback" not in log.read_text(encoding="utf-8")


def printed_metrics_url(log: Path) -> str | None:
    """Return the base URL of the metrics page that the demo printed, None as long as it has not."""
    for word in log.read_text(encoding="utf-8").split():
        if word.startswith("http://") and word.rstrip(".,").endswith("/metrics"):
            return word.rstrip(".,").removesuffix("/metrics")
    return None


def clusters_up(url: str) -> int:
    """Count the peers that a page of metrics shows as up."""
    try:
        page = call(url, "/metrics", seconds=10.0).body.decode()
    except OSError:
        return 0
    return sum(line.startswith("qdrantx_up{") and line.endswith(" 1") for line in page.splitlines())
