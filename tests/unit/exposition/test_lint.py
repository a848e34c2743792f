"""promtool finds nothing to say about a page with every metric there is."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from exporter.clock import SystemClock
from exporter.exposition import SPECS as OWN_SPECS
from exporter.exposition.own import OwnMetrics
from exporter.exposition.renderer import Renderer
from exporter.model import Histogram, Kind, MetricSpec, ProducerKey, Reading, Tally

EXAMPLES = (
    MetricSpec(
        name="qdrantx_example_bytes",
        kind=Kind.GAUGE,
        what="An example",
        unit="bytes",
        source="GET /x",
        labels=("qdrant_cluster", "collection"),
    ),
    MetricSpec(
        name="qdrantx_example_failures_total",
        kind=Kind.COUNTER,
        what="An example",
        unit="failures",
        source="GET /x",
        labels=("peer",),
    ),
    MetricSpec(
        name="qdrantx_example_seconds",
        kind=Kind.HISTOGRAM,
        what="An example",
        unit="seconds",
        source="GET /x",
        labels=("peer",),
    ),
)


def catalogue() -> tuple[MetricSpec, ...]:
    """Return the examples and whatever the catalogue declares."""
    if importlib.util.find_spec("exporter.catalogue") is None:
        return EXAMPLES
    from exporter.catalogue import SPECS

    return EXAMPLES + tuple(spec for spec in SPECS if spec not in OWN_SPECS)


def readings_of(spec: MetricSpec) -> Iterator[Reading]:
    """Yield one series of a metric, of a histogram with all its parts."""
    if spec.kind is not Kind.HISTOGRAM:
        yield Reading(spec, spec.labels, 1.0)
        return
    tally = Tally(Histogram(spec, bounds=(0.001, 0.0025, 1.0, 10.0)))
    for value in (0.002, 0.5, 60.0):
        tally.add(value)
    yield from tally.readings(spec.labels)


def linted(page: bytes) -> subprocess.CompletedProcess[bytes]:
    """Return what promtool says of a page, or skip where there is none."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: sudo apt-get install prometheus")
    return subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, timeout=20, check=False
    )


def test_every_metric_of_the_catalogue_is_lint_clean() -> None:
    """Names, types, units and help texts are as Prometheus's own linter wants them."""
    readings = tuple(reading for spec in catalogue() for reading in readings_of(spec))
    page = Renderer(clock=SystemClock()).render([(ProducerKey("c", "p", "s"), readings)])

    result = linted(page.plain)

    assert page.dropped == 0
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_odd_label_values_and_numbers_are_accepted_by_prometheus_itself() -> None:
    """Go's parser reads what Python's does."""
    odd = ('"', "\\", "\n", "%41", "a/b", "🦀", "\u2028", "\x0b", "{", "")
    numbers = (float("nan"), float("inf"), float("-inf"), 1e22, 5e-324, -0.0, 2**63)
    readings = tuple(Reading(EXAMPLES[0], ("c", name), 1.0) for name in odd) + tuple(
        Reading(EXAMPLES[1], (str(number),), number) for number in numbers
    )
    page = Renderer(clock=SystemClock()).render([(ProducerKey("c", "p", "s"), readings)])

    result = linted(page.plain)

    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_what_prometheus_client_adds_is_known_to_break_no_rule() -> None:
    """The process metrics are appended as they come, and parse together with ours."""
    page = Renderer(clock=SystemClock()).render([], OwnMetrics(version="1.2.3").text())

    result = linted(page.plain)

    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
