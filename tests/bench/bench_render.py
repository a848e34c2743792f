"""How much cheaper is our page than prometheus_client's, for the same series, in one run?

Each round moves every value, so no family may be taken over as it was: that is the hard case.
"""

from __future__ import annotations

import gc
import gzip
import random
import statistics
import time
from collections.abc import Callable, Iterator

from isal import igzip
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from exporter.clock import SystemClock
from exporter.exposition.renderer import GZIP_LEVEL, Block, Renderer
from exporter.model import Kind, MetricSpec, ProducerKey, Reading
from tests.bench.verdict import judge, say

METRICS_A_COLLECTION = 47
SPECS = tuple(
    MetricSpec(
        name=f"qdrantx_collection_example_number_{number}_points",
        kind=Kind.GAUGE,
        what="An example as long as the real ones",
        unit="points",
        source="GET /telemetry",
        labels=("qdrant_cluster", "collection"),
    )
    for number in range(METRICS_A_COLLECTION)
)
KEY = ProducerKey("default", "", "derived")
ROUNDS = 5
TARGET_RATIO = 15
# Half of what Qdrant tells are small counts, a third bytes, the rest ratios and seconds.
VALUES: tuple[Callable[[random.Random], float], ...] = (
    lambda chance: float(chance.randrange(10**6)),
    lambda chance: float(chance.randrange(10**6)),
    lambda chance: float(chance.randrange(10**6)),
    lambda chance: float(chance.randrange(10**11)),
    lambda chance: float(chance.randrange(10**11)),
    lambda chance: chance.random(),
)


def block(collections: int, seed: int) -> Block:
    """Return one producer's readings of that many collections."""
    chance = random.Random(seed)
    readings = tuple(
        Reading(spec, ("default", f"collection-{number:05d}"), VALUES[at % len(VALUES)](chance))
        for number in range(collections)
        for at, spec in enumerate(SPECS)
    )
    return KEY, readings


class Readings:
    """The same readings for prometheus_client, the cheapest way it offers: families made anew."""

    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        """Yield one family a metric."""
        families = {spec: GaugeMetricFamily(spec.name, spec.help, labels=spec.labels) for spec in SPECS}
        for spec, labels, value in self._readings:
            families[spec].add_metric(labels, value)
        yield from families.values()


def took_milliseconds(work: Callable[[], object]) -> float:
    """Return how long this took, without a garbage collection in between."""
    gc.collect()
    gc.disable()
    started = time.perf_counter()
    work()
    took = time.perf_counter() - started
    gc.enable()
    return took * 1000


def measured(collections: int) -> dict[str, float]:
    """Return the median milliseconds of each way, taken in turns so that noise hits all alike."""
    blocks = [block(collections, seed) for seed in range(ROUNDS)]
    renderer = Renderer(clock=SystemClock())
    renderer.render([block(collections, ROUNDS)])
    took: dict[str, list[float]] = {}

    def note(way: str, work: Callable[[], object]) -> None:
        took.setdefault(way, []).append(took_milliseconds(work))

    for now in blocks:
        registry = CollectorRegistry()
        registry.register(Readings(now[1]))
        note("prometheus_client", lambda registry=registry: generate_latest(registry))  # type: ignore[misc]
        text = generate_latest(registry)
        note("its gzip, as its server does it", lambda text=text: gzip.compress(text))  # type: ignore[misc]
        cold = Renderer(clock=SystemClock())
        note("our gzip", lambda text=text: igzip.compress(text, GZIP_LEVEL))  # type: ignore[misc]
        note("ours, nothing kept", lambda cold=cold, now=now: cold.render([now]))  # type: ignore[misc]
        note("ours, every value new", lambda now=now: renderer.render([now]))  # type: ignore[misc]
        note("ours, nothing new", lambda now=now: renderer.render([now]))  # type: ignore[misc]
    medians = {way: statistics.median(times) for way, times in took.items()}
    medians["ours, every value new, without gzip"] = medians["ours, every value new"] - medians["our gzip"]
    return medians


def main() -> None:
    """Print a small table."""
    for collections in (1_000, 10_000):
        took = measured(collections)
        theirs = took.pop("prometheus_client")
        series = f"{collections:,} collections, {collections * METRICS_A_COLLECTION:,} series"
        say(f"{series}: prometheus_client's generate_latest", f"{theirs:.1f} ms")
        for way, milliseconds in took.items():
            say(f"  {way}", f"{milliseconds:.1f} ms, {theirs / milliseconds:.1f} times cheaper")
        ours = took["ours, every value new, without gzip"]
        judge("  our share of their time for the same work", ours / theirs, "", below=1 / TARGET_RATIO)


if __name__ == "__main__":
    main()
